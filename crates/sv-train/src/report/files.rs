//! Writes a report: Markdown, one HTML page, and the plots, each file whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use sv_models::checkpoint::write_whole;

use super::content::{Block, Content};
use super::html::html;
use super::markdown::markdown;
use super::summary::RunSummary;
use crate::TrainError;
use crate::error::not_written;

/// The files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFiles {
    /// `report.md`, which links the plots.
    pub markdown: PathBuf,
    /// `report.html`, which holds them.
    pub html: PathBuf,
    /// `plots/*.svg`, in the order in which the report shows them.
    pub plots: Vec<PathBuf>,
}

/// Writes the report of one or several runs to `folder`, which is made if it is not there. Files of the same names are replaced.
///
/// What a plot cannot show (values that are not finite) is counted in its caption.
///
/// # Errors
/// [`TrainError::Write`], [`TrainError::Plot`].
pub fn write(summaries: &[RunSummary], folder: &Path) -> Result<ReportFiles, TrainError> {
    let content = Content::of(summaries)?;
    let beside = folder.join("plots");
    fs::create_dir_all(&beside).map_err(|source| TrainError::Write { path: beside.clone(), source })?;
    let mut plots = Vec::new();
    for block in &content.blocks {
        if let Block::Figure(figure) = block {
            plots.push(put(beside.join(&figure.file), &figure.svg)?);
        }
    }
    let html = put(folder.join("report.html"), &html(&content))?;
    // Last, as it links the plots.
    let markdown = put(folder.join("report.md"), &markdown(&content))?;
    Ok(ReportFiles { markdown, html, plots })
}

fn put(path: PathBuf, text: &str) -> Result<PathBuf, TrainError> {
    write_whole(&path, |out| out.write_all(text.as_bytes())).map_err(|error| not_written(&path, error))?;
    Ok(path)
}

#[cfg(test)]
mod tests;
