//! The recipes for VoxCeleb on a tree that looks like it: some steps, saved, resumed, judged; and training that starts from a model.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::fs;
use std::path::Path;

use common::training::{End, outcome, request, trained};
use sv_audio::Waveform;
use sv_audio::synth::Corpus;
use sv_models::{ClassifierConfig, ModelDir};
use sv_train::data::{Manifest, Recording, VoxCeleb, trial_list};
use sv_train::session::{Request, judge};
use sv_train::{Recipe, TrainError};
use tempfile::TempDir;

/// Six speakers to train on with two recordings each, two to judge with two each, a noise, a room and the list of trials.
/// Recordings are synthesised voices of a second, repeated to 3.3 s, at 16 kHz.
fn tree() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |path: &Path, wave: &Waveform| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wave.to_wav()).unwrap();
    };
    for speaker in 0..8 {
        for utterance in 0..2 {
            let voice = Recording::Synthetic { corpus: Corpus::TextIndependent, seed: 7, speaker, utterance };
            let voice = voice.load(root).unwrap().into_samples();
            let samples: Vec<f32> = voice.iter().copied().cycle().take(52_800).collect();
            let part = if speaker < 6 { "dev" } else { "test" };
            let path = format!("{part}/wav/id1{speaker:04}/video{utterance}/00001.wav");
            write(&root.join(path), &Waveform::new(samples, 16_000).unwrap());
        }
    }
    let noise = (0..48_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 - 0.5).collect();
    write(&root.join("noise/one.wav"), &Waveform::new(noise, 16_000).unwrap());
    let room = (0..4_000).map(|n| if n == 0 { 0.9 } else { 0.1 * (-f64::from(n) / 800.0).exp() as f32 }).collect();
    write(&root.join("rir/one.wav"), &Waveform::new(room, 16_000).unwrap());
    fs::create_dir_all(root.join("meta")).unwrap();
    let [a, b, c, d] = [(6, 0), (6, 1), (7, 0), (7, 1)].map(|(s, u)| format!("id1{s:04}/video{u}/00001.wav"));
    fs::write(root.join("meta/veri_test2.txt"), format!("1 {a} {b}\n1 {c} {d}\n0 {a} {c}\n0 {b} {d}\n")).unwrap();
    folder
}

fn manifest(root: &Path) -> Manifest {
    VoxCeleb::Both.manifest(root, &[trial_list(root, "veri_test2").unwrap()]).unwrap()
}

/// A recipe with a batch that a test can bear; nothing else of it is changed but how long it trains and how often it saves.
fn few(name: &str, rows: usize) -> Recipe {
    let rows = format!("data.sampler.speakers={rows}");
    let changes = ["steps=3", "checkpoints.every=1", "evaluation.every=0", &rows];
    Recipe::load(name, &changes.map(str::to_owned)).unwrap()
}

/// Three steps in one go, and in two; both end with the same bits and the list can be judged.
fn trains(recipe: &Recipe, root: &Path, run: &Path, start: Option<&Path>) {
    let asked = |run: &Path| Request {
        manifest: Some(manifest(root)),
        start: start.map(Path::to_owned),
        ..request(recipe, run)
    };
    let finished = trained(&asked(run), End::Never).unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
    assert_eq!((finished.step, finished.run.steps().unwrap().last()), (3, Some(&3)));
    let judged = judge(&finished.run, recipe, Some(&manifest(root))).unwrap();
    assert_eq!(judged.lists.len(), 1);
    assert_eq!((judged.lists[0].list.as_str(), judged.lists[0].scored.trials()), ("veri_test2", 4));
    assert!((0.0..=1.0).contains(&judged.lists[0].eer.rate));

    let broken = tempfile::tempdir().unwrap();
    assert_eq!(trained(&asked(broken.path()), End::Stop(1)).unwrap().step, 1);
    trained(&Request { resume: true, start: None, ..asked(broken.path()) }, End::Never).unwrap();
    assert!(outcome(broken.path(), 3) == outcome(run, 3), "{}: other bits after resuming", recipe.name);
}

#[test]
fn each_recipe_for_voxceleb_trains_saves_resumes_and_is_judged() {
    let tree = tree();
    let runs = tempfile::tempdir().unwrap();
    let first = runs.path().join("ecapa");
    trains(&few("ecapa/voxceleb", 2), tree.path(), &first, None);
    trains(&few("ecapa/voxceleb-lm", 2), tree.path(), &runs.path().join("lm"), Some(&first));
    trains(&few("xvector/voxceleb", 2), tree.path(), &runs.path().join("xvector"), None);

    // What was trained is a whole model: its classifier knows the speakers by name, and none that is judged.
    for (run, cosine) in [("ecapa", true), ("lm", true), ("xvector", false)] {
        let model = ModelDir::load(&runs.path().join(run).join("model")).unwrap();
        let names = (0..6).map(|speaker| format!("id1{speaker:04}")).collect::<Vec<_>>();
        assert_eq!(model.classifier().unwrap().labels().unwrap(), names);
        let config = model.classifier().unwrap().config();
        assert_eq!(matches!(config, ClassifierConfig::Cosine { classes: 6, scale: 30.0 }), cosine, "{config:?}");
    }
}

#[test]
fn a_training_that_starts_from_a_model_begins_with_its_weights_and_its_classes() {
    let tree = tree();
    let root = tree.path();
    let narrow =
        ["encoder.channels=16", "encoder.mfa=48", "encoder.attention=4", "encoder.squeeze=4", "encoder.size=8"];
    let recipe = |name: &str, more: &[&str]| {
        let changes = ["steps=2", "data.sampler.speakers=2", "checkpoints.every=2", "evaluation.every=0"];
        let changes: Vec<String> = changes.iter().chain(&narrow).chain(more).map(ToString::to_string).collect();
        Recipe::load(name, &changes).unwrap()
    };
    let runs = tempfile::tempdir().unwrap();
    let [first, tuned] = ["first", "tuned"].map(|name| runs.path().join(name));
    let base = recipe("ecapa/voxceleb", &[]);
    trained(&Request { manifest: Some(manifest(root)), ..request(&base, &first) }, End::Never).unwrap();

    let tuning = recipe("ecapa/voxceleb-lm", &[]);
    let asked = Request { manifest: Some(manifest(root)), start: Some(first.clone()), ..request(&tuning, &tuned) };
    let finished = trained(&asked, End::Never).unwrap();
    // The untrained network of the second run is the trained one of the first, the classifier's rows included.
    let [was, is] = [first.join("model"), finished.run.model_at(0)].map(|path| ModelDir::load(&path).unwrap());
    assert_eq!(was.fingerprint(), is.fingerprint());
    assert_eq!(was.classifier().unwrap().weights(), is.classifier().unwrap().weights());
    let after = ModelDir::load(&tuned.join("model")).unwrap();
    assert_ne!(after.fingerprint(), was.fingerprint());

    // One speaker fewer: the others keep their rows.
    let mut fewer = manifest(root);
    fewer.entries.retain(|entry| entry.speaker != "id10002");
    let other = runs.path().join("other");
    let finished = trained(&Request { manifest: Some(fewer), run: other, ..asked.clone() }, End::Never).unwrap();
    let classes = |model: &ModelDir| {
        let (_, weight) = model.classifier().unwrap().weights().iter().next().unwrap();
        weight.values.clone()
    };
    let (rows, all) = (classes(&ModelDir::load(&finished.run.model_at(0)).unwrap()), classes(&was));
    assert_eq!(rows, [&all[..16], &all[24..]].concat());

    // What cannot be begun says why.
    let refused = |request: Request| trained(&request, End::Never).unwrap_err();
    let run = runs.path().join("refused");
    let none = refused(Request { start: None, run: run.clone(), ..asked.clone() });
    assert!(matches!(&none, TrainError::NoStart { recipe } if recipe == "ecapa/voxceleb-lm"), "{none}");
    let wider =
        Request { recipe: recipe("ecapa/voxceleb-lm", &["encoder.squeeze=5"]), run: run.clone(), ..asked.clone() };
    let wider = refused(wider);
    assert!(matches!(wider, TrainError::Start { what: "network", .. }), "{wider}");
    let ended = recipe("ecapa/voxceleb-lm", &["front_end.preset=wespeaker"]);
    let ended = refused(Request { recipe: ended, run: run.clone(), ..asked.clone() });
    assert!(matches!(ended, TrainError::Start { what: "front end", .. }), "{ended}");
    assert!(!run.exists(), "nothing was begun");

    // Killed before its first checkpoint, the run finds its start again; another model in its place is refused.
    let killed = runs.path().join("killed");
    trained(&Request { run: killed.clone(), ..asked.clone() }, End::Never).unwrap();
    for step in fs::read_dir(killed.join("checkpoints")).unwrap() {
        fs::remove_dir_all(step.unwrap().path()).unwrap();
    }
    let again = Request { run: killed.clone(), start: None, resume: true, ..asked };
    trained(&again, End::Never).unwrap();
    assert_eq!(ModelDir::load(&killed.join("model")).unwrap().fingerprint(), after.fingerprint());
    for step in fs::read_dir(killed.join("checkpoints")).unwrap() {
        fs::remove_dir_all(step.unwrap().path()).unwrap();
    }
    fs::remove_dir_all(&first).unwrap();
    let changed = Request { manifest: Some(manifest(root)), ..request(&recipe("ecapa/voxceleb", &["seed=2"]), &first) };
    trained(&changed, End::Never).unwrap();
    let error = refused(again);
    assert!(matches!(error, TrainError::Start { what: "fingerprint", .. }), "{error}");
}
