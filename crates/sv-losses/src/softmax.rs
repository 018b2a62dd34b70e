//! Plain softmax over classes, straight from the embedding or through hidden layers of its own.

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};
use sv_kernels::ops::{self, RunningStatistics};

use crate::classes::{accuracy, check, check_classes};
use crate::{Labels, LossError, Objective, Parameter, Setting};

/// What stands between the embedding and the logits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// Nothing but the output layer.
    Linear {},
    /// SpeechBrain's classifier of x-vectors: LeakyReLU and batch normalisation of the embedding, then for each size a linear
    /// layer, LeakyReLU and batch normalisation.
    Layers {
        /// Their output sizes.
        sizes: Vec<usize>,
    },
}

/// Options of plain softmax; the default has no hidden layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftmaxOptions {
    /// What comes before the output layer.
    pub head: Head,
}

impl Default for SoftmaxOptions {
    fn default() -> Self {
        Self { head: Head::Linear {} }
    }
}

/// Slope of LeakyReLU below 0 (PyTorch's default).
const SLOPE: f64 = 0.01;
/// The most hidden layers: a recipe is read from a file.
const MOST_LAYERS: usize = 16;

/// Cross entropy of the class under a linear classifier, the mean over the rows; the negative log likelihood of SpeechBrain's
/// x-vector recipe.
///
/// Trained with the encoder: `classes.weight` (S, D'), `classes.bias` (S), and with [`Head::Layers`] `head.0.norm.weight`,
/// `.bias`, then of layer i from 1 on `head.i.weight`, `.bias`, `.norm.weight`, `.norm.bias`. The averages of the batch
/// normalisations are [`Objective::buffers`]. Linear layers are drawn as PyTorch draws them, within `1 / sqrt(inputs)`.
#[derive(Debug)]
pub struct Softmax {
    dimension: usize,
    hidden: Vec<Hidden>,
    output: Linear,
}

/// LeakyReLU and batch normalisation, after a linear layer if there is one.
#[derive(Debug)]
struct Hidden {
    linear: Option<Linear>,
    weight: Var,
    bias: Var,
    running: RunningStatistics,
}

#[derive(Debug)]
struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, setting: &mut Setting<'_>) -> Result<Self, LossError> {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let weight = setting.uniform_within(bound, &[outputs, inputs])?;
        Ok(Self { weight, bias: setting.uniform_within(bound, &[outputs])? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, LossError> {
        Ok(ops::linear(x, &self.weight, Some(&self.bias))?)
    }
}

impl Hidden {
    fn new(linear: Option<Linear>, size: usize, setting: &Setting<'_>) -> Result<Self, LossError> {
        let constant = |value: f64| setting.constant(value, &[size]);
        let running = RunningStatistics { mean: constant(0.0)?, variance: constant(1.0)?, frozen: false };
        Ok(Self { linear, weight: constant(1.0)?, bias: constant(0.0)?, running })
    }
}

impl Softmax {
    /// The loss, its layers drawn.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] for too many layers, [`LossError::DataType`], [`LossError::Sizes`].
    pub fn new(options: &SoftmaxOptions, setting: &mut Setting<'_>) -> Result<Self, LossError> {
        if setting.classes < 2 {
            return Err(LossError::Sizes { dimension: setting.dimension, classes: setting.classes });
        }
        let mut inputs = setting.dimension;
        let mut hidden = Vec::new();
        if let Head::Layers { sizes } = &options.head {
            if sizes.len() > MOST_LAYERS {
                let got = sizes.len() as f64;
                return Err(LossError::InvalidOption { option: "head.sizes", got, need: "16 sizes or fewer" });
            }
            hidden.push(Hidden::new(None, inputs, setting)?);
            for &size in sizes {
                let linear = Linear::new(inputs, size, setting)?;
                hidden.push(Hidden::new(Some(linear), size, setting)?);
                inputs = size;
            }
        }
        let output = Linear::new(inputs, setting.classes, setting)?;
        Ok(Self { dimension: setting.dimension, hidden, output })
    }

    /// Logits of each embedding (B, D) for each class, (B, S), in training: the batch's own statistics normalise it, and move
    /// the averages.
    ///
    /// # Errors
    /// [`LossError::Tensor`] if the shapes do not fit, or a single row has no variance.
    pub fn logits(&self, embeddings: &Tensor) -> Result<Tensor, LossError> {
        let mut x = embeddings.clone();
        for hidden in &self.hidden {
            if let Some(linear) = &hidden.linear {
                x = linear.forward(&x)?;
            }
            x = ops::batch_norm(&ops::leaky_relu(&x, SLOPE)?, &hidden.weight, &hidden.bias, &hidden.running)?;
        }
        self.output.forward(&x)
    }

    fn checked(&self, embeddings: &Tensor, labels: &Labels) -> Result<(), LossError> {
        let weight = &self.output.weight;
        check(embeddings, labels, self.dimension, weight.dtype())?;
        check_classes(labels, weight.dims()[0])
    }
}

impl Objective for Softmax {
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        self.checked(embeddings, labels)?;
        Ok(ops::cross_entropy(&self.logits(embeddings)?, labels.speakers())?.mean_all()?)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = vec![
            Parameter::new("classes.weight", self.output.weight.clone()),
            Parameter::new("classes.bias", self.output.bias.clone()),
        ];
        for (index, hidden) in self.hidden.iter().enumerate() {
            if let Some(linear) = &hidden.linear {
                parameters.push(Parameter::new(format!("head.{index}.weight"), linear.weight.clone()));
                parameters.push(Parameter::new(format!("head.{index}.bias"), linear.bias.clone()));
            }
            parameters.push(Parameter::new(format!("head.{index}.norm.weight"), hidden.weight.clone()));
            parameters.push(Parameter::new(format!("head.{index}.norm.bias"), hidden.bias.clone()));
        }
        parameters
    }

    fn buffers(&self) -> Vec<Parameter> {
        let of = |(index, hidden): (usize, &Hidden)| {
            let named = |kind: &str, var: &Var| Parameter::new(format!("head.{index}.norm.{kind}"), var.clone());
            [named("running_mean", &hidden.running.mean), named("running_var", &hidden.running.variance)]
        };
        self.hidden.iter().enumerate().flat_map(of).collect()
    }

    /// Of a head without batch normalisation; with it a second pass would move the averages twice, so there is none.
    fn accuracy(&self, embeddings: &Tensor, labels: &Labels) -> Result<Option<f64>, LossError> {
        self.checked(embeddings, labels)?;
        if !self.hidden.is_empty() {
            return Ok(None);
        }
        Ok(Some(accuracy(&self.logits(&embeddings.detach())?.detach(), labels)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn build(sizes: &[usize]) -> Result<Softmax, LossError> {
        let mut step = 0.0_f64;
        let mut uniform = || {
            step += 1.0;
            (step * 1.3).sin()
        };
        let options = SoftmaxOptions { head: Head::Layers { sizes: sizes.to_vec() } };
        let device = Device::Cpu;
        let mut setting =
            Setting { dimension: 3, classes: 5, dtype: DType::F64, device: &device, uniform: &mut uniform };
        Softmax::new(&options, &mut setting)
    }

    #[test]
    fn parameters_and_averages_have_names_of_their_own() {
        let loss = build(&[4]).unwrap();
        let names: Vec<String> = loss.parameters().into_iter().map(|parameter| parameter.name).collect();
        let expected = [
            "classes.weight",
            "classes.bias",
            "head.0.norm.weight",
            "head.0.norm.bias",
            "head.1.weight",
            "head.1.bias",
            "head.1.norm.weight",
            "head.1.norm.bias",
        ];
        assert_eq!(names, expected);
        assert_eq!(loss.parameters()[0].var.dims(), [5, 4]);
        assert_eq!(loss.buffers().len(), 4);
    }

    #[test]
    fn the_loss_moves_the_averages_once_and_the_accuracy_does_not() {
        let loss = build(&[]).unwrap();
        let embeddings = Tensor::new(&[[1.0_f64, 2.0, 0.0], [3.0, 4.0, 0.5]], &Device::Cpu).unwrap();
        let labels = Labels::new(vec![0, 4]);
        loss.loss(&embeddings, &labels).unwrap();
        let mean = || loss.buffers()[0].var.to_vec1::<f64>().unwrap();
        // A tenth of the way from 0 to 2, 3 and 0.25.
        for (got, expected) in mean().iter().zip([0.2, 0.3, 0.025]) {
            assert!((got - expected).abs() < 1e-15);
        }
        let before = mean();
        assert_eq!(loss.accuracy(&embeddings, &labels).unwrap(), None);
        assert_eq!(mean(), before);
    }

    #[test]
    fn one_row_or_too_many_layers_are_refused() {
        let one = Tensor::ones((1, 3), DType::F64, &Device::Cpu).unwrap();
        let error = build(&[4]).unwrap().loss(&one, &Labels::new(vec![0])).expect_err("no variance");
        assert!(error.to_string().contains("has 1 values, 2 or more"), "{error}");
        assert!(matches!(build(&[2; 17]), Err(LossError::InvalidOption { option: "head.sizes", .. })));
        assert!(matches!(build(&[0]), Err(LossError::Sizes { .. })));
        assert!(matches!(build(&[usize::MAX]), Err(LossError::Sizes { .. })));
    }
}
