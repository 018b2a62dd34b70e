//! Residual networks, trained, in the forms of [`ResNetForm`](crate::encoders::resnet::ResNetForm).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, Conv2d, NormForm};

use super::ecapa::deviation;
use super::parts::{Parts, check_fold};
use super::{Affine, Encoder, Standardisation};
use crate::encoders::Padding;
use crate::encoders::ecapa::{Deviation, Divisor, Floor};
use crate::encoders::resnet::{Axes, Pooling, ResNetConfig};
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// A residual network over variables.
#[derive(Debug)]
pub struct ResNetEncoder {
    config: ResNetConfig,
    parts: Parts,
}

impl ResNetEncoder {
    /// Puts `weights` of a network of `config` on `device`, as f32 or f64.
    ///
    /// # Errors
    /// [`ModelError::Config`] for any standardisation, as these networks pad zeros around the features, and for constants out
    /// of range; [`ModelError::Tensor`].
    pub fn new(
        config: &ResNetConfig,
        weights: &Weights,
        standardisation: Option<Standardisation>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        Affine::new(standardisation.as_ref(), config.bins, dtype, device)?;
        check_fold(standardisation.as_ref(), Padding::Zeros)?;
        Ok(Self { config: config.clone(), parts: Parts::new(weights, dtype, device)? })
    }

    /// The convolution `name` of `x` (B, T, F, I).
    fn conv(&self, name: &str, x: &Tensor, stride: [usize; 2]) -> Result<Tensor, ModelError> {
        let form = self.config.form;
        let weight = self.parts.tensor(&format!("{name}.weight"));
        let weight = match form.axes() {
            Axes::TimeFrequency => weight,
            Axes::FrequencyTime => weight.transpose(2, 3)?,
        };
        let (_, frames, bins, _) = x.dims4()?;
        let (_, _, k, l) = weight.dims4()?;
        let padding = [form.padding().sides(frames, k, stride[0]), form.padding().sides(bins, l, stride[1])];
        Ok(ops::conv2d(x, &weight, Conv2d { stride, padding })?)
    }

    /// The batch norm `name`, the shortcut, the activation.
    fn finished(&self, name: &str, x: &Tensor, shortcut: Option<&Tensor>, slope: f64) -> Result<Tensor, ModelError> {
        let (epsilon, momentum) = (self.config.form.epsilon(), self.config.form.momentum());
        match self.parts.norm(name) {
            Some(norm) => {
                Ok(ops::batch_norm_add_leaky_relu(x, &norm, NormForm { epsilon, momentum }, shortcut, slope)?)
            }
            None => unreachable!("{name} is among the tensors of every residual network"),
        }
    }

    fn basic_block(&self, x: &Tensor, stage: usize, block: usize) -> Result<Tensor, ModelError> {
        let name = |part: &str| format!("stages.{stage}.{block}.{part}");
        let (slope, stride) = (self.config.form.slope(), [self.config.stride(stage, block); 2]);
        let inner = self.finished(&name("norm1"), &self.conv(&name("conv1"), x, stride)?, None, slope)?;
        let y = self.conv(&name("conv2"), &inner, [1, 1])?;
        let shortcut = if self.config.projects(stage, block) {
            self.finished(&name("shortcut.norm"), &self.conv(&name("shortcut.conv"), x, stride)?, None, 1.0)?
        } else {
            x.clone()
        };
        self.finished(&name("norm2"), &y, Some(&shortcut), slope)
    }

    /// What is pooled of `x` (B, T, F, C).
    fn pooled(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, frames, bins, channels) = x.dims4()?;
        match self.config.form.pooling() {
            Pooling::Average => Ok(x.sum(2)?.sum(1)?.affine(1.0 / (frames * bins) as f64, 0.0)?),
            Pooling::Tstp { variance_offset } => {
                let rule = Deviation { divisor: Divisor::Sample, floor: Floor::Plus(variance_offset) };
                let signal = x.reshape((batch, frames, bins * channels))?;
                let (mean, spread) = ops::statistics(&signal, deviation(rule, 0.0), None)?;
                // Channel major, as the network's linear layer has it.
                let turned = |values: Tensor| {
                    values.reshape((batch, bins, channels))?.transpose(1, 2)?.reshape((batch, channels * bins))
                };
                Ok(Tensor::cat(&[turned(mean)?, turned(spread)?], 1)?)
            }
        }
    }
}

impl Encoder for ResNetEncoder {
    fn forward_train(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, frames, bins) = features.dims3()?;
        let (need, least) = (self.config.bins, self.config.least_frames());
        if frames < least || bins != need {
            return Err(ModelError::Features { frames, bins, need, least });
        }
        let slope = self.config.form.slope();
        let image = features.reshape((batch, frames, bins, 1))?;
        let mut x = self.conv("stem.conv", &image, self.config.form.stem_stride())?;
        x = self.finished("stem.norm", &x, None, slope)?;
        for (stage, &blocks) in self.config.blocks.iter().enumerate() {
            for block in 0..blocks {
                x = self.basic_block(&x, stage, block)?;
            }
        }
        let pooled = self.pooled(&x)?;
        if self.config.form.has_linear_head() { self.parts.linear("embedding", &pooled) } else { Ok(pooled) }
    }

    fn variables(&self) -> &BTreeMap<String, Var> {
        &self.parts.variables
    }

    fn buffers(&self) -> &BTreeMap<String, Var> {
        &self.parts.buffers
    }

    fn weights(&self) -> Result<Weights, ModelError> {
        self.parts.weights(&EncoderConfig::ResNet(self.config.clone()), None, "stem.conv")
    }
}
