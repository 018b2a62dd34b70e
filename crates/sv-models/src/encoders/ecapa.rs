//! ECAPA-TDNN (Desplanques et al. 2020, arXiv 2005.07143), as three projects define it.
//!
//! ```text
//! features (T, F)
//! stem        convolution, ReLU, batch norm                                     C x T
//! blocks      1x1, Res2 (dilated), 1x1, squeeze-excitation, plus the input      C x T, three times
//! mfa         1x1 over the three blocks' outputs, ReLU                          mfa x T
//! attention   weights over time from [x; mean; deviation]: A, tanh, mfa         mean and deviation, 2 mfa
//! pool.norm   batch norm
//! embedding   linear                                                            D
//! ```
//!
//! All convolutions have stride 1, a bias and "same" padding; every "convolution, ReLU, batch norm" is in this order.
//! [`EcapaForm`] holds where the projects differ.

use serde::{Deserialize, Serialize};

use super::{MOST, Padding, Shapes, check_convolutions, check_size, insert_batch_norm, insert_layer, most_padding};
use crate::ModelError;

/// Sizes and form of an ECAPA-TDNN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EcapaConfig {
    /// Whose definition it follows.
    pub form: EcapaForm,
    /// F, feature bins a frame.
    pub bins: usize,
    /// C, channels of the stem and of the blocks.
    pub channels: usize,
    /// Channels after the multi-layer feature aggregation.
    pub mfa: usize,
    /// A, hidden channels of the attention.
    pub attention: usize,
    /// Pieces that a Res2 layer cuts its channels into.
    pub scale: usize,
    /// Hidden channels of the squeeze-excitation.
    pub squeeze: usize,
    /// D.
    pub size: usize,
    /// Kernel sizes of the stem and of each block's Res2 layer: one more than there are blocks.
    pub kernels: Vec<usize>,
    /// Their dilations.
    pub dilations: Vec<usize>,
}

/// Whose ECAPA-TDNN: one network in outline, with other details.
///
/// | point | `SpeechBrain` | `Wespeaker` (GLOB) | `TaoRuijie` |
/// |---|---|---|---|
/// | [`padding`](Self::padding) | reflected | zeros | zeros |
/// | [`untouched`](Self::untouched) piece of Res2 | first | last | last |
/// | [`block_input`](Self::block_input) | previous output | previous output | x, x + x1, x + x1 + x2 |
/// | [`mfa_batch_norm`](Self::mfa_batch_norm) | yes | no | no |
/// | [`context`](Self::context) deviation | population, at least 1e-12 | n - 1, plus 1e-7 | n - 1, at least 1e-4 |
/// | [`attention_batch_norm`](Self::attention_batch_norm), after ReLU | yes | neither | yes |
/// | [`pooled_floor`](Self::pooled_floor) | 1e-12 | 1e-7 | 1e-4 |
/// | [`embedding_batch_norm`](Self::embedding_batch_norm) | no | no | yes |
///
/// # Source
/// speechbrain `lobes/models/ECAPA_TDNN.py`, wespeaker `models/ecapa_tdnn.py`, TaoRuijie/ECAPA-TDNN `model.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EcapaForm {
    /// SpeechBrain's.
    #[serde(rename = "speechbrain")]
    SpeechBrain,
    /// WeSpeaker's `ECAPA_TDNN_GLOB_*`.
    Wespeaker,
    /// TaoRuijie's.
    #[serde(rename = "taoruijie")]
    TaoRuijie,
}

/// Which of a Res2 layer's pieces passes through unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untouched {
    /// The first: `y0 = x0`, `y1 = B0(x1)`, then `yi = B(i-1)(xi + y(i-1))`.
    First,
    /// The last: `y0 = B0(x0)`, then `yi = Bi(y(i-1) + xi)`, and the last piece as it is.
    Last,
}

/// What a block is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockInput {
    /// The previous block's output, or the stem's.
    Previous,
    /// The stem's output plus those of all previous blocks.
    Sum,
}

/// A deviation over time: the root of a variance that is kept away from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// What the sum of squares is divided by.
    pub divisor: Divisor,
    /// How the variance is kept away from 0.
    pub floor: Floor,
}

/// What a sum of squared differences from the mean is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// T.
    Population,
    /// T - 1: one frame has no deviation.
    Sample,
}

/// How a variance is kept away from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// At least this.
    AtLeast(f64),
    /// This is added.
    Plus(f64),
}

impl Floor {
    /// The deviation: the root of `variance`, floored.
    #[must_use]
    pub fn root(self, variance: f64) -> f64 {
        match self {
            Self::AtLeast(least) => variance.max(least).sqrt(),
            Self::Plus(offset) => (variance + offset).sqrt(),
        }
    }
}

impl EcapaForm {
    /// What the convolutions of the stem and of the Res2 layers see beyond the ends.
    #[must_use]
    pub fn padding(self) -> Padding {
        match self {
            Self::SpeechBrain => Padding::Reflect,
            Self::Wespeaker | Self::TaoRuijie => Padding::Zeros,
        }
    }

    /// Which piece a Res2 layer leaves as it is.
    #[must_use]
    pub fn untouched(self) -> Untouched {
        match self {
            Self::SpeechBrain => Untouched::First,
            Self::Wespeaker | Self::TaoRuijie => Untouched::Last,
        }
    }

    /// What each block is given.
    #[must_use]
    pub fn block_input(self) -> BlockInput {
        match self {
            Self::SpeechBrain | Self::Wespeaker => BlockInput::Previous,
            Self::TaoRuijie => BlockInput::Sum,
        }
    }

    /// Whether a batch norm follows the aggregation's ReLU.
    #[must_use]
    pub fn mfa_batch_norm(self) -> bool {
        matches!(self, Self::SpeechBrain)
    }

    /// The deviation over all frames that the attention is told, beside the mean.
    #[must_use]
    pub fn context(self) -> Deviation {
        let (divisor, floor) = match self {
            Self::SpeechBrain => (Divisor::Population, Floor::AtLeast(1e-12)),
            Self::Wespeaker => (Divisor::Sample, Floor::Plus(1e-7)),
            Self::TaoRuijie => (Divisor::Sample, Floor::AtLeast(1e-4)),
        };
        Deviation { divisor, floor }
    }

    /// Whether ReLU and a batch norm stand before the attention's tanh.
    #[must_use]
    pub fn attention_batch_norm(self) -> bool {
        matches!(self, Self::SpeechBrain | Self::TaoRuijie)
    }

    /// The least weighted variance of the pooling, whose root is the pooled deviation.
    #[must_use]
    pub fn pooled_floor(self) -> f64 {
        match self {
            Self::SpeechBrain => 1e-12,
            Self::Wespeaker => 1e-7,
            Self::TaoRuijie => 1e-4,
        }
    }

    /// Whether a batch norm follows the embedding's linear layer.
    #[must_use]
    pub fn embedding_batch_norm(self) -> bool {
        matches!(self, Self::TaoRuijie)
    }
}

impl EcapaConfig {
    /// SpeechBrain's `spkrec-ecapa-voxceleb`: 1024 channels, 20,767,552 parameters.
    #[must_use]
    pub fn speechbrain() -> Self {
        Self {
            form: EcapaForm::SpeechBrain,
            bins: 80,
            channels: 1024,
            mfa: 3072,
            attention: 128,
            scale: 8,
            squeeze: 128,
            size: 192,
            kernels: vec![5, 3, 3, 3],
            dilations: vec![1, 2, 3, 4],
        }
    }

    /// WeSpeaker's `ECAPA_TDNN_GLOB_c512` or, with 1024 channels, `_c1024`: 6,190,720 and 14,657,088 parameters.
    #[must_use]
    pub fn wespeaker(channels: usize) -> Self {
        Self { form: EcapaForm::Wespeaker, channels, mfa: 1536, ..Self::speechbrain() }
    }

    /// TaoRuijie's at 1024 channels: 15,444,544 parameters.
    #[must_use]
    pub fn taoruijie() -> Self {
        Self { form: EcapaForm::TaoRuijie, mfa: 1536, attention: 256, ..Self::speechbrain() }
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.kernels.len().saturating_sub(1)
    }

    /// Channels of one piece of a Res2 layer.
    #[must_use]
    pub fn width(&self) -> usize {
        self.channels / self.scale.max(1)
    }

    /// The shortest input: reflection needs more frames than it adds, a deviation over n - 1 needs two.
    #[must_use]
    pub fn least_frames(&self) -> usize {
        let padding = match self.form.padding() {
            Padding::Reflect => most_padding(&self.kernels, &self.dilations) + 1,
            Padding::Zeros => 1,
        };
        let context = match self.form.context().divisor {
            Divisor::Population => 1,
            Divisor::Sample => 2,
        };
        padding.max(context)
    }

    /// Our names and shapes, with I the block from 0 and J the piece's layer from 0 to scale - 2:
    ///
    /// | name | shape |
    /// |---|---|
    /// | `stem.conv`, `stem.norm` | (C, F, kernel), (C) |
    /// | `blocks.I.tdnn1.conv`, `.norm` | (C, C, 1), (C) |
    /// | `blocks.I.res2.J.conv`, `.norm` | (C / scale, C / scale, kernel), (C / scale) |
    /// | `blocks.I.tdnn2.conv`, `.norm` | (C, C, 1), (C) |
    /// | `blocks.I.se.down`, `blocks.I.se.up` | (squeeze, C), (C, squeeze) |
    /// | `mfa.conv`, and `mfa.norm` where the form has it | (mfa, blocks C, 1), (mfa) |
    /// | `attention.tdnn.conv`, and `attention.tdnn.norm` where the form has it | (A, 3 mfa, 1), (A) |
    /// | `attention.conv` | (mfa, A, 1) |
    /// | `pool.norm` | (2 mfa) |
    /// | `embedding`, and `embedding.norm` where the form has it | (D, 2 mfa), (D) |
    ///
    /// The attention's 3 mfa inputs are the frame, the mean and the deviation, in this order; the pooled 2 mfa are means, then
    /// deviations. Convolutions and linear layers are `.weight` and `.bias`.
    #[must_use]
    pub fn tensors(&self) -> Shapes {
        let Self { bins, channels, mfa, attention, squeeze, size, .. } = *self;
        let mut tensors = Shapes::new();
        let all = &mut tensors;
        insert_layer(all, "stem.conv", &[channels, bins, self.kernels.first().copied().unwrap_or(1)]);
        insert_batch_norm(all, "stem.norm", channels);
        for (block, &kernel) in self.kernels.iter().skip(1).enumerate() {
            for tdnn in ["tdnn1", "tdnn2"] {
                insert_layer(all, &format!("blocks.{block}.{tdnn}.conv"), &[channels, channels, 1]);
                insert_batch_norm(all, &format!("blocks.{block}.{tdnn}.norm"), channels);
            }
            for piece in 0..self.scale.saturating_sub(1) {
                let name = format!("blocks.{block}.res2.{piece}");
                insert_layer(all, &format!("{name}.conv"), &[self.width(), self.width(), kernel]);
                insert_batch_norm(all, &format!("{name}.norm"), self.width());
            }
            insert_layer(all, &format!("blocks.{block}.se.down"), &[squeeze, channels]);
            insert_layer(all, &format!("blocks.{block}.se.up"), &[channels, squeeze]);
        }
        insert_layer(all, "mfa.conv", &[mfa, self.blocks() * channels, 1]);
        if self.form.mfa_batch_norm() {
            insert_batch_norm(all, "mfa.norm", mfa);
        }
        insert_layer(all, "attention.tdnn.conv", &[attention, 3 * mfa, 1]);
        if self.form.attention_batch_norm() {
            insert_batch_norm(all, "attention.tdnn.norm", attention);
        }
        insert_layer(all, "attention.conv", &[mfa, attention, 1]);
        insert_batch_norm(all, "pool.norm", 2 * mfa);
        insert_layer(all, "embedding", &[size, 2 * mfa]);
        if self.form.embedding_batch_norm() {
            insert_batch_norm(all, "embedding.norm", size);
        }
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: every size from 1 to 16,384, channels a multiple of the scale, 1 to 16 blocks, kernels odd.
    pub fn validate(&self) -> Result<(), ModelError> {
        for (key, value) in [
            ("encoder.bins", self.bins),
            ("encoder.channels", self.channels),
            ("encoder.mfa", self.mfa),
            ("encoder.attention", self.attention),
            ("encoder.squeeze", self.squeeze),
            ("encoder.size", self.size),
        ] {
            check_size(key, value, MOST)?;
        }
        if !(2..=64).contains(&self.scale) || !self.channels.is_multiple_of(self.scale) {
            return Err(ModelError::Config {
                key: "encoder.scale",
                got: self.scale.to_string(),
                need: format!("from 2 to 64, and a divisor of the {} channels", self.channels),
            });
        }
        let layers = self.kernels.len().clamp(2, 17);
        check_convolutions(layers, &self.kernels, &self.dilations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EncoderConfig;

    #[test]
    fn parameter_counts_equal_the_published_ones() {
        for (config, count) in [
            (EcapaConfig::speechbrain(), 20_767_552),
            (EcapaConfig::wespeaker(512), 6_190_720),
            (EcapaConfig::wespeaker(1024), 14_657_088),
            (EcapaConfig::taoruijie(), 15_444_544),
            (EcapaConfig { channels: 512, ..EcapaConfig::taoruijie() }, 6_978_176),
        ] {
            assert_eq!(EncoderConfig::Ecapa(config).parameters(), count);
        }
    }

    #[test]
    fn the_shortest_input_follows_padding_and_deviation() {
        // Kernel 3, dilation 4: four frames of reflection.
        assert_eq!(EcapaConfig::speechbrain().least_frames(), 5);
        assert_eq!(EcapaConfig::wespeaker(512).least_frames(), 2);
        assert_eq!(EcapaConfig::taoruijie().least_frames(), 2);
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        let sound = EcapaConfig::speechbrain();
        sound.validate().unwrap();
        for (config, name) in [
            (EcapaConfig { channels: usize::MAX, ..sound.clone() }, "encoder.channels"),
            (EcapaConfig { scale: 7, ..sound.clone() }, "encoder.scale"),
            (EcapaConfig { scale: 0, ..sound.clone() }, "encoder.scale"),
            (EcapaConfig { kernels: vec![5, 3, 3, 2], ..sound.clone() }, "encoder.kernels"),
            (EcapaConfig { kernels: vec![5], dilations: vec![1], ..sound.clone() }, "encoder.kernels"),
            (EcapaConfig { dilations: vec![1, 2, 3], ..sound.clone() }, "encoder.dilations"),
            (EcapaConfig { dilations: vec![1, 2, 3, 0], ..sound.clone() }, "encoder.dilations"),
            (EcapaConfig { kernels: Vec::new(), dilations: Vec::new(), ..sound.clone() }, "encoder.kernels"),
        ] {
            assert!(matches!(config.validate(), Err(ModelError::Config { key, .. }) if key == name), "{name}");
        }
    }
}
