//! `sv generate`: completions and man pages, made from the same definitions that parse.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the completion script of this shell
    #[arg(long, value_name = "SHELL", required_unless_present = "man")]
    completions: Option<Shell>,
    /// Write `sv.1` and one page a verb into this folder
    #[arg(long, value_name = "DIR")]
    man: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = crate::Arguments::command();
    if let Some(shell) = arguments.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "sv", &mut script);
        output::text_as_it_is(&String::from_utf8(script)?)?;
    }
    if let Some(folder) = &arguments.man {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        clap_mangen::generate_to(command, folder).with_context(|| folder.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
