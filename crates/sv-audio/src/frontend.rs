//! Front ends: everything between a recording and features as plain data, and the planned form that computes them.

mod extractor;
mod normalise;
mod pipeline;
mod presets;
mod steps;
mod temporal;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use extractor::FeatureExtractor;
pub use steps::{Cepstra, Cmn, Compression, Context, Deltas, FirstCepstrum, Level, PreEmphasis, Precision, Spectrum};

use crate::mel::MelSpec;
use crate::resample::Resampler;
use crate::stft::{Framing, Padding, Window};
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
    /// Where frames lie, and what lies beyond the ends of the recording.
    pub padding: Padding,
    /// What spectra and energies are computed in; f64 if absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// What is taken of each bin.
    pub spectrum: Spectrum,
    /// What happens to the level, before the VAD.
    pub level: Level,
    /// What is kept, before the features.
    pub vad: VadChoice,
    /// What samples are multiplied by for the features: 32768 for systems that take 16-bit samples as they are. 1 if absent;
    /// 1e-6 to 32768.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub scale: f64,
    /// Whether each frame's mean is subtracted from it, before pre-emphasis and window; not if absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remove_dc: bool,
    /// Pre-emphasis; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_emphasis: Option<PreEmphasis>,
    /// The filters.
    pub mel: MelSpec,
    /// What is done to their energies.
    pub compression: Compression,
    /// Cepstral coefficients in place of the filters' values; not if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cepstra: Option<Cepstra>,
    /// Slopes over time, appended; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deltas: Option<Deltas>,
    /// Neighbouring frames beside each; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What is subtracted from the features, last of all; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmn: Option<Cmn>,
}

impl FrontEnd {
    /// Longest name, in bytes.
    pub const MAX_NAME: usize = 128;
    /// Most frames a second, and most values (frames times bins): they bound the memory that a front end read from a file can
    /// ask for, at 400 kB for each second of a recording. Published ones give 100 frames and 4,000 to 8,000 values.
    pub const MAX_FRAMES_PER_SECOND: usize = 1_000;
    /// See [`Self::MAX_FRAMES_PER_SECOND`].
    pub const MAX_VALUES_PER_SECOND: usize = 100_000;

    /// F, the number of features a frame.
    #[must_use]
    pub fn bins(&self) -> usize {
        let base = self.cepstra.map_or(self.mel.bins, |cepstra| cepstra.count);
        let orders = 1 + self.deltas.map_or(0, |deltas| deltas.order);
        let frames = 1 + self.context.map_or(0, |context| context.left.saturating_add(context.right));
        base.saturating_mul(orders).saturating_mul(frames)
    }

    /// The samples that frame 0 is computed from before any [`Deltas`] and [`Context`], from the first sample's index to past the
    /// last's; frame t's lie `t * hop` further. Beyond the ends of a recording [`Padding`] says what is there.
    #[must_use]
    pub fn reach(&self) -> std::ops::Range<i64> {
        let first = self.framing().first_sample(0);
        let before = i64::from(matches!(self.pre_emphasis, Some(PreEmphasis::Wave { .. })));
        first - before..first + self.win_length as i64
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
        if !(1e-6..=32_768.0).contains(&self.scale) {
            return refuse("scale", self.scale.to_string(), "1e-6 to 32768");
        }
        self.level.validate()?;
        self.pre_emphasis.map_or(Ok(()), PreEmphasis::validate)?;
        self.compression.validate()?;
        self.cepstra.map_or(Ok(()), |cepstra| cepstra.validate(self.mel.bins))?;
        self.deltas.map_or(Ok(()), Deltas::validate)?;
        self.context.map_or(Ok(()), Context::validate)?;
        self.cmn.map_or(Ok(()), Cmn::validate)?;
        self.vad.validate()?;
        self.mel.validate(rate_hz)?;
        if self.bins().max(self.mel.bins) * second > Self::MAX_VALUES_PER_SECOND * hop {
            let value = format!("{} every {hop} samples at {rate_hz} Hz", self.bins());
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

fn one() -> f64 {
    1.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
