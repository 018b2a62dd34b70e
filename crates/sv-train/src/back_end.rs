//! What is trained on the embeddings of the finished encoder: a network that scores pairs, or one more layer.
//!
//! ```text
//! RUN/back-end/embeddings.safetensors      the training's recordings, embedded once
//! RUN/back-end/b-vector/                   the network that scores two embeddings
//! RUN/back-end/model/                      the encoder with one more layer
//! ```
//!
//! It takes minutes where the encoder takes hours: a killed one begins anew, with the embeddings that are there, and ends with
//! the same bits.

mod b_vector;
mod config;
mod frozen;
mod metric;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sv_audio::frontend::FeatureExtractor;
use sv_models::{BVector, ModelDir, Plan};

use crate::data::Manifest;
use crate::evaluate::Scorer;
use crate::session::Watcher;
use crate::{Recipe, RunDir, TrainError};
pub use config::{BVectorTraining, BackEndConfig, FrozenTraining, MetricTraining};
use frozen::Frozen;

const FOLDER: &str = "back-end";
const EMBEDDINGS: &str = "embeddings.safetensors";
const B_VECTOR: &str = "b-vector";
const MODEL: &str = "model";

/// What a recipe's back end made of a run.
#[derive(Debug)]
pub enum BackEnd {
    /// A network that scores pairs of the encoder's embeddings.
    BVector(BVector),
    /// The encoder with one more layer, whose embeddings are scored by the cosine.
    Metric(Box<ModelDir>),
}

/// The folder of a run's back end.
#[must_use]
pub fn folder_of(run: &RunDir) -> PathBuf {
    run.folder().join(FOLDER)
}

impl BackEnd {
    /// Trains what the recipe asks for on the model of the run's last step, unless it is there: false if the watcher stopped it,
    /// and nothing was written.
    ///
    /// # Errors
    /// [`TrainError::Pairs`] if too few training speakers have two recordings; those of reading, embedding, training, writing.
    pub(crate) fn train<W: Watcher + Sync>(
        run: &RunDir,
        recipe: &Recipe,
        train: &Manifest,
        extractor: &FeatureExtractor,
        watcher: &mut W,
    ) -> Result<bool, TrainError> {
        let Some(config) = &recipe.back_end else { return Ok(true) };
        let folder = folder_of(run);
        let model = ModelDir::load(&run.model_at(recipe.steps))?;
        if Self::load(run, recipe).is_ok() {
            return Ok(true);
        }
        let path = folder.join(EMBEDDINGS);
        let frozen = Frozen::find(&path, &model, recipe, config, train, extractor, watcher)?;
        match config {
            BackEndConfig::BVector(training) => {
                let made = b_vector::train(training, &frozen, model.fingerprint(), recipe.seed, watcher)?;
                made.map_or(Ok(false), |made| Ok(made.save(&folder.join(B_VECTOR)).map(|()| true)?))
            }
            BackEndConfig::Metric(training) => {
                let made = metric::train(training, &frozen, &model, recipe, watcher)?;
                made.map_or(Ok(false), |made| Ok(made.save(&folder.join(MODEL)).map(|()| true)?))
            }
        }
    }

    /// Reads what was trained.
    ///
    /// # Errors
    /// [`TrainError::Model`] if it is not there or damaged, [`TrainError::OtherModel`] if it is of another encoder.
    pub fn load(run: &RunDir, recipe: &Recipe) -> Result<Self, TrainError> {
        let folder = folder_of(run);
        let model = ModelDir::load(&run.model_at(recipe.steps))?.fingerprint();
        match recipe.back_end {
            Some(BackEndConfig::Metric(_)) => {
                let made = ModelDir::load(&folder.join(MODEL))?;
                let of = made.description().source.revision.as_deref().unwrap_or_default();
                belongs(&folder, of.ends_with(&model.to_string()))?;
                Ok(Self::Metric(Box::new(made)))
            }
            _ => {
                let made = BVector::load(&folder.join(B_VECTOR))?;
                belongs(&folder, made.model() == model)?;
                Ok(Self::BVector(made))
            }
        }
    }

    /// What makes a score of two embeddings: the run's own, or those of [`Self::plan`] where there is one.
    #[must_use]
    pub fn scorer(&self) -> Scorer<'_> {
        match self {
            Self::BVector(network) => Scorer::BVector(network),
            Self::Metric(_) => Scorer::Cosine,
        }
    }

    /// What embeds in place of the run's encoder, if anything does.
    ///
    /// # Errors
    /// [`TrainError::Model`] if its weights are not its encoder's.
    pub fn plan(&self) -> Result<Option<Plan>, TrainError> {
        match self {
            Self::BVector(_) => Ok(None),
            Self::Metric(model) => Ok(Some(Plan::new(&model.description().encoder, model.weights())?)),
        }
    }
}

fn belongs(folder: &Path, does: bool) -> Result<(), TrainError> {
    if does { Ok(()) } else { Err(TrainError::OtherModel { folder: folder.to_owned() }) }
}
