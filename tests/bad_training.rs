//! What is wrong with a training's folder, recipe, recordings or numbers is said, and what was saved before stands.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::fs;
use std::path::Path;

use common::data::Tensors;
use common::training::{End, checkpoint, copy, outcome, request, tiny, trained};
use sv_audio::frontend::FeatureExtractor;
use sv_audio::synth::{Corpus, Speaker};
use sv_models::ModelDir;
use sv_train::data::{DataError, Entry, Manifest, Recording, synthetic};
use sv_train::evaluate::{TrialList, ge2e_protocol};
use sv_train::session::{Request, judge};
use sv_train::{RunDir, TrainError, summary};
use tempfile::TempDir;

/// A tiny run that was stopped after step 5: checkpoints of 0, 3 and 5.
fn stopped() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    trained(&request(&tiny(&[]), folder.path()), End::Stop(5)).unwrap();
    folder
}

fn resume(run: &Path) -> Request {
    Request { resume: true, ..request(&tiny(&[]), run) }
}

fn refusal(request: &Request) -> TrainError {
    match trained(request, End::Never) {
        Err(error) => error,
        Ok(finished) => panic!("it went through to step {}", finished.step),
    }
}

/// Recordings as WAV files, `speakers` x `utterances`, and their manifest.
fn recordings(speakers: u64, utterances: u64) -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let mut entries = Vec::new();
    for speaker in 0..speakers {
        let voice = Speaker::draw(1, Corpus::TextDependent, speaker);
        for utterance in 0..utterances {
            let path = format!("s{speaker}-{utterance}.wav");
            fs::write(folder.path().join(&path), voice.utterance(utterance).to_wav()).unwrap();
            entries.push(Entry {
                recording: Recording::File(path.into()),
                speaker: format!("s{speaker}"),
                phrase: None,
                split: "train".to_owned(),
                corpus: "home".to_owned(),
                seconds: None,
            });
        }
    }
    let root = folder.path().to_owned();
    (folder, Manifest { root, entries })
}

#[test]
fn a_run_is_not_begun_twice_nor_resumed_before_it_was_begun() {
    let folder = stopped();
    let before = outcome(folder.path(), 5);
    let error = refusal(&request(&tiny(&[]), folder.path()));
    assert!(matches!(error, TrainError::RunExists { .. }) && error.to_string().contains("--resume"), "{error}");
    assert_eq!(outcome(folder.path(), 5), before);
    let nowhere = folder.path().join("nowhere");
    let error = refusal(&resume(&nowhere));
    assert!(matches!(error, TrainError::NoRun { .. }) && error.to_string().contains("nowhere"), "{error}");
    assert!(!nowhere.exists());
}

#[test]
fn a_run_is_not_resumed_with_another_recipe() {
    let folder = stopped();
    for (change, key, was, is) in [
        ("steps=13", "steps", "12", "13"),
        ("encoder.hidden=17", "encoder.hidden", "16", "17"),
        ("seed=9", "seed", "1", "9"),
        ("evaluation.dev=[\"x\"]", "evaluation.dev", "[]", "[\"x\"]"),
    ] {
        let error = refusal(&Request { resume: true, ..request(&tiny(&[change]), folder.path()) });
        assert!(
            matches!(&error, TrainError::OtherRecipe { key: k, was: a, is: b, .. } if k == key && a == was && b == is),
            "{error}"
        );
        let message = error.to_string();
        assert!(message.contains(key) && message.contains(was) && message.contains(is), "{message}");
    }
}

#[test]
fn a_damaged_recipe_of_a_run_is_an_error_that_names_the_file() {
    let folder = stopped();
    fs::write(folder.path().join("recipe.toml"), "name = ").unwrap();
    let error = refusal(&resume(folder.path()));
    assert!(matches!(error, TrainError::Recipe { .. }) && error.to_string().contains("recipe.toml"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_without_it_the_run_goes_on_from_the_one_before() {
    let whole = stopped();
    let want = {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        trained(&resume(folder.path()), End::Never).unwrap();
        outcome(folder.path(), 12)
    };
    let last = |run: &Path| checkpoint(run, 5);
    let state = fs::read(last(whole.path()).join("state.safetensors")).unwrap();
    let mut flipped = state.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let note = fs::read_to_string(last(whole.path()).join("state.json")).unwrap();
    let damages: [(&str, Option<Vec<u8>>); 9] = [
        ("state.safetensors", Some(state[..state.len() / 2].to_vec())),
        ("state.safetensors", Some(flipped)),
        ("state.safetensors", Some(Vec::new())),
        ("state.safetensors", None),
        ("state.json", Some(b"{".to_vec())),
        ("state.json", Some(note.replace("\"step\": 5", "\"step\": 4").into_bytes())),
        ("state.json", Some(note.replace("\"step\"", "\"stop\"").into_bytes())),
        ("state.json", Some(note.replace("\"recipe\": \"", "\"recipe\": \"0").into_bytes())),
        ("state.json", None),
    ];
    for (index, (file, bytes)) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy(whole.path(), folder.path());
        let path = last(folder.path()).join(file);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = RunDir::open(folder.path(), &tiny(&[])).unwrap().latest().unwrap_err();
        assert!(matches!(&error, TrainError::State { path: named, .. } if *named == path), "{error}");
        assert!(error.to_string().contains("remove the folder"), "{error}");
        // One of them all the way, as the error says.
        if index == 0 {
            assert!(matches!(refusal(&resume(folder.path())), TrainError::State { .. }));
            fs::remove_dir_all(last(folder.path())).unwrap();
            assert_eq!(trained(&resume(folder.path()), End::Never).unwrap().step, 12);
            assert_eq!(outcome(folder.path(), 12), want);
        }
    }
    // A damaged line in the middle of the metrics, too, is no reason to lose the run.
    let log = whole.path().join("metrics.jsonl");
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.replacen("loss", "lost", 1)).unwrap();
    let error = refusal(&resume(whole.path()));
    assert!(matches!(error, TrainError::Line { line: 1, .. }), "{error}");
    fs::write(&log, lines).unwrap();
    assert_eq!(trained(&resume(whole.path()), End::Never).unwrap().step, 12);
    assert_eq!(outcome(whole.path(), 12), want);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_an_error_and_the_one_before_stands() {
    let folder = stopped();
    let want = {
        let other = tempfile::tempdir().unwrap();
        copy(folder.path(), other.path());
        trained(&resume(other.path()), End::Never).unwrap();
        outcome(other.path(), 12)
    };
    // A file where the folder of the next checkpoint is filled, and one where the model is put: nothing can be written there,
    // as on a full disk.
    for obstacle in ["checkpoints/.000006.part", "model"] {
        let (place, aside) = (folder.path().join(obstacle), folder.path().join("aside"));
        if place.exists() {
            fs::rename(&place, &aside).unwrap();
        }
        fs::write(&place, b"in the way").unwrap();
        let error = refusal(&resume(folder.path()));
        assert!(matches!(&error, TrainError::Write { path, .. } if path.starts_with(&place)), "{error}");
        assert!(error.to_string().contains(obstacle), "{error}");
        fs::remove_file(&place).unwrap();
        if aside.exists() {
            fs::rename(&aside, &place).unwrap();
        }
        let run = RunDir::open(folder.path(), &tiny(&[])).unwrap();
        assert_eq!(run.latest().unwrap().unwrap().step, 5, "{obstacle}");
    }
    ModelDir::load(&checkpoint(folder.path(), 5).join("model")).unwrap();
    trained(&resume(folder.path()), End::Never).unwrap();
    assert_eq!(outcome(folder.path(), 12), want);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"no folder").unwrap();
    let error = refusal(&request(&tiny(&[]), &folder.path().join("file/run")));
    assert!(matches!(error, TrainError::Write { .. }) && error.to_string().contains("file/run"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_with_the_last_good_state_and_the_batch() {
    // The same run at a rate of 1e30 and in plain descent: weights are beyond all bounds after a step.
    let changes = [
        "optimizer={ method = { kind = \"sgd\" } }",
        "schedule={ kind = \"constant\", rate = 1e38 }",
        "objective={ kind = \"ge2e-tf\", variant = \"softmax\" }",
    ];
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny(&changes);
    let error = refusal(&request(&recipe, folder.path()));
    let message = error.to_string();
    let TrainError::NotFinite { step, last_good, batch, .. } = error else { panic!("{message}") };
    let path = batch.unwrap();
    assert!(step >= 1 && last_good < step, "{message}");
    assert_eq!(path, folder.path().join(format!("failed-batch-{step}.safetensors")));
    assert!(message.contains(&format!("step {step}")) && message.contains(&path.display().to_string()), "{message}");
    // The batch is read back: 4 x 2 rows of 40 bands, and who they are.
    let saved = Tensors::read(&path);
    assert_eq!(saved.names(), ["classes", "features"]);
    let features = saved.get("features");
    assert_eq!((features.shape[0], features.shape[2]), (8, 40));
    assert!(features.data.iter().all(|value| value.is_finite()));
    assert_eq!(saved.get("classes").shape, [8]);
    assert!(fs::read(&path).unwrap().windows(9).any(|bytes| bytes == b"utterance"), "rows are named");
    // The state of the last good step is there, and loads.
    let state = RunDir::open(folder.path(), &recipe).unwrap().latest().unwrap().unwrap();
    assert_eq!(state.step, last_good);
    ModelDir::load(&folder.path().join("model")).unwrap();
    // Going on meets the same end at the same step, and loses nothing.
    let again = refusal(&Request { resume: true, ..request(&recipe, folder.path()) });
    assert!(
        matches!(again, TrainError::NotFinite { step: s, last_good: l, .. } if (s, l) == (step, last_good)),
        "{again}"
    );
}

#[test]
fn one_unreadable_file_of_150_is_skipped_and_named_and_two_end_the_run() {
    let (folder, manifest) = recordings(10, 15);
    let recipe = tiny(&["steps=2", "schedule.steps=3"]);
    fs::write(folder.path().join("s3-7.wav"), b"no recording").unwrap();
    let run = tempfile::tempdir().unwrap();
    let asked = Request { manifest: Some(manifest), ..request(&recipe, run.path()) };
    let finished = trained(&asked, End::Never).unwrap();
    let skipped = &finished.preparation.skipped;
    assert_eq!((finished.preparation.recordings, skipped.len(), &*skipped[0].recording), (150, 1, "s3-7.wav"));
    assert_eq!((finished.synthetic, &*finished.corpus), (false, "home"));
    fs::remove_file(folder.path().join("s9-0.wav")).unwrap();
    let other = run.path().join("other");
    let asked = Request { run: other.clone(), ..asked };
    let error = refusal(&asked);
    let message = error.to_string();
    assert!(
        matches!(error, TrainError::Data(DataError::TooManySkipped { skipped: 2, recordings: 150, .. })),
        "{message}"
    );
    assert!(message.contains("s3-7.wav") && message.contains("s9-0.wav"), "{message}");
    // What could not be prepared leaves no run behind: mended, the same call goes through.
    for name in ["s3-7.wav", "s9-0.wav"] {
        fs::copy(folder.path().join("s0-0.wav"), folder.path().join(name)).unwrap();
    }
    assert_eq!(trained(&asked, End::Never).unwrap().step, 2);
}

#[test]
fn recordings_that_are_needed_and_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (home, manifest) = recordings(3, 3);
    let of_manifest = |changes: &[&str], manifest: Option<Manifest>| {
        let changes = [&["steps=2", "schedule.steps=3"], changes].concat();
        Request { manifest, ..request(&tiny(&changes), &folder.path().join("run")) }
    };
    // Three speakers, a batch takes four.
    let error = refusal(&of_manifest(&[], Some(manifest.clone())));
    assert!(matches!(error, TrainError::Data(DataError::TooFewClasses { have: 3, need: 4, .. })), "{error}");
    // A recipe of recordings without a manifest; a split that nobody is in; a list that is not there.
    let own = "corpus={ kind = \"manifest\", corpora = [], splits = [\"train\"] }";
    assert!(matches!(refusal(&of_manifest(&[own], None)), TrainError::NoManifest { .. }));
    let error = refusal(&of_manifest(&[&own.replace("train", "trian")], Some(manifest.clone())));
    assert!(error.to_string().contains("`trian`"), "{error}");
    // A corpus with lists, but not this one. (One without any is judged by the pairs of its splits: `corpus.rs`.)
    let few = "data.sampler.speakers=2";
    fs::create_dir(home.path().join("trials")).unwrap();
    let error = refusal(&of_manifest(&[few, "evaluation.dev=[\"mine\"]"], Some(manifest.clone())));
    assert!(matches!(error, TrainError::Read { .. }) && error.to_string().contains("trials/mine.txt"), "{error}");
    let list = home.path().join("trials/mine.txt");
    fs::write(&list, "1 s0-0.wav s0-1.wav\n0 s0-0.wav gone.wav\n").unwrap();
    let error = refusal(&of_manifest(&[few, "evaluation.dev=[\"mine\"]"], Some(manifest.clone())));
    assert!(matches!(&error, TrainError::TrialFile { file, .. } if file == "gone.wav"), "{error}");
    fs::write(&list, "7 s0-0.wav s0-1.wav\n").unwrap();
    let error = refusal(&of_manifest(&[few, "evaluation.dev=[\"mine\"]"], Some(manifest.clone())));
    assert!(matches!(error, TrainError::Trials { .. }) && error.to_string().contains("mine.txt"), "{error}");
    fs::write(&list, "s0-0.wav s0-1.wav\n").unwrap();
    let error = refusal(&of_manifest(&[few, "evaluation.dev=[\"mine\"]"], Some(manifest.clone())));
    assert!(error.to_string().contains("mine.txt"), "{error}");
    // None of these left a run, and a sound list is scored and sets the threshold.
    fs::write(&list, "1 s0-0.wav s0-1.wav\n0 s0-0.wav s1-0.wav\n1 s2-0.wav s2-1.wav\n").unwrap();
    let asked = of_manifest(&[few, "evaluation.dev=[\"mine\"]", "evaluation.test=[\"mine\"]"], Some(manifest));
    let finished = trained(&asked, End::Never).unwrap();
    let model = ModelDir::load(&finished.run.model()).unwrap();
    assert!(model.description().threshold.as_ref().unwrap().origin().to_string().contains("mine"));
    // Judged on the test list; the summary is kept beside the run, and a damaged one is named.
    let judgement = judge(&finished.run, &asked.recipe, asked.manifest.as_ref()).unwrap();
    assert_eq!(judgement.lists.len(), 1);
    assert_eq!(judgement.curve.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(judgement.protocol.is_none());
    let run = finished.run.folder();
    assert!(matches!(summary::load(run), Err(TrainError::NoSummary { .. })));
    let told = summary::of_run(&asked.recipe, &finished, &judgement).unwrap();
    summary::save(run, &told).unwrap();
    assert_eq!(summary::load(run).unwrap(), told);
    fs::write(run.join("summary.json"), b"{").unwrap();
    let error = summary::load(run).unwrap_err();
    assert!(matches!(error, TrainError::Summary { .. }) && error.to_string().contains("summary.json"), "{error}");
}

#[test]
fn all_pairs_are_all_pairs_once() {
    let recipe = tiny(&[]);
    let front_end = recipe.front_end.build().unwrap();
    let extractor = FeatureExtractor::new(&front_end).unwrap();
    let windows = &recipe.evaluation.windows;
    let folder = stopped();
    let model = ModelDir::load(&folder.path().join("model")).unwrap();
    let plan = sv_models::Plan::new(&model.description().encoder, model.weights()).unwrap();
    // 4 + 1 recordings: 10 pairs, of which 6 within the first voice.
    let mut manifest = synthetic(Corpus::TextDependent, 1, 0..1, 4, "x");
    manifest.entries.extend(synthetic(Corpus::TextDependent, 1, 1..2, 1, "x").entries);
    let set = TrialList::all_pairs("pairs", &manifest).read(&extractor, windows).unwrap();
    let result = set.evaluate(&plan).unwrap();
    assert_eq!((result.scored.trials(), result.scored.targets()), (10, 6));
    assert_eq!(set.eer(&plan).unwrap(), result.eer);
    assert_eq!(set.threshold(&plan).unwrap(), result.threshold().unwrap());
    // Interleaved or not, a speaker is one.
    manifest.entries.swap(1, 4);
    let result = TrialList::all_pairs("pairs", &manifest).read(&extractor, windows).unwrap().evaluate(&plan).unwrap();
    assert_eq!((result.scored.trials(), result.scored.targets()), (10, 6));
    // Targets only: there is nothing to rate.
    let one = synthetic(Corpus::TextDependent, 1, 0..1, 3, "x");
    let set = TrialList::all_pairs("one", &one).read(&extractor, windows).unwrap();
    assert!(matches!(set.evaluate(&plan), Err(TrainError::Metrics(_))));

    // A recording that is not there is an error that names it, in a list of pairs and in the enrol/verify test.
    let (home, files) = recordings(2, 2);
    fs::remove_file(home.path().join("s1-1.wav")).unwrap();
    let missing = |error: TrainError| {
        assert!(matches!(&error, TrainError::Recording { name, .. } if name == "s1-1.wav"), "{error}");
        assert!(error.to_string().contains("s1-1.wav"), "{error}");
    };
    missing(TrialList::all_pairs("files", &files).read(&extractor, windows).unwrap_err());
    missing(ge2e_protocol(&plan, &files, &extractor, windows, 2, 1, 1).unwrap_err());
    for (speakers, utterances) in [(3, 1), (1, 1), (2, 2), (2, 0), (2, usize::MAX), (usize::MAX, 1)] {
        let refused = ge2e_protocol(&plan, &files, &extractor, windows, speakers, utterances, 1);
        assert!(matches!(refused, Err(TrainError::Protocol { .. })), "{speakers} x {utterances}");
    }
}
