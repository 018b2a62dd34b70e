//! Frames, windows and power spectra.
//!
//! Transforms are in f64, as librosa's are (NumPy transforms the f64 product of samples and window): in a frame whose loudest
//! bin is 60 dB above the quiet ones an f32 transform leaves those with three digits, which a logarithm then shows.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use serde::{Deserialize, Serialize};

use crate::AudioError;

/// Shape of the window that each frame is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Window {
    /// `0.5 - 0.5 cos(2 pi n / N)`: the first of N samples is 0, the last is not. librosa's `hann`.
    HannPeriodic,
}

impl Window {
    /// The `length` values of the window.
    #[must_use]
    pub fn values(self, length: usize) -> Vec<f64> {
        match self {
            Self::HannPeriodic => (0..length).map(|n| 0.5 - 0.5 * (TAU * n as f64 / length as f64).cos()).collect(),
        }
    }
}

/// What lies before the first sample and after the last, under frames whose centre is a sample.
///
/// Frame t is centred on sample `t * hop`, so there are `1 + n / hop` frames (`1 + (n - 1) / hop` where `n_fft` is odd).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Padding {
    /// Zeros, as librosa pads since 0.10.
    CentreZeros,
    /// The recording mirrored at its first and last sample, which are not repeated; as librosa padded before 0.10. Needs more
    /// than `n_fft / 2` samples.
    CentreReflect,
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
    /// What lies beyond the ends.
    pub padding: Padding,
}

impl Framing {
    /// Refuses sizes out of the ranges above.
    pub(crate) fn check(&self) -> Result<(), AudioError> {
        let Framing { n_fft, win_length, hop, .. } = *self;
        let refuse = |name, value, allowed| Err(AudioError::Setting { name, value, allowed });
        if !(2..=Stft::MAX_N_FFT).contains(&n_fft) {
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
}

/// A planned short-time Fourier transform. Share it between threads; each brings its own [`Workspace`].
#[derive(Clone)]
pub struct Stft {
    framing: Framing,
    /// First sample under the window, counted from the frame's start.
    offset: usize,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
}

/// The memory that one thread transforms in.
#[derive(Debug, Clone)]
pub struct Workspace {
    frame: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    power: Vec<f64>,
}

impl Stft {
    /// Plans the transform.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a size out of the range that [`Framing`] states.
    pub fn new(framing: Framing) -> Result<Self, AudioError> {
        framing.check()?;
        let Framing { n_fft, win_length, window, .. } = framing;
        let fft = RealFftPlanner::new().plan_fft_forward(n_fft);
        Ok(Self { framing, offset: (n_fft - win_length) / 2, window: window.values(win_length), fft })
    }

    /// Largest transform that is planned.
    pub const MAX_N_FFT: usize = 65_536;

    /// Number of bins of a spectrum.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.framing.n_fft / 2 + 1
    }

    /// Least number of samples that [`Self::frames`] and [`Self::power`] take.
    #[must_use]
    pub fn min_samples(&self) -> usize {
        match self.framing.padding {
            Padding::CentreZeros => 1,
            Padding::CentreReflect => self.framing.n_fft / 2 + 1,
        }
    }

    /// Number of frames in `samples` samples; 0 if they are fewer than [`Self::min_samples`].
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        if samples < self.min_samples() { 0 } else { 1 + (samples - self.framing.n_fft % 2) / self.framing.hop }
    }

    /// Memory to transform in; frames after the first allocate nothing.
    #[must_use]
    pub fn workspace(&self) -> Workspace {
        Workspace {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
            power: vec![0.0; self.bins()],
        }
    }

    /// Squared magnitudes of frame `frame`, one a bin.
    ///
    /// # Panics
    /// If `frame` is not below [`Self::frames`] of these samples, or `work` is another transform's.
    pub fn power<'w>(&self, samples: &[f32], frame: usize, work: &'w mut Workspace) -> &'w [f64] {
        assert!(frame < self.frames(samples.len()), "frame {frame} of {}", self.frames(samples.len()));
        let window_end = self.offset + self.window.len();
        work.frame[..self.offset].fill(0.0); // the transform leaves its input overwritten
        work.frame[window_end..].fill(0.0);
        let windowed = work.frame[self.offset..window_end].iter_mut().zip(&self.window);

        // The window's first sample lies at `start - before` of the recording.
        let (start, before) = (frame * self.framing.hop + self.offset, self.framing.n_fft / 2);
        let inside = start.checked_sub(before).and_then(|first| samples.get(first..first + self.window.len()));
        if let Some(inside) = inside {
            windowed.zip(inside).for_each(|((value, weight), &sample)| *value = weight * f64::from(sample));
        } else {
            for (k, (value, weight)) in windowed.enumerate() {
                *value = weight * f64::from(self.beyond(samples, start + k, before));
            }
        }
        self.fft
            .process_with_scratch(&mut work.frame, &mut work.spectrum, &mut work.scratch)
            .expect("all lengths are the plan's, as `workspace` made them");
        for (power, value) in work.power.iter_mut().zip(&work.spectrum) {
            *power = value.norm_sqr();
        }
        &work.power
    }

    /// The sample at `place - before`, which may lie beyond either end.
    fn beyond(&self, samples: &[f32], place: usize, before: usize) -> f32 {
        let index = match self.framing.padding {
            Padding::CentreZeros => place.checked_sub(before),
            Padding::CentreReflect => {
                // More than n_fft / 2 samples: one reflection always lands inside.
                let last = samples.len() - 1;
                let index = place.abs_diff(before);
                Some(if index > last { 2 * last - index } else { index })
            }
        };
        index.and_then(|index| samples.get(index)).copied().unwrap_or(0.0)
    }
}

impl std::fmt::Debug for Stft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stft").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
