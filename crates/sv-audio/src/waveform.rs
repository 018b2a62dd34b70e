//! Mono samples and their rate: what every other part of this crate takes or gives.

use crate::AudioError;

/// A mono recording: finite f32 samples, nominally in `[-1, 1]`, and their rate.
///
/// The samples may be empty and may exceed 1 (a decoder of lossy audio can overshoot); they are never NaN or infinite.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    samples: Vec<f32>,
    rate_hz: u32,
}

impl Waveform {
    /// Lowest rate that is accepted, in Hz.
    pub const MIN_RATE_HZ: u32 = 1_000;
    /// Highest rate that is accepted, in Hz.
    pub const MAX_RATE_HZ: u32 = 768_000;

    /// Takes samples at `rate_hz`.
    ///
    /// # Errors
    /// [`AudioError::Rate`] outside [`Self::MIN_RATE_HZ`] to [`Self::MAX_RATE_HZ`]; [`AudioError::NotFinite`] names the
    /// first sample that is NaN or infinite.
    pub fn new(samples: Vec<f32>, rate_hz: u32) -> Result<Self, AudioError> {
        if !(Self::MIN_RATE_HZ..=Self::MAX_RATE_HZ).contains(&rate_hz) {
            return Err(AudioError::Rate { rate_hz });
        }
        if let Some(index) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(AudioError::NotFinite { index, value: samples[index] });
        }
        Ok(Self { samples, rate_hz })
    }

    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Their rate in Hz.
    #[must_use]
    pub fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True if there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Duration in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz)
    }

    /// Gives the samples away.
    #[must_use]
    pub fn into_samples(self) -> Vec<f32> {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_out_of_range_is_refused() {
        assert!(matches!(Waveform::new(vec![0.0], 0), Err(AudioError::Rate { rate_hz: 0 })));
        assert!(matches!(Waveform::new(vec![0.0], 1_000_000), Err(AudioError::Rate { rate_hz: 1_000_000 })));
    }

    #[test]
    fn the_first_sample_that_is_not_finite_is_named() {
        let result = Waveform::new(vec![0.0, f32::INFINITY, f32::NAN], 16_000);
        assert!(matches!(result, Err(AudioError::NotFinite { index: 1, .. })));
    }

    #[test]
    fn seconds_follow_from_length_and_rate() {
        let wave = Waveform::new(vec![0.0; 8_000], 16_000).unwrap();
        assert_eq!((wave.len(), wave.seconds()), (8_000, 0.5));
    }
}
