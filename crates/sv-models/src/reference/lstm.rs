//! LSTM d-vectors, over the plain definition of the recurrence in `sv-kernels`.

use sv_kernels::lstm::{LayerSizes, LayerWeights};
use sv_kernels::reference;

use super::layers::{Map, linear, relu};
use crate::ModelError;
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::weights::Weights;

pub(super) fn embed(config: &LstmConfig, weights: &Weights, features: &Map) -> Result<Vec<f64>, ModelError> {
    let values = |name: &str| weights.get(name).values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let layers = (0..config.layers)
        .map(|layer| {
            let input = if layer == 0 { config.bins } else { config.state_size() };
            let sizes = LayerSizes { input, hidden: config.hidden, projection: config.projection };
            let name = |kind: &str| values(&format!("lstm.{layer}.{kind}"));
            let projection = config.projection.map(|_| name("weight_hr"));
            LayerWeights::new(sizes, name("weight_ih"), name("weight_hh"), name("bias"), projection)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let frames = features.frames;
    let input: Vec<f64> = (0..frames).flat_map(|t| (0..features.channels).map(move |f| features.row(f)[t])).collect();
    let states = reference::lstm(&layers, 1, frames, &input, None)?.h_n;
    let last = &states[states.len() - config.state_size()..];
    let mut embedding = match config.head {
        Head::None => last.to_vec(),
        Head::Linear { .. } => linear(weights, "head", last),
        Head::LinearRelu { .. } => linear(weights, "head", last).into_iter().map(relu).collect(),
    };
    let Normalization::L2 { epsilon } = config.normalization;
    let norm = (embedding.iter().map(|x| x * x).sum::<f64>() + epsilon).sqrt();
    if norm > 0.0 {
        embedding.iter_mut().for_each(|value| *value /= norm);
    }
    Ok(embedding)
}
