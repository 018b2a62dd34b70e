//! What trained convolutional networks are made of: variables and running averages by our names.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, Activation, Conv1d, Norm, RunningStatistics, Tdnn};

use super::{Standardisation, fold};
use crate::encoders::{Padding, is_running_statistic};
use crate::weights::{Weight, Weights};
use crate::{EncoderConfig, ModelError};

/// All tensors of a network, those that are trained apart from those that are measured.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) variables: BTreeMap<String, Var>,
    pub(super) buffers: BTreeMap<String, Var>,
    /// Whether batch norms go by their averages: inference.
    pub(super) frozen: bool,
}

impl Parts {
    pub(super) fn new(weights: &Weights, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let mut parts = Self { variables: BTreeMap::new(), buffers: BTreeMap::new(), frozen: false };
        for (name, weight) in weights.iter() {
            let values = Tensor::from_slice(&weight.values, weight.shape.as_slice(), device)?.to_dtype(dtype)?;
            let kind = if is_running_statistic(name) { &mut parts.buffers } else { &mut parts.variables };
            kind.insert(name.to_owned(), Var::from_tensor(&values)?);
        }
        Ok(parts)
    }

    pub(super) fn tensor(&self, name: &str) -> Tensor {
        self.variables[name].as_tensor().clone()
    }

    /// `NAME.weight` and `NAME.bias`.
    pub(super) fn pair(&self, name: &str) -> (Tensor, Tensor) {
        (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")))
    }

    pub(super) fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor, ModelError> {
        let (weight, bias) = self.pair(name);
        Ok(ops::linear(x, &weight, Some(&bias))?)
    }

    /// The batch norm `name`, if the network has one.
    pub(super) fn norm(&self, name: &str) -> Option<Norm> {
        let average = |kind: &str| self.buffers.get(&format!("{name}.{kind}")).cloned();
        let (mean, variance) = (average("running_mean")?, average("running_var")?);
        let running = RunningStatistics { mean, variance, frozen: self.frozen };
        let (weight, bias) = self.pair(name);
        Some(Norm { weight, bias, running })
    }

    pub(super) fn batch_norm(&self, name: &str, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self.norm(name) {
            Some(Norm { weight, bias, running }) => ops::batch_norm(x, &weight, &bias, &running)?,
            None => x.clone(),
        })
    }

    /// The convolution `NAME.conv`, its activation, and the batch norm `NAME.norm` if there is one.
    pub(super) fn layer(&self, name: &str, dilation: usize, padding: Padding, activation: Activation) -> Tdnn {
        let (weight, bias) = self.pair(&format!("{name}.conv"));
        let padding = match padding {
            Padding::Reflect => ops::Padding::Reflect,
            Padding::Zeros => ops::Padding::Zero,
        };
        Tdnn { weight, bias, form: Conv1d { dilation, padding }, activation, norm: self.norm(&format!("{name}.norm")) }
    }

    /// Every tensor as it stands, in f32.
    pub(super) fn values(&self) -> Result<BTreeMap<String, Weight>, ModelError> {
        let mut tensors = BTreeMap::new();
        for (name, var) in self.variables.iter().chain(&self.buffers) {
            let values = var.as_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            tensors.insert(name.clone(), Weight { shape: var.dims().to_vec(), values });
        }
        Ok(tensors)
    }

    /// Everything as inference takes it, `standardisation` folded into the convolution `first`.
    pub(super) fn weights(
        &self,
        config: &EncoderConfig,
        standardisation: Option<&Standardisation>,
        first: &str,
    ) -> Result<Weights, ModelError> {
        let mut tensors = self.values()?;
        if let Some(standardisation) = standardisation {
            fold(standardisation, &mut tensors, &format!("{first}.weight"), &format!("{first}.bias"));
        }
        Weights::new("trained weights", config, tensors)
    }
}

/// Refuses to standardise where the first convolution pads zeros: a zero would be no zero to the folded weights.
pub(super) fn check_fold(standardisation: Option<&Standardisation>, padding: Padding) -> Result<(), ModelError> {
    if standardisation.is_some() && padding == Padding::Zeros {
        return Err(ModelError::Config {
            key: "standardisation",
            got: "a network that pads its input by zeros".into(),
            need: "left out: it cannot be folded into the first layer's weights there".into(),
        });
    }
    Ok(())
}
