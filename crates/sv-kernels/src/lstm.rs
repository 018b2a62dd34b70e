//! LSTM over whole sequences: weights packed once, the input's product taken out of the time loop, gates fused.
//!
//! The frames are taken in blocks of some hundred rows through all layers, so that memory does not grow with their number.
//! What an output is does not depend, to the bit, on the other sequences of the batch, on the blocks or on the threads.

mod run;
mod steps;
mod train;
mod weights;

use rayon::prelude::*;

use crate::error::{KernelError, expect_shape, volume};
use crate::gemm::pack::Panels;
use crate::tier::Tier;
use run::{Arena, Part};
pub use train::{Gradients, LayerGradients, LstmSlopes, LstmTraining};
pub(crate) use weights::check_chain;
pub use weights::{LayerSizes, LayerWeights};

/// Stacked LSTM layers, packed for one tier.
///
/// ```
/// use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};
///
/// let sizes = LayerSizes { input: 2, hidden: 3, projection: None };
/// let layer = LayerWeights::new(sizes, vec![0.1; 12 * 2], vec![0.1; 12 * 3], vec![0.0; 12], None)?;
/// let lstm = Lstm::new(&[layer])?;
/// let mut workspace = Workspace::default();
/// let frames = [0.5_f32; 4 * 2];
/// let out = lstm.forward(&Batch::new(&frames, 1, 4), Keep::Sequence, Threads::One, &mut workspace)?;
/// assert_eq!(out.sequence.len(), 4 * 3);
/// assert_eq!(out.last(), &out.sequence[3 * 3..]);
/// # Ok::<(), sv_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Lstm {
    tier: Tier,
    layers: Vec<PackedLayer>,
}

#[derive(Debug, Clone)]
struct PackedLayer {
    sizes: LayerSizes,
    input: Panels,
    recurrent: Panels,
    projection: Option<Panels>,
}

/// What an [`Lstm`] runs over: B sequences of T frames, or fewer, of I values.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    input: &'a [f32],
    sequences: usize,
    frames: usize,
    lengths: Option<&'a [usize]>,
    start: Option<(&'a [f32], &'a [f32])>,
}

impl<'a> Batch<'a> {
    /// `input` (B, T, I), row-major: `sequences` B, `frames` T.
    #[must_use]
    pub fn new(input: &'a [f32], sequences: usize, frames: usize) -> Self {
        Self { input, sequences, frames, lengths: None, start: None }
    }

    /// Only the first `lengths[b]` frames of sequence b count, at most T; what stands behind them is not looked at.
    #[must_use]
    pub fn with_lengths(self, lengths: &'a [usize]) -> Self {
        Self { lengths: Some(lengths), ..self }
    }

    /// Begins from these states, in the layout of [`Outputs::h_n`] and [`Outputs::c_n`], instead of zeros.
    #[must_use]
    pub fn starting_from(self, h0: &'a [f32], c0: &'a [f32]) -> Self {
        Self { start: Some((h0, c0)), ..self }
    }
}

/// What to keep of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its output at every frame.
    Sequence,
    /// Only the states at the end: [`Outputs::sequence`] stays empty.
    Last,
}

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread.
    One,
    /// The current rayon pool: the sequences are shared out among its threads, where there are enough of them.
    Pool,
}

impl Threads {
    /// One inside a task of a rayon pool, whose other threads have tasks of their own; else the pool.
    #[must_use]
    pub fn for_caller() -> Self {
        if rayon::current_thread_index().is_some() { Self::One } else { Self::Pool }
    }
}

/// Memory for the forward pass: reused, so that a call no larger than an earlier one allocates nothing.
#[derive(Debug, Default)]
pub struct Workspace {
    arenas: Vec<Arena>,
    lengths: Vec<usize>,
    sequence: Vec<f32>,
    h_n: Vec<f32>,
    c_n: Vec<f32>,
}

/// What the forward pass gives, in the workspace that was lent to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outputs<'w> {
    /// The last layer's output (B, T, S), zeros behind a sequence's own last frame; empty with [`Keep::Last`].
    pub sequence: &'w [f32],
    /// Output of each layer (layers, B, S) at each sequence's own last frame; layers of other sizes one after the other.
    pub h_n: &'w [f32],
    /// Cell state of each layer (layers, B, H) at each sequence's own last frame.
    pub c_n: &'w [f32],
    last: usize,
}

impl<'w> Outputs<'w> {
    /// The last layer's output (B, S) at each sequence's own last frame.
    #[must_use]
    pub fn last(&self) -> &'w [f32] {
        &self.h_n[self.last..]
    }
}

/// Sequences that a thread takes at least: below, splitting saves less than reading all weights once more costs.
const LEAST_SHARE: usize = 2;

impl Lstm {
    /// Packs `layers`, first to last, for the best tier of this machine.
    ///
    /// # Errors
    /// [`KernelError::Zero`] if there is none, [`KernelError::Chain`] if one does not take what the one before it gives.
    pub fn new(layers: &[LayerWeights]) -> Result<Self, KernelError> {
        Self::on_tier(Tier::detect(), layers)
    }

    /// The same for a given tier.
    ///
    /// # Errors
    /// As [`Lstm::new`].
    pub fn on_tier(tier: Tier, layers: &[LayerWeights]) -> Result<Self, KernelError> {
        check_chain(layers)?;
        let pack = |layer: &LayerWeights| {
            let sizes = layer.sizes();
            let (h, s) = (sizes.hidden, sizes.output());
            PackedLayer {
                sizes,
                input: Panels::gates(tier, sizes.input, h, layer.w_ih(), layer.bias()),
                recurrent: Panels::gates(tier, s, h, layer.w_hh(), &[]),
                projection: layer.w_hr().map(|w_hr| Panels::dense(tier, h, s, w_hr, &[])),
            }
        };
        Ok(Self { tier, layers: layers.iter().map(pack).collect() })
    }

    /// The tier it is packed for.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Sizes of each layer, first to last.
    pub fn sizes(&self) -> impl ExactSizeIterator<Item = LayerSizes> {
        self.layers.iter().map(|layer| layer.sizes)
    }

    /// Runs over `batch`.
    ///
    /// Magnitudes below [`crate::math::FLUSHED`] in inputs, weights and states count as 0.
    ///
    /// # Errors
    /// [`KernelError::Length`] if input, lengths or starting states do not fit the sizes, [`KernelError::Frames`] if a
    /// length is above T, [`KernelError::TooLarge`] if the outputs cannot be addressed.
    pub fn forward<'w>(
        &self,
        batch: &Batch<'_>,
        keep: Keep,
        threads: Threads,
        workspace: &'w mut Workspace,
    ) -> Result<Outputs<'w>, KernelError> {
        let (b, t) = (batch.sequences, batch.frames);
        let total = |size: fn(&LayerSizes) -> usize| self.sizes().map(|sizes| size(&sizes)).sum::<usize>();
        let (h_size, c_size) = (total(LayerSizes::output), total(|sizes| sizes.hidden));
        let first = self.layers.first().map_or(0, |layer| layer.sizes.input);
        let output = self.layers.last().map_or(0, |layer| layer.sizes.output());
        expect_shape("input of an LSTM", batch.input.len(), &[b, t, first])?;
        let (h_values, c_values) = (volume("h_n of an LSTM", &[h_size, b])?, volume("c_n of an LSTM", &[c_size, b])?);
        let kept = if keep == Keep::Sequence { volume("outputs of an LSTM", &[b, t, output])? } else { 0 };
        if let Some((h0, c0)) = batch.start {
            expect_shape("h0 of an LSTM", h0.len(), &[h_size, b])?;
            expect_shape("c0 of an LSTM", c0.len(), &[c_size, b])?;
        }
        if let Some(lengths) = batch.lengths {
            expect_shape("lengths of an LSTM's sequences", lengths.len(), &[b])?;
            if let Some((sequence, &got)) = lengths.iter().enumerate().find(|&(_, &length)| length > t) {
                return Err(KernelError::Frames { sequence, got, frames: t });
            }
        }

        let Workspace { arenas, lengths, sequence, h_n, c_n } = workspace;
        lengths.clear();
        match batch.lengths {
            Some(given) => lengths.extend_from_slice(given),
            None => lengths.resize(b, t),
        }
        for (buffer, values) in [(&mut *sequence, kept), (&mut *h_n, h_values), (&mut *c_n, c_values)] {
            buffer.resize(values.max(buffer.len()), 0.0);
        }
        let parts = match threads {
            Threads::One => 1,
            Threads::Pool => rayon::current_num_threads().min(b / LEAST_SHARE).max(1),
        };
        arenas.resize_with(parts.max(arenas.len()), Arena::default);
        let share = b.div_ceil(parts).max(1);
        if b > 0 {
            let width = if keep == Keep::Sequence { t * output } else { 0 };
            let part = |index: usize| {
                let first = (index * share).min(b);
                Part { first, sequences: share.min(b - first), lengths: &lengths[first..(first + share).min(b)] }
            };
            if parts == 1 {
                self.run_part(batch, part(0), &mut arenas[0], &mut sequence[..kept]);
            } else if width == 0 {
                arenas[..parts].par_iter_mut().enumerate().for_each(|(i, arena)| {
                    self.run_part(batch, part(i), arena, &mut []);
                });
            } else {
                arenas[..parts]
                    .par_iter_mut()
                    .zip(sequence[..kept].par_chunks_mut(share * width))
                    .enumerate()
                    .for_each(|(i, (arena, sequence))| {
                        self.run_part(batch, part(i), arena, sequence);
                    });
            }
            for (i, arena) in arenas[..parts].iter().enumerate() {
                self.collect(arena, part(i), b, h_n, c_n);
            }
        }
        let last = h_values - output * b;
        Ok(Outputs { sequence: &sequence[..kept], h_n: &h_n[..h_values], c_n: &c_n[..c_values], last })
    }
}

#[cfg(test)]
mod tests;
