//! Which network a model is, and what every network can say of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::encoders::ecapa::EcapaConfig;
use crate::encoders::is_running_statistic;
use crate::encoders::lstm::LstmConfig;
use crate::encoders::resnet::ResNetConfig;
use crate::encoders::xvector::XVectorConfig;

/// An architecture and its sizes: all that is needed, beside the weights, to build the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "architecture", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EncoderConfig {
    /// LSTM d-vectors.
    Lstm(LstmConfig),
    /// ECAPA-TDNN.
    Ecapa(EcapaConfig),
    /// The x-vector network.
    XVector(XVectorConfig),
    /// A residual network.
    #[serde(rename = "resnet")]
    ResNet(ResNetConfig),
}

impl EncoderConfig {
    /// What the network is called, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lstm(_) => "an LSTM",
            Self::Ecapa(_) => "an ECAPA-TDNN",
            Self::XVector(_) => "an x-vector network",
            Self::ResNet(_) => "a ResNet",
        }
    }

    /// F, the number of feature bins a frame must have.
    #[must_use]
    pub fn bins(&self) -> usize {
        match self {
            Self::Lstm(config) => config.bins,
            Self::Ecapa(config) => config.bins,
            Self::XVector(config) => config.bins,
            Self::ResNet(config) => config.bins,
        }
    }

    /// D, the number of values in an embedding.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        match self {
            Self::Lstm(config) => config.embedding_size(),
            Self::Ecapa(config) => config.size,
            Self::XVector(config) => config.size,
            Self::ResNet(config) => config.size,
        }
    }

    /// Every weight tensor of the network, by our name, and its shape.
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Lstm(config) => config.tensors(),
            Self::Ecapa(config) => config.tensors(),
            Self::XVector(config) => config.tensors(),
            Self::ResNet(config) => config.tensors(),
        }
    }

    /// The fewest frames that the network takes: below, its padding or its pooling has nothing to work on.
    #[must_use]
    pub fn least_frames(&self) -> usize {
        match self {
            Self::Lstm(_) => 1,
            Self::Ecapa(config) => config.least_frames(),
            Self::XVector(config) => config.least_frames(),
            Self::ResNet(config) => config.least_frames(),
        }
    }

    /// Number of trainable values; the running statistics of batch norms are none.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let trained = |(name, shape): (&String, &Vec<usize>)| {
            if is_running_statistic(name) { 0 } else { shape.iter().product() }
        };
        self.tensors().iter().map(trained).sum()
    }

    /// Checks the sizes, which may come from a file.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), ModelError> {
        match self {
            Self::Lstm(config) => config.validate(),
            Self::Ecapa(config) => config.validate(),
            Self::XVector(config) => config.validate(),
            Self::ResNet(config) => config.validate(),
        }
    }
}
