//! Voice activity: which stretches of a recording are speech.
//!
//! [`VadChoice`] is what a front end names; behind it stand [`energy`], ours and the default, and `webrtc` with
//! [`smoothing`], which Resemblyzer uses. [`librosa`] cuts recordings for training corpora.

use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AudioError, Waveform};

pub mod energy;
pub mod kaldi;
pub mod librosa;
pub mod smoothing;
#[cfg(feature = "vad-webrtc")]
pub mod webrtc;

pub use energy::EnergyVad;
pub use kaldi::KaldiVad;

/// How a front end finds the speech.
///
/// In a file: `kind = "none"`, `"resemblyzer"`, `"energy"`, `"trim"` or `"split"`, and every constant of that kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", from = "AsRead")]
pub enum VadChoice {
    /// Everything counts as speech.
    None,
    /// WebRTC's detector, smoothed and widened as Resemblyzer does (needs the feature `vad-webrtc`).
    ///
    /// Takes 8, 16, 32 or 48 kHz. What follows the last whole window is cut off.
    Resemblyzer {
        /// WebRTC's mode, 0 (lets most through) to 3; Resemblyzer's is 3.
        mode: u8,
        /// Length of a window: 10, 20 or 30 ms; Resemblyzer's is 30.
        window_ms: u32,
        /// Windows of which more than half must be speech; Resemblyzer's is 8 (see [`smoothing::majority`]).
        average: usize,
        /// Windows by which each stretch grows, half on each side; Resemblyzer's is 6 (see [`smoothing::widen`]).
        dilate: usize,
    },
    /// Ours: pure Rust, any sample rate.
    Energy(EnergyVad),
    /// librosa's `trim`: from the first stretch less than `top_db` below the loudest to the last; pauses inside stay.
    Trim {
        /// How far below the loudest a frame may lie, in dB; the TensorFlow GE2E code's is 14 for fixed phrases.
        top_db: f64,
    },
    /// librosa's `split`: all stretches less than `top_db` below the loudest.
    Split {
        /// How far below the loudest a frame may lie, in dB; the TensorFlow GE2E code's is 20.
        top_db: f64,
    },
}

impl VadChoice {
    /// The names that [`FromStr`] takes.
    pub const NAMES: [&str; 5] = ["none", "resemblyzer", "energy", "trim", "split"];

    /// Most windows that smoothing and widening may span.
    const MAX_WINDOWS: usize = 10_000;

    /// Resemblyzer's: WebRTC mode 3 on 30 ms, average of 8, widened by 6 (`hparams.py`).
    #[must_use]
    pub fn resemblyzer() -> Self {
        Self::Resemblyzer { mode: 3, window_ms: 30, average: 8, dilate: 6 }
    }

    /// Ours with its published constants.
    #[must_use]
    pub fn energy() -> Self {
        Self::Energy(EnergyVad::default())
    }

    /// The detector's name, as [`FromStr`] takes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Resemblyzer { .. } => "resemblyzer",
            Self::Energy(_) => "energy",
            Self::Trim { .. } => "trim",
            Self::Split { .. } => "split",
        }
    }

    /// Checks the constants, which may come from a file.
    ///
    /// # Errors
    /// [`AudioError::Setting`] names the first constant that is out of its range.
    pub fn validate(&self) -> Result<(), AudioError> {
        match self {
            Self::None => Ok(()),
            Self::Resemblyzer { mode, window_ms, average, dilate } => {
                check_webrtc(*mode, *window_ms)?;
                if !(1..=Self::MAX_WINDOWS).contains(average) {
                    return Err(setting("vad.average", average, "1 to 10000 windows"));
                }
                if *dilate > Self::MAX_WINDOWS {
                    return Err(setting("vad.dilate", dilate, "at most 10000 windows"));
                }
                Ok(())
            }
            Self::Energy(vad) => vad.validate(),
            Self::Trim { top_db } | Self::Split { top_db } if !(*top_db > 0.0 && *top_db <= 200.0) => {
                Err(setting("vad.top_db", top_db, "above 0 and at most 200 dB"))
            }
            Self::Trim { .. } | Self::Split { .. } => Ok(()),
        }
    }

    /// The stretches of speech, in samples: sorted, disjoint, never empty, within the recording.
    ///
    /// # Errors
    /// As [`Self::validate`]; [`AudioError::MissingFeature`] for Resemblyzer's in a build without `vad-webrtc`, and
    /// [`AudioError::VadRate`] if it is given a sample rate that it does not know.
    pub fn segments(&self, wave: &Waveform) -> Result<Vec<Range<usize>>, AudioError> {
        self.validate()?;
        match self {
            Self::None if wave.is_empty() => Ok(Vec::new()),
            Self::None => Ok(std::iter::once(0..wave.len()).collect()),
            Self::Resemblyzer { mode, window_ms, average, dilate } => {
                let flags = webrtc_flags(wave, *mode, *window_ms)?;
                let mask = smoothing::widen(&smoothing::majority(&flags, *average), *dilate);
                let window = window_samples(wave.rate_hz(), *window_ms);
                Ok(runs(mask.into_iter()).map(|run| run.start * window..run.end * window).collect())
            }
            Self::Energy(vad) => vad.segments(wave),
            Self::Trim { top_db } => {
                Ok(Some(librosa::trim(wave.samples(), *top_db)).into_iter().filter(|range| !range.is_empty()).collect())
            }
            Self::Split { top_db } => Ok(librosa::split(wave.samples(), *top_db)),
        }
    }

    /// The speech, its stretches joined without a fade.
    ///
    /// # Errors
    /// As [`Self::segments`]; [`AudioError::NoSpeech`] if nothing is left.
    pub fn voiced(&self, wave: &Waveform) -> Result<Waveform, AudioError> {
        let segments = self.segments(wave)?;
        if segments.is_empty() {
            return Err(AudioError::NoSpeech { seconds: wave.seconds(), vad: self.name() });
        }
        let mut voiced = Vec::with_capacity(segments.iter().map(ExactSizeIterator::len).sum());
        for segment in segments {
            voiced.extend_from_slice(&wave.samples()[segment]);
        }
        Waveform::new(voiced, wave.rate_hz())
    }
}

/// [`VadChoice`] for reading: serde lets unknown keys pass beside a unit variant, so that here is none.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum AsRead {
    None {},
    Resemblyzer { mode: u8, window_ms: u32, average: usize, dilate: usize },
    Energy(EnergyVad),
    Trim { top_db: f64 },
    Split { top_db: f64 },
}

impl From<AsRead> for VadChoice {
    fn from(read: AsRead) -> Self {
        match read {
            AsRead::None {} => Self::None,
            AsRead::Resemblyzer { mode, window_ms, average, dilate } => {
                Self::Resemblyzer { mode, window_ms, average, dilate }
            }
            AsRead::Energy(vad) => Self::Energy(vad),
            AsRead::Trim { top_db } => Self::Trim { top_db },
            AsRead::Split { top_db } => Self::Split { top_db },
        }
    }
}

impl FromStr for VadChoice {
    type Err = AudioError;

    /// The detector of that name with its published constants.
    fn from_str(name: &str) -> Result<Self, AudioError> {
        match name {
            "none" => Ok(Self::None),
            "resemblyzer" => Ok(Self::resemblyzer()),
            "energy" => Ok(Self::energy()),
            "trim" => Ok(Self::Trim { top_db: 14.0 }),
            "split" => Ok(Self::Split { top_db: 20.0 }),
            _ => Err(AudioError::UnknownVad { name: name.to_owned() }),
        }
    }
}

#[cfg(feature = "vad-webrtc")]
fn webrtc_flags(wave: &Waveform, mode: u8, window_ms: u32) -> Result<Vec<bool>, AudioError> {
    webrtc::flags(wave, mode, window_ms)
}

#[cfg(not(feature = "vad-webrtc"))]
fn webrtc_flags(_: &Waveform, _: u8, _: u32) -> Result<Vec<bool>, AudioError> {
    Err(AudioError::MissingFeature {
        feature: "vad-webrtc",
        needed_by: "the VAD `resemblyzer`",
        instead: "the VAD `energy` or `none`",
    })
}

/// What WebRTC's detector can be set to.
fn check_webrtc(mode: u8, window_ms: u32) -> Result<(), AudioError> {
    if mode > 3 {
        return Err(setting("vad.mode", mode, "0, 1, 2 or 3"));
    }
    if ![10, 20, 30].contains(&window_ms) {
        return Err(setting("vad.window_ms", window_ms, "10, 20 or 30 ms"));
    }
    Ok(())
}

fn window_samples(rate_hz: u32, window_ms: u32) -> usize {
    (u64::from(rate_hz) * u64::from(window_ms) / 1000) as usize
}

fn setting(name: &'static str, value: impl ToString, allowed: &'static str) -> AudioError {
    AudioError::Setting { name, value: value.to_string(), allowed }
}

/// The runs of true flags, as half-open ranges.
fn runs(flags: impl Iterator<Item = bool>) -> impl Iterator<Item = Range<usize>> {
    let mut start = None;
    // One silent flag after the last closes the last run.
    flags.chain(std::iter::once(false)).enumerate().filter_map(move |(i, flag)| match (flag, start) {
        (true, None) => {
            start = Some(i);
            None
        }
        (false, Some(first)) => {
            start = None;
            Some(first..i)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
