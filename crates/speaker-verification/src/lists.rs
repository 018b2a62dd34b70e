//! Many files on all cores, each embedded once.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::recognition::Prepared;
use crate::{Error, SpeakerRecognition, Utterance};

/// Files that one task decodes before their windows go through the network together: enough that the network's weights
/// are read once for some twenty windows, few enough that all cores have work in a short list.
const TOGETHER: usize = 8;

/// Endings of the files that a folder is searched for.
const ENDINGS: [&str; 17] = [
    "aac", "aif", "aiff", "caf", "flac", "m4a", "mka", "mkv", "mp2", "mp3", "mp4", "oga", "ogg", "opus", "wav", "wave",
    "webm",
];

impl SpeakerRecognition {
    /// Embeds `files` in parallel on rayon's current pool; result i belongs to file i and does not depend on the others.
    /// `finished` is called with the number of files that a task has done, from any thread.
    pub fn embed_files<P, F>(&self, files: &[P], finished: F) -> Vec<Result<Utterance, Error>>
    where
        P: AsRef<Path> + Sync,
        F: Fn(usize) + Sync,
    {
        let chunk = TOGETHER.min(files.len().div_ceil(rayon::current_num_threads())).max(1);
        let chunks: Vec<Vec<_>> = files
            .par_chunks(chunk)
            .map(|files| {
                let results = self.embed_chunk(files);
                finished(files.len());
                results
            })
            .collect();
        chunks.into_iter().flatten().collect()
    }

    fn embed_chunk<P: AsRef<Path>>(&self, files: &[P]) -> Vec<Result<Utterance, Error>> {
        let mut ready: Vec<Prepared> = Vec::with_capacity(files.len());
        let places: Vec<Result<(), Error>> =
            files.iter().map(|file| self.prepare_file(file.as_ref()).map(|prepared| ready.push(prepared))).collect();
        let mut embedded = self.embed_prepared(ready).into_iter();
        places
            .into_iter()
            .zip(files)
            .map(|(place, file)| {
                place?;
                embedded.next().expect("one result for each prepared file").map_err(|error| error.at(file.as_ref()))
            })
            .collect()
    }
}

/// All recordings in `folder` and below, by the ending of their names, sorted.
///
/// # Errors
/// [`Error::Read`] names the folder that cannot be listed; [`Error::NothingToDo`] if there is no recording.
pub fn recordings_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let unreadable = |source| Error::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            // A link to a folder is not followed: it could lead back up.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
            } else if has_known_ending(&path) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        return Err(Error::NothingToDo { origin: folder.display().to_string() });
    }
    found.sort();
    Ok(found)
}

fn has_known_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// A list of files, one path a line, relative to `root`. Blank lines and lines that begin with `#` are skipped.
///
/// # Errors
/// [`Error::Read`] if the list cannot be read as text; [`Error::NothingToDo`] if it names no file.
pub fn read_list(list: &Path, root: &Path) -> Result<Vec<PathBuf>, Error> {
    let text = std::fs::read_to_string(list).map_err(|source| Error::Read { path: list.into(), source })?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let files: Vec<_> =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| root.join(line)).collect();
    if files.is_empty() {
        return Err(Error::NothingToDo { origin: list.display().to_string() });
    }
    Ok(files)
}
