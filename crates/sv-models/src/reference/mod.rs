//! The plain definition of every network, in f64 by loops: what plans and training code are tested against.
//!
//! Slow and short on purpose. One utterance at a time, so that no question of padding arises.

mod ecapa;
mod layers;
mod lstm;
mod resnet;
mod xvector;

use ndarray::ArrayView2;

use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// Embeds features (T, F): D values.
///
/// # Errors
/// [`ModelError::Features`] if there are fewer frames or another number of bins than the network takes.
pub fn embed(config: &EncoderConfig, weights: &Weights, features: ArrayView2<'_, f32>) -> Result<Vec<f64>, ModelError> {
    embed_with(config, weights, features, &mut |_, _| ())
}

/// As [`embed`], and shows what each layer gives: `tap(name, values)`, (C, T) or (C, F, T) row-major.
///
/// The names are those of the tensors: `stem`, `blocks.0` (a whole block), `blocks.0.res2`, `mfa`, `attention` (the weights over
/// time), `pool`, `pool.norm`, `stages.0`, `embedding`. An LSTM shows nothing.
///
/// # Errors
/// As [`embed`].
pub fn embed_with(
    config: &EncoderConfig,
    weights: &Weights,
    features: ArrayView2<'_, f32>,
    tap: &mut dyn FnMut(&str, &[f64]),
) -> Result<Vec<f64>, ModelError> {
    let (frames, bins) = features.dim();
    if frames < config.least_frames() || bins != config.bins() {
        return Err(ModelError::Features { frames, bins, need: config.bins(), least: config.least_frames() });
    }
    // (F, T): a channel a bin.
    let input =
        layers::Map { channels: bins, frames, values: features.t().iter().map(|&value| f64::from(value)).collect() };
    match config {
        EncoderConfig::Lstm(config) => lstm::embed(config, weights, &input),
        EncoderConfig::Ecapa(config) => Ok(ecapa::embed(config, weights, &input, tap)),
        EncoderConfig::XVector(config) => Ok(xvector::embed(config, weights, &input, tap)),
        EncoderConfig::ResNet(config) => Ok(resnet::embed(config, weights, &input, tap)),
    }
}
