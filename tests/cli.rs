//! The real `sv`, as a person or a script runs it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::data::{data_dir, reference_dir};
use common::model::{tiny_model, voice};
use serde_json::Value;
use speaker_verification::EmbeddingTable;
use speaker_verification::metrics::{Acceptance, Threshold, ThresholdOrigin};
use tempfile::TempDir;

fn sv(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sv")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

/// A folder with a model in `m`, and the recordings a.wav, b.wav (one voice) and c.wav (another).
fn scene() -> TempDir {
    scene_with(None)
}

fn scene_with(threshold: Option<f64>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let threshold = threshold.map(|value| {
        Threshold::new(value, Acceptance::AtLeast, ThresholdOrigin::Calibrated { list: "dev.txt".into() }).unwrap()
    });
    tiny_model(threshold).save(&folder.path().join("m")).unwrap();
    for (name, pitch, seed) in [("a", 120.0, 1), ("b", 121.0, 2), ("c", 230.0, 3)] {
        std::fs::write(folder.path().join(format!("{name}.wav")), voice(pitch, seed).to_wav()).unwrap();
    }
    folder
}

#[test]
fn verify_answers_by_its_exit_status() {
    let folder = scene();
    let status = |arguments: &[&str]| sv(arguments, folder.path()).status.code();
    assert_eq!(status(&["verify", "--model", "m", "a.wav", "b.wav", "--threshold", "-1"]), Some(0));
    assert_eq!(status(&["verify", "--model", "m", "a.wav", "b.wav", "--threshold", "1.5"]), Some(1));
    assert_eq!(status(&["verify", "--model", "m", "a.wav", "b.wav"]), Some(3));
    assert_eq!(status(&["verify", "--model", "m", "a.wav", "nobody.wav"]), Some(2));
    assert_eq!(status(&["verify", "--model", "nothing", "a.wav", "b.wav"]), Some(2));
    assert_eq!(status(&["verify", "--model", "m", "a.wav", "b.wav", "--threshold", "NaN"]), Some(2));
}

/// Without a GPU at hand the tests are of a build without the features that GPUs need.
#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn a_device_that_the_build_lacks_is_an_error_that_names_the_feature() {
    let folder = scene();
    let verify = |device: &str| {
        let arguments = ["verify", "--model", "m", "a.wav", "b.wav", "--threshold", "-1", "--device", device];
        sv(&arguments, folder.path())
    };
    assert_eq!(verify("cpu").status.code(), Some(0));
    for (device, feature) in [("cuda:0", "`cuda`"), ("cuda", "`cuda`"), ("metal", "`metal`")] {
        let output = verify(device);
        let message = text(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(device) && message.contains(feature), "{message}");
    }
    let unknown = text(&verify("gpu").stderr);
    assert!(unknown.contains("gpu") && unknown.contains("cuda:N"), "{unknown}");
}

#[test]
fn a_verdict_names_the_threshold_and_its_origin() {
    let folder = scene_with(Some(-1.0));
    let output = sv(&["verify", "--model", "m", "a.wav", "b.wav", "--json"], folder.path());
    let answer = json(&output);
    assert_eq!((answer["verdict"].as_str(), answer["threshold"].as_f64()), (Some("accept"), Some(-1.0)));
    assert!(answer["threshold_origin"].as_str().unwrap().contains("dev.txt"), "{answer}");
    assert!((-1.0..=1.0).contains(&answer["score"].as_f64().unwrap()));
    let undecided = sv(&["verify", "--model", "m", "a.wav", "b.wav", "--json"], scene().path());
    let answer = json(&undecided);
    assert_eq!((answer["verdict"].as_str(), &answer["threshold"]), (Some("undecided"), &Value::Null));
}

#[test]
fn a_speaker_is_enrolled_from_several_recordings_and_verified() {
    let folder = scene();
    let run = |arguments: &[&str]| sv(arguments, folder.path());
    let enrolled = run(&["enrol", "--model", "m", "--out", "s.json", "--json", "a.wav", "c.wav"]);
    assert_eq!(json(&enrolled)["utterances"], 2, "{}", text(&enrolled.stderr));
    let score = |arguments: &[&str]| {
        let answer = json(&run(&[&["verify", "--model", "m", "--json"], arguments].concat()));
        answer["score"].as_f64().unwrap()
    };
    // The cosine with the sum of two unit vectors a and c at angle t is that of half the angle: sqrt((1 + cos t) / 2).
    let (both, apart) = (score(&["--enrolment", "s.json", "a.wav"]), score(&["a.wav", "c.wav"]));
    assert!((both - ((1.0 + apart) / 2.0).sqrt()).abs() < 1e-6, "{both} and {apart}");
    let added = run(&["enrol", "--model", "m", "--out", "s.json", "--add", "--json", "b.wav"]);
    assert_eq!(json(&added)["utterances"], 3);
    // One of the recordings is not there: nothing is written.
    let failed = run(&["enrol", "--model", "m", "--out", "t.json", "a.wav", "nobody.wav"]);
    assert_eq!((failed.status.code(), folder.path().join("t.json").exists()), (Some(2), false));
    for wrong in [vec!["--enrolment", "s.json", "a.wav", "b.wav"], vec!["a.wav"], vec!["--enrolment", "a.wav", "b.wav"]]
    {
        let refused = run(&[&["verify", "--model", "m"], wrong.as_slice()].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", text(&refused.stdout));
    }
}

#[test]
fn a_recording_compared_with_itself_scores_one() {
    let folder = scene();
    let answer = json(&sv(&["verify", "--model", "m", "a.wav", "a.wav", "--json"], folder.path()));
    assert!((answer["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
}

#[test]
fn embed_names_the_file_that_fails_and_does_the_rest() {
    let folder = scene();
    std::fs::write(
        folder.path().join("silent.wav"),
        speaker_verification::Waveform::new(vec![0.0; 48_000], 16_000).unwrap().to_wav(),
    )
    .unwrap();
    let output = sv(&["embed", "--model", "m", "--json", "a.wav", "silent.wav", "c.wav"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    let answer = json(&output);
    let paths: Vec<_> = answer["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["a.wav", "c.wav"]);
    assert_eq!(answer["files"][0]["embedding"].as_array().unwrap().len(), 12);
    let seconds = answer["files"][0]["seconds_of_speech"].as_f64().unwrap();
    assert!(seconds > 1.0 && seconds <= 3.0, "{seconds}");
    assert_eq!(answer["errors"][0]["path"], "silent.wav");
    assert!(text(&output.stderr).contains("silent.wav"));
}

#[test]
fn a_folder_is_searched_and_a_table_is_written() {
    let folder = scene();
    let output = sv(&["embed", "--model", "m", ".", "--out", "e.safetensors"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = EmbeddingTable::load(&folder.path().join("e.safetensors")).unwrap();
    assert_eq!(table.paths, ["./a.wav", "./b.wav", "./c.wav"]);
    assert!((0..3).all(|row| table.row(row).unwrap().len() == 12));
    assert!(!folder.path().join("e.safetensors.part").exists());
}

#[test]
fn shards_joined_are_the_whole() {
    let folder = scene();
    std::fs::write(folder.path().join("list"), "a.wav\nb.wav\nc.wav\n").unwrap();
    let embed = |extra: &[&str], out: &str| {
        let arguments = [&["embed", "--model", "m", "--list", "list", "--out", out], extra].concat();
        assert!(sv(&arguments, folder.path()).status.success());
        EmbeddingTable::load(&folder.path().join(out)).unwrap()
    };
    let whole = embed(&[], "whole");
    let mut joined = embed(&["--shard", "1/2"], "one");
    joined.append(embed(&["--shard", "2/2", "--threads", "1"], "two"));
    assert_eq!(joined, whole);
}

#[test]
fn an_interrupted_run_keeps_its_batches_and_refuses_anothers() {
    let folder = scene();
    let list: String = ["a.wav\n", "b.wav\n", "c.wav\n"].concat();
    std::fs::write(folder.path().join("list"), &list).unwrap();
    let embed = || sv(&["embed", "--model", "m", "--list", "list", "--out", "e"], folder.path());
    assert!(embed().status.success());
    // What an interruption leaves: the folder with its claim and a finished batch. The batch is made another's on purpose,
    // so that it shows in the result that it was not done again.
    let parts = folder.path().join("e.part");
    std::fs::create_dir(&parts).unwrap();
    let mut kept = EmbeddingTable::load(&folder.path().join("e")).unwrap();
    kept.seconds_of_speech = vec![1.0, 2.0, 3.0];
    kept.save(&parts.join("batch-000000.safetensors")).unwrap();
    let claim = serde_json::json!({
        "fingerprint": kept.fingerprint,
        "vad": format!("{:?}", speaker_verification::audio::vad::VadChoice::energy()),
        "paths": ["./a.wav", "./b.wav", "./c.wav"],
    });
    std::fs::write(parts.join("run.json"), claim.to_string()).unwrap();
    assert!(embed().status.success());
    assert_eq!(EmbeddingTable::load(&folder.path().join("e")).unwrap(), kept);

    std::fs::create_dir(&parts).unwrap();
    let other = claim.to_string().replace("c.wav", "d.wav");
    std::fs::write(parts.join("run.json"), other).unwrap();
    let refused = embed();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("the list of files differs"), "{}", text(&refused.stderr));
}

#[test]
fn eval_prints_stable_keys_and_writes_the_scores() {
    let folder = scene();
    std::fs::write(folder.path().join("trials"), "1 a.wav b.wav\n0 a.wav c.wav\n1 c.wav c.wav\n0 b.wav c.wav\n")
        .unwrap();
    let arguments = ["eval", "--model", "m", "--trials", "trials", "--root", ".", "--scores", "scores", "--json"];
    let output = sv(&arguments, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer = json(&output);
    for key in ["eer", "eer_interval", "threshold", "min_dcf_p0.01", "trials", "targets", "seconds"] {
        assert!(!answer[key].is_null(), "{key} in {answer}");
    }
    assert_eq!((answer["trials"].as_u64(), answer["targets"].as_u64()), (Some(4), Some(2)));
    let scores = std::fs::read_to_string(folder.path().join("scores")).unwrap();
    assert_eq!(scores.lines().count(), 4);
    assert!(scores.starts_with("1 a.wav b.wav "), "{scores}");
}

#[test]
fn a_bad_line_of_a_trial_list_is_named() {
    let folder = scene();
    std::fs::write(folder.path().join("trials"), "1 a.wav b.wav\n2 a.wav c.wav\n").unwrap();
    let output = sv(&["eval", "--model", "m", "--trials", "trials", "--root", "."], folder.path());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(message.contains("trials") && message.contains('2') && message.contains("2 a.wav c.wav"), "{message}");
}

#[test]
fn two_files_of_one_name_in_two_folders_are_two_files() {
    let folder = scene();
    for (sub, from) in [("x", "a.wav"), ("y", "c.wav")] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
        std::fs::copy(folder.path().join(from), folder.path().join(sub).join("same.wav")).unwrap();
    }
    std::fs::write(folder.path().join("trials"), "1 x/same.wav a.wav\n0 x/same.wav y/same.wav\n").unwrap();
    let arguments = ["eval", "--model", "m", "--trials", "trials", "--root", ".", "--scores", "scores"];
    assert!(sv(&arguments, folder.path()).status.success());
    let scores = std::fs::read_to_string(folder.path().join("scores")).unwrap();
    let score = |line: usize| scores.lines().nth(line).unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    assert!((score(0) - 1.0).abs() < 1e-5 && score(1) < 0.999_9, "{scores}");
}

#[test]
fn a_missing_file_of_a_trial_list_is_named_and_the_rest_is_rated() {
    let folder = scene();
    std::fs::write(folder.path().join("trials"), "1 a.wav b.wav\n0 a.wav c.wav\n1 a.wav gone.wav\n").unwrap();
    let output = sv(&["eval", "--model", "m", "--trials", "trials", "--root", ".", "--json"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    let answer = json(&output);
    assert_eq!(answer["trials"], 2);
    assert!(answer["errors"][0]["path"].as_str().unwrap().contains("gone.wav"));
}

#[test]
fn the_verbs_describe_themselves() {
    let folder = scene();
    let inspected = json(&sv(&["inspect", "m", "--json"], folder.path()));
    assert_eq!(inspected["embedding_size"], 12);
    assert_eq!(inspected["encoder"]["architecture"], "lstm");
    let script = text(&sv(&["generate", "--completions", "bash"], folder.path()).stdout);
    assert!(script.contains("verify"), "{script}");
    assert!(sv(&["generate", "--man", "man"], folder.path()).status.success());
    let page = std::fs::read_to_string(folder.path().join("man/sv.1")).unwrap();
    assert!(page.contains("sv"), "{page}");
}

#[test]
fn a_closed_pipe_is_success() {
    let folder = scene();
    let script = format!(
        "{} embed --model m a.wav b.wav c.wav | head -c 5 > /dev/null; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_sv")
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn synth_writes_voices_that_the_other_verbs_take() {
    let folder = scene();
    let output = sv(&["synth", "voices", "--speakers", "2", "--utterances", "2", "--seed", "5"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = sv(
        &["eval", "--model", "m", "--trials", "voices/trials.txt", "--root", "voices", "--vad", "none", "--json"],
        folder.path(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    // 4 files: 6 pairs, 2 of them of one speaker.
    assert_eq!((json(&output)["trials"].as_u64(), json(&output)["targets"].as_u64()), (Some(6), Some(2)));
}

#[test]
fn a_foreign_checkpoint_and_its_conversion_are_one_model() {
    let Some(reference) = reference_dir() else { return };
    let folder = scene();
    let checkpoint = reference.join("resemblyzer_pretrained.pt").display().to_string();
    let converted = sv(&["convert", &checkpoint, "r"], folder.path());
    assert!(converted.status.success(), "{}", text(&converted.stderr));
    let fingerprint = |model: &str| json(&sv(&["inspect", model, "--json"], folder.path()))["fingerprint"].clone();
    assert_eq!(fingerprint("r"), fingerprint(&checkpoint));
    let embedding = |model: &str| {
        let output = sv(&["embed", "--model", model, "--vad", "energy", "--json", "a.wav"], folder.path());
        json(&output)["files"][0]["embedding"].clone()
    };
    assert_eq!(embedding("r"), embedding(&checkpoint));
}

#[test]
fn every_broken_recording_gets_the_answer_that_its_readme_asks_for() {
    let (Some(data), Some(reference)) = (data_dir(), reference_dir()) else { return };
    let bad = data.join("formats/bad");
    let model = reference.join("resemblyzer_pretrained.pt").display().to_string();
    // The others hold speech and are embedded, with a warning where something is missing or clipped.
    let usable = [
        "truncated.wav",
        "truncated.flac",
        "truncated.mp3",
        "truncated.ogg",
        "truncated-with-index.m4a",
        "claims-4gb.wav",
        "clipped-speech.wav",
    ];
    let mut files: Vec<PathBuf> = std::fs::read_dir(&bad).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension != "md"));
    assert!(files.len() >= 20, "{} files", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let output = sv(&["embed", "--model", &model, "--json", file.to_str().unwrap()], &bad);
        let message = text(&output.stderr);
        if usable.contains(&name) {
            assert_eq!(output.status.code(), Some(0), "{name}: {message}");
            let warned = message.contains(name);
            assert!(warned || name == "claims-4gb.wav", "{name} is embedded without a warning: {message}");
        } else {
            assert_eq!(output.status.code(), Some(2), "{name} was embedded");
            assert!(message.contains(name) && !message.contains("panicked"), "{name}: {message}");
        }
    }
}

/// Changes that make `synthetic/td` take a second: see `common::training`.
fn tiny() -> Vec<String> {
    common::training::TINY.iter().map(|change| format!("--set={change}")).collect()
}

/// A folder with `voices`: 8 synthetic ones x 4 recordings as WAV, their manifest, and a trial list of all pairs.
fn voices() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let synth = ["synth", "voices", "--speakers", "8", "--utterances", "4", "--seed", "3", "--fixed-phrase"];
    let output = sv(&synth, folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut manifest = "path\tsplit\tspeaker\tcorpus\n".to_owned();
    for speaker in 0..8 {
        for take in 0..4 {
            let line = format!("synthetic{speaker:05}/{take:04}.wav\ttrain\ts{speaker}\tvoices\n");
            manifest.push_str(&line);
        }
    }
    std::fs::write(folder.path().join("voices/manifest.tsv"), manifest).unwrap();
    std::fs::create_dir(folder.path().join("voices/trials")).unwrap();
    std::fs::rename(folder.path().join("voices/trials.txt"), folder.path().join("voices/trials/pairs.txt")).unwrap();
    folder
}

/// `sv train` of the tiny recipe on the manifest of [`voices`], with more arguments.
fn train_arguments(more: &[&str]) -> Vec<String> {
    let fixed = [
        "train",
        "synthetic/td",
        "--manifest",
        "voices/manifest.tsv",
        "--set=evaluation.dev=[\"pairs\"]",
        "--set=evaluation.test=[\"pairs\"]",
    ];
    fixed.iter().chain(more).map(ToString::to_string).chain(tiny()).collect()
}

fn train(more: &[&str], folder: &Path) -> Output {
    let arguments = train_arguments(more);
    sv(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), folder)
}

fn fingerprint_of(model: &str, folder: &Path) -> Value {
    json(&sv(&["inspect", model, "--json"], folder))["fingerprint"].clone()
}

#[test]
fn train_lists_its_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let output = sv(&["train", "--list"], folder.path());
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && printed.lines().count() == speaker_verification::train::Recipe::names().len(),
        "{printed}"
    );
    for name in ["ge2e-tf/td", "synthetic/ti", "d-vector/ti", "ecapa/narrow", "ecapa/voxceleb", "xvector/voxceleb"] {
        assert!(printed.lines().any(|line| line.starts_with(name) && line.len() > name.len() + 20), "{printed}");
    }
}

#[test]
fn a_run_is_trained_reported_resumed_and_used_by_every_verb() {
    let folder = voices();
    let output = train(&["--run", "run"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("pairs: EER ") && printed.contains("model: run/model"), "{printed}");
    for file in ["recipe.toml", "metrics.jsonl", "evaluations.jsonl", "summary.json", "report/report.html"] {
        assert!(folder.path().join("run").join(file).is_file(), "{file}");
    }
    // The report is written again from what the run left, to the same bytes.
    let page = folder.path().join("run/report/report.md");
    let before = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_dir_all(folder.path().join("run/report")).unwrap();
    let output = sv(&["report", "run"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), before);
    let output = sv(&["report", "voices"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("summary.json"), "{}", text(&output.stderr));

    // A second training in the same folder is refused, and going on with a finished one changes nothing.
    let whole = fingerprint_of("run", folder.path());
    let output = train(&["--run", "run"], folder.path());
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("--resume"), "{}", text(&output.stderr));
    assert!(train(&["--run", "run", "--resume"], folder.path()).status.success());
    assert_eq!(fingerprint_of("run", folder.path()), whole);
    let output = train(&["--run", "run", "--resume", "--set=seed=2"], folder.path());
    let message = text(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("seed was 1 and is 2"), "{message}");

    // A run is a model, and so is each of its steps.
    let (a, b) = ("voices/synthetic00000/0000.wav", "voices/synthetic00000/0001.wav");
    for model in ["run", "run@6", "run/model"] {
        let output = sv(&["verify", "--model", model, a, b, "--json"], folder.path());
        assert!(matches!(output.status.code(), Some(0 | 1)), "{model}: {}", text(&output.stderr));
        assert!(json(&output)["threshold_origin"].as_str().unwrap().contains("pairs"), "{}", text(&output.stdout));
    }
    assert_eq!(fingerprint_of("run@12", folder.path()), whole);
    assert_ne!(fingerprint_of("run@6", folder.path()), whole);
    let output = sv(&["verify", "--model", "run@5", a, b], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[0, 3, 6, 9, 12]"), "{}", text(&output.stderr));

    // The enrol/verify test of the TensorFlow code.
    let eval = ["eval", "--model", "run", "--protocol", "ge2e", "--manifest", "voices/manifest.tsv"];
    let output = sv(&[&eval[..], &["--speakers", "3", "--utterances", "2", "--json"]].concat(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer = json(&output);
    assert_eq!((answer["speakers"].as_array().unwrap().len(), answer["utterances"].as_u64()), (3, Some(2)));
    let similarity = answer["similarity"].as_array().unwrap();
    assert!(similarity.len() == 6 && similarity.iter().all(|row| row.as_array().unwrap().len() == 3), "{answer}");
    assert!((0.0..=1.0).contains(&answer["eer"].as_f64().unwrap()));
    // Two of each are enrolled and two verified; nobody has ten.
    let output = sv(&eval, folder.path());
    assert!(
        output.status.code() == Some(2) && text(&output.stderr).contains("0 have that many"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_bad_recipe_is_an_error_that_names_the_key_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    for (set, named) in [
        ("stepz=5", "stepz"),
        ("steps=0", "steps is 0"),
        ("encoder.bins=41", "encoder.bins"),
        ("steps", "no `=`"),
        ("data.sampler.draw=\"all\"", "draw"),
    ] {
        let output = sv(&["train", "synthetic/td", "--run", "run", "--set", set], folder.path());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: ") && message.contains(named), "{set}: {message}");
    }
    let output = sv(&["train", "nobodys", "--run", "run"], folder.path());
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("synthetic/td"));
    let output = sv(&["train", "ge2e-tf/ti", "--run", "run"], folder.path());
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("--manifest"), "{}", text(&output.stderr));
    let output = sv(&["train", "synthetic/td", "--run", "run", "--resume"], folder.path());
    assert!(
        output.status.code() == Some(2) && text(&output.stderr).contains("recipe.toml"),
        "{}",
        text(&output.stderr)
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_bits() {
    let folder = voices();
    // Long enough to be killed on its way, each step saved.
    let long = ["--set=steps=50", "--set=schedule.steps=50", "--set=checkpoints.every=1", "--set=evaluation.every=0"];
    let arguments = |run: &str, more: &[&str]| {
        let fixed = train_arguments(&["--run", run]);
        fixed.into_iter().chain(long.iter().chain(more).map(ToString::to_string)).collect::<Vec<_>>()
    };
    let whole = sv(&arguments("whole", &[]).iter().map(String::as_str).collect::<Vec<_>>(), folder.path());
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let mut killed = 0;
    for after in [1, 20] {
        let more: &[&str] = if after == 1 { &[] } else { &["--resume"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_sv"))
            .args(arguments("killed", more))
            .current_dir(folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let steps = || {
            let names = std::fs::read_dir(folder.path().join("killed/checkpoints")).into_iter().flatten().flatten();
            names.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0)
        };
        while steps() < after && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // SIGKILL: nothing of the program runs after it.
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
    }
    assert!(killed > 0, "both were through before they could be killed");
    let output = sv(&arguments("killed", &["--resume"]).iter().map(String::as_str).collect::<Vec<_>>(), folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fingerprint_of("killed", folder.path()), fingerprint_of("whole", folder.path()));
    let losses = |run: &str| {
        let lines = std::fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| (line["step"].as_u64(), line["loss"].as_f64().map(f64::to_bits))).collect::<Vec<_>>()
    };
    let found = losses("killed");
    assert_eq!(found.len(), 50);
    assert_eq!(found, losses("whole"));
}
