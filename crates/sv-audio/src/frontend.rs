//! The published front ends, every constant spelled out, and the planned form that turns recordings into features.

mod extractor;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use extractor::FeatureExtractor;

use crate::mel::MelSpec;
use crate::resample::Resampler;
use crate::stft::{Framing, Padding, Stft, Window};
use crate::vad::VadChoice;
use crate::{AudioError, Waveform};

/// A front end: everything between a recording at any rate and the features that a model was trained on.
///
/// Plain data, written in full to `model.toml`; a preset is a name for its values, never consulted when a model is read. Start
/// from a preset and change fields; [`Self::validate`] says whether the result is possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FrontEnd {
    /// Name of the preset, or of what was made of it; up to [`Self::MAX_NAME`] bytes.
    pub name: String,
    /// The rate that features are computed at, in Hz.
    pub rate_hz: u32,
    /// How recordings of other rates get there.
    pub resampler: Resampler,
    /// Points of the Fourier transform.
    pub n_fft: usize,
    /// Samples under the window, which stands in the middle of `n_fft`.
    pub win_length: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Shape of the window.
    pub window: Window,
    /// What lies beyond the ends of the recording.
    pub padding: Padding,
    /// What is taken of each bin.
    pub spectrum: Spectrum,
    /// What happens to the level, before the VAD.
    pub level: Level,
    /// What is kept, before the features.
    pub vad: VadChoice,
    /// The filters.
    pub mel: MelSpec,
    /// What is done to their energies.
    pub compression: Compression,
    /// What is subtracted from the features; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmn: Option<Cmn>,
}

/// Mean normalisation of features over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cmn {
    /// Each bin's mean over all frames of the recording.
    Utterance,
}

/// What is taken of each bin of the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Spectrum {
    /// The squared magnitude.
    Power,
}

/// What happens to the level of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Level {
    /// Nothing.
    AsIs {},
    /// A quieter recording is raised to this level; a louder one stays as it is.
    RaiseTo {
        /// Root mean square of the whole recording, in dB relative to full scale (1.0): -200 to 0.
        target_dbfs: f64,
    },
}

/// What is done to filter energies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Compression {
    /// Nothing: features are energies.
    None {},
    /// `log10(energy + offset)`.
    Log10 {
        /// Added to the energy; digital silence gives its logarithm. 1e-30 to 1.
        offset: f64,
    },
}

impl FrontEnd {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 128;
    /// Most frames a second, and most values (frames times bins): they bound the memory that a front end read from a file can
    /// ask for, at 400 kB for each second of a recording. Published ones give 100 frames and 4,000 to 8,000 values.
    pub const MAX_FRAMES_PER_SECOND: usize = 1_000;
    /// See [`Self::MAX_FRAMES_PER_SECOND`].
    pub const MAX_VALUES_PER_SECOND: usize = 100_000;

    /// 8 kHz, 40 logarithmic mel energies each 10 ms, as the TensorFlow implementation of GE2E computes them.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py` and the defaults of `configuration.py`, run on librosa 0.10 or
    /// later (zeros beyond the ends). Its recordings come to 8 kHz by librosa's high-quality sinc, which
    /// [`Resampler::Sharp`] stands for. It cuts pieces out of long recordings before this; that is data preparation, and no VAD.
    #[must_use]
    pub fn ge2e_tf() -> Self {
        Self {
            name: "ge2e-tf".to_owned(),
            rate_hz: 8_000,
            resampler: Resampler::Sharp,
            n_fft: 512,
            win_length: 200,
            hop: 80,
            window: Window::HannPeriodic,
            padding: Padding::CentreZeros,
            spectrum: Spectrum::Power,
            level: Level::AsIs {},
            vad: VadChoice::None,
            mel: MelSpec::slaney(40, 0.0, 4_000.0),
            compression: Compression::Log10 { offset: 1e-6 },
            cmn: None,
        }
    }

    /// 16 kHz, raised to -30 dB, silence cut out, 40 mel energies each 10 ms and no logarithm, as Resemblyzer's encoder takes.
    ///
    /// # Source
    /// resemble-ai/Resemblyzer 0.1.4, `audio.py` and `hparams.py`, on librosa 0.10 or later (zeros beyond the ends). It
    /// resamples by librosa's high-quality sinc, which [`Resampler::Sharp`] stands for.
    #[must_use]
    pub fn resemblyzer() -> Self {
        Self {
            name: "resemblyzer".to_owned(),
            rate_hz: 16_000,
            resampler: Resampler::Sharp,
            n_fft: 400,
            win_length: 400,
            hop: 160,
            window: Window::HannPeriodic,
            padding: Padding::CentreZeros,
            spectrum: Spectrum::Power,
            level: Level::RaiseTo { target_dbfs: -30.0 },
            vad: VadChoice::resemblyzer(),
            mel: MelSpec::slaney(40, 0.0, 8_000.0),
            compression: Compression::None {},
            cmn: None,
        }
    }

    /// Names of the presets.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &["ge2e-tf", "resemblyzer"]
    }

    /// The preset called `name`.
    ///
    /// # Errors
    /// [`AudioError::UnknownFrontEnd`] lists the names there are.
    pub fn by_name(name: &str) -> Result<Self, AudioError> {
        match name {
            "ge2e-tf" => Ok(Self::ge2e_tf()),
            "resemblyzer" => Ok(Self::resemblyzer()),
            _ => Err(AudioError::UnknownFrontEnd { name: name.to_owned() }),
        }
    }

    /// F, the number of features a frame.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.mel.bins
    }

    /// Refuses values that are impossible, or that would let a file ask for unbounded memory.
    ///
    /// # Errors
    /// [`AudioError::Rate`], or [`AudioError::Setting`] which names the field, its value and what it may be.
    pub fn validate(&self) -> Result<(), AudioError> {
        let refuse = |name, value, allowed| Err(AudioError::Setting { name, value, allowed });
        let Self { rate_hz, n_fft, hop, .. } = *self;
        Waveform::check_rate(rate_hz)?;
        let second = rate_hz as usize;
        if self.name.is_empty() || self.name.len() > Self::MAX_NAME {
            return refuse("name", format!("{} bytes long", self.name.len()), "1 to 128 bytes long");
        }
        self.framing().check()?;
        if n_fft > second {
            return refuse("n_fft", format!("{n_fft} at {rate_hz} Hz"), "at most one second of samples");
        }
        if !(second.div_ceil(Self::MAX_FRAMES_PER_SECOND)..=second).contains(&hop) {
            return refuse("hop", format!("{hop} at {rate_hz} Hz"), "from 1 ms to 1 s of samples");
        }
        if let Level::RaiseTo { target_dbfs } = self.level
            && !(-200.0..=0.0).contains(&target_dbfs)
        {
            return refuse("level.target_dbfs", target_dbfs.to_string(), "from -200 to 0 dBFS");
        }
        if let Compression::Log10 { offset } = self.compression
            && !(1e-30..=1.0).contains(&offset)
        {
            return refuse("compression.offset", offset.to_string(), "1e-30 to 1");
        }
        self.vad.validate()?;
        self.mel.validate(rate_hz)?;
        if self.mel.bins * second > Self::MAX_VALUES_PER_SECOND * hop {
            let value = format!("{} every {hop} samples at {rate_hz} Hz", self.mel.bins);
            return refuse("mel.bins", value, "such that there are at most 100000 values a second");
        }
        Ok(())
    }

    fn framing(&self) -> Framing {
        Framing {
            n_fft: self.n_fft,
            win_length: self.win_length,
            hop: self.hop,
            window: self.window,
            padding: self.padding,
        }
    }
}
