//! `sv convert`: a checkpoint of another system as a model directory.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::{model, output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A checkpoint, or a directory, of another system, or a model of the hub (`org/name`)
    checkpoint: PathBuf,
    /// The model directory to write
    out_dir: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let model = model::load(&arguments.checkpoint)?;
    model.save(&arguments.out_dir)?;
    output::line(&format!("{}  fingerprint {}", arguments.out_dir.display(), model.fingerprint()))?;
    Ok(ExitCode::SUCCESS)
}
