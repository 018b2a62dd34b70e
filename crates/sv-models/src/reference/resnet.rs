//! Residual networks.

use super::layers::{Map, batch_norm, linear, relu, statistics};
use crate::encoders::ecapa::{Deviation, Divisor, Floor};
use crate::encoders::resnet::ResNetConfig;
use crate::weights::Weights;

/// (C, rows, columns): channels, frequency, time.
#[derive(Clone)]
struct Image {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

pub(super) fn embed(
    config: &ResNetConfig,
    weights: &Weights,
    features: &Map,
    tap: &mut dyn FnMut(&str, &[f64]),
) -> Vec<f64> {
    let input = Image { rows: features.channels, columns: features.frames, values: features.values.clone() };
    let mut x = conv2d(weights, "stem.conv", &input, 1);
    batch_norm(weights, "stem.norm", &mut x.values);
    tap("stem.norm", &x.values);
    x.values.iter_mut().for_each(|value| *value = relu(*value));
    for (stage, &blocks) in config.blocks.iter().enumerate() {
        for block in 0..blocks {
            x = basic_block(config, weights, &x, stage, block);
            tap(&format!("stages.{stage}.{block}"), &x.values);
        }
        tap(&format!("stages.{stage}"), &x.values);
    }
    let floor = Floor::Plus(config.form.variance_offset());
    let map = Map { channels: x.values.len() / x.columns, frames: x.columns, values: x.values };
    let pooled = statistics(&map, Deviation { divisor: Divisor::Sample, floor });
    tap("pool", &pooled);
    linear(weights, "embedding", &pooled)
}

fn basic_block(config: &ResNetConfig, weights: &Weights, x: &Image, stage: usize, block: usize) -> Image {
    let name = |part: &str| format!("stages.{stage}.{block}.{part}");
    let stride = config.stride(stage, block);
    let mut y = conv2d(weights, &name("conv1"), x, stride);
    batch_norm(weights, &name("norm1"), &mut y.values);
    y.values.iter_mut().for_each(|value| *value = relu(*value));
    y = conv2d(weights, &name("conv2"), &y, 1);
    batch_norm(weights, &name("norm2"), &mut y.values);
    let shortcut = if config.projects(stage, block) {
        let mut projected = conv2d(weights, &name("shortcut.conv"), x, stride);
        batch_norm(weights, &name("shortcut.norm"), &mut projected.values);
        projected
    } else {
        x.clone()
    };
    y.values.iter_mut().zip(&shortcut.values).for_each(|(value, other)| *value = relu(*value + other));
    y
}

/// A convolution without bias, (kernel - 1) / 2 zeros beyond each edge.
fn conv2d(weights: &Weights, name: &str, input: &Image, stride: usize) -> Image {
    let weight = weights.get(&format!("{name}.weight"));
    let [outputs, inputs, kernel, _] = weight.shape[..] else { unreachable!("{name} is no convolution of images") };
    let side = (kernel - 1) / 2;
    let (rows, columns) = (input.rows.div_ceil(stride), input.columns.div_ceil(stride));
    let mut out = Image { rows, columns, values: vec![0.0; outputs * rows * columns] };
    for (index, target) in out.values.chunks_exact_mut(columns).enumerate() {
        let (o, row) = (index / rows, index % rows);
        for i in 0..inputs {
            for kr in 0..kernel {
                // Row and column of the input that this tap sees, where there is one.
                let Some(from) = (row * stride + kr).checked_sub(side).filter(|&from| from < input.rows) else {
                    continue;
                };
                let source = &input.values[(i * input.rows + from) * input.columns..][..input.columns];
                for kc in 0..kernel {
                    let factor = f64::from(weight.values[((o * inputs + i) * kernel + kr) * kernel + kc]);
                    for (column, out) in target.iter_mut().enumerate() {
                        let seen = (column * stride + kc).checked_sub(side).and_then(|at| source.get(at));
                        *out += factor * seen.copied().unwrap_or(0.0);
                    }
                }
            }
        }
    }
    out
}
