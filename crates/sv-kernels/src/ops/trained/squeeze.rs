//! Squeeze and excitation with what it is added to.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{Slopes, lent, locked, sizes, values};
use crate::ops::blocks::Squeeze;
use crate::tdnn::pooling::{self, Sizes};
use crate::tdnn::products;
use crate::tier::Tier;

/// `residual + se(x)`, see [`crate::ops::se_scale`]: of x (B, T, C), the squeeze's weights in one row, and what is added.
pub(in crate::ops) fn squeezed(x: &Tensor, squeeze: &Squeeze, residual: &Tensor) -> Result<Tensor> {
    let sizes = sizes(x)?;
    let (hidden, channels) = squeeze.down.0.dims2()?;
    let fits = channels == sizes.channels
        && squeeze.down.1.dims() == [hidden]
        && squeeze.up.0.dims() == [channels, hidden]
        && squeeze.up.1.dims() == [channels]
        && residual.dims() == x.dims();
    if !fits {
        bail!("squeeze and excitation of {:?} by {:?} onto {:?}", x.dims(), squeeze.down.0.dims(), residual.dims())
    }
    let parts = [&squeeze.down.0, &squeeze.down.1, &squeeze.up.0, &squeeze.up.1];
    let flat = Tensor::cat(&parts.map(Tensor::flatten_all).into_iter().collect::<Result<Vec<_>>>()?, 0)?;
    let pass = SqueezePass { sizes, hidden, kept: Mutex::default() };
    x.contiguous()?.apply_op3(&flat, &residual.contiguous()?, pass)
}

/// Means (B, C), hidden values (B, S) and scales (B, C) of the forward pass.
#[derive(Debug, Default)]
struct Squeezed {
    means: Vec<f32>,
    hidden: Vec<f32>,
    scale: Vec<f32>,
}

struct SqueezePass {
    sizes: Sizes,
    hidden: usize,
    kept: Mutex<Squeezed>,
}

impl SqueezePass {
    /// Weight and bias down, weight and bias up.
    fn parts<'a>(&self, flat: &'a [f32]) -> [&'a [f32]; 4] {
        let (c, s) = (self.sizes.channels, self.hidden);
        let (down, rest) = flat.split_at(s * c);
        let (down_bias, rest) = rest.split_at(s);
        let (up, up_bias) = rest.split_at(c * s);
        [down, down_bias, up, up_bias]
    }
}

impl CustomOp3 for SqueezePass {
    fn name(&self) -> &'static str {
        "sv-squeeze"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        r: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tier, sizes) = (Tier::detect(), self.sizes);
        let (x, [down, down_bias, up, up_bias]) = (values(x, lx)?, self.parts(values(w, lw)?));
        let mut means = vec![0.0; sizes.batch * sizes.channels];
        pooling::sums(tier, sizes, x, None, &mut means);
        let share = 1.0 / sizes.frames as f32;
        means.iter_mut().for_each(|mean| *mean *= share);
        let mut hidden = vec![0.0; sizes.batch * self.hidden];
        products::forward(tier, &means, sizes.channels, down, down_bias, &mut hidden);
        hidden.iter_mut().for_each(|value| *value = if *value <= 0.0 { 0.0 } else { *value });
        let mut scale = vec![0.0; sizes.batch * sizes.channels];
        products::forward(tier, &hidden, self.hidden, up, up_bias, &mut scale);
        crate::math::sigmoid(tier, &mut scale);
        let mut out = vec![0.0; x.len()];
        pooling::scaled(tier, sizes, x, &scale, values(r, lr)?, &mut out);
        *locked(&self.kept) = Squeezed { means, hidden, scale };
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        let (tier, sizes) = (Tier::detect(), self.sizes);
        let (c, s) = (sizes.channels, self.hidden);
        let kept = locked(&self.kept);
        let (of_x, of_w) = lent(x, |x| {
            lent(w, |w| {
                lent(slopes, |slopes| {
                    let [down, _, up, _] = self.parts(w);
                    let mut of_scale = vec![0.0; sizes.batch * c];
                    pooling::sums(tier, sizes, slopes, Some(x), &mut of_scale);
                    for (slope, &scale) in of_scale.iter_mut().zip(&kept.scale) {
                        *slope *= scale * (1.0 - scale);
                    }
                    let mut of_hidden = vec![0.0; sizes.batch * s];
                    products::input_slope(tier, &of_scale, c, up, &mut of_hidden);
                    for (slope, &value) in of_hidden.iter_mut().zip(&kept.hidden) {
                        *slope = if value > 0.0 { *slope } else { 0.0 };
                    }
                    let mut of_means = vec![0.0; sizes.batch * c];
                    products::input_slope(tier, &of_hidden, s, down, &mut of_means);
                    let share = 1.0 / sizes.frames as f32;
                    of_means.iter_mut().for_each(|slope| *slope *= share);
                    let mut of_w = vec![0.0; w.len()];
                    let (of_down, rest) = of_w.split_at_mut(s * c);
                    let (of_down_bias, rest) = rest.split_at_mut(s);
                    let (of_up, of_up_bias) = rest.split_at_mut(c * s);
                    products::weight_slope(tier, &of_hidden, s, &kept.means, c, of_down);
                    products::weight_slope(tier, &of_scale, c, &kept.hidden, s, of_up);
                    for (sums, rows) in [(of_down_bias, &of_hidden), (of_up_bias, &of_scale)] {
                        for row in rows.chunks_exact(sums.len()) {
                            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                        }
                    }
                    let mut of_x = vec![0.0; x.len()];
                    pooling::scaled(tier, sizes, slopes, &kept.scale, &of_means, &mut of_x);
                    Ok((of_x, of_w))
                })
            })
        })?;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(of_x, x.shape(), device)?),
            Some(Tensor::from_vec(of_w, w.shape(), device)?),
            Some(slopes.clone()),
        ))
    }
}
