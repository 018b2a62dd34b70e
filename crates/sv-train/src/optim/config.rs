//! What an optimizer is told in a recipe: the method, clipping, and rules for groups of parameters.

use serde::{Deserialize, Serialize};

use super::OptimizerError;

/// How parameters follow their gradients.
///
/// The learning rate is not here: a [`Schedule`](super::Schedule) gives it at each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule of the step.
    pub method: Method,
    /// What happens to long gradients.
    #[serde(default)]
    pub clip: Clip,
    /// Exceptions for some parameters; all that match a parameter apply to it, their factors are multiplied.
    #[serde(default)]
    pub rules: Vec<GroupRule>,
}

/// The rule of the step. In the formulas p is the parameter, g its gradient (scaled and clipped), r the rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Method {
    /// `v = momentum v + g`, `p -= r v`; with Nesterov's momentum `p -= r (g + momentum v)`. As PyTorch.
    Sgd {
        /// In `[0, 1)`; 0 keeps no state.
        #[serde(default)]
        momentum: f64,
        /// Looks ahead along the momentum, which must not be 0.
        #[serde(default)]
        nesterov: bool,
        /// `weight_decay p` is added to g.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `s = decay s + (1 - decay) g^2`, `p -= r g / sqrt(s + epsilon)`; s starts at 1. As TensorFlow.
    RmsProp {
        /// In `[0, 1)`.
        #[serde(default = "nine_tenths")]
        decay: f64,
        /// Above 0.
        #[serde(default = "rms_epsilon")]
        epsilon: f64,
    },
    /// Adam, in the form of one of three systems.
    Adam {
        /// Where the epsilon stands, and its default.
        #[serde(default)]
        form: AdamForm,
        /// Of the first moment, in `[0, 1)`.
        #[serde(default = "nine_tenths")]
        beta1: f64,
        /// Of the second moment, in `[0, 1)`.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Above 0; if not given, the form's default.
        #[serde(default)]
        epsilon: Option<f64>,
        /// In PyTorch's form `weight_decay p` is added to g. In Keras's it is the factor of a penalty, the squares of the weights
        /// in the loss: `2 weight_decay p` is added to g after clipping. Not in TensorFlow's.
        #[serde(default)]
        weight_decay: f64,
    },
    /// PyTorch's Adam with the weights shrunk by `1 - r weight_decay` before the step instead.
    AdamW {
        /// Of the first moment, in `[0, 1)`.
        #[serde(default = "nine_tenths")]
        beta1: f64,
        /// Of the second moment, in `[0, 1)`.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Above 0.
        #[serde(default = "adam_epsilon")]
        epsilon: f64,
        /// The share, at rate 1.
        #[serde(default = "hundredth")]
        weight_decay: f64,
    },
}

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, corrected by `c = 1 - beta^t` at the t-th step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdamForm {
    /// `p -= (r / c1) m / (sqrt(v) / sqrt(c2) + epsilon)`, epsilon 1e-8.
    #[default]
    Pytorch,
    /// `p -= (r sqrt(c2) / c1) m / (sqrt(v) + epsilon)`, epsilon 1e-8.
    Tensorflow,
    /// As TensorFlow's, epsilon 1e-7.
    Keras,
}

/// Bounds the length of all gradients taken as one vector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Clip {
    /// Gradients stay as they are.
    None {},
    /// Times `min(1, norm / (length + 1e-6))`: comes out a little shorter than `norm`.
    Torch {
        /// The bound, above 0.
        norm: f64,
    },
    /// Times `norm / max(length, norm)`.
    Tensorflow {
        /// The bound, above 0.
        norm: f64,
    },
}

impl Default for Clip {
    fn default() -> Self {
        Self::None {}
    }
}

impl Clip {
    /// What gradients of this global length are multiplied by, in `(0, 1]`.
    #[must_use]
    pub fn factor(&self, length: f64) -> f64 {
        match *self {
            Self::None {} => 1.0,
            Self::Torch { norm } => (norm / (length + 1e-6)).min(1.0),
            Self::Tensorflow { norm } => norm / length.max(norm),
        }
    }
}

/// What is different for the parameters whose name matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// A parameter's name; a `*` stands for any run of characters, dots too: `lstm.*.weight_hr`.
    pub names: String,
    /// Factor of the learning rate.
    #[serde(default = "one")]
    pub rate: f64,
    /// Factor of the weight decay.
    #[serde(default = "one")]
    pub weight_decay: f64,
    /// Factor of the gradient before it is measured and clipped (Wan et al. 2018: 0.5 for the LSTM's projections).
    #[serde(default = "one")]
    pub gradient_scale: f64,
    /// Factor of the gradient after clipping (the TensorFlow code of GE2E: 0.01 for `ge2e.w` and `ge2e.b`).
    #[serde(default = "one")]
    pub clipped_gradient_scale: f64,
    /// Left alone: no step, no gradient needed, not part of the length.
    #[serde(default)]
    pub frozen: bool,
}

impl GroupRule {
    /// A rule that changes nothing yet.
    #[must_use]
    pub fn new(names: impl Into<String>) -> Self {
        Self {
            names: names.into(),
            rate: 1.0,
            weight_decay: 1.0,
            gradient_scale: 1.0,
            clipped_gradient_scale: 1.0,
            frozen: false,
        }
    }
}

impl OptimizerConfig {
    /// This method, without clipping or rules.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Self { method, clip: Clip::None {}, rules: Vec::new() }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`OptimizerError::Option`] for the first that is out of range.
    pub fn check(&self) -> Result<(), OptimizerError> {
        match self.method {
            Method::Sgd { momentum, nesterov, weight_decay } => {
                share("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(OptimizerError::Option {
                        option: "momentum",
                        got: momentum,
                        need: "above 0 with nesterov",
                    });
                }
                not_negative("weight_decay", weight_decay)?;
            }
            Method::RmsProp { decay, epsilon } => {
                share("decay", decay)?;
                positive("epsilon", epsilon)?;
            }
            Method::Adam { form, beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon.unwrap_or(form.epsilon()))?;
                not_negative("weight_decay", weight_decay)?;
                if form == AdamForm::Tensorflow && weight_decay != 0.0 {
                    let need = "0 in the form `tensorflow`; or take another form, or `adam-w`";
                    return Err(OptimizerError::Option { option: "weight_decay", got: weight_decay, need });
                }
            }
            Method::AdamW { beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                not_negative("weight_decay", weight_decay)?;
            }
        }
        if let Clip::Torch { norm } | Clip::Tensorflow { norm } = self.clip {
            positive("norm", norm)?;
        }
        for rule in &self.rules {
            not_negative("rate", rule.rate)?;
            not_negative("weight_decay", rule.weight_decay)?;
            not_negative("gradient_scale", rule.gradient_scale)?;
            not_negative("clipped_gradient_scale", rule.clipped_gradient_scale)?;
        }
        Ok(())
    }
}

impl AdamForm {
    /// What a weight decay of 1 adds to the gradient for each unit of the weight.
    pub(super) fn decay_factor(self) -> f64 {
        match self {
            Self::Pytorch | Self::Tensorflow => 1.0,
            Self::Keras => 2.0,
        }
    }

    /// The epsilon of the system's default.
    #[must_use]
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Pytorch | Self::Tensorflow => 1e-8,
            Self::Keras => 1e-7,
        }
    }
}

pub(super) fn not_negative(option: &'static str, got: f64) -> Result<(), OptimizerError> {
    let fits = got.is_finite() && got >= 0.0;
    fits.then_some(()).ok_or(OptimizerError::Option { option, got, need: "finite and not negative" })
}

pub(super) fn positive(option: &'static str, got: f64) -> Result<(), OptimizerError> {
    let fits = got.is_finite() && got > 0.0;
    fits.then_some(()).ok_or(OptimizerError::Option { option, got, need: "finite and above 0" })
}

fn share(option: &'static str, got: f64) -> Result<(), OptimizerError> {
    (0.0..1.0).contains(&got).then_some(()).ok_or(OptimizerError::Option { option, got, need: "in [0, 1)" })
}

fn one() -> f64 {
    1.0
}

fn nine_tenths() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn hundredth() -> f64 {
    0.01
}

fn adam_epsilon() -> f64 {
    1e-8
}

fn rms_epsilon() -> f64 {
    1e-10
}
