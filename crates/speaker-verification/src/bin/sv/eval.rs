//! `sv eval`: a trial list, scored and rated.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use speaker_verification::metrics::{TrialFormat, Trials};
use speaker_verification::models::checkpoint::write_whole;
use speaker_verification::{Error, Evaluation};

use crate::{ModelArguments, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// A trial list in VoxCeleb's format: `1 a.wav b.wav` for the same speaker, `0 a.wav b.wav` for different ones
    #[arg(long, value_name = "FILE")]
    trials: PathBuf,
    /// The folder that the list's paths are relative to
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Write each trial with its score: `label a b score`
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    let text =
        std::fs::read(&arguments.trials).map_err(|source| Error::Read { path: arguments.trials.clone(), source })?;
    let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
        .map_err(|source| Error::TrialList { path: arguments.trials.clone(), source })?;
    let model = arguments.model.load()?;
    let bar = output::progress(trials.files().len());
    let start = Instant::now();
    let found = model.evaluate(&trials, &arguments.root, |files| bar.inc(files as u64))?;
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
