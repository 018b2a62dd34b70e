//! Networks as candle tensors: what training differentiates. Everything else runs on a [`Plan`](crate::Plan).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, LstmLayer, LstmMemory};

use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::weights::{Weight, Weights};
use crate::{EncoderConfig, ModelError};

/// A network that can be trained: features in, embeddings out, differentiable in its variables.
pub trait Encoder: Send {
    /// Embeds a batch of features (B, T, F), all of one length: (B, D).
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    fn forward_train(&self, features: &Tensor) -> Result<Tensor, ModelError>;

    /// The trainable tensors by our names.
    fn variables(&self) -> &BTreeMap<String, Var>;

    /// The weights as inference takes them: [`Weights`] of the same [`EncoderConfig`], any standardisation of the input
    /// folded in.
    ///
    /// # Errors
    /// [`ModelError::TensorNotFinite`] if training has left a value that is no number.
    fn weights(&self) -> Result<Weights, ModelError>;
}

/// Builds the network of `config` from `weights` (our names, unfolded).
///
/// # Errors
/// [`ModelError::MissingTensor`] and its kin if tensors are missing, too many or misshapen; [`ModelError::Config`] if the
/// standardisation has another number of bands than the network.
pub fn encoder(
    config: &EncoderConfig,
    tensors: BTreeMap<String, Weight>,
    standardisation: Option<Standardisation>,
    device: &Device,
) -> Result<Box<dyn Encoder>, ModelError> {
    let weights = Weights::new("initial weights", config, tensors)?;
    match config {
        EncoderConfig::Lstm(lstm) => Ok(Box::new(LstmEncoder::new(lstm, &weights, standardisation, device)?)),
        _ => Err(ModelError::NotTrained { architecture: config.name() }),
    }
}

/// Mean and deviation of each feature band over the training data: `x` becomes `(x - mean) / deviation`.
///
/// A trained model does not carry it: it is folded into the first layer's weights and bias, which is exact but for rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardisation {
    /// (F)
    pub mean: Vec<f64>,
    /// (F), each above 0.
    pub deviation: Vec<f64>,
}

/// An LSTM d-vector network over variables.
#[derive(Debug)]
pub struct LstmEncoder {
    config: LstmConfig,
    variables: BTreeMap<String, Var>,
    standardisation: Option<Standardisation>,
    /// (1, 1, F) each: minus the mean over the deviation, and one over the deviation.
    affine: Option<(Tensor, Tensor)>,
    /// Working memory of the LSTM, kept from step to step.
    memory: LstmMemory,
}

impl LstmEncoder {
    /// Puts `weights` of a network of `config` on `device`.
    ///
    /// # Errors
    /// [`ModelError::Config`] if the standardisation has another number of bands; [`ModelError::Tensor`].
    pub fn new(
        config: &LstmConfig,
        weights: &Weights,
        standardisation: Option<Standardisation>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut variables = BTreeMap::new();
        for (name, weight) in weights.iter() {
            variables.insert(name.to_owned(), Var::from_slice(&weight.values, weight.shape.as_slice(), device)?);
        }
        let affine = match &standardisation {
            None => None,
            Some(Standardisation { mean, deviation }) => {
                let sound = |value: &f64| value.is_finite() && *value > 0.0;
                if mean.len() != config.bins
                    || deviation.len() != config.bins
                    || !deviation.iter().all(sound)
                    || mean.iter().any(|value| !value.is_finite())
                {
                    return Err(ModelError::Config {
                        key: "standardisation",
                        got: format!("{} means and {} deviations", mean.len(), deviation.len()),
                        need: format!("{} of each, finite, the deviations above 0", config.bins),
                    });
                }
                let offset: Vec<f32> = mean.iter().zip(deviation).map(|(m, d)| (-m / d) as f32).collect();
                let factor: Vec<f32> = deviation.iter().map(|d| (1.0 / d) as f32).collect();
                let shape = (1, 1, config.bins);
                Some((Tensor::from_vec(offset, shape, device)?, Tensor::from_vec(factor, shape, device)?))
            }
        };
        Ok(Self { config: config.clone(), variables, standardisation, affine, memory: LstmMemory::default() })
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.variables[name].as_tensor().clone()
    }
}

impl Encoder for LstmEncoder {
    fn forward_train(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let input = match &self.affine {
            Some((offset, factor)) => features.broadcast_mul(factor)?.broadcast_add(offset)?,
            None => features.clone(),
        };
        let layers: Vec<LstmLayer> = (0..self.config.layers)
            .map(|layer| {
                let part = |kind: &str| self.tensor(&format!("lstm.{layer}.{kind}"));
                LstmLayer {
                    w_ih: part("weight_ih"),
                    w_hh: part("weight_hh"),
                    bias: part("bias"),
                    w_hr: self.config.projection.map(|_| part("weight_hr")),
                }
            })
            .collect();
        let last = ops::lstm_last(&input, &layers, &self.memory)?;
        let headed = match self.config.head {
            Head::None => last,
            Head::Linear { .. } | Head::LinearRelu { .. } => {
                let y = ops::linear(&last, &self.tensor("head.weight"), Some(&self.tensor("head.bias")))?;
                if matches!(self.config.head, Head::LinearRelu { .. }) { ops::relu(&y)? } else { y }
            }
        };
        let Normalization::L2 { epsilon } = self.config.normalization;
        // Under the root of a vector of zeros, which ReLU can give, stands something above 0: the slope stays finite.
        let square = headed.sqr()?.sum_keepdim(1)?.affine(1.0, epsilon.max(LEAST_SQUARE))?;
        Ok(headed.broadcast_div(&square.sqrt()?)?)
    }

    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    fn weights(&self) -> Result<Weights, ModelError> {
        let mut tensors = BTreeMap::new();
        for (name, var) in &self.variables {
            let values = var.as_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            tensors.insert(name.clone(), Weight { shape: var.dims().to_vec(), values });
        }
        if let Some(standardisation) = &self.standardisation {
            fold(standardisation, &mut tensors);
        }
        Weights::new("trained weights", &EncoderConfig::Lstm(self.config.clone()), tensors)
    }
}

/// Added to the square of an embedding that is scaled without an epsilon of its own.
const LEAST_SQUARE: f64 = 1e-24;

/// `W ((x - m) / d) + b = (W / d) x + (b - W (m / d))`, in f64.
fn fold(standardisation: &Standardisation, tensors: &mut BTreeMap<String, Weight>) {
    let Standardisation { mean, deviation } = standardisation;
    let Some(mut first) = tensors.remove("lstm.0.weight_ih") else { return };
    if let Some(bias) = tensors.get_mut("lstm.0.bias") {
        for (row, bias) in first.values.chunks_exact_mut(mean.len()).zip(&mut bias.values) {
            let mut shift = 0.0;
            for ((weight, mean), deviation) in row.iter_mut().zip(mean).zip(deviation) {
                let scaled = f64::from(*weight) / deviation;
                shift += scaled * mean;
                *weight = scaled as f32;
            }
            *bias = (f64::from(*bias) - shift) as f32;
        }
    }
    tensors.insert("lstm.0.weight_ih".into(), first);
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::Plan;

    fn small(head: Head) -> (LstmConfig, BTreeMap<String, Weight>) {
        let config = LstmConfig {
            bins: 5,
            layers: 2,
            hidden: 8,
            projection: Some(6),
            head,
            normalization: Normalization::L2 { epsilon: 1e-6 },
        };
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let tensors = config
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let values = (0..shape.iter().product()).map(|_| 0.5 * next()).collect();
                (name, Weight { shape, values })
            })
            .collect();
        (config, tensors)
    }

    /// The network that is trained and the plan that is made of it give the same embeddings, standardisation folded in.
    #[test]
    fn the_trained_network_and_its_plan_agree() {
        for head in [Head::None, Head::Linear { size: 7 }, Head::LinearRelu { size: 7 }] {
            let (config, tensors) = small(head);
            let config = EncoderConfig::Lstm(config);
            let standardisation =
                Standardisation { mean: vec![-3.0, -2.0, 0.5, 1.0, 4.0], deviation: vec![0.5, 1.0, 2.0, 0.25, 3.0] };
            let network = encoder(&config, tensors, Some(standardisation), &Device::Cpu).unwrap();
            let features: Vec<f32> = (0..3 * 11 * 5).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
            let batch = Tensor::from_slice(&features, (3, 11, 5), &Device::Cpu).unwrap();
            let trained = network.forward_train(&batch).unwrap().to_vec2::<f32>().unwrap();
            let plan = Plan::new(&config, &network.weights().unwrap()).unwrap();
            for (row, trained) in features.chunks(55).zip(trained) {
                let window = Array2::from_shape_vec((11, 5), row.to_vec()).unwrap();
                let embedded = plan.embed(&[window.view()]).unwrap();
                for (a, b) in embedded.iter().zip(trained) {
                    assert!((a - b).abs() < 2e-5, "{head:?}: {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn a_standardisation_of_other_bands_is_refused() {
        let (config, tensors) = small(Head::None);
        let wrong = Standardisation { mean: vec![0.0; 4], deviation: vec![1.0; 4] };
        let result = encoder(&EncoderConfig::Lstm(config), tensors, Some(wrong), &Device::Cpu);
        assert!(matches!(result, Err(ModelError::Config { key: "standardisation", .. })));
    }

    #[test]
    fn an_embedding_of_zeros_has_a_finite_gradient() {
        let (config, mut tensors) = small(Head::LinearRelu { size: 3 });
        for (name, weight) in &mut tensors {
            if name == "head.bias" {
                weight.values.fill(-100.0);
            }
        }
        let network = encoder(&EncoderConfig::Lstm(config), tensors, None, &Device::Cpu).unwrap();
        let batch = Tensor::ones((2, 4, 5), DType::F32, &Device::Cpu).unwrap();
        let gradients = network.forward_train(&batch).unwrap().sum_all().unwrap().backward().unwrap();
        for var in network.variables().values() {
            let gradient = gradients.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|value| value.is_finite()));
        }
    }
}
