//! The speakers that a finished run was trained on, as its network sees them: their bases and the embeddings of their recordings.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use ndarray::{Array2, ArrayView2};
use sv_audio::frontend::FeatureExtractor;
use sv_models::{ModelDir, Plan};

use crate::corpus::TrainingCorpus;
use crate::data::{Manifest, Recording, TrainingData};
use crate::evaluate::Reader;
use crate::{Recipe, RunDir, TrainError};

/// The objective's weights in a checkpoint: a row a class.
const BASES: &str = "objective.classes.weight";

/// Speakers of a training after its last step.
pub struct TrainedSpeakers {
    recipe: Recipe,
    corpus: String,
    extractor: FeatureExtractor,
    plan: Plan,
    /// Recordings that were trained on.
    train: Manifest,
    /// The entries of each speaker.
    places: BTreeMap<String, Vec<usize>>,
    /// Rows of [`BASES`].
    bases: BTreeMap<String, Vec<f32>>,
}

impl TrainedSpeakers {
    /// Speakers of the finished run in `folder`, which was trained by `recipe` on `manifest`. `cache`: where prepared recordings are
    /// kept.
    ///
    /// # Errors
    /// [`TrainError::NotFinished`] if the run has not made its last step; [`TrainError::NoBases`] if the recipe's objective has no
    /// weight for each speaker, or has classes that are no speakers; those of opening a run and of preparing recordings.
    pub fn of_run(
        folder: &Path,
        recipe: &Recipe,
        manifest: Option<&Manifest>,
        cache: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let run = RunDir::open(folder, recipe)?;
        let state = run.latest()?;
        let step = state.as_ref().map_or(0, |state| state.step);
        let Some(state) = state.filter(|state| state.step == recipe.steps) else {
            return Err(TrainError::NotFinished { folder: folder.to_owned(), step, steps: recipe.steps });
        };
        let front_end = recipe.front_end.build()?;
        let extractor = FeatureExtractor::new(&front_end)?;
        // Only who was trained on counts: no list is read, and no features are held.
        let mut bare = recipe.clone();
        bare.evaluation.dev.clear();
        bare.evaluation.test.clear();
        bare.data.memory_mib = 1;
        let TrainingCorpus { mut train, name: corpus, .. } = TrainingCorpus::find(&bare, manifest, &extractor)?;
        let (data, _) = TrainingData::prepare(&train, &bare.data, &front_end, cache, &|_, _| ())?;
        let used: HashSet<&Recording> = data.used().collect();
        train.entries.retain(|entry| used.contains(&entry.recording));

        let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, entry) in train.entries.iter().enumerate() {
            places.entry(entry.speaker.clone()).or_default().push(place);
        }
        let need = [data.classes().len(), recipe.encoder.embedding_size()];
        let refused = |got: &[usize]| TrainError::NoBases { folder: folder.to_owned(), got: got.to_vec(), need };
        let weight = state.tensors.get(BASES).ok_or_else(|| refused(&[]))?;
        if *weight.dims() != need || data.classes().iter().any(|class| !places.contains_key(class)) {
            return Err(refused(weight.dims()));
        }
        let bases = data.classes().iter().cloned().zip(weight.to_vec2::<f32>()?).collect();
        let model = ModelDir::load(&run.model_at(recipe.steps))?;
        let plan = Plan::new(&model.description().encoder, model.weights())?;
        Ok(Self { recipe: recipe.clone(), corpus, extractor, plan, train, places, bases })
    }

    /// What they were recorded for, as reports call it.
    #[must_use]
    pub fn corpus(&self) -> &str {
        &self.corpus
    }

    /// Names of the speakers that have so many recordings, and a basis; sorted.
    #[must_use]
    pub fn with_at_least(&self, recordings: usize) -> Vec<&str> {
        let enough = |name: &&String| self.places.get(*name).is_some_and(|places| places.len() >= recordings);
        self.bases.keys().filter(enough).map(String::as_str).collect()
    }

    /// The basis of a speaker, D values: the row of the output layer's weights. None of somebody who was not trained on.
    #[must_use]
    pub fn basis(&self, speaker: &str) -> Option<&[f32]> {
        self.bases.get(speaker).map(Vec::as_slice)
    }

    /// Embeddings (n, D) of all recordings of a speaker that were trained on, in the manifest's order, each whole as in the
    /// recipe's evaluation; none of somebody who was not trained on.
    ///
    /// # Errors
    /// [`TrainError::Recording`], [`TrainError::Model`].
    pub fn embeddings(&self, speaker: &str) -> Result<Array2<f32>, TrainError> {
        let places = self.places.get(speaker).map_or(&[][..], Vec::as_slice);
        let recordings: Vec<&Recording> = places.iter().map(|&place| &self.train.entries[place].recording).collect();
        let windows = &self.recipe.evaluation.windows;
        let reader = Reader { root: &self.train.root, extractor: &self.extractor, windows };
        Ok(reader.embed(&recordings, &[&self.plan], |_| ())?.pop().unwrap_or_default())
    }
}

/// The mean of embeddings (n, D), D values: the centroid of eq. 7 of Heo et al. 2019, and the triangles of its Figure 1. Summed in
/// f64; zeros of no embeddings.
#[must_use]
pub fn centroid(embeddings: ArrayView2<'_, f32>) -> Vec<f32> {
    let rows = embeddings.nrows().max(1) as f64;
    embeddings
        .columns()
        .into_iter()
        .map(|column| (column.iter().map(|&value| f64::from(value)).sum::<f64>() / rows) as f32)
        .collect()
}
