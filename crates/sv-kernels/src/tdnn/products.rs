//! The three products of a linear layer in training: its output, the gradient of its input and that of its weights.

use rayon::prelude::*;

use super::share;
use crate::gemm::pack::Panels;
use crate::gemm::{
    RowBlock, VECTORS, WIDEST, accumulate_strided, for_row_blocks, load_panel_row, product, store_columns,
};
use crate::lanes::{Job, Lanes};
use crate::tier::Tier;

/// `out = x W^T + bias`: `x` (rows, inputs), `weight` (outputs, inputs), `bias` (outputs, or empty), `out` (rows, outputs).
pub(crate) fn forward(tier: Tier, x: &[f32], inputs: usize, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let outputs = weight.len() / inputs;
    let mut panels = Panels::default();
    panels.set_dense(tier, inputs, outputs, weight, bias);
    apply(tier, x, inputs, &panels, out, outputs);
}

/// `out = y W`, the gradient of the input: `y` (rows, outputs), `weight` (outputs, inputs), `out` (rows, inputs).
pub(crate) fn input_slope(tier: Tier, y: &[f32], outputs: usize, weight: &[f32], out: &mut [f32]) {
    let inputs = weight.len() / outputs;
    let mut panels = Panels::default();
    panels.set_dense_transposed(tier, inputs, outputs, weight);
    apply(tier, y, outputs, &panels, out, inputs);
}

fn apply(tier: Tier, x: &[f32], inputs: usize, panels: &Panels, out: &mut [f32], outputs: usize) {
    let share = share(x.len() / inputs);
    x.par_chunks(share * inputs).zip(out.par_chunks_mut(share * outputs)).for_each(|(x, out)| {
        product(tier, x.len() / inputs, x, inputs, panels, out, outputs, outputs);
    });
}

/// Rows of `y` and `x` that are multiplied at a time: their packed panel, 128 KiB at 16 lanes, stays in the cache.
const DEPTH: usize = 512;

/// `out = y^T x`, the gradient of the weights: `y` (rows, outputs), `x` (rows, inputs), `out` (outputs, inputs).
pub(crate) fn weight_slope(tier: Tier, y: &[f32], outputs: usize, x: &[f32], inputs: usize, out: &mut [f32]) {
    assert_eq!((y.len() / outputs, out.len()), (x.len() / inputs, outputs * inputs));
    let share = share(outputs);
    out.par_chunks_mut(share * inputs).enumerate().for_each(|(index, out)| {
        let first = index * share;
        tier.run(Outer { y, outputs, first, count: out.len() / inputs, x, inputs, out });
    });
}

/// Some rows of the gradient of the weights.
struct Outer<'a> {
    /// (rows, outputs), of which the `count` columns from `first` on.
    y: &'a [f32],
    outputs: usize,
    first: usize,
    count: usize,
    /// (rows, inputs)
    x: &'a [f32],
    inputs: usize,
    /// (count, inputs)
    out: &'a mut [f32],
}

impl Job for Outer<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = VECTORS * L::WIDTH;
        let Self { y, outputs, first, count, x, inputs, out } = self;
        let mut strips = vec![0.0; DEPTH * count];
        let mut panel = vec![0.0; DEPTH * width];
        let chunks = y.chunks(DEPTH * outputs).zip(x.chunks(DEPTH * inputs));
        for (chunk, (y, x)) in chunks.enumerate() {
            let depth = x.len() / inputs;
            for_row_blocks::<L, _>(count, &mut Strips { y, outputs, first, depth, strips: &mut strips });
            for start in (0..inputs).step_by(width) {
                let valid = width.min(inputs - start);
                for (to, from) in panel.chunks_exact_mut(width).zip(x.chunks_exact(inputs)) {
                    to[..valid].copy_from_slice(&from[start..start + valid]);
                    to[valid..].fill(0.0);
                }
                let panel = &panel[..depth * width];
                let goes_on = chunk > 0;
                let mut tile = Tile { l, strips: &strips, panel, depth, out: &mut *out, inputs, start, valid, goes_on };
                for_row_blocks::<L, _>(count, &mut tile);
            }
        }
    }
}

/// Packs the columns of a block, row after row of `y`.
struct Strips<'a> {
    y: &'a [f32],
    outputs: usize,
    first: usize,
    depth: usize,
    strips: &'a mut [f32],
}

impl RowBlock for Strips<'_> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let to = &mut self.strips[first * self.depth..][..R * self.depth];
        let column = self.first + first;
        for (to, from) in to.chunks_exact_mut(R).zip(self.y.chunks_exact(self.outputs)) {
            to.copy_from_slice(&from[column..column + R]);
        }
    }
}

/// One panel of columns of the gradient.
struct Tile<'a, L> {
    l: L,
    strips: &'a [f32],
    panel: &'a [f32],
    depth: usize,
    out: &'a mut [f32],
    inputs: usize,
    start: usize,
    valid: usize,
    /// Whether what is there is added to.
    goes_on: bool,
}

impl<L: Lanes> RowBlock for Tile<'_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, width) = (self.l, VECTORS * L::WIDTH);
        let mut sums = [[l.splat(0.0); VECTORS]; R];
        if self.goes_on {
            for (r, sum) in sums.iter_mut().enumerate() {
                let from = &self.out[(first + r) * self.inputs + self.start..][..self.valid];
                let mut whole = [0.0; VECTORS * WIDEST];
                whole[..self.valid].copy_from_slice(from);
                *sum = load_panel_row(l, &whole[..width]);
            }
        }
        let strip = &self.strips[first * self.depth..][..R * self.depth];
        accumulate_strided(l, strip, [1, R], self.panel, width, self.depth, &mut sums);
        for (r, sum) in sums.iter().enumerate() {
            store_columns(l, sum, &mut self.out[(first + r) * self.inputs + self.start..][..self.valid]);
        }
    }
}
