//! Lists of trials: who is compared with whom, and how good scores of it are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::ArrayView2;
use rayon::prelude::*;
use sv_audio::frontend::FeatureExtractor;
use sv_audio::windows::Windows;
use sv_metrics::bootstrap::{self, Bootstrap, Interval};
use sv_metrics::dcf::{self, CostModel};
use sv_metrics::eer::{self, Eer};
use sv_metrics::{Acceptance, Label, ScoredTrials, Threshold, ThresholdOrigin, TrialFormat, Trials, score};
use sv_models::{BVector, Plan};

use super::Utterances;
use crate::TrainError;
use crate::data::{Manifest, Recording, located, trial_list};

/// A list of trials. No recording that it names is read yet.
#[derive(Debug, Clone)]
pub struct TrialList {
    name: String,
    root: PathBuf,
    recordings: Vec<Recording>,
    pairs: Vec<(usize, usize, Label)>,
    speakers: Vec<(usize, usize)>,
}

/// What makes a score of two embeddings.
#[derive(Debug, Clone, Copy)]
pub enum Scorer<'a> {
    /// Their cosine.
    Cosine,
    /// A network that was trained on pairs.
    BVector(&'a BVector),
}

/// What a model did on a trial list.
#[derive(Debug, Clone)]
pub struct TrialResult {
    /// The list.
    pub list: String,
    /// Equal error rate by the crossing of the linearly interpolated ROC, and the score where it lies.
    pub eer: Eer,
    /// 95 % interval by bootstrap over speakers, where there are enough of them.
    pub interval: Option<Interval>,
    /// Least detection cost at a target prior of 0.01, normalised.
    pub min_dcf: f64,
    /// The scores.
    pub scored: ScoredTrials,
}

impl TrialList {
    /// Reads `trials/NAME.txt` under `root` (or `meta/NAME.txt`, or `NAME.txt`; VoxCeleb's format) and finds every recording that
    /// it names, below `root` or, as VoxCeleb is distributed, below its folder of WAV or M4A files: see [`located`].
    ///
    /// # Errors
    /// [`TrainError::Read`], [`TrainError::Trials`], [`TrainError::NoLabels`]; [`TrainError::TrialFile`] for a recording that is not
    /// there.
    pub fn named(name: &str, root: &Path) -> Result<Self, TrainError> {
        let beside = || root.join("trials").join(format!("{name}.txt"));
        let path = trial_list(root, name).unwrap_or_else(beside);
        let text = fs::read(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
        let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
            .map_err(|source| TrainError::Trials { path: path.clone(), source })?;
        let located = |file: &String| match located(root, file) {
            Some(file) => Ok(Recording::File(file)),
            None => Err(TrainError::TrialFile { list: path.clone(), file: file.clone(), root: root.to_owned() }),
        };
        let recordings = trials.files().iter().map(located).collect::<Result<_, _>>()?;
        let pairs = trials
            .pairs()
            .iter()
            .map(|pair| {
                let label = pair.label.ok_or_else(|| TrainError::NoLabels { path: path.clone() })?;
                Ok((pair.enrolment, pair.test, label))
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self { name: name.to_owned(), root: root.to_owned(), recordings, pairs, speakers: trials.speakers() })
    }

    /// Every pair of the utterances of `manifest`, targets within a speaker and non-targets across.
    #[must_use]
    pub fn all_pairs(name: &str, manifest: &Manifest) -> Self {
        let recordings = manifest.entries.iter().map(|entry| entry.recording.clone()).collect();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let speakers: Vec<usize> = manifest
            .entries
            .iter()
            .map(|entry| {
                let next = numbers.len();
                *numbers.entry(&entry.speaker).or_insert(next)
            })
            .collect();
        let mut pairs = Vec::new();
        let mut sides = Vec::new();
        for test in 0..speakers.len() {
            for enrolment in 0..test {
                let same = speakers[enrolment] == speakers[test];
                pairs.push((enrolment, test, if same { Label::Target } else { Label::NonTarget }));
                sides.push((speakers[enrolment], speakers[test]));
            }
        }
        Self { name: name.to_owned(), root: manifest.root.clone(), recordings, pairs, speakers: sides }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that its recordings are below.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The recordings that it names, each once.
    #[must_use]
    pub fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// Reads its recordings, to be embedded again and again: all their features are kept.
    ///
    /// # Errors
    /// [`TrainError::Recording`].
    pub fn read(self, extractor: &FeatureExtractor, windows: &Windows) -> Result<TrialSet, TrainError> {
        let recordings: Vec<&Recording> = self.recordings.iter().collect();
        let utterances = Utterances::read(&recordings, &self.root, extractor, windows)?;
        Ok(TrialSet { list: self, utterances })
    }

    /// Scores each trial and rates the scores. `embeddings` (n, D): of [`Self::recordings`], in their order.
    ///
    /// # Errors
    /// [`TrainError::Metrics`] if there are no targets or no non-targets, or an embedding has no direction;
    /// [`TrainError::Embeddings`] if there are not as many rows as recordings; [`TrainError::Model`] if the scorer takes embeddings
    /// of another size.
    pub fn evaluate(&self, embeddings: ArrayView2<'_, f32>, scorer: Scorer<'_>) -> Result<TrialResult, TrainError> {
        let scored = self.rate(embeddings, scorer)?;
        Ok(TrialResult {
            list: self.name.clone(),
            eer: eer::eer(&scored),
            interval: bootstrap::eer_interval(&scored, &self.speakers, &Bootstrap::default()).ok(),
            min_dcf: dcf::min_dcf(&scored, &CostModel::with_prior(0.01)?).cost,
            scored,
        })
    }

    /// The scores alone.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn rate(&self, embeddings: ArrayView2<'_, f32>, scorer: Scorer<'_>) -> Result<ScoredTrials, TrainError> {
        if embeddings.nrows() != self.recordings.len() {
            let (list, recordings) = (self.name.clone(), self.recordings.len());
            return Err(TrainError::Embeddings { list, recordings, rows: embeddings.nrows() });
        }
        let standard = embeddings.as_standard_layout();
        let rows: Vec<&[f32]> = standard.rows().into_iter().filter_map(|row| row.to_slice()).collect();
        let scores = match scorer {
            Scorer::Cosine => self
                .pairs
                .par_iter()
                .map(|&(enrolment, test, _)| score::cosine(rows[enrolment], rows[test]))
                .collect::<Result<Vec<_>, _>>()?,
            Scorer::BVector(network) => {
                let pairs: Vec<_> =
                    self.pairs.iter().map(|&(enrolment, test, _)| (rows[enrolment], rows[test])).collect();
                network.scores(&pairs)?
            }
        };
        let labels: Vec<Label> = self.pairs.iter().map(|&(_, _, label)| label).collect();
        Ok(ScoredTrials::new(&scores, &labels)?)
    }
}

/// A list of trials and the utterances that it names, in memory: for lists that are scored on the way, again and again.
#[derive(Debug)]
pub struct TrialSet {
    list: TrialList,
    utterances: Utterances,
}

impl TrialSet {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.list.name()
    }

    /// Embeds every utterance once, scores every trial by the cosine and rates the scores.
    ///
    /// # Errors
    /// As [`TrialList::evaluate`].
    pub fn evaluate(&self, plan: &Plan) -> Result<TrialResult, TrainError> {
        self.list.evaluate(self.utterances.embed(plan)?.view(), Scorer::Cosine)
    }

    /// The equal error rate alone: what is worth knowing between two steps.
    ///
    /// # Errors
    /// As [`TrialList::evaluate`].
    pub fn eer(&self, plan: &Plan) -> Result<Eer, TrainError> {
        Ok(eer::eer(&self.list.rate(self.utterances.embed(plan)?.view(), Scorer::Cosine)?))
    }

    /// The threshold at which the two error rates meet on this list, with the list as its origin.
    ///
    /// # Errors
    /// As [`TrialList::evaluate`], and if the threshold is not finite.
    pub fn threshold(&self, plan: &Plan) -> Result<Threshold, TrainError> {
        calibrated(self.name(), &self.eer(plan)?)
    }
}

impl TrialResult {
    /// The threshold at which the two error rates meet on this list, with the list as its origin.
    ///
    /// # Errors
    /// [`TrainError::Metrics`] if it is not finite.
    pub fn threshold(&self) -> Result<Threshold, TrainError> {
        calibrated(&self.list, &self.eer)
    }
}

fn calibrated(list: &str, eer: &Eer) -> Result<Threshold, TrainError> {
    let acceptance: Acceptance = eer.acceptance;
    Ok(Threshold::new(eer.threshold, acceptance, ThresholdOrigin::Calibrated { list: list.to_owned() })?)
}
