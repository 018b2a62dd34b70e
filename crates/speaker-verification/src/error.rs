//! What can go wrong for an application: what the crates below report, with the file it happened to.

use std::path::PathBuf;

use sv_audio::AudioError;
use sv_metrics::MetricsError;
use sv_models::ModelError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recording in memory cannot be decoded or holds nothing to embed.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// The same, for a file.
    #[error("{}: {source}", .path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AudioError,
    },
    /// A model cannot be read, or an embedding cannot be made or compared.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An embedding of one file failed inside the network.
    #[error("{}: {source}", .path.display())]
    Embedding {
        /// The file.
        path: PathBuf,
        /// What is wrong. Boxed: every result of this crate has room for the largest error.
        source: Box<ModelError>,
    },
    /// A trial list or its scores cannot be used.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The same, for a trial list in a file.
    #[error("{}: {source}", .path.display())]
    TrialList {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: MetricsError,
    },
    /// Too many files of a trial list failed: what is left has no targets, or no non-targets.
    #[error("{failed} files failed, and too few trials are left: {source}; the first failure: {first}")]
    NothingScored {
        /// Number of files that failed.
        failed: usize,
        /// What went wrong with the first of them.
        first: Box<Error>,
        /// What the remaining trials lack.
        source: MetricsError,
    },
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("{}: cannot be written: {source}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A table of embeddings is not one of ours.
    #[error("{}: not a table of embeddings: {message}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file is no enrolment of ours.
    #[error("{}: not an enrolment: {message}", .path.display())]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Finished batches of another run lie where this one would put its own.
    #[error("{}: left by another run ({differs} differs); remove it, or write to another file", .path.display())]
    OtherRun {
        /// The folder of finished batches.
        path: PathBuf,
        /// What differs.
        differs: &'static str,
    },
    /// A model without a classifier was asked for a class.
    #[error("the model has no classifier; it embeds and compares, but names no speaker")]
    NoClassifier,
    /// A model without a mean of embeddings was asked to subtract it.
    #[error("the model has no mean of embeddings to subtract; embed without `normalize`")]
    NoEmbeddingMean,
    /// Lengths that do not fit a batch.
    #[error("lengths {got:?} for a batch of {rows} rows; give one a row, above 0 and at most 1")]
    Lengths {
        /// B.
        rows: usize,
        /// The lengths given.
        got: Vec<f64>,
    },
    /// Batches of different sizes were to be compared row by row.
    #[error("{a} rows on one side, {b} on the other; give as many on both")]
    Rows {
        /// Rows of the one.
        a: usize,
        /// Rows of the other.
        b: usize,
    },
    /// A line of a cohort's list that is unlike its first, or unlike any.
    #[error("{}: line {line} has {got} fields, {need} are needed; a cohort's list has a file on every line, or a file and its speaker on every line, without white space in names", .path.display())]
    CohortLine {
        /// The list.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Fields found.
        got: usize,
        /// Fields needed: those of the first line, two at most.
        need: usize,
    },
    /// A list names no recording.
    #[error("{origin}: names no recording")]
    NothingToDo {
        /// The list or folder.
        origin: String,
    },
}

impl Error {
    /// The same error, with the file that it happened to.
    #[cfg(feature = "decode")]
    pub(crate) fn at(self, path: &std::path::Path) -> Self {
        match self {
            Self::Audio(source) => Self::Recording { path: path.into(), source },
            Self::Model(source) => Self::Embedding { path: path.into(), source: Box::new(source) },
            other => other,
        }
    }
}
