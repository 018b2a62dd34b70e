//! One thread's sequences through all layers, block of frames by block of frames.

use super::steps::Steps;
use super::{Batch, Lstm, PackedLayer};
use crate::buffer::Buffer;
use crate::gemm::product;
use crate::math::flush_one;

/// Rows (frames times sequences) of a block: enough for the input's product to run at full speed while the gates of a
/// block, 2 MiB at 256 units, stay in the cache.
const BLOCK_ROWS: usize = 512;

/// Which sequences of the batch.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) first: usize,
    pub(super) sequences: usize,
    pub(super) lengths: &'a [usize],
}

/// The memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Arena {
    input: Buffer,
    gates: Buffer,
    states: [Buffer; 2],
    unprojected: Buffer,
    remaining: Vec<usize>,
    layers: Vec<State>,
}

/// The state of one layer.
#[derive(Debug, Default)]
struct State {
    /// (B, S)
    h: Buffer,
    /// (B, padded H)
    c: Buffer,
    /// (B, S), (B, H): the same at each sequence's own last frame.
    final_h: Buffer,
    final_c: Buffer,
}

impl Lstm {
    /// Runs the sequences of `part`; `sequence` takes their outputs (B, T, S), or is empty.
    pub(super) fn run_part(&self, batch: &Batch<'_>, part: Part<'_>, arena: &mut Arena, sequence: &mut [f32]) {
        let b = part.sequences;
        if b == 0 {
            return;
        }
        self.begin(batch, part, arena);
        let frames = part.lengths.iter().copied().max().unwrap_or(0);
        let block = (BLOCK_ROWS / b).clamp(1, frames.max(1));
        let mut first = 0;
        while first < frames {
            let count = block.min(frames - first);
            self.load_input(batch, part, first, count, arena);
            arena.remaining.clear();
            arena.remaining.extend(part.lengths.iter().map(|length| length.saturating_sub(first)));
            for (index, layer) in self.layers.iter().enumerate() {
                self.run_layer(index, layer, b, count, arena);
            }
            if !sequence.is_empty() {
                let output = self.layers[self.layers.len() - 1].sizes.output();
                let states = arena.states[(self.layers.len() - 1) % 2].values();
                for (row, &length) in part.lengths.iter().enumerate() {
                    for frame in first..(first + count).min(length) {
                        let from = ((frame - first + 1) * b + row) * output;
                        sequence[(row * batch.frames + frame) * output..][..output]
                            .copy_from_slice(&states[from..][..output]);
                    }
                }
            }
            first += count;
        }
        if !sequence.is_empty() {
            let output = self.layers[self.layers.len() - 1].sizes.output();
            for (row, &length) in sequence.chunks_exact_mut(batch.frames * output).zip(part.lengths) {
                row[length * output..].fill(0.0);
            }
        }
    }

    /// Puts the starting states in place.
    fn begin(&self, batch: &Batch<'_>, part: Part<'_>, arena: &mut Arena) {
        let b = part.sequences;
        if arena.layers.len() < self.layers.len() {
            arena.layers.resize_with(self.layers.len(), State::default);
        }
        let (mut h_first, mut c_first) = (0, 0);
        for (layer, state) in self.layers.iter().zip(&mut arena.layers) {
            let (s, h) = (layer.sizes.output(), layer.sizes.hidden);
            let padded = layer.recurrent.columns() / crate::gemm::VECTORS;
            let (to_h, to_c) = (state.h.at_least(b * s), state.c.at_least(b * padded));
            to_c.fill(0.0);
            match batch.start {
                Some((h0, c0)) => {
                    copy_flushed(to_h, &h0[(h_first + part.first * s)..][..b * s]);
                    let c0 = &c0[(c_first + part.first * h)..][..b * h];
                    for (to, from) in to_c.chunks_exact_mut(padded).zip(c0.chunks_exact(h)) {
                        copy_flushed(&mut to[..h], from);
                    }
                }
                None => to_h.fill(0.0),
            }
            // What a sequence without a frame ends with.
            state.final_h.at_least(b * s).copy_from_slice(to_h);
            let final_c = state.final_c.at_least(b * h);
            for (to, from) in final_c.chunks_exact_mut(h).zip(to_c.chunks_exact(padded)) {
                to.copy_from_slice(&from[..h]);
            }
            h_first += batch.sequences * s;
            c_first += batch.sequences * h;
        }
    }

    /// Copies frames `first .. first + count` into time-major rows; zeros behind a sequence's end.
    fn load_input(&self, batch: &Batch<'_>, part: Part<'_>, first: usize, count: usize, arena: &mut Arena) {
        let (b, size) = (part.sequences, self.layers[0].sizes.input);
        let input = arena.input.at_least(count * b * size);
        for (row, to) in input.chunks_exact_mut(size).enumerate() {
            let (frame, sequence) = (first + row / b, row % b);
            if frame < part.lengths[sequence] {
                copy_flushed(to, &batch.input[((part.first + sequence) * batch.frames + frame) * size..][..size]);
            } else {
                to.fill(0.0);
            }
        }
    }

    /// One block of frames through one layer: from the states of the layer before, or the input, to its own.
    fn run_layer(&self, index: usize, layer: &PackedLayer, b: usize, frames: usize, arena: &mut Arena) {
        let sizes = layer.sizes;
        let (s, h, columns) = (sizes.output(), sizes.hidden, layer.input.columns());
        let Arena { input, gates, states, unprojected, remaining, layers } = arena;
        let [even, odd] = states;
        let (before, states) = if index.is_multiple_of(2) { (odd, even) } else { (even, odd) };
        let x = if index == 0 { input.values() } else { &before.values()[b * sizes.input..] };
        let rows = frames * b;
        let gates = gates.at_least(rows * columns);
        product(self.tier, rows, &x[..rows * sizes.input], sizes.input, &layer.input, gates, columns, columns);

        let states = states.at_least((frames + 1) * b * s);
        let state = &mut layers[index];
        states[..b * s].copy_from_slice(state.h.at_least(b * s));
        let unprojected = if layer.projection.is_some() { unprojected.at_least(b * h) } else { &mut [] };
        self.tier.run(Steps {
            sequences: b,
            frames,
            hidden: h,
            output: s,
            recurrent: &layer.recurrent,
            projection: layer.projection.as_ref(),
            gates,
            states: &mut *states,
            cells: state.c.values_mut(),
            unprojected,
            remaining,
            final_cells: state.final_c.values_mut(),
        });
        state.h.at_least(b * s).copy_from_slice(&states[frames * b * s..]);
        let final_h = state.final_h.at_least(b * s);
        for (sequence, &left) in remaining.iter().enumerate() {
            if (1..=frames).contains(&left) {
                final_h[sequence * s..][..s].copy_from_slice(&states[(left * b + sequence) * s..][..s]);
            }
        }
    }

    /// Copies the states of one part to their places among those of all `b` sequences.
    pub(super) fn collect(&self, arena: &Arena, part: Part<'_>, b: usize, h_n: &mut [f32], c_n: &mut [f32]) {
        let (mut h_first, mut c_first) = (0, 0);
        for (layer, state) in self.layers.iter().zip(&arena.layers) {
            let (s, h) = (layer.sizes.output(), layer.sizes.hidden);
            let (n, first) = (part.sequences, part.first);
            h_n[h_first + first * s..][..n * s].copy_from_slice(&state.final_h.values()[..n * s]);
            c_n[c_first + first * h..][..n * h].copy_from_slice(&state.final_c.values()[..n * h]);
            h_first += b * s;
            c_first += b * h;
        }
    }
}

fn copy_flushed(to: &mut [f32], from: &[f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = flush_one(from);
    }
}
