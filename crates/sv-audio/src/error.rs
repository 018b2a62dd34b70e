//! What can go wrong between a recording and its features.

/// Errors of this crate. Each says where, what was found and what was needed, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// A sample rate outside what can be processed.
    #[error("sample rate {rate_hz} Hz; rates from {} to {} Hz are supported", crate::Waveform::MIN_RATE_HZ, crate::Waveform::MAX_RATE_HZ)]
    Rate {
        /// The rate that was given, in Hz.
        rate_hz: u32,
    },
    /// A sample is NaN or infinite.
    #[error("sample {index} is {value}, not a finite number; repair or re-export the recording")]
    NotFinite {
        /// Position of the first such sample.
        index: usize,
        /// Its value.
        value: f32,
    },
}
