//! `sv eval`: a trial list, scored and rated; or the enrol/verify test of the TensorFlow GE2E code.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use speaker_verification::audio::frontend::FeatureExtractor;
use speaker_verification::metrics::{TrialFormat, Trials};
use speaker_verification::models::checkpoint::write_whole;
use speaker_verification::models::{ModelDir, Plan};
use speaker_verification::train::data::{Manifest, Selection};
use speaker_verification::train::evaluate::{ProtocolResult, ge2e_protocol};
use speaker_verification::train::run_dir::resolve_model;
use speaker_verification::{Error, Evaluation};

use crate::{ModelArguments, output};

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
    errors: Vec<Failure>,
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
    let bar = output::progress(trials.files().len());
    let start = Instant::now();
    let found = model.evaluate(&trials, &root_of(arguments, list), |files| bar.inc(files as u64))?;
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if let Some(path) = &arguments.scores {
        write_scores(path, &found)?;
    }
    found.failures.iter().for_each(|(_, error)| output::complain(&error.to_string()));
    let answer = Answer::of(&found, seconds);
    if arguments.json {
        output::json(&answer)?
    } else {
        output::line(&answer.to_string())?
    }
    Ok(ExitCode::from(if answer.errors.is_empty() { 0 } else { 2 }))
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
    let model = ModelDir::load(&resolve_model(&arguments.model.model)?)?;
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
        let failure =
            |(path, error): &(PathBuf, Error)| Failure { path: path.display().to_string(), error: error.to_string() };
        Self {
            eer: found.eer.rate,
            eer_interval: found.eer_interval.map(|interval| [interval.low, interval.high]),
            threshold: found.eer.threshold,
            min_dcf: found.min_dcf.cost,
            trials: found.trials.pairs().len(),
            targets: found.targets(),
            seconds,
            errors: found.failures.iter().map(failure).collect(),
        }
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
        write!(f, "trials       {}  ({} targets), {:.2} s", self.trials, self.targets, self.seconds)
    }
}
