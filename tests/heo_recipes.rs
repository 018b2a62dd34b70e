//! Every recipe of Heo et al. 2019 at full width on a made tree in VoxCeleb's layout: two steps, a model, a trial list, and the
//! same bits after a stop.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use common::training::{End, outcome, request, trained};
use sv_audio::frontend::FeatureExtractor;
use sv_models::{EncoderConfig, ModelDir};
use sv_train::back_end::{BackEnd, folder_of};
use sv_train::data::{Manifest, Recording, VoxCeleb};
use sv_train::evaluate::TrialList;
use sv_train::heo2019::Table;
use sv_train::session::{Request, judge};
use sv_train::{Recipe, RunDir, TrainError};
use tempfile::TempDir;

/// 120 speakers to train on, as 100 hard negatives ask for, and three who are tried.
const TRAINED: usize = 120;
const TRIED: usize = 3;

/// One second of 16-bit samples at 16 kHz: a tone of the speaker's own among noise of the file's own.
fn samples(speaker: usize, file: usize) -> Vec<u8> {
    let mut state = (1_000 * speaker + file + 1) as u64;
    let samples = (0..16_000).flat_map(|place| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (state >> 40) as f64 / f64::from(1 << 23) - 1.0;
        let tone = (0.1 * (1.0 + speaker as f64 * 0.07) * f64::from(place)).sin();
        ((4_000.0 * (tone + 0.3 * noise)) as i16).to_le_bytes()
    });
    samples.collect()
}

/// Samples as a WAV file.
fn wav(samples: &[u8]) -> Vec<u8> {
    let size = samples.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00");
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(b"\x02\x00\x10\x00data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples);
    bytes
}

fn wave(speaker: usize, file: usize) -> Vec<u8> {
    wav(&samples(speaker, file))
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Trials of the last three speakers, of `wav/id1....` or what that folder is below, by the names of all lists.
fn put_trials(root: &Path) {
    let mut list = String::new();
    for (a, b) in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)] {
        let name = |speaker: usize, file: usize| format!("id1{:04}/video{}/{file:05}.wav", TRAINED + speaker, file % 2);
        list.push_str(&format!("{} {} {}\n", usize::from(a == b), name(a, 0), name(b, 1)));
    }
    for name in Table::Four.lists().iter().flatten() {
        put(&root.join(format!("trials/{name}.txt")), list.as_bytes());
    }
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
        put_trials(folder.path());
        folder
    })
}

fn manifest() -> Manifest {
    let root = tree().path();
    VoxCeleb::One.manifest(root, &[root.join("trials/veri_test.txt")]).unwrap()
}

/// Table 4's tree: VoxCeleb2 as M4A files to train on, `VoxCeleb2/dev/aac/id0....`, and below the same folder VoxCeleb1's WAV
/// files, which its trials name. None, with a line past the harness, without `ffmpeg`.
fn tree_of_both() -> Option<&'static TempDir> {
    static TREE: OnceLock<Option<TempDir>> = OnceLock::new();
    let made = || {
        let folder = tempfile::tempdir().unwrap();
        for (speaker, file) in (TRAINED..TRAINED + TRIED).flat_map(|speaker| [(speaker, 0), (speaker, 1)]) {
            let name = format!("VoxCeleb1/test/wav/id1{speaker:04}/video{file}/{file:05}.wav");
            put(&folder.path().join(name), &wave(speaker, file));
        }
        put_trials(folder.path());
        // One call for all: cut every second, and one second more than is needed, which may be short.
        let all: Vec<u8> = (0..=5 * TRAINED).flat_map(|place| samples(place / 5, place % 5)).collect();
        let cut = folder.path().join("cut");
        put(&cut.join("all.wav"), &wav(&all));
        let arguments =
            ["-v", "error", "-i", "all.wav", "-c:a", "aac", "-f", "segment", "-segment_time", "1", "-segment_format"];
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.current_dir(&cut).args(arguments).args(["mp4", "-reset_timestamps", "1", "%05d.m4a"]);
        if !ffmpeg.status().is_ok_and(|status| status.success()) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: M4A files are made by ffmpeg, which is not here");
            return None;
        }
        for place in 0..5 * TRAINED {
            let (speaker, file) = (place / 5, place % 5);
            let video = folder.path().join(format!("VoxCeleb2/dev/aac/id0{speaker:04}/video{}", file % 2));
            fs::create_dir_all(&video).unwrap();
            fs::rename(cut.join(format!("{place:05}.m4a")), video.join(format!("{file:05}.m4a"))).unwrap();
        }
        fs::remove_dir_all(cut).unwrap();
        Some(folder)
    };
    TREE.get_or_init(made).as_ref()
}

/// What Table 4's recipes train on: M4A files of VoxCeleb2 where they can be made, else the WAV files of VoxCeleb1.
fn manifest_of_both() -> Manifest {
    tree_of_both().map_or_else(manifest, |tree| VoxCeleb::Two.manifest(tree.path(), &[]).unwrap())
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

/// Trains without a break; and with the second step failing as if it was killed, and, gone on, the second step of the back end,
/// if there is one. Scores the trials, and compares what both left. The first run's folder goes before the second begins: three
/// states of the large network are a gigabyte.
fn runs(name: &str, manifest: &Manifest) {
    let recipe = small(name, &[]);
    let whole = tempfile::tempdir().unwrap();
    let finished = trained(&asked(&recipe, manifest, whole.path()), End::Never).unwrap();
    assert_eq!((finished.step, finished.complete, finished.preparation.classes), (2, true, TRAINED), "{name}");
    let model = ModelDir::load(&whole.path().join("model")).unwrap();
    assert_eq!(model.description().encoder, recipe.encoder);
    let judgement = judge(&finished.run, &recipe, Some(manifest)).unwrap();
    assert_eq!(judgement.lists.len(), recipe.evaluation.test.len());
    for list in &judgement.lists {
        assert_eq!((list.scored.trials(), list.scored.targets()), (6, 3), "{name} {}", list.list);
        assert!((0.0..=1.0).contains(&list.eer.rate));
    }
    assert_eq!(judgement.without_back_end.len(), if recipe.back_end.is_some() { judgement.lists.len() } else { 0 });
    let (unbroken, its_back_end) = (outcome(whole.path(), 2), content(&folder_of(&finished.run)));
    assert_eq!(its_back_end.is_empty(), recipe.back_end.is_none(), "{name}");
    drop(whole);

    let broken = tempfile::tempdir().unwrap();
    let begun = asked(&recipe, manifest, broken.path());
    trained(&begun, End::Fail(2)).unwrap_err();
    let run = RunDir::open(broken.path(), &recipe).unwrap();
    assert_eq!(run.latest().unwrap().unwrap().step, 1, "{name}");
    assert!(content(&folder_of(&run)).is_empty(), "nothing is trained on an encoder that is not finished");
    let resumed = Request { resume: true, ..begun };
    if recipe.back_end.is_some() {
        trained(&resumed, End::FailBehind(2)).unwrap_err();
        assert_eq!(content(&folder_of(&run)).len(), 1, "{name}: the embeddings, and no back end");
    }
    let finished = trained(&resumed, End::Never).unwrap();
    assert!(finished.step == 2 && finished.complete);
    assert!(outcome(broken.path(), 2) == unbroken, "{name}");
    assert!(content(&folder_of(&run)) == its_back_end, "{name}");
}

#[test]
fn softmax_trains_scores_and_resumes() {
    runs("heo2019/softmax", &manifest());
}

#[test]
fn metric_learning_trains_scores_and_resumes() {
    runs("heo2019/metric-learning", &manifest());
}

#[test]
fn center_trains_scores_and_resumes() {
    runs("heo2019/center", &manifest());
}

#[test]
fn am_softmax_trains_scores_and_resumes() {
    runs("heo2019/am-softmax", &manifest());
}

#[test]
fn ge2e_trains_scores_and_resumes() {
    runs("heo2019/ge2e", &manifest());
}

#[test]
fn center_and_between_train_score_and_resume() {
    runs("heo2019/center-between", &manifest());
}

#[test]
fn hard_and_between_train_score_and_resume() {
    runs("heo2019/hard-between", &manifest());
}

#[test]
fn center_on_the_large_network_trains_scores_and_resumes() {
    runs("heo2019/voxceleb2-center", &manifest_of_both());
}

#[test]
fn a_hundred_hard_negatives_on_the_large_network_train_score_and_resume() {
    runs("heo2019/voxceleb2-hard100", &manifest_of_both());
}

#[test]
fn fifty_hard_negatives_on_the_large_network_train_score_and_resume() {
    runs("heo2019/voxceleb2-hard50", &manifest_of_both());
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
    // Found out before the first step, though the list is one of those that a finished run is judged by.
    let recipe = small("heo2019/softmax", &["data.sampler.speakers=2"]);
    assert!(recipe.evaluation.dev.is_empty() && recipe.evaluation.test.contains(&"veri_test".to_owned()));
    let run = tempfile::tempdir().unwrap();
    let error = trained(&asked(&recipe, &manifest, run.path()), End::Never).unwrap_err();
    assert!(!run.path().join("recipe.toml").exists());
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
fn a_list_may_name_wav_files_where_the_corpus_has_m4a() {
    let Some(tree) = tree_of_both() else { return };
    let manifest = manifest_of_both();
    assert_eq!((manifest.entries.len(), manifest.speakers().len()), (5 * TRAINED, TRAINED), "no speaker of VoxCeleb1");
    let list =
        b"1 id00000/video0/00000.wav id00000/video1/00001.wav\n0 id00001/video0/00000.wav id00002/video1/00001.wav\n";
    put(&tree.path().join("meta/of-m4a.txt"), list);
    let list = TrialList::named("of-m4a", tree.path()).unwrap();
    assert_eq!(list.recordings()[0], Recording::File("VoxCeleb2/dev/aac/id00000/video0/00000.m4a".into()));
    let recipe = small("heo2019/softmax", &[]);
    let extractor = FeatureExtractor::new(&recipe.front_end.build().unwrap()).unwrap();
    list.read(&extractor, &recipe.evaluation.windows).unwrap();
}

#[test]
fn a_stop_before_the_back_end_is_trained_leaves_a_run_that_is_not_complete() {
    let (recipe, manifest) = (small("heo2019/metric-learning", &[]), manifest());
    let run = tempfile::tempdir().unwrap();
    let asked = asked(&recipe, &manifest, run.path());
    let stopped = trained(&asked, End::Stop(2)).unwrap();
    assert!(stopped.step == 2 && !stopped.complete);
    assert!(judge(&stopped.run, &recipe, Some(&manifest)).is_err());
    assert!(trained(&Request { resume: true, ..asked }, End::Never).unwrap().complete);
}
