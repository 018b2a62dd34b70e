//! `sv`: speaker verification from the command line. Each verb parses, calls the library and prints; see its file.
#![forbid(unsafe_code)]

mod classify;
mod convert;
mod embed;
mod enrol;
mod eval;
mod inspect;
mod man;
mod model;
mod output;
mod report;
mod synth;
mod train;
mod verify;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use speaker_verification::audio::vad::VadChoice;
use speaker_verification::{Device, SpeakerRecognition};

/// Exit status of every verb: 0 done (`verify`: accept), 1 `verify`: reject, 2 an error, 3 `verify`: undecided.
#[derive(Parser)]
#[command(name = "sv", version, about = "Is this the same person's voice?", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Worker threads [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

#[derive(Subcommand)]
enum Verb {
    /// Turn recordings into embeddings
    Embed(embed::Arguments),
    /// Say whether two recordings are of the same person
    Verify(verify::Arguments),
    /// Name the speaker of the model's training that a recording is most like
    Classify(classify::Arguments),
    /// Enrol a speaker from several recordings
    Enrol(enrol::Arguments),
    /// Score a trial list and print its error rates
    Eval(eval::Arguments),
    /// Write a checkpoint of another system as a model directory
    Convert(convert::Arguments),
    /// Say what a model is
    Inspect(inspect::Arguments),
    /// Train a model by a recipe
    Train(Box<train::Arguments>),
    /// Write the report of a run again
    Report(report::Arguments),
    /// Write a corpus of synthetic voices
    Synth(synth::Arguments),
    /// Print a shell's completion script, or write the man pages
    #[command(hide = true)]
    Generate(man::Arguments),
}

/// What every verb that embeds takes.
#[derive(Args)]
struct ModelArguments {
    /// A model directory, a run of `sv train` (RUN, or RUN@STEP), a checkpoint of another system; or a model of the hub, `org/name` or
    /// `org/name@revision`, which is downloaded once
    #[arg(long, value_name = "PATH|NAME")]
    model: PathBuf,
    /// Find speech by this VAD instead of the model's: none, energy, resemblyzer, trim (14 dB), split (20 dB)
    #[arg(long, value_name = "NAME")]
    vad: Option<VadChoice>,
    /// Compute on cpu, cuda:N or metal; builds for the latter two have the features `cuda` and `metal`
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Device,
}

impl ModelArguments {
    fn load(&self) -> anyhow::Result<SpeakerRecognition> {
        let model = SpeakerRecognition::on_device(&model::load(&self.model)?, self.device)?;
        tracing::debug!(fingerprint = %model.fingerprint(), "model loaded from {}", self.model.display());
        Ok(match &self.vad {
            Some(vad) => model.with_vad(vad.clone())?,
            None => model,
        })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_standard_error();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => output::failure(&error),
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(threads) = arguments.threads {
        speaker_verification::models::pool::limit(threads.get())?;
    }
    match arguments.verb {
        Verb::Embed(verb) => embed::run(&verb),
        Verb::Verify(verb) => verify::run(&verb),
        Verb::Classify(verb) => classify::run(&verb),
        Verb::Enrol(verb) => enrol::run(&verb),
        Verb::Eval(verb) => eval::run(&verb),
        Verb::Convert(verb) => convert::run(&verb),
        Verb::Inspect(verb) => inspect::run(&verb),
        Verb::Train(verb) => train::run(&verb),
        Verb::Report(verb) => report::run(&verb),
        Verb::Synth(verb) => synth::run(&verb),
        Verb::Generate(verb) => man::run(&verb),
    }
}

/// Logs go to standard error, at the level that `SV_LOG` names; warnings by default.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SV_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}

/// Logs what the decoder had to say of `path`.
fn log_warnings(path: &Path, utterance: &speaker_verification::Utterance) {
    for warning in &utterance.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
}
