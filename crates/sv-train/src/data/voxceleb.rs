//! VoxCeleb as it is distributed, unpacked: folders of WAV or M4A, and lists of trials that name files by what all copies of the
//! corpus have in common.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sv_metrics::{TrialFormat, Trials};

use super::corpora::{listed, manifest, with_extension};
use super::{DataError, Manifest};
use crate::TrainError;

/// Folders below the root that the parts are unpacked to.
const CORPORA: [&str; 7] = ["", "VoxCeleb1", "VoxCeleb2", "voxceleb1", "voxceleb2", "vox1", "vox2"];
/// Folders of a part.
const PARTS: [&str; 3] = ["", "dev", "test"];
/// Folders of speakers, and what their recordings end in.
const KINDS: [(&str, &str); 2] = [("wav", "wav"), ("aac", "m4a")];
/// Folders of lists of trials: ours, SpeechBrain's, and the root itself.
const LISTS: [&str; 3] = ["trials", "meta", ""];

/// Every folder of speakers there may be, and what its recordings end in.
fn folders() -> impl Iterator<Item = (PathBuf, &'static str)> {
    let below = |corpus| PARTS.iter().flat_map(move |part| KINDS.map(|kind| (corpus, part, kind)));
    CORPORA
        .iter()
        .flat_map(below)
        .map(|(corpus, part, (folder, extension))| (Path::new(corpus).join(part).join(folder), extension))
}

/// VoxCeleb 1, 2 or both: `wav/idNNNNN/VIDEO/UTTERANCE.wav` or `aac/idNNNNN/VIDEO/UTTERANCE.m4a` below `root` or its folders
/// `dev` and `test`, or all of that below `root/VoxCeleb1` and `root/VoxCeleb2` (`vox1`, `vox2`).
///
/// Sorted by path within each folder; every split is `all`. With `speakers` only those.
///
/// # Errors
/// As [`super::vctk`].
pub fn voxceleb(root: &Path, speakers: Option<&[String]>) -> Result<Manifest, TrainError> {
    let mut files = Vec::new();
    // Where names are told apart by case only, two paths may be one folder.
    let mut seen = BTreeSet::new();
    for (folder, extension) in folders() {
        let place = root.join(&folder);
        if place.is_dir() && fs::canonicalize(&place).is_ok_and(|place| seen.insert(place)) {
            for speaker in listed(root, &folder, true)? {
                for video in listed(root, &speaker, true)? {
                    files.extend(with_extension(root, &video, extension)?);
                }
            }
        }
    }
    if seen.is_empty() {
        let expected = "wav/idNNNNN/VIDEO/*.wav or aac/idNNNNN/VIDEO/*.m4a";
        return Err(DataError::NoRecordings { folder: root.to_owned(), corpus: "VoxCeleb", expected }.into());
    }
    manifest(root, "VoxCeleb", files, 2, speakers)
}

impl Manifest {
    /// Marks the speakers of the trial lists `lists` (those that are there) `test` and all others `train`, as SpeechBrain's
    /// recipe does: a list of VoxCeleb names `SPEAKER/VIDEO/UTTERANCE.wav`. False, and nothing is marked, if none is there.
    ///
    /// # Errors
    /// [`TrainError::Read`], [`TrainError::Trials`].
    pub fn split_by_trials(&mut self, lists: &[String]) -> Result<bool, TrainError> {
        let mut judged: BTreeSet<String> = BTreeSet::new();
        let mut found = false;
        for path in lists.iter().filter_map(|name| trial_list(&self.root, name)) {
            found = true;
            let text = fs::read(&path).map_err(|source| TrainError::Read { path: path.clone(), source })?;
            let trials = Trials::parse(&text, TrialFormat::VoxCeleb)
                .map_err(|source| TrainError::Trials { path: path.clone(), source })?;
            let speaker =
                |file: &String| Some(Path::new(file).ancestors().nth(2)?.file_name()?.to_string_lossy().into());
            judged.extend(trials.files().iter().filter_map(speaker));
        }
        if found {
            for entry in &mut self.entries {
                (if judged.contains(&entry.speaker) { "test" } else { "train" }).clone_into(&mut entry.split);
            }
        }
        Ok(found)
    }
}

/// The file of the trial list `name`, if it is there.
#[must_use]
pub fn trial_list(root: &Path, name: &str) -> Option<PathBuf> {
    LISTS.iter().map(|folder| root.join(folder).join(format!("{name}.txt"))).find(|path| path.is_file())
}

/// The recording, below `root`, that a trial list calls `file`: that path, or the same in one of VoxCeleb's folders, where
/// `.wav` may stand for an M4A. What is nowhere is returned as it is named.
#[must_use]
pub fn listed_recording(root: &Path, file: &str) -> PathBuf {
    let file = PathBuf::from(file);
    if root.join(&file).is_file() {
        return file;
    }
    let within = folders().map(|(folder, extension)| folder.join(file.with_extension(extension)));
    within.into_iter().find(|path| root.join(path).is_file()).unwrap_or(file)
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

    #[test]
    fn the_speaker_is_two_folders_up_in_every_part() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(root, &["wav/id10002/b/00001.wav", "dev/wav/id10001/a/00002.wav", "test/wav/id10270/a/00001.wav"]);
        touch(root, &["vox2/dev/aac/id00012/c/00001.m4a", "vox2/dev/aac/id00012/c/notes.txt"]);
        let found = voxceleb(root, None).unwrap();
        let speakers: Vec<&str> = found.entries.iter().map(|entry| entry.speaker.as_str()).collect();
        assert_eq!(speakers, ["id10002", "id10001", "id10270", "id00012"]);
        assert_eq!(found.entries[1].recording.to_string(), "dev/wav/id10001/a/00002.wav");
        let empty = tempfile::tempdir().unwrap();
        let nothing = voxceleb(empty.path(), None);
        assert!(matches!(nothing, Err(TrainError::Data(DataError::NoRecordings { .. }))));
    }

    #[test]
    fn speakers_of_a_list_are_not_trained_on() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(root, &["wav/id10001/a/00001.wav", "wav/id10270/a/00001.wav", "wav/id10271/a/00001.wav"]);
        let mut found = voxceleb(root, None).unwrap();
        assert!(!found.split_by_trials(&["veri_test2".to_owned()]).unwrap());
        assert!(found.entries.iter().all(|entry| entry.split == "all"));
        fs::create_dir(root.join("meta")).unwrap();
        let text = "1 id10270/a/00001.wav id10270/a/00001.wav\n0 id10270/a/00001.wav id10271/a/00001.wav\n";
        fs::write(root.join("meta/veri_test2.txt"), text).unwrap();
        assert!(found.split_by_trials(&["veri_test2".to_owned()]).unwrap());
        let splits: Vec<&str> = found.entries.iter().map(|entry| entry.split.as_str()).collect();
        assert_eq!(splits, ["train", "test", "test"]);
    }

    #[test]
    fn what_a_list_names_is_found_in_the_folders_of_the_corpus() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(root, &["test/wav/id10270/a/00001.wav", "vox2/test/aac/id00017/a/00002.m4a", "plain/x.wav"]);
        let found = |file: &str| listed_recording(root, file).display().to_string();
        assert_eq!(found("id10270/a/00001.wav"), "test/wav/id10270/a/00001.wav");
        assert_eq!(found("id00017/a/00002.wav"), "vox2/test/aac/id00017/a/00002.m4a");
        assert_eq!(found("plain/x.wav"), "plain/x.wav");
        assert_eq!(found("id9/a/1.wav"), "id9/a/1.wav");
    }
}
