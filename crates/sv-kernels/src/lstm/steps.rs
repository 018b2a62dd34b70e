//! The recurrent half of a layer: for each frame the product with the state, and the cell in the same registers.

use crate::gemm::pack::Panels;
use crate::gemm::{RowBlock, VECTORS, WIDEST, accumulate, for_row_blocks, load_panel_row};
use crate::lanes::{Abreast, Job, Lanes};
use crate::math::{flush, flush_one, one_plus_exp_minus, tanh_quotient};

/// Values of a cache line.
const LINE: usize = 16;

/// Some frames of one layer for some sequences, time-major: row `frame * sequences + sequence`.
pub(super) struct Steps<'a> {
    pub(super) sequences: usize,
    pub(super) frames: usize,
    /// Units H.
    pub(super) hidden: usize,
    /// Output size S.
    pub(super) output: usize,
    pub(super) recurrent: &'a Panels,
    pub(super) projection: Option<&'a Panels>,
    /// (frames * sequences, columns of `recurrent`): what the input adds to the gates, bias included.
    pub(super) gates: &'a [f32],
    /// ((1 + frames) * sequences, S): first the state at the start, then what is computed here.
    pub(super) states: &'a mut [f32],
    /// (sequences, padded H): the cell state, moved on.
    pub(super) cells: &'a mut [f32],
    /// (sequences, H): outputs before projection; unused without one.
    pub(super) unprojected: &'a mut [f32],
    /// Frames still to go of each sequence, counted from the first frame here: 0 is over already.
    pub(super) remaining: &'a [usize],
    /// (sequences, H): where the cell state goes after a sequence's own last frame.
    pub(super) final_cells: &'a mut [f32],
}

impl Job for Steps<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (b, h, s) = (self.sequences, self.hidden, self.output);
        let padded = self.recurrent.count() * L::WIDTH;
        assert_eq!(self.recurrent.width(), VECTORS * L::WIDTH, "packed for another tier");
        for frame in 0..self.frames {
            let (before, now) = self.states.split_at_mut((frame + 1) * b * s);
            let state = &before[frame * b * s..];
            let next = &mut now[..b * s];
            let target = if self.projection.is_some() { &mut self.unprojected[..b * h] } else { &mut *next };
            let columns = self.recurrent.columns();
            let mut step = Step {
                l,
                recurrent: self.recurrent,
                gates: &self.gates[frame * b * columns..][..b * columns],
                state,
                output: s,
                hidden: h,
                padded,
                cells: &mut *self.cells,
                target,
                panel: 0,
            };
            // Every other frame backwards: of weights that are a little too many for the cache, it begins with those
            // that the frame before has just used.
            for index in 0..self.recurrent.count() {
                step.panel = if frame.is_multiple_of(2) { index } else { self.recurrent.count() - 1 - index };
                for_row_blocks::<L, _>(b, &mut step);
            }
            if let Some(projection) = self.projection {
                let product = crate::gemm::Product {
                    rows: b,
                    input: &self.unprojected[..b * h],
                    input_stride: h,
                    panels: projection,
                    out: &mut *next,
                    out_stride: s,
                    columns: s,
                };
                product.run(l);
                for value in next.iter_mut() {
                    *value = flush_one(*value);
                }
            }
            for (sequence, _) in self.remaining.iter().enumerate().filter(|&(_, &frames)| frames == frame + 1) {
                self.final_cells[sequence * h..][..h].copy_from_slice(&self.cells[sequence * padded..][..h]);
            }
        }
    }
}

/// One panel of units at one frame.
struct Step<'a, L> {
    l: L,
    recurrent: &'a Panels,
    gates: &'a [f32],
    state: &'a [f32],
    output: usize,
    hidden: usize,
    padded: usize,
    cells: &'a mut [f32],
    target: &'a mut [f32],
    panel: usize,
}

impl<L: Lanes> RowBlock for Step<'_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, width) = (self.l, VECTORS * L::WIDTH);
        let columns = self.recurrent.columns();
        let gates = |r: usize| &self.gates[(first + r) * columns + self.panel * width..][..width];
        // The input's part lies in the slowest cache, a row a page: asked for now, it is there when the product is done.
        for r in 0..R {
            for line in 0..width / LINE {
                l.prefetch(gates(r), line * LINE);
            }
        }
        let mut sums = [[l.splat(0.0); VECTORS]; R];
        accumulate(l, &self.state[first * self.output..], self.output, self.recurrent.weights(self.panel), &mut sums);
        for (r, sum) in sums.iter_mut().enumerate() {
            let input = load_panel_row(l, gates(r));
            *sum = std::array::from_fn(|gate| l.add(sum[gate], input[gate]));
        }
        let mut r = 0;
        while r + 2 <= R {
            self.cells::<2>(first + r, [sums[r], sums[r + 1]]);
            r += 2;
        }
        if r < R {
            self.cells::<1>(first + r, [sums[r]]);
        }
    }
}

impl<L: Lanes> Step<'_, L> {
    /// Moves the cells of this panel's units on, for `N` rows from `first`.
    #[inline(always)]
    fn cells<const N: usize>(&mut self, first: usize, gates: [[L::Vector; VECTORS]; N]) {
        let l = self.l;
        let unit = self.panel * L::WIDTH;
        let valid = L::WIDTH.min(self.hidden - unit);
        let mut cells = [l.splat(0.0); N];
        for (r, cell) in cells.iter_mut().enumerate() {
            let values = &self.cells[(first + r) * self.padded + unit..][..L::WIDTH];
            // SAFETY: the slice holds `WIDTH` values.
            *cell = unsafe { l.load(values.as_ptr()) };
        }
        let by_gate = std::array::from_fn(|gate| std::array::from_fn(|r| gates[r][gate]));
        let (outputs, cells) = advance(Abreast::<L, N>(l), by_gate, cells);
        for r in 0..N {
            let values = &mut self.cells[(first + r) * self.padded + unit..][..L::WIDTH];
            // SAFETY: the slice holds `WIDTH` values.
            unsafe { l.store(values.as_mut_ptr(), cells[r]) };
            let target = &mut self.target[(first + r) * self.hidden + unit..][..valid];
            if valid == L::WIDTH {
                // SAFETY: `valid`, the length of the slice, is `WIDTH`.
                unsafe { l.store(target.as_mut_ptr(), outputs[r]) };
            } else {
                let mut whole = [0.0_f32; WIDEST];
                // SAFETY: no vector is wider than `WIDEST`.
                unsafe { l.store(whole.as_mut_ptr(), outputs[r]) };
                target.copy_from_slice(&whole[..valid]);
            }
        }
    }
}

/// The cell: (output, new cell state) of the gates i, f, g, o before their functions. Three divisions for five functions:
/// `s(i) tanh(g) = over(g) / (under(g) (1 + e^-i))`.
#[inline(always)]
fn advance<L: Lanes>(l: L, [i, f, g, o]: [L::Vector; VECTORS], c: L::Vector) -> (L::Vector, L::Vector) {
    let (over, under) = tanh_quotient(l, g);
    let new = l.div(over, l.mul(under, one_plus_exp_minus(l, i)));
    let kept = l.div(c, one_plus_exp_minus(l, f));
    let c = flush(l, l.add(kept, new));
    let (over, under) = tanh_quotient(l, c);
    (flush(l, l.div(over, l.mul(under, one_plus_exp_minus(l, o)))), c)
}
