//! ECAPA-TDNN, trained, in the forms of [`EcapaForm`](crate::encoders::ecapa::EcapaForm).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, Activation, AttentivePooling, SeRes2Net, Squeeze};

use super::parts::{Parts, check_fold};
use super::{Affine, Encoder, Standardisation};
use crate::encoders::ecapa::{BlockInput, Deviation, Divisor, EcapaConfig, Floor, Untouched};
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// An ECAPA-TDNN over variables.
#[derive(Debug)]
pub struct EcapaEncoder {
    config: EcapaConfig,
    parts: Parts,
    standardisation: Option<Standardisation>,
    affine: Affine,
}

impl EcapaEncoder {
    /// Puts `weights` of a network of `config` on `device`, as f32 or f64.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a standardisation of another number of bands, or of a network that pads zeros;
    /// [`ModelError::Tensor`].
    pub fn new(
        config: &EcapaConfig,
        weights: &Weights,
        standardisation: Option<Standardisation>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        check_fold(standardisation.as_ref(), config.form.padding())?;
        let affine = Affine::new(standardisation.as_ref(), config.bins, dtype, device)?;
        Ok(Self { config: config.clone(), parts: Parts::new(weights, dtype, device)?, standardisation, affine })
    }

    /// The same for inference.
    pub(super) fn frozen(mut self) -> Self {
        self.parts.frozen = true;
        self
    }

    fn layer(&self, name: &str, dilation: usize) -> ops::Tdnn {
        self.parts.layer(name, dilation, self.config.form.padding(), Activation::Relu)
    }

    fn block(&self, index: usize) -> SeRes2Net {
        let name = format!("blocks.{index}");
        let dilation = self.config.dilations[index + 1];
        let chunk = |piece: usize| self.layer(&format!("{name}.res2.{piece}"), dilation);
        SeRes2Net {
            before: self.layer(&format!("{name}.tdnn1"), 1),
            chunks: (0..self.config.scale - 1).map(chunk).collect(),
            untouched: match self.config.form.untouched() {
                Untouched::First => ops::Untouched::First,
                Untouched::Last => ops::Untouched::Last,
            },
            after: self.layer(&format!("{name}.tdnn2"), 1),
            squeeze: Squeeze {
                down: self.parts.pair(&format!("{name}.se.down")),
                up: self.parts.pair(&format!("{name}.se.up")),
            },
        }
    }

    fn pooling(&self) -> Result<AttentivePooling, ModelError> {
        let matrix = |name: &str| -> Result<(Tensor, Tensor), ModelError> {
            let (weight, bias) = self.parts.pair(name);
            Ok((weight.squeeze(2)?, bias))
        };
        Ok(AttentivePooling {
            context: deviation(self.config.form.context(), 0.0),
            told: matrix("attention.tdnn.conv")?,
            norm: self.parts.norm("attention.tdnn.norm"),
            logits: matrix("attention.conv")?,
            floor: ops::Floor::AtLeast(self.config.form.pooled_floor()),
        })
    }
}

/// A deviation as the operations take it.
pub(super) fn deviation(Deviation { divisor, floor }: Deviation, offset: f64) -> ops::Deviation {
    ops::Deviation {
        divisor: match divisor {
            Divisor::Population => ops::Divisor::Frames,
            Divisor::Sample => ops::Divisor::FramesLessOne,
        },
        floor: match floor {
            Floor::AtLeast(least) => ops::Floor::AtLeast(least),
            Floor::Plus(epsilon) => ops::Floor::Plus(epsilon),
        },
        offset,
    }
}

impl Encoder for EcapaEncoder {
    fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let stem = ops::tdnn(&self.affine.apply(features)?, &self.layer("stem", self.config.dilations[0]))?;
        let mut outputs: Vec<Tensor> = Vec::new();
        for index in 0..self.config.blocks() {
            let input = match self.config.form.block_input() {
                BlockInput::Previous => outputs.last().unwrap_or(&stem).clone(),
                BlockInput::Sum => outputs.iter().try_fold(stem.clone(), |sum, output| sum + output)?,
            };
            outputs.push(ops::se_res2net(&input, &self.block(index))?);
        }
        let together = ops::tdnn(&Tensor::cat(&outputs, 2)?, &self.layer("mfa", 1))?;
        let pooled = self.parts.batch_norm("pool.norm", &ops::attentive_pooling(&together, &self.pooling()?)?)?;
        self.parts.batch_norm("embedding.norm", &self.parts.linear("embedding", &pooled)?)
    }

    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.parts.variables
    }

    fn buffers(&self) -> &BTreeMap<String, Var> {
        &self.parts.buffers
    }

    fn weights(&self) -> Result<Weights, ModelError> {
        let config = EncoderConfig::Ecapa(self.config.clone());
        self.parts.weights(&config, self.standardisation.as_ref(), "stem.conv")
    }
}
