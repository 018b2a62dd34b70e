//! The same recording at another rate.
//!
//! Band-limited interpolation: every output sample is a dot product of the input around its place in time with a low-pass
//! response, so input and output are aligned exactly and nothing is delayed; before and after the recording there is silence.

mod kernel;
#[cfg(test)]
mod tests;

use kernel::Kernel;
use serde::{Deserialize, Serialize};

use crate::{AudioError, Waveform};

/// Which low-pass response resampling uses. A model expects the one that it was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Resampler {
    /// A sinc of six zeros on each side under a squared cosine, cutoff at 0.99 of the lower Nyquist frequency: cheap, and soft
    /// (tones just above the cutoff alias at about -6 dB). What SpeechBrain's and WeSpeaker's models are fed.
    ///
    /// # Source
    /// torchaudio 2.8, `transforms.Resample` with its defaults; taps are computed in f64 and stored as f32, as there.
    Torchaudio,
    /// A Kaiser-windowed sinc, flat to 91 % of the lower Nyquist frequency and closed at 100 %: aliases and images stay below
    /// -90 dB, ripple of the pass band below 0.1 dB, delay below 0.01 sample.
    ///
    /// # Source
    /// Kaiser's design formulas (Oppenheim and Schafer, Discrete-Time Signal Processing, section on Kaiser windows) for 96 dB.
    Sharp,
}

impl Resampler {
    /// Upper edge of the pass band of [`Self::Sharp`], as a share of the lower of the two Nyquist frequencies.
    pub const SHARP_PASS_BAND: f64 = 0.91;
}

/// Taps held at most for exact phases, 1 MiB: every pair of common rates fits; the rest interpolates between phases.
const EXACT_TAPS: usize = 1 << 18;
/// Rows per output of an interpolated table, at the lower rate: cubic interpolation between them errs by 1e-9 of the peak.
const ROWS: f64 = 256.0;
/// Independent sums of a dot product; rows are a multiple of it long.
const LANES: usize = 16;

/// Resampling from one rate to another, planned once: the table of taps. Share it between threads freely.
///
/// The table never exceeds a few MiB, whatever the rates.
#[derive(Debug, Clone)]
pub struct ResamplePlan {
    from_hz: u32,
    to_hz: u32,
    /// Rates divided by their greatest common divisor.
    from: u32,
    to: u32,
    phases: Phases,
    /// Rows of `width` taps, one row a phase; tap k of a row weighs the input `k - before` samples after the output's place.
    taps: Vec<f32>,
    width: usize,
    before: usize,
}

/// What a row of the table stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phases {
    /// Row r: an output that lies r / `to` after an input sample.
    Exact,
    /// Row r: an output that lies (r - 1) / `rows` after an input sample; between rows a cubic is drawn.
    Interpolated { rows: usize },
}

impl ResamplePlan {
    /// Plans resampling from `from_hz` to `to_hz`; any ratio will do.
    ///
    /// # Errors
    /// [`AudioError::Rate`] for a rate that no [`Waveform`] can have.
    pub fn new(from_hz: u32, to_hz: u32, resampler: Resampler) -> Result<Self, AudioError> {
        Self::with_room(from_hz, to_hz, resampler, EXACT_TAPS)
    }

    /// As [`Self::new`], with exact phases only if they take no more than `room` taps.
    fn with_room(from_hz: u32, to_hz: u32, resampler: Resampler, room: usize) -> Result<Self, AudioError> {
        for rate_hz in [from_hz, to_hz] {
            Waveform::check_rate(rate_hz)?;
        }
        let divisor = gcd(from_hz, to_hz);
        let (from, to) = (from_hz / divisor, to_hz / divisor);
        let kernel = Kernel::new(resampler, from, to);
        let half = kernel.reach().ceil() as usize;

        // A phase in [0, 1) needs taps at -half + 1 ..= half; one row beyond either end needs one more on each side.
        let exact = (2 * half).next_multiple_of(LANES);
        let (phases, count, before, width) = if (to as usize).saturating_mul(exact) <= room {
            (Phases::Exact, to as usize, half - 1, exact)
        } else {
            let rows = (ROWS * f64::from(from.min(to)) / f64::from(from)).ceil() as usize;
            (Phases::Interpolated { rows }, rows + 3, half, (2 * half + 2).next_multiple_of(LANES))
        };

        let mut taps = vec![0.0; count * width];
        let mut exact_row = vec![0.0_f64; width];
        for index in 0..count {
            let (row, phase) = match phases {
                Phases::Exact => kernel.phase(index as u32, from, to),
                Phases::Interpolated { rows } => (index, (index as f64 - 1.0) / rows as f64),
            };
            for (k, tap) in exact_row.iter_mut().enumerate() {
                *tap = kernel.at(k as f64 - before as f64 - phase);
            }
            // A constant stays that constant at every phase; torchaudio's taps are left as they are.
            let sum: f64 = if resampler == Resampler::Sharp { exact_row.iter().sum() } else { 1.0 };
            for (tap, exact) in taps[row * width..].iter_mut().zip(&exact_row) {
                *tap = (exact / sum) as f32;
            }
        }
        Ok(Self { from_hz, to_hz, from, to, phases, taps, width, before })
    }

    /// The rate of the input, in Hz.
    #[must_use]
    pub fn from_hz(&self) -> u32 {
        self.from_hz
    }

    /// The rate of the output, in Hz.
    #[must_use]
    pub fn to_hz(&self) -> u32 {
        self.to_hz
    }

    /// Number of samples that `samples` become: `samples * to / from`, rounded up.
    ///
    /// # Errors
    /// [`AudioError::ResampledSize`] if that is more than memory can address.
    pub fn output_len(&self, samples: usize) -> Result<usize, AudioError> {
        let exact = (samples as u128 * u128::from(self.to)).div_ceil(u128::from(self.from));
        match usize::try_from(exact) {
            Ok(len) if len <= isize::MAX as usize / size_of::<f32>() => Ok(len),
            _ => Err(AudioError::ResampledSize { samples, from_hz: self.from_hz, to_hz: self.to_hz }),
        }
    }

    /// Resamples a whole recording. Sums are in f32: within 1e-6 of exact ones for samples in `[-1, 1]`.
    ///
    /// # Errors
    /// [`AudioError::ResampledSize`] if the output is more than memory can address.
    pub fn process(&self, samples: &[f32]) -> Result<Vec<f32>, AudioError> {
        let len = self.output_len(samples.len())?;
        if self.from == self.to {
            return Ok(samples.to_vec());
        }
        let (whole, part) = ((self.from / self.to) as usize, self.from % self.to);
        let (mut place, mut phase) = (0_usize, 0_u32); // the output lies at `place + phase / to` input samples
        let mut output = Vec::with_capacity(len);
        for _ in 0..len {
            output.push(self.at(samples, place, phase));
            place += whole;
            // Written so that it cannot overflow: both are below `to`.
            if phase >= self.to - part {
                phase -= self.to - part;
                place += 1;
            } else {
                phase += part;
            }
        }
        Ok(output)
    }

    /// One output sample, `place + phase / to` input samples from the start.
    #[inline]
    fn at(&self, samples: &[f32], place: usize, phase: u32) -> f32 {
        // The samples under the row, and the part of the row that has samples under it.
        let skipped = self.before.saturating_sub(place);
        let start = (place + skipped - self.before).min(samples.len());
        let end = (place + self.width).saturating_sub(self.before).min(samples.len());
        let under = samples.get(start..end).unwrap_or_default();
        let row = |index: usize| &self.taps[index * self.width + skipped.min(self.width)..][..under.len()];
        match self.phases {
            Phases::Exact => dot(row(phase as usize), under),
            Phases::Interpolated { rows } => {
                let exact = f64::from(phase) / f64::from(self.to) * rows as f64;
                let t = (exact - exact.floor()) as f32;
                let first = exact as usize; // the row before the one at or below `exact`, as row 0 is one step early
                let weights = [
                    -t * (t - 1.0) * (t - 2.0) / 6.0,
                    (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
                    -(t + 1.0) * t * (t - 2.0) / 2.0,
                    (t + 1.0) * t * (t - 1.0) / 6.0,
                ];
                (first..).zip(weights).map(|(index, weight)| weight * dot(row(index), under)).sum()
            }
        }
    }
}

impl Waveform {
    /// The same recording at `rate_hz`; given back as it is if that is its rate.
    ///
    /// The output has `len * rate_hz / self.rate_hz()` samples, rounded up, aligned with the input: sample i lies at
    /// `i / rate_hz` seconds in both. For many recordings of one rate, keep a [`ResamplePlan`].
    ///
    /// # Errors
    /// [`AudioError::Rate`] if `rate_hz` is out of range; [`AudioError::ResampledSize`] if the output is more than memory
    /// can address; [`AudioError::NotFinite`] if samples near the largest f32 overflow.
    pub fn resampled(self, rate_hz: u32, resampler: Resampler) -> Result<Self, AudioError> {
        if rate_hz == self.rate_hz() {
            return Ok(self);
        }
        let plan = ResamplePlan::new(self.rate_hz(), rate_hz, resampler)?;
        Self::new(plan.process(self.samples())?, rate_hz)
    }
}

/// Sum of products, in [`LANES`] independent sums that the compiler turns into vectors; shorter sums also err less.
#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0] + rest
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
