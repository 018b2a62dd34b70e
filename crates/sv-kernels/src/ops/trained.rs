//! The operations of networks on the kernels of this crate, each with its own backward pass: f32 on the CPU.
//!
//! candle has no place for what a forward pass keeps, so an operation, made anew for each call, holds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Storage, Tensor, bail};

use super::batch_norm::{EPSILON, count};
use super::blocks::{Activation, Norm, Squeeze, Tdnn};
use super::conv1d::Padding;
use super::pooling::{Deviation, Divisor, Floor};
use crate::tdnn::norm::{Moments, VectorSlopes, activate, backward, backward_plain, normalise};
use crate::tdnn::pooling::{self, MomentSlopes, Sizes};
use crate::tdnn::products;
use crate::tdnn::segments::Taps;
use crate::tier::Tier;

/// A lock that a panic elsewhere does not keep: what it guards is written whole before it is read.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a contiguous f32 tensor on the CPU.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (_, None) => Err(Error::RequiresContiguous { op: "sv-tdnn" }),
        _ => bail!("an operation on kernels takes f32"),
    }
}

/// Lends the values of a tensor.
fn lent<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(values(storage, layout)?),
        _ => bail!("an operation on kernels takes tensors on the CPU"),
    }
}

fn sizes(x: &Tensor) -> Result<Sizes> {
    let (batch, frames, channels) = x.dims3()?;
    Ok(Sizes { batch, frames, channels })
}

/// A layer of convolution, activation and perhaps batch normalisation: of the input (B, T, I), the weight (O, I, K) and, in
/// one row, its bias and the normalisation's weight and bias.
pub(super) fn tdnn(x: &Tensor, layer: &Tdnn) -> Result<Tensor> {
    let sizes = sizes(x)?;
    let (outputs, inputs, taps) = layer.weight.dims3()?;
    let mirrored = layer.form.padding == Padding::Reflect;
    let taps = Taps { count: taps, dilation: layer.form.dilation, mirrored };
    if inputs != sizes.channels || layer.bias.dims() != [outputs] {
        bail!("a layer of {:?} and {:?} on {:?}", layer.weight.dims(), layer.bias.dims(), x.dims())
    }
    let slope = match layer.activation {
        Activation::Relu => 0.0,
        Activation::LeakyRelu(slope) => slope as f32,
    };
    let kept = Arc::new(Mutex::new(Kept::default()));
    let pass = TdnnPass { sizes, taps, outputs, slope, norm: layer.norm.is_some(), wants: x.track_op(), kept };
    let kept = Arc::clone(&pass.kept);
    let (x, weight) = (x.contiguous()?, layer.weight.contiguous()?);
    let Some(Norm { weight: scale, bias, running }) = &layer.norm else {
        return x.apply_op3(&weight, &layer.bias.contiguous()?, pass);
    };
    let (rows, _) = count(&x)?;
    let vectors = Tensor::cat(&[&layer.bias, scale, bias], 0)?;
    if vectors.dims() != [3 * outputs] {
        bail!("batch normalisation by {:?} and {:?} after {outputs} channels", scale.dims(), bias.dims())
    }
    let y = x.apply_op3(&weight, &vectors, pass)?;
    let Moments { mean, variance, .. } = &locked(&kept).moments;
    let variance = Tensor::new(&variance[..], y.device())?.to_dtype(y.dtype())?;
    running.follow(&Tensor::new(&mean[..], y.device())?, &variance, rows)?;
    Ok(y)
}

/// What the backward pass of a layer needs beside its input.
#[derive(Debug, Default)]
struct Kept {
    /// After the activation, (B T, O).
    activated: Vec<f32>,
    moments: Moments,
}

struct TdnnPass {
    sizes: Sizes,
    taps: Taps,
    outputs: usize,
    slope: f32,
    norm: bool,
    /// Whether the gradient of the input is asked for.
    wants: bool,
    kept: Arc<Mutex<Kept>>,
}

impl TdnnPass {
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

    fn forward(&self, x: &[f32], weight: &[f32], vectors: &[f32]) -> Vec<f32> {
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
    fn backward(
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

/// Three gradients.
type Slopes = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

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

/// `residual + se(x)`, see [`super::se_scale`]: of x (B, T, C), the squeeze's weights in one row, and what is added.
pub(super) fn squeezed(x: &Tensor, squeeze: &Squeeze, residual: &Tensor) -> Result<Tensor> {
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

/// Mean and deviation over time, (B, 2C): see [`super::statistics`].
pub(super) fn statistics(x: &Tensor, form: Deviation) -> Result<Tensor> {
    let sizes = sizes(x)?;
    let lost = usize::from(form.divisor == Divisor::FramesLessOne);
    if sizes.frames <= lost || sizes.batch == 0 {
        bail!("{} rows of {} frames; a deviation needs {}", sizes.batch, sizes.frames, lost + 1)
    }
    let scale = sizes.frames as f32 / (sizes.frames - lost) as f32;
    let pass = MomentsPass { sizes, scale, floor: form.floor, offset: form.offset as f32, kept: Mutex::default() };
    x.contiguous()?.apply_op1(pass)
}

/// Mean and deviation under attention, (B, 2C): see [`super::attentive_stats`].
pub(super) fn attentive(x: &Tensor, logits: &Tensor, floor: Floor) -> Result<Tensor> {
    let sizes = sizes(x)?;
    if x.dims() != logits.dims() || sizes.batch == 0 || sizes.frames == 0 {
        bail!("attentive statistics of {:?} with logits of {:?}", x.dims(), logits.dims())
    }
    let pass = MomentsPass { sizes, scale: 1.0, floor, offset: 0.0, kept: Mutex::default() };
    x.contiguous()?.apply_op2(&logits.contiguous()?, pass)
}

/// What a pass over moments keeps: the attention (B, T, C), if there is one, mean and variance (B, C).
#[derive(Debug, Default)]
struct KeptMoments {
    attention: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

struct MomentsPass {
    sizes: Sizes,
    /// Factor of the variance: T over what divides.
    scale: f32,
    floor: Floor,
    /// Added to the root.
    offset: f32,
    kept: Mutex<KeptMoments>,
}

impl MomentsPass {
    /// The deviation of a variance, and the slope of the one in the other.
    fn deviation(&self, variance: f32) -> (f32, f32) {
        let variance = variance * self.scale;
        let (under, moves) = match self.floor {
            Floor::AtLeast(least) if variance < least as f32 => (least as f32, false),
            Floor::AtLeast(_) => (variance, true),
            Floor::Plus(epsilon) => (variance + epsilon as f32, true),
        };
        let root = under.sqrt();
        (root + self.offset, if moves { 0.5 * self.scale / root } else { 0.0 })
    }

    fn forward(&self, x: &[f32], attention: Vec<f32>) -> (CpuStorage, Shape) {
        let Sizes { batch, channels, .. } = self.sizes;
        let (mut mean, mut variance) = (vec![0.0; batch * channels], vec![0.0; batch * channels]);
        let weights = (!attention.is_empty()).then_some(&attention[..]);
        pooling::moments(Tier::detect(), self.sizes, x, weights, &mut mean, &mut variance);
        let mut out = Vec::with_capacity(2 * batch * channels);
        for (mean, variance) in mean.chunks_exact(channels).zip(variance.chunks_exact(channels)) {
            out.extend_from_slice(mean);
            out.extend(variance.iter().map(|&variance| self.deviation(variance).0));
        }
        *locked(&self.kept) = KeptMoments { attention, mean, variance };
        (CpuStorage::F32(out), Shape::from((batch, 2 * channels)))
    }

    /// The gradients of mean and variance from those of the result.
    fn split(&self, kept: &KeptMoments, slopes: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let channels = self.sizes.channels;
        let (mut of_mean, mut of_variance) = (Vec::new(), Vec::new());
        for (row, variance) in slopes.chunks_exact(2 * channels).zip(kept.variance.chunks_exact(channels)) {
            of_mean.extend_from_slice(&row[..channels]);
            of_variance.extend(row[channels..].iter().zip(variance).map(|(slope, &v)| slope * self.deviation(v).1));
        }
        (of_mean, of_variance)
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
