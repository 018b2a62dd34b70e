//! The one place that prints: results to standard output, all else to standard error.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Prints one line. A reader that closed the pipe has what it wanted: that is success.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    text_as_it_is(&format!("{text}\n"))
}

/// Prints text that brings its own line ends.
pub(crate) fn text_as_it_is(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("standard output"),
    }
}

/// Prints one JSON object on one line.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Reports an error and gives its exit status, 2.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // The library's errors say what their causes said; only the context that is added here does not.
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    complain(&message);
    ExitCode::from(2)
}

/// One line on standard error.
pub(crate) fn complain(message: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "error: {message}");
}

/// A bar on standard error, drawn only on a terminal.
pub(crate) fn progress(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
