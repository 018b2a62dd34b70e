//! The workload of training: forward and backward of the sum of squares of the last frame's outputs, three layers on frames
//! of 40 values. `benches/training.rs` times it, `cargo xtask bench --training` compares it with PyTorch, whose side is
//! `benches/peers/lstm_training.py`: both make the same weights and frames from the same numbers.

use std::f64::consts::TAU;

use sv_kernels::KernelError;
use sv_kernels::lstm::{
    Batch, Gradients, Keep, LayerGradients, LayerSizes, LayerWeights, LstmSlopes, LstmTraining, Threads,
};

/// Values of a frame.
pub const INPUT: usize = 40;
/// Frames of a sequence.
pub const FRAMES: usize = 160;
/// Rows and columns of the product that rates are measured by.
pub const SIDE: usize = 1024;

/// One size of network and batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Memory cells a layer.
    pub hidden: usize,
    /// Size that each layer's output is projected to.
    pub projection: Option<usize>,
    /// Sequences of a batch.
    pub sequences: usize,
}

/// The sizes measured: Resemblyzer's, the TensorFlow code's with its batch, and that of Wan et al. 2017, section 3.
pub const CASES: [Case; 3] = [
    Case { hidden: 256, projection: None, sequences: 64 },
    Case { hidden: 128, projection: Some(64), sequences: 20 },
    Case { hidden: 768, projection: Some(256), sequences: 64 },
];

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "3 x {}", self.hidden)?;
        if let Some(projection) = self.projection {
            write!(f, " projected to {projection}")?;
        }
        write!(f, ", {} x {FRAMES} frames", self.sequences)
    }
}

/// `length` repeatable values of magnitude up to `scale`: of value i, the upper 24 bits of a hash of (seed, i).
#[must_use]
pub fn noise(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    let value = |index: u64| {
        let mixed = ((seed << 32) + index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0) * scale
    };
    (0..length as u64).map(value).collect()
}

/// Frames and bins that an ECAPA-TDNN embeds in `cargo xtask bench --ecapa`: three seconds.
pub const ECAPA_FRAMES: usize = 301;
/// See [`ECAPA_FRAMES`].
pub const ECAPA_BINS: usize = 80;

/// Their values, (frames, bins): seed 7, magnitude up to 4.
#[must_use]
pub fn ecapa_frames() -> Vec<f32> {
    noise(7, ECAPA_FRAMES * ECAPA_BINS, 4.0)
}

/// The layers and frames of a case, and what its steps need.
#[derive(Debug)]
pub struct Step {
    layers: Vec<LayerWeights>,
    sequences: usize,
    /// (B, T, I)
    frames: Vec<f32>,
    training: LstmTraining,
    last: Vec<f32>,
}

impl Step {
    /// Weights up to 1 / sqrt(H), frames up to 1. Layer l of 1, 2, 3 draws its input weights from seed l, its recurrent
    /// ones from l + 10, biases from l + 20 and the projection from l + 30, the frames are drawn from seed 99.
    ///
    /// # Errors
    /// [`KernelError`] for sizes of 0.
    pub fn new(case: &Case) -> Result<Self, KernelError> {
        let &Case { hidden, projection, sequences } = case;
        let (scale, gates, output) = (1.0 / (hidden as f32).sqrt(), 4 * hidden, projection.unwrap_or(hidden));
        let layer = |(input, seed): (usize, u64)| {
            LayerWeights::new(
                LayerSizes { input, hidden, projection },
                noise(seed, gates * input, scale),
                noise(seed + 10, gates * output, scale),
                noise(seed + 20, gates, scale),
                projection.map(|size| noise(seed + 30, size * hidden, scale)),
            )
        };
        let layers = [INPUT, output, output].into_iter().zip(1..).map(layer).collect::<Result<_, _>>()?;
        let frames = noise(99, sequences * FRAMES * INPUT, 1.0);
        Ok(Self { layers, sequences, frames, training: LstmTraining::default(), last: Vec::new() })
    }

    /// Floating-point operations of the products of a step: 6 for each weight, frame and sequence, but 4 for the first
    /// layer's input weights, as the gradient of the frames is not asked for.
    #[must_use]
    pub fn operations(&self) -> usize {
        let weights =
            |layer: &LayerWeights| layer.w_ih().len() + layer.w_hh().len() + layer.w_hr().map_or(0, <[f32]>::len);
        let all: usize = self.layers.iter().map(weights).sum();
        let first = self.layers.first().map_or(0, |layer| layer.w_ih().len());
        (6 * all - 2 * first) * FRAMES * self.sequences
    }

    /// One step on all threads of the pool: the loss and the gradients.
    ///
    /// # Errors
    /// Those of [`LstmTraining`]; none for a batch as [`Step::new`] makes it.
    pub fn run(&mut self) -> Result<(f32, &Gradients), KernelError> {
        let batch = Batch::new(&self.frames, self.sequences, FRAMES);
        let out = self.training.forward(&self.layers, &batch, Keep::Last, Threads::Pool)?;
        self.last.clear();
        self.last.extend_from_slice(out.last());
        let loss = self.last.iter().map(|value| value * value).sum();
        self.last.iter_mut().for_each(|value| *value *= 2.0);
        let slopes = LstmSlopes { last: Some(&self.last), ..LstmSlopes::default() };
        Ok((loss, self.training.backward(&slopes, false)?))
    }
}

/// The root of the sum of squares of all gradients of weights.
#[must_use]
pub fn norm(gradients: &Gradients) -> f64 {
    let tables = |layer: &LayerGradients| {
        let tables = [&layer.w_ih, &layer.w_hh, &layer.bias, &layer.w_hr];
        tables.into_iter().flatten().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>()
    };
    gradients.layers.iter().map(tables).sum::<f64>().sqrt()
}

/// A chirp of so many seconds at 16 kHz, 0.3 sin of 100 Hz rising by a fifth of the rate a second, which starts anew each second.
#[must_use]
pub fn chirp(seconds: usize) -> Vec<f32> {
    chirp_at(seconds, 16_000)
}

/// The same at another rate.
#[must_use]
pub fn chirp_at(seconds: usize, rate_hz: u32) -> Vec<f32> {
    let sample = |n: u32| {
        let t = f64::from(n % rate_hz) / f64::from(rate_hz);
        (0.3 * (TAU * (100.0 + 0.2 * f64::from(rate_hz) * t) * t).sin()) as f32
    };
    (0..rate_hz).map(sample).collect::<Vec<f32>>().repeat(seconds)
}
