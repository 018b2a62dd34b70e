//! Where frames lie in a recording, what lies beyond its ends, and the shape of the window.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use crate::AudioError;

/// Shape of the window that each frame is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Window {
    /// `0.5 - 0.5 cos(2 pi n / N)`: the first of N samples is 0, the last is not. librosa's `hann`.
    HannPeriodic,
    /// `0.54 - 0.46 cos(2 pi n / N)`: PyTorch's `hamming_window`.
    HammingPeriodic,
    /// `0.54 - 0.46 cos(2 pi n / (N - 1))`: equal at both ends. Kaldi's `hamming`.
    HammingSymmetric,
    /// `(0.5 - 0.5 cos(2 pi n / (N - 1)))^0.85`: Kaldi's `povey`.
    Povey,
}

impl Window {
    /// The `length` values of the window. A symmetric one of length 1 is 1.
    #[must_use]
    pub fn values(self, length: usize) -> Vec<f64> {
        let (raised, period) = match self {
            Self::HannPeriodic => (0.5, length),
            Self::HammingPeriodic => (0.54, length),
            Self::HammingSymmetric => (0.54, length.saturating_sub(1)),
            Self::Povey => (0.5, length.saturating_sub(1)),
        };
        if period == 0 {
            return vec![1.0; length];
        }
        let cosine = |n: usize| raised - (1.0 - raised) * (TAU * n as f64 / period as f64).cos();
        let exponent = if self == Self::Povey { 0.85 } else { 1.0 };
        (0..length).map(|n| cosine(n).max(0.0).powf(exponent)).collect()
    }
}

/// Where frames lie, and what lies before the first sample and after the last.
///
/// The centred kinds put frame t's middle on sample `t * hop`, so there are `1 + n / hop` frames (`1 + (n - 1) / hop` where
/// `n_fft` is odd).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Padding {
    /// Zeros, as librosa pads since 0.10, and SpeechBrain.
    CentreZeros,
    /// The recording mirrored at its first and last sample, which are not repeated; as librosa padded before 0.10, and
    /// torchaudio. Needs more than `n_fft / 2` samples.
    CentreReflect,
    /// Nothing lies beyond: the window of frame t begins at sample `t * hop`, and there are only frames whose window is filled,
    /// `1 + (n - win_length) / hop`. Kaldi's `snip-edges=true`.
    SnipEdges,
    /// The recording mirrored at its ends, whose samples are repeated, under windows with their middle at `(t + 1/2) hop`; there
    /// are `n / hop` frames, rounded to nearest. Kaldi's `snip-edges=false`.
    KeepEdges,
}

impl Padding {
    /// The sample at `index`, which may lie beyond either end. There must be as many samples as `Framing::min_samples` says.
    pub(super) fn at(self, samples: &[f32], index: i64) -> f32 {
        let length = samples.len() as i64;
        let index = match self {
            Self::CentreZeros | Self::SnipEdges => index,
            // More than n_fft / 2 samples: one reflection always lands inside.
            Self::CentreReflect => {
                let index = index.abs();
                if index >= length { 2 * (length - 1) - index } else { index }
            }
            // The recording and its mirror image in turn, for ever.
            Self::KeepEdges => {
                let index = index.rem_euclid(2 * length.max(1));
                if index >= length { 2 * length - 1 - index } else { index }
            }
        };
        usize::try_from(index).ok().and_then(|index| samples.get(index)).copied().unwrap_or(0.0)
    }
}

/// The sizes that frame a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Points of the transform: `n_fft / 2 + 1` bins. At least 2.
    pub n_fft: usize,
    /// Samples under the window, 1 to `n_fft`; a shorter one stands in the middle of the frame.
    pub win_length: usize,
    /// Samples from one frame to the next, at least 1.
    pub hop: usize,
    /// Shape of the window.
    pub window: Window,
    /// Where frames lie, and what lies beyond the ends.
    pub padding: Padding,
}

impl Framing {
    /// Largest transform that is planned.
    pub const MAX_N_FFT: usize = 65_536;

    /// Refuses sizes out of the ranges above.
    pub(crate) fn check(&self) -> Result<(), AudioError> {
        let Framing { n_fft, win_length, hop, .. } = *self;
        let refuse = |name, value, allowed| Err(AudioError::Setting { name, value, allowed });
        if !(2..=Self::MAX_N_FFT).contains(&n_fft) {
            return refuse("n_fft", n_fft.to_string(), "2 to 65536");
        }
        if !(1..=n_fft).contains(&win_length) {
            return refuse("win_length", format!("{win_length} with n_fft {n_fft}"), "1 to n_fft");
        }
        if hop == 0 {
            return refuse("hop", hop.to_string(), "at least 1");
        }
        Ok(())
    }

    /// Least number of samples that give a frame.
    pub(crate) fn min_samples(&self) -> usize {
        match self.padding {
            Padding::CentreZeros => 1,
            Padding::CentreReflect => self.n_fft / 2 + 1,
            Padding::SnipEdges => self.win_length,
            Padding::KeepEdges => self.hop - self.hop / 2,
        }
    }

    /// Number of frames in `samples` samples; 0 if they are too few.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        if samples < self.min_samples() {
            return 0;
        }
        match self.padding {
            Padding::CentreZeros | Padding::CentreReflect => 1 + (samples - self.n_fft % 2) / self.hop,
            Padding::SnipEdges => 1 + (samples - self.win_length) / self.hop,
            Padding::KeepEdges => (samples + self.hop / 2) / self.hop,
        }
    }

    /// Where the window of frame `frame` begins, in samples of the recording.
    pub(crate) fn first_sample(&self, frame: usize) -> i64 {
        let start = (frame * self.hop) as i64;
        let before = match self.padding {
            // The window stands in the middle of the transform, whose middle is the frame's centre.
            Padding::CentreZeros | Padding::CentreReflect => {
                (self.n_fft / 2) as i64 - ((self.n_fft - self.win_length) / 2) as i64
            }
            Padding::SnipEdges => 0,
            Padding::KeepEdges => (self.win_length / 2) as i64 - (self.hop / 2) as i64,
        };
        start - before
    }
}
