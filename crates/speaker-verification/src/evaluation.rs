//! A trial list, embedded, scored and rated.

use std::path::{Path, PathBuf};

use sv_metrics::bootstrap::{self, Bootstrap, Interval};
use sv_metrics::dcf::{self, CostModel, MinDcf};
use sv_metrics::eer::{self, Eer};
use sv_metrics::{Label, Trial, Trials};

use crate::{Cohort, Error, SpeakerRecognition, Utterance};

/// What a model did on a trial list.
#[derive(Debug)]
pub struct Evaluation {
    /// The trials that were scored: all, unless a file failed.
    pub trials: Trials,
    /// Their scores, in that order.
    pub scores: Vec<f64>,
    /// Equal error rate, by the crossing of the linearly interpolated ROC, and the score where it lies.
    pub eer: Eer,
    /// 95 % interval of the rate by bootstrap over speakers; none where the list has too few of them to resample.
    pub eer_interval: Option<Interval>,
    /// Least detection cost at a target prior of 0.01, both costs 1, normalised.
    pub min_dcf: MinDcf,
    /// The files that failed, and why. Their trials are left out.
    pub failures: Vec<(PathBuf, Error)>,
}

impl Evaluation {
    /// Number of target trials among those that were scored.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.trials.pairs().iter().filter(|pair| pair.label == Some(Label::Target)).count()
    }
}

impl SpeakerRecognition {
    /// Embeds each file of `trials` once, its path relative to `root`, and rates the scores.
    ///
    /// A file that fails takes its trials with it; [`Evaluation::failures`] names it. `finished` is called with the number
    /// of files done, from any thread.
    ///
    /// # Errors
    /// [`Error::Metrics`] for a list without labels, and if no target or no non-target trial could be scored: it then says
    /// nothing of why, so [`Error::NothingScored`] with the first failure stands in its place where a file failed.
    pub fn evaluate<F: Fn(usize) + Sync>(
        &self,
        trials: &Trials,
        root: &Path,
        finished: F,
    ) -> Result<Evaluation, Error> {
        let (paths, embedded) = self.embed_trials(trials, root, finished);
        let score = |a: usize, b: usize| match (&embedded[a], &embedded[b]) {
            (Ok(a), Ok(b)) => Ok(Some(self.compare(&a.embedding, &b.embedding)?.score)),
            _ => Ok(None),
        };
        let scored = scored(trials, score)?;
        rate(trials, scored, failures(paths, embedded))
    }

    /// The same, each score told by how its recordings stand to a cohort (z-, t- or s-norm).
    ///
    /// # Errors
    /// Those of [`Self::evaluate`]; [`Error::Metrics`] if a recording's scores against the cohort are all the same;
    /// [`Error::Model`] if the cohort is another model's.
    pub fn evaluate_normalised<F: Fn(usize) + Sync>(
        &self,
        trials: &Trials,
        root: &Path,
        cohort: &Cohort,
        finished: F,
    ) -> Result<Evaluation, Error> {
        let (paths, embedded) = self.embed_trials(trials, root, finished);
        let sides = cohort.sides(self, &embedded)?;
        let score = |a: usize, b: usize| match (&sides[a], &sides[b]) {
            (Some(a), Some(b)) => cohort.score(a, b).map(Some),
            _ => Ok(None),
        };
        let scored = scored(trials, score)?;
        rate(trials, scored, failures(paths, embedded))
    }

    fn embed_trials<F: Fn(usize) + Sync>(&self, trials: &Trials, root: &Path, finished: F) -> (Vec<PathBuf>, Embedded) {
        let paths: Vec<PathBuf> = trials.files().iter().map(|file| root.join(file)).collect();
        let embedded = self.embed_files(&paths, finished);
        (paths, embedded)
    }
}

/// One result for each file.
type Embedded = Vec<Result<Utterance, Error>>;

fn failures(paths: Vec<PathBuf>, embedded: Embedded) -> Vec<(PathBuf, Error)> {
    paths.into_iter().zip(embedded).filter_map(|(path, result)| Some((path, result.err()?))).collect()
}

/// The trials that have a score, and the scores; `score` takes the positions of the two files.
fn scored<'a>(
    trials: &'a Trials,
    score: impl Fn(usize, usize) -> Result<Option<f64>, Error>,
) -> Result<(Vec<Trial<'a>>, Vec<f64>), Error> {
    let mut scores = Vec::with_capacity(trials.pairs().len());
    let mut kept = Vec::with_capacity(trials.pairs().len());
    for (trial, pair) in trials.iter().zip(trials.pairs()) {
        if let Some(score) = score(pair.enrolment, pair.test)? {
            scores.push(score);
            kept.push(trial);
        }
    }
    Ok((kept, scores))
}

fn rate(
    trials: &Trials,
    (kept, scores): (Vec<Trial<'_>>, Vec<f64>),
    failures: Vec<(PathBuf, Error)>,
) -> Result<Evaluation, Error> {
    let rated = Trials::new(kept, trials.format()).and_then(|kept| Ok((kept.scored(&scores)?, kept)));
    let (rated, trials) = match (rated, failures.len()) {
        (Ok(rated), _) => rated,
        (Err(source), 0) => return Err(source.into()),
        (Err(source), failed) => {
            let first = failures.into_iter().next().map(|(_, error)| Box::new(error)).expect("at least one failed");
            return Err(Error::NothingScored { failed, first, source });
        }
    };
    Ok(Evaluation {
        eer: eer::eer(&rated),
        eer_interval: bootstrap::eer_interval(&rated, &trials.speakers(), &Bootstrap::default()).ok(),
        min_dcf: dcf::min_dcf(&rated, &CostModel::with_prior(0.01)?),
        trials,
        scores,
        failures,
    })
}
