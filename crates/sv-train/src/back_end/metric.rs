//! One more linear layer behind a frozen encoder, trained by the contrastive loss: our own baseline of learning a metric.

use std::collections::BTreeMap;

use candle_core::Device;
use sv_losses::{Contrastive, Labels, Objective, Parameter};
use sv_models::ModelDir;
use sv_models::train::LinearLayer;
use sv_models::weights::Weight;

use super::MetricTraining;
use super::b_vector::glorot;
use super::frozen::Frozen;
use crate::optim::Optimizer;
use crate::session::Watcher;
use crate::{Purpose, Recipe, Stream, TrainError};

/// What the layer is called in the encoder that has it.
const LAYER: &str = "embedding";

/// Trains to the last step; none if the watcher stops it before. Gives `model` with the layer, without a threshold; its source
/// says by the fingerprint whose layer it is.
pub(super) fn train<W: Watcher>(
    training: &MetricTraining,
    frozen: &Frozen,
    model: &ModelDir,
    recipe: &Recipe,
    watcher: &mut W,
) -> Result<Option<ModelDir>, TrainError> {
    let Some(layer) = layer(training, frozen, recipe.seed, watcher)? else { return Ok(None) };
    let mut description = model.description().clone();
    if let Some(longer) = training.longer(&description.encoder) {
        description.encoder = longer;
    }
    description.embedding_size = training.size;
    description.threshold = None;
    let step = description.source.revision.unwrap_or_default();
    description.source.revision = Some(format!("{step}, one more layer on the model {}", model.fingerprint()));
    let mut tensors: BTreeMap<String, Weight> =
        model.weights().iter().map(|(name, weight)| (name.to_owned(), weight.clone())).collect();
    tensors.extend(layer.weights()?);
    Ok(Some(ModelDir::new("the trained layer", description, tensors)?))
}

/// The layer alone.
pub(super) fn layer<W: Watcher>(
    training: &MetricTraining,
    frozen: &Frozen,
    seed: u64,
    watcher: &mut W,
) -> Result<Option<LinearLayer>, TrainError> {
    let shapes = LinearLayer::tensors(LAYER, frozen.size, training.size);
    let layer = LinearLayer::new(LAYER, glorot(shapes, seed), &Device::Cpu)?;
    let parameters = layer.variables().iter().map(|(name, var)| Parameter::new(name.clone(), var.clone()));
    let mut optimizer = Optimizer::new(&training.training.optimizer, parameters.collect())?;
    let objective = Contrastive::new(&training.contrastive)?;
    for step in 0..training.training.steps {
        if watcher.wants_to_stop() {
            return Ok(None);
        }
        let (rows, labels) = batch(frozen, training.speakers, seed, step);
        let embeddings = layer.forward(&frozen.rows(&rows)?)?;
        let loss = objective.loss(&embeddings, &labels)?;
        optimizer.step(&loss.backward()?, training.training.rate)?;
        watcher.back_end_step(step + 1, f64::from(loss.to_scalar::<f32>()?))?;
    }
    Ok(Some(layer))
}

/// Two recordings of each of so many speakers (of all, if there are fewer), one speaker after the other.
pub(super) fn batch(frozen: &Frozen, speakers: usize, seed: u64, step: u64) -> (Vec<usize>, Labels) {
    let mut stream = Stream::new(seed, Purpose::BackEnd, 1 + step, 0);
    let all = frozen.speakers();
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for speaker in stream.distinct(all.len(), speakers) {
        let own = &all[speaker];
        rows.extend(stream.distinct(own.len(), 2).into_iter().map(|row| own[row]));
        labels.extend([speaker as u32; 2]);
    }
    (rows, Labels::new(labels))
}
