//! A training that starts from another model's weights: fine-tuning.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sv_losses::Objective;
use sv_models::ModelDir;
use sv_models::checkpoint::write_whole;
use sv_models::weights::Weight;

use crate::classifier::names;
use crate::error::not_written;
use crate::run_dir::resolve_model;
use crate::{Recipe, TrainError};

/// The file of a run's folder that says where its weights came from.
const FILE: &str = "start.toml";

/// What a run keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// The model, as it was named.
    path: PathBuf,
    /// Its fingerprint.
    fingerprint: String,
}

/// A model whose encoder, and whose classifier where it has one, a training begins with.
#[derive(Debug, Clone)]
pub struct Start {
    note: Note,
    model: ModelDir,
}

impl Start {
    /// Loads the model at `path`: a model directory, a run's folder, a checkpoint of another system.
    ///
    /// # Errors
    /// [`TrainError::Model`] if it cannot be loaded; [`TrainError::Start`] if its front end or network is not the recipe's, or
    /// the recipe standardises its input: a finished model has that folded into its first layer.
    pub fn load(path: &Path, recipe: &Recipe) -> Result<Self, TrainError> {
        let model = ModelDir::load(&resolve_model(path)?)?;
        let refuse = |what: &'static str, model: String, recipe: String| {
            Err(TrainError::Start { path: path.to_owned(), what, model, recipe })
        };
        let theirs = model.description();
        if theirs.encoder != recipe.encoder {
            return refuse("network", format!("{:?}", theirs.encoder), format!("{:?}", recipe.encoder));
        }
        // Two names may stand for the same constants.
        let mut front_end = recipe.front_end.build()?;
        front_end.name.clone_from(&theirs.front_end.name);
        if theirs.front_end != front_end {
            return refuse("front end", format!("{:?}", theirs.front_end), format!("{front_end:?}"));
        }
        if recipe.standardise {
            return refuse("standardisation", "folded into its first layer".into(), "standardise = true".into());
        }
        let note = Note { path: path.to_owned(), fingerprint: model.fingerprint().to_string() };
        Ok(Self { note, model })
    }

    /// What the run in `folder` started from, which must still be the same model; none if it drew its weights.
    ///
    /// # Errors
    /// As [`Self::load`]; [`TrainError::Start`] if the model has changed since.
    pub fn of_run(folder: &Path, recipe: &Recipe) -> Result<Option<Self>, TrainError> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
        let note: Note = toml::from_str(&text)
            .map_err(|error| TrainError::State { path: path.clone(), message: error.message().to_owned() })?;
        let start = Self::load(&note.path, recipe)?;
        if start.note != note {
            let (what, model) = ("fingerprint", start.note.fingerprint);
            return Err(TrainError::Start { path: note.path, what, model, recipe: note.fingerprint });
        }
        Ok(Some(start))
    }

    /// Writes down in a run's `folder` what it started from.
    pub(crate) fn keep(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(FILE);
        let text = toml::to_string(&self.note)
            .map_err(|error| TrainError::State { path: path.clone(), message: error.to_string() })?;
        write_whole(&path, |out| out.write_all(text.as_bytes())).map_err(|error| not_written(&path, error))
    }

    /// All tensors of its encoder.
    pub(crate) fn weights(&self) -> BTreeMap<String, Weight> {
        self.model.weights().iter().map(|(name, weight)| (name.to_owned(), weight.clone())).collect()
    }

    /// Gives `objective` what the model's classifier has learnt: each of `classes` the row of its own name, and layers before
    /// them whole. What the model does not have, by name or by shape, stays as it was drawn. Returns how many classes were known.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub(crate) fn teach(&self, objective: &dyn Objective, classes: &[String]) -> Result<usize, TrainError> {
        let Some(classifier) = self.model.classifier() else { return Ok(0) };
        let Some(labels) = classifier.labels() else { return Ok(0) };
        let of_label: HashMap<&str, usize> =
            labels.iter().enumerate().map(|(index, label)| (label.as_str(), index)).collect();
        let places: Vec<Option<usize>> = classes.iter().map(|class| of_label.get(class.as_str()).copied()).collect();
        let theirs: HashMap<&str, &Weight> = classifier.weights().iter().collect();
        for (name, kind) in names(classifier.config()) {
            let tensors = objective.parameters().into_iter().chain(objective.buffers());
            let Some(own) = tensors.into_iter().find(|parameter| parameter.name == name) else { continue };
            let Some(weight) = theirs.get(kind.as_str()) else { continue };
            let (shape, device) = (own.var.dims().to_vec(), own.var.device());
            let mut values = own.var.flatten_all()?.to_vec1::<f32>()?;
            if name.starts_with("classes.") {
                if shape[1..] != weight.shape[1..] {
                    continue;
                }
                let width: usize = shape[1..].iter().product();
                for (row, place) in values.chunks_exact_mut(width).zip(&places) {
                    if let Some(place) = *place {
                        row.copy_from_slice(&weight.values[place * width..][..width]);
                    }
                }
            } else if shape == weight.shape {
                values.clone_from(&weight.values);
            }
            own.var.set(&Tensor::from_vec(values, shape, device)?)?;
        }
        Ok(places.iter().flatten().count())
    }
}
