//! `sv enrol`: a speaker from several recordings, as a file that `sv verify --enrolment` takes.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use speaker_verification::Enrolment;

use crate::{ModelArguments, log_warnings, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Recordings of one speaker
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// Write the enrolment to this file (JSON)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Add to the enrolment that is in the file, instead of beginning a new one
    #[arg(long)]
    add: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    enrolment: &'a PathBuf,
    utterances: usize,
    model: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let model = arguments.model.load()?;
    let mut enrolment = if arguments.add { Some(Enrolment::load(&arguments.out)?) } else { None };
    // All of them or none: a speaker enrolled from less than was named would pass for one enrolled from all.
    for (path, utterance) in arguments.recordings.iter().zip(model.embed_files(&arguments.recordings, |_| {})) {
        let utterance = utterance?;
        log_warnings(path, &utterance);
        match &mut enrolment {
            Some(enrolment) => enrolment.add(&utterance.embedding)?,
            None => enrolment = Some(Enrolment::new(&utterance.embedding)?),
        }
    }
    let enrolment = enrolment.ok_or_else(|| anyhow::anyhow!("no recording was named"))?;
    enrolment.save(&arguments.out)?;
    let (utterances, model) = (enrolment.utterances(), enrolment.fingerprint());
    if arguments.json {
        output::json(&Answer { enrolment: &arguments.out, utterances, model: model.to_string() })?;
    } else {
        output::line(&format!("{}: {utterances} utterances, model {}", arguments.out.display(), model.short()))?;
    }
    Ok(ExitCode::SUCCESS)
}
