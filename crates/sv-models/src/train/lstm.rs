//! LSTM d-vector networks, trained.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, LstmLayer, LstmMemory};

use super::{Affine, Encoder, Standardisation, fold};
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::weights::{Weight, Weights};
use crate::{EncoderConfig, ModelError};

/// An LSTM d-vector network over variables.
#[derive(Debug)]
pub struct LstmEncoder {
    config: LstmConfig,
    variables: BTreeMap<String, Var>,
    /// None: an LSTM keeps no averages.
    buffers: BTreeMap<String, Var>,
    standardisation: Option<Standardisation>,
    affine: Affine,
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
        let affine = Affine::new(standardisation.as_ref(), config.bins, DType::F32, device)?;
        Ok(Self {
            config: config.clone(),
            variables,
            buffers: BTreeMap::new(),
            standardisation,
            affine,
            memory: LstmMemory::default(),
        })
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.variables[name].as_tensor().clone()
    }
}

impl Encoder for LstmEncoder {
    fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let input = self.affine.apply(features)?;
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

    fn buffers(&self) -> &BTreeMap<String, Var> {
        &self.buffers
    }

    fn weights(&self) -> Result<Weights, ModelError> {
        let mut tensors = BTreeMap::new();
        for (name, var) in &self.variables {
            let values = var.as_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            tensors.insert(name.clone(), Weight { shape: var.dims().to_vec(), values });
        }
        if let Some(standardisation) = &self.standardisation {
            fold(standardisation, &mut tensors, "lstm.0.weight_ih", "lstm.0.bias");
        }
        Weights::new("trained weights", &EncoderConfig::Lstm(self.config.clone()), tensors)
    }
}

/// Added to the square of an embedding that is scaled without an epsilon of its own.
const LEAST_SQUARE: f64 = 1e-24;
