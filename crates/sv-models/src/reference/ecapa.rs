//! ECAPA-TDNN.

use super::layers::{Map, batch_norm, conv1d, linear, mean, relu, sigmoid, statistics};
use crate::encoders::Padding;
use crate::encoders::ecapa::{BlockInput, EcapaConfig, Untouched};
use crate::weights::Weights;

pub(super) fn embed(
    config: &EcapaConfig,
    weights: &Weights,
    features: &Map,
    tap: &mut dyn FnMut(&str, &[f64]),
) -> Vec<f64> {
    let form = config.form;
    let stem = layer(weights, "stem", features, config.dilations[0], form.padding());
    tap("stem", &stem.values);
    let mut outputs: Vec<Map> = Vec::new();
    for (block, &dilation) in config.dilations[1..].iter().enumerate() {
        let input = match form.block_input() {
            BlockInput::Previous => outputs.last().unwrap_or(&stem).clone(),
            BlockInput::Sum => outputs.iter().fold(stem.clone(), Map::plus),
        };
        let name = format!("blocks.{block}");
        let x = layer(weights, &format!("{name}.tdnn1"), &input, 1, form.padding());
        tap(&format!("{name}.tdnn1"), &x.values);
        let x = res2(config, weights, &format!("{name}.res2"), &x, dilation);
        tap(&format!("{name}.res2"), &x.values);
        let x = layer(weights, &format!("{name}.tdnn2"), &x, 1, form.padding());
        tap(&format!("{name}.tdnn2"), &x.values);
        let x = squeeze_excitation(weights, &format!("{name}.se"), x);
        tap(&format!("{name}.se"), &x.values);
        let x = x.plus(&input);
        tap(&name, &x.values);
        outputs.push(x);
    }
    let mut x = conv1d(weights, "mfa.conv", &Map::stacked(&outputs), 1, form.padding()).each(relu);
    if form.mfa_batch_norm() {
        batch_norm(weights, "mfa.norm", &mut x.values);
    }
    tap("mfa", &x.values);
    let mut pooled = attentive_statistics(config, weights, &x, tap);
    tap("pool", &pooled);
    batch_norm(weights, "pool.norm", &mut pooled);
    tap("pool.norm", &pooled);
    let mut embedding = linear(weights, "embedding", &pooled);
    tap("embedding", &embedding);
    if form.embedding_batch_norm() {
        batch_norm(weights, "embedding.norm", &mut embedding);
    }
    embedding
}

/// Convolution, ReLU, batch norm.
fn layer(weights: &Weights, name: &str, input: &Map, dilation: usize, padding: Padding) -> Map {
    let mut out = conv1d(weights, &format!("{name}.conv"), input, dilation, padding).each(relu);
    batch_norm(weights, &format!("{name}.norm"), &mut out.values);
    out
}

fn res2(config: &EcapaConfig, weights: &Weights, name: &str, input: &Map, dilation: usize) -> Map {
    let piece = |index: usize| input.part(index * config.width(), config.width());
    let layer = |index: usize, x: &Map| layer(weights, &format!("{name}.{index}"), x, dilation, config.form.padding());
    let mut out: Vec<Map> = Vec::new();
    match config.form.untouched() {
        Untouched::First => {
            out.push(piece(0));
            out.push(layer(0, &piece(1)));
            for index in 2..config.scale {
                let sum = piece(index).plus(&out[index - 1]);
                out.push(layer(index - 1, &sum));
            }
        }
        Untouched::Last => {
            out.push(layer(0, &piece(0)));
            for index in 1..config.scale - 1 {
                let sum = piece(index).plus(&out[index - 1]);
                out.push(layer(index, &sum));
            }
            out.push(piece(config.scale - 1));
        }
    }
    Map::stacked(&out)
}

/// Each channel times a factor in (0, 1) that depends on the means of all.
fn squeeze_excitation(weights: &Weights, name: &str, mut x: Map) -> Map {
    let means: Vec<f64> = x.rows().map(mean).collect();
    let hidden: Vec<f64> = linear(weights, &format!("{name}.down"), &means).into_iter().map(relu).collect();
    let factors = linear(weights, &format!("{name}.up"), &hidden);
    for (row, &factor) in x.values.chunks_exact_mut(x.frames).zip(&factors) {
        row.iter_mut().for_each(|value| *value *= sigmoid(factor));
    }
    x
}

/// Mean and deviation over time under weights that an attention gives each channel and frame: (2 mfa).
fn attentive_statistics(
    config: &EcapaConfig,
    weights: &Weights,
    x: &Map,
    tap: &mut dyn FnMut(&str, &[f64]),
) -> Vec<f64> {
    let form = config.form;
    let context = statistics(x, form.context());
    let mut told = Map::zeros(3 * x.channels, x.frames);
    told.values[..x.values.len()].copy_from_slice(&x.values);
    for (row, value) in told.values[x.values.len()..].chunks_exact_mut(x.frames).zip(context) {
        row.fill(value);
    }
    let mut hidden = conv1d(weights, "attention.tdnn.conv", &told, 1, form.padding());
    if form.attention_batch_norm() {
        hidden = hidden.each(relu);
        batch_norm(weights, "attention.tdnn.norm", &mut hidden.values);
    }
    let mut attention = conv1d(weights, "attention.conv", &hidden.each(f64::tanh), 1, form.padding());
    for row in attention.values.chunks_exact_mut(x.frames) {
        softmax(row);
    }
    tap("attention", &attention.values);
    let mut pooled = vec![0.0; 2 * x.channels];
    for (c, (row, share)) in x.rows().zip(attention.rows()).enumerate() {
        let mean: f64 = row.iter().zip(share).map(|(x, share)| share * x).sum();
        let variance: f64 = row.iter().zip(share).map(|(x, share)| share * (x - mean) * (x - mean)).sum();
        pooled[c] = mean;
        pooled[x.channels + c] = variance.max(form.pooled_floor()).sqrt();
    }
    pooled
}

fn softmax(row: &mut [f64]) {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|value| *value = (*value - most).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= sum);
}
