//! `sv report`: the report of a run, written again from what the run left.

use std::path::PathBuf;
use std::process::ExitCode;

use speaker_verification::train::summary;

use crate::train::write_report;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folders of finished runs; the report is written into the first
    #[arg(required = true)]
    runs: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let told = arguments.runs.iter().map(|run| summary::load(run)).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = arguments.runs.first() {
        write_report(first, &told)?;
    }
    Ok(ExitCode::SUCCESS)
}
