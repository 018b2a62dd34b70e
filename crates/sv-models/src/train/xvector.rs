//! The x-vector network, trained.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, Activation};

use super::ecapa::deviation;
use super::parts::{Parts, check_fold};
use super::{Affine, Encoder, Standardisation};
use crate::encoders::ecapa::{Deviation, Divisor, Floor};
use crate::encoders::xvector::XVectorConfig;
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// An x-vector network over variables.
#[derive(Debug)]
pub struct XVectorEncoder {
    config: XVectorConfig,
    parts: Parts,
    standardisation: Option<Standardisation>,
    affine: Affine,
}

impl XVectorEncoder {
    /// Puts `weights` of a network of `config` on `device`, as f32 or f64.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a standardisation of another number of bands; [`ModelError::Tensor`].
    pub fn new(
        config: &XVectorConfig,
        weights: &Weights,
        standardisation: Option<Standardisation>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        check_fold(standardisation.as_ref(), config.padding())?;
        let affine = Affine::new(standardisation.as_ref(), config.bins, dtype, device)?;
        Ok(Self { config: config.clone(), parts: Parts::new(weights, dtype, device)?, standardisation, affine })
    }

    /// The same for inference.
    pub(super) fn frozen(mut self) -> Self {
        self.parts.frozen = true;
        self
    }
}

impl Encoder for XVectorEncoder {
    fn forward(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let mut x = self.affine.apply(features)?;
        for (block, &dilation) in self.config.dilations.iter().enumerate() {
            let activation = Activation::LeakyRelu(XVectorConfig::SLOPE);
            let layer = self.parts.layer(&format!("blocks.{block}"), dilation, self.config.padding(), activation);
            x = ops::tdnn(&x, &layer)?;
        }
        // A channel that never moves has no slope: the floor, far below what any other has, keeps its root from dividing by 0.
        let plain = Deviation { divisor: Divisor::Sample, floor: Floor::AtLeast(LEAST_VARIANCE) };
        let (mean, spread) = ops::statistics(&x, deviation(plain, XVectorConfig::DEVIATION_OFFSET), None)?;
        self.parts.linear("embedding", &Tensor::cat(&[mean, spread], 1)?)
    }

    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.parts.variables
    }

    fn buffers(&self) -> &BTreeMap<String, Var> {
        &self.parts.buffers
    }

    fn weights(&self) -> Result<Weights, ModelError> {
        let config = EncoderConfig::XVector(self.config.clone());
        self.parts.weights(&config, self.standardisation.as_ref(), "blocks.0.conv")
    }
}

/// Under the root of the pooled deviation while training.
const LEAST_VARIANCE: f64 = 1e-24;
