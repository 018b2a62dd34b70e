//! Corpora by their published folders, sorted, and the synthetic ones by their sizes.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sv_audio::synth::Corpus;

use super::{DataError, Entry, Manifest, Recording};
use crate::TrainError;

/// VCTK: `wav48_silence_trimmed/pNNN/*.flac` (0.92) or `wav48/pNNN/*.wav` below `root` or its folder `VCTK-Corpus`.
///
/// Of the two microphones of 0.92 only the first is listed, unless an utterance has just the second: both are the same
/// utterance. Sorted by path; every split is `all`, see [`Manifest::split_speakers`]. With `speakers` only those.
///
/// # Errors
/// [`TrainError::Read`], [`DataError::NoRecordings`], [`DataError::NothingSelected`] for a speaker that is not there.
pub fn vctk(root: &Path, speakers: Option<&[String]>) -> Result<Manifest, TrainError> {
    let bases = ["", "VCTK-Corpus", "VCTK-Corpus-0.92"];
    let folders = [("wav48_silence_trimmed", "flac"), ("wav48", "wav")];
    for (base, (folder, extension)) in bases.iter().flat_map(|base| folders.map(|folder| (base, folder))) {
        let below = Path::new(base).join(folder);
        if root.join(&below).is_dir() {
            let mut files = Vec::new();
            for speaker in listed(root, &below, true)? {
                files.extend(with_extension(root, &speaker, extension)?);
            }
            let all: BTreeSet<PathBuf> = files.iter().cloned().collect();
            files.retain(|file| first_microphone(file).is_none_or(|first| !all.contains(&first)));
            return manifest(root, "VCTK", files, 1, speakers);
        }
    }
    let expected = "wav48_silence_trimmed/pNNN/*.flac or wav48/pNNN/*.wav";
    Err(DataError::NoRecordings { folder: root.to_owned(), corpus: "VCTK", expected }.into())
}

/// VoxCeleb 1 or 2: `wav/idNNNNN/VIDEO/UTTERANCE.wav` or `aac/idNNNNN/VIDEO/UTTERANCE.m4a` below `root` or its folder `dev`.
///
/// Sorted by path; every split is `all`. With `speakers` only those.
///
/// # Errors
/// As [`vctk`].
pub fn voxceleb(root: &Path, speakers: Option<&[String]>) -> Result<Manifest, TrainError> {
    let folders = [("wav", "wav"), ("aac", "m4a")];
    for (base, (folder, extension)) in ["", "dev"].iter().flat_map(|base| folders.map(|folder| (base, folder))) {
        let below = Path::new(base).join(folder);
        if root.join(&below).is_dir() {
            let mut files = Vec::new();
            for speaker in listed(root, &below, true)? {
                for video in listed(root, &speaker, true)? {
                    files.extend(with_extension(root, &video, extension)?);
                }
            }
            return manifest(root, "VoxCeleb", files, 2, speakers);
        }
    }
    let expected = "wav/idNNNNN/VIDEO/*.wav or aac/idNNNNN/VIDEO/*.m4a";
    Err(DataError::NoRecordings { folder: root.to_owned(), corpus: "VoxCeleb", expected }.into())
}

/// Synthetic voices: so many utterances of each of these speakers, in one split. [`Corpus::size`] gives the sizes at which
/// figures are made.
#[must_use]
pub fn synthetic(corpus: Corpus, seed: u64, speakers: Range<u64>, utterances: u64, split: &str) -> Manifest {
    let name = match corpus {
        Corpus::TextDependent => "synthetic-td",
        Corpus::TextIndependent => "synthetic-ti",
    };
    let mut manifest = Manifest::default();
    for speaker in speakers {
        for utterance in 0..utterances {
            manifest.entries.push(Entry {
                recording: Recording::Synthetic { corpus, seed, speaker, utterance },
                // Zeros in front: sorted by name is sorted by index.
                speaker: format!("synthetic{speaker:07}"),
                phrase: None,
                split: split.to_owned(),
                corpus: name.to_owned(),
                seconds: None,
            });
        }
    }
    manifest
}

/// Folders or files in `root/below`, as paths below `root`, sorted; hidden ones are left out.
pub(super) fn listed(root: &Path, below: &Path, folders: bool) -> Result<Vec<PathBuf>, TrainError> {
    let folder = root.join(below);
    let read = |source| TrainError::Read { path: folder.clone(), source };
    let mut paths = Vec::new();
    for item in fs::read_dir(&folder).map_err(read)? {
        let item = item.map_err(read)?;
        let hidden = item.file_name().to_string_lossy().starts_with('.');
        if !hidden && item.path().is_dir() == folders {
            paths.push(below.join(item.file_name()));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

pub(super) fn with_extension(root: &Path, below: &Path, extension: &str) -> Result<Vec<PathBuf>, TrainError> {
    let mut files = listed(root, below, false)?;
    files.retain(|file| file.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension)));
    Ok(files)
}

/// The path of the same utterance by the first microphone, if this is one by the second.
fn first_microphone(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let other = name.replacen("_mic2.", "_mic1.", 1);
    (other != name).then(|| file.with_file_name(other))
}

/// Entries of files whose speaker is the folder `up` levels above them.
fn manifest(
    root: &Path,
    corpus: &str,
    files: Vec<PathBuf>,
    up: usize,
    wanted: Option<&[String]>,
) -> Result<Manifest, TrainError> {
    let speaker_of = |file: &Path| {
        let folder = file.ancestors().nth(up).and_then(Path::file_name);
        folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let mut entries: Vec<Entry> = files
        .into_iter()
        .map(|file| Entry {
            speaker: speaker_of(&file),
            recording: Recording::File(file),
            phrase: None,
            split: "all".to_owned(),
            corpus: corpus.to_owned(),
            seconds: None,
        })
        .collect();
    if let Some(wanted) = wanted {
        let known: BTreeSet<&str> = entries.iter().map(|entry| entry.speaker.as_str()).collect();
        if let Some(missing) = wanted.iter().find(|name| !known.contains(name.as_str())) {
            let known = known.into_iter().take(10).map(ToOwned::to_owned).collect();
            return Err(DataError::NothingSelected { column: "speaker", value: missing.clone(), known }.into());
        }
        let wanted: BTreeSet<&String> = wanted.iter().collect();
        entries.retain(|entry| wanted.contains(&entry.speaker));
    }
    Ok(Manifest { root: root.to_owned(), entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }

    fn listing(manifest: &Manifest) -> Vec<(String, String)> {
        manifest.entries.iter().map(|entry| (entry.recording.to_string(), entry.speaker.clone())).collect()
    }

    #[test]
    fn vctk_lists_each_utterance_once_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let base = "VCTK-Corpus-0.92/wav48_silence_trimmed";
        let names = ["p226/p226_002_mic2.flac", "p225/p225_001_mic2.flac", "p225/p225_001_mic1.flac", "p225/notes.txt"];
        touch(folder.path(), &names.map(|name| format!("{base}/{name}")).each_ref().map(String::as_str));
        let expected = [("p225/p225_001_mic1.flac", "p225"), ("p226/p226_002_mic2.flac", "p226")]
            .map(|(path, speaker)| (format!("{base}/{path}"), speaker.to_owned()));
        assert_eq!(listing(&vctk(folder.path(), None).unwrap()), expected);
        let one = vctk(folder.path(), Some(&["p226".to_owned()])).unwrap();
        assert_eq!(listing(&one), expected[1..]);
        let missing = vctk(folder.path(), Some(&["p999".to_owned()]));
        assert!(matches!(missing, Err(TrainError::Data(DataError::NothingSelected { column: "speaker", .. }))));
    }

    #[test]
    fn voxceleb_takes_the_speaker_two_folders_up() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["wav/id10002/b/00001.wav", "wav/id10001/a/00002.wav", "wav/id10001/a/00001.wav"]);
        let manifest = voxceleb(folder.path(), None).unwrap();
        let speakers: Vec<&str> = manifest.entries.iter().map(|entry| entry.speaker.as_str()).collect();
        assert_eq!(speakers, ["id10001", "id10001", "id10002"]);
        assert_eq!(manifest.entries[0].recording.to_string(), "wav/id10001/a/00001.wav");
    }

    #[test]
    fn a_folder_of_something_else_says_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        for result in [vctk(folder.path(), None), voxceleb(folder.path(), None)] {
            assert!(matches!(result, Err(TrainError::Data(DataError::NoRecordings { .. }))));
        }
    }

    #[test]
    fn no_synthetic_speaker_of_trials_is_trained_on() {
        let first = Corpus::FIRST_TRIAL_SPEAKER;
        let train = synthetic(Corpus::TextIndependent, 5, 0..3, 2, "train");
        let trial = synthetic(Corpus::TextIndependent, 5, first..first + 2, 4, "trial");
        assert_eq!((train.entries.len(), trial.entries.len()), (6, 8));
        assert!(train.entries.iter().all(|entry| entry.split == "train" && entry.corpus == "synthetic-ti"));
        assert_eq!(train.speakers(), ["synthetic0000000", "synthetic0000001", "synthetic0000002"]);
        assert_eq!(trial.speakers(), ["synthetic1000000", "synthetic1000001"]);
    }
}
