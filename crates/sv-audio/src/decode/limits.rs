//! What one recording may cost.

use super::DecodeError;

/// What a single recording may cost; enforced on what is decoded, not on what a header claims.
///
/// A recording that goes beyond is refused with [`DecodeError::TooLong`], [`DecodeError::TooLarge`],
/// [`DecodeError::Channels`] or [`DecodeError::Rate`], each of which names the field to raise. The defaults take 4 hours
/// at 8 kHz, 2.3 hours at 16 kHz, 46 minutes at 48 kHz.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// Longest recording in seconds, mixed to mono. Default 14,400 (4 hours).
    pub max_seconds: f64,
    /// Most channels that are mixed down. Default 32.
    pub max_channels: usize,
    /// Lowest native rate in Hz. Default 1,000.
    pub min_rate_hz: u32,
    /// Highest native rate in Hz. Default 768,000.
    pub max_rate_hz: u32,
    /// Most memory in bytes for the decoded samples (4 bytes each), and, on its own, for a stream that must be held
    /// because its container needs random access. Default 512 MiB.
    pub max_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_seconds: 14_400.0,
            max_channels: 32,
            min_rate_hz: crate::Waveform::MIN_RATE_HZ,
            max_rate_hz: crate::Waveform::MAX_RATE_HZ,
            max_bytes: 512 << 20,
        }
    }
}

impl DecodeLimits {
    /// The rate, if it is within the limits and within what a [`crate::Waveform`] can hold.
    pub(super) fn check_rate(&self, rate_hz: u32) -> Result<u32, DecodeError> {
        let min_hz = self.min_rate_hz.max(crate::Waveform::MIN_RATE_HZ);
        let max_hz = self.max_rate_hz.min(crate::Waveform::MAX_RATE_HZ);
        if (min_hz..=max_hz).contains(&rate_hz) {
            Ok(rate_hz)
        } else {
            Err(DecodeError::Rate { rate_hz, min_hz, max_hz })
        }
    }

    /// The channel count, if it is within the limits.
    pub(super) fn check_channels(&self, channels: usize) -> Result<usize, DecodeError> {
        if (1..=self.max_channels).contains(&channels) {
            Ok(channels)
        } else {
            Err(DecodeError::Channels { channels, max_channels: self.max_channels })
        }
    }

    /// An error if `samples` mono samples at `rate_hz` are more than the limits allow.
    pub(super) fn check_length(&self, samples: u64, rate_hz: u32) -> Result<(), DecodeError> {
        if samples as f64 > self.max_seconds * f64::from(rate_hz) {
            return Err(DecodeError::TooLong { max_seconds: self.max_seconds });
        }
        if samples.saturating_mul(4) > self.max_bytes {
            return Err(DecodeError::TooLarge { max_bytes: self.max_bytes });
        }
        Ok(())
    }
}
