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
        Self::check_rate(rate_hz)?;
        if let Some(index) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(AudioError::NotFinite { index, value: samples[index] });
        }
        Ok(Self { samples, rate_hz })
    }

    /// Refuses a rate that no waveform can have.
    pub(crate) fn check_rate(rate_hz: u32) -> Result<(), AudioError> {
        if (Self::MIN_RATE_HZ..=Self::MAX_RATE_HZ).contains(&rate_hz) {
            Ok(())
        } else {
            Err(AudioError::Rate { rate_hz })
        }
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

    /// The recording as a WAV file: mono, 16 bits, samples beyond [-1, 1] cut off.
    ///
    /// # Panics
    /// If the file would exceed the 4 GiB that its header can state: 37 hours at 16 kHz.
    #[must_use]
    pub fn to_wav(&self) -> Vec<u8> {
        let data = u32::try_from(2 * self.samples.len()).ok().filter(|bytes| *bytes <= u32::MAX - 36);
        let data = data.expect("at most 4 GiB");
        let mut file = Vec::with_capacity(44 + data as usize);
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&(36 + data).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        file.extend_from_slice(&self.rate_hz.to_le_bytes());
        file.extend_from_slice(&(2 * self.rate_hz).to_le_bytes());
        file.extend_from_slice(b"\x02\0\x10\0data");
        file.extend_from_slice(&data.to_le_bytes());
        for sample in &self.samples {
            // 32768, as decoders divide by it: what was decoded from 16 bits comes back bit for bit.
            let value = (f64::from(*sample) * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
            file.extend_from_slice(&value.to_le_bytes());
        }
        file
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
