#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod features;
mod waveform;

#[cfg(feature = "augment")]
pub mod augment;
#[cfg(feature = "decode")]
pub mod decode;
pub mod frontend;
pub mod level;
pub mod mel;
pub mod resample;
pub mod stft;
#[cfg(feature = "synth")]
pub mod synth;
pub mod vad;
pub mod windows;

pub use error::AudioError;
pub use features::Features;
pub use waveform::Waveform;
