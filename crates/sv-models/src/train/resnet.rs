//! Residual networks, trained, in the forms of [`ResNetForm`](crate::encoders::resnet::ResNetForm).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use sv_kernels::ops::{self, BasicBlock, Conv2d, ImageLayer, NormForm};

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

    /// The convolution `conv` of images of `frames` and `bins`, and the batch norm `norm` after it.
    fn layer(&self, [conv, norm]: [&str; 2], seen: [usize; 2], stride: [usize; 2]) -> Result<ImageLayer, ModelError> {
        let form = self.config.form;
        let weight = self.parts.tensor(&format!("{conv}.weight"));
        let weight = match form.axes() {
            Axes::TimeFrequency => weight,
            Axes::FrequencyTime => weight.transpose(2, 3)?,
        };
        let (_, _, k, l) = weight.dims4()?;
        let padding = [form.padding().sides(seen[0], k, stride[0]), form.padding().sides(seen[1], l, stride[1])];
        match self.parts.norm(norm) {
            Some(norm) => Ok(ImageLayer { weight, form: Conv2d { stride, padding }, norm }),
            None => unreachable!("{norm} is among the tensors of every residual network"),
        }
    }

    fn norms(&self) -> NormForm {
        NormForm { epsilon: self.config.form.epsilon(), momentum: self.config.form.momentum() }
    }

    fn stem(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, frames, bins) = features.dims3()?;
        let stride = self.config.form.stem_stride();
        let ImageLayer { weight, form, norm } = self.layer(["stem.conv", "stem.norm"], [frames, bins], stride)?;
        let x = ops::conv2d(&features.reshape((batch, frames, bins, 1))?, &weight, form)?;
        Ok(ops::batch_norm_add_leaky_relu(&x, &norm, self.norms(), None, self.config.form.slope())?)
    }

    fn basic_block(&self, x: &Tensor, stage: usize, block: usize) -> Result<Tensor, ModelError> {
        let name = |part: &str| format!("stages.{stage}.{block}.{part}");
        let (_, frames, bins, _) = x.dims4()?;
        let (seen, step) = ([frames, bins], self.config.stride(stage, block));
        let layer = |conv: &str, norm: &str, seen, step| self.layer([&name(conv), &name(norm)], seen, [step; 2]);
        let beside = || layer("shortcut.conv", "shortcut.norm", seen, step);
        let block = BasicBlock {
            first: layer("conv1", "norm1", seen, step)?,
            second: layer("conv2", "norm2", seen.map(|size| size.div_ceil(step)), 1)?,
            shortcut: self.config.projects(stage, block).then(beside).transpose()?,
            norms: self.norms(),
            slope: self.config.form.slope(),
        };
        Ok(ops::basic_block(x, &block)?)
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
        let (_, frames, bins) = features.dims3()?;
        let (need, least) = (self.config.bins, self.config.least_frames());
        if frames < least || bins != need {
            return Err(ModelError::Features { frames, bins, need, least });
        }
        let mut x = self.stem(features)?;
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
