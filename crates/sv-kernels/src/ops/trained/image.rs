//! The layers of residual networks: convolution over time and frequency; normalisation, shortcut and activation.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Slopes, lent, locked, values};
use crate::conv::train::{Sizes, forward, input_slope, weight_slope};
use crate::ops::batch_norm::{NormForm, count};
use crate::ops::blocks::Norm;
use crate::tdnn::norm::Moments;
use crate::tdnn::shortcut;
use crate::tier::Tier;

/// A convolution of checked sizes: see [`crate::ops::conv2d`].
pub(in crate::ops) fn conv2d(x: &Tensor, weight: &Tensor, sizes: Sizes) -> Result<Tensor> {
    let pass = Conv2dPass { sizes, wants: [x.track_op(), weight.track_op()] };
    x.contiguous()?.apply_op2(&weight.contiguous()?, pass)
}

struct Conv2dPass {
    sizes: Sizes,
    /// Whether the gradients of the input and of the weight are asked for.
    wants: [bool; 2],
}

impl CustomOp2 for Conv2dPass {
    fn name(&self) -> &'static str {
        "sv-conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let Sizes { batch, outputs, given: [t, f], .. } = self.sizes;
        let out = forward(Tier::detect(), self.sizes, values(x, lx)?, values(w, lw)?);
        Ok((CpuStorage::F32(out), Shape::from((batch, t, f, outputs))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tier, sizes) = (Tier::detect(), self.sizes);
        lent(slopes, |slopes| {
            let of_x = self.wants[0].then(|| {
                let of_x = lent(w, |w| Ok(input_slope(tier, sizes, slopes, w, None)))?;
                Tensor::from_vec(of_x, x.shape(), x.device())
            });
            let of_w = self.wants[1].then(|| {
                let of_w = lent(x, |x| Ok(weight_slope(tier, sizes, slopes, x)))?;
                Tensor::from_vec(of_w, w.shape(), w.device())
            });
            Ok((of_x.transpose()?, of_w.transpose()?))
        })
    }
}

/// Normalisation, shortcut and activation of checked shapes: see [`crate::ops::batch_norm_add_leaky_relu`].
pub(in crate::ops) fn norm_add(
    x: &Tensor,
    norm: &Norm,
    form: NormForm,
    shortcut: Option<&Tensor>,
    slope: f64,
) -> Result<Tensor> {
    let wants_shortcut = shortcut.is_some_and(Tensor::track_op);
    let kept: Arc<Mutex<Moments>> = Arc::default();
    let pass = NormAddPass { epsilon: form.epsilon, slope: slope as f32, wants_shortcut, kept: Arc::clone(&kept) };
    let vectors = Tensor::cat(&[&norm.weight, &norm.bias], 0)?;
    let x = x.contiguous()?;
    let y = match shortcut {
        Some(shortcut) => x.apply_op3(&vectors, &shortcut.contiguous()?, pass)?,
        None => x.apply_op2(&vectors, pass)?,
    };
    let Moments { mean, variance, .. } = &*locked(&kept);
    let variance = Tensor::new(&variance[..], x.device())?.to_dtype(x.dtype())?;
    norm.running.follow(form.momentum, &Tensor::new(&mean[..], x.device())?, &variance, count(&x)?.0)?;
    Ok(y)
}

struct NormAddPass {
    epsilon: f64,
    slope: f32,
    wants_shortcut: bool,
    kept: Arc<Mutex<Moments>>,
}

impl NormAddPass {
    fn forward(&self, x: &[f32], vectors: &[f32], shortcut: Option<&[f32]>) -> Vec<f32> {
        let tier = Tier::detect();
        let (weight, bias) = vectors.split_at(vectors.len() / 2);
        let moments = shortcut::moments(tier, x, weight.len(), self.epsilon);
        let y = shortcut::forward(tier, x, &moments, [weight, bias], shortcut, self.slope);
        *locked(&self.kept) = moments;
        y
    }

    /// Gradients of the input, the vectors and the shortcut.
    fn backward(&self, x: &Tensor, vectors: &Tensor, y: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        let moments = locked(&self.kept);
        let all = lent(x, |x| {
            lent(vectors, |vectors| {
                let weight = &vectors[..vectors.len() / 2];
                lent(y, |y| {
                    lent(slopes, |dy| {
                        let both = [y, dy];
                        let (tier, wants) = (Tier::detect(), self.wants_shortcut);
                        Ok(shortcut::backward(tier, x, &moments, weight, self.slope, both, wants))
                    })
                })
            })
        })?;
        let like_x = |values: Vec<f32>| Tensor::from_vec(values, x.shape(), x.device());
        let of_vectors = Tensor::from_vec([all.weight, all.bias].concat(), vectors.shape(), vectors.device())?;
        Ok((Some(like_x(all.z)?), Some(of_vectors), all.shortcut.map(like_x).transpose()?))
    }
}

impl CustomOp2 for NormAddPass {
    fn name(&self) -> &'static str {
        "sv-batch-norm-leaky-relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, v: &CpuStorage, lv: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.forward(values(x, lx)?, values(v, lv)?, None)), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, v: &Tensor, y: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_v, _) = self.backward(x, v, y, slopes)?;
        Ok((of_x, of_v))
    }
}

impl CustomOp3 for NormAddPass {
    fn name(&self) -> &'static str {
        "sv-batch-norm-add-leaky-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        v: &CpuStorage,
        lv: &Layout,
        s: &CpuStorage,
        ls: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(x, lx)?, values(v, lv)?, Some(values(s, ls)?));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, v: &Tensor, _: &Tensor, y: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        self.backward(x, v, y, slopes)
    }
}
