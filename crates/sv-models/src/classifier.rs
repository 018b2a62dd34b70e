//! Which of the training's speakers an embedding belongs to: the classifier that a model may carry beside its encoder.
//!
//! It is no part of the model's fingerprint: embeddings do not depend on it.

use serde::{Deserialize, Serialize};

use crate::encoders::{BATCH_NORM_EPSILON, MOST, Shapes, check_size, insert_batch_norm, insert_layer};
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// What stands between an embedding and a score for each class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ClassifierConfig {
    /// Score of a class: the cosine of the embedding and the class's row. Its probability: softmax of `scale` times the cosines.
    ///
    /// SpeechBrain's ECAPA-TDNN `Classifier`; its training's scale is 30.
    Cosine {
        /// Number of classes.
        classes: usize,
        /// What cosines are multiplied by before the softmax.
        scale: f64,
    },
    /// Score of a class: the logarithm of its probability, from LeakyReLU, batch norm, linear, LeakyReLU, batch norm, linear and
    /// log-softmax.
    ///
    /// SpeechBrain's x-vector `Classifier` with one hidden block.
    LogSoftmax {
        /// Number of classes.
        classes: usize,
        /// Outputs of the first linear layer.
        hidden: usize,
    },
}

/// What a classifier says of an embedding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// Name of the best class, where the model has names.
    pub label: Option<String>,
    /// Its position among the classes, from 0.
    pub index: usize,
    /// Its score as the model's own system gives it: a cosine in [-1, 1], or the logarithm of a probability.
    pub score: f64,
    /// Its probability among the model's classes, in [0, 1].
    pub probability: f64,
}

/// A classifier and its weights, ready to classify.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    config: ClassifierConfig,
    /// Names without the prefix that they have in the model's file.
    weights: Weights,
    size: usize,
    labels: Option<Vec<String>>,
}

impl ClassifierConfig {
    /// What a negative value is multiplied by: PyTorch's default for LeakyReLU.
    const SLOPE: f64 = 0.01;

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        match *self {
            Self::Cosine { classes, .. } | Self::LogSoftmax { classes, .. } => classes,
        }
    }

    /// Our names and shapes for embeddings of `size` values. Cosine: `weight` (classes, D). Log-softmax: `norm1` (D), `hidden`
    /// (hidden, D), `norm2` (hidden), `out` (classes, hidden). In a model's file each begins with `classifier.`.
    #[must_use]
    pub fn tensors(&self, size: usize) -> Shapes {
        let mut tensors = Shapes::new();
        match *self {
            Self::Cosine { classes, .. } => {
                tensors.insert("weight".into(), vec![classes, size]);
            }
            Self::LogSoftmax { classes, hidden } => {
                insert_batch_norm(&mut tensors, "norm1", size);
                insert_layer(&mut tensors, "hidden", &[hidden, size]);
                insert_batch_norm(&mut tensors, "norm2", hidden);
                insert_layer(&mut tensors, "out", &[classes, hidden]);
            }
        }
        tensors
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`ModelError::Config`]: at most 10,000,000 classes, a positive scale of at most 1,000.
    pub fn validate(&self) -> Result<(), ModelError> {
        check_size("classifier.classes", self.classes(), 10_000_000)?;
        match *self {
            Self::Cosine { scale, .. } if !(scale > 0.0 && scale <= 1_000.0) => Err(ModelError::Config {
                key: "classifier.scale",
                got: scale.to_string(),
                need: "a number above 0, at most 1000".into(),
            }),
            Self::Cosine { .. } => Ok(()),
            Self::LogSoftmax { hidden, .. } => check_size("classifier.hidden", hidden, MOST),
        }
    }
}

impl Classifier {
    /// Prefix of its tensors in a model's file.
    pub const PREFIX: &'static str = "classifier.";

    /// `weights` hold the tensors of `config` for the embeddings of `encoder`.
    pub(crate) fn new(config: ClassifierConfig, encoder: &EncoderConfig, weights: Weights) -> Self {
        Self { config, weights, size: encoder.embedding_size(), labels: None }
    }

    /// Takes a name for each class; `origin` says where they came from.
    pub(crate) fn set_labels(&mut self, labels: Vec<String>) {
        self.labels = Some(labels);
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> ClassifierConfig {
        self.config
    }

    /// Its tensors.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The names of the classes, in their order.
    #[must_use]
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// A score for each class, as the model's own system gives them. `embedding`: D values, as the encoder gives them.
    ///
    /// # Errors
    /// [`ModelError::EmbeddingSize`] if it has another number of values.
    pub fn scores(&self, embedding: &[f32]) -> Result<Vec<f64>, ModelError> {
        if embedding.len() != self.size {
            return Err(ModelError::EmbeddingSize { got: embedding.len(), need: self.size });
        }
        let embedding: Vec<f64> = embedding.iter().map(|&value| f64::from(value)).collect();
        Ok(match self.config {
            ClassifierConfig::Cosine { .. } => self.cosines(&embedding),
            ClassifierConfig::LogSoftmax { .. } => {
                let hidden = self.linear("hidden", &self.activated("norm1", embedding));
                let mut scores = self.linear("out", &self.activated("norm2", hidden));
                log_softmax(&mut scores);
                scores
            }
        })
    }

    /// The best class of an embedding; of equal scores the first.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn classify(&self, embedding: &[f32]) -> Result<Classification, ModelError> {
        let mut scores = self.scores(embedding)?;
        let better = |best: usize, (index, score): (usize, &f64)| if *score > scores[best] { index } else { best };
        let index = scores.iter().enumerate().fold(0, better);
        let score = scores[index];
        if let ClassifierConfig::Cosine { scale, .. } = self.config {
            scores.iter_mut().for_each(|cosine| *cosine *= scale);
            log_softmax(&mut scores);
        }
        let label = self.labels.as_ref().map(|labels| labels[index].clone());
        Ok(Classification { label, index, score, probability: scores[index].exp() })
    }

    /// Cosines with every row. As PyTorch's `normalize`, a vector is divided by its norm or 1e-12, whichever is more.
    fn cosines(&self, embedding: &[f64]) -> Vec<f64> {
        let norm = |square: f64| square.sqrt().max(1e-12);
        let own = norm(embedding.iter().map(|x| x * x).sum());
        let cosine = |row: &[f32]| {
            let (dot, square) = row.iter().zip(embedding).fold((0.0, 0.0), |(dot, square), (&weight, x)| {
                let weight = f64::from(weight);
                (dot + weight * x, square + weight * weight)
            });
            dot / (norm(square) * own)
        };
        self.weights.get("weight").values.chunks_exact(self.size).map(cosine).collect()
    }

    /// LeakyReLU, then a batch norm.
    fn activated(&self, norm: &str, mut values: Vec<f64>) -> Vec<f64> {
        let part = |part: &str| &self.weights.get(&format!("{norm}.{part}")).values;
        let (weight, bias, mean, variance) = (part("weight"), part("bias"), part("running_mean"), part("running_var"));
        for (c, x) in values.iter_mut().enumerate() {
            let leaky = if *x < 0.0 { ClassifierConfig::SLOPE * *x } else { *x };
            let centred = (leaky - f64::from(mean[c])) / (f64::from(variance[c]) + BATCH_NORM_EPSILON).sqrt();
            *x = centred * f64::from(weight[c]) + f64::from(bias[c]);
        }
        values
    }

    fn linear(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let weight = &self.weights.get(&format!("{name}.weight")).values;
        let bias = &self.weights.get(&format!("{name}.bias")).values;
        let output = |(row, &bias): (&[f32], &f32)| {
            row.iter().zip(input).fold(f64::from(bias), |sum, (&weight, x)| sum + f64::from(weight) * x)
        };
        weight.chunks_exact(input.len()).zip(bias).map(output).collect()
    }
}

fn log_softmax(values: &mut [f64]) {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - most).exp()).sum();
    let offset = most + sum.ln();
    values.iter_mut().for_each(|value| *value -= offset);
}
