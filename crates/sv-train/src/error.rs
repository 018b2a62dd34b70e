//! What can go wrong between a recipe and a trained model.

use std::io;
use std::path::{Path, PathBuf};

use sv_models::ModelError;

use crate::data::DataError;

/// Why a training, or a part of it, could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The system refused to open or read a file or folder.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to write a file; what was there before is untouched.
    #[error("{}: cannot be written, the previous state stands: {source}", .path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Recordings, their list, what is cut out of them or how they are drawn.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An optimizer's or a schedule's options, gradients or state.
    #[error(transparent)]
    Optimizer(#[from] crate::optim::OptimizerError),
    /// No embedded recipe has that name, and no file is there.
    #[error("no recipe is called `{name}` and no file is there; known are {}", crate::Recipe::names().collect::<Vec<_>>().join(", "))]
    UnknownRecipe {
        /// What was asked for.
        name: String,
    },
    /// A recipe that cannot be read, or asks for the impossible.
    #[error("recipe {}: {message}", .origin.display())]
    Recipe {
        /// Its file or name.
        origin: PathBuf,
        /// Which line or key, and what is wrong.
        message: String,
    },
    /// A change to a recipe that cannot be made.
    #[error("cannot set `{change}`: {why}")]
    Set {
        /// The change.
        change: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A run stands where a new one was to begin.
    #[error("{}: holds a run already; go on with it (--resume) or name another folder", .folder.display())]
    RunExists {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no run to go on with.
    #[error("{}: holds no run (no recipe.toml); begin one without --resume", .folder.display())]
    NoRun {
        /// The folder.
        folder: PathBuf,
    },
    /// A run is resumed by another recipe.
    #[error("{}: was begun with another recipe: {key} was {was} and is {is}; resume with the same, or begin a new run", .folder.display())]
    OtherRecipe {
        /// The folder.
        folder: PathBuf,
        /// The first key that differs.
        key: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        is: String,
    },
    /// A run that has not been judged yet.
    #[error("{}: holds no summary.json; it is written when the run is finished", .folder.display())]
    NoSummary {
        /// The folder.
        folder: PathBuf,
    },
    /// What a run has to tell cannot be read back.
    #[error("{}: {source}; go on with the run (--resume) to write it again", .path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The last step of a run is asked for before it was made.
    #[error("{}: is at step {step} of {steps}; go on with it (--resume) to its end", .folder.display())]
    NotFinished {
        /// The run's folder.
        folder: PathBuf,
        /// Steps of its last checkpoint.
        step: u64,
        /// Steps of its recipe.
        steps: u64,
    },
    /// A run has no basis for each of its speakers.
    #[error(
        "{}: bases of its speakers would be a tensor {need:?}, a row a speaker, and its objective has {}; take a run whose loss has a weight for each speaker", .folder.display(), if .got.is_empty() { "none".to_owned() } else { format!("{:?}, or classes that are no speakers", .got) }
    )]
    NoBases {
        /// The run's folder.
        folder: PathBuf,
        /// Shape of the weights there; empty if there are none.
        got: Vec<usize>,
        /// Speakers, and D.
        need: [usize; 2],
    },
    /// A step was asked for that no checkpoint is of.
    #[error("{}: no checkpoint of step {step}; there are {steps:?}", .folder.display())]
    NoCheckpoint {
        /// The run.
        folder: PathBuf,
        /// The step.
        step: u64,
        /// The steps there are.
        steps: Vec<u64>,
    },
    /// A checkpoint that cannot be written or read back.
    #[error("{}: {message}; remove the folder of this checkpoint to go on from the one before", .path.display())]
    State {
        /// The file, in the checkpoint's folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A loss or a gradient is no number.
    #[error(
        "step {step}: {what} is not a finite number; the state of step {last_good} is saved, the batch {}",
        match .batch { Ok(path) => format!("in {}", path.display()), Err(error) => format!("is not: {error}") }
    )]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// The loss, or which gradient.
        what: String,
        /// The last step whose state is saved and sound.
        last_good: u64,
        /// Where the batch is, or why it could not be saved.
        batch: Result<PathBuf, Box<TrainError>>,
    },
    /// A recipe begins with another model, and none was named.
    #[error("recipe {recipe} begins with the weights of another model: name it (--start)")]
    NoStart {
        /// The recipe.
        recipe: String,
    },
    /// A model that a training cannot begin with.
    #[error("{}: cannot be trained on: its {what} is {model}, the recipe's {recipe}; name another model, or change the recipe", .path.display())]
    Start {
        /// The model.
        path: PathBuf,
        /// What of it does not fit.
        what: &'static str,
        /// The model's.
        model: String,
        /// The recipe's, or what the run was begun with.
        recipe: String,
    },
    /// A recipe needs recordings, and no manifest was named.
    #[error("recipe {recipe} trains on recordings: name a manifest (--manifest) and their folder (--root)")]
    NoManifest {
        /// The recipe.
        recipe: String,
    },
    /// A recording that an evaluation needs cannot be used.
    #[error("{name}: {source}; an evaluation needs every recording of its list")]
    Recording {
        /// Its path or synthetic identity.
        name: String,
        /// What is wrong with it.
        source: sv_audio::AudioError,
    },
    /// A list of trials that names a recording which is not there.
    #[error("{}: names {file:?}, which is not below {}; get the recording, or take another list", .list.display(), .root.display())]
    TrialFile {
        /// The list.
        list: PathBuf,
        /// What it names.
        file: String,
        /// The corpus's folder.
        root: PathBuf,
    },
    /// Embeddings of something else than the recordings of a list.
    #[error("{rows} embeddings for the {recordings} recordings of {list}; one for each is needed, in the list's order")]
    Embeddings {
        /// The list.
        list: String,
        /// Recordings that it names.
        recordings: usize,
        /// Embeddings given.
        rows: usize,
    },
    /// A back end that asks for the impossible.
    #[error("back_end.{key} is {got}; it has to be {need}")]
    BackEnd {
        /// The key.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it may be.
        need: &'static str,
    },
    /// Too few speakers to make pairs of.
    #[error(
        "{speakers} training speakers have two recordings or more; a back end is trained on pairs of 2 speakers or more"
    )]
    Pairs {
        /// Speakers with two recordings.
        speakers: usize,
    },
    /// A back end that was trained on another model's embeddings.
    #[error("{}: was trained on the embeddings of another model; remove the folder and go on with the run (--resume)", .folder.display())]
    OtherModel {
        /// Its folder.
        folder: PathBuf,
    },
    /// A list of trials that is malformed.
    #[error("{}: {source}", .path.display())]
    Trials {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: sv_metrics::MetricsError,
    },
    /// A list of trials without labels.
    #[error("{}: has trials without labels; an evaluation needs 1 or 0 before each", .path.display())]
    NoLabels {
        /// The list.
        path: PathBuf,
    },
    /// Too few speakers for the enrol/verify test.
    #[error(
        "the test takes {speakers} speakers (2 or more) with {utterances} utterances to enrol (1 or more) and as many to verify; {qualified} have that many"
    )]
    Protocol {
        /// N.
        speakers: usize,
        /// M.
        utterances: usize,
        /// Speakers with 2 M utterances.
        qualified: usize,
    },
    /// A front end or a waveform is refused.
    #[error(transparent)]
    Audio(#[from] sv_audio::AudioError),
    /// Scores or trials are refused.
    #[error(transparent)]
    Metrics(#[from] sv_metrics::MetricsError),
    /// A model cannot be built, read or written.
    #[error(transparent)]
    Model(#[from] sv_models::ModelError),
    /// A batch is none that the objective is defined for.
    #[error(transparent)]
    Loss(#[from] sv_losses::LossError),
    /// candle refused an operation.
    #[error("a tensor could not be computed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A line of a log is not what its writer puts there.
    #[error("{}: line {line}: {source}; mend or delete the line", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A figure of a report could not be drawn.
    #[error("the plot of {plot} could not be drawn: {source}; the metrics it shows are untouched")]
    Plot {
        /// What it was to show.
        plot: &'static str,
        /// What the drawing library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The error of a file that is written whole, as one of training.
pub(crate) fn not_written(path: &Path, error: ModelError) -> TrainError {
    match error {
        ModelError::Write { path, source } => TrainError::Write { path, source },
        other => TrainError::Write { path: path.to_owned(), source: io::Error::other(other) },
    }
}
