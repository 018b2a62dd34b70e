//! Residual networks over the time-frequency plane (He et al. 2016), as WeSpeaker defines them for speakers.
//!
//! ```text
//! features (T, F), taken as one image of F rows and T columns
//! stem        3x3 convolution, batch norm, ReLU             C x F x T
//! stages      basic blocks; the first block of all but the first stage halves both sides and doubles the channels
//! pooling     mean and deviation over time (TSTP)           2 x 8C x F/8, channel major
//! embedding   linear                                        D
//! ```
//!
//! A basic block is `ReLU(norm2(conv2(ReLU(norm1(conv1(x))))) + shortcut(x))`, both convolutions 3x3, zeros beyond the edges, no
//! biases; its shortcut is the input itself, or a 1x1 convolution and a batch norm where stride or channels change.

use serde::{Deserialize, Serialize};

use super::{MOST, Shapes, check_size, insert_batch_norm, insert_layer};
use crate::ModelError;

/// Sizes and form of a residual network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
    /// Whose definition it follows.
    pub form: ResNetForm,
    /// F, feature bins a frame.
    pub bins: usize,
    /// Channels of the stem and of the first stage; each further stage has twice as many.
    pub channels: usize,
    /// Basic blocks of each stage.
    pub blocks: Vec<usize>,
    /// D.
    pub size: usize,
}

/// Whose residual network.
///
/// | point | `Wespeaker` |
/// |---|---|
/// | axes of a kernel | frequency, time |
/// | stem | 3x3, stride 1 |
/// | activation | ReLU |
/// | pooling | mean, and root of the variance (over n - 1) plus 1e-7, over time |
///
/// # Source
/// wespeaker `models/resnet.py` and `models/pooling_layers.py` (`TSTP`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ResNetForm {
    /// WeSpeaker's, basic blocks, one embedding layer.
    Wespeaker,
}

impl ResNetForm {
    /// Rows and columns of the stem's kernel.
    #[must_use]
    pub fn stem_kernel(self) -> usize {
        match self {
            Self::Wespeaker => 3,
        }
    }

    /// What is added to the variance of the pooling, under the root.
    #[must_use]
    pub fn variance_offset(self) -> f64 {
        match self {
            Self::Wespeaker => 1e-7,
        }
    }
}

impl ResNetConfig {
    /// WeSpeaker's ResNet-34: 6,634,336 parameters.
    #[must_use]
    pub fn resnet34() -> Self {
        Self { form: ResNetForm::Wespeaker, bins: 80, channels: 32, blocks: vec![3, 4, 6, 3], size: 256 }
    }

    /// Channels of a stage, from 0.
    #[must_use]
    pub fn stage_channels(&self, stage: usize) -> usize {
        self.channels << stage
    }

    /// Step of a block's first convolution along both axes: 2 in the first block of all but the first stage.
    #[must_use]
    pub fn stride(&self, stage: usize, block: usize) -> usize {
        if stage > 0 && block == 0 { 2 } else { 1 }
    }

    /// Channels of what comes into a block.
    #[must_use]
    pub fn block_input(&self, stage: usize, block: usize) -> usize {
        self.stage_channels(if block == 0 { stage.saturating_sub(1) } else { stage })
    }

    /// Whether a block's shortcut is a convolution and a batch norm.
    #[must_use]
    pub fn projects(&self, stage: usize, block: usize) -> bool {
        self.stride(stage, block) != 1 || self.block_input(stage, block) != self.stage_channels(stage)
    }

    /// Rows that are left of F after the last stage: each stride of 2 leaves half of them, rounded up.
    #[must_use]
    pub fn rows(&self) -> usize {
        (1..self.blocks.len()).fold(self.bins, |rows, _| rows.div_ceil(2))
    }

    /// Channels times rows that are pooled over time; the pooled vector has twice as many values, the mean of channel c and row r at
    /// c rows + r, the deviations after all means.
    #[must_use]
    pub fn pooled(&self) -> usize {
        self.stage_channels(self.blocks.len().saturating_sub(1)) * self.rows()
    }

    /// The shortest input: a deviation needs two columns after the last stage.
    #[must_use]
    pub fn least_frames(&self) -> usize {
        (1 << self.blocks.len().saturating_sub(1)) + 1
    }

    /// Our names and shapes, with S the stage and B the block from 0, and I, O the channels into and out of it:
    ///
    /// | name | shape |
    /// |---|---|
    /// | `stem.conv.weight`, `stem.norm` | (C, 1, kernel, kernel), (C) |
    /// | `stages.S.B.conv1.weight`, `.norm1` | (O, I, 3, 3), (O) |
    /// | `stages.S.B.conv2.weight`, `.norm2` | (O, O, 3, 3), (O) |
    /// | `stages.S.B.shortcut.conv.weight`, `.shortcut.norm` where it [projects](Self::projects) | (O, I, 1, 1), (O) |
    /// | `embedding.weight`, `.bias` | (D, 2 [pooled](Self::pooled)), (D) |
    #[must_use]
    pub fn tensors(&self) -> Shapes {
        let mut tensors = Shapes::new();
        let all = &mut tensors;
        let kernel = self.form.stem_kernel();
        all.insert("stem.conv.weight".into(), vec![self.channels, 1, kernel, kernel]);
        insert_batch_norm(all, "stem.norm", self.channels);
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            let channels = self.stage_channels(stage);
            for block in 0..blocks {
                let name = |part: &str| format!("stages.{stage}.{block}.{part}");
                let input = self.block_input(stage, block);
                all.insert(name("conv1.weight"), vec![channels, input, 3, 3]);
                insert_batch_norm(all, &name("norm1"), channels);
                all.insert(name("conv2.weight"), vec![channels, channels, 3, 3]);
                insert_batch_norm(all, &name("norm2"), channels);
                if self.projects(stage, block) {
                    all.insert(name("shortcut.conv.weight"), vec![channels, input, 1, 1]);
                    insert_batch_norm(all, &name("shortcut.norm"), channels);
                }
            }
        }
        insert_layer(all, "embedding", &[self.size, 2 * self.pooled()]);
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: bins and D from 1 to 16,384, channels to 1,024, 1 to 6 stages of 1 to 64 blocks.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_size("encoder.bins", self.bins, MOST)?;
        check_size("encoder.channels", self.channels, 1_024)?;
        check_size("encoder.size", self.size, MOST)?;
        if !(1..=6).contains(&self.blocks.len()) || !self.blocks.iter().all(|count| (1..=64).contains(count)) {
            return Err(ModelError::Config {
                key: "encoder.blocks",
                got: format!("{:?}", self.blocks),
                need: "1 to 6 numbers, each from 1 to 64".into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EncoderConfig;

    #[test]
    fn the_parameter_count_equals_the_published_one() {
        let config = ResNetConfig::resnet34();
        assert_eq!((config.rows(), config.pooled()), (10, 2_560));
        assert_eq!(EncoderConfig::ResNet(config).parameters(), 6_634_336);
    }

    #[test]
    fn eight_frames_are_too_few_for_a_deviation() {
        assert_eq!(ResNetConfig::resnet34().least_frames(), 9);
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        let sound = ResNetConfig::resnet34();
        sound.validate().unwrap();
        for (config, name) in [
            (ResNetConfig { channels: 0, ..sound.clone() }, "encoder.channels"),
            (ResNetConfig { channels: usize::MAX, ..sound.clone() }, "encoder.channels"),
            (ResNetConfig { blocks: Vec::new(), ..sound.clone() }, "encoder.blocks"),
            (ResNetConfig { blocks: vec![3, 0], ..sound.clone() }, "encoder.blocks"),
            (ResNetConfig { bins: 0, ..sound.clone() }, "encoder.bins"),
        ] {
            assert!(matches!(config.validate(), Err(ModelError::Config { key, .. }) if key == name), "{name}");
        }
    }
}
