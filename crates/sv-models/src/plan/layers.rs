//! Layers as the kernels take them: batch norms folded, weights in the kernels' order.

use ndarray::ArrayView2;
use sv_kernels::conv::{Activation, Conv1d, Conv1dSizes, ConvWeights, Padding};
use sv_kernels::{KernelError, Tier};

use crate::encoders::ecapa::Floor;
use crate::encoders::{self, BATCH_NORM_EPSILON};
use crate::weights::Weights;

/// A batch norm outside training as a factor and an offset of each channel.
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

impl Affine {
    pub(super) fn batch_norm(weights: &Weights, name: &str) -> Self {
        Self::batch_norm_with(BATCH_NORM_EPSILON, weights, name)
    }

    /// The same with another epsilon.
    pub(super) fn batch_norm_with(epsilon: f64, weights: &Weights, name: &str) -> Self {
        let part = |part: &str| weights.get(&format!("{name}.{part}")).values.iter().map(|&value| f64::from(value));
        let scale: Vec<f64> = part("weight").zip(part("running_var")).map(|(w, v)| w / (v + epsilon).sqrt()).collect();
        let shift = part("bias")
            .zip(part("running_mean"))
            .zip(&scale)
            .map(|((bias, mean), scale)| bias - mean * scale)
            .collect();
        Self { scale, shift }
    }
}

impl Affine {
    /// The same for values that the running mean was subtracted from: where it is large beside the deviation, a product with
    /// the mean folded in would lose digits.
    pub(super) fn centred_batch_norm(weights: &Weights, name: &str) -> Self {
        let bias = weights.get(&format!("{name}.bias")).values.iter().map(|&value| f64::from(value));
        Self { shift: bias.collect(), ..Self::batch_norm(weights, name) }
    }
}

pub(super) fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// The convolution `name`, its activation, and the batch norm `norm` after it.
pub(super) fn conv1d(
    tier: Tier,
    weights: &Weights,
    name: &str,
    dilation: usize,
    activation: Activation,
    norm: Option<&str>,
) -> Result<Conv1d, KernelError> {
    let weight = weights.get(&format!("{name}.weight"));
    let [outputs, inputs, kernel] = weight.shape[..] else { unreachable!("{name} is no convolution over time") };
    let norm = norm.map(|norm| Affine::batch_norm(weights, norm));
    let (scale, shift) = norm.as_ref().map_or_else(Default::default, |norm| (narrow(&norm.scale), narrow(&norm.shift)));
    let arrays = ConvWeights {
        weight: &weight.values,
        bias: &weights.get(&format!("{name}.bias")).values,
        activation,
        affine: norm.as_ref().map(|_| (&scale[..], &shift[..])),
    };
    Conv1d::on_tier(tier, Conv1dSizes { inputs, outputs, kernel, dilation }, &arrays)
}

/// A linear layer between two affine maps: weight (outputs, inputs) and bias of `W (before.scale x + before.shift) + b`,
/// then `after`.
pub(super) fn folded(
    weights: &Weights,
    name: &str,
    before: Option<&Affine>,
    after: Option<&Affine>,
) -> (Vec<f32>, Vec<f32>) {
    let weight = weights.get(&format!("{name}.weight"));
    let inputs = weight.shape[1];
    let mut folded = Vec::with_capacity(weight.values.len());
    let mut offsets = Vec::with_capacity(weight.shape[0]);
    let bias = &weights.get(&format!("{name}.bias")).values;
    for (output, (row, &bias)) in weight.values.chunks_exact(inputs).zip(bias).enumerate() {
        let (factor, offset) = after.map_or((1.0, 0.0), |after| (after.scale[output], after.shift[output]));
        let mut sum = f64::from(bias);
        for (input, &value) in row.iter().enumerate() {
            let (scale, shift) = before.map_or((1.0, 0.0), |before| (before.scale[input], before.shift[input]));
            sum += f64::from(value) * shift;
            folded.push((f64::from(value) * scale * factor) as f32);
        }
        offsets.push((sum * factor + offset) as f32);
    }
    (folded, offsets)
}

/// The kernels' word for what lies beyond the ends.
pub(super) fn padding(padding: encoders::Padding) -> Padding {
    match padding {
        encoders::Padding::Reflect => Padding::Reflect,
        encoders::Padding::Zeros => Padding::Zero,
    }
}

/// Frames of padding on each side of what `conv` is given.
pub(super) fn side(conv: &Conv1d) -> usize {
    conv.sizes().reach() / 2
}

/// Writes `window` (T, F) into `signal`, row by row, behind room for `side` frames of padding.
pub(super) fn place(window: ArrayView2<'_, f32>, side: usize, signal: &mut [f32]) {
    let bins = window.ncols();
    for (row, values) in signal[side * bins..].chunks_exact_mut(bins).zip(window.rows()) {
        row.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
    }
}

/// Deviations from sums of squares over `divisor`, in place.
pub(super) fn root(floor: Floor, divisor: f64, squares: &mut [f32]) {
    squares.iter_mut().for_each(|value| *value = floor.root(f64::from(*value) / divisor) as f32);
}
