//! What the authors of a recipe published, beside what our run of it gives.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use speaker_verification::metrics::norm::{Deviation, NormKind, Normalization};
use speaker_verification::metrics::{Trial, TrialFormat, Trials};
use speaker_verification::train::Recipe;
use speaker_verification::train::data::{Manifest, Recording, located, trial_list};
use speaker_verification::{CohortList, SpeakerRecognition};

use super::ListResult;

/// Published error rates of a recipe on a list, in per cent.
struct Published {
    recipe: &'static str,
    list: &'static str,
    cosine: f64,
    /// After s-norm with the `top` nearest of the cohort.
    normalised: f64,
    top: usize,
}

/// SpeechBrain, `recipes/VoxCeleb/SpeakerRec/README.md`: trained on VoxCeleb 1 and 2, Vox1-O cleaned.
const PUBLISHED: [Published; 1] =
    [Published { recipe: "ecapa/voxceleb", list: "veri_test2", cosine: 0.90, normalised: 0.80, top: 20_000 }];

/// The most recordings of a cohort, as in SpeechBrain's `verification_ecapa.yaml`.
const MOST: usize = 400_000;

/// Prints the published figures beside those of `model`; the list after score normalisation is returned, to be kept.
pub(super) fn compare(
    recipe: &Recipe,
    manifest: &Manifest,
    model: &Path,
    lists: &[ListResult],
) -> anyhow::Result<Vec<ListResult>> {
    let mut normalised = Vec::new();
    for published in PUBLISHED.iter().filter(|published| published.recipe == recipe.name) {
        let Some(plain) = lists.iter().find(|result| result.list == published.list) else { continue };
        let result = with_cohort(published, manifest, model)?;
        println!("{:<32} {:>10} {:>10}", published.list, "published", "ours");
        let line = |what: &str, theirs: f64, ours: f64| {
            println!("{what:<32} {:>10} {:>10}", format!("{theirs:.2} %"), format!("{:.2} %", 100.0 * ours));
        };
        line("cosine", published.cosine, plain.eer);
        line(&format!("s-norm, the {} nearest", published.top), published.normalised, result.eer);
        normalised.push(result);
    }
    Ok(normalised)
}

/// The list, each score normalised by recordings that were trained on.
fn with_cohort(published: &Published, manifest: &Manifest, model: &Path) -> anyhow::Result<ListResult> {
    let path = trial_list(&manifest.root, published.list).context("the list has gone")?;
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let trials = placed(&Trials::parse(&text, TrialFormat::VoxCeleb)?, &manifest.root)?;
    let trained = manifest.entries.iter().filter(|entry| entry.split == "train");
    let files: Vec<PathBuf> = trained
        .filter_map(|entry| match &entry.recording {
            Recording::File(path) => Some(manifest.root.join(path)),
            Recording::Synthetic { .. } => None,
        })
        .collect();
    let step = files.len().div_ceil(MOST).max(1);
    let files = files.into_iter().step_by(step).collect();
    let rule = Normalization { kind: NormKind::S, top: NonZeroUsize::new(published.top), deviation: Deviation::Sample };
    let model = SpeakerRecognition::load(model)?;
    let cohort = model.cohort(&CohortList::Utterances(files), &[], rule, |_| ())?;
    let found = model.evaluate_normalised(&trials, &manifest.root, &cohort, |_| ())?;
    Ok(ListResult {
        list: format!("{} (s-norm)", published.list),
        eer: found.eer.rate,
        interval: found.eer_interval.map(|interval| [interval.low, interval.high]),
        min_dcf: found.min_dcf.cost,
        trials: found.trials.pairs().len(),
    })
}

/// The same trials by the paths that the recordings have below `root`.
fn placed(trials: &Trials, root: &Path) -> anyhow::Result<Trials> {
    let paths: HashMap<&str, String> = trials
        .files()
        .iter()
        .map(|file| {
            (file.as_str(), located(root, file).map_or_else(|| file.clone(), |path| path.display().to_string()))
        })
        .collect();
    let placed =
        trials.iter().map(|trial| Trial { enrolment: &paths[trial.enrolment], test: &paths[trial.test], ..trial });
    Ok(Trials::new(placed, trials.format())?)
}
