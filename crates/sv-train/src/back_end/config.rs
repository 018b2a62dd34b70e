//! What a recipe says of its back end.

use serde::{Deserialize, Serialize};
use sv_losses::{Contrastive, ContrastiveOptions};
use sv_models::EncoderConfig;
use sv_models::encoders::resnet::{ResNetForm, ResNetHead};
use sv_models::pair::{BVectorConfig, Difference, Length};

use crate::TrainError;
use crate::optim::OptimizerConfig;

/// What is trained on the embeddings of the finished encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BackEndConfig {
    /// A network that says of two embeddings whether they are of one speaker.
    BVector(BVectorTraining),
    /// One more linear layer, trained by the contrastive loss of pairs.
    Metric(MetricTraining),
}

/// What both trainings have: who is embedded, and how weights follow their gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenTraining {
    /// Most recordings of a training speaker that are embedded, drawn by the seed; 2 or more.
    pub utterances: usize,
    /// Optimizer steps.
    pub steps: u64,
    /// The learning rate.
    pub rate: f64,
    /// The rule of the step.
    pub optimizer: OptimizerConfig,
}

/// The b-vector: pairs, half of them of one speaker, cross entropy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BVectorTraining {
    /// H of each hidden layer.
    pub hidden: Vec<usize>,
    /// Factor of what is below 0.
    pub slope: f64,
    /// Signed or absolute difference.
    #[serde(default)]
    pub difference: Difference,
    /// Whether embeddings are brought to one length first.
    ///
    /// Not written where it is the default, so that runs from before there was a choice have the recipe that they had.
    #[serde(default, skip_serializing_if = "as_given")]
    pub length: Length,
    /// Pairs of a step, even.
    pub pairs: usize,
    /// How long, and how.
    pub training: FrozenTraining,
}

fn as_given(length: &Length) -> bool {
    *length == Length::AsGiven
}

/// One more layer: batches of two recordings of each speaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricTraining {
    /// Outputs of the layer.
    pub size: usize,
    /// Speakers of a step, two recordings of each; 2 or more.
    pub speakers: usize,
    /// The loss.
    pub contrastive: ContrastiveOptions,
    /// How long, and how.
    pub training: FrozenTraining,
}

impl BackEndConfig {
    pub(super) fn training(&self) -> &FrozenTraining {
        match self {
            Self::BVector(config) => &config.training,
            Self::Metric(config) => &config.training,
        }
    }

    /// Checks every number, and whether `encoder` can take the layer.
    ///
    /// # Errors
    /// [`TrainError::BackEnd`] names the key; those of network, loss and optimizer.
    pub(crate) fn check(&self, encoder: &EncoderConfig) -> Result<(), TrainError> {
        let refuse = |key, got: String, need| Err(TrainError::BackEnd { key, got, need });
        let training = self.training();
        training.optimizer.check()?;
        if training.utterances < 2 {
            return refuse("training.utterances", training.utterances.to_string(), "2 or more");
        }
        if !(1..=100_000_000).contains(&training.steps) {
            return refuse("training.steps", training.steps.to_string(), "1 to 100000000");
        }
        if !(training.rate.is_finite() && training.rate > 0.0) {
            return refuse("training.rate", training.rate.to_string(), "finite and above 0");
        }
        match self {
            Self::BVector(config) => {
                if config.pairs == 0 || !config.pairs.is_multiple_of(2) || config.pairs > 1 << 20 {
                    return refuse("pairs", config.pairs.to_string(), "an even number from 2 to 1048576");
                }
                Ok(config.network(encoder.embedding_size()).validate()?)
            }
            Self::Metric(config) => {
                if !(2..=1 << 16).contains(&config.speakers) {
                    return refuse("speakers", config.speakers.to_string(), "2 to 65536");
                }
                Contrastive::new(&config.contrastive)?;
                match config.longer(encoder) {
                    Some(longer) => Ok(longer.validate()?),
                    None => refuse(
                        "kind",
                        format!("metric on {}", encoder.name()),
                        "an encoder whose embedding is what it pools: a ResNet of the form heo without a linear layer",
                    ),
                }
            }
        }
    }
}

impl BVectorTraining {
    pub(super) fn network(&self, embedding: usize) -> BVectorConfig {
        let Self { slope, difference, length, .. } = *self;
        BVectorConfig { embedding, hidden: self.hidden.clone(), slope, difference, length }
    }
}

impl MetricTraining {
    /// The encoder with the layer, if it can have one.
    pub(super) fn longer(&self, encoder: &EncoderConfig) -> Option<EncoderConfig> {
        let EncoderConfig::ResNet(config) = encoder else { return None };
        let ResNetForm::Heo(form) = config.form else { return None };
        if form.head != ResNetHead::Pooled {
            return None;
        }
        let mut longer = config.clone();
        let mut form = form;
        form.head = ResNetHead::Linear;
        longer.form = ResNetForm::Heo(form);
        longer.size = self.size;
        Some(EncoderConfig::ResNet(longer))
    }
}
