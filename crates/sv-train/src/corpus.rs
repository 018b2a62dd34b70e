//! Who is trained on and who is judged: a recipe's corpus, found.

use sv_audio::frontend::FeatureExtractor;
use sv_audio::synth::Corpus;
use sv_audio::windows::Windows;

use crate::data::{Manifest, Selection, synthetic};
use crate::evaluate::TrialSet;
use crate::recipe::CorpusConfig;
use crate::{Recipe, TrainError};

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
    /// [`TrainError::NoManifest`] if the recipe needs one; those of selecting from it and of reading the dev lists.
    pub fn find(
        recipe: &Recipe,
        manifest: Option<&Manifest>,
        extractor: &FeatureExtractor,
    ) -> Result<Self, TrainError> {
        let windows = &recipe.evaluation.windows;
        match (&recipe.corpus, manifest) {
            (CorpusConfig::Synthetic { text, seed, speakers, utterances, dev_speakers }, None) => {
                let corpus = Corpus::from(*text);
                let train = synthetic(corpus, *seed, 0..*speakers, *utterances, "train");
                let dev = FIRST_DEV_SPEAKER..FIRST_DEV_SPEAKER + *dev_speakers;
                let dev = synthetic(corpus, *seed, dev, DEV_UTTERANCES, "dev");
                let dev = TrialSet::all_pairs("synthetic-dev", &dev, extractor, windows)?;
                let name = format!("synthesised voices (generator version {})", sv_audio::synth::GENERATOR_VERSION);
                Ok(Self { train, dev: vec![dev], name, synthetic: true })
            }
            // Another corpus than the recipe's own: what its manifest calls the training split.
            (CorpusConfig::Synthetic { .. }, Some(manifest)) => {
                let selection = Selection { corpora: Vec::new(), splits: vec!["train".to_owned()] };
                Self::of_manifest(manifest, &selection, recipe, extractor)
            }
            (CorpusConfig::Manifest { .. }, None) => Err(TrainError::NoManifest { recipe: recipe.name.clone() }),
            (CorpusConfig::Manifest { corpora, splits }, Some(manifest)) => {
                let selection = Selection { corpora: corpora.clone(), splits: splits.clone() };
                Self::of_manifest(manifest, &selection, recipe, extractor)
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
        let dev = recipe.evaluation.dev.iter();
        let dev = dev.map(|name| TrialSet::named(name, &train.root, extractor, &recipe.evaluation.windows));
        let dev = dev.collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = train.entries.iter().map(|entry| entry.corpus.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let name = names.join(", ");
        Ok(Self { dev, name, synthetic: false, train })
    }
}

/// Speakers of dev trials: above any that is trained on, below those of the trials that figures are made of.
pub const FIRST_DEV_SPEAKER: u64 = Corpus::FIRST_TRIAL_SPEAKER / 2;

/// The trials that figures on synthesised voices are made of: all pairs of 60 speakers' ten recordings, none of whom is
/// trained or chosen on (see `docs/synthesised-voices.md`).
///
/// # Errors
/// Those of preparing them.
pub fn synthetic_trials(
    corpus: Corpus,
    seed: u64,
    extractor: &FeatureExtractor,
    windows: &Windows,
) -> Result<(Manifest, TrialSet), TrainError> {
    let size = corpus.size();
    let speakers = Corpus::FIRST_TRIAL_SPEAKER..Corpus::FIRST_TRIAL_SPEAKER + size.trial_speakers;
    let manifest = synthetic(corpus, seed, speakers, size.trial_utterances, "trial");
    let set = TrialSet::all_pairs("synthetic-trials", &manifest, extractor, windows)?;
    Ok((manifest, set))
}
