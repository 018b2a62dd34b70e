//! Pooling by attention over frames that are told the statistics of their utterance, as one operation: its input is as large as
//! anything in the network, and each operation by itself would read and write it, and its gradient, anew.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::layer::{Kept, follow};
use super::moments::Root;
use super::{lent, locked, sizes, values};
use crate::math;
use crate::ops::batch_norm::EPSILON;
use crate::ops::blocks::AttentivePooling;
use crate::tdnn::norm::{self, VectorSlopes};
use crate::tdnn::pooling::{self, MomentSlopes, Sizes};
use crate::tdnn::products;
use crate::tier::Tier;

/// See [`crate::ops::attentive_pooling`].
pub(in crate::ops) fn attentive_pooling(x: &Tensor, pooling: &AttentivePooling) -> Result<Tensor> {
    let sizes = sizes(x)?;
    let (inner, _) = pooling.told.0.dims2()?;
    let vector = |tensor: &Tensor, length: usize| tensor.dims() == [length];
    let norm = pooling.norm.as_ref();
    let fits = vector(&pooling.told.1, inner)
        && pooling.logits.0.dims() == [sizes.channels, inner]
        && vector(&pooling.logits.1, sizes.channels)
        && norm.is_none_or(|norm| vector(&norm.weight, inner) && vector(&norm.bias, inner));
    if !fits || sizes.channels == 0 || inner == 0 {
        let [told, logits] = [&pooling.told, &pooling.logits].map(|(weight, bias)| (weight.dims(), bias.dims()));
        bail!("attention of {told:?} and {logits:?} on {sizes:?}")
    }
    let context = Root::new(pooling.context, sizes)?;
    let rows = sizes.batch * sizes.frames;
    if norm.is_some() && rows < 2 {
        bail!("batch normalisation of {sizes:?}: a channel has one value, 2 or more have a variance")
    }
    let mut parts = vec![&pooling.told.0, &pooling.told.1, &pooling.logits.0, &pooling.logits.1];
    parts.extend(norm.into_iter().flat_map(|norm| [&norm.weight, &norm.bias]));
    let flat = Tensor::cat(&parts.into_iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?, 0)?;
    let pass = AttentionPass {
        sizes,
        inner,
        norm: norm.is_some(),
        context,
        pooled: Root::floored(pooling.floor),
        kept: Mutex::default(),
        hidden: Arc::default(),
    };
    let hidden = Arc::clone(&pass.hidden);
    let y = x.contiguous()?.apply_op2(&flat, pass)?;
    if let Some(norm) = norm {
        follow(norm, &hidden, rows)?;
    }
    Ok(y)
}

/// What the forward pass keeps beside its input.
#[derive(Debug, Default)]
struct KeptAttention {
    /// Plain mean and variance, (B, C) each.
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// After tanh, (B T, A).
    bent: Vec<f32>,
    /// (B, T, C)
    attention: Vec<f32>,
    /// Under the attention, (B, C) each.
    pooled_mean: Vec<f32>,
    pooled_variance: Vec<f32>,
}

/// The weights, each a part of one row. The columns of what a frame is told: its own (A, C), and those alike for all of its
/// utterance (A, 2C).
struct Weights<'a> {
    own: Vec<f32>,
    alike: Vec<f32>,
    told_bias: &'a [f32],
    logits: &'a [f32],
    logits_bias: &'a [f32],
    norm: Option<(&'a [f32], &'a [f32])>,
}

struct AttentionPass {
    sizes: Sizes,
    /// A.
    inner: usize,
    norm: bool,
    context: Root,
    pooled: Root,
    kept: Mutex<KeptAttention>,
    hidden: Arc<Mutex<Kept>>,
}

impl AttentionPass {
    fn weights<'a>(&self, flat: &'a [f32]) -> Weights<'a> {
        let (c, a) = (self.sizes.channels, self.inner);
        let (told, rest) = flat.split_at(3 * c * a);
        let (told_bias, rest) = rest.split_at(a);
        let (logits, rest) = rest.split_at(c * a);
        let (logits_bias, rest) = rest.split_at(c);
        let columns =
            |from: usize, to: usize| told.chunks_exact(3 * c).flat_map(|row| &row[from..to]).copied().collect();
        let norm = self.norm.then(|| rest.split_at(a));
        Weights { own: columns(0, c), alike: columns(c, 3 * c), told_bias, logits, logits_bias, norm }
    }

    /// The sizes of the attention's inner activations.
    fn inner_sizes(&self) -> Sizes {
        Sizes { channels: self.inner, ..self.sizes }
    }

    fn forward(&self, x: &[f32], flat: &[f32]) -> Vec<f32> {
        let (tier, sizes, inner) = (Tier::detect(), self.sizes, self.inner);
        let (channels, rows) = (sizes.channels, sizes.batch * sizes.frames);
        let weights = self.weights(flat);
        let vectors = || (vec![0.0; sizes.batch * channels], vec![0.0; sizes.batch * channels]);
        let (mut mean, mut variance) = vectors();
        pooling::moments(tier, sizes, x, None, &mut mean, &mut variance);
        let told = self.context.joined(&mean, &variance, channels);
        let mut alike = vec![0.0; sizes.batch * inner];
        products::forward(tier, &told, 2 * channels, &weights.alike, weights.told_bias, &mut alike);
        let mut hidden = vec![0.0; rows * inner];
        products::forward(tier, x, channels, &weights.own, &[], &mut hidden);
        for (hidden, alike) in hidden.chunks_exact_mut(sizes.frames * inner).zip(alike.chunks_exact(inner)) {
            for row in hidden.chunks_exact_mut(inner) {
                row.iter_mut().zip(alike).for_each(|(value, alike)| *value += alike);
            }
        }
        let mut bent = match weights.norm {
            Some((weight, bias)) => {
                let moments = norm::activate(tier, &mut hidden, inner, 0.0, EPSILON);
                let mut bent = vec![0.0; hidden.len()];
                norm::normalise(tier, &hidden, &moments, weight, bias, &mut bent);
                *locked(&self.hidden) = Kept { activated: hidden, moments };
                bent
            }
            None => hidden,
        };
        bent.par_chunks_mut(sizes.frames * inner).for_each(|bent| math::tanh(tier, bent));
        let mut attention = vec![0.0; x.len()];
        products::forward(tier, &bent, inner, weights.logits, weights.logits_bias, &mut attention);
        pooling::softmax(tier, sizes, &mut attention);
        let (mut pooled_mean, mut pooled_variance) = vectors();
        pooling::moments(tier, sizes, x, Some(&attention), &mut pooled_mean, &mut pooled_variance);
        let out = self.pooled.joined(&pooled_mean, &pooled_variance, channels);
        *locked(&self.kept) = KeptAttention { mean, variance, bent, attention, pooled_mean, pooled_variance };
        out
    }

    /// Gradients of the input and of the weights.
    fn backward(&self, x: &[f32], flat: &[f32], slopes: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (tier, sizes, inner) = (Tier::detect(), self.sizes, self.inner);
        let (channels, batch) = (sizes.channels, sizes.batch);
        let (kept, weights) = (locked(&self.kept), self.weights(flat));
        let (of_mean, of_variance) = self.pooled.split(&kept.pooled_variance, slopes, channels);
        let moments = MomentSlopes {
            mean: &kept.pooled_mean,
            variance: &kept.pooled_variance,
            of_mean: &of_mean,
            of_variance: &of_variance,
        };
        let (mut of_x, mut of_logits) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        pooling::weighted_backward(tier, sizes, x, &kept.attention, moments, &mut of_x, &mut of_logits);

        let mut of_flat = vec![0.0; flat.len()];
        let (of_told, rest) = of_flat.split_at_mut(3 * channels * inner);
        let (of_told_bias, rest) = rest.split_at_mut(inner);
        let (of_logits_weight, rest) = rest.split_at_mut(channels * inner);
        let (of_logits_bias, of_norm) = rest.split_at_mut(channels);

        products::weight_slope(tier, &of_logits, channels, &kept.bent, inner, of_logits_weight);
        summed(tier, sizes, &of_logits, of_logits_bias);
        let mut of_hidden = vec![0.0; kept.bent.len()];
        products::input_slope(tier, &of_logits, channels, weights.logits, &mut of_hidden);
        of_hidden.par_iter_mut().zip(&kept.bent).for_each(|(slope, &bent)| *slope *= 1.0 - bent * bent);
        if let Some((weight, _)) = weights.norm {
            let hidden = locked(&self.hidden);
            let mut before = vec![0.0; of_hidden.len()];
            let VectorSlopes { weight, bias, .. } =
                norm::backward(tier, &hidden.activated, &hidden.moments, weight, 0.0, &of_hidden, &mut before);
            of_norm[..inner].copy_from_slice(&weight);
            of_norm[inner..].copy_from_slice(&bias);
            of_hidden = before;
        }

        let mut of_alike = vec![0.0; batch * inner];
        pooling::sums(tier, self.inner_sizes(), &of_hidden, None, &mut of_alike);
        for row in of_alike.chunks_exact(inner) {
            of_told_bias.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
        let told = self.context.joined(&kept.mean, &kept.variance, channels);
        let (mut of_own, mut of_context) = (vec![0.0; channels * inner], vec![0.0; 2 * channels * inner]);
        products::weight_slope(tier, &of_hidden, inner, x, channels, &mut of_own);
        products::weight_slope(tier, &of_alike, inner, &told, 2 * channels, &mut of_context);
        let parts = of_own.chunks_exact(channels).zip(of_context.chunks_exact(2 * channels));
        for (row, (own, context)) in of_told.chunks_exact_mut(3 * channels).zip(parts) {
            row[..channels].copy_from_slice(own);
            row[channels..].copy_from_slice(context);
        }

        // What the logits' gradient lay in takes what comes through the hidden values.
        let mut through = of_logits;
        products::input_slope(tier, &of_hidden, inner, &weights.own, &mut through);
        let mut of_context = vec![0.0; batch * 2 * channels];
        products::input_slope(tier, &of_alike, inner, &weights.alike, &mut of_context);
        let (of_mean, of_variance) = self.context.split(&kept.variance, &of_context, channels);
        let moments =
            MomentSlopes { mean: &kept.mean, variance: &kept.variance, of_mean: &of_mean, of_variance: &of_variance };
        pooling::backward(tier, sizes, x, moments, &mut through);
        of_x.par_iter_mut().zip(&through).for_each(|(sum, slope)| *sum += slope);
        (of_x, of_flat)
    }
}

/// Adds to `out` (C) the sums of `values` (B, T, C) over all frames.
fn summed(tier: Tier, sizes: Sizes, values: &[f32], out: &mut [f32]) {
    let mut rows = vec![0.0; sizes.batch * sizes.channels];
    pooling::sums(tier, sizes, values, None, &mut rows);
    for row in rows.chunks_exact(sizes.channels) {
        out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

impl CustomOp2 for AttentionPass {
    fn name(&self) -> &'static str {
        "sv-attentive-pooling"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.forward(values(x, lx)?, values(w, lw)?);
        Ok((CpuStorage::F32(out), Shape::from((self.sizes.batch, 2 * self.sizes.channels))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_w) = lent(x, |x| lent(w, |w| lent(slopes, |slopes| Ok(self.backward(x, w, slopes)))))?;
        let device = x.device();
        Ok((Some(Tensor::from_vec(of_x, x.shape(), device)?), Some(Tensor::from_vec(of_w, w.shape(), device)?)))
    }
}
