//! Who is trained on and who is judged: a recipe's corpus, found.

use std::collections::HashMap;

use sv_audio::frontend::FeatureExtractor;
use sv_audio::synth::Corpus;

use crate::data::{Manifest, Selection, synthetic, trial_list};
use crate::evaluate::{TrialList, TrialSet};
use crate::recipe::CorpusConfig;
use crate::{Purpose, Recipe, Stream, TrainError};

/// Recordings of a speaker that a threshold is set on.
const DEV_UTTERANCES: u64 = 10;

/// The utterances of a training, and the lists that judge it on the way.
#[derive(Debug)]
pub struct TrainingCorpus {
    /// What is trained on.
    pub train: Manifest,
    /// Lists that may guide choices; the first sets the threshold.
    pub dev: Vec<TrialSet>,
    /// What it is called in reports.
    pub name: String,
    /// Whether no person spoke.
    pub synthetic: bool,
}

impl TrainingCorpus {
    /// Finds what `recipe` asks for. `manifest` is needed where its corpus is one.
    ///
    /// # Errors
    /// [`TrainError::NoManifest`] if the recipe needs one; those of selecting from it, of reading the dev lists, and of finding what
    /// the test lists name.
    pub fn find(
        recipe: &Recipe,
        manifest: Option<&Manifest>,
        extractor: &FeatureExtractor,
    ) -> Result<Self, TrainError> {
        match (&recipe.corpus, manifest) {
            (CorpusConfig::Synthetic { text, seed, speakers, utterances, dev_speakers }, None) => {
                let corpus = Corpus::from(*text);
                let train = synthetic(corpus, *seed, 0..*speakers, *utterances, "train");
                let dev = FIRST_DEV_SPEAKER..FIRST_DEV_SPEAKER + *dev_speakers;
                let dev = synthetic(corpus, *seed, dev, DEV_UTTERANCES, "dev");
                let dev = TrialList::all_pairs("synthetic-dev", &dev).read(extractor, &recipe.evaluation.windows)?;
                let name = format!("synthesised voices (generator version {})", sv_audio::synth::GENERATOR_VERSION);
                Ok(Self { train, dev: vec![dev], name, synthetic: true })
            }
            // Another corpus than the recipe's own: what its manifest calls the training split.
            (CorpusConfig::Synthetic { .. }, Some(manifest)) => {
                let selection = Selection { corpora: Vec::new(), splits: vec!["train".to_owned()] };
                Self::of_manifest(manifest, &selection, recipe, extractor)
            }
            (CorpusConfig::Manifest { .. }, None) => Err(TrainError::NoManifest { recipe: recipe.name.clone() }),
            (CorpusConfig::Manifest { corpora, splits, held_out }, Some(manifest)) => {
                let selection = Selection { corpora: corpora.clone(), splits: splits.clone() };
                let mut corpus = Self::of_manifest(manifest, &selection, recipe, extractor)?;
                hold_out(&mut corpus.train, *held_out, recipe.seed);
                Ok(corpus)
            }
        }
    }

    fn of_manifest(
        manifest: &Manifest,
        selection: &Selection,
        recipe: &Recipe,
        extractor: &FeatureExtractor,
    ) -> Result<Self, TrainError> {
        let train = manifest.select(selection)?;
        // A list that cannot be scored is found out before days of training, not after them.
        lists(&recipe.evaluation.test, manifest, "test")?;
        let dev = lists(&recipe.evaluation.dev, manifest, "dev")?
            .into_iter()
            .map(|list| list.read(extractor, &recipe.evaluation.windows))
            .collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = train.entries.iter().map(|entry| entry.corpus.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let name = names.join(", ");
        Ok(Self { dev, name, synthetic: false, train })
    }
}

/// Takes away a share of the recordings, drawn over all speakers.
fn hold_out(manifest: &mut Manifest, share: f64, seed: u64) {
    let count = (share * manifest.entries.len() as f64) as usize;
    if count == 0 {
        return;
    }
    let mut kept = vec![true; manifest.entries.len()];
    for place in Stream::new(seed, Purpose::Evaluation, 0, 0).distinct(kept.len(), count) {
        kept[place] = false;
    }
    let mut kept = kept.into_iter();
    manifest.entries.retain(|_| kept.next().unwrap_or(true));
}

/// The trial lists that a recipe names; of a corpus without a folder `trials`, all pairs of one of its splits instead, if it
/// has that split: VCTK comes without lists.
///
/// # Errors
/// Those of [`TrialList::named`].
pub(crate) fn lists(names: &[String], manifest: &Manifest, split: &str) -> Result<Vec<TrialList>, TrainError> {
    let any = || names.iter().any(|name| trial_list(&manifest.root, name).is_some());
    if names.is_empty() || manifest.root.join("trials").is_dir() || any() {
        return names.iter().map(|name| TrialList::named(name, &manifest.root)).collect();
    }
    let held_out = first_of(manifest, split);
    if held_out.speakers().len() < 2 {
        return Ok(Vec::new());
    }
    Ok(vec![TrialList::all_pairs(&format!("{split}-pairs"), &held_out)])
}

/// Speakers of a split that pairs are made of, and recordings of each: as many as of synthesised voices.
const PAIRED: (usize, usize) = (60, 10);

/// The first speakers of a split with their first recordings, in the manifest's order.
fn first_of(manifest: &Manifest, split: &str) -> Manifest {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut first = Manifest { root: manifest.root.clone(), entries: Vec::new() };
    for entry in manifest.entries.iter().filter(|entry| entry.split == split) {
        let known = counts.len();
        let count = match counts.get_mut(entry.speaker.as_str()) {
            Some(count) => count,
            None if known < PAIRED.0 => counts.entry(&entry.speaker).or_default(),
            None => continue,
        };
        if *count < PAIRED.1 {
            *count += 1;
            first.entries.push(entry.clone());
        }
    }
    first
}

/// Speakers of dev trials: above any that is trained on, below those of the trials that figures are made of.
pub const FIRST_DEV_SPEAKER: u64 = Corpus::FIRST_TRIAL_SPEAKER / 2;

/// The trials that figures on synthesised voices are made of: all pairs of 60 speakers' ten recordings, none of whom is
/// trained or chosen on (see `docs/synthesised-voices.md`).
#[must_use]
pub fn synthetic_trials(corpus: Corpus, seed: u64) -> (Manifest, TrialList) {
    let size = corpus.size();
    let speakers = Corpus::FIRST_TRIAL_SPEAKER..Corpus::FIRST_TRIAL_SPEAKER + size.trial_speakers;
    let manifest = synthetic(corpus, seed, speakers, size.trial_utterances, "trial");
    let list = TrialList::all_pairs("synthetic-trials", &manifest);
    (manifest, list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_held_out_by_the_seed() {
        let all = synthetic(Corpus::TextDependent, 1, 0..10, 3, "train");
        let held = |share, seed| {
            let mut manifest = all.clone();
            hold_out(&mut manifest, share, seed);
            manifest.entries
        };
        assert_eq!(held(0.0, 1), all.entries);
        assert_eq!((held(0.1, 1).len(), held(0.5, 1).len()), (27, 15));
        assert_eq!(held(0.5, 1), held(0.5, 1));
        assert_ne!(held(0.5, 1), held(0.5, 2));
    }

    #[test]
    fn a_corpus_without_lists_is_judged_by_the_pairs_of_its_split() {
        let mut manifest = synthetic(Corpus::TextDependent, 1, 0..70, 12, "test");
        manifest.entries.extend(synthetic(Corpus::TextDependent, 1, 70..71, 12, "train").entries);
        let first = first_of(&manifest, "test");
        assert_eq!((first.speakers().len(), first.entries.len()), (60, 600));
        assert!(first.entries.iter().all(|entry| entry.split == "test"));

        manifest.entries.retain(|entry| {
            matches!(entry.recording, crate::data::Recording::Synthetic { speaker, utterance, .. } if speaker < 2 && utterance < 2)
        });
        let names = ["a-list".to_owned()];
        let found = lists(&names, &manifest, "test").unwrap();
        assert_eq!(found.iter().map(TrialList::name).collect::<Vec<_>>(), ["test-pairs"]);
        assert!(lists(&names, &manifest, "dev").unwrap().is_empty());
        // Where there is a folder of lists, one that is not in it is an error.
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("trials")).unwrap();
        manifest.root = folder.path().to_owned();
        assert!(matches!(lists(&names, &manifest, "test"), Err(TrainError::Read { .. })));
    }
}
