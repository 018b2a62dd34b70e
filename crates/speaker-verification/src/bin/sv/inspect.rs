//! `sv inspect`: what a model is.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use speaker_verification::models::Description;

use crate::{model, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A model directory, a run of `sv train` (RUN, or RUN@STEP), a checkpoint of another system, or a model of the hub (`org/name`)
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    fingerprint: String,
    parameters: usize,
    #[serde(flatten)]
    description: &'a Description,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let model = model::load(&arguments.model)?;
    let parameters = model.description().encoder.parameters();
    if arguments.json {
        let fingerprint = model.fingerprint().to_string();
        output::json(&Answer { fingerprint, parameters, description: model.description() })?;
    } else {
        output::text_as_it_is(&format!("# {parameters} parameters\n{}", model.card()?))?;
    }
    Ok(ExitCode::SUCCESS)
}
