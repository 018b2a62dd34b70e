//! Which objective, and its options: what a recipe says.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::{
    AamSoftmaxOptions, AmSoftmaxOptions, BasesOptions, Contrastive, ContrastiveOptions, Ge2e, Ge2eOptions, Ge2eTf,
    Ge2eTfOptions, LossError, MarginSoftmax, Objective, Reduction, Setting, Softmax, SoftmaxOptions, SpeakerBases,
};

/// An objective by name, with its options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ObjectiveConfig {
    /// GE2E as the paper defines it.
    Ge2e(Ge2eOptions),
    /// GE2E as the TensorFlow code computes it.
    Ge2eTf(Ge2eTfOptions),
    /// Softmax over cosines with an additive angular margin.
    AamSoftmax(AamSoftmaxOptions),
    /// Softmax over cosines with an additive margin.
    AmSoftmax(AmSoftmaxOptions),
    /// Plain softmax.
    Softmax(SoftmaxOptions),
    /// A sum of losses over speaker bases: softmax, center, between-class, hard negatives.
    SpeakerBases(BasesOptions),
    /// Distances of pairs, those of two speakers up to a margin.
    Contrastive(ContrastiveOptions),
}

impl ObjectiveConfig {
    /// The objective, its own parameters at their start.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`], [`LossError::DataType`]; [`LossError::Sizes`] for fewer than two classes where it has
    /// bases.
    pub fn build(&self, setting: &mut Setting<'_>) -> Result<Box<dyn Objective>, LossError> {
        let (dtype, device) = (setting.dtype, setting.device);
        Ok(match self {
            Self::Ge2e(options) => Box::new(Ge2e::new(options.clone(), dtype, device)?),
            Self::Ge2eTf(options) => Box::new(Ge2eTf::new(options.clone(), dtype, device)?),
            Self::AamSoftmax(options) => Box::new(MarginSoftmax::additive_angular(options, setting)?),
            Self::AmSoftmax(options) => Box::new(MarginSoftmax::additive(options, setting)?),
            Self::Softmax(options) => Box::new(Softmax::new(options, setting)?),
            Self::SpeakerBases(options) => Box::new(SpeakerBases::new(options, setting)?),
            Self::Contrastive(options) => Box::new(Contrastive::new(options)?),
        })
    }

    /// Refuses options that are impossible.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] names the first; [`LossError::Sizes`] for a hidden layer without values.
    pub fn validate(&self) -> Result<(), LossError> {
        self.smallest().map(|_| ())
    }

    /// Refuses a margin that [`Objective::set_margin`] would refuse.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] if it is out of range, or the objective has none.
    pub fn validate_margin(&self, margin: f64) -> Result<(), LossError> {
        self.smallest()?.set_margin(margin)
    }

    /// The objective for the smallest data there is.
    fn smallest(&self) -> Result<Box<dyn Objective>, LossError> {
        let (dtype, device) = (DType::F32, Device::Cpu);
        self.build(&mut Setting { dimension: 1, classes: 2, dtype, device: &device, uniform: &mut || 0.0 })
    }

    /// How many terms the loss of a batch of `rows` rows adds up: 1 where it is a mean. A curve of losses divides by it, so that
    /// those of all recipes read alike.
    #[must_use]
    pub fn terms(&self, rows: usize) -> usize {
        match self {
            Self::Ge2e(Ge2eOptions { reduction, .. })
            | Self::AmSoftmax(AmSoftmaxOptions { reduction, .. })
            | Self::SpeakerBases(BasesOptions { reduction, .. })
            | Self::Contrastive(ContrastiveOptions { reduction, .. }) => match reduction {
                Reduction::Sum => rows.max(1),
                Reduction::Mean => 1,
            },
            Self::Ge2eTf(_) => rows.max(1),
            Self::AamSoftmax(_) | Self::Softmax(_) => 1,
        }
    }
}
