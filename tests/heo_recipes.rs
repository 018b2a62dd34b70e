//! Every recipe of Heo et al. 2019 at full width on a made tree in VoxCeleb's layout: two steps, a model, a trial list, and the
//! same bits after a stop.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use common::training::{End, outcome, request, trained};
use sv_models::{EncoderConfig, ModelDir};
use sv_train::back_end::{BackEnd, folder_of};
use sv_train::data::{Manifest, VoxCeleb};
use sv_train::heo2019::Table;
use sv_train::session::{Request, judge};
use sv_train::{Recipe, RunDir, TrainError};
use tempfile::TempDir;

/// 120 speakers to train on, as 100 hard negatives ask for, and three who are tried.
const TRAINED: usize = 120;
const TRIED: usize = 3;

/// One second of 16-bit samples at 16 kHz as a WAV file: a tone of the speaker's own among noise of the file's own.
fn wave(speaker: usize, file: usize) -> Vec<u8> {
    let mut state = (1_000 * speaker + file + 1) as u64;
    let samples = (0..16_000).flat_map(|place| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (state >> 40) as f64 / f64::from(1 << 23) - 1.0;
        let tone = (0.1 * (1.0 + speaker as f64 * 0.07) * f64::from(place)).sin();
        ((4_000.0 * (tone + 0.3 * noise)) as i16).to_le_bytes()
    });
    let mut bytes = b"RIFF\x24\x7d\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00".to_vec();
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(b"\x02\x00\x10\x00data\x00\x7d\x00\x00");
    bytes.extend(samples);
    bytes
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The tree: `wav/id1....`, five files a speaker, and a list of trials of the last three speakers. Folders that are no
/// speakers' stand beside.
fn tree() -> &'static TempDir {
    static TREE: OnceLock<TempDir> = OnceLock::new();
    TREE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for speaker in 0..TRAINED + TRIED {
            for file in 0..5 {
                let name = format!("wav/id1{speaker:04}/video{}/{file:05}.wav", file % 2);
                put(&folder.path().join(name), &wave(speaker, file));
            }
        }
        put(&folder.path().join("wav/notes/v/00001.wav"), b"of no speaker");
        let mut list = String::new();
        for (a, b) in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)] {
            let name =
                |speaker: usize, file: usize| format!("id1{:04}/video{}/{file:05}.wav", TRAINED + speaker, file % 2);
            list.push_str(&format!("{} {} {}\n", usize::from(a == b), name(a, 0), name(b, 1)));
        }
        for name in Table::Four.lists().iter().flatten() {
            put(&folder.path().join(format!("trials/{name}.txt")), list.as_bytes());
        }
        folder
    })
}

fn manifest() -> Manifest {
    let root = tree().path();
    VoxCeleb::One.manifest(root, &[root.join("trials/veri_test.txt")]).unwrap()
}

/// Two steps of four rows, two for each of two speakers where a recipe draws several; rows of a second, as long as the files.
fn small(name: &str, more: &[&str]) -> Recipe {
    let full = Recipe::load(name, &[]).unwrap();
    let mut changes = vec!["steps=2".to_owned(), "checkpoints.every=1".into(), "data.crop.frames=[98, 98]".into()];
    match full.data.sampler.utterances {
        1 => changes.push("data.sampler.speakers=4".into()),
        _ => changes.extend(["data.sampler.speakers=2".into(), "data.sampler.utterances=2".into()]),
    }
    if full.back_end.is_some() {
        changes.extend(["back_end.training.steps=2", "back_end.training.utterances=2"].map(str::to_owned));
    }
    changes.extend(more.iter().map(ToString::to_string));
    Recipe::load(name, &changes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn asked(recipe: &Recipe, manifest: &Manifest, run: &Path) -> Request {
    Request { manifest: Some(manifest.clone()), workers: 0, ..request(recipe, run) }
}

/// Bytes of everything below a folder, by path.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Trains without a stop and with one after the first step, scores the trials, and compares what both left. The first run's
/// folder goes before the second begins: three states of the large network are a gigabyte.
fn runs(name: &str) {
    let (recipe, manifest) = (small(name, &[]), manifest());
    let whole = tempfile::tempdir().unwrap();
    let finished = trained(&asked(&recipe, &manifest, whole.path()), End::Never).unwrap();
    assert_eq!((finished.step, finished.preparation.classes), (2, TRAINED), "{name}");
    let model = ModelDir::load(&whole.path().join("model")).unwrap();
    assert_eq!(model.description().encoder, recipe.encoder);
    let judgement = judge(&finished.run, &recipe, Some(&manifest)).unwrap();
    assert_eq!(judgement.lists.len(), recipe.evaluation.test.len());
    for list in &judgement.lists {
        assert_eq!((list.scored.trials(), list.scored.targets()), (6, 3), "{name} {}", list.list);
        assert!((0.0..=1.0).contains(&list.eer.rate));
    }
    assert_eq!(judgement.without_back_end.len(), if recipe.back_end.is_some() { judgement.lists.len() } else { 0 });
    let (unbroken, its_back_end) = (outcome(whole.path(), 2), content(&folder_of(&finished.run)));
    assert_eq!(its_back_end.is_empty(), recipe.back_end.is_none(), "{name}");
    drop(whole);

    let stopped = tempfile::tempdir().unwrap();
    let begun = trained(&asked(&recipe, &manifest, stopped.path()), End::Stop(1)).unwrap();
    assert_eq!(begun.step, 1);
    assert!(content(&folder_of(&begun.run)).is_empty(), "nothing is trained on an encoder that is not finished");
    let resumed = Request { resume: true, ..asked(&recipe, &manifest, stopped.path()) };
    assert_eq!(trained(&resumed, End::Never).unwrap().step, 2);
    assert!(outcome(stopped.path(), 2) == unbroken, "{name}");
    assert!(content(&folder_of(&begun.run)) == its_back_end, "{name}");
}

#[test]
fn softmax_trains_scores_and_resumes() {
    runs("heo2019/softmax");
}

#[test]
fn metric_learning_trains_scores_and_resumes() {
    runs("heo2019/metric-learning");
}

#[test]
fn center_trains_scores_and_resumes() {
    runs("heo2019/center");
}

#[test]
fn am_softmax_trains_scores_and_resumes() {
    runs("heo2019/am-softmax");
}

#[test]
fn ge2e_trains_scores_and_resumes() {
    runs("heo2019/ge2e");
}

#[test]
fn center_and_between_train_score_and_resume() {
    runs("heo2019/center-between");
}

#[test]
fn hard_and_between_train_score_and_resume() {
    runs("heo2019/hard-between");
}

#[test]
fn center_on_the_large_network_trains_scores_and_resumes() {
    runs("heo2019/voxceleb2-center");
}

#[test]
fn a_hundred_hard_negatives_on_the_large_network_train_score_and_resume() {
    runs("heo2019/voxceleb2-hard100");
}

#[test]
fn fifty_hard_negatives_on_the_large_network_train_score_and_resume() {
    runs("heo2019/voxceleb2-hard50");
}

#[test]
fn centres_are_part_of_the_saved_state_and_move() {
    let (recipe, manifest) = (small("heo2019/center", &[]), manifest());
    let run = tempfile::tempdir().unwrap();
    let finished = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap();
    let state = finished.run.latest().unwrap().unwrap();
    let centres = state.tensors["objective.classes.centres"].to_vec2::<f32>().unwrap();
    let moved = centres.iter().filter(|row| row.iter().any(|&value| value != 0.0)).count();
    // Two steps of four recordings: no more speakers than that.
    assert!(centres.len() == TRAINED && (1..=8).contains(&moved), "{moved}");
}

#[test]
fn a_back_end_knows_its_encoder_and_the_layer_lengthens_the_embedding() {
    let (recipe, manifest) = (small("heo2019/metric-learning", &[]), manifest());
    let run = tempfile::tempdir().unwrap();
    let finished = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap();
    let BackEnd::Metric(model) = BackEnd::load(&finished.run, &recipe).unwrap() else { panic!("another back end") };
    assert_eq!(model.description().embedding_size, 256);
    assert!(matches!(&model.description().encoder, EncoderConfig::ResNet(config) if config.size == 256));
    // The encoder below the layer is the run's, to the bit.
    let below = ModelDir::load(&finished.run.model_at(2)).unwrap();
    assert!(below.weights().iter().all(|(name, weight)| model.weights().get(name) == weight));
    // Another encoder at its place: refused, not scored.
    let other = tempfile::tempdir().unwrap();
    trained(&asked(&small("heo2019/metric-learning", &["seed=2"]), &manifest, other.path()), End::Never).unwrap();
    ModelDir::load(&other.path().join("model")).unwrap().save(&finished.run.model_at(2)).unwrap();
    assert!(matches!(BackEnd::load(&finished.run, &recipe), Err(TrainError::OtherModel { .. })));
}

#[test]
fn a_trial_that_names_a_file_that_is_not_there_is_an_error_that_names_both() {
    let root = tempfile::tempdir().unwrap();
    for speaker in 0..4 {
        put(&root.path().join(format!("wav/id1{speaker:04}/v/00000.wav")), &wave(speaker, 0));
    }
    put(&root.path().join("trials/veri_test.txt"), b"1 id10003/v/00000.wav id10003/v/00007.wav\n");
    let list = root.path().join("trials/veri_test.txt");
    let manifest = VoxCeleb::One.manifest(root.path(), std::slice::from_ref(&list)).unwrap();
    let recipe = small("heo2019/softmax", &["data.sampler.speakers=2", "evaluation.dev=['veri_test']"]);
    let run = tempfile::tempdir().unwrap();
    let error = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap_err();
    assert!(matches!(&error, TrainError::TrialFile { file, .. } if file == "id10003/v/00007.wav"), "{error}");
    assert!(error.to_string().contains("veri_test.txt"), "{error}");
}

#[test]
fn training_speakers_with_one_recording_make_no_pairs() {
    let root = tempfile::tempdir().unwrap();
    for speaker in 0..4 {
        put(&root.path().join(format!("wav/id1{speaker:04}/v/00000.wav")), &wave(speaker, 0));
    }
    let manifest = VoxCeleb::One.manifest(root.path(), &[]).unwrap();
    let recipe = small("heo2019/metric-learning", &["data.sampler.speakers=2"]);
    let run = tempfile::tempdir().unwrap();
    let error = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap_err();
    assert!(matches!(error, TrainError::Pairs { speakers: 0 }), "{error}");
    // The encoder is finished and saved all the same.
    assert_eq!(RunDir::open(run.path(), &recipe).unwrap().latest().unwrap().unwrap().step, 2);
}

#[test]
fn voxceleb2_as_m4a_files_trains_and_is_tried() {
    let root = tempfile::tempdir().unwrap();
    for speaker in 0..4 {
        for file in 0..2 {
            let (wav, m4a) = (root.path().join("one.wav"), format!("dev/aac/id0{speaker:04}/v/{file:05}.m4a"));
            put(&wav, &wave(speaker, file));
            let m4a = root.path().join(m4a);
            fs::create_dir_all(m4a.parent().unwrap()).unwrap();
            let made =
                Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&wav).args(["-c:a", "aac"]).arg(&m4a).status();
            if !made.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: M4A files are made by ffmpeg, which is not here");
                return;
            }
        }
    }
    // A list may name WAV files where the corpus has M4A.
    let list = b"1 id00000/v/00000.wav id00000/v/00001.wav\n0 id00001/v/00000.wav id00002/v/00001.wav\n";
    put(&root.path().join("trials/veri_test.txt"), list);
    let manifest = VoxCeleb::Two.manifest(root.path(), &[]).unwrap();
    assert_eq!((manifest.entries.len(), manifest.speakers().len()), (8, 4));
    let recipe = small("heo2019/center", &[]);
    let run = tempfile::tempdir().unwrap();
    let finished = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap();
    let judgement = judge(&finished.run, &recipe, Some(&manifest)).unwrap();
    assert_eq!(judgement.lists[0].scored.trials(), 2);
}
