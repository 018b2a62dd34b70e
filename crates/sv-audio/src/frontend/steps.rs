//! What a front end can do to samples, energies and features: the choices that a [`super::FrontEnd`] is put together from.

use serde::{Deserialize, Serialize};

use crate::AudioError;

/// What spectra and energies are computed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// f64, as librosa.
    #[default]
    Double,
    /// f32, as PyTorch and Kaldi; about twice as fast.
    Single,
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

/// A share of each sample's predecessor that is subtracted from it, which lifts the treble.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PreEmphasis {
    /// Over the whole recording, before it is framed; the first sample's predecessor is the second, its mirror image.
    Wave {
        /// The share, above 0 to 1.
        coefficient: f64,
    },
    /// Within each frame, after its mean is subtracted and before the window; the first sample is its own predecessor. Kaldi's.
    Frame {
        /// The share, above 0 to 1.
        coefficient: f64,
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
    /// `ln(energy + offset)`.
    Ln {
        /// Added to the energy; digital silence gives its logarithm. 1e-30 to 1.
        offset: f64,
    },
    /// `ln(max(energy, floor))`.
    LnFloor {
        /// Least energy; digital silence gives its logarithm. 1e-30 to 1.
        floor: f64,
    },
    /// `10 log10(max(energy, floor))`, and nothing more than `top_db` below the largest value of the recording.
    Decibels {
        /// Least energy. 1e-30 to 1.
        floor: f64,
        /// Range of a recording's values in dB, above 0 to 1000. Each recording has a range of its own, in a batch too.
        top_db: f64,
    },
}

/// Cepstral coefficients in place of filter energies: their orthonormal cosine transform (DCT-II), as far as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cepstra {
    /// Number of coefficients that are kept, 1 to the number of filters.
    pub count: usize,
    /// Period L of the lifter `1 + L/2 sin(pi i / L)` that coefficient i is multiplied with; none if absent. 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifter: Option<f64>,
    /// What stands in the first column.
    pub first: FirstCepstrum,
}

/// The first column of cepstra.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum FirstCepstrum {
    /// The coefficient, which is the sum of the filters' values over the root of their number.
    Coefficient {},
    /// The natural logarithm of the sum of squares of the frame's samples, after its mean is subtracted and before pre-emphasis
    /// and window. Kaldi's `use-energy`.
    LogEnergy {
        /// Least sum of squares, 1e-30 to 1e30; digital silence gives its logarithm.
        floor: f64,
    },
}

/// How features change over time, appended to them: slopes of straight lines, and slopes of those slopes, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Deltas {
    /// How often the slope is taken, 1 to 3.
    pub order: usize,
    /// Frames on each side that the line is drawn through, 1 to 16; beyond the ends the last frame is repeated.
    pub reach: usize,
}

/// Neighbouring frames that stand beside each frame: value by value, the earliest first; zeros beyond the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Context {
    /// Frames before, up to 32.
    pub left: usize,
    /// Frames after, up to 32.
    pub right: usize,
}

/// Mean normalisation of features over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Cmn {
    /// Each bin's mean over all frames of the recording.
    Utterance,
    /// Each bin's mean over the frames around; near the ends the window is moved inward, and a recording no longer than it is
    /// [`Self::Utterance`]. Kaldi's `apply-cmvn-sliding --center=true --norm-vars=false`.
    Sliding {
        /// Length of the window in frames, 1 to 100000; frame t lies at its place `frames / 2`, counted from 0.
        frames: usize,
    },
}

type Refusal = Result<(), AudioError>;

fn refuse(name: &'static str, value: impl ToString, allowed: &'static str) -> Refusal {
    Err(AudioError::Setting { name, value: value.to_string(), allowed })
}

impl Level {
    pub(super) fn validate(self) -> Refusal {
        match self {
            Self::RaiseTo { target_dbfs } if !(-200.0..=0.0).contains(&target_dbfs) => {
                refuse("level.target_dbfs", target_dbfs, "from -200 to 0 dBFS")
            }
            Self::AsIs {} | Self::RaiseTo { .. } => Ok(()),
        }
    }
}

impl PreEmphasis {
    pub(super) fn validate(self) -> Refusal {
        let (Self::Wave { coefficient } | Self::Frame { coefficient }) = self;
        if coefficient > 0.0 && coefficient <= 1.0 {
            return Ok(());
        }
        refuse("pre_emphasis.coefficient", coefficient, "above 0 to 1")
    }
}

impl Compression {
    pub(super) fn validate(self) -> Refusal {
        const LEAST: std::ops::RangeInclusive<f64> = 1e-30..=1.0;
        match self {
            Self::Log10 { offset } | Self::Ln { offset } if !LEAST.contains(&offset) => {
                refuse("compression.offset", offset, "1e-30 to 1")
            }
            Self::LnFloor { floor } | Self::Decibels { floor, .. } if !LEAST.contains(&floor) => {
                refuse("compression.floor", floor, "1e-30 to 1")
            }
            Self::Decibels { top_db, .. } if !(top_db > 0.0 && top_db <= 1_000.0) => {
                refuse("compression.top_db", top_db, "above 0 to 1000 dB")
            }
            _ => Ok(()),
        }
    }
}

impl Cepstra {
    pub(super) fn validate(self, filters: usize) -> Refusal {
        if !(1..=filters).contains(&self.count) {
            return refuse(
                "cepstra.count",
                format!("{} of {filters} filters", self.count),
                "1 to the number of filters",
            );
        }
        if let Some(lifter) = self.lifter
            && !(1.0..=1_000.0).contains(&lifter)
        {
            return refuse("cepstra.lifter", lifter, "1 to 1000");
        }
        match self.first {
            FirstCepstrum::LogEnergy { floor } if !(1e-30..=1e30).contains(&floor) => {
                refuse("cepstra.first.floor", floor, "1e-30 to 1e30")
            }
            FirstCepstrum::Coefficient {} | FirstCepstrum::LogEnergy { .. } => Ok(()),
        }
    }
}

impl Deltas {
    pub(super) fn validate(self) -> Refusal {
        if !(1..=3).contains(&self.order) {
            return refuse("deltas.order", self.order, "1 to 3");
        }
        if !(1..=16).contains(&self.reach) {
            return refuse("deltas.reach", self.reach, "1 to 16 frames");
        }
        Ok(())
    }
}

impl Context {
    pub(super) fn validate(self) -> Refusal {
        if self.left > 32 {
            return refuse("context.left", self.left, "at most 32 frames");
        }
        if self.right > 32 {
            return refuse("context.right", self.right, "at most 32 frames");
        }
        Ok(())
    }
}

impl Cmn {
    pub(super) fn validate(self) -> Refusal {
        match self {
            Self::Sliding { frames } if !(1..=100_000).contains(&frames) => {
                refuse("cmn.sliding.frames", frames, "1 to 100000")
            }
            Self::Utterance | Self::Sliding { .. } => Ok(()),
        }
    }
}
