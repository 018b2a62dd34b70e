//! Which objective, and its options: what a recipe says.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::{Ge2e, Ge2eOptions, Ge2eTf, Ge2eTfOptions, LossError, Objective, Reduction};

/// An objective by name, with its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectiveConfig {
    /// GE2E as the paper defines it.
    Ge2e(Ge2eOptions),
    /// GE2E as the TensorFlow code computes it.
    Ge2eTf(Ge2eTfOptions),
}

impl ObjectiveConfig {
    /// The objective, its own parameters at their start.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`], [`LossError::DataType`].
    pub fn build(&self, dtype: DType, device: &Device) -> Result<Box<dyn Objective>, LossError> {
        Ok(match self {
            Self::Ge2e(options) => Box::new(Ge2e::new(options.clone(), dtype, device)?),
            Self::Ge2eTf(options) => Box::new(Ge2eTf::new(options.clone(), dtype, device)?),
        })
    }

    /// Refuses options that are impossible.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] names the first.
    pub fn validate(&self) -> Result<(), LossError> {
        self.build(DType::F32, &Device::Cpu).map(|_| ())
    }

    /// How many terms the loss of a batch of `rows` rows adds up: 1 where it is a mean. A curve of losses divides by it, so that
    /// those of all recipes read alike.
    #[must_use]
    pub fn terms(&self, rows: usize) -> usize {
        match self {
            Self::Ge2e(options) if options.reduction == Reduction::Mean => 1,
            Self::Ge2e(_) | Self::Ge2eTf(_) => rows.max(1),
        }
    }
}
