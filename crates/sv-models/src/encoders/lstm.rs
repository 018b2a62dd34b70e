//! LSTM d-vectors.
//!
//! Three published systems are one network with other sizes:
//!
//! | system | layers | head | normalisation |
//! |---|---|---|---|
//! | Wan et al. 2017 (arXiv 1710.10467) as a known TensorFlow code has it | 3 x 128, projected to 64 | none | x / sqrt(sum x^2 + 1e-6) |
//! | the paper's text-independent system | 3 x 768, projected to 256 | none | L2 |
//! | Resemblyzer 0.1.4 | 3 x 256 | linear 256, ReLU | L2 |
//!
//! The embedding is made of the last layer's output at the last frame. Weights are kept in one form: gates in the
//! order i, f, g, o; one bias a gate (PyTorch's two are added; TensorFlow's forget bias of 1 is added to it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MOST, check_size};
use crate::ModelError;

/// Sizes and output of an LSTM encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// F, feature bins a frame.
    pub bins: usize,
    /// Number of LSTM layers.
    pub layers: usize,
    /// H, memory cells a layer.
    pub hidden: usize,
    /// Size that each layer's output is projected to, without bias; absent: not projected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// What follows the last frame of the last layer.
    pub head: Head,
    /// How the embedding is scaled.
    pub normalization: Normalization,
}

/// What follows the last frame of the last layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// Nothing: the embedding is the layer's output.
    None,
    /// A linear layer with bias.
    Linear {
        /// D, its output size.
        size: usize,
    },
    /// A linear layer with bias, then ReLU.
    LinearRelu {
        /// D, its output size.
        size: usize,
    },
}

/// How an embedding is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Normalization {
    /// Divided by sqrt(sum x^2 + epsilon). With epsilon 0 an embedding of zeros stays one.
    L2 {
        /// What is added under the root.
        epsilon: f64,
    },
}

impl Default for LstmConfig {
    /// The TensorFlow code's encoder.
    fn default() -> Self {
        Self::ge2e_tf()
    }
}

impl LstmConfig {
    /// The TensorFlow code's: 40 -> 3 x 128 projected to 64; 210,432 parameters (SPECS of that code count its loss's w
    /// and b too).
    #[must_use]
    pub fn ge2e_tf() -> Self {
        Self {
            bins: 40,
            layers: 3,
            hidden: 128,
            projection: Some(64),
            head: Head::None,
            normalization: Normalization::L2 { epsilon: 1e-6 },
        }
    }

    /// The paper's for text-independent speech: 40 -> 3 x 768 projected to 256 (Wan et al. 2017, section 3).
    #[must_use]
    pub fn ge2e_paper() -> Self {
        Self {
            hidden: 768,
            projection: Some(256),
            normalization: Normalization::L2 { epsilon: 0.0 },
            ..Self::ge2e_tf()
        }
    }

    /// Resemblyzer's: 40 -> 3 x 256, linear 256, ReLU, L2.
    #[must_use]
    pub fn resemblyzer() -> Self {
        Self {
            bins: 40,
            layers: 3,
            hidden: 256,
            projection: None,
            head: Head::LinearRelu { size: 256 },
            normalization: Normalization::L2 { epsilon: 0.0 },
        }
    }

    /// S, the size of a layer's output: the projection's, or the number of cells.
    #[must_use]
    pub fn state_size(&self) -> usize {
        self.projection.unwrap_or(self.hidden)
    }

    /// D.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        match self.head {
            Head::None => self.state_size(),
            Head::Linear { size } | Head::LinearRelu { size } => size,
        }
    }

    /// Our names and shapes: `lstm.L.weight_ih` (4H, F or S), `lstm.L.weight_hh` (4H, S), `lstm.L.bias` (4H),
    /// `lstm.L.weight_hr` (S, H) where projected, `head.weight` (D, S), `head.bias` (D).
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let gates = 4 * self.hidden;
        let state = self.state_size();
        let mut tensors = BTreeMap::new();
        for layer in 0..self.layers {
            let input = if layer == 0 { self.bins } else { state };
            tensors.insert(format!("lstm.{layer}.weight_ih"), vec![gates, input]);
            tensors.insert(format!("lstm.{layer}.weight_hh"), vec![gates, state]);
            tensors.insert(format!("lstm.{layer}.bias"), vec![gates]);
            if let Some(projection) = self.projection {
                tensors.insert(format!("lstm.{layer}.weight_hr"), vec![projection, self.hidden]);
            }
        }
        if let Head::Linear { size } | Head::LinearRelu { size } = self.head {
            tensors.insert("head.weight".into(), vec![size, state]);
            tensors.insert("head.bias".into(), vec![size]);
        }
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: every size at least 1, at most 32 layers and 16,384 of anything else; epsilon in [0, 1].
    pub fn validate(&self) -> Result<(), ModelError> {
        check_size("encoder.bins", self.bins, MOST)?;
        check_size("encoder.layers", self.layers, 32)?;
        check_size("encoder.hidden", self.hidden, MOST)?;
        check_size("encoder.projection", self.projection.unwrap_or(1), MOST)?;
        check_size("encoder.head.size", self.embedding_size(), MOST)?;
        let Normalization::L2 { epsilon } = self.normalization;
        if !(0.0..=1.0).contains(&epsilon) {
            return Err(ModelError::Config {
                key: "encoder.normalization.epsilon",
                got: epsilon.to_string(),
                need: "a number from 0 to 1".into(),
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
    fn parameter_counts_equal_the_published_ones() {
        assert_eq!(EncoderConfig::Lstm(LstmConfig::ge2e_tf()).parameters(), 210_432);
        // 1,423,616 with PyTorch's two biases a gate; we keep their sum: 3 x 1,024 fewer.
        assert_eq!(EncoderConfig::Lstm(LstmConfig::resemblyzer()).parameters(), 1_423_616 - 3 * 1_024);
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        for (config, name) in [
            (LstmConfig { layers: 0, ..LstmConfig::ge2e_tf() }, "encoder.layers"),
            (LstmConfig { hidden: usize::MAX, ..LstmConfig::ge2e_tf() }, "encoder.hidden"),
            (LstmConfig { projection: Some(0), ..LstmConfig::ge2e_tf() }, "encoder.projection"),
            (LstmConfig { bins: 0, ..LstmConfig::ge2e_tf() }, "encoder.bins"),
            (
                LstmConfig { normalization: Normalization::L2 { epsilon: f64::NAN }, ..LstmConfig::ge2e_tf() },
                "encoder.normalization.epsilon",
            ),
        ] {
            assert!(matches!(config.validate(), Err(ModelError::Config { key, .. }) if key == name), "{name}");
        }
    }
}
