//! Means and deviations over time, plain or under attention.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::{lent, locked, sizes, values};
use crate::ops::pooling::{Deviation, Divisor, Floor};
use crate::tdnn::pooling::{self, MomentSlopes, Sizes};
use crate::tier::Tier;

/// Mean and deviation over time, (B, 2C): see [`crate::ops::statistics`].
pub(in crate::ops) fn statistics(x: &Tensor, form: Deviation) -> Result<Tensor> {
    let sizes = sizes(x)?;
    let pass = MomentsPass { sizes, root: Root::new(form, sizes)?, kept: Mutex::default() };
    x.contiguous()?.apply_op1(pass)
}

/// Mean and deviation under attention, (B, 2C): see [`crate::ops::attentive_stats`].
pub(in crate::ops) fn attentive(x: &Tensor, logits: &Tensor, floor: Floor) -> Result<Tensor> {
    let sizes = sizes(x)?;
    if x.dims() != logits.dims() || sizes.batch == 0 || sizes.frames == 0 {
        bail!("attentive statistics of {:?} with logits of {:?}", x.dims(), logits.dims())
    }
    let pass = MomentsPass { sizes, root: Root::floored(floor), kept: Mutex::default() };
    x.contiguous()?.apply_op2(&logits.contiguous()?, pass)
}

/// What a pass over moments keeps: the attention (B, T, C), if there is one, mean and variance (B, C).
#[derive(Debug, Default)]
struct KeptMoments {
    attention: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

/// How a deviation is made of a variance that T divides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    /// Factor of the variance: T over what divides.
    scale: f32,
    floor: Floor,
    /// Added to the root.
    offset: f32,
}

impl Root {
    /// Of `form` over activations of `sizes`.
    pub(super) fn new(form: Deviation, sizes: Sizes) -> Result<Self> {
        let lost = usize::from(form.divisor == Divisor::FramesLessOne);
        if sizes.frames <= lost || sizes.batch == 0 {
            bail!("{} rows of {} frames; a deviation needs {}", sizes.batch, sizes.frames, lost + 1)
        }
        let scale = sizes.frames as f32 / (sizes.frames - lost) as f32;
        Ok(Self { scale, floor: form.floor, offset: form.offset as f32 })
    }

    /// With a floor and nothing else, as attention weighs.
    pub(super) fn floored(floor: Floor) -> Self {
        Self { scale: 1.0, floor, offset: 0.0 }
    }

    /// The deviation of a variance, and the slope of the one in the other.
    pub(super) fn deviation(&self, variance: f32) -> (f32, f32) {
        let variance = variance * self.scale;
        let (under, moves) = match self.floor {
            Floor::AtLeast(least) if variance < least as f32 => (least as f32, false),
            Floor::AtLeast(_) => (variance, true),
            Floor::Plus(epsilon) => (variance + epsilon as f32, true),
        };
        let root = under.sqrt();
        (root + self.offset, if moves { 0.5 * self.scale / root } else { 0.0 })
    }

    /// Means and deviations side by side, (B, 2C), of means and variances (B, C).
    pub(super) fn joined(&self, mean: &[f32], variance: &[f32], channels: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(2 * mean.len());
        for (mean, variance) in mean.chunks_exact(channels).zip(variance.chunks_exact(channels)) {
            out.extend_from_slice(mean);
            out.extend(variance.iter().map(|&variance| self.deviation(variance).0));
        }
        out
    }

    /// The gradients of mean and variance from those of what [`Root::joined`] gives.
    pub(super) fn split(&self, variance: &[f32], slopes: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut of_mean, mut of_variance) = (Vec::new(), Vec::new());
        for (row, variance) in slopes.chunks_exact(2 * channels).zip(variance.chunks_exact(channels)) {
            of_mean.extend_from_slice(&row[..channels]);
            of_variance.extend(row[channels..].iter().zip(variance).map(|(slope, &v)| slope * self.deviation(v).1));
        }
        (of_mean, of_variance)
    }
}

struct MomentsPass {
    sizes: Sizes,
    root: Root,
    kept: Mutex<KeptMoments>,
}

impl MomentsPass {
    fn forward(&self, x: &[f32], attention: Vec<f32>) -> (CpuStorage, Shape) {
        let Sizes { batch, channels, .. } = self.sizes;
        let (mut mean, mut variance) = (vec![0.0; batch * channels], vec![0.0; batch * channels]);
        let weights = (!attention.is_empty()).then_some(&attention[..]);
        pooling::moments(Tier::detect(), self.sizes, x, weights, &mut mean, &mut variance);
        let out = self.root.joined(&mean, &variance, channels);
        *locked(&self.kept) = KeptMoments { attention, mean, variance };
        (CpuStorage::F32(out), Shape::from((batch, 2 * channels)))
    }

    /// The gradients of mean and variance from those of the result.
    fn split(&self, kept: &KeptMoments, slopes: &[f32]) -> (Vec<f32>, Vec<f32>) {
        self.root.split(&kept.variance, slopes, self.sizes.channels)
    }
}

impl CustomOp1 for MomentsPass {
    fn name(&self) -> &'static str {
        "sv-statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(values(x, lx)?, Vec::new()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Option<Tensor>> {
        let kept = locked(&self.kept);
        let (of_mean, of_variance) = lent(slopes, |slopes| Ok(self.split(&kept, slopes)))?;
        let slopes =
            MomentSlopes { mean: &kept.mean, variance: &kept.variance, of_mean: &of_mean, of_variance: &of_variance };
        let mut out = vec![0.0; x.elem_count()];
        lent(x, |x| {
            pooling::backward(Tier::detect(), self.sizes, x, slopes, &mut out);
            Ok(())
        })?;
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

impl CustomOp2 for MomentsPass {
    fn name(&self) -> &'static str {
        "sv-attentive-statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, a: &CpuStorage, la: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut attention = values(a, la)?.to_vec();
        pooling::softmax(Tier::detect(), self.sizes, &mut attention);
        Ok(self.forward(values(x, lx)?, attention))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = locked(&self.kept);
        let (of_mean, of_variance) = lent(slopes, |slopes| Ok(self.split(&kept, slopes)))?;
        let slopes =
            MomentSlopes { mean: &kept.mean, variance: &kept.variance, of_mean: &of_mean, of_variance: &of_variance };
        let (mut of_x, mut of_logits) = (vec![0.0; x.elem_count()], vec![0.0; x.elem_count()]);
        lent(x, |x| {
            let (tier, attention) = (Tier::detect(), &kept.attention);
            pooling::weighted_backward(tier, self.sizes, x, attention, slopes, &mut of_x, &mut of_logits);
            Ok(())
        })?;
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, x.shape(), x.device());
        Ok((Some(tensor(of_x)?), Some(tensor(of_logits)?)))
    }
}
