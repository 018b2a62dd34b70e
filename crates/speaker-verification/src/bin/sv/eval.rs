//! `sv eval`: a trial list, scored and rated; or the enrol/verify test of the TensorFlow GE2E code.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use speaker_verification::audio::frontend::FeatureExtractor;
use speaker_verification::metrics::norm::{Deviation, NormKind, Normalization};
use speaker_verification::metrics::{TrialFormat, Trials};
use speaker_verification::models::Plan;
use speaker_verification::models::checkpoint::write_whole;
use speaker_verification::train::data::{Manifest, Selection};
use speaker_verification::train::evaluate::{ProtocolResult, ge2e_protocol};
use speaker_verification::{Cohort, CohortList, Error, Evaluation, SpeakerRecognition, read_cohort, read_list};

use crate::{ModelArguments, model, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A trial list in VoxCeleb's format: `1 a.wav b.wav` for the same speaker, `0 a.wav b.wav` for different ones
    #[arg(long, value_name = "FILE", required_unless_present = "protocol", conflicts_with = "protocol")]
    trials: Option<PathBuf>,
    /// The folder that the paths of the list or manifest are relative to [default: the list's or manifest's]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Instead of a list: enrol speakers of a manifest and verify other utterances of theirs, as the TensorFlow GE2E code does
    #[arg(long, value_enum, requires = "manifest")]
    protocol: Option<Protocol>,
    /// The recordings, for --protocol
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The manifest's split [default: all]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// N, speakers to enrol
    #[arg(long, value_name = "N", default_value_t = 4)]
    speakers: usize,
    /// M, utterances of each to enrol, and as many to verify
    #[arg(long, value_name = "M", default_value_t = 5)]
    utterances: usize,
    /// Which speakers and utterances are drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Tell each score by how its recordings stand to a --cohort of strangers: z by the enrolment's scores against it, t by the test
    /// utterance's, s by both
    #[arg(long, value_enum, requires = "cohort", requires = "trials")]
    norm: Option<Norm>,
    /// The cohort, one file a line, or `FILE SPEAKER`. Files alone are its members, their deviation over n - 1 (SpeechBrain's form);
    /// with speakers, each speaker's mean is a member, the deviation over n (WeSpeaker's form)
    #[arg(long, value_name = "LIST", requires = "norm")]
    cohort: Option<PathBuf>,
    /// Only the N highest scores of a recording against the cohort count; all, if it has no more (SpeechBrain: 20000, WeSpeaker: 300)
    /// [default: all]
    #[arg(long, value_name = "N", requires = "norm")]
    top: Option<NonZeroUsize>,
    /// Subtract the mean embedding of these files, one a line, from every other first (WeSpeaker's form)
    #[arg(long, value_name = "LIST", requires = "norm")]
    mean: Option<PathBuf>,
    /// Write each trial with its score: `label a b score`
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Protocol {
    /// N speakers, M utterances to enrol and M to verify, thresholds from 0.50 to 0.99
    Ge2e,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Norm {
    /// By the enrolment's scores
    Z,
    /// By the test utterance's scores
    T,
    /// The mean of both
    S,
}

/// What the enrol/verify test prints. Rates are fractions.
#[derive(Serialize)]
struct ProtocolAnswer {
    eer: f64,
    threshold: f64,
    far: f64,
    frr: f64,
    speakers: Vec<String>,
    utterances: usize,
    /// (N M, N)
    similarity: Vec<Vec<f64>>,
}

/// Rates are fractions.
#[derive(Serialize)]
struct Answer {
    eer: f64,
    eer_interval: Option<[f64; 2]>,
    threshold: f64,
    #[serde(rename = "min_dcf_p0.01")]
    min_dcf: f64,
    trials: usize,
    targets: usize,
    seconds: f64,
    /// Absent where scores are cosines.
    #[serde(skip_serializing_if = "Option::is_none")]
    norm: Option<NormAnswer>,
    errors: Vec<Failure>,
}

/// How scores were normalised.
#[derive(Serialize)]
struct NormAnswer {
    kind: String,
    /// Members: files, or speakers.
    cohort: usize,
    /// How many of them count.
    top: usize,
    /// "n" or "n-1".
    deviation: &'static str,
    /// Files whose mean was subtracted.
    mean: usize,
}

#[derive(Serialize)]
struct Failure {
    path: String,
    error: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(list) = &arguments.trials else { return enrol_and_verify(arguments) };
    let text = std::fs::read(list).map_err(|source| Error::Read { path: list.clone(), source })?;
    let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
        .map_err(|source| Error::TrialList { path: list.clone(), source })?;
    let model = arguments.model.load()?;
    let start = Instant::now();
    let cohort = arguments.norm.map(|kind| embed_cohort(arguments, kind, &model)).transpose()?;
    let bar = output::progress(trials.files().len());
    let (root, finished) = (root_of(arguments, list), |files| bar.inc(files as u64));
    let found = match &cohort {
        Some((cohort, _)) => model.evaluate_normalised(&trials, &root, cohort, finished)?,
        None => model.evaluate(&trials, &root, finished)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if let Some(path) = &arguments.scores {
        write_scores(path, &found)?;
    }
    let failures = || cohort.iter().flat_map(|(cohort, _)| cohort.failures()).chain(&found.failures);
    failures().for_each(|(_, error)| output::complain(&error.to_string()));
    let mut answer = Answer::of(&found, seconds);
    answer.errors = failures().map(Failure::of).collect();
    answer.norm = cohort.as_ref().zip(arguments.norm).map(|((cohort, mean), kind)| NormAnswer::of(cohort, *mean, kind));
    if arguments.json {
        output::json(&answer)?
    } else {
        output::line(&answer.to_string())?
    }
    Ok(ExitCode::from(if answer.errors.is_empty() { 0 } else { 2 }))
}

/// The cohort that was named, and the number of files whose mean is subtracted.
fn embed_cohort(arguments: &Arguments, kind: Norm, model: &SpeakerRecognition) -> anyhow::Result<(Cohort, usize)> {
    let Some(path) = &arguments.cohort else { anyhow::bail!("--norm: name a --cohort") };
    let list = read_cohort(path, &root_of(arguments, path))?;
    let mean = match &arguments.mean {
        Some(path) => read_list(path, &root_of(arguments, path))?,
        None => Vec::new(),
    };
    let kind = match kind {
        Norm::Z => NormKind::Z,
        Norm::T => NormKind::T,
        Norm::S => NormKind::S,
    };
    let deviation = match list {
        CohortList::Utterances(_) => Deviation::Sample,
        CohortList::Speakers(_) => Deviation::Population,
    };
    let bar = output::progress(list.files() + mean.len());
    let rule = Normalization { kind, top: arguments.top, deviation };
    let cohort = model.cohort(&list, &mean, rule, |files| bar.inc(files as u64))?;
    bar.finish_and_clear();
    Ok((cohort, mean.len()))
}

/// The folder that was named, or the one that the list is in.
fn root_of(arguments: &Arguments, list: &Path) -> PathBuf {
    let beside = || list.parent().map(PathBuf::from).unwrap_or_default();
    arguments.root.clone().unwrap_or_else(beside)
}

fn enrol_and_verify(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(path) = &arguments.manifest else { anyhow::bail!("--protocol: name a --manifest") };
    let mut manifest = Manifest::read(path, &root_of(arguments, path))?;
    if let Some(split) = &arguments.split {
        manifest = manifest.select(&Selection { corpora: Vec::new(), splits: vec![split.clone()] })?;
    }
    let model = model::load(&arguments.model.model)?;
    let mut description = model.description().clone();
    if let Some(vad) = &arguments.model.vad {
        description.front_end.vad = vad.clone();
    }
    let extractor = FeatureExtractor::new(&description.front_end)?;
    let plan = Plan::new(&description.encoder, model.weights())?;
    let Arguments { speakers, utterances, seed, .. } = *arguments;
    let result = ge2e_protocol(&plan, &manifest, &extractor, &description.windows, speakers, utterances, seed)?;
    let answer = ProtocolAnswer::of(&result);
    if arguments.json {
        output::json(&answer)?
    } else {
        output::line(&answer.to_string())?
    }
    Ok(ExitCode::SUCCESS)
}

impl ProtocolAnswer {
    fn of(result: &ProtocolResult) -> Self {
        Self {
            eer: result.test.eer,
            threshold: result.test.threshold,
            far: result.test.far,
            frr: result.test.frr,
            speakers: result.speakers.clone(),
            utterances: result.utterances,
            similarity: result.similarity.chunks(result.speakers.len().max(1)).map(<[f64]>::to_vec).collect(),
        }
    }
}

impl std::fmt::Display for ProtocolAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (row, values) in self.similarity.iter().enumerate() {
            write!(f, "{:<20}", self.speakers[row / self.utterances])?;
            for value in values {
                write!(f, " {value:6.2}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "EER        {:.2}", self.eer)?;
        writeln!(f, "threshold  {:.2}", self.threshold)?;
        writeln!(f, "FAR        {:.2}", self.far)?;
        write!(f, "FRR        {:.2}", self.frr)
    }
}

/// One line a scored trial, in the list's order: written beside and renamed, so that no half a list is left.
fn write_scores(path: &Path, found: &Evaluation) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in found.trials.score_lines(&found.scores)? {
        writeln!(text, "{line}")?;
    }
    Ok(write_whole(path, |out| out.write_all(text.as_bytes()))?)
}

impl Answer {
    fn of(found: &Evaluation, seconds: f64) -> Self {
        Self {
            eer: found.eer.rate,
            eer_interval: found.eer_interval.map(|interval| [interval.low, interval.high]),
            threshold: found.eer.threshold,
            min_dcf: found.min_dcf.cost,
            trials: found.trials.pairs().len(),
            targets: found.targets(),
            seconds,
            norm: None,
            errors: found.failures.iter().map(Failure::of).collect(),
        }
    }
}

impl Failure {
    fn of((path, error): &(PathBuf, Error)) -> Self {
        Self { path: path.display().to_string(), error: error.to_string() }
    }
}

impl NormAnswer {
    fn of(cohort: &Cohort, mean: usize, kind: Norm) -> Self {
        let (members, rule) = (cohort.members(), cohort.rule());
        Self {
            kind: format!("{kind:?}").to_lowercase(),
            cohort: members,
            top: rule.top.map_or(members, |top| top.get().min(members)),
            deviation: match rule.deviation {
                Deviation::Population => "n",
                Deviation::Sample => "n-1",
            },
            mean,
        }
    }
}

impl std::fmt::Display for NormAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-norm, the highest {} of a cohort of {}", self.kind, self.top, self.cohort)?;
        write!(f, ", deviation over {}", self.deviation)?;
        if self.mean > 0 { write!(f, ", minus the mean of {} files", self.mean) } else { Ok(()) }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EER          {:.2} %", 100.0 * self.eer)?;
        if let Some([low, high]) = self.eer_interval {
            write!(f, "  (95 % interval {:.2} to {:.2}, speakers resampled)", 100.0 * low, 100.0 * high)?;
        }
        writeln!(f, "\nthreshold    {:.4}  (where the two error rates meet on this list)", self.threshold)?;
        writeln!(f, "minDCF 0.01  {:.4}", self.min_dcf)?;
        if let Some(norm) = &self.norm {
            writeln!(f, "scores       {norm}")?;
        }
        write!(f, "trials       {}  ({} targets), {:.2} s", self.trials, self.targets, self.seconds)
    }
}
