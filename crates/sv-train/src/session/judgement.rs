//! The judgement of a finished run: its test lists, once.

use std::collections::HashMap;

use ndarray::{Array2, Axis};
use sv_audio::frontend::FeatureExtractor;
use sv_models::{ModelDir, Plan};

use crate::back_end::BackEnd;
use crate::corpus::{lists, synthetic_trials};
use crate::data::{Manifest, Recording};
use crate::evaluate::{ProtocolResult, Reader, Scorer, TrialList, TrialResult, ge2e_protocol};
use crate::recipe::CorpusConfig;
use crate::run_dir::{RunDir, milestones};
use crate::{Recipe, TrainError};

/// What a finished run does on its test lists.
#[derive(Debug)]
pub struct Judgement {
    /// The first list at 0, 50, 75 and 100 % of the steps.
    pub curve: Vec<(u64, TrialResult)>,
    /// Each list at the last step, as the system is meant to score it: by its back end where it has one.
    pub lists: Vec<TrialResult>,
    /// Where there is a back end, each list by the cosine of the encoder's own embeddings; else empty.
    pub without_back_end: Vec<TrialResult>,
    /// The TensorFlow code's test, 4 speakers x 5 utterances.
    pub protocol: Option<ProtocolResult>,
}

/// What a finished run of `recipe` is judged by: on synthesised voices all pairs of its trial speakers, else the lists that the
/// recipe names. None, if the corpus has neither a list nor a split `test`.
///
/// # Errors
/// [`TrainError::NoManifest`]; those of [`TrialList::named`].
pub fn test_lists(recipe: &Recipe, manifest: Option<&Manifest>) -> Result<Vec<TrialList>, TrainError> {
    match (&recipe.corpus, manifest) {
        (CorpusConfig::Synthetic { text, seed, .. }, None) => Ok(vec![synthetic_trials((*text).into(), *seed).1]),
        (CorpusConfig::Manifest { .. }, None) => Err(TrainError::NoManifest { recipe: recipe.name.clone() }),
        (_, Some(manifest)) => lists(&recipe.evaluation.test, manifest, "test"),
    }
}

/// Scores the [`test_lists`] by the run's models.
///
/// # Errors
/// Those of reading lists, recordings and models.
pub fn judge(run: &RunDir, recipe: &Recipe, manifest: Option<&Manifest>) -> Result<Judgement, TrainError> {
    let front_end = recipe.front_end.build()?;
    let extractor = FeatureExtractor::new(&front_end)?;
    let windows = &recipe.evaluation.windows;
    let lists = test_lists(recipe, manifest)?;
    let plan_at = |step: u64| -> Result<Plan, TrainError> {
        let model = ModelDir::load(&run.model_at(step))?;
        Ok(Plan::new(&model.description().encoder, model.weights())?)
    };
    let last = plan_at(recipe.steps)?;
    let back_end = recipe.back_end.as_ref().map(|_| BackEnd::load(run, recipe)).transpose()?;
    let longer = back_end.as_ref().map(BackEnd::plan).transpose()?.flatten();
    let plans: Vec<&Plan> = std::iter::once(&last).chain(&longer).collect();
    let shown = Shown::read(&lists, &extractor, recipe, &plans)?;
    let score = |plan: usize, scorer: Scorer<'_>| -> Result<Vec<TrialResult>, TrainError> {
        lists.iter().map(|list| list.evaluate(shown.of(list, plan).view(), scorer)).collect()
    };
    let cosine = score(0, Scorer::Cosine)?;
    let curve = match (lists.first(), cosine.first()) {
        (Some(list), Some(at_the_end)) => {
            let mut steps: Vec<u64> = std::iter::once(0).chain(milestones(recipe.steps)).collect();
            steps.dedup();
            steps.retain(|&step| step < recipe.steps && run.model_at(step).is_dir());
            let plans = steps.iter().map(|&step| plan_at(step)).collect::<Result<Vec<_>, _>>()?;
            let lists = std::slice::from_ref(list);
            let shown = Shown::read(lists, &extractor, recipe, &plans.iter().collect::<Vec<_>>())?;
            let results = (0..steps.len()).map(|plan| list.evaluate(shown.of(list, plan).view(), Scorer::Cosine));
            let mut curve = steps
                .iter()
                .zip(results)
                .map(|(&step, result)| Ok((step, result?)))
                .collect::<Result<Vec<_>, TrainError>>()?;
            curve.push((recipe.steps, at_the_end.clone()));
            curve
        }
        _ => Vec::new(),
    };
    let protocol = match (&recipe.corpus, manifest) {
        (CorpusConfig::Synthetic { text, seed, .. }, None) => {
            let voices = synthetic_trials((*text).into(), *seed).0;
            Some(ge2e_protocol(&last, &voices, &extractor, windows, 4, 5, recipe.seed)?)
        }
        _ => None,
    };
    let (lists, without_back_end) = match &back_end {
        None => (cosine, Vec::new()),
        Some(back_end) => (score(plans.len() - 1, back_end.scorer())?, cosine),
    };
    Ok(Judgement { curve, lists, without_back_end, protocol })
}

/// The recordings that lists name as models embed them, each read once however many lists name it.
struct Shown<'a> {
    places: HashMap<&'a Recording, usize>,
    /// Of each plan (recordings, D).
    embeddings: Vec<Array2<f32>>,
}

impl<'a> Shown<'a> {
    /// `lists`: of one corpus.
    fn read(
        lists: &'a [TrialList],
        extractor: &FeatureExtractor,
        recipe: &Recipe,
        plans: &[&Plan],
    ) -> Result<Self, TrainError> {
        let (mut places, mut recordings) = (HashMap::new(), Vec::new());
        for recording in lists.iter().flat_map(TrialList::recordings) {
            places.entry(recording).or_insert_with(|| {
                recordings.push(recording);
                recordings.len() - 1
            });
        }
        let Some(list) = lists.first().filter(|_| !plans.is_empty()) else {
            return Ok(Self { places, embeddings: Vec::new() });
        };
        let reader = Reader { root: list.root(), extractor, windows: &recipe.evaluation.windows };
        Ok(Self { embeddings: reader.embed(&recordings, plans, |_| ())?, places })
    }

    /// The embeddings (n, D) of a list that was read, by one of the plans.
    fn of(&self, list: &TrialList, plan: usize) -> Array2<f32> {
        let places: Vec<usize> = list.recordings().iter().map(|recording| self.places[recording]).collect();
        self.embeddings[plan].select(Axis(0), &places)
    }
}
