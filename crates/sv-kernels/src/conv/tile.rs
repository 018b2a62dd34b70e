//! The one loop of all convolutions: rows of products kept in registers from the bias to the last of what follows them.
//!
//! A row of the input is made of segments, one a tap in time, which stand apart in the padded signal; nothing is copied
//! together. Each sum runs over segments and values in order, in one accumulator, whatever the blocks and the threads.

use std::ops::Range;

use crate::gemm::pack::Panels;
use crate::gemm::{RowBlock, VECTORS, WIDEST, for_narrow_blocks, for_row_blocks, load_vectors, store_columns};
use crate::lanes::{Job, Lanes};
use crate::math::flush;

/// What is done with a sum after its bias (and what is added) before it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x`, or `slope x` where x is negative; the slope is from 0 to 1.
    LeakyRelu(f32),
}

/// Where row (o, i) begins: at `o * outer + i * inner`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strides {
    pub(super) outer: usize,
    pub(super) inner: usize,
}

impl Strides {
    /// Of rows that are all of one `outer`.
    pub(super) fn inner(inner: usize) -> Self {
        Self { outer: 0, inner }
    }
}

/// Of what a row of the input is made: `count` pieces of `length` values, `apart` from the start of one to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segments {
    pub(super) count: usize,
    pub(super) apart: usize,
    pub(super) length: usize,
}

/// What follows the sum; scale and shift are as long as the panels have columns, or empty.
#[derive(Debug, Clone)]
pub(super) struct Finish {
    pub(super) activation: Activation,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl Finish {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self { activation: Activation::Identity, scale: Vec::new(), shift: Vec::new() }
    }
}

/// A second output: what was stored plus what stands `offset` values behind it in the output.
pub(super) struct Second<'a> {
    pub(super) offset: usize,
    pub(super) out: &'a mut [f32],
    pub(super) out_at: Strides,
}

/// (outer, inner) rows of products.
pub(super) struct Tiles<'a> {
    pub(super) outer: usize,
    pub(super) inner: usize,
    pub(super) input: &'a [f32],
    pub(super) input_at: Strides,
    pub(super) segments: Segments,
    pub(super) panels: &'a Panels,
    /// Which of the panels; the output's columns are counted from the first of them.
    pub(super) range: Range<usize>,
    /// As long as the panels have columns.
    pub(super) bias: &'a [f32],
    /// The same again, as long as there are columns, or empty.
    pub(super) added: &'a [f32],
    pub(super) finish: &'a Finish,
    /// Added before the activation.
    pub(super) residual: Option<(&'a [f32], Strides)>,
    pub(super) out: &'a mut [f32],
    pub(super) out_at: Strides,
    pub(super) columns: usize,
    pub(super) second: Option<Second<'a>>,
}

/// Steps of a panel that are done for all rows before the next ones: 192 KiB of weights on 16 lanes, which stay in a
/// second-level cache beside those that are fetched for the next ones.
const DEPTH: usize = 768;
/// Steps between two requests for a line of the weights that come next.
const AHEAD: usize = 4;

impl Job for Tiles<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let vectors = self.panels.width() / L::WIDTH;
        assert_eq!(self.panels.width(), vectors * L::WIDTH, "packed for another tier");
        match vectors {
            1 => self.each_panel::<L, 1>(l),
            2 => self.each_panel::<L, 2>(l),
            VECTORS => self.each_panel::<L, VECTORS>(l),
            _ => unreachable!("panels hold one vector, two or four"),
        }
    }
}

impl Tiles<'_> {
    /// All rows of each panel of `V` vectors.
    #[inline(always)]
    fn each_panel<L: Lanes, const V: usize>(&mut self, l: L) {
        let depth = self.segments.count * self.segments.length;
        let blocks = depth.div_ceil(DEPTH * VECTORS / V).max(1);
        let size = depth.div_ceil(blocks);
        for panel in self.range.clone() {
            for block in 0..blocks {
                let (first, last) = ((block * size).min(depth), ((block + 1) * size).min(depth));
                let ahead = (panel * depth + last) * L::WIDTH * V;
                let until = (ahead + size * L::WIDTH * V).min(self.panels.all().len());
                let mut tile = Tile::<L, V> { l, tiles: self, panel, first, last, outer: 0, ahead, until };
                for outer in 0..tile.tiles.outer {
                    tile.outer = outer;
                    if V < VECTORS {
                        for_narrow_blocks::<L, V, _>(tile.tiles.inner, &mut tile);
                    } else {
                        for_row_blocks::<L, _>(tile.tiles.inner, &mut tile);
                    }
                }
            }
        }
    }
}

/// Rows of one panel, steps `first .. last` of their sums.
struct Tile<'t, 'a, L, const V: usize> {
    l: L,
    tiles: &'t mut Tiles<'a>,
    panel: usize,
    first: usize,
    last: usize,
    outer: usize,
    /// Index of the weight to be asked for next, and where that ends.
    ahead: usize,
    until: usize,
}

impl<L: Lanes, const V: usize> RowBlock for Tile<'_, '_, L, V> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, row: usize) {
        let l = self.l;
        let width = V * L::WIDTH;
        let column = self.panel * width;
        let t = &mut *self.tiles;
        let valid = width.min(t.columns - column);
        let at = self.outer * t.out_at.outer + row * t.out_at.inner + column - t.range.start * width;

        let mut sums: [[L::Vector; V]; R] = [load_vectors(l, &t.bias[column..column + width]); R];
        if self.first > 0 {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = load_columns(l, &t.out[at + r * t.out_at.inner..][..valid]);
            }
        } else if !t.added.is_empty() {
            let added: [L::Vector; V] = load_columns(l, &t.added[column..][..valid]);
            for sum in &mut sums {
                for (value, &added) in sum.iter_mut().zip(&added) {
                    *value = l.add(*value, added);
                }
            }
        }
        let Segments { count, apart, length } = t.segments;
        let start = self.outer * t.input_at.outer + row * t.input_at.inner;
        let weights = t.panels.weights(self.panel);
        let mut k = self.first;
        while k < self.last {
            let (segment, from) = (k / length, k % length);
            let steps = (length - from).min(self.last - k);
            debug_assert!(segment < count);
            let input = &t.input[start + segment * apart + from..];
            self.ahead = accumulate(
                l,
                input,
                t.input_at.inner,
                &weights[k * width..(k + steps) * width],
                &t.panels.all()[..self.until],
                self.ahead,
                &mut sums,
            );
            k += steps;
        }
        let done = self.last == count * length;
        if done {
            finish(l, t, column, valid, self.outer, row, &mut sums);
        }
        for (r, sum) in sums.iter().enumerate() {
            store_columns(l, sum, &mut t.out[at + r * t.out_at.inner..][..valid]);
        }
        if let (true, Some(second)) = (done, &mut t.second) {
            let to = self.outer * second.out_at.outer + row * second.out_at.inner + column;
            for (r, sum) in sums.iter().enumerate() {
                let mut sum = *sum;
                let addend: [L::Vector; V] =
                    load_columns(l, &t.out[at + r * t.out_at.inner + second.offset..][..valid]);
                for (value, &addend) in sum.iter_mut().zip(&addend) {
                    *value = flush(l, l.add(*value, addend));
                }
                store_columns(l, &sum, &mut second.out[to + r * second.out_at.inner..][..valid]);
            }
        }
    }
}

/// Residual, activation, scale and shift of `valid` columns from `column` on.
#[inline(always)]
fn finish<L: Lanes, const V: usize, const R: usize>(
    l: L,
    t: &Tiles<'_>,
    column: usize,
    valid: usize,
    outer: usize,
    row: usize,
    sums: &mut [[L::Vector; V]; R],
) {
    let width = V * L::WIDTH;
    if let Some((values, at)) = t.residual {
        let first = outer * at.outer + row * at.inner + column;
        for (r, sum) in sums.iter_mut().enumerate() {
            let addend: [L::Vector; V] = load_columns(l, &values[first + r * at.inner..][..valid]);
            for (value, &addend) in sum.iter_mut().zip(&addend) {
                *value = l.add(*value, addend);
            }
        }
    }
    match t.finish.activation {
        Activation::Identity => {}
        Activation::Relu => {
            for value in sums.as_flattened_mut() {
                *value = l.max(l.splat(0.0), *value);
            }
        }
        Activation::LeakyRelu(slope) => {
            for value in sums.as_flattened_mut() {
                *value = l.max(l.mul(*value, l.splat(slope)), *value);
            }
        }
    }
    if !t.finish.scale.is_empty() {
        let scale: [L::Vector; V] = load_vectors(l, &t.finish.scale[column..column + width]);
        let shift: [L::Vector; V] = load_vectors(l, &t.finish.shift[column..column + width]);
        for sum in sums.iter_mut() {
            for ((value, &scale), &shift) in sum.iter_mut().zip(&scale).zip(&shift) {
                *value = l.mul_add(*value, scale, shift);
            }
        }
    }
    for value in sums.as_flattened_mut() {
        *value = flush(l, *value);
    }
}

/// `V` vectors from as many values as there are, zeros behind them.
#[inline(always)]
fn load_columns<L: Lanes, const V: usize>(l: L, values: &[f32]) -> [L::Vector; V] {
    let width = V * L::WIDTH;
    if values.len() == width {
        load_vectors(l, values)
    } else {
        let mut whole = [0.0; VECTORS * WIDEST];
        whole[..values.len()].copy_from_slice(values);
        load_vectors(l, &whole[..width])
    }
}

/// `sums[r] += sum over k of input[r * row + k] * weights[k]`, four vectors of weights a step. On the way asks for one line
/// of `all` every few steps, from `ahead` on; returns where to go on asking.
#[inline(always)]
fn accumulate<L: Lanes, const V: usize, const R: usize>(
    l: L,
    input: &[f32],
    row: usize,
    weights: &[f32],
    all: &[f32],
    ahead: usize,
    sums: &mut [[L::Vector; V]; R],
) -> usize {
    // Where rows are many, more steps at a time would not fit the registers.
    if V == 2 {
        accumulate_by::<L, V, R, 2>(l, input, row, weights, all, ahead, sums)
    } else {
        accumulate_by::<L, V, R, AHEAD>(l, input, row, weights, all, ahead, sums)
    }
}

/// The same, `N` steps at a time.
#[inline(always)]
fn accumulate_by<L: Lanes, const V: usize, const R: usize, const N: usize>(
    l: L,
    input: &[f32],
    row: usize,
    weights: &[f32],
    all: &[f32],
    ahead: usize,
    sums: &mut [[L::Vector; V]; R],
) -> usize {
    let width = V * L::WIDTH;
    let depth = weights.len() / width;
    assert!((R - 1) * row + depth <= input.len(), "{R} rows {row} apart of {depth} values in {}", input.len());
    let mut rows = [input.as_ptr(); R];
    for (r, from) in rows.iter_mut().enumerate() {
        // SAFETY: `r < R`, for which the assertion found room in `input`.
        *from = unsafe { from.add(r * row) };
    }
    let mut ahead = ahead;
    let mut held = *sums;
    for (k, weights) in weights.chunks_exact(N * width).enumerate() {
        l.prefetch_later(all, ahead);
        ahead += LINE;
        // SAFETY: `k` chunks and this one are in the depth, which the assertion found room for in every row.
        unsafe { steps::<L, V, R, N>(l, &rows, k * N, weights, &mut held) };
    }
    for k in depth / N * N..depth {
        // SAFETY: `k < depth`, which the assertion found room for in every row.
        unsafe { steps::<L, V, R, 1>(l, &rows, k, &weights[k * width..(k + 1) * width], &mut held) };
    }
    *sums = held;
    ahead
}

/// Values in a cache line.
const LINE: usize = 16;

/// `N` steps from `first` on.
///
/// # Safety
/// Each of `rows` points to `first + N` values at least.
#[inline(always)]
unsafe fn steps<L: Lanes, const V: usize, const R: usize, const N: usize>(
    l: L,
    rows: &[*const f32; R],
    first: usize,
    weights: &[f32],
    held: &mut [[L::Vector; V]; R],
) {
    let width = V * L::WIDTH;
    assert!(weights.len() >= N * width);
    for n in 0..N {
        // No closures in here: each would be compiled without the tier's instructions where it is not inlined.
        let mut w = [l.splat(0.0); V];
        for (j, w) in w.iter_mut().enumerate() {
            // SAFETY: the assertion found `N` times `V` vectors.
            *w = unsafe { l.load(weights.as_ptr().add(n * width + j * L::WIDTH)) };
        }
        for (sum, from) in held.iter_mut().zip(rows) {
            // SAFETY: the caller vouches for `first + N` values.
            let x = l.splat(unsafe { *from.add(first + n) });
            for (sum, &w) in sum.iter_mut().zip(&w) {
                *sum = l.mul_add(x, w, *sum);
            }
        }
    }
}
