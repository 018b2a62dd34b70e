//! The b-vector network trained on pairs of frozen embeddings, as many of one speaker as of two.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use sv_losses::Parameter;
use sv_models::train::BVectorNetwork;
use sv_models::weights::Weight;
use sv_models::{BVector, Fingerprint};

use super::BVectorTraining;
use super::frozen::Frozen;
use crate::optim::Optimizer;
use crate::session::Watcher;
use crate::{Purpose, Stream, TrainError};

/// Items of the streams that weights are drawn from: past those of speakers.
const WEIGHTS: u64 = 1 << 32;

/// Trains to the last step; none if the watcher stops it before.
pub(super) fn train<W: Watcher>(
    training: &BVectorTraining,
    frozen: &Frozen,
    model: Fingerprint,
    seed: u64,
    watcher: &mut W,
) -> Result<Option<BVector>, TrainError> {
    let config = training.network(frozen.size);
    let network = BVectorNetwork::new(&config, glorot(config.tensors(), seed), DType::F32, &Device::Cpu)?;
    let parameters = network.variables().iter().map(|(name, var)| Parameter::new(name.clone(), var.clone()));
    let mut optimizer = Optimizer::new(&training.training.optimizer, parameters.collect())?;
    let half = training.pairs / 2;
    let same: Vec<f32> = (0..training.pairs).map(|pair| if pair < half { 1.0 } else { 0.0 }).collect();
    let same = Tensor::from_vec(same, training.pairs, &Device::Cpu)?;
    for step in 0..training.training.steps {
        if watcher.wants_to_stop() {
            return Ok(None);
        }
        let (first, second) = pairs(frozen, half, seed, step);
        let logits = network.logits(&frozen.rows(&first)?, &frozen.rows(&second)?)?;
        let loss = (BVectorNetwork::cross_entropy(&logits, &same)? / training.pairs as f64)?;
        optimizer.step(&loss.backward()?, training.training.rate)?;
        watcher.back_end_step(step + 1, f64::from(loss.to_scalar::<f32>()?))?;
    }
    Ok(Some(network.compiled(model)?))
}

/// The rows of both sides: `half` pairs of one speaker, then as many of two.
pub(super) fn pairs(frozen: &Frozen, half: usize, seed: u64, step: u64) -> (Vec<usize>, Vec<usize>) {
    let mut stream = Stream::new(seed, Purpose::BackEnd, 1 + step, 0);
    let speakers = frozen.speakers();
    let (mut first, mut second) = (Vec::with_capacity(2 * half), Vec::with_capacity(2 * half));
    for pair in 0..2 * half {
        let (a, b) = if pair < half {
            let own = &speakers[stream.below(speakers.len())];
            let drawn = stream.distinct(own.len(), 2);
            (own[drawn[0]], own[drawn[1]])
        } else {
            let drawn = stream.distinct(speakers.len(), 2);
            let mut one = |speaker: usize| speakers[speaker][stream.below(speakers[speaker].len())];
            (one(drawn[0]), one(drawn[1]))
        };
        first.push(a);
        second.push(b);
    }
    (first, second)
}

/// Matrices uniform within `sqrt(6 / (inputs + outputs))`, biases 0: Keras's default of a dense layer.
pub(super) fn glorot(shapes: BTreeMap<String, Vec<usize>>, seed: u64) -> BTreeMap<String, Weight> {
    let draw = |(number, (name, shape)): (usize, (String, Vec<usize>))| {
        let mut stream = Stream::new(seed, Purpose::BackEnd, 0, WEIGHTS + number as u64);
        let bound = match shape[..] {
            [outputs, inputs] => (6.0 / (inputs + outputs) as f64).sqrt(),
            _ => 0.0,
        };
        let values = (0..shape.iter().product()).map(|_| stream.uniform(-bound, bound) as f32).collect();
        (name, Weight { shape, values })
    };
    shapes.into_iter().enumerate().map(draw).collect()
}
