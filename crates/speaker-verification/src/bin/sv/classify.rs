//! `sv classify`: which of the speakers of a model's training recordings are most like.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use speaker_verification::models::Classification;

use crate::{ModelArguments, log_warnings, output};

/// Exit status: 0, or 2 if a recording failed (the others are classified all the same).
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Recordings
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// Print one JSON object a recording
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    path: &'a PathBuf,
    #[serde(flatten)]
    class: Classification,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let model = arguments.model.load()?;
    let mut failed = false;
    for (path, utterance) in arguments.recordings.iter().zip(model.embed_files(&arguments.recordings, |_| {})) {
        let class = match utterance {
            Ok(utterance) => {
                log_warnings(path, &utterance);
                // What fails here fails for every recording: a model without a classifier.
                model.class_of(&utterance)?
            }
            Err(error) => {
                output::complain(&error.to_string());
                failed = true;
                continue;
            }
        };
        if arguments.json {
            output::json(&Answer { path, class })?;
        } else {
            let Classification { label, index, score, probability } = class;
            let name = label.unwrap_or_else(|| format!("class {index}"));
            output::line(&format!("{}  {name}  score {score:.4}  probability {probability:.4}", path.display()))?;
        }
    }
    Ok(ExitCode::from(if failed { 2 } else { 0 }))
}
