//! A layer of convolution, activation and batch normalisation.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{Slopes, lent, locked, sizes, values};
use crate::ops::batch_norm::{EPSILON, MOMENTUM, count};
use crate::ops::blocks::{Activation, Norm, Tdnn};
use crate::ops::conv1d::Padding;
use crate::tdnn::norm::{Moments, VectorSlopes, activate, backward, backward_plain, normalise};
use crate::tdnn::pooling::Sizes;
use crate::tdnn::products;
use crate::tdnn::segments::Taps;
use crate::tier::Tier;

/// A layer of convolution, activation and perhaps batch normalisation: of the input (B, T, I), the weight (O, I, K) and, in
/// one row, its bias and the normalisation's weight and bias.
pub(in crate::ops) fn tdnn(x: &Tensor, layer: &Tdnn) -> Result<Tensor> {
    let pass = TdnnPass::new(sizes(x)?, layer, x.track_op())?;
    let (x, weight) = (x.contiguous()?, layer.weight.contiguous()?);
    let kept = Arc::clone(&pass.kept);
    let y = x.apply_op3(&weight, &vectors(layer)?, pass)?;
    if let Some(norm) = &layer.norm {
        follow(norm, &kept, count(&x)?.0)?;
    }
    Ok(y)
}

/// A layer's bias and, if it is normalised, the normalisation's weight and bias, in one row.
pub(super) fn vectors(layer: &Tdnn) -> Result<Tensor> {
    match &layer.norm {
        Some(Norm { weight, bias, .. }) => Tensor::cat(&[&layer.bias, weight, bias], 0),
        None => layer.bias.contiguous(),
    }
}

/// Moves the averages of `norm` to the statistics that a pass has kept, of `rows` rows.
pub(super) fn follow(norm: &Norm, kept: &Mutex<Kept>, rows: usize) -> Result<()> {
    let Moments { mean, variance, .. } = &locked(kept).moments;
    let device = norm.weight.device();
    let variance = Tensor::new(&variance[..], device)?.to_dtype(norm.weight.dtype())?;
    norm.running.follow(MOMENTUM, &Tensor::new(&mean[..], device)?, &variance, rows)
}

/// What the backward pass of a layer needs beside its input.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// After the activation, (B T, O).
    activated: Vec<f32>,
    moments: Moments,
}

pub(super) struct TdnnPass {
    sizes: Sizes,
    taps: Taps,
    outputs: usize,
    slope: f32,
    norm: bool,
    /// Whether the gradient of the input is asked for.
    wants: bool,
    pub(super) kept: Arc<Mutex<Kept>>,
}

impl TdnnPass {
    /// A pass of `layer` over activations of `sizes`.
    pub(super) fn new(sizes: Sizes, layer: &Tdnn, wants: bool) -> Result<Self> {
        let (outputs, inputs, count) = layer.weight.dims3()?;
        let fits = |tensor: &Tensor| tensor.dims() == [outputs];
        let norm = layer.norm.as_ref();
        if inputs != sizes.channels || !fits(&layer.bias) || !norm.is_none_or(|n| fits(&n.weight) && fits(&n.bias)) {
            let norm = norm.map(|norm| (norm.weight.dims(), norm.bias.dims()));
            bail!("a layer of {:?}, {:?} and {norm:?} on {sizes:?}", layer.weight.dims(), layer.bias.dims())
        }
        if norm.is_some() && sizes.batch * sizes.frames < 2 {
            bail!("batch normalisation of {sizes:?}: a channel has one value, 2 or more have a variance")
        }
        let taps = Taps { count, dilation: layer.form.dilation, mirrored: layer.form.padding == Padding::Reflect };
        let slope = match layer.activation {
            Activation::Relu => 0.0,
            Activation::LeakyRelu(slope) => slope as f32,
        };
        Ok(Self { sizes, taps, outputs, slope, norm: norm.is_some(), wants, kept: Arc::default() })
    }

    /// The segments of `x`; none where each frame is its own.
    fn segments(&self, x: &[f32]) -> Option<Vec<f32>> {
        let Sizes { frames, channels, .. } = self.sizes;
        (self.taps.count > 1).then(|| {
            let mut segments = vec![0.0; x.len() * self.taps.count];
            self.taps.gather(x, frames, channels, &mut segments);
            segments
        })
    }

    /// The weights as a matrix of the segments.
    fn matrix(&self, weight: &[f32]) -> Option<Vec<f32>> {
        (self.taps.count > 1).then(|| self.taps.matrix(weight, self.sizes.channels))
    }

    /// Values of a segment.
    fn depth(&self) -> usize {
        self.taps.count * self.sizes.channels
    }

    pub(super) fn forward(&self, x: &[f32], weight: &[f32], vectors: &[f32]) -> Vec<f32> {
        let tier = Tier::detect();
        let rows = self.sizes.batch * self.sizes.frames;
        let (segments, matrix) = (self.segments(x), self.matrix(weight));
        let mut z = vec![0.0; rows * self.outputs];
        let (bias, rest) = vectors.split_at(self.outputs);
        let (x, weight) = (segments.as_deref().unwrap_or(x), matrix.as_deref().unwrap_or(weight));
        products::forward(tier, x, self.depth(), weight, bias, &mut z);
        let moments = activate(tier, &mut z, self.outputs, self.slope, EPSILON);
        let y = if self.norm {
            let mut y = vec![0.0; z.len()];
            let (weight, bias) = rest.split_at(self.outputs);
            normalise(tier, &z, &moments, weight, bias, &mut y);
            y
        } else {
            z.clone()
        };
        *locked(&self.kept) = Kept { activated: z, moments };
        y
    }

    /// Gradients of the input (where asked for), the weight and the vectors.
    pub(super) fn backward(
        &self,
        x: &[f32],
        weight: &[f32],
        vectors: &[f32],
        dy: &[f32],
    ) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
        let tier = Tier::detect();
        let Sizes { frames, channels, .. } = self.sizes;
        let kept = locked(&self.kept);
        let mut dz = vec![0.0; dy.len()];
        let of_vectors = if self.norm {
            let scale = &vectors[self.outputs..2 * self.outputs];
            let VectorSlopes { offset, weight, bias } =
                backward(tier, &kept.activated, &kept.moments, scale, self.slope, dy, &mut dz);
            [offset, weight, bias].concat()
        } else {
            backward_plain(tier, &kept.activated, self.outputs, self.slope, dy, &mut dz)
        };
        drop(kept);
        let mut of_weight = vec![0.0; weight.len()];
        let segments = self.segments(x);
        let rows = segments.as_deref().unwrap_or(x);
        products::weight_slope(tier, &dz, self.outputs, rows, self.depth(), &mut of_weight);
        if self.taps.count > 1 {
            of_weight = self.taps.weight(&of_weight, channels);
        }
        let of_x = self.wants.then(|| {
            let matrix = self.matrix(weight);
            // The segments' memory takes their gradient.
            let mut slopes = segments.unwrap_or_else(|| vec![0.0; x.len()]);
            products::input_slope(tier, &dz, self.outputs, matrix.as_deref().unwrap_or(weight), &mut slopes);
            if self.taps.count == 1 {
                return slopes;
            }
            let mut of_x = vec![0.0; x.len()];
            self.taps.scatter(&slopes, frames, channels, &mut of_x);
            of_x
        });
        (of_x, of_weight, of_vectors)
    }
}

impl CustomOp3 for TdnnPass {
    fn name(&self) -> &'static str {
        "sv-tdnn"
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
        Ok((CpuStorage::F32(y), Shape::from((self.sizes.batch, self.sizes.frames, self.outputs))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, v: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        let (of_x, of_w, of_v) = lent(x, |x_values| {
            lent(w, |w| lent(v, |v| lent(slopes, |slopes| Ok(self.backward(x_values, w, v, slopes)))))
        })?;
        let device = x.device();
        Ok((
            of_x.map(|of_x| Tensor::from_vec(of_x, x.shape(), device)).transpose()?,
            Some(Tensor::from_vec(of_w, w.shape(), device)?),
            Some(Tensor::from_vec(of_v, v.shape(), device)?),
        ))
    }
}
