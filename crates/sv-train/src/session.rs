//! One training from recipe to report: what `sv train` and `cargo xtask reproduce` call.

mod judgement;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use candle_core::Device;
use sv_audio::frontend::FeatureExtractor;

use crate::back_end::BackEnd;
use crate::corpus::TrainingCorpus;
use crate::data::{Manifest, Preparation, TrainingData};
use crate::report::{EvaluationLine, EvaluationLog, EventFile, MetricLine, MetricsLog};
use crate::run_dir::RunDir;
use crate::trainer::{Observer, Trainer};
use crate::{Initialisation, Recipe, Start, TrainError};
pub use judgement::{Judgement, judge, test_lists};

/// What is to be trained, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub recipe: Recipe,
    /// The run's folder.
    pub run: PathBuf,
    /// The recordings, where the recipe trains on some.
    pub manifest: Option<Manifest>,
    /// A model whose weights the run begins with: a model directory, another run's folder, a checkpoint of another system. A
    /// run that is resumed knows its own.
    pub start: Option<PathBuf>,
    /// Goes on with the run instead of beginning one.
    pub resume: bool,
    /// Where prepared recordings are kept between runs; none keeps them in memory only.
    pub cache: Option<PathBuf>,
    /// Threads that prepare batches ahead.
    pub workers: usize,
    /// Where the network is computed.
    pub device: Device,
}

/// What a finished or stopped session leaves.
#[derive(Debug)]
pub struct Finished {
    /// The run.
    pub run: RunDir,
    /// Steps of the encoder's training done; fewer than the recipe's if the watcher stopped it.
    pub step: u64,
    /// Whether nothing is left to be trained, neither of the encoder nor of its back end: the run can be judged.
    pub complete: bool,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// Name of the corpus.
    pub corpus: String,
    /// Whether its voices are synthetic.
    pub synthetic: bool,
    /// What was prepared.
    pub preparation: Preparation,
}

/// Watches a training from outside the loop.
pub trait Watcher: Observer {
    /// The data is ready.
    fn prepared(&mut self, preparation: &Preparation) {
        let _ = preparation;
    }

    /// So many of so many recordings are prepared, or embedded for a back end.
    fn preparing(&self, done: usize, of: usize) {
        let _ = (done, of);
    }

    /// A step of the back end is done, from 1, with this loss.
    ///
    /// # Errors
    /// Ends the training: what was saved before stands.
    fn back_end_step(&mut self, step: u64, loss: f64) -> Result<(), TrainError> {
        let _ = (step, loss);
        Ok(())
    }
}

/// Prepares, trains (or goes on), and leaves a run whose model can be loaded.
///
/// # Errors
/// [`TrainError`] says what, where and what to do; whatever was saved before stands.
pub fn train<W: Watcher + Sync>(request: &Request, watcher: &mut W) -> Result<Finished, TrainError> {
    let recipe = &request.recipe;
    // Refused before minutes of preparation, not after.
    let resumed = match request.resume {
        true => Some(RunDir::open(&request.run, recipe)?),
        false => {
            RunDir::vacant(&request.run)?;
            None
        }
    };
    let start = match (&resumed, &request.start) {
        (None, Some(path)) => Some(Start::load(path, recipe)?),
        (None, None) if recipe.initialisation == (Initialisation::Model {}) => {
            return Err(TrainError::NoStart { recipe: recipe.name.clone() });
        }
        (None, None) => None,
        // Killed before its first checkpoint, it begins anew.
        (Some(run), _) if run.steps()?.is_empty() => Start::of_run(run.folder(), recipe)?,
        (Some(_), _) => None,
    };
    let front_end = recipe.front_end.build()?;
    let extractor = FeatureExtractor::new(&front_end)?;
    let corpus = TrainingCorpus::find(recipe, request.manifest.as_ref(), &extractor)?;
    let (data, preparation) =
        TrainingData::prepare(&corpus.train, &recipe.data, &front_end, request.cache.as_deref(), &|done, of| {
            watcher.preparing(done, of);
        })?;
    watcher.prepared(&preparation);
    // Only now: what cannot be prepared shall not stand in the way of the next try.
    let run = match resumed {
        Some(run) => run,
        None => {
            let run = RunDir::create(&request.run, recipe)?;
            if let Some(start) = &start {
                start.keep(run.folder())?;
            }
            run
        }
    };
    let device = request.device.clone();
    let mut trainer = Trainer::new(recipe, Arc::new(data), corpus.dev, run.clone(), device, start.as_ref())?;
    let mut logged = Logged::open(run.folder(), request.resume, trainer.resumed_from(), watcher)?;
    trainer.run(request.workers, &mut logged)?;
    let complete = trainer.step() == recipe.steps && BackEnd::train(&run, recipe, &corpus.train, &extractor, watcher)?;
    Ok(Finished {
        run,
        step: trainer.step(),
        complete,
        seconds: trainer.seconds(),
        corpus: corpus.name,
        synthetic: corpus.synthetic,
        preparation,
    })
}

/// Writes down what the watcher is told.
struct Logged<'w, W> {
    metrics: MetricsLog,
    evaluations: EvaluationLog,
    events: EventFile,
    watcher: &'w mut W,
}

impl<'w, W: Watcher> Logged<'w, W> {
    fn open(folder: &Path, resume: bool, checkpoint: Option<u64>, watcher: &'w mut W) -> Result<Self, TrainError> {
        let (metrics, evaluations) = match checkpoint {
            Some(step) => (MetricsLog::resume(folder, step)?, EvaluationLog::resume(folder, step)?),
            // Killed before its first checkpoint: all is done again.
            None if resume => (MetricsLog::begin_again(folder)?, EvaluationLog::begin_again(folder)?),
            None => (MetricsLog::create(folder)?, EvaluationLog::create(folder)?),
        };
        let mut events = EventFile::create(folder, now())?;
        if let Some(step) = checkpoint {
            events.resumed(now(), step)?;
        }
        Ok(Self { metrics, evaluations, events, watcher })
    }
}

impl<W: Watcher> Observer for Logged<'_, W> {
    fn step(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        self.metrics.append(line)?;
        let mut scalars = vec![
            ("train/loss", line.loss as f32),
            ("train/rate", line.rate as f32),
            ("train/gradient_norm", line.gradient_norm as f32),
        ];
        scalars.extend(line.extras.iter().map(|(name, value)| (name.as_str(), *value as f32)));
        self.events.scalars(now(), line.step, &scalars)?;
        self.watcher.step(line)
    }

    fn evaluated(&mut self, line: &EvaluationLine) -> Result<(), TrainError> {
        self.evaluations.append(line)?;
        self.events.scalars(now(), line.step, &[(&format!("eer/{}", line.list), line.eer as f32)])?;
        self.watcher.evaluated(line)
    }

    fn saved(&mut self, step: u64) {
        self.watcher.saved(step);
    }

    fn wants_to_stop(&mut self) -> bool {
        self.watcher.wants_to_stop()
    }
}

/// Seconds since 1970, as TensorBoard wants them.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
