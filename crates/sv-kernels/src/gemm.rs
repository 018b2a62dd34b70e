//! Products with a weight matrix that is packed once: `y = x W^T + b`.
//!
//! Sums run over the inputs in order, one accumulator an output, so that a row of the result has the same bits whatever
//! other rows are computed with it. That is why there is no splitting of the inner dimension here.

pub(crate) mod pack;

use crate::error::{KernelError, expect_shape};
use crate::lanes::{Job, Lanes};
use crate::tier::Tier;
use pack::Panels;

/// Vectors of columns that a panel holds: one for each gate of an LSTM.
pub(crate) const VECTORS: usize = 4;
/// The most rows that any tier holds in registers.
pub(crate) const MOST_ROWS: usize = 6;
/// The widest vector of any tier.
pub(crate) const WIDEST: usize = 16;

/// A linear layer, packed for one tier: `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct PackedLinear {
    tier: Tier,
    inputs: usize,
    outputs: usize,
    panels: Panels,
}

impl PackedLinear {
    /// Packs `weight` (outputs, inputs), row-major, and `bias` (outputs; empty for none) for the best tier of this machine.
    ///
    /// # Errors
    /// [`KernelError::Zero`] or [`KernelError::Length`].
    pub fn new(inputs: usize, outputs: usize, weight: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        Self::on_tier(Tier::detect(), inputs, outputs, weight, bias)
    }

    /// The same for a given tier.
    ///
    /// # Errors
    /// As [`PackedLinear::new`].
    pub fn on_tier(
        tier: Tier,
        inputs: usize,
        outputs: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        for (what, size) in [("input size of a linear layer", inputs), ("output size of a linear layer", outputs)] {
            if size == 0 {
                return Err(KernelError::Zero { what });
            }
        }
        expect_shape("weight of a linear layer", weight.len(), &[outputs, inputs])?;
        if !bias.is_empty() {
            expect_shape("bias of a linear layer", bias.len(), &[outputs])?;
        }
        Ok(Self { tier, inputs, outputs, panels: Panels::dense(tier, inputs, outputs, weight, bias) })
    }

    /// Values of an input row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Values of an output row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Computes `rows` rows: `input` (rows, inputs), `output` (rows, outputs), both row-major.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice does not have that shape.
    pub fn apply(&self, rows: usize, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        expect_shape("input of a linear layer", input.len(), &[rows, self.inputs])?;
        expect_shape("output of a linear layer", output.len(), &[rows, self.outputs])?;
        product(self.tier, rows, input, self.inputs, &self.panels, output, self.outputs, self.outputs);
        Ok(())
    }
}

/// `out = input W^T + b`: `rows` rows of `input`, `input_stride` apart, into `columns` columns of rows `out_stride` apart.
#[expect(clippy::too_many_arguments, reason = "two matrices and their strides")]
pub(crate) fn product(
    tier: Tier,
    rows: usize,
    input: &[f32],
    input_stride: usize,
    panels: &Panels,
    out: &mut [f32],
    out_stride: usize,
    columns: usize,
) {
    tier.run(Product { rows, input, input_stride, panels, out, out_stride, columns });
}

pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    pub(crate) input: &'a [f32],
    pub(crate) input_stride: usize,
    pub(crate) panels: &'a Panels,
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
    pub(crate) columns: usize,
}

impl Job for Product<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        assert_eq!(self.panels.width(), VECTORS * L::WIDTH, "packed for another tier");
        for panel in 0..self.panels.count() {
            for_row_blocks::<L, _>(self.rows, &mut PanelProduct { l, product: &mut self, panel });
        }
    }
}

/// What is done with one block of rows, for each number of them.
pub(crate) trait RowBlock {
    /// Does rows `first .. first + R`.
    fn rows<const R: usize>(&mut self, first: usize);
}

/// Cuts `rows` into blocks of as equal sizes as the registers allow: 8 rows are 4 and 4, never 6 and a slow 2.
#[inline(always)]
pub(crate) fn for_row_blocks<L: Lanes, B: RowBlock>(rows: usize, block: &mut B) {
    let blocks = rows.div_ceil(L::ROWS);
    let mut first = 0;
    for index in 0..blocks {
        let size = rows / blocks + usize::from(index < rows % blocks);
        // What a tier has no registers for is not compiled for it.
        match size {
            2 if L::ROWS >= 2 => block.rows::<2>(first),
            3 if L::ROWS >= 3 => block.rows::<3>(first),
            4 if L::ROWS >= 4 => block.rows::<4>(first),
            5 if L::ROWS >= 5 => block.rows::<5>(first),
            MOST_ROWS if L::ROWS >= MOST_ROWS => block.rows::<MOST_ROWS>(first),
            _ => block.rows::<1>(first),
        }
        first += size;
    }
}

/// The same where a panel holds `V` vectors, one or two: as many rows more are in the registers, in blocks of powers of two.
#[inline(always)]
pub(crate) fn for_narrow_blocks<L: Lanes, const V: usize, B: RowBlock>(rows: usize, block: &mut B) {
    let most = const { L::ROWS * VECTORS / V };
    let mut first = 0;
    while first < rows {
        // What a tier has no registers for is not compiled for it.
        first += match rows - first {
            16.. if most >= 16 => {
                block.rows::<16>(first);
                16
            }
            8.. if most >= 8 => {
                block.rows::<8>(first);
                8
            }
            4.. if most >= 4 => {
                block.rows::<4>(first);
                4
            }
            2.. if most >= 2 => {
                block.rows::<2>(first);
                2
            }
            _ => {
                block.rows::<1>(first);
                1
            }
        };
    }
}

struct PanelProduct<'p, 'a, L> {
    l: L,
    product: &'p mut Product<'a>,
    panel: usize,
}

impl<L: Lanes> RowBlock for PanelProduct<'_, '_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, p) = (self.l, &mut *self.product);
        let width = VECTORS * L::WIDTH;
        let mut sums = [load_panel_row(l, p.panels.bias(self.panel)); R];
        accumulate(l, &p.input[first * p.input_stride..], p.input_stride, p.panels.weights(self.panel), &mut sums);
        let start = self.panel * width;
        let valid = width.min(p.columns - start);
        for (row, sum) in sums.iter().enumerate() {
            store_columns(l, sum, &mut p.out[(first + row) * p.out_stride + start..][..valid]);
        }
    }
}

/// As many of the vectors' values as `out` takes.
#[inline(always)]
pub(crate) fn store_columns<L: Lanes, const V: usize>(l: L, row: &[L::Vector; V], out: &mut [f32]) {
    let width = V * L::WIDTH;
    if out.len() == width {
        store_panel_row(l, row, out);
    } else {
        let mut whole = [0.0; VECTORS * WIDEST];
        store_panel_row(l, row, &mut whole[..width]);
        out.copy_from_slice(&whole[..out.len()]);
    }
}

/// Four vectors from `4 WIDTH` values.
#[inline(always)]
pub(crate) fn load_panel_row<L: Lanes>(l: L, values: &[f32]) -> [L::Vector; VECTORS] {
    load_vectors(l, values)
}

/// `V` vectors from `V WIDTH` values.
#[inline(always)]
pub(crate) fn load_vectors<L: Lanes, const V: usize>(l: L, values: &[f32]) -> [L::Vector; V] {
    assert_eq!(values.len(), V * L::WIDTH);
    let mut row = [l.splat(0.0); V];
    // No closure: it would be compiled without the tier's instructions, and each load be a call.
    for (j, vector) in row.iter_mut().enumerate() {
        // SAFETY: the slice holds `V` vectors.
        *vector = unsafe { l.load(values.as_ptr().add(j * L::WIDTH)) };
    }
    row
}

/// `V` vectors into `V WIDTH` values.
#[inline(always)]
pub(crate) fn store_panel_row<L: Lanes, const V: usize>(l: L, row: &[L::Vector; V], values: &mut [f32]) {
    assert_eq!(values.len(), V * L::WIDTH);
    for (j, &vector) in row.iter().enumerate() {
        // SAFETY: the slice holds `V` vectors.
        unsafe { l.store(values.as_mut_ptr().add(j * L::WIDTH), vector) };
    }
}

/// `sums[r] += sum over k of input[r * stride + k] * weights[k]`, where `weights[k]` are the four vectors of step k.
#[inline(always)]
pub(crate) fn accumulate<L: Lanes, const R: usize>(
    l: L,
    input: &[f32],
    stride: usize,
    weights: &[f32],
    sums: &mut [[L::Vector; VECTORS]; R],
) {
    let width = VECTORS * L::WIDTH;
    accumulate_strided(l, input, [stride, 1], weights, width, weights.len() / width, sums);
}

/// `sums[r] += sum over k < depth of input[r * row + k * step] * weights[k * apart ..]`, four vectors of weights a step: the
/// one loop in which the time goes.
#[inline(always)]
pub(crate) fn accumulate_strided<L: Lanes, const R: usize>(
    l: L,
    input: &[f32],
    [row, step]: [usize; 2],
    weights: &[f32],
    apart: usize,
    depth: usize,
    sums: &mut [[L::Vector; VECTORS]; R],
) {
    let Some(last) = depth.checked_sub(1) else { return };
    let width = VECTORS * L::WIDTH;
    assert!((R - 1) * row + last * step < input.len(), "{R} rows {row} apart of {depth} steps of {step}");
    assert!(last * apart + width <= weights.len(), "{depth} rows of weights, {apart} apart, in {}", weights.len());
    let mut rows = [input.as_ptr(); R];
    for (r, from) in rows.iter_mut().enumerate() {
        // SAFETY: `r < R`, for which the first assertion found room in `input`.
        *from = unsafe { from.add(r * row) };
    }
    let (mut at, mut weights) = (0_usize, weights.as_ptr());
    let mut held = *sums;
    for _ in 0..depth {
        // No closures in here: each would be compiled without the tier's instructions where it is not inlined.
        let mut w = [l.splat(0.0); VECTORS];
        for (j, w) in w.iter_mut().enumerate() {
            // SAFETY: the second assertion found room for `VECTORS` vectors from `k * apart` on, for every `k < depth`.
            *w = unsafe { l.load(weights.wrapping_add(j * L::WIDTH)) };
        }
        for (sum, from) in held.iter_mut().zip(&rows) {
            // SAFETY: `at = k * step` with `k < depth`, for which the first assertion found room.
            let x = l.splat(unsafe { *from.wrapping_add(at) });
            for (sum, &w) in sum.iter_mut().zip(&w) {
                *sum = l.mul_add(x, w, *sum);
            }
        }
        at = at.wrapping_add(step);
        weights = weights.wrapping_add(apart);
    }
    *sums = held;
}

#[cfg(test)]
pub(crate) mod tests;
