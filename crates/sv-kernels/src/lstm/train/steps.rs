//! The time loops of a layer: forward, with everything kept, and backward.

use super::products::FromPanels;
use crate::gemm::pack::Panels;
use crate::gemm::{Product, RowBlock, VECTORS, WIDEST, accumulate, for_row_blocks, load_panel_row, store_panel_row};
use crate::lanes::{Job, Lanes};
use crate::math::{flush, flush_one, one_plus_exp_minus, tanh_quotient};

/// Some frames of one layer, forward.
pub(super) struct Forward<'a> {
    pub(super) sequences: usize,
    pub(super) frames: usize,
    /// Units H.
    pub(super) hidden: usize,
    /// Output size S.
    pub(super) output: usize,
    pub(super) recurrent: &'a Panels,
    pub(super) projection: Option<&'a Panels>,
    /// (panels, frames * sequences, width): what the input adds to the gates; left with the gates after their functions.
    pub(super) gates: &'a mut [f32],
    /// ((1 + frames) * sequences, S): first the state at the start, then what is computed here.
    pub(super) states: &'a mut [f32],
    /// ((1 + frames) * sequences, padded H): the same of the cell state.
    pub(super) cells: &'a mut [f32],
    /// (frames * sequences, `unprojected_stride`): outputs before projection, if there is one.
    pub(super) unprojected: &'a mut [f32],
    pub(super) unprojected_stride: usize,
}

impl Job for Forward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (b, s) = (self.sequences, self.output);
        let padded = self.recurrent.count() * L::WIDTH;
        assert_eq!(self.recurrent.width(), VECTORS * L::WIDTH, "packed for another tier");
        for frame in 0..self.frames {
            let (before, now) = self.states.split_at_mut((frame + 1) * b * s);
            let next = &mut now[..b * s];
            let (cells, new_cells) = self.cells.split_at_mut((frame + 1) * b * padded);
            let stride = self.unprojected_stride;
            let (target, target_stride) = if self.projection.is_some() {
                (&mut self.unprojected[frame * b * stride..][..b * stride], stride)
            } else {
                (&mut *next, s)
            };
            let mut step = ForwardStep {
                l,
                recurrent: self.recurrent,
                gates: &mut *self.gates,
                row: frame * b,
                rows: self.frames * b,
                state: &before[frame * b * s..],
                output: s,
                hidden: self.hidden,
                padded,
                cells: &cells[frame * b * padded..],
                new_cells: &mut new_cells[..b * padded],
                target,
                target_stride,
                panel: 0,
            };
            // Every other frame backwards: of weights that are a little too many for the cache, it begins with those
            // that the frame before has just used.
            for index in 0..self.recurrent.count() {
                step.panel = if frame.is_multiple_of(2) { index } else { self.recurrent.count() - 1 - index };
                for_row_blocks::<L, _>(b, &mut step);
            }
            if let Some(projection) = self.projection {
                let input = &self.unprojected[frame * b * stride..][..b * stride];
                let out = &mut *next;
                Product { rows: b, input, input_stride: stride, panels: projection, out, out_stride: s, columns: s }
                    .run(l);
                for value in next.iter_mut() {
                    *value = flush_one(*value);
                }
            }
        }
    }
}

/// One panel of units at one frame.
struct ForwardStep<'a, L> {
    l: L,
    recurrent: &'a Panels,
    gates: &'a mut [f32],
    row: usize,
    rows: usize,
    state: &'a [f32],
    output: usize,
    hidden: usize,
    padded: usize,
    cells: &'a [f32],
    new_cells: &'a mut [f32],
    target: &'a mut [f32],
    target_stride: usize,
    panel: usize,
}

impl<L: Lanes> RowBlock for ForwardStep<'_, L> {
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize) {
        let (l, width) = (self.l, VECTORS * L::WIDTH);
        let unit = self.panel * L::WIDTH;
        let valid = L::WIDTH.min(self.hidden - unit);
        let mut sums = [[l.splat(0.0); VECTORS]; R];
        accumulate(l, &self.state[first * self.output..], self.output, self.recurrent.weights(self.panel), &mut sums);
        let gates = &mut self.gates[(self.panel * self.rows + self.row + first) * width..][..R * width];
        for (r, (sum, gates)) in sums.iter().zip(gates.chunks_exact_mut(width)).enumerate() {
            let input = load_panel_row(l, gates);
            let z = std::array::from_fn(|gate| l.add(sum[gate], input[gate]));
            let cell = load(l, &self.cells[(first + r) * self.padded + unit..]);
            let (output, cell, kept) = advance(l, z, cell);
            store_panel_row(l, &kept, gates);
            store(l, cell, &mut self.new_cells[(first + r) * self.padded + unit..]);
            store_some(l, output, &mut self.target[(first + r) * self.target_stride + unit..][..valid]);
        }
    }
}

/// The cell: (output, new cell state, gates i, f, g, o after their functions) of the gates before them.
#[inline(always)]
fn advance<L: Lanes>(
    l: L,
    [i, f, g, o]: [L::Vector; VECTORS],
    c: L::Vector,
) -> (L::Vector, L::Vector, [L::Vector; VECTORS]) {
    let (i, f, g, o) = (sigmoid(l, i), sigmoid(l, f), tanh(l, g), sigmoid(l, o));
    let c = flush(l, l.mul_add(f, c, l.mul(i, g)));
    (flush(l, l.mul(o, tanh(l, c))), c, [i, f, g, o])
}

// Functions, not closures, here and below: a closure is compiled without the tier's instructions and, unless it is inlined,
// each of them becomes a call.
#[inline(always)]
fn sigmoid<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    flush(l, l.div(l.splat(1.0), one_plus_exp_minus(l, x)))
}

#[inline(always)]
fn tanh<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let (over, under) = tanh_quotient(l, x);
    // The quotient may be a little above 1 where it saturates: 1 - tanh^2 must not be negative.
    flush(l, l.max(l.splat(-1.0), l.min(l.splat(1.0), l.div(over, under))))
}

/// The same frames of the layer, backward.
pub(super) struct Backward<'a> {
    pub(super) sequences: usize,
    pub(super) frames: usize,
    pub(super) hidden: usize,
    pub(super) output: usize,
    /// Both packed transposed.
    pub(super) recurrent: &'a Panels,
    pub(super) projection: Option<&'a Panels>,
    /// (panels, frames * sequences, width): the gates; left with the gradient of what they are functions of.
    pub(super) gates: &'a mut [f32],
    /// ((1 + frames) * sequences, padded H)
    pub(super) cells: &'a [f32],
    /// (frames * sequences, S): gradient of the outputs from above; what the frames after add is added here.
    pub(super) outputs: &'a mut [f32],
    /// (sequences, S), (sequences, padded H): gradient of the states after these frames; left with that of those before.
    pub(super) state: &'a mut [f32],
    pub(super) cell: &'a mut [f32],
    /// (sequences, columns of `projection`), if there is one.
    pub(super) unprojected: &'a mut [f32],
}

impl Job for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (b, s, rows) = (self.sequences, self.output, self.frames * self.sequences);
        let width = VECTORS * L::WIDTH;
        let panels = self.hidden.div_ceil(L::WIDTH);
        let padded = panels * L::WIDTH;
        for frame in (0..self.frames).rev() {
            let outputs = &mut self.outputs[frame * b * s..][..b * s];
            for (output, &state) in outputs.iter_mut().zip(&*self.state) {
                *output = flush_one(*output + state);
            }
            let (source, stride): (&[f32], usize) = match self.projection {
                Some(panels) => {
                    let columns = panels.columns();
                    let out = &mut self.unprojected[..b * columns];
                    Product { rows: b, input: outputs, input_stride: s, panels, out, out_stride: columns, columns }
                        .run(l);
                    (&*self.unprojected, columns)
                }
                None => (outputs, s),
            };
            for panel in 0..panels {
                let unit = panel * L::WIDTH;
                let valid = L::WIDTH.min(self.hidden - unit);
                let gates = &mut self.gates[(panel * rows + frame * b) * width..][..b * width];
                for (row, gates) in gates.chunks_exact_mut(width).enumerate() {
                    let output = flush(l, load_some(l, &source[row * stride + unit..][..valid]));
                    let before = load(l, &self.cells[(frame * b + row) * padded + unit..]);
                    let after = load(l, &self.cells[((frame + 1) * b + row) * padded + unit..]);
                    let carried = &mut self.cell[row * padded + unit..];
                    let kept = load_panel_row(l, gates);
                    let (slopes, cell) = retreat(l, kept, before, after, output, load(l, carried));
                    store_panel_row(l, &slopes, gates);
                    store(l, cell, carried);
                }
            }
            FromPanels {
                rows: b,
                first: frame * b,
                block: rows,
                gates: &*self.gates,
                panels: self.recurrent,
                out: &mut *self.state,
                columns: s,
            }
            .run(l);
        }
    }
}

/// The cell backward: the gradients of the gates before their functions and of the cell state before, from those of the
/// output and of the cell state after. Each product of two is flushed before it meets a third, so that none is denormal.
#[inline(always)]
fn retreat<L: Lanes>(
    l: L,
    [i, f, g, o]: [L::Vector; VECTORS],
    before: L::Vector,
    after: L::Vector,
    output: L::Vector,
    cell: L::Vector,
) -> ([L::Vector; VECTORS], L::Vector) {
    let squashed = tanh(l, after);
    let cell = flush(l, l.add(cell, l.mul(times(l, output, o), tanh_slope(l, squashed))));
    let slopes = [
        times(l, times(l, cell, g), sigmoid_slope(l, i)),
        times(l, times(l, cell, before), sigmoid_slope(l, f)),
        times(l, times(l, cell, i), tanh_slope(l, g)),
        times(l, times(l, output, squashed), sigmoid_slope(l, o)),
    ];
    (slopes, times(l, cell, f))
}

#[inline(always)]
fn times<L: Lanes>(l: L, a: L::Vector, b: L::Vector) -> L::Vector {
    flush(l, l.mul(a, b))
}

/// The slope of a sigmoid where its value is `y`.
#[inline(always)]
fn sigmoid_slope<L: Lanes>(l: L, y: L::Vector) -> L::Vector {
    times(l, y, l.sub(l.splat(1.0), y))
}

/// The slope of tanh where its value is `y`.
#[inline(always)]
fn tanh_slope<L: Lanes>(l: L, y: L::Vector) -> L::Vector {
    l.sub(l.splat(1.0), l.mul(y, y))
}

#[inline(always)]
fn load<L: Lanes>(l: L, from: &[f32]) -> L::Vector {
    assert!(from.len() >= L::WIDTH);
    // SAFETY: the slice holds `WIDTH` values.
    unsafe { l.load(from.as_ptr()) }
}

#[inline(always)]
fn store<L: Lanes>(l: L, vector: L::Vector, to: &mut [f32]) {
    assert!(to.len() >= L::WIDTH);
    // SAFETY: the slice holds `WIDTH` values.
    unsafe { l.store(to.as_mut_ptr(), vector) };
}

/// The values there are, zeros behind them.
#[inline(always)]
fn load_some<L: Lanes>(l: L, from: &[f32]) -> L::Vector {
    if from.len() == L::WIDTH {
        return load(l, from);
    }
    let mut whole = [0.0_f32; WIDEST];
    whole[..from.len()].copy_from_slice(from);
    load(l, &whole)
}

/// As many values as there is room for.
#[inline(always)]
fn store_some<L: Lanes>(l: L, vector: L::Vector, to: &mut [f32]) {
    if to.len() == L::WIDTH {
        return store(l, vector, to);
    }
    let mut whole = [0.0_f32; WIDEST];
    store(l, vector, &mut whole);
    to.copy_from_slice(&whole[..to.len()]);
}
