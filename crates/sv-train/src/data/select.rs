//! Parts of a manifest: by corpus and split, or by the nine-to-one rule over speakers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::shown;
use super::{DataError, Entry, Manifest, Recording};
use crate::{Purpose, Stream};

/// Which entries of a manifest are used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Names of corpora; all if empty.
    #[serde(default)]
    pub corpora: Vec<String>,
    /// Names of splits; all if empty.
    #[serde(default)]
    pub splits: Vec<String>,
}

/// In which order speakers are dealt to training and test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SpeakerOrder {
    /// By name.
    Sorted {},
    /// At random.
    Shuffled {
        /// Seed of the order.
        seed: u64,
    },
}

impl Manifest {
    /// The entries of the named corpora and splits, in their order.
    ///
    /// # Errors
    /// [`DataError::NothingSelected`] for a name that no entry has (of a split: none within the corpora): it is misspelt.
    pub fn select(&self, selection: &Selection) -> Result<Self, DataError> {
        let all: Vec<&Entry> = self.entries.iter().collect();
        let of_corpora = narrowed(all, "corpus", &selection.corpora, |entry| &entry.corpus)?;
        let entries = narrowed(of_corpora, "split", &selection.splits, |entry| &entry.split)?;
        Ok(Self { root: self.root.clone(), entries: entries.into_iter().cloned().collect() })
    }

    /// Marks the first `floor(S / 10) * 9` of the S speakers `train` and the rest `test`.
    ///
    /// # Errors
    /// [`DataError::TooFewToSplit`] for fewer than ten speakers.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py`, which takes the speakers in the order that the file system
    /// lists them, another on each machine. Here they are sorted, or shuffled by a seed.
    pub fn split_speakers(&mut self, order: SpeakerOrder) -> Result<(), DataError> {
        let speakers = self.speakers();
        let train = speakers.len() / 10 * 9;
        if train == 0 {
            return Err(DataError::TooFewToSplit { speakers: speakers.len() });
        }
        let order: Vec<usize> = match order {
            SpeakerOrder::Sorted {} => (0..speakers.len()).collect(),
            SpeakerOrder::Shuffled { seed } => {
                Stream::new(seed, Purpose::Evaluation, 0, 0).distinct(speakers.len(), speakers.len())
            }
        };
        let trained: BTreeSet<String> = order[..train].iter().map(|&index| speakers[index].to_owned()).collect();
        for entry in &mut self.entries {
            (if trained.contains(&entry.speaker) { "train" } else { "test" }).clone_into(&mut entry.split);
        }
        Ok(())
    }

    /// Of each speaker the first file in order of paths, if its name without extension and microphone ends in `ending`:
    /// `001` gives the one sentence that all speakers of VCTK read.
    ///
    /// # Source
    /// Janghyun1230/Speaker_Verification, `data_preprocess.py: save_spectrogram_tdsv`.
    #[must_use]
    pub fn first_files_ending(&self, ending: &str) -> Self {
        let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
        let path = |entry: &Entry| match &entry.recording {
            Recording::File(path) => Some(path.clone()),
            Recording::Synthetic { .. } => None,
        };
        for entry in self.entries.iter().filter(|entry| path(entry).is_some()) {
            let kept = first.entry(&entry.speaker).or_insert(entry);
            if path(entry) < path(kept) {
                *kept = entry;
            }
        }
        let fits = |entry: &&Entry| {
            path(entry).is_some_and(|path| {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                stem.trim_end_matches("_mic1").trim_end_matches("_mic2").ends_with(ending)
            })
        };
        let entries = first.into_values().filter(fits).cloned().collect();
        Self { root: self.root.clone(), entries }
    }
}

fn narrowed<'e>(
    entries: Vec<&'e Entry>,
    column: &'static str,
    wanted: &[String],
    value: impl Fn(&Entry) -> &String,
) -> Result<Vec<&'e Entry>, DataError> {
    if wanted.is_empty() {
        return Ok(entries);
    }
    let known: BTreeSet<&String> = entries.iter().map(|entry| value(entry)).collect();
    if let Some(missing) = wanted.iter().find(|name| !known.contains(name)) {
        let known = known.into_iter().take(10).map(|name| shown(name)).collect();
        return Err(DataError::NothingSelected { column, value: shown(missing), known });
    }
    Ok(entries.into_iter().filter(|entry| wanted.contains(value(entry))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;
    use sv_audio::synth::Corpus;

    fn voices(speakers: u64) -> Manifest {
        let mut manifest = synthetic(Corpus::TextDependent, 1, 0..speakers, 1, "train");
        let first = Corpus::FIRST_TRIAL_SPEAKER;
        manifest.entries.extend(synthetic(Corpus::TextDependent, 1, first..first + 2, 1, "trial").entries);
        manifest
    }

    #[test]
    fn nine_of_ten_speakers_train_and_the_remainder_is_tested() {
        // 25 + 2 speakers: floor(27 / 10) * 9 = 18.
        for order in [SpeakerOrder::Sorted {}, SpeakerOrder::Shuffled { seed: 3 }] {
            let mut manifest = voices(25);
            manifest.split_speakers(order).unwrap();
            let train = manifest.select(&Selection { corpora: vec![], splits: vec!["train".into()] }).unwrap();
            assert_eq!((train.speakers().len(), manifest.speakers().len()), (18, 27));
        }
        assert!(matches!(
            voices(7).split_speakers(SpeakerOrder::Sorted {}),
            Err(DataError::TooFewToSplit { speakers: 9 })
        ));
    }

    #[test]
    fn a_misspelt_split_is_an_error_that_lists_the_splits() {
        let selection = Selection { corpora: vec![], splits: vec!["trian".into()] };
        match voices(3).select(&selection) {
            Err(DataError::NothingSelected { column: "split", value, known }) => {
                assert_eq!((value.as_str(), known), ("trian", vec!["train".to_owned(), "trial".to_owned()]));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_sentence_of_each_speaker_is_found_whatever_the_microphone() {
        let entry = |path: &str, speaker: &str| Entry {
            recording: Recording::File(path.into()),
            speaker: speaker.into(),
            phrase: None,
            split: "all".into(),
            corpus: String::new(),
            seconds: None,
        };
        let entries = vec![
            entry("p1/p1_002_mic1.flac", "p1"),
            entry("p1/p1_001_mic1.flac", "p1"),
            entry("p2/p2_002_mic1.flac", "p2"),
        ];
        let found = Manifest { root: "".into(), entries }.first_files_ending("001");
        assert_eq!(found.entries.len(), 1);
        assert_eq!(found.entries[0].recording.to_string(), "p1/p1_001_mic1.flac");
    }
}
