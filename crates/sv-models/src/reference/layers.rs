//! The layers that the networks share.

use crate::encoders::ecapa::{Deviation, Divisor};
use crate::encoders::{BATCH_NORM_EPSILON, Padding};
use crate::weights::Weights;

/// (C, T), row-major.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) channels: usize,
    pub(super) frames: usize,
    pub(super) values: Vec<f64>,
}

impl Map {
    pub(super) fn zeros(channels: usize, frames: usize) -> Self {
        Self { channels, frames, values: vec![0.0; channels * frames] }
    }

    /// The values of one channel over time.
    pub(super) fn row(&self, channel: usize) -> &[f64] {
        &self.values[channel * self.frames..][..self.frames]
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.frames)
    }

    pub(super) fn each(mut self, function: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|value| *value = function(*value));
        self
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| *value += other);
        self
    }

    /// The channels of `parts`, one after another.
    pub(super) fn stacked(parts: &[Self]) -> Self {
        let values = parts.iter().flat_map(|part| part.values.iter().copied()).collect();
        Self { channels: parts.iter().map(|part| part.channels).sum(), frames: parts[0].frames, values }
    }

    /// `count` channels from `first` on.
    pub(super) fn part(&self, first: usize, count: usize) -> Self {
        let values = self.values[first * self.frames..][..count * self.frames].to_vec();
        Self { channels: count, frames: self.frames, values }
    }
}

/// max(x, 0).
pub(super) fn relu(x: f64) -> f64 {
    x.max(0.0)
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A convolution over time with bias, stride 1, as many frames out as in.
pub(super) fn conv1d(weights: &Weights, name: &str, input: &Map, dilation: usize, padding: Padding) -> Map {
    let weight = weights.get(&format!("{name}.weight"));
    let bias = weights.get(&format!("{name}.bias"));
    let [outputs, inputs, kernel] = weight.shape[..] else { unreachable!("{name} is no convolution over time") };
    let frames = input.frames;
    let side = dilation * (kernel - 1) / 2;
    let padded = padded(input, side, padding);
    let mut out = Map::zeros(outputs, frames);
    for (o, row) in out.values.chunks_exact_mut(frames).enumerate() {
        row.fill(f64::from(bias.values[o]));
        for i in 0..inputs {
            for k in 0..kernel {
                let factor = f64::from(weight.values[(o * inputs + i) * kernel + k]);
                let source = &padded.row(i)[k * dilation..][..frames];
                row.iter_mut().zip(source).for_each(|(out, value)| *out += factor * value);
            }
        }
    }
    out
}

/// `side` frames more at each end.
fn padded(input: &Map, side: usize, padding: Padding) -> Map {
    let frames = input.frames;
    let mut out = Map::zeros(input.channels, frames + 2 * side);
    for (row, source) in out.values.chunks_exact_mut(frames + 2 * side).zip(input.rows()) {
        row[side..side + frames].copy_from_slice(source);
        if padding == Padding::Reflect {
            for t in 0..side {
                row[side - 1 - t] = source[1 + t];
                row[side + frames + t] = source[frames - 2 - t];
            }
        }
    }
    out
}

/// y = W x + b for one vector.
pub(super) fn linear(weights: &Weights, name: &str, input: &[f64]) -> Vec<f64> {
    let weight = weights.get(&format!("{name}.weight"));
    let bias = weights.get(&format!("{name}.bias"));
    let row = |(row, &bias): (&[f32], &f32)| {
        row.iter().zip(input).fold(f64::from(bias), |sum, (&weight, value)| sum + f64::from(weight) * value)
    };
    weight.values.chunks_exact(input.len()).zip(&bias.values).map(row).collect()
}

/// A batch norm outside training: (x - running mean) / sqrt(running variance + epsilon) * weight + bias, channel by channel of
/// `values` (C, anything).
pub(super) fn batch_norm(weights: &Weights, name: &str, values: &mut [f64]) {
    batch_norm_with(BATCH_NORM_EPSILON, weights, name, values);
}

/// The same with another epsilon.
pub(super) fn batch_norm_with(epsilon: f64, weights: &Weights, name: &str, values: &mut [f64]) {
    let part = |part: &str| &weights.get(&format!("{name}.{part}")).values;
    let (weight, bias, mean, variance) = (part("weight"), part("bias"), part("running_mean"), part("running_var"));
    let size = values.len() / weight.len();
    for (c, row) in values.chunks_exact_mut(size).enumerate() {
        let factor = f64::from(weight[c]) / (f64::from(variance[c]) + epsilon).sqrt();
        row.iter_mut().for_each(|x| *x = (*x - f64::from(mean[c])) * factor + f64::from(bias[c]));
    }
}

pub(super) fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

/// Deviation of a channel over time.
pub(super) fn deviation(row: &[f64], rule: Deviation) -> f64 {
    let mean = mean(row);
    let squares: f64 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
    let divisor = match rule.divisor {
        Divisor::Population => row.len() as f64,
        Divisor::Sample => row.len() as f64 - 1.0,
    };
    rule.floor.root(squares / divisor)
}

/// Means of all channels, then their deviations: (2 C).
pub(super) fn statistics(input: &Map, rule: Deviation) -> Vec<f64> {
    input.rows().map(mean).chain(input.rows().map(|row| deviation(row, rule))).collect()
}
