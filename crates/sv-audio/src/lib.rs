//! Recordings in, speech features out.
//!
//! The main path of this crate:
//!
//! ```text
//! file      decode::read            -> Waveform   mono f32 in [-1, 1] and its rate in Hz
//! waveform  FeatureExtractor        -> Features   (T frames, F bins), as a FrontEnd says
//! features  Windows                 -> the pieces that an encoder sees
//! ```
#![forbid(unsafe_code)]

mod error;
mod features;
mod waveform;

#[cfg(feature = "decode")]
pub mod decode;
pub mod frontend;
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
