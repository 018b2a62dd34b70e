//! The list of recordings that a training uses: who speaks, what, and in which split.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use sv_audio::synth::Corpus;

use super::error::shown;
use crate::TrainError;
use crate::data::DataError;

/// Most bytes of a manifest's line.
pub(super) const MAX_LINE: usize = 1 << 16;
/// Most entries of a manifest: with the longest published corpora (a million recordings) ten times over.
pub(super) const MAX_ENTRIES: usize = 10_000_000;

/// Recordings with their speakers, in a stated order: the order of entries is part of what "same seed, same bits" means.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// The folder that the paths of files start from; unused where all recordings are synthetic.
    pub root: PathBuf,
    /// The recordings.
    pub entries: Vec<Entry>,
}

/// One recording of one speaker.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the samples come from.
    pub recording: Recording,
    /// Who speaks; the same text is the same person throughout the manifest.
    pub speaker: String,
    /// What is said, where a corpus has fixed phrases.
    pub phrase: Option<String>,
    /// The part of the corpus: `train`, `dev`, `test`, `trial`, or what a corpus calls it.
    pub split: String,
    /// Name of the corpus; may be empty.
    pub corpus: String,
    /// Length in seconds, where the list says so.
    pub seconds: Option<f64>,
}

/// Where the samples of a recording come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recording {
    /// A file, by its path below [`Manifest::root`].
    File(PathBuf),
    /// A synthetic voice; `docs/synthesised-voices.md` says which.
    Synthetic {
        /// Which text is said.
        corpus: Corpus,
        /// Seed of the corpus.
        seed: u64,
        /// Index of the voice.
        speaker: u64,
        /// Index of the take.
        utterance: u64,
    },
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Synthetic { corpus, seed, speaker, utterance } => {
                write!(f, "synthetic {corpus:?} seed {seed} speaker {speaker} utterance {utterance}")
            }
        }
    }
}

/// Columns of a manifest, in the order of [`NAMES`].
#[derive(Clone, Copy)]
enum Column {
    Path,
    Corpus,
    Split,
    Speaker,
    Phrase,
    Seconds,
}

const NAMES: [(&str, Column); 6] = [
    ("path", Column::Path),
    ("corpus", Column::Corpus),
    ("split", Column::Split),
    ("speaker", Column::Speaker),
    ("phrase", Column::Phrase),
    ("seconds", Column::Seconds),
];

impl Manifest {
    /// Reads tab-separated text: a header with the columns `path`, `split`, `speaker` and, where they are known, `corpus`,
    /// `phrase`, `seconds`, in any order; then a line a recording. Paths are below `root`; none is opened here.
    ///
    /// # Errors
    /// [`TrainError::Read`]; a [`DataError`] that names the line: unknown, repeated or missing columns, another number of
    /// fields, an empty path, speaker or split, a path that is absolute or holds `..`, seconds that are no length, a
    /// recording that is listed twice, text that is none or has no end.
    pub fn read(path: &Path, root: &Path) -> Result<Self, TrainError> {
        let read = |source| TrainError::Read { path: path.to_owned(), source };
        let mut lines =
            Lines { path, input: BufReader::new(File::open(path).map_err(read)?), line: 0, text: Vec::new() };
        let columns = match lines.next()? {
            Some((_, header)) => columns(path, header)?,
            None => return Err(DataError::MissingColumn { path: path.to_owned(), column: "path" }.into()),
        };
        let mut manifest = Self { root: root.to_owned(), entries: Vec::new() };
        let mut seen: HashMap<PathBuf, usize> = HashMap::new();
        while let Some((line, text)) = lines.next()? {
            if manifest.entries.len() == MAX_ENTRIES {
                return Err(DataError::ManifestSize { path: path.to_owned(), line }.into());
            }
            let entry = entry(path, line, &columns, text)?;
            if let Recording::File(file) = &entry.recording
                && let Some(first) = seen.insert(file.clone(), line)
            {
                let recording = shown(&file.display().to_string());
                return Err(DataError::Duplicate { path: path.to_owned(), line, first, recording }.into());
            }
            manifest.entries.push(entry);
        }
        Ok(manifest)
    }

    /// The speakers, sorted, each once.
    #[must_use]
    pub fn speakers(&self) -> Vec<&str> {
        let mut speakers: Vec<&str> = self.entries.iter().map(|entry| entry.speaker.as_str()).collect();
        speakers.sort_unstable();
        speakers.dedup();
        speakers
    }
}

/// Lines of a file that may have none, or no end.
struct Lines<'p> {
    path: &'p Path,
    input: BufReader<File>,
    line: usize,
    text: Vec<u8>,
}

impl Lines<'_> {
    /// The next line that is not empty, with its number from 1.
    fn next(&mut self) -> Result<Option<(usize, &str)>, TrainError> {
        loop {
            self.line += 1;
            self.text.clear();
            let mut limited = (&mut self.input).take(MAX_LINE as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.text);
            let read = read.map_err(|source| TrainError::Read { path: self.path.to_owned(), source })?;
            if read == 0 {
                return Ok(None);
            }
            if self.text.len() > MAX_LINE {
                return Err(DataError::ManifestSize { path: self.path.to_owned(), line: self.line }.into());
            }
            while matches!(self.text.last(), Some(b'\n' | b'\r')) {
                self.text.pop();
            }
            if !self.text.is_empty() {
                break;
            }
        }
        let not_text = || DataError::NotText { path: self.path.to_owned(), line: self.line };
        let text = std::str::from_utf8(&self.text).map_err(|_| not_text())?;
        if text.chars().any(|character| character.is_control() && character != '\t') {
            return Err(not_text().into());
        }
        Ok(Some((self.line, text)))
    }
}

fn columns(path: &Path, header: &str) -> Result<Vec<Column>, DataError> {
    let header = header.strip_prefix('\u{feff}').unwrap_or(header);
    let mut columns = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for name in header.split('\t') {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, column)) if !names.contains(&name) => columns.push(*column),
            _ => return Err(DataError::UnknownColumn { path: path.to_owned(), column: shown(name) }),
        }
        names.push(name);
    }
    for column in ["path", "speaker", "split"] {
        if !names.contains(&column) {
            return Err(DataError::MissingColumn { path: path.to_owned(), column });
        }
    }
    Ok(columns)
}

fn entry(path: &Path, line: usize, columns: &[Column], text: &str) -> Result<Entry, DataError> {
    let got = text.split('\t').count();
    if got != columns.len() {
        return Err(DataError::Fields { path: path.to_owned(), line, got, need: columns.len() });
    }
    let refuse = |column, value: &str, allowed| DataError::Field {
        path: path.to_owned(),
        line,
        column,
        value: shown(value),
        allowed,
    };
    let mut file = PathBuf::new();
    let (mut corpus, mut split, mut speaker) = (String::new(), String::new(), String::new());
    let (mut phrase, mut seconds) = (None, None);
    for (column, value) in columns.iter().zip(text.split('\t')) {
        match column {
            Column::Path => {
                file = PathBuf::from(value);
                // Any `..` is refused, wherever it leads: whether it leaves the root depends on links that may change.
                let inside = file.components().all(|part| matches!(part, Component::Normal(_)));
                if value.is_empty() || !inside {
                    return Err(refuse("path", value, "a path below the corpus folder, without `..`"));
                }
            }
            Column::Corpus => value.clone_into(&mut corpus),
            Column::Split if value.is_empty() => return Err(refuse("split", value, "a name")),
            Column::Split => value.clone_into(&mut split),
            Column::Speaker if value.is_empty() => return Err(refuse("speaker", value, "a name")),
            Column::Speaker => value.clone_into(&mut speaker),
            Column::Phrase => phrase = (!value.is_empty()).then(|| value.to_owned()),
            Column::Seconds if value.is_empty() => {}
            Column::Seconds => match value.parse() {
                Ok(length) if (0.0..=1e9).contains(&length) => seconds = Some(length),
                _ => return Err(refuse("seconds", value, "a length in seconds, or empty")),
            },
        }
    }
    Ok(Entry { recording: Recording::File(file), speaker, phrase, split, corpus, seconds })
}

#[cfg(test)]
mod tests;
