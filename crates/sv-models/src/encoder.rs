//! Which network a model is, and what every network can say of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::encoders::lstm::LstmConfig;

/// An architecture and its sizes: all that is needed, beside the weights, to build the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EncoderConfig {
    /// LSTM d-vectors.
    Lstm(LstmConfig),
}

impl EncoderConfig {
    /// F, the number of feature bins a frame must have.
    #[must_use]
    pub fn bins(&self) -> usize {
        match self {
            Self::Lstm(config) => config.bins,
        }
    }

    /// D, the number of values in an embedding.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        match self {
            Self::Lstm(config) => config.embedding_size(),
        }
    }

    /// Every weight tensor of the network, by our name, and its shape.
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Lstm(config) => config.tensors(),
        }
    }

    /// Number of trainable values.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.tensors().values().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Checks the sizes, which may come from a file.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), ModelError> {
        match self {
            Self::Lstm(config) => config.validate(),
        }
    }
}
