//! A run that is stopped, killed or damaged, and resumed, ends with the bits of one that never was.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::training::{End, Ender, Outcome, checkpoint, checkpoints, copy, outcome, request, tiny, trained};
use sv_metrics::ThresholdOrigin;
use sv_models::ModelDir;
use sv_train::report::{read_evaluations, read_metrics};
use sv_train::run_dir::{milestones, resolve_model};
use sv_train::session::{Request, Watcher, train};
use sv_train::{Observer, Recipe, RunDir, TrainError};
use tempfile::TempDir;

/// The unbroken run of the tiny recipe, made once.
fn unbroken() -> &'static (TempDir, Outcome) {
    static RUN: OnceLock<(TempDir, Outcome)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let finished = trained(&request(&tiny(&[]), folder.path()), End::Never).unwrap();
        assert_eq!(finished.step, 12);
        let left = outcome(folder.path(), 12);
        (folder, left)
    })
}

fn resumed(run: &Path, workers: usize) -> Request {
    Request { resume: true, workers, ..request(&tiny(&[]), run) }
}

/// Resumes the run in `run`, which must end as the unbroken one did.
fn ends_as_the_unbroken_one(run: &Path, workers: usize, what: &str) {
    let finished = trained(&resumed(run, workers), End::Never).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(finished.step, 12, "{what}");
    assert_eq!(outcome(run, 12), unbroken().1, "{what}");
}

#[test]
fn a_run_that_was_stopped_and_resumed_has_the_bits_of_one_that_never_was() {
    let want = &unbroken().1;
    assert_eq!(want.losses.iter().map(|line| line[0]).collect::<Vec<_>>(), (1..=12).collect::<Vec<u64>>());
    for (stop, before, after) in [(1, 0, 2), (3, 1, 0), (4, 2, 1), (7, 1, 1), (11, 2, 2), (12, 0, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let asked = Request { workers: before, ..request(&tiny(&[]), folder.path()) };
        let stopped = trained(&asked, End::Stop(stop)).unwrap();
        assert_eq!((stopped.step, stopped.run.steps().unwrap().last()), (stop, Some(&stop)));
        ends_as_the_unbroken_one(folder.path(), after, &format!("stopped after {stop}"));
    }
    // Stopped three times.
    let folder = tempfile::tempdir().unwrap();
    trained(&request(&tiny(&[]), folder.path()), End::Stop(2)).unwrap();
    trained(&resumed(folder.path(), 1), End::Stop(5)).unwrap();
    trained(&resumed(folder.path(), 2), End::Stop(10)).unwrap();
    ends_as_the_unbroken_one(folder.path(), 0, "stopped three times");
}

#[test]
fn a_run_that_failed_between_checkpoints_goes_on_from_the_one_before() {
    for (fails, from) in [(1, 0), (3, 0), (5, 3), (8, 6), (12, 9)] {
        let folder = tempfile::tempdir().unwrap();
        let error = trained(&request(&tiny(&[]), folder.path()), End::Fail(fails)).unwrap_err();
        assert!(error.to_string().contains("the watcher's own error"));
        let run = RunDir::open(folder.path(), &tiny(&[])).unwrap();
        assert_eq!(run.latest().unwrap().unwrap().step, from, "failed at {fails}");
        ends_as_the_unbroken_one(folder.path(), 1, &format!("failed at {fails}"));
    }
}

#[test]
fn workers_change_no_bit_and_another_seed_changes_all() {
    for workers in [0, 2] {
        let folder = tempfile::tempdir().unwrap();
        trained(&Request { workers, ..request(&tiny(&[]), folder.path()) }, End::Never).unwrap();
        assert_eq!(outcome(folder.path(), 12), unbroken().1, "{workers} workers");
    }
    let folder = tempfile::tempdir().unwrap();
    trained(&request(&tiny(&["seed=2"]), folder.path()), End::Never).unwrap();
    let other = outcome(folder.path(), 12);
    assert_ne!(other.model.fingerprint(), unbroken().1.model.fingerprint());
    assert!(other.losses.iter().zip(&unbroken().1.losses).all(|(a, b)| a[1] != b[1]));
}

/// Copies the run's folder after each step, each checkpoint and each evaluation, as a kill at that moment would leave it.
struct Photographer {
    run: PathBuf,
    album: TempDir,
    pictures: Vec<(String, PathBuf)>,
}

impl Photographer {
    fn take(&mut self, what: String) {
        let place = self.album.path().join(self.pictures.len().to_string());
        copy(&self.run, &place);
        self.pictures.push((what, place));
    }
}

impl Observer for Photographer {
    fn step(&mut self, line: &sv_train::report::MetricLine) -> Result<(), TrainError> {
        self.take(format!("killed after step {}", line.step));
        Ok(())
    }

    fn evaluated(&mut self, line: &sv_train::report::EvaluationLine) -> Result<(), TrainError> {
        self.take(format!("killed after the evaluation at {}", line.step));
        Ok(())
    }

    fn saved(&mut self, step: u64) {
        self.take(format!("killed after the checkpoint of {step}"));
    }
}

impl Watcher for Photographer {
    fn prepared(&mut self, _: &sv_train::data::Preparation) {}
}

#[test]
fn a_run_that_was_killed_at_any_moment_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut photographer =
        Photographer { run: folder.path().to_owned(), album: tempfile::tempdir().unwrap(), pictures: Vec::new() };
    train(&request(&tiny(&[]), folder.path()), &mut photographer).unwrap();
    // The untrained network, 12 steps, evaluations at 0, 4, 6, 8, 9, 12, checkpoints at 0, 3, 6, 9, 12.
    assert_eq!(photographer.pictures.len(), 12 + 6 + 5);
    // Every fourth of them: a resumed training takes a while.
    for (index, (what, run)) in photographer.pictures.iter().step_by(4).enumerate() {
        // And what lies around after some: a checkpoint half written, a line half written.
        if index % 2 == 0 {
            let part = run.join("checkpoints/.000003.part");
            fs::create_dir_all(&part).unwrap();
            fs::write(part.join("state.safetensors"), b"half").unwrap();
            let log = run.join("metrics.jsonl");
            if log.exists() {
                let mut bytes = fs::read(&log).unwrap();
                bytes.extend_from_slice(br#"{"step":13,"lo"#);
                fs::write(&log, bytes).unwrap();
            }
        }
        ends_as_the_unbroken_one(run, index % 3, what);
        assert!(checkpoints(run).iter().all(|name| !name.starts_with('.')), "{what}: {:?}", checkpoints(run));
    }
}

#[test]
fn a_run_killed_before_its_first_checkpoint_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny(&[]);
    RunDir::create(folder.path(), &recipe).unwrap();
    ends_as_the_unbroken_one(folder.path(), 1, "killed after recipe.toml");
}

#[test]
fn a_kill_between_the_checkpoint_and_its_model_leaves_the_model_to_the_next_session() {
    let at_six = resolve_model(Path::new(&format!("{}@6", unbroken().0.path().display()))).unwrap();
    for damage in ["of the checkpoint before", "half replaced", "not there"] {
        let folder = tempfile::tempdir().unwrap();
        copy(unbroken().0.path(), folder.path());
        let model = folder.path().join("model");
        match damage {
            "not there" => fs::remove_dir_all(&model).unwrap(),
            "half replaced" => {
                fs::copy(at_six.join("model.toml"), model.join("model.toml")).unwrap();
                assert!(ModelDir::load(&model).is_err());
            }
            _ => copy(&at_six, &model),
        }
        ends_as_the_unbroken_one(folder.path(), 1, damage);
    }
}

#[test]
fn the_last_five_checkpoints_and_those_at_0_50_75_and_100_percent_are_kept() {
    assert_eq!(checkpoints(unbroken().0.path()), ["000000", "000003", "000006", "000009", "000012"]);
    let folder = tempfile::tempdir().unwrap();
    let recipe = tiny(&["steps=24", "checkpoints.every=1", "evaluation.every=0"]);
    let mut watcher = Ender::new(End::Never);
    train(&request(&recipe, folder.path()), &mut watcher).unwrap();
    assert_eq!(watcher.saved, (0..=24).collect::<Vec<u64>>());
    // 50 % is 12, 75 % is 18; the last five are 20 to 24.
    let kept = RunDir::open(folder.path(), &recipe).unwrap().steps().unwrap();
    assert_eq!(kept, [0, 12, 18, 20, 21, 22, 23, 24]);
    // 100 % is saved though no multiple of `every`; so are the others, rounded up.
    assert_eq!(milestones(7), [4, 6, 7]);
    assert_eq!(milestones(1), [1, 1, 1]);
}

#[test]
fn each_checkpoint_has_a_model_with_the_threshold_of_its_own_weights() {
    let run = unbroken().0.path();
    let lines = read_evaluations(&run.join("evaluations.jsonl")).unwrap();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [0, 4, 6, 8, 9, 12]);
    for step in [0, 3, 6, 9, 12] {
        let model = ModelDir::load(&checkpoint(run, step).join("model")).unwrap();
        let threshold = model.description().threshold.as_ref().expect("a threshold");
        assert_eq!(threshold.origin(), &ThresholdOrigin::Calibrated { list: "synthetic-dev".to_owned() });
        assert_eq!(model.description().source.revision.as_deref(), Some(&*format!("step {step} of 12")));
        // At step 3 nothing was evaluated, and it is not the threshold of step 0.
        let evaluated = lines.iter().find(|line| line.step == step);
        assert!(evaluated.is_none_or(|line| line.threshold == threshold.value()), "step {step}");
        assert!(step == 0 || threshold.value() != lines[0].threshold, "step {step}");
    }
}

#[test]
fn a_run_and_its_steps_are_places_of_models() {
    let run = unbroken().0.path();
    assert_eq!(resolve_model(run).unwrap(), run.join("model"));
    let at = |step: &str| resolve_model(Path::new(&format!("{}@{step}", run.display()))).map_err(Box::new);
    assert_eq!(at("6").unwrap(), checkpoint(run, 6).join("model"));
    let fingerprint = |path: &Path| ModelDir::load(path).unwrap().fingerprint();
    assert_eq!(fingerprint(&at("12").unwrap()), fingerprint(&run.join("model")));
    assert_ne!(fingerprint(&at("9").unwrap()), fingerprint(&run.join("model")));
    let error = at("5").unwrap_err();
    assert!(matches!(*error, TrainError::NoCheckpoint { step: 5, .. }), "{error}");
    assert!(error.to_string().contains("[0, 3, 6, 9, 12]"), "{error}");
    // What is no run is left to whoever loads models.
    for place in ["nothing", "nothing@latest", "a@b@c"] {
        assert_eq!(resolve_model(Path::new(place)).unwrap(), Path::new(place));
    }
    let model = run.join("model");
    assert_eq!(resolve_model(&model).unwrap(), model);
    assert!(matches!(resolve_model(Path::new("nothing@3")), Err(TrainError::NoRun { .. })));
}

#[test]
fn a_run_holds_the_recipe_and_the_metrics_of_every_step() {
    let run = unbroken().0.path();
    assert_eq!(RunDir::recipe_of(run).unwrap(), tiny(&[]));
    let lines = read_metrics(&run.join("metrics.jsonl")).unwrap();
    for line in &lines {
        assert!(line.loss.is_finite() && line.gradient_norm > 0.0 && line.frames_per_second > 0.0);
        assert!(line.extras.contains_key("ge2e.w") && line.extras.contains_key("ge2e.b"), "{line:?}");
        assert_eq!(line.rate, tiny(&[]).schedule.rate(line.step - 1));
    }
    assert!(lines.windows(2).all(|pair| pair[0].seconds <= pair[1].seconds));
}

#[test]
fn a_finished_run_that_is_resumed_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    copy(unbroken().0.path(), folder.path());
    ends_as_the_unbroken_one(folder.path(), 1, "finished");
}

#[test]
fn the_tensorflow_form_of_the_loss_and_plain_descent_resume_to_the_same_bits_too() {
    let recipe: Recipe = tiny(&[
        "objective={ kind = \"ge2e-tf\", variant = \"contrast\" }",
        "optimizer={ method = { kind = \"sgd\", momentum = 0.9 }, clip = { kind = \"tensorflow\", norm = 3.0 } }",
        "standardise=false",
        "initialisation={ kind = \"glorot\", forget_bias = 1.0 }",
    ]);
    let [whole, broken] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    trained(&request(&recipe, whole.path()), End::Never).unwrap();
    trained(&request(&recipe, broken.path()), End::Stop(5)).unwrap();
    trained(&Request { resume: true, ..request(&recipe, broken.path()) }, End::Never).unwrap();
    assert_eq!(outcome(broken.path(), 12), outcome(whole.path(), 12));
}

#[test]
fn running_averages_and_bases_of_an_ecapa_resume_to_the_same_bits_too() {
    let recipe: Recipe = tiny(&[
        "encoder={ architecture = \"ecapa\", form = \"speechbrain\", bins = 40, channels = 8, mfa = 12, attention = 4, scale = 4, \
         squeeze = 4, size = 6, kernels = [5, 3], dilations = [1, 2] }",
        "initialisation={ kind = \"torch\", forget_bias = 0.0 }",
        "objective={ kind = \"aam-softmax\" }",
        "margin={ initial = 0.0, last = 0.2, start = 2, end = 8 }",
    ]);
    let [whole, broken] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    trained(&request(&recipe, whole.path()), End::Never).unwrap();
    trained(&request(&recipe, broken.path()), End::Stop(5)).unwrap();
    trained(&Request { resume: true, ..request(&recipe, broken.path()) }, End::Never).unwrap();
    assert_eq!(outcome(broken.path(), 12), outcome(whole.path(), 12));
    let lines = read_metrics(&whole.path().join("metrics.jsonl")).unwrap();
    assert_eq!((lines[0].extras["margin"], lines[11].extras["margin"]), (0.0, 0.2));
    // The averages have left their start, in the state and in the model.
    let model = ModelDir::load(&whole.path().join("model")).unwrap();
    let average = &model.weights().get("stem.norm.running_var").values;
    assert!(average.iter().all(|&value| value > 0.0 && value != 1.0), "{average:?}");
}
