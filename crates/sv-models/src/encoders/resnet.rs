//! Residual networks over the time-frequency plane (He et al. 2016), as WeSpeaker and Heo et al. 2019 define them for speakers.
//!
//! ```text
//! features (T, F), taken as one image
//! stem        convolution, batch norm, activation           C x F x T
//! stages      basic blocks; the first block of all but the first stage halves both sides and doubles the channels
//! pooling     mean and deviation over time (TSTP)           2 x 8C x F/8, channel major
//!             or the mean over time and frequency           8C
//! embedding   linear; of Heo et al.'s first network none    D
//! ```
//!
//! A basic block is `act(norm2(conv2(act(norm1(conv1(x))))) + shortcut(x))`, both convolutions 3x3, zeros beyond the edges, no
//! biases; its shortcut is the input itself, or a 1x1 convolution and a batch norm where stride or channels change. What the two
//! definitions differ in stands in [`ResNetForm`].

use serde::{Deserialize, Serialize};

pub use super::resnet_form::{Axes, HeoForm, ImagePadding, Pooling, ResNetForm, ResNetHead};
use super::{MOST, Shapes, check_size, insert_batch_norm, insert_layer};
use crate::ModelError;

/// Sizes and form of a residual network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

impl ResNetConfig {
    /// WeSpeaker's ResNet-34: 6,634,336 parameters.
    #[must_use]
    pub fn resnet34() -> Self {
        Self { form: ResNetForm::Wespeaker, bins: 80, channels: 32, blocks: vec![3, 4, 6, 3], size: 256 }
    }

    /// The network of Heo et al. 2019, Table 1 (VoxCeleb1): 16 to 128 channels, the pooled means are the embedding; 1,333,680
    /// parameters.
    #[must_use]
    pub fn heo_table1() -> Self {
        let form = ResNetForm::Heo(HeoForm::default());
        Self { form, bins: 64, channels: 16, blocks: vec![3, 4, 6, 3], size: 128 }
    }

    /// The network of Heo et al. 2019, Table 3 (VoxCeleb2): a stem that halves the frequency axis, 64 to 512 channels, a linear
    /// layer of 1,024; 21,803,712 parameters.
    #[must_use]
    pub fn heo_table3() -> Self {
        let form = ResNetForm::Heo(HeoForm { stem_stride: [1, 2], head: ResNetHead::Linear, ..HeoForm::default() });
        Self { form, bins: 64, channels: 64, blocks: vec![3, 4, 6, 3], size: 1_024 }
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

    /// Bins that are left of F after the last stage: each stride of 2 leaves half of them, rounded up.
    #[must_use]
    pub fn rows(&self) -> usize {
        let [_, frequency] = self.form.stem_stride();
        (1..self.blocks.len()).fold(self.bins.div_ceil(frequency.max(1)), |rows, _| rows.div_ceil(2))
    }

    /// Channels of the last stage.
    #[must_use]
    pub fn last_channels(&self) -> usize {
        self.stage_channels(self.blocks.len().saturating_sub(1))
    }

    /// Channels times [rows](Self::rows) of a frame after the last stage.
    #[must_use]
    pub fn pooled(&self) -> usize {
        self.last_channels() * self.rows()
    }

    /// Values that pooling gives: two for each of [pooled](Self::pooled), the mean of channel c and row r at c rows + r, the
    /// deviations after all means; or one a channel.
    #[must_use]
    pub fn pooled_values(&self) -> usize {
        match self.form.pooling() {
            Pooling::Tstp { .. } => 2 * self.pooled(),
            Pooling::Average => self.last_channels(),
        }
    }

    /// The shortest input: a deviation needs two frames after the last stage, a mean over them as many as one of them stands for.
    #[must_use]
    pub fn least_frames(&self) -> usize {
        let [time, _] = self.form.stem_stride();
        let strides = time << self.blocks.len().saturating_sub(1);
        match self.form.pooling() {
            Pooling::Tstp { .. } => strides + 1,
            Pooling::Average => strides,
        }
    }

    /// Our names and shapes, with S the stage and B the block from 0, and I, O the channels into and out of it; the axes of a
    /// kernel stand as [`ResNetForm::axes`] says:
    ///
    /// | name | shape |
    /// |---|---|
    /// | `stem.conv.weight`, `stem.norm` | (C, 1, kernel, kernel), (C) |
    /// | `stages.S.B.conv1.weight`, `.norm1` | (O, I, 3, 3), (O) |
    /// | `stages.S.B.conv2.weight`, `.norm2` | (O, O, 3, 3), (O) |
    /// | `stages.S.B.shortcut.conv.weight`, `.shortcut.norm` where it [projects](Self::projects) | (O, I, 1, 1), (O) |
    /// | `embedding.weight`, `.bias` where there is such a layer | (D, [pooled values](Self::pooled_values)), (D) |
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
        if self.form.has_linear_head() {
            insert_layer(all, "embedding", &[self.size, self.pooled_values()]);
        }
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: bins and D from 1 to 16,384, channels to 1,024, 1 to 6 stages of 1 to 64 blocks, D the pooled
    /// values where nothing follows them; and what [`HeoForm`] says of its constants.
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
        self.form.validate()?;
        if !self.form.has_linear_head() && self.size != self.pooled_values() {
            return Err(ModelError::Config {
                key: "encoder.size",
                got: self.size.to_string(),
                need: format!("{}, the channels of the last stage, which are the embedding", self.pooled_values()),
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
        for (config, rows, parameters) in
            [(ResNetConfig::heo_table1(), 8, 1_333_680), (ResNetConfig::heo_table3(), 4, 21_803_712)]
        {
            config.validate().unwrap();
            assert_eq!((config.rows(), config.least_frames()), (rows, 8));
            assert_eq!(EncoderConfig::ResNet(config).parameters(), parameters);
        }
    }

    #[test]
    fn a_form_is_read_as_it_was_written_and_no_key_is_passed_over() {
        for config in [ResNetConfig::resnet34(), ResNetConfig::heo_table1(), ResNetConfig::heo_table3()] {
            let config = EncoderConfig::ResNet(config);
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<EncoderConfig>(&text).unwrap(), config, "{text}");
        }
        let text = toml::to_string(&EncoderConfig::ResNet(ResNetConfig::heo_table1())).unwrap();
        for wrong in [text.replace("slope", "leak"), text.replace("same", "valid").replace("half", "valid")] {
            assert!(toml::from_str::<EncoderConfig>(&wrong).is_err(), "{wrong}");
        }
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
            (ResNetConfig { size: 127, ..ResNetConfig::heo_table1() }, "encoder.size"),
        ] {
            assert!(matches!(config.validate(), Err(ModelError::Config { key, .. }) if key == name), "{name}");
        }
    }
}
