//! The folder of a run: its recipe, its checkpoints, its model. Nothing in it is ever half there.
//!
//! ```text
//! RUN/recipe.toml                          the recipe, every key
//! RUN/metrics.jsonl  evaluations.jsonl     what was measured on the way
//! RUN/checkpoints/000900/state.json        step, hashes
//! RUN/checkpoints/000900/state.safetensors variables, the optimizer's moments
//! RUN/checkpoints/000900/model/            the model directory of that step
//! RUN/model/                               the model directory of the last checkpoint
//! ```
//!
//! A checkpoint is written into a folder beside its place and renamed, after its files were stored: a kill at any moment
//! leaves the one before.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sv_models::ModelDir;
use sv_models::checkpoint::write_whole;

use crate::error::not_written;
use crate::{Recipe, TrainError};

const RECIPE: &str = "recipe.toml";
const CHECKPOINTS: &str = "checkpoints";
const MODEL: &str = "model";
const STATE: &str = "state.safetensors";
const NOTE: &str = "state.json";

/// Checkpoints that are kept beside those at 0, 50, 75 and 100 % of the steps.
const KEPT: usize = 5;

/// All that a training needs to go on as if it had not stopped.
#[derive(Debug, Clone)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, over all sessions.
    pub seconds: f64,
    /// Variables, moments and what else must come back to the bit, by name.
    pub tensors: BTreeMap<String, Tensor>,
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    step: u64,
    seconds: f64,
    recipe: String,
    state: String,
}

/// The folder of a run.
#[derive(Debug, Clone)]
pub struct RunDir {
    folder: PathBuf,
    recipe: Recipe,
}

impl RunDir {
    /// Refuses a folder that holds a run.
    ///
    /// # Errors
    /// [`TrainError::RunExists`].
    pub fn vacant(folder: &Path) -> Result<(), TrainError> {
        if folder.join(RECIPE).exists() {
            return Err(TrainError::RunExists { folder: folder.to_owned() });
        }
        Ok(())
    }

    /// Begins a run in `folder`, which must not hold one yet.
    ///
    /// # Errors
    /// [`TrainError::RunExists`]; [`TrainError::Write`].
    pub fn create(folder: &Path, recipe: &Recipe) -> Result<Self, TrainError> {
        Self::vacant(folder)?;
        fs::create_dir_all(folder.join(CHECKPOINTS))
            .map_err(|source| TrainError::Write { path: folder.join(CHECKPOINTS), source })?;
        let text = recipe.to_toml()?;
        put(&folder.join(RECIPE), text.as_bytes())?;
        Ok(Self { folder: folder.to_owned(), recipe: recipe.clone() })
    }

    /// Opens the run in `folder` to go on with it by `recipe`, which must be the one it was begun with.
    ///
    /// # Errors
    /// [`TrainError::NoRun`], [`TrainError::OtherRecipe`] with the first key that differs, [`TrainError::Recipe`].
    pub fn open(folder: &Path, recipe: &Recipe) -> Result<Self, TrainError> {
        let begun_with = Self::recipe_of(folder)?;
        if let Some((key, was, is)) = begun_with.difference(recipe)? {
            return Err(TrainError::OtherRecipe { folder: folder.to_owned(), key, was, is });
        }
        let checkpoints = folder.join(CHECKPOINTS);
        // What a kill has left half written; that it cannot be removed harms nothing.
        for entry in fs::read_dir(&checkpoints).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".part") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        fs::create_dir_all(&checkpoints).map_err(|source| TrainError::Write { path: checkpoints, source })?;
        Ok(Self { folder: folder.to_owned(), recipe: recipe.clone() })
    }

    /// The recipe that the run in `folder` was begun with.
    ///
    /// # Errors
    /// [`TrainError::NoRun`], [`TrainError::Recipe`].
    pub fn recipe_of(folder: &Path) -> Result<Recipe, TrainError> {
        let path = folder.join(RECIPE);
        if !path.is_file() {
            return Err(TrainError::NoRun { folder: folder.to_owned() });
        }
        let text = fs::read_to_string(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
        Recipe::parse(&path, &text, &[])
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model directory of the last checkpoint.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.folder.join(MODEL)
    }

    /// The model directory of the checkpoint at `step`, whether or not there is one.
    #[must_use]
    pub fn model_at(&self, step: u64) -> PathBuf {
        self.checkpoint(step).join(MODEL)
    }

    fn checkpoint(&self, step: u64) -> PathBuf {
        self.folder.join(CHECKPOINTS).join(name_of(step))
    }

    /// Saves a state and its model, then drops checkpoints that are not to be kept.
    ///
    /// # Errors
    /// [`TrainError::Write`]: what was there before stands.
    pub fn save(&self, state: &State, model: &ModelDir) -> Result<(), TrainError> {
        let place = self.checkpoint(state.step);
        let beside = self.folder.join(CHECKPOINTS).join(format!(".{}.part", name_of(state.step)));
        let written = self.fill(&beside, state, model).and_then(|()| {
            let refused = |source| TrainError::Write { path: place.clone(), source };
            // A step that is saved twice: its first folder goes aside, so that at no moment less than the other is there whole.
            let aside = self.folder.join(CHECKPOINTS).join(format!(".{}.old.part", name_of(state.step)));
            if place.exists() {
                fs::rename(&place, &aside).map_err(refused)?;
            }
            fs::rename(&beside, &place).map_err(refused)?;
            let _ = fs::remove_dir_all(&aside);
            Ok(())
        });
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(&beside);
        }
        written?;
        model.save(&self.model()).map_err(|error| not_written(&self.model(), error))?;
        self.prune(state.step)
    }

    /// Sees to it that [`Self::model`] is that of the checkpoint at `step`: a kill can come between the two.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the checkpoint's model is damaged, [`TrainError::Write`].
    pub(crate) fn publish(&self, step: u64) -> Result<(), TrainError> {
        let model = ModelDir::load(&self.model_at(step))?;
        if ModelDir::load(&self.model()).is_ok_and(|there| there == model) {
            return Ok(());
        }
        model.save(&self.model()).map_err(|error| not_written(&self.model(), error))
    }

    fn fill(&self, beside: &Path, state: &State, model: &ModelDir) -> Result<(), TrainError> {
        let refused = |path: &Path| {
            let path = path.to_owned();
            |source| TrainError::Write { path, source }
        };
        if beside.exists() {
            fs::remove_dir_all(beside).map_err(refused(beside))?;
        }
        fs::create_dir_all(beside).map_err(refused(beside))?;
        let bytes = safetensors::serialize(state.tensors.iter(), None)
            .map_err(|source| TrainError::State { path: beside.join(STATE), message: source.to_string() })?;
        put(&beside.join(STATE), &bytes)?;
        model.save(&beside.join(MODEL)).map_err(|error| not_written(&beside.join(MODEL), error))?;
        let note = Note {
            step: state.step,
            seconds: state.seconds,
            recipe: self.recipe.hash()?,
            state: hexadecimal(&Sha256::digest(&bytes)),
        };
        let note = serde_json::to_vec_pretty(&note)
            .map_err(|source| TrainError::State { path: beside.join(NOTE), message: source.to_string() })?;
        put(&beside.join(NOTE), &note)
    }

    /// Steps of the checkpoints that are there, ascending.
    ///
    /// # Errors
    /// [`TrainError::Read`].
    pub fn steps(&self) -> Result<Vec<u64>, TrainError> {
        let folder = self.folder.join(CHECKPOINTS);
        let unreadable = |source| TrainError::Read { path: folder.clone(), source };
        let mut steps = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            // Others' files and what a kill has left are not checkpoints.
            let step = name.to_str().and_then(|name| name.parse().ok());
            steps.extend(step.filter(|&step| *name == *name_of(step)));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The state of the last checkpoint; none if there is none yet.
    ///
    /// # Errors
    /// [`TrainError::State`] if it is damaged: remove its folder to go on from the one before.
    pub fn latest(&self) -> Result<Option<State>, TrainError> {
        let Some(step) = self.steps()?.pop() else { return Ok(None) };
        let folder = self.checkpoint(step);
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| TrainError::State { path, message: format!("cannot be read: {source}") })
        };
        let damaged = |name: &str, message: String| TrainError::State { path: folder.join(name), message };
        let note: Note = serde_json::from_slice(&read(NOTE)?).map_err(|error| damaged(NOTE, error.to_string()))?;
        if note.step != step || note.recipe != self.recipe.hash()? {
            return Err(damaged(NOTE, format!("is of step {} or of another recipe", note.step)));
        }
        let bytes = read(STATE)?;
        if hexadecimal(&Sha256::digest(&bytes)) != note.state {
            return Err(damaged(STATE, "is not what was written: its SHA-256 differs".to_owned()));
        }
        let tensors: HashMap<String, Tensor> = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| damaged(STATE, error.to_string()))?;
        Ok(Some(State { step, seconds: note.seconds, tensors: tensors.into_iter().collect() }))
    }

    /// Drops the checkpoints that are neither among the last ones nor at 50, 75 or 100 % of the steps.
    fn prune(&self, last: u64) -> Result<(), TrainError> {
        let milestones = milestones(self.recipe.steps);
        let steps: Vec<u64> = self.steps()?.into_iter().filter(|&step| step <= last).collect();
        let old = steps.len().saturating_sub(KEPT);
        for &step in steps[..old].iter().filter(|step| **step > 0 && !milestones.contains(step)) {
            let path = self.checkpoint(step);
            fs::remove_dir_all(&path).map_err(|source| TrainError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The steps at 50, 75 and 100 % of `steps`, at which a checkpoint is made and kept.
#[must_use]
pub fn milestones(steps: u64) -> [u64; 3] {
    [steps.div_ceil(2), (3 * steps).div_ceil(4), steps]
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_whole(path, |out| out.write_all(bytes)).map_err(|error| not_written(path, error))
}

fn name_of(step: u64) -> String {
    format!("{step:06}")
}

/// The model directory that `place` names: itself; `RUN/model` of a run's folder; `RUN@STEP`: that of a step.
///
/// # Errors
/// [`TrainError::NoCheckpoint`] lists the steps there are.
pub fn resolve_model(place: &Path) -> Result<PathBuf, TrainError> {
    if place.exists() {
        let of_run = place.join(MODEL);
        return Ok(if place.join(RECIPE).is_file() && of_run.is_dir() { of_run } else { place.to_owned() });
    }
    let text = place.to_string_lossy();
    let Some((folder, step)) = text.rsplit_once('@') else { return Ok(place.to_owned()) };
    let (folder, Ok(step)) = (Path::new(folder), step.parse::<u64>()) else { return Ok(place.to_owned()) };
    let run = RunDir { folder: folder.to_owned(), recipe: RunDir::recipe_of(folder)? };
    let steps = run.steps()?;
    if steps.contains(&step) {
        Ok(run.model_at(step))
    } else {
        Err(TrainError::NoCheckpoint { folder: folder.to_owned(), step, steps })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
