//! VoxCeleb as distributed: two corpora whose parts lie in folders of WAV or M4A files, and lists of trials that name files below
//! those folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use sv_metrics::{TrialFormat, Trials};

use super::corpora::{listed, with_extension};
use super::{DataError, Entry, Manifest, Recording};
use crate::TrainError;

/// Folders below the root that a corpus may be unpacked to.
const CORPORA: [&str; 7] = ["", "VoxCeleb1", "VoxCeleb2", "voxceleb1", "voxceleb2", "vox1", "vox2"];
/// Folders of speakers in a corpus, and what their recordings end in.
const FOLDERS: [(&str, &str); 6] =
    [("wav", "wav"), ("dev/wav", "wav"), ("test/wav", "wav"), ("aac", "m4a"), ("dev/aac", "m4a"), ("test/aac", "m4a")];
/// Folders of lists of trials: ours, SpeechBrain's, and the root itself.
const LISTS: [&str; 3] = ["trials", "meta", ""];

/// Every folder of speakers there may be, and what its recordings end in.
fn folders() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let below = |corpus| FOLDERS.iter().map(move |&(folder, extension)| (Path::new(corpus).join(folder), extension));
    CORPORA.iter().flat_map(below)
}

/// Which of the two corpora.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoxCeleb {
    /// VoxCeleb1, speakers `id1....`: 1,251, of which the trial list Vox1-O names 40.
    One,
    /// VoxCeleb2, speakers `id0....`: 6,112 in both of its parts.
    Two,
    /// Both together.
    Both,
}

impl VoxCeleb {
    /// What it is called in manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "VoxCeleb1",
            Self::Two => "VoxCeleb2",
            Self::Both => "VoxCeleb",
        }
    }

    fn first(self) -> &'static str {
        match self {
            Self::One => "id1",
            Self::Two => "id0",
            Self::Both => "id",
        }
    }

    /// The recordings below `root`: `wav/idNNNNN/VIDEO/UTTERANCE.wav` or `aac/idNNNNN/VIDEO/UTTERANCE.m4a`, there or in its folders
    /// `dev` and `test`, or all of that in its folders `VoxCeleb1` and `VoxCeleb2` (`vox1`, `vox2`); sorted within each. Speakers that
    /// one of the `lists` of trials names are of the split `test`, all others `train`. Folders that are not called `id` and
    /// digits are left out, and so is the other corpus.
    ///
    /// # Errors
    /// [`TrainError::Read`]; [`DataError::NoRecordings`]; [`TrainError::Trials`] for a list that is none.
    pub fn manifest(self, root: &Path, lists: &[PathBuf]) -> Result<Manifest, TrainError> {
        let mut tested = BTreeSet::new();
        for list in lists {
            tested.extend(speakers_of(list)?);
        }
        let mut manifest = Manifest { root: root.to_owned(), entries: Vec::new() };
        // Where names are told apart by case only, two paths may be one folder.
        let mut seen = BTreeSet::new();
        for (folder, extension) in folders() {
            let place = root.join(&folder);
            if !place.is_dir() || !fs::canonicalize(&place).is_ok_and(|place| seen.insert(place)) {
                continue;
            }
            for place in listed(root, &folder, true)? {
                let speaker = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if !is_speaker(&speaker) || !speaker.starts_with(self.first()) {
                    continue;
                }
                let split = if tested.contains(&speaker) { "test" } else { "train" };
                for video in listed(root, &place, true)? {
                    manifest.entries.extend(with_extension(root, &video, extension)?.into_iter().map(|file| Entry {
                        recording: Recording::File(file),
                        speaker: speaker.clone(),
                        phrase: None,
                        split: split.to_owned(),
                        corpus: self.name().to_owned(),
                        seconds: None,
                    }));
                }
            }
        }
        if manifest.entries.is_empty() {
            let expected = "wav/idNNNNN/VIDEO/*.wav or aac/idNNNNN/VIDEO/*.m4a, also below dev and test";
            return Err(DataError::NoRecordings { folder: root.to_owned(), corpus: self.name(), expected }.into());
        }
        Ok(manifest)
    }
}

fn is_speaker(name: &str) -> bool {
    name.strip_prefix("id").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The speakers that a list of trials names: the first folder of each file that is called as speakers are.
fn speakers_of(list: &Path) -> Result<BTreeSet<String>, TrainError> {
    let text = std::fs::read(list).map_err(|source| TrainError::Read { path: list.to_owned(), source })?;
    let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
        .map_err(|source| TrainError::Trials { path: list.to_owned(), source })?;
    let speaker = |file: &String| {
        let mut parts = Path::new(file).components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        parts.find(|part| is_speaker(part))
    };
    Ok(trials.files().iter().filter_map(speaker).collect())
}

/// The file of the trial list `name`, if it is there: `trials/NAME.txt`, `meta/NAME.txt` (SpeechBrain's place) or `NAME.txt`.
#[must_use]
pub fn trial_list(root: &Path, name: &str) -> Option<PathBuf> {
    LISTS.iter().map(|folder| root.join(folder).join(format!("{name}.txt"))).find(|path| path.is_file())
}

/// The path below `root` of what a trial list calls `file`: that very path, or one below a folder of VoxCeleb's, there also with the
/// extension of the files in it.
#[must_use]
pub fn located(root: &Path, file: &str) -> Option<PathBuf> {
    let whole = std::iter::once(PathBuf::from(file));
    let below = folders().flat_map(|(folder, extension)| {
        let path = folder.join(file);
        [path.clone(), path.with_extension(extension)]
    });
    whole.chain(below).find(|path| root.join(path).is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    #[test]
    fn each_corpus_is_found_in_its_parts_and_tested_speakers_apart() {
        let folder = tree(&[
            "wav/id10001/v/00001.wav",
            "wav/id10002/v/00001.wav",
            "wav/lists/v/00001.wav",
            "wav/id10002/v/notes.txt",
            "test/wav/id10270/v/00001.wav",
            "dev/aac/id00012/v/00001.m4a",
            "vox2/test/aac/id00017/v/00001.m4a",
        ]);
        let list = folder.path().join("list.txt");
        fs::write(&list, "1 id10270/v/00001.wav id10270/v/00002.wav\n").unwrap();
        let told = |manifest: Manifest| -> Vec<String> {
            manifest
                .entries
                .iter()
                .map(|entry| format!("{} {} {}", entry.split, entry.speaker, entry.recording))
                .collect()
        };
        let expected = [
            "train id10001 wav/id10001/v/00001.wav",
            "train id10002 wav/id10002/v/00001.wav",
            "test id10270 test/wav/id10270/v/00001.wav",
        ];
        assert_eq!(told(VoxCeleb::One.manifest(folder.path(), std::slice::from_ref(&list)).unwrap()), expected);
        let expected = ["train id00012 dev/aac/id00012/v/00001.m4a", "train id00017 vox2/test/aac/id00017/v/00001.m4a"];
        assert_eq!(told(VoxCeleb::Two.manifest(folder.path(), std::slice::from_ref(&list)).unwrap()), expected);
    }

    #[test]
    fn a_list_lies_in_one_of_three_places() {
        let folder = tree(&["meta/veri_test2.txt", "other.txt"]);
        let found = |name: &str| trial_list(folder.path(), name).map(|path| path.display().to_string());
        assert!(found("veri_test2").unwrap().ends_with("meta/veri_test2.txt"));
        assert!(found("other").is_some() && found("veri_test").is_none());
        fs::create_dir(folder.path().join("trials")).unwrap();
        fs::write(folder.path().join("trials/veri_test2.txt"), "").unwrap();
        assert!(found("veri_test2").unwrap().ends_with("trials/veri_test2.txt"));
    }

    #[test]
    fn a_tree_without_a_corpus_and_a_list_that_is_none_are_errors() {
        let folder = tree(&["wav/id10001/v/00001.wav", "list.txt"]);
        let missing = VoxCeleb::Two.manifest(folder.path(), &[]);
        assert!(matches!(missing, Err(TrainError::Data(DataError::NoRecordings { corpus: "VoxCeleb2", .. }))));
        let unread = VoxCeleb::One.manifest(folder.path(), &[folder.path().join("none.txt")]);
        assert!(matches!(unread, Err(TrainError::Read { .. })));
        fs::write(folder.path().join("list.txt"), "no trial").unwrap();
        let refused = VoxCeleb::One.manifest(folder.path(), &[folder.path().join("list.txt")]);
        assert!(matches!(refused, Err(TrainError::Trials { .. })));
    }

    #[test]
    fn a_file_of_a_list_is_found_where_the_corpus_has_it() {
        let folder = tree(&["wav/id10001/v/00001.wav", "dev/aac/id10002/v/00001.m4a", "plain/a.wav"]);
        let found = |file: &str| located(folder.path(), file).map(|path| path.display().to_string());
        assert_eq!(found("id10001/v/00001.wav").as_deref(), Some("wav/id10001/v/00001.wav"));
        assert_eq!(found("id10002/v/00001.wav").as_deref(), Some("dev/aac/id10002/v/00001.m4a"));
        assert_eq!(found("plain/a.wav").as_deref(), Some("plain/a.wav"));
        assert_eq!(found("id10003/v/00001.wav"), None);
    }
}
