//! Residual networks.

use super::layers::{Map, batch_norm_with, linear, mean, statistics};
use crate::encoders::ecapa::{Deviation, Divisor, Floor};
use crate::encoders::resnet::{Axes, Pooling, ResNetConfig};
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
    let network = Network { config, weights };
    let input = Image { rows: features.channels, columns: features.frames, values: features.values.clone() };
    let mut x = network.convolved("stem.conv", "stem.norm", &input, config.form.stem_stride());
    tap("stem.norm", &x.values);
    x.values.iter_mut().for_each(|value| *value = network.activated(*value));
    tap("stem", &x.values);
    for (stage, &blocks) in config.blocks.iter().enumerate() {
        for block in 0..blocks {
            x = network.basic_block(&x, stage, block);
            tap(&format!("stages.{stage}.{block}"), &x.values);
        }
        tap(&format!("stages.{stage}"), &x.values);
    }
    let pooled = match config.form.pooling() {
        Pooling::Tstp { variance_offset } => {
            let floor = Floor::Plus(variance_offset);
            let map = Map { channels: x.values.len() / x.columns, frames: x.columns, values: x.values };
            statistics(&map, Deviation { divisor: Divisor::Sample, floor })
        }
        Pooling::Average => x.values.chunks_exact(x.rows * x.columns).map(mean).collect(),
    };
    tap("pool", &pooled);
    if config.form.has_linear_head() { linear(weights, "embedding", &pooled) } else { pooled }
}

struct Network<'a> {
    config: &'a ResNetConfig,
    weights: &'a Weights,
}

impl Network<'_> {
    fn activated(&self, x: f64) -> f64 {
        if x > 0.0 { x } else { self.config.form.slope() * x }
    }

    fn basic_block(&self, x: &Image, stage: usize, block: usize) -> Image {
        let name = |part: &str| format!("stages.{stage}.{block}.{part}");
        let stride = [self.config.stride(stage, block); 2];
        let mut y = self.convolved(&name("conv1"), &name("norm1"), x, stride);
        y.values.iter_mut().for_each(|value| *value = self.activated(*value));
        y = self.convolved(&name("conv2"), &name("norm2"), &y, [1, 1]);
        let shortcut = if self.config.projects(stage, block) {
            self.convolved(&name("shortcut.conv"), &name("shortcut.norm"), x, stride)
        } else {
            x.clone()
        };
        let both = y.values.iter_mut().zip(&shortcut.values);
        both.for_each(|(value, other)| *value = self.activated(*value + other));
        y
    }

    /// A convolution without bias, zeros beyond each edge, `stride` along time and frequency; and the batch norm after it.
    fn convolved(&self, conv: &str, norm: &str, input: &Image, [step, jump]: [usize; 2]) -> Image {
        let form = self.config.form;
        let weight = self.weights.get(&format!("{conv}.weight"));
        let [outputs, inputs, kernel, _] = weight.shape[..] else { unreachable!("{conv} is no convolution of images") };
        let [below, _] = form.padding().sides(input.rows, kernel, jump);
        let [before, _] = form.padding().sides(input.columns, kernel, step);
        let (rows, columns) = (input.rows.div_ceil(jump), input.columns.div_ceil(step));
        let mut out = Image { rows, columns, values: vec![0.0; outputs * rows * columns] };
        for (index, target) in out.values.chunks_exact_mut(columns).enumerate() {
            let (o, row) = (index / rows, index % rows);
            for i in 0..inputs {
                for kr in 0..kernel {
                    // Row and column of the input that this tap sees, where there is one.
                    let Some(from) = (row * jump + kr).checked_sub(below).filter(|&from| from < input.rows) else {
                        continue;
                    };
                    let source = &input.values[(i * input.rows + from) * input.columns..][..input.columns];
                    for kc in 0..kernel {
                        let tap = match form.axes() {
                            Axes::FrequencyTime => kr * kernel + kc,
                            Axes::TimeFrequency => kc * kernel + kr,
                        };
                        let factor = f64::from(weight.values[(o * inputs + i) * kernel * kernel + tap]);
                        for (column, out) in target.iter_mut().enumerate() {
                            let seen = (column * step + kc).checked_sub(before).and_then(|at| source.get(at));
                            *out += factor * seen.copied().unwrap_or(0.0);
                        }
                    }
                }
            }
        }
        batch_norm_with(form.epsilon(), self.weights, norm, &mut out.values);
        out
    }
}
