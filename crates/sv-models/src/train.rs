//! Networks as candle tensors: what training differentiates. Everything else runs on a [`Plan`](crate::Plan).

use std::collections::BTreeMap;

mod b_vector;
mod ecapa;
mod linear;
mod lstm;
mod parts;
mod resnet;
mod xvector;

use candle_core::{DType, Device, Tensor, Var};

use crate::weights::{Weight, Weights};
use crate::{EncoderConfig, ModelError};
pub use b_vector::BVectorNetwork;
pub use ecapa::EcapaEncoder;
pub use linear::LinearLayer;
pub use lstm::LstmEncoder;
pub use resnet::ResNetEncoder;
pub use xvector::XVectorEncoder;

/// A network that can be trained: features in, embeddings out, differentiable in its variables.
pub trait Encoder: Send {
    /// Embeds a batch of features (B, T, F), all of one length: (B, D). Batch norms go by the batch's own statistics and move their
    /// averages, unless the network was made for inference.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError>;

    /// The trainable tensors by our names.
    fn variables(&self) -> &BTreeMap<String, Var>;

    /// What the forward pass moves without a gradient, by our names: running averages. A resumed training needs them to the
    /// bit; [`encoder`] takes them back among the tensors.
    fn buffers(&self) -> &BTreeMap<String, Var>;

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
        EncoderConfig::Ecapa(ecapa) => {
            Ok(Box::new(EcapaEncoder::new(ecapa, &weights, standardisation, DType::F32, device)?))
        }
        EncoderConfig::XVector(xvector) => {
            Ok(Box::new(XVectorEncoder::new(xvector, &weights, standardisation, DType::F32, device)?))
        }
        EncoderConfig::ResNet(resnet) => {
            Ok(Box::new(ResNetEncoder::new(resnet, &weights, standardisation, DType::F32, device)?))
        }
    }
}

/// The network of `config` for inference: batch norms go by their averages, which stay.
///
/// # Errors
/// As [`encoder`].
pub(crate) fn frozen(
    config: &EncoderConfig,
    tensors: BTreeMap<String, Weight>,
    device: &Device,
) -> Result<Box<dyn Encoder>, ModelError> {
    let weights = Weights::new("weights", config, tensors)?;
    Ok(match config {
        EncoderConfig::Lstm(lstm) => Box::new(LstmEncoder::new(lstm, &weights, None, device)?),
        EncoderConfig::Ecapa(ecapa) => Box::new(EcapaEncoder::new(ecapa, &weights, None, DType::F32, device)?.frozen()),
        EncoderConfig::XVector(config) => {
            Box::new(XVectorEncoder::new(config, &weights, None, DType::F32, device)?.frozen())
        }
        EncoderConfig::ResNet(config) => {
            Box::new(ResNetEncoder::new(config, &weights, None, DType::F32, device)?.frozen())
        }
    })
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

/// A standardisation as tensors, (1, 1, F) each: minus the mean over the deviation, and one over the deviation.
#[derive(Debug)]
struct Affine(Option<(Tensor, Tensor)>);

impl Affine {
    fn new(
        standardisation: Option<&Standardisation>,
        bins: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let Some(Standardisation { mean, deviation }) = standardisation else { return Ok(Self(None)) };
        let sound = |value: &f64| value.is_finite() && *value > 0.0;
        if mean.len() != bins
            || deviation.len() != bins
            || !deviation.iter().all(sound)
            || mean.iter().any(|value| !value.is_finite())
        {
            return Err(ModelError::Config {
                key: "standardisation",
                got: format!("{} means and {} deviations", mean.len(), deviation.len()),
                need: format!("{bins} of each, finite, the deviations above 0"),
            });
        }
        let offset: Vec<f32> = mean.iter().zip(deviation).map(|(m, d)| (-m / d) as f32).collect();
        let factor: Vec<f32> = deviation.iter().map(|d| (1.0 / d) as f32).collect();
        let tensor =
            |values: Vec<f32>| Tensor::from_vec(values, (1, 1, bins), device).and_then(|tensor| tensor.to_dtype(dtype));
        Ok(Self(Some((tensor(offset)?, tensor(factor)?))))
    }

    fn apply(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match &self.0 {
            Some((offset, factor)) => features.broadcast_mul(factor)?.broadcast_add(offset)?,
            None => features.clone(),
        })
    }
}

/// Folds a standardisation into the tensors `weight` (O, F, K) and `bias` (O):
/// `W ((x - m) / d) + b = (W / d) x + (b - W (m / d))`, in f64. K is 1 for a matrix.
fn fold(standardisation: &Standardisation, tensors: &mut BTreeMap<String, Weight>, weight: &str, bias: &str) {
    let Standardisation { mean, deviation } = standardisation;
    let Some(mut first) = tensors.remove(weight) else { return };
    let taps = first.shape.get(2).copied().unwrap_or(1);
    if let Some(bias) = tensors.get_mut(bias) {
        for (row, bias) in first.values.chunks_exact_mut(mean.len() * taps).zip(&mut bias.values) {
            let mut shift = 0.0;
            for ((weights, mean), deviation) in row.chunks_exact_mut(taps).zip(mean).zip(deviation) {
                for weight in weights {
                    let scaled = f64::from(*weight) / deviation;
                    shift += scaled * mean;
                    *weight = scaled as f32;
                }
            }
            *bias = (f64::from(*bias) - shift) as f32;
        }
    }
    tensors.insert(weight.to_owned(), first);
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::Plan;
    use crate::encoders::lstm::{Head, LstmConfig, Normalization};

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
            let trained = network.forward(&batch).unwrap().to_vec2::<f32>().unwrap();
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
        let gradients = network.forward(&batch).unwrap().sum_all().unwrap().backward().unwrap();
        for var in network.variables().values() {
            let gradient = gradients.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(gradient.iter().all(|value| value.is_finite()));
        }
    }
}
