//! Frames, windows and power spectra.
//!
//! librosa transforms in f64 (NumPy transforms the f64 product of samples and window), PyTorch in f32; in a frame whose loudest
//! bin is 60 dB above the quiet ones an f32 transform leaves those with three digits, which a logarithm then shows. So a
//! transform is planned in the [`Real`] that the system at hand uses.

mod framing;
mod real;

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

pub use framing::{Framing, Padding, Window};
pub use real::Real;

use crate::AudioError;

/// A planned short-time Fourier transform. Share it between threads; each brings its own [`Workspace`].
#[derive(Clone)]
pub struct Stft<T: Real> {
    framing: Framing,
    conditioning: Conditioning<T>,
    /// First sample under the window, counted from the transform's start.
    offset: usize,
    window: Vec<T>,
    fft: Arc<dyn RealToComplex<T>>,
}

/// What is done to the samples of a frame before the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditioning<T> {
    /// Factor of the samples, first of all.
    pub scale: T,
    /// Whether the frame's mean is subtracted, second.
    pub remove_dc: bool,
    /// Share of the sample before that is subtracted, third; the first sample counts as its own predecessor.
    pub pre_emphasis: T,
    /// Whether the sum of squares is kept, after the mean is gone and before pre-emphasis.
    pub energy: bool,
}

impl<T: Real> Conditioning<T> {
    const NONE: Self = Self { scale: T::ZERO, remove_dc: false, pre_emphasis: T::ZERO, energy: false };
}

/// The memory that one thread transforms in.
#[derive(Debug, Clone)]
pub struct Workspace<T: Real> {
    /// The samples under the window, conditioned.
    raw: Vec<T>,
    frame: Vec<T>,
    spectrum: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
    power: Vec<T>,
    energy: T,
}

impl<T: Real> Workspace<T> {
    /// Sum of squares of the frame transformed last, where the conditioning asks for it.
    pub(crate) fn energy(&self) -> T {
        self.energy
    }
}

impl<T: Real> Stft<T> {
    /// Plans the transform.
    ///
    /// # Errors
    /// [`AudioError::Setting`] for a size out of the range that [`Framing`] states.
    pub fn new(framing: Framing) -> Result<Self, AudioError> {
        Self::conditioned(framing, Conditioning { scale: T::one(), ..Conditioning::NONE })
    }

    /// As [`Self::new`], of frames that are conditioned first.
    pub(crate) fn conditioned(framing: Framing, conditioning: Conditioning<T>) -> Result<Self, AudioError> {
        framing.check()?;
        let Framing { n_fft, win_length, window, .. } = framing;
        let fft = RealFftPlanner::new().plan_fft_forward(n_fft);
        let window = window.values(win_length).into_iter().map(T::of_f64).collect();
        Ok(Self { framing, conditioning, offset: (n_fft - win_length) / 2, window, fft })
    }

    /// Number of bins of a spectrum.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.framing.n_fft / 2 + 1
    }

    /// Least number of samples that [`Self::frames`] and [`Self::power`] take.
    #[must_use]
    pub fn min_samples(&self) -> usize {
        self.framing.min_samples()
    }

    /// Number of frames in `samples` samples; 0 if they are fewer than [`Self::min_samples`].
    #[must_use]
    pub fn frames(&self, samples: usize) -> usize {
        self.framing.frames(samples)
    }

    /// Memory to transform in; frames after the first allocate nothing.
    #[must_use]
    pub fn workspace(&self) -> Workspace<T> {
        Workspace {
            raw: vec![T::ZERO; self.window.len()],
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
            power: vec![T::ZERO; self.bins()],
            energy: T::ZERO,
        }
    }

    /// Squared magnitudes of frame `frame`, one a bin.
    ///
    /// # Panics
    /// If `frame` is not below [`Self::frames`] of these samples, or `work` is another transform's.
    pub fn power<'w>(&self, samples: &[f32], frame: usize, work: &'w mut Workspace<T>) -> &'w [T] {
        self.transform(samples, frame, work);
        for (power, value) in work.power.iter_mut().zip(&work.spectrum) {
            *power = value.re * value.re + value.im * value.im;
        }
        &work.power
    }

    /// As [`Self::power`], written to every `lanes`-th place of `powers`, beginning with `lane`.
    pub(crate) fn power_lane<const LANES: usize>(
        &self,
        samples: &[f32],
        frame: usize,
        work: &mut Workspace<T>,
        lane: usize,
        powers: &mut [[T; LANES]],
    ) {
        self.transform(samples, frame, work);
        for (powers, value) in powers.iter_mut().zip(&work.spectrum) {
            powers[lane] = value.re * value.re + value.im * value.im;
        }
    }

    fn transform(&self, samples: &[f32], frame: usize, work: &mut Workspace<T>) {
        assert!(frame < self.frames(samples.len()), "frame {frame} of {}", self.frames(samples.len()));
        self.gather(samples, frame, &mut work.raw);
        self.condition(work);
        self.fft
            .process_with_scratch(&mut work.frame, &mut work.spectrum, &mut work.scratch)
            .expect("all lengths are the plan's, as `workspace` made them");
    }

    /// The samples under the window of frame `frame`, scaled.
    fn gather(&self, samples: &[f32], frame: usize, raw: &mut [T]) {
        let scale = self.conditioning.scale;
        let first = self.framing.first_sample(frame);
        let inside = usize::try_from(first).ok().and_then(|first| samples.get(first..first + raw.len()));
        if let Some(inside) = inside {
            raw.iter_mut().zip(inside).for_each(|(value, &sample)| *value = scale * T::of_f32(sample));
        } else {
            for (k, value) in raw.iter_mut().enumerate() {
                *value = scale * T::of_f32(self.framing.padding.at(samples, first + k as i64));
            }
        }
    }

    /// From `raw` to the windowed frame that is transformed.
    fn condition(&self, work: &mut Workspace<T>) {
        let Conditioning { remove_dc, pre_emphasis, energy, .. } = self.conditioning;
        let raw = &mut work.raw;
        if remove_dc {
            let mean = sum(raw, |value| value) / T::of_f64(raw.len() as f64);
            raw.iter_mut().for_each(|value| *value = *value - mean);
        }
        if energy {
            work.energy = sum(raw, |value| value * value);
        }
        let window_end = self.offset + self.window.len();
        work.frame[..self.offset].fill(T::ZERO); // the transform leaves its input overwritten
        work.frame[window_end..].fill(T::ZERO);
        let frame = &mut work.frame[self.offset..window_end];
        if pre_emphasis == T::ZERO {
            for ((value, &raw), &weight) in frame.iter_mut().zip(&*raw).zip(&self.window) {
                *value = weight * raw;
            }
        } else {
            frame[0] = self.window[0] * (raw[0] - pre_emphasis * raw[0]);
            for ((value, pair), &weight) in frame[1..].iter_mut().zip(raw.windows(2)).zip(&self.window[1..]) {
                *value = weight * (pair[1] - pre_emphasis * pair[0]);
            }
        }
    }
}

impl Stft<f64> {
    /// Largest transform that is planned.
    pub const MAX_N_FFT: usize = Framing::MAX_N_FFT;
}

/// Sum of `of` over the values, in eight independent sums.
fn sum<T: Real>(values: &[T], of: impl Fn(T) -> T) -> T {
    let (whole, rest) = values.as_chunks::<8>();
    let mut sums = [T::ZERO; 8];
    for chunk in whole {
        for lane in 0..8 {
            sums[lane] += of(chunk[lane]);
        }
    }
    sums.iter().copied().chain(rest.iter().map(|&value| of(value))).fold(T::ZERO, |total, value| total + value)
}

impl<T: Real> std::fmt::Debug for Stft<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stft").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
