//! What can go wrong between a list of recordings and a batch.

use std::path::PathBuf;

use sv_audio::AudioError;

use super::manifest::{MAX_ENTRIES, MAX_LINE};

/// Why training data could not be listed, prepared or drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A manifest without a column that every entry needs.
    #[error("{}: no column `{column}` in the header; a manifest needs path, speaker and split", .path.display())]
    MissingColumn {
        /// The manifest.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A manifest with a column that nothing reads.
    #[error(
        "{}: unknown column `{column}` in the header; columns are path, corpus, split, speaker, phrase, seconds, each once",
        .path.display()
    )]
    UnknownColumn {
        /// The manifest.
        path: PathBuf,
        /// The column, or its first characters.
        column: String,
    },
    /// A line of a manifest with too few or too many fields.
    #[error("{}:{line}: {got} fields, the header has {need}; fields are separated by one tab", .path.display())]
    Fields {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Fields in the line.
        got: usize,
        /// Fields in the header.
        need: usize,
    },
    /// A field of a manifest that cannot be what its column says.
    #[error("{}:{line}: {column} is `{value}`; it must be {allowed}", .path.display())]
    Field {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column.
        column: &'static str,
        /// The field, or its first characters.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A manifest that is no text.
    #[error("{}:{line}: not a line of UTF-8 text without control characters; is this a manifest?", .path.display())]
    NotText {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line longer than any sensible one, or a list with too many.
    #[error("{}:{line}: more than {MAX_LINE} bytes in a line or {MAX_ENTRIES} lines; split the manifest", .path.display())]
    ManifestSize {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The same recording is listed twice.
    #[error("{}:{line}: `{recording}` is listed in line {first} already; remove one of the two", .path.display())]
    Duplicate {
        /// The manifest.
        path: PathBuf,
        /// The second line, from 1.
        line: usize,
        /// The first line.
        first: usize,
        /// The recording.
        recording: String,
    },
    /// A corpus folder that does not look like one.
    #[error("{}: no recordings of {corpus} found; expected {expected} in it", .folder.display())]
    NoRecordings {
        /// The folder that was searched.
        folder: PathBuf,
        /// Name of the corpus.
        corpus: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A corpus, split or speaker was asked for that no entry has.
    #[error("no recording has {column} `{value}`; there are {}", .known.join(", "))]
    NothingSelected {
        /// What was asked for: corpus, split or speaker.
        column: &'static str,
        /// The value that was asked for.
        value: String,
        /// Values that there are, the first ones.
        known: Vec<String>,
    },
    /// A split between speakers that leaves nobody to train on.
    #[error("{speakers} speakers: nine of each ten are for training, so fewer than ten leave none; list more")]
    TooFewToSplit {
        /// Speakers in the manifest.
        speakers: usize,
    },
    /// Classes are phrases of speakers, and a recording has no phrase.
    #[error(
        "{recording}: has no phrase, and classes are speakers with phrases; fill the column or use classes = \"speaker\""
    )]
    NoPhrase {
        /// The recording.
        recording: String,
    },
    /// A setting outside what it may be.
    #[error("{name} = {value}: must be {allowed}")]
    Setting {
        /// The setting, as a configuration names it.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// More recordings than a corpus may lose cannot be used.
    #[error(
        "{skipped} of {recordings} recordings cannot be used, more than one in a hundred: {}; mend or remove them",
        .first.join("; ")
    )]
    TooManySkipped {
        /// Recordings that cannot be used.
        skipped: usize,
        /// Recordings in all.
        recordings: usize,
        /// The first of them, each with its reason.
        first: Vec<String>,
    },
    /// Fewer classes than a batch draws.
    #[error(
        "{have} {what} can be drawn from, a batch takes {need}; {dropped} were left out for having too few recordings or pieces{}{}; add recordings or draw fewer",
        if .first.is_empty() { "" } else { ", among them " }, .first.join(", ")
    )]
    TooFewClasses {
        /// What is drawn: speakers, phrases of speakers, or speakers with two phrases.
        what: &'static str,
        /// How many qualify.
        have: usize,
        /// How many a batch takes.
        need: usize,
        /// How many do not qualify.
        dropped: usize,
        /// The first of them.
        first: Vec<String>,
    },
    /// The front end, or a recording under it, refused.
    #[error("{what}: {source}")]
    Audio {
        /// The recording, or the setting.
        what: String,
        /// Why.
        source: AudioError,
    },
    /// A noise recording and its clean twin do not fit each other.
    #[error("{}: has no twin of the same name and rate in {}; both folders must hold the same recordings", .noisy.display(), .clean.display())]
    NoTwin {
        /// The noisy recording.
        noisy: PathBuf,
        /// The folder of clean ones.
        clean: PathBuf,
    },
    /// A recording that was prepared before gives something else now.
    #[error("{recording}: has changed since it was prepared; restart, so that it is prepared again")]
    Changed {
        /// The recording.
        recording: String,
    },
    /// A thread that prepares batches panicked: a defect of this program.
    #[error("the worker that prepared the batch of step {step} stopped: {what}; this is a defect, please report it")]
    WorkerStopped {
        /// The step.
        step: u64,
        /// The panic's message.
        what: String,
    },
}

impl DataError {
    /// Names the recording or setting that `source` is about.
    pub(crate) fn audio(what: impl Into<String>) -> impl FnOnce(AudioError) -> Self {
        let what = what.into();
        move |source| Self::Audio { what, source }
    }
}

/// The first characters of a value that may be hostile, for a message.
pub(super) fn shown(value: &str) -> String {
    const MOST: usize = 80;
    let mut text: String = value.chars().take(MOST).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}
