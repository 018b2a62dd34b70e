//! The x-vector network (Snyder et al. 2018) as SpeechBrain defines it.
//!
//! ```text
//! features (T, F)
//! blocks      convolution, LeakyReLU, batch norm: five of them      C_last x T
//! pooling     mean and deviation over time                          2 C_last
//! embedding   linear                                                D
//! ```
//!
//! Convolutions have stride 1, a bias and "same" padding by reflection. SpeechBrain adds noise of a few 1e-5 to the pooled mean,
//! also outside training; here it is 0, so that an utterance has one embedding.
//!
//! # Source
//! speechbrain `lobes/models/Xvector.py` and `nnet/pooling.py`.

use serde::{Deserialize, Serialize};

use super::{MOST, Padding, Shapes, check_convolutions, check_size, insert_batch_norm, insert_layer, most_padding};
use crate::ModelError;

/// Sizes of an x-vector network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XVectorConfig {
    /// F, feature bins a frame.
    pub bins: usize,
    /// Channels of each block.
    pub channels: Vec<usize>,
    /// Kernel size of each block.
    pub kernels: Vec<usize>,
    /// Dilation of each block.
    pub dilations: Vec<usize>,
    /// D.
    pub size: usize,
}

impl XVectorConfig {
    /// What a negative value is multiplied by: PyTorch's default for LeakyReLU.
    pub const SLOPE: f64 = 0.01;
    /// What is added to a pooled deviation, after the root.
    pub const DEVIATION_OFFSET: f64 = 1e-5;

    /// SpeechBrain's `spkrec-xvect-voxceleb`: 4,211,604 parameters with its classifier's left out.
    #[must_use]
    pub fn speechbrain() -> Self {
        Self {
            bins: 24,
            channels: vec![512, 512, 512, 512, 1500],
            kernels: vec![5, 3, 3, 1, 1],
            dilations: vec![1, 2, 3, 1, 1],
            size: 512,
        }
    }

    /// What the convolutions see beyond the ends.
    #[must_use]
    pub fn padding(&self) -> Padding {
        Padding::Reflect
    }

    /// Channels of the last block, of which mean and deviation are taken.
    #[must_use]
    pub fn pooled(&self) -> usize {
        self.channels.last().copied().unwrap_or(0)
    }

    /// The shortest input: reflection needs more frames than it adds, the deviation (over n - 1) two.
    #[must_use]
    pub fn least_frames(&self) -> usize {
        (most_padding(&self.kernels, &self.dilations) + 1).max(2)
    }

    /// Our names and shapes: `blocks.I.conv` (C_I, C_(I-1) or F, kernel), `blocks.I.norm` (C_I), `embedding` (D, 2 C_last), means
    /// before deviations. Convolutions and linear layers are `.weight` and `.bias`.
    #[must_use]
    pub fn tensors(&self) -> Shapes {
        let mut tensors = Shapes::new();
        let mut input = self.bins;
        for (block, (&channels, &kernel)) in self.channels.iter().zip(&self.kernels).enumerate() {
            insert_layer(&mut tensors, &format!("blocks.{block}.conv"), &[channels, input, kernel]);
            insert_batch_norm(&mut tensors, &format!("blocks.{block}.norm"), channels);
            input = channels;
        }
        insert_layer(&mut tensors, "embedding", &[self.size, 2 * self.pooled()]);
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: every size from 1 to 16,384, 1 to 32 blocks, kernels odd.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_size("encoder.bins", self.bins, MOST)?;
        check_size("encoder.size", self.size, MOST)?;
        if !(1..=32).contains(&self.channels.len()) {
            return Err(ModelError::Config {
                key: "encoder.channels",
                got: format!("{} numbers", self.channels.len()),
                need: "1 to 32 numbers".into(),
            });
        }
        self.channels.iter().try_for_each(|&channels| check_size("encoder.channels", channels, MOST))?;
        check_convolutions(self.channels.len(), &self.kernels, &self.dilations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EncoderConfig;

    #[test]
    fn the_parameter_count_equals_the_published_one() {
        let config = XVectorConfig::speechbrain();
        assert_eq!(config.least_frames(), 4);
        assert_eq!(EncoderConfig::XVector(config).parameters(), 4_211_604);
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        let sound = XVectorConfig::speechbrain();
        sound.validate().unwrap();
        for (config, name) in [
            (XVectorConfig { channels: Vec::new(), ..sound.clone() }, "encoder.channels"),
            (XVectorConfig { channels: vec![512, 0, 1, 1, 1], ..sound.clone() }, "encoder.channels"),
            (XVectorConfig { kernels: vec![5, 4, 3, 1, 1], ..sound.clone() }, "encoder.kernels"),
            (XVectorConfig { dilations: vec![1; 4], ..sound.clone() }, "encoder.dilations"),
            (XVectorConfig { size: 0, ..sound.clone() }, "encoder.size"),
        ] {
            assert!(matches!(config.validate(), Err(ModelError::Config { key, .. }) if key == name), "{name}");
        }
    }
}
