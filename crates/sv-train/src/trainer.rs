//! The loop: batches through the network, the loss back, a step; now and then a look at the dev lists and a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use sv_audio::frontend::FrontEnd;
use sv_losses::{Labels, Objective, Parameter, Setting};
use sv_models::checkpoint::write_whole;
use sv_models::train::{Encoder, Standardisation};
use sv_models::weights::Weight;
use sv_models::{Description, ModelDir, ModelError, Plan, Source, train};

use crate::data::{BandStatistics, Batch, Loader, TrainingData};
use crate::error::not_written;
use crate::evaluate::{TrialResult, TrialSet};
use crate::initialisation::Initialisation;
use crate::optim::{Optimizer, OptimizerError};
use crate::report::{EvaluationLine, MetricLine};
use crate::run_dir::{RunDir, State, milestones};
use crate::{Purpose, Recipe, Start, Stream, TrainError, classifier};

/// What a training tells whoever watches. Every method may be left out.
pub trait Observer {
    /// A step is done.
    ///
    /// # Errors
    /// What it returns ends the training.
    fn step(&mut self, line: &MetricLine) -> Result<(), TrainError> {
        let _ = line;
        Ok(())
    }

    /// A list was scored.
    ///
    /// # Errors
    /// What it returns ends the training.
    fn evaluated(&mut self, line: &EvaluationLine) -> Result<(), TrainError> {
        let _ = line;
        Ok(())
    }

    /// A checkpoint stands.
    fn saved(&mut self, step: u64) {
        let _ = step;
    }

    /// Asked after each step: true stops the training with a checkpoint, to be resumed.
    fn wants_to_stop(&mut self) -> bool {
        false
    }
}

/// A training in the making.
pub struct Trainer {
    recipe: Recipe,
    front_end: FrontEnd,
    data: Arc<TrainingData>,
    dev: Vec<TrialSet>,
    run: RunDir,
    device: Device,
    encoder: Box<dyn Encoder>,
    standardisation: Option<Standardisation>,
    objective: Box<dyn Objective>,
    optimizer: Optimizer,
    step: u64,
    seconds: f64,
    /// Step of the last checkpoint, none before the first.
    saved: Option<u64>,
    /// That of the network as it stands; none once it has made another step.
    threshold: Option<sv_metrics::Threshold>,
}

/// Batches that wait for the trainer at most.
const AHEAD: usize = 4;

/// The item of the stream that the objective's parameters are drawn from: past the tensors of any encoder.
const OBJECTIVE_ITEM: u64 = 1 << 32;

/// Prefixes of the tensors in a checkpoint.
const ENCODER: &str = "encoder.";
const OBJECTIVE: &str = "objective.";
const OPTIMIZER: &str = "optimizer.";
const MEAN: &str = "input.mean";
const DEVIATION: &str = "input.deviation";

impl Trainer {
    /// Builds network, objective and optimizer: new ones, or those of the last checkpoint in `run`. New ones have the weights
    /// of `start` where it is named, which a checkpoint has no need of.
    ///
    /// # Errors
    /// [`TrainError`] of whichever part cannot be built; [`TrainError::State`] if a checkpoint does not fit the recipe;
    /// [`TrainError::NoStart`] if the recipe begins with a model and none is named.
    pub fn new(
        recipe: &Recipe,
        data: Arc<TrainingData>,
        dev: Vec<TrialSet>,
        run: RunDir,
        device: Device,
        start: Option<&Start>,
    ) -> Result<Self, TrainError> {
        let state = run.latest()?;
        let standardisation = match (&state, recipe.standardise) {
            (_, false) => None,
            (None, true) => {
                let BandStatistics { mean, deviation, .. } = data.statistics().clone();
                Some(Standardisation { mean, deviation })
            }
            (Some(state), true) => {
                let values = |name: &str| -> Result<Vec<f64>, TrainError> { Ok(part(state, name)?.to_vec1::<f64>()?) };
                Some(Standardisation { mean: values(MEAN)?, deviation: values(DEVIATION)? })
            }
        };
        let weights = match (&state, start) {
            (Some(state), _) => weights_of(state)?,
            (None, Some(start)) => start.weights(),
            (None, None) if recipe.initialisation == (Initialisation::Model {}) => {
                return Err(TrainError::NoStart { recipe: recipe.name.clone() });
            }
            (None, None) => recipe.initialisation.draw(&recipe.encoder, recipe.seed),
        };
        let encoder = train::encoder(&recipe.encoder, weights, standardisation.clone(), &device)?;
        let objective = objective(recipe, data.classes().len(), &device)?;
        if let (None, Some(start)) = (&state, start) {
            start.teach(objective.as_ref(), data.classes())?;
        }
        // The objective's own first, as the TensorFlow code has them: the order that a global norm is summed in.
        let mut parameters = objective.parameters();
        parameters.extend(encoder.variables().iter().map(|(name, var)| Parameter::new(name.clone(), var.clone())));
        let mut optimizer = Optimizer::new(&recipe.optimizer, parameters)?;
        let (mut step, mut seconds) = (0, 0.0);
        if let Some(state) = &state {
            for parameter in objective.parameters().into_iter().chain(objective.buffers()) {
                let saved = part(state, &format!("{OBJECTIVE}{}", parameter.name))?;
                parameter.var.set(&saved.to_device(&device)?)?;
            }
            let moments = state.tensors.iter().filter_map(|(name, tensor)| {
                name.strip_prefix(OPTIMIZER).map(|name| (name.to_owned(), tensor.clone()))
            });
            optimizer.restore(&moments.collect::<Vec<_>>())?;
            (step, seconds) = (state.step, state.seconds);
        }
        let saved = state.map(|state| state.step);
        let front_end = recipe.front_end.build()?;
        let recipe = recipe.clone();
        Ok(Self {
            recipe,
            front_end,
            data,
            dev,
            run,
            device,
            encoder,
            standardisation,
            objective,
            optimizer,
            step,
            seconds,
            saved,
            threshold: None,
        })
    }

    /// Steps done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Seconds of training so far, over all sessions.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The last checkpoint: before [`Self::run`], the one that it goes on from; none if it begins anew.
    #[must_use]
    pub fn resumed_from(&self) -> Option<u64> {
        self.saved
    }

    /// Trains to the last step, or until the observer wants to stop. `workers` threads prepare batches ahead.
    ///
    /// Ends with the same bits however often it was stopped and resumed, on the same machine with the same number of threads.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] if a loss or gradient is no number: the state before that step and the batch are saved. Those of
    /// data and files; whatever was saved before stands.
    pub fn run(&mut self, workers: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let begun = Instant::now();
        let before = self.seconds;
        match self.saved {
            Some(step) => self.run.publish(step)?,
            None => {
                self.evaluate(observer)?;
                // The untrained network, for those who compare; and from here on a kill loses no run.
                self.save()?;
                observer.saved(0);
            }
        }
        let milestones = milestones(self.recipe.steps);
        let steps = self.step..self.recipe.steps;
        let batches = Loader::start(Arc::clone(&self.data), self.recipe.seed, steps, workers, AHEAD);
        for batch in batches {
            let batch = batch?;
            let mut line = self.one_step(&batch)?;
            self.step += 1;
            let seconds = before + begun.elapsed().as_secs_f64();
            line.frames_per_second = (batch.rows * batch.frames) as f64 / (seconds - self.seconds).max(1e-9);
            self.seconds = seconds;
            line.seconds = seconds;
            observer.step(&line)?;
            let is_milestone = milestones.contains(&self.step);
            match self.rate_and_save(is_milestone, observer) {
                Ok(false) => {}
                Ok(true) => break,
                // The step before went well and left this.
                Err(TrainError::Model(ModelError::TensorNotFinite { tensor, .. })) => {
                    return Err(self.not_finite(self.step, tensor, &batch));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// What is due after a step; true if the observer wants to stop.
    fn rate_and_save(&mut self, is_milestone: bool, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let every = self.recipe.evaluation.every;
        if is_milestone || (every > 0 && self.step.is_multiple_of(every)) {
            self.evaluate(observer)?;
        }
        let stop = observer.wants_to_stop();
        if stop || is_milestone || self.step.is_multiple_of(self.recipe.checkpoints.every) {
            self.save()?;
            observer.saved(self.step);
        }
        Ok(stop)
    }

    fn one_step(&mut self, batch: &Batch) -> Result<MetricLine, TrainError> {
        let rate = self.recipe.schedule.rate(self.step);
        let shape = (batch.rows, batch.frames, batch.bins);
        let features = Tensor::from_slice(&batch.features, shape, &self.device)?;
        let labels = Labels::new(batch.classes.clone());
        if let Some(schedule) = &self.recipe.margin {
            self.objective.set_margin(schedule.margin(self.step))?;
        }
        let embeddings = self.encoder.forward(&features)?;
        let loss = self.objective.loss(&embeddings, &labels)?;
        let value = f64::from(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(self.not_finite(self.step + 1, "the loss".to_owned(), batch));
        }
        let gradients = loss.backward()?;
        let report = match self.optimizer.step(&gradients, rate) {
            Err(TrainError::Optimizer(OptimizerError::NotFinite { name, .. })) => {
                return Err(self.not_finite(self.step + 1, format!("the gradient of {name}"), batch));
            }
            other => other?,
        };
        self.threshold = None;
        self.objective.after_step(&embeddings.detach(), &labels)?;
        let mut extras = BTreeMap::new();
        if let Some(schedule) = &self.recipe.margin {
            extras.insert("margin".to_owned(), schedule.margin(self.step));
        }
        for parameter in self.objective.parameters().iter().filter(|parameter| parameter.var.elem_count() == 1) {
            let value = parameter.var.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            extras.insert(parameter.name.clone(), value[0]);
        }
        Ok(MetricLine {
            step: self.step + 1,
            // A sum over rows is reported as the mean, so that curves of all recipes read alike.
            loss: value / self.recipe.objective.terms(batch.rows) as f64,
            rate,
            gradient_norm: report.gradient_norm,
            seconds: self.seconds,
            frames_per_second: 0.0,
            extras,
        })
    }

    /// Saves the batch of the failed `step`, and the state before it if that is still sound: else the last checkpoint is the
    /// one to go on from.
    fn not_finite(&mut self, step: u64, what: String, batch: &Batch) -> TrainError {
        if self.saved != Some(self.step) {
            // Where it cannot be saved, the last checkpoint is what the error names.
            let _ = self.save();
        }
        let path = self.run.folder().join(format!("failed-batch-{step}.safetensors"));
        let saved = || -> Result<(), TrainError> {
            let features = Tensor::from_slice(&batch.features, (batch.rows, batch.frames, batch.bins), &Device::Cpu)?;
            let classes = Tensor::from_slice(&batch.classes, batch.rows, &Device::Cpu)?;
            let names: Vec<String> = batch.pieces.iter().map(|&piece| self.data.describe(piece)).collect();
            let names = names.join("\n");
            let names = HashMap::from([("rows".to_owned(), names)]);
            let tensors = [("features", features), ("classes", classes)];
            let bytes = safetensors::serialize(tensors, Some(names))
                .map_err(|source| TrainError::Write { path: path.clone(), source: io::Error::other(source) })?;
            write_whole(&path, |out| out.write_all(&bytes)).map_err(|error| not_written(&path, error))
        };
        let batch = saved().map(|()| path.clone()).map_err(Box::new);
        TrainError::NotFinite { step, what, last_good: self.saved.unwrap_or_default(), batch }
    }

    /// Scores the dev lists; the first sets the threshold.
    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let plan = self.plan()?;
        let mut threshold = None;
        for list in &self.dev {
            let result = list.evaluate(&plan)?;
            observer.evaluated(&line_of(self.step, &result))?;
            threshold = threshold.or(result.threshold().ok());
        }
        self.threshold = threshold;
        Ok(())
    }

    /// The network as it stands, ready to embed.
    ///
    /// # Errors
    /// [`TrainError::Model`] if a weight is not finite.
    pub fn plan(&self) -> Result<Plan, TrainError> {
        Ok(Plan::new(&self.recipe.encoder, &self.encoder.weights()?)?)
    }

    /// The network as it stands, as a model directory, with the classifier that the objective trains where models have such.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn model(&self) -> Result<ModelDir, TrainError> {
        let classes = self.data.classes();
        let classifier = classifier::config(&self.recipe.objective, classes.len());
        let description = Description {
            embedding_size: self.recipe.encoder.embedding_size(),
            labels: None,
            encoder: self.recipe.encoder.clone(),
            classifier,
            embedding_mean: false,
            front_end: self.front_end.clone(),
            windows: self.recipe.evaluation.windows,
            threshold: self.threshold.clone(),
            source: Source {
                name: format!("trained by the recipe {} with seed {}", self.recipe.name, self.recipe.seed),
                revision: Some(format!("step {} of {}", self.step, self.recipe.steps)),
                sha256: None,
                files: BTreeMap::new(),
            },
        };
        let weights = self.encoder.weights()?;
        let mut tensors: BTreeMap<String, Weight> =
            weights.iter().map(|(name, weight)| (name.to_owned(), weight.clone())).collect();
        let Some(classifier) = classifier else {
            return Ok(ModelDir::new("the trained network", description, tensors)?);
        };
        tensors.extend(classifier::tensors(classifier, self.objective.as_ref())?);
        let model = ModelDir::new("the trained network", description, tensors)?;
        // Names of speakers come from a manifest or from folders; those that a list of labels cannot keep are numbers there.
        let kept = |(index, name): (usize, &String)| match name.contains(['\n', '\r']) || name.is_empty() {
            true => format!("class {index}"),
            false => name.clone(),
        };
        Ok(model.with_labels(Path::new("classes"), classes.iter().enumerate().map(kept).collect())?)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        if self.threshold.is_none()
            && let Some(list) = self.dev.first()
        {
            // A network whose embeddings cannot be rated has none, and its state is worth saving all the same.
            self.threshold = list.threshold(&self.plan()?).ok();
        }
        let mut tensors = BTreeMap::new();
        for (name, var) in self.encoder.variables().iter().chain(self.encoder.buffers()) {
            tensors.insert(format!("{ENCODER}{name}"), var.as_tensor().to_device(&Device::Cpu)?);
        }
        for parameter in self.objective.parameters().into_iter().chain(self.objective.buffers()) {
            let name = format!("{OBJECTIVE}{}", parameter.name);
            tensors.insert(name, parameter.var.as_tensor().to_device(&Device::Cpu)?);
        }
        for (name, tensor) in self.optimizer.state()? {
            tensors.insert(format!("{OPTIMIZER}{name}"), tensor);
        }
        if let Some(Standardisation { mean, deviation }) = &self.standardisation {
            tensors.insert(MEAN.to_owned(), Tensor::from_slice(mean, mean.len(), &Device::Cpu)?);
            tensors.insert(DEVIATION.to_owned(), Tensor::from_slice(deviation, deviation.len(), &Device::Cpu)?);
        }
        self.run.save(&State { step: self.step, seconds: self.seconds, tensors }, &self.model()?)?;
        self.saved = Some(self.step);
        Ok(())
    }
}

/// The objective of `recipe` for `classes` classes, its own parameters drawn from streams beside those of the encoder.
fn objective(recipe: &Recipe, classes: usize, device: &Device) -> Result<Box<dyn Objective>, TrainError> {
    let mut stream = Stream::new(recipe.seed, Purpose::Initialisation, 0, OBJECTIVE_ITEM);
    let mut uniform = || stream.uniform(-1.0, 1.0);
    let dimension = recipe.encoder.embedding_size();
    let mut setting = Setting { dimension, classes, dtype: DType::F32, device, uniform: &mut uniform };
    Ok(recipe.objective.build(&mut setting)?)
}

fn line_of(step: u64, result: &TrialResult) -> EvaluationLine {
    EvaluationLine {
        step,
        list: result.list.clone(),
        eer: result.eer.rate,
        eer_interval: result.interval.map(|interval| [interval.low, interval.high]),
        min_dcf: result.min_dcf,
        threshold: result.eer.threshold,
        trials: result.scored.trials(),
        targets: result.scored.targets(),
    }
}

fn part<'a>(state: &'a State, name: &str) -> Result<&'a Tensor, TrainError> {
    state.tensors.get(name).ok_or_else(|| TrainError::State {
        path: PathBuf::from(format!("checkpoint of step {}", state.step)),
        message: format!("it has no tensor {name}"),
    })
}

fn weights_of(state: &State) -> Result<BTreeMap<String, Weight>, TrainError> {
    let mut weights = BTreeMap::new();
    for (name, tensor) in &state.tensors {
        if let Some(name) = name.strip_prefix(ENCODER) {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            weights.insert(name.to_owned(), Weight { shape: tensor.dims().to_vec(), values });
        }
    }
    Ok(weights)
}
