//! How good a model is: trial lists scored by a plan, and the TensorFlow code's enrol/verify test.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;
use sv_audio::Features;
use sv_audio::frontend::FeatureExtractor;
use sv_audio::windows::{WindowPlan, Windows};
use sv_metrics::bootstrap::{self, Bootstrap, Interval};
use sv_metrics::dcf::{self, CostModel};
use sv_metrics::eer::{self, Eer, Ge2eTest};
use sv_metrics::{Acceptance, Label, ScoredTrials, Threshold, ThresholdOrigin, TrialFormat, Trials, score};
use sv_models::{BVector, Plan};

use crate::data::{Manifest, Recording, located, trial_list};
use crate::{Purpose, Stream, TrainError};

/// Utterances ready to be embedded, again and again: features and the windows on them.
#[derive(Debug)]
pub struct Utterances(Vec<(Features, WindowPlan)>);

impl Utterances {
    /// Reads and prepares `recordings`, on all threads of the current pool.
    ///
    /// # Errors
    /// The first that fails, by name: an evaluation with holes is none.
    pub fn read(
        recordings: &[&Recording],
        root: &Path,
        extractor: &FeatureExtractor,
        windows: &Windows,
    ) -> Result<Self, TrainError> {
        let prepared = recordings
            .par_iter()
            .map(|recording| {
                let pieces = || {
                    let wave = extractor.prepare(&recording.load(root)?)?;
                    extractor.pieces(&wave, windows)
                };
                pieces().map_err(|source| TrainError::Recording { name: recording.to_string(), source })
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self(prepared))
    }

    /// Number of utterances.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Embeds each: (utterances, D), the windows of each joined as [`Plan::join`] does.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the features are not the plan's.
    pub fn embed(&self, plan: &Plan) -> Result<Array2<f32>, TrainError> {
        let rows = self
            .0
            .par_iter()
            .map(|(features, windows)| {
                let pieces: Vec<_> = windows.cut(features)?.collect();
                let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
                Ok(plan.join(plan.embed(&views)?.view()))
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        let shape = (rows.len(), plan.embedding_size());
        Ok(Array2::from_shape_vec(shape, rows.concat()).expect("D values a row"))
    }
}

/// A list of trials and the utterances that it names.
#[derive(Debug)]
pub struct TrialSet {
    name: String,
    utterances: Utterances,
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

impl TrialSet {
    /// Reads `trials/NAME.txt` under `root` (or `meta/NAME.txt`, or `NAME.txt`; VoxCeleb's format) and all recordings that it
    /// names, each below `root` or, as VoxCeleb is distributed, below its folder of WAV or M4A files: see [`located`].
    ///
    /// # Errors
    /// [`TrainError::Read`], [`TrainError::Trials`], [`TrainError::TrialFile`], [`TrainError::Recording`].
    pub fn named(name: &str, root: &Path, extractor: &FeatureExtractor, windows: &Windows) -> Result<Self, TrainError> {
        let beside = || root.join("trials").join(format!("{name}.txt"));
        let path = trial_list(root, name).unwrap_or_else(beside);
        let text = fs::read(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
        let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
            .map_err(|source| TrainError::Trials { path: path.clone(), source })?;
        let located = |file: &String| match located(root, file) {
            Some(file) => Ok(Recording::File(file)),
            None => Err(TrainError::TrialFile { list: path.clone(), file: file.clone(), root: root.to_owned() }),
        };
        let recordings = trials.files().iter().map(located).collect::<Result<Vec<_>, _>>()?;
        let utterances = Utterances::read(&recordings.iter().collect::<Vec<_>>(), root, extractor, windows)?;
        let pairs = trials
            .pairs()
            .iter()
            .map(|pair| {
                let label = pair.label.ok_or_else(|| TrainError::NoLabels { path: path.clone() })?;
                Ok((pair.enrolment, pair.test, label))
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self { name: name.to_owned(), utterances, pairs, speakers: trials.speakers() })
    }

    /// Every pair of the utterances of `manifest`, targets within a speaker and non-targets across.
    ///
    /// # Errors
    /// [`TrainError::Recording`].
    pub fn all_pairs(
        name: &str,
        manifest: &Manifest,
        extractor: &FeatureExtractor,
        windows: &Windows,
    ) -> Result<Self, TrainError> {
        let recordings: Vec<&Recording> = manifest.entries.iter().map(|entry| &entry.recording).collect();
        let utterances = Utterances::read(&recordings, &manifest.root, extractor, windows)?;
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
        Ok(Self { name: name.to_owned(), utterances, pairs, speakers: sides })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Embeds every utterance once, scores every trial by the cosine and rates the scores.
    ///
    /// # Errors
    /// [`TrainError::Metrics`] if there are no targets or no non-targets, or an embedding has no direction.
    pub fn evaluate(&self, plan: &Plan) -> Result<TrialResult, TrainError> {
        self.evaluate_by(plan, Scorer::Cosine)
    }

    /// The same with scores of another kind.
    ///
    /// # Errors
    /// As [`Self::evaluate`]; [`TrainError::Model`] if the scorer takes embeddings of another size.
    pub fn evaluate_by(&self, plan: &Plan, scorer: Scorer<'_>) -> Result<TrialResult, TrainError> {
        let scored = self.rate_by(&self.utterances.embed(plan)?, scorer)?;
        Ok(TrialResult {
            list: self.name.clone(),
            eer: eer::eer(&scored),
            interval: bootstrap::eer_interval(&scored, &self.speakers, &Bootstrap::default()).ok(),
            min_dcf: dcf::min_dcf(&scored, &CostModel::with_prior(0.01)?).cost,
            scored,
        })
    }

    /// The equal error rate alone: what is worth knowing between two steps.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn eer(&self, plan: &Plan) -> Result<Eer, TrainError> {
        Ok(eer::eer(&self.rate(&self.utterances.embed(plan)?)?))
    }

    /// The threshold at which the two error rates meet on this list, with the list as its origin.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and if the threshold is not finite.
    pub fn threshold(&self, plan: &Plan) -> Result<Threshold, TrainError> {
        calibrated(&self.name, &self.eer(plan)?)
    }

    /// Rates embeddings (utterances, D) of another system, in the order of the list's files.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn rate(&self, embeddings: &Array2<f32>) -> Result<ScoredTrials, TrainError> {
        self.rate_by(embeddings, Scorer::Cosine)
    }

    fn rate_by(&self, embeddings: &Array2<f32>, scorer: Scorer<'_>) -> Result<ScoredTrials, TrainError> {
        let rows: Vec<&[f32]> = embeddings.rows().into_iter().filter_map(|row| row.to_slice()).collect();
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

/// The TensorFlow GE2E code's test: N speakers, M utterances of each to enrol and M others to verify.
#[derive(Debug, Clone)]
pub struct ProtocolResult {
    /// The speakers, in order.
    pub speakers: Vec<String>,
    /// M.
    pub utterances: usize,
    /// (N, M, N), row-major: of each speaker's verification utterances to each enrolled speaker.
    pub similarity: Vec<f64>,
    /// Rates on its grid of thresholds.
    pub test: Ge2eTest,
}

/// Runs the test on `speakers` speakers of `manifest`, drawn by `seed`, with `utterances` to enrol and as many to verify.
///
/// An enrolled speaker is the mean of unit embeddings, of length one again; a score is the cosine.
///
/// # Errors
/// [`TrainError::Protocol`] if fewer speakers have twice `utterances`; those of reading and embedding.
///
/// # Source
/// Janghyun1230/Speaker_Verification, `model.py: test`; its draws are the first speakers of a folder, ours are seeded.
pub fn ge2e_protocol(
    plan: &Plan,
    manifest: &Manifest,
    extractor: &FeatureExtractor,
    windows: &Windows,
    speakers: usize,
    utterances: usize,
    seed: u64,
) -> Result<ProtocolResult, TrainError> {
    let mut of_speaker: std::collections::BTreeMap<&str, Vec<&Recording>> = std::collections::BTreeMap::new();
    for entry in &manifest.entries {
        of_speaker.entry(&entry.speaker).or_default().push(&entry.recording);
    }
    let qualified: Vec<(&str, Vec<&Recording>)> =
        of_speaker.into_iter().filter(|(_, recordings)| recordings.len() / 2 >= utterances).collect();
    if qualified.len() < speakers || speakers < 2 || utterances == 0 {
        return Err(TrainError::Protocol { speakers, utterances, qualified: qualified.len() });
    }
    let mut chosen = Stream::new(seed, Purpose::Evaluation, 0, 0).distinct(qualified.len(), speakers);
    chosen.sort_unstable();
    let mut recordings = Vec::new();
    for (item, &speaker) in chosen.iter().enumerate() {
        let own = &qualified[speaker].1;
        let drawn = Stream::new(seed, Purpose::Evaluation, 1, item as u64).distinct(own.len(), 2 * utterances);
        recordings.extend(drawn.into_iter().map(|index| own[index]));
    }
    let embeddings = Utterances::read(&recordings, &manifest.root, extractor, windows)?.embed(plan)?;
    let rows: Vec<Vec<f64>> =
        embeddings.rows().into_iter().map(|row| unit(row.iter().map(|&v| f64::from(v)))).collect();
    let of = |speaker: usize| &rows[speaker * 2 * utterances..(speaker + 1) * 2 * utterances];
    let enrolled: Vec<Vec<f64>> = (0..speakers)
        .map(|speaker| {
            let own = &of(speaker)[..utterances];
            unit((0..embeddings.ncols()).map(|d| own.iter().map(|row| row[d]).sum::<f64>()))
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let similarity: Vec<f64> = (0..speakers)
        .flat_map(|speaker| &of(speaker)[utterances..])
        .flat_map(|row| enrolled.iter().map(|model| dot(row, model)))
        .collect();
    let test = eer::ge2e_protocol(&similarity, speakers, utterances)?;
    let names = chosen.into_iter().map(|speaker| qualified[speaker].0.to_owned()).collect();
    Ok(ProtocolResult { speakers: names, utterances, similarity, test })
}

fn unit(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    // Zeros have no direction: their cosine with everything is 0.
    values.into_iter().map(|value| if norm > 0.0 { value / norm } else { value }).collect()
}
