//! The basic block of a residual network: what lies between its layers is kept here and never passes through candle.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{Slopes, lent, locked, values};
use crate::conv::train::{Sizes, forward, input_slope, weight_slope};
use crate::ops::conv2d::sizes;
use crate::ops::norm_add::check_norm;
use crate::ops::residual::{BasicBlock, ImageLayer};
use crate::tdnn::norm::Moments;
use crate::tdnn::shortcut;
use crate::tier::Tier;

/// A basic block: see [`crate::ops::basic_block`].
pub(in crate::ops) fn basic_block(x: &Tensor, block: &BasicBlock) -> Result<Tensor> {
    let layers: Vec<&ImageLayer> =
        [Some(&block.first), Some(&block.second), block.shortcut.as_ref()].into_iter().flatten().collect();
    let (b, t, f, i) = x.dims4()?;
    let first = sizes([b, t, f, i], &block.first.weight, block.first.form)?;
    let [t1, f1] = first.given;
    let second = sizes([b, t1, f1, first.outputs], &block.second.weight, block.second.form)?;
    let beside = block.shortcut.as_ref().map(|layer| sizes([b, t, f, i], &layer.weight, layer.form)).transpose()?;
    let (given, outputs) = beside.map_or(([t, f], i), |beside| (beside.given, beside.outputs));
    if (given, outputs) != (second.given, second.outputs) {
        bail!("a shortcut of {given:?} and {outputs} channels around {:?} and {}", second.given, second.outputs)
    }
    let all = [Some(first), Some(second), beside];
    for (layer, sizes) in layers.iter().zip(all.into_iter().flatten()) {
        check_norm(&layer.norm, sizes.rows(), sizes.outputs, block.slope)?;
    }
    let flat = |layer: &&ImageLayer| layer.weight.flatten_all();
    let weights = Tensor::cat(&layers.iter().map(flat).collect::<Result<Vec<_>>>()?, 0)?;
    let vectors: Vec<&Tensor> = layers.iter().flat_map(|layer| [&layer.norm.weight, &layer.norm.bias]).collect();
    let vectors = Tensor::cat(&vectors, 0)?;
    let pass = BlockPass {
        first,
        second,
        beside,
        epsilon: block.norms.epsilon,
        slope: block.slope as f32,
        wants: x.track_op(),
        kept: Arc::default(),
    };
    let kept = Arc::clone(&pass.kept);
    let y = x.contiguous()?.apply_op3(&weights.contiguous()?, &vectors.contiguous()?, pass)?;
    let kept = locked(&kept);
    let moments = [&kept.first.moments, &kept.second.moments, &kept.beside.moments];
    for ((layer, sizes), Moments { mean, variance, .. }) in layers.iter().zip(all.into_iter().flatten()).zip(moments) {
        let mean = Tensor::new(&mean[..], x.device())?;
        let variance = Tensor::new(&variance[..], x.device())?.to_dtype(x.dtype())?;
        layer.norm.running.follow(block.norms.momentum, &mean, &variance, sizes.rows())?;
    }
    drop(kept);
    Ok(y)
}

/// What the backward pass of a layer needs.
#[derive(Debug, Default)]
struct Layer {
    /// What the convolution gave (rows, O).
    z: Vec<f32>,
    moments: Moments,
}

#[derive(Debug, Default)]
struct Kept {
    first: Layer,
    /// The first layer's output.
    inner: Vec<f32>,
    second: Layer,
    beside: Layer,
}

struct BlockPass {
    first: Sizes,
    second: Sizes,
    beside: Option<Sizes>,
    epsilon: f64,
    slope: f32,
    /// Whether the gradient of the input is asked for.
    wants: bool,
    kept: Arc<Mutex<Kept>>,
}

/// The parts that stand in `values`, first, second and beside, of the lengths that `of` gives.
fn split<'a>(pass: &BlockPass, values: &'a [f32], of: impl Fn(Sizes) -> usize) -> [&'a [f32]; 3] {
    let (first, rest) = values.split_at(of(pass.first));
    let (second, beside) = rest.split_at(of(pass.second));
    [first, second, beside]
}

/// Weight and bias of a normalisation.
fn halves(vectors: &[f32]) -> [&[f32]; 2] {
    let (weight, bias) = vectors.split_at(vectors.len() / 2);
    [weight, bias]
}

impl BlockPass {
    /// A convolution and the statistics of what it gives.
    fn layer(&self, sizes: Sizes, x: &[f32], weight: &[f32]) -> Layer {
        let z = forward(Tier::detect(), sizes, x, weight);
        let moments = shortcut::moments(Tier::detect(), &z, sizes.outputs, self.epsilon);
        Layer { z, moments }
    }

    fn forward(&self, x: &[f32], weights: &[f32], vectors: &[f32]) -> Vec<f32> {
        let tier = Tier::detect();
        let [w1, w2, w3] = split(self, weights, Sizes::weights);
        let [v1, v2, v3] = split(self, vectors, |sizes| 2 * sizes.outputs).map(halves);
        let first = self.layer(self.first, x, w1);
        let inner = shortcut::forward(tier, &first.z, &first.moments, v1, None, self.slope);
        let second = self.layer(self.second, &inner, w2);
        let (beside, y) = match self.beside {
            Some(sizes) => {
                let beside = self.layer(sizes, x, w3);
                let added = shortcut::forward(tier, &beside.z, &beside.moments, v3, None, 1.0);
                let y = shortcut::forward(tier, &second.z, &second.moments, v2, Some(&added), self.slope);
                (beside, y)
            }
            None => (Layer::default(), shortcut::forward(tier, &second.z, &second.moments, v2, Some(x), self.slope)),
        };
        *locked(&self.kept) = Kept { first, inner, second, beside };
        y
    }

    /// Gradients of the input (where asked for), the weights and the vectors.
    fn backward(
        &self,
        x: &[f32],
        weights: &[f32],
        vectors: &[f32],
        [y, dy]: [&[f32]; 2],
    ) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
        let tier = Tier::detect();
        let Kept { first, inner, second, beside } = &*locked(&self.kept);
        let [w1, w2, w3] = split(self, weights, Sizes::weights);
        let [v1, v2, v3] = split(self, vectors, |sizes| 2 * sizes.outputs).map(halves);
        let mut of = shortcut::backward(tier, &second.z, &second.moments, v2[0], self.slope, [y, dy], true);
        let mut added = of.shortcut.take().unwrap_or_default();
        let second_weight = weight_slope(tier, self.second, &of.z, inner);
        let second_vectors = [of.weight, of.bias].concat();
        let of_inner = input_slope(tier, self.second, &of.z, w2, None);
        drop(of.z);
        let of = shortcut::backward(tier, &first.z, &first.moments, v1[0], self.slope, [inner, &of_inner], false);
        drop(of_inner);
        let mut of_weights = weight_slope(tier, self.first, &of.z, x);
        let mut of_vectors = [of.weight, of.bias].concat();
        of_weights.extend(second_weight);
        of_vectors.extend(second_vectors);
        if let Some(sizes) = self.beside {
            let of = shortcut::backward(tier, &beside.z, &beside.moments, v3[0], 1.0, [&added, &added], false);
            of_weights.extend(weight_slope(tier, sizes, &of.z, x));
            of_vectors.extend([of.weight, of.bias].concat());
            added = if self.wants { input_slope(tier, sizes, &of.z, w3, None) } else { Vec::new() };
        }
        let of_x = self.wants.then(|| input_slope(tier, self.first, &of.z, w1, Some(&added)));
        (of_x, of_weights, of_vectors)
    }
}

impl CustomOp3 for BlockPass {
    fn name(&self) -> &'static str {
        "sv-basic-block"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(values(x, lx)?, values(w, lw)?, values(v, lv)?);
        let Sizes { batch, outputs, given: [t, f], .. } = self.second;
        Ok((CpuStorage::F32(y), Shape::from((batch, t, f, outputs))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, v: &Tensor, y: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        let (of_x, of_w, of_v) = lent(x, |x| {
            lent(w, |w| lent(v, |v| lent(y, |y| lent(slopes, |slopes| Ok(self.backward(x, w, v, [y, slopes]))))))
        })?;
        let device = x.device();
        Ok((
            of_x.map(|of_x| Tensor::from_vec(of_x, x.shape(), device)).transpose()?,
            Some(Tensor::from_vec(of_w, w.shape(), device)?),
            Some(Tensor::from_vec(of_v, v.shape(), device)?),
        ))
    }
}
