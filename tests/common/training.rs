//! A training that takes a second: synthesised voices, a small network, and a watcher that can end it anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use sv_models::ModelDir;
use sv_train::report::{MetricLine, read_metrics};
use sv_train::session::{Finished, Request, Watcher, train};
use sv_train::{Device, Observer, Recipe, TrainError};

/// Changes that make `synthetic/td` tiny: 8 voices x 3 recordings, 16 cells projected to 8, 12 steps of 4 x 2 rows of 40
/// frames, a checkpoint every 3 steps.
pub const TINY: [&str; 17] = [
    "steps=12",
    "corpus.speakers=8",
    "corpus.utterances=3",
    "corpus.dev_speakers=2",
    "data.sampler.speakers=4",
    "data.sampler.utterances=2",
    "data.crop.frames=[36, 44]",
    "encoder.layers=2",
    "encoder.hidden=16",
    "encoder.projection=8",
    "schedule.steps=12",
    "schedule.warm_up=2",
    "schedule.rate=0.01",
    "evaluation.windows.frames=40",
    "evaluation.windows.hop=40",
    "evaluation.every=4",
    "checkpoints.every=3",
];

/// The tiny recipe, with more changes.
///
/// # Panics
/// If a change cannot be made.
#[must_use]
pub fn tiny(changes: &[&str]) -> Recipe {
    let changes: Vec<String> = TINY.iter().chain(changes).map(ToString::to_string).collect();
    Recipe::load("synthetic/td", &changes).unwrap_or_else(|error| panic!("{error}"))
}

/// A request to train `recipe` in `run`, on the processor, with one worker.
#[must_use]
pub fn request(recipe: &Recipe, run: &Path) -> Request {
    Request {
        recipe: recipe.clone(),
        run: run.to_owned(),
        manifest: None,
        start: None,
        resume: false,
        cache: None,
        workers: 1,
        device: Device::Cpu,
    }
}

/// How a training is ended before its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is not.
    Never,
    /// It is asked to stop after this step, and saves its state.
    Stop(u64),
    /// This step fails in the watcher: what was saved before is all there is.
    Fail(u64),
    /// This step of the back end fails so.
    FailBehind(u64),
}

/// A watcher that ends a training, and remembers the steps that were saved.
#[derive(Debug)]
pub struct Ender {
    end: End,
    at: u64,
    /// Steps that were saved.
    pub saved: Vec<u64>,
}

impl Ender {
    /// One that ends it so.
    #[must_use]
    pub fn new(end: End) -> Self {
        Self { end, at: 0, saved: Vec::new() }
    }
}

impl Observer for Ender {
    fn step(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        self.at = line.step;
        if self.end == End::Fail(line.step) {
            return Err(failure());
        }
        Ok(())
    }

    fn saved(&mut self, step: u64) {
        self.saved.push(step);
    }

    fn wants_to_stop(&mut self) -> bool {
        self.end == End::Stop(self.at)
    }
}

impl Watcher for Ender {
    fn back_end_step(&mut self, step: u64, _: f64) -> Result<(), TrainError> {
        if self.end == End::FailBehind(step) { Err(failure()) } else { Ok(()) }
    }
}

/// What no training fails by of itself.
fn failure() -> TrainError {
    TrainError::NoManifest { recipe: "the watcher's own error".to_owned() }
}

/// Trains as requested.
///
/// # Errors
/// Those of [`train`].
pub fn trained(request: &Request, end: End) -> Result<Finished, TrainError> {
    train(request, &mut Ender::new(end))
}

/// What a finished run left, without what a clock says: tensors of the last state, fingerprint and card of the model, losses.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// `state.safetensors` of the last checkpoint.
    pub state: Vec<u8>,
    /// The model, with its threshold.
    pub model: ModelDir,
    /// Bits of loss, rate and norm of each step.
    pub losses: Vec<[u64; 4]>,
    /// `evaluations.jsonl`.
    pub evaluations: String,
}

/// Reads what a run left at `step`.
///
/// # Panics
/// If something is missing.
#[must_use]
pub fn outcome(run: &Path, step: u64) -> Outcome {
    let lines = read_metrics(&run.join("metrics.jsonl")).expect("metrics");
    let bits = |line: &MetricLine| [line.step, line.loss.to_bits(), line.rate.to_bits(), line.gradient_norm.to_bits()];
    Outcome {
        state: fs::read(checkpoint(run, step).join("state.safetensors")).expect("the last state"),
        model: ModelDir::load(&run.join("model")).expect("the model"),
        losses: lines.iter().map(bits).collect(),
        evaluations: fs::read_to_string(run.join("evaluations.jsonl")).expect("evaluations"),
    }
}

/// The folder of a checkpoint.
#[must_use]
pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join("checkpoints").join(format!("{step:06}"))
}

/// Names in a run's folder of checkpoints, sorted.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).expect("a run");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Copies a folder and all below.
///
/// # Panics
/// If something cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let place = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("a file");
        }
    }
}
