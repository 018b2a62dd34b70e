//! One thread's sequences: forward through all layers and back, block of frames by block of frames. All rows here are
//! time-major: `frame * sequences + sequence`.

use super::products::{FromPanels, IntoPanels, Outer, RowSums};
use super::steps::{Backward, Forward};
use super::{LstmSlopes, PackedLayer};
use crate::buffer::Buffer;
use crate::gemm::VECTORS;
use crate::lstm::Batch;
use crate::math::flush_one;
use crate::tier::Tier;

/// Rows (frames times sequences) of a block: the depth of the products that give the weights' gradients, whose packed
/// operand, 128 KiB, stays in the cache beside the inputs.
const BLOCK_ROWS: usize = 512;

/// What one thread's forward pass keeps, and what its backward pass needs.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) first: usize,
    pub(super) sequences: usize,
    frames: usize,
    input: Buffer,
    layers: Vec<Kept>,
    /// Gradient of a block's outputs and of its inputs, in turns.
    slopes: [Buffer; 2],
    unprojected_slopes: Buffer,
}

/// What is kept of one layer.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Block after block (panels, rows of the block, width): the gates, then their gradients.
    gates: Buffer,
    /// ((1 + T) B, S), ((1 + T) B, padded H)
    states: Buffer,
    cells: Buffer,
    /// (T B, H padded to whole panels)
    unprojected: Buffer,
    /// (B, S), (B, padded H): gradients of the states.
    state_slopes: Buffer,
    cell_slopes: Buffer,
    /// Gradients of the weights, (panels, inputs, width) each; the bias (panels, width).
    pub(super) w_ih: Buffer,
    pub(super) w_hh: Buffer,
    pub(super) bias: Buffer,
    pub(super) w_hr: Buffer,
}

impl Part {
    /// What is kept of a layer.
    pub(super) fn kept(&self, layer: usize) -> &Kept {
        &self.layers[layer]
    }

    /// Frames of a block.
    fn block(&self) -> usize {
        (BLOCK_ROWS / self.sequences.max(1)).max(1)
    }

    pub(super) fn forward(&mut self, tier: Tier, layers: &[PackedLayer], batch: &Batch<'_>) {
        let (b, frames) = (self.sequences, batch.frames);
        self.frames = frames;
        if self.layers.len() < layers.len() {
            self.layers.resize_with(layers.len(), Kept::default);
        }
        self.load_input(layers[0].sizes.input, batch);
        self.begin(layers, batch);
        let block = self.block();
        for first in (0..frames).step_by(block) {
            let count = block.min(frames - first);
            let rows = count * b;
            for (index, layer) in layers.iter().enumerate() {
                let sizes = layer.sizes;
                let (s, inputs) = (sizes.output(), sizes.input);
                let (below, rest) = self.layers.split_at_mut(index);
                let kept = &mut rest[0];
                let input = match below.last() {
                    Some(below) => &below.states.values()[(1 + first) * b * inputs..],
                    None => &self.input.values()[first * b * inputs..],
                };
                let columns = layer.recurrent.columns();
                let padded = columns / VECTORS;
                let gates = &mut kept.gates.values_mut()[first * b * columns..][..rows * columns];
                let input = &input[..rows * inputs];
                tier.run(IntoPanels { rows, input, inputs, panels: &layer.input, out: gates });
                let stride = layer.unprojected_columns();
                tier.run(Forward {
                    sequences: b,
                    frames: count,
                    hidden: sizes.hidden,
                    output: s,
                    recurrent: &layer.recurrent,
                    projection: layer.projection.as_ref().map(|projection| &projection.there),
                    gates,
                    states: &mut kept.states.values_mut()[first * b * s..][..(1 + count) * b * s],
                    cells: &mut kept.cells.values_mut()[first * b * padded..][..(1 + count) * b * padded],
                    unprojected: &mut kept.unprojected.values_mut()[first * b * stride..][..rows * stride],
                    unprojected_stride: stride,
                });
            }
        }
    }

    /// Copies the part's sequences into time-major rows.
    fn load_input(&mut self, size: usize, batch: &Batch<'_>) {
        let (b, frames) = (self.sequences, batch.frames);
        let input = self.input.at_least(frames * b * size);
        for sequence in 0..b {
            let from = &batch.input[(self.first + sequence) * frames * size..][..frames * size];
            for (frame, from) in from.chunks_exact(size).enumerate() {
                copy_flushed(&mut input[(frame * b + sequence) * size..][..size], from);
            }
        }
    }

    /// Makes room and puts the starting states in place.
    fn begin(&mut self, layers: &[PackedLayer], batch: &Batch<'_>) {
        let (b, rows) = (self.sequences, batch.frames * self.sequences);
        let (mut h_first, mut c_first) = (0, 0);
        for (layer, kept) in layers.iter().zip(&mut self.layers) {
            let (s, h) = (layer.sizes.output(), layer.sizes.hidden);
            let columns = layer.recurrent.columns();
            let padded = columns / VECTORS;
            kept.gates.at_least(rows * columns);
            kept.unprojected.at_least(rows * layer.unprojected_columns());
            let state = &mut kept.states.at_least((rows + b) * s)[..b * s];
            let cell = &mut kept.cells.at_least((rows + b) * padded)[..b * padded];
            cell.fill(0.0);
            match batch.start {
                Some((h0, c0)) => {
                    copy_flushed(state, &h0[h_first + self.first * s..][..b * s]);
                    copy_padded(cell, padded, &c0[c_first + self.first * h..][..b * h], h);
                }
                None => state.fill(0.0),
            }
            h_first += batch.sequences * s;
            c_first += batch.sequences * h;
        }
    }

    /// Copies the states after the last frame to their places among those of all `total` sequences.
    pub(super) fn collect_states(&self, layers: &[PackedLayer], total: usize, h_n: &mut [f32], c_n: &mut [f32]) {
        let rows = self.frames * self.sequences;
        let states = layers.iter().zip(&self.layers).map(|(layer, kept)| {
            let padded = layer.recurrent.columns() / VECTORS;
            (&kept.states.values()[rows * layer.sizes.output()..], &kept.cells.values()[rows * padded..])
        });
        self.collect(layers, total, states, h_n, c_n);
    }

    /// The same of the gradients of the states before the first frame.
    pub(super) fn collect_slopes(&self, layers: &[PackedLayer], total: usize, h0: &mut [f32], c0: &mut [f32]) {
        let slopes = self.layers.iter().map(|kept| (kept.state_slopes.values(), kept.cell_slopes.values()));
        self.collect(layers, total, slopes, h0, c0);
    }

    fn collect<'a>(
        &self,
        layers: &[PackedLayer],
        total: usize,
        states: impl Iterator<Item = (&'a [f32], &'a [f32])>,
        all_h: &mut [f32],
        all_c: &mut [f32],
    ) {
        let (b, mut h_first, mut c_first) = (self.sequences, 0, 0);
        for (layer, (state, cell)) in layers.iter().zip(states) {
            let (s, h) = (layer.sizes.output(), layer.sizes.hidden);
            let padded = layer.recurrent.columns() / VECTORS;
            all_h[h_first + self.first * s..][..b * s].copy_from_slice(&state[..b * s]);
            let to = all_c[c_first + self.first * h..][..b * h].chunks_exact_mut(h);
            for (to, from) in to.zip(cell.chunks_exact(padded)) {
                to.copy_from_slice(&from[..h]);
            }
            h_first += total * s;
            c_first += total * h;
        }
    }

    /// Copies the last layer's outputs of the part's own `sequence` (T, S).
    pub(super) fn copy_outputs(&self, layers: &[PackedLayer], sequence: usize, to: &mut [f32]) {
        let last = layers.len() - 1;
        let (b, s) = (self.sequences, layers[last].sizes.output());
        let states = self.layers[last].states.values();
        for (frame, to) in to.chunks_exact_mut(s).enumerate() {
            to.copy_from_slice(&states[((frame + 1) * b + sequence) * s..][..s]);
        }
    }

    /// Back through all layers; `input_slopes` takes the gradient of the part's input (B, T, I), or is empty.
    pub(super) fn backward(
        &mut self,
        tier: Tier,
        layers: &[PackedLayer],
        total: usize,
        slopes: &LstmSlopes<'_>,
        input_slopes: &mut [f32],
    ) {
        let (b, frames) = (self.sequences, self.frames);
        self.begin_backward(layers, total, slopes);
        let block = self.block();
        for first in (0..frames).step_by(block).rev() {
            let count = block.min(frames - first);
            self.load_slopes(layers, slopes.sequence, first, count);
            for (index, layer) in layers.iter().enumerate().rev() {
                let wanted = index > 0 || !input_slopes.is_empty();
                self.layer_backward(tier, index, layer, first, count, wanted);
                let [now, next] = &mut self.slopes;
                std::mem::swap(now, next);
            }
            let size = layers[0].sizes.input;
            if !input_slopes.is_empty() {
                for (row, from) in self.slopes[0].values()[..count * b * size].chunks_exact(size).enumerate() {
                    let (frame, sequence) = (first + row / b, row % b);
                    copy_flushed(&mut input_slopes[(sequence * frames + frame) * size..][..size], from);
                }
            }
        }
    }

    /// One block of frames back through one layer: `slopes[0]` holds the gradient of its outputs, `slopes[1]` takes that
    /// of its inputs.
    fn layer_backward(
        &mut self,
        tier: Tier,
        index: usize,
        layer: &PackedLayer,
        first: usize,
        count: usize,
        wanted: bool,
    ) {
        let (b, rows) = (self.sequences, count * self.sequences);
        let (s, inputs) = (layer.sizes.output(), layer.sizes.input);
        let columns = layer.recurrent.columns();
        let (panels, padded) = (layer.recurrent.count(), columns / VECTORS);
        let width = layer.recurrent.width();
        let (below, rest) = self.layers.split_at_mut(index);
        let kept = &mut rest[0];
        let input = match below.last() {
            Some(below) => &below.states.values()[(1 + first) * b * inputs..][..rows * inputs],
            None => &self.input.values()[first * b * inputs..][..rows * inputs],
        };
        let [outputs, input_slopes] = &mut self.slopes;
        let outputs = outputs.at_least(rows * s);
        let gates = &mut kept.gates.values_mut()[first * b * columns..][..rows * columns];
        let stride = layer.unprojected_columns();
        tier.run(Backward {
            sequences: b,
            frames: count,
            hidden: layer.sizes.hidden,
            output: s,
            recurrent: &layer.recurrent_back,
            projection: layer.projection.as_ref().map(|projection| &projection.back),
            gates,
            cells: &kept.cells.values()[first * b * padded..][..(1 + count) * b * padded],
            outputs,
            state: &mut kept.state_slopes.values_mut()[..b * s],
            cell: &mut kept.cell_slopes.values_mut()[..b * padded],
            unprojected: self.unprojected_slopes.at_least(b * stride),
        });
        if wanted {
            let out = input_slopes.at_least(rows * inputs);
            let panels = &layer.input_back;
            tier.run(FromPanels { rows, first: 0, block: rows, gates, panels, out, columns: inputs });
        }
        let outer = |x, inputs, sums| Outer {
            rows,
            x,
            inputs,
            y: gates,
            apart: width,
            panel_apart: rows * width,
            panels,
            sums,
        };
        tier.run(outer(input, inputs, kept.w_ih.values_mut()));
        tier.run(outer(&kept.states.values()[first * b * s..][..rows * s], s, kept.w_hh.values_mut()));
        tier.run(RowSums { rows, y: gates, sums: &mut kept.bias.values_mut()[..columns] });
        if layer.projection.is_some() {
            tier.run(Outer {
                rows,
                x: outputs,
                inputs: s,
                y: &kept.unprojected.values()[first * b * stride..][..rows * stride],
                apart: stride,
                panel_apart: width,
                panels: stride / width,
                sums: kept.w_hr.values_mut(),
            });
        }
    }

    /// Empties the sums and begins from the gradients of the last states.
    fn begin_backward(&mut self, layers: &[PackedLayer], total: usize, slopes: &LstmSlopes<'_>) {
        let (b, mut h_first, mut c_first) = (self.sequences, 0, 0);
        for (index, (layer, kept)) in layers.iter().zip(&mut self.layers).enumerate() {
            let (s, h) = (layer.sizes.output(), layer.sizes.hidden);
            let columns = layer.recurrent.columns();
            let padded = columns / VECTORS;
            kept.w_ih.at_least(columns * layer.sizes.input).fill(0.0);
            kept.w_hh.at_least(columns * s).fill(0.0);
            kept.bias.at_least(columns).fill(0.0);
            kept.w_hr.at_least(layer.unprojected_columns() * s).fill(0.0);
            let state = kept.state_slopes.at_least(b * s);
            state.fill(0.0);
            if let Some(h_n) = slopes.h_n {
                copy_flushed(state, &h_n[h_first + self.first * s..][..b * s]);
            }
            if let Some(last) = slopes.last.filter(|_| index + 1 == layers.len()) {
                for (to, &from) in state.iter_mut().zip(&last[self.first * s..][..b * s]) {
                    *to = flush_one(*to + from);
                }
            }
            let cell = kept.cell_slopes.at_least(b * padded);
            cell.fill(0.0);
            if let Some(c_n) = slopes.c_n {
                copy_padded(cell, padded, &c_n[c_first + self.first * h..][..b * h], h);
            }
            h_first += total * s;
            c_first += total * h;
        }
    }

    /// Puts the gradient of the last layer's outputs at these frames into `slopes[0]`.
    fn load_slopes(&mut self, layers: &[PackedLayer], slopes: Option<&[f32]>, first: usize, count: usize) {
        let (b, s) = (self.sequences, layers[layers.len() - 1].sizes.output());
        let to = self.slopes[0].at_least(count * b * s);
        let Some(slopes) = slopes else { return to.fill(0.0) };
        for (row, to) in to.chunks_exact_mut(s).enumerate() {
            let (frame, sequence) = (first + row / b, self.first + row % b);
            copy_flushed(to, &slopes[(sequence * self.frames + frame) * s..][..s]);
        }
    }
}

fn copy_flushed(to: &mut [f32], from: &[f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = flush_one(from);
    }
}

/// Rows of `size` values into rows of `padded`.
fn copy_padded(to: &mut [f32], padded: usize, from: &[f32], size: usize) {
    for (to, from) in to.chunks_exact_mut(padded).zip(from.chunks_exact(size)) {
        copy_flushed(&mut to[..size], from);
    }
}
