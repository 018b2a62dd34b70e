//! What can go wrong between a file of weights and an encoder.

use std::io;
use std::path::PathBuf;

use crate::Device;
use crate::checkpoint::{Dtype, Problem, YamlProblem};
use crate::labels::LabelProblem;

#[cfg(feature = "train")]
impl From<candle_core::Error> for ModelError {
    fn from(source: candle_core::Error) -> Self {
        Self::Tensor { source: Box::new(source) }
    }
}

#[cfg(feature = "hub")]
impl From<crate::hub::HubError> for ModelError {
    fn from(source: crate::hub::HubError) -> Self {
        Self::Hub(Box::new(source))
    }
}

/// Why a model could not be read, built or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The system refused to open or read a file.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// candle refused an operation on tensors while a network was trained.
    #[cfg(feature = "train")]
    #[error("the network could not be computed: {source}")]
    Tensor {
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// The files of a model on the hub could not be had.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(Box<crate::hub::HubError>),
    /// A directory, pipe or device stands where a file of weights was expected.
    #[error("{}: not a regular file; name the file itself", .path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// The system refused to write a file; what was there before is untouched.
    #[error("{}: cannot be written, the previous state stands: {source}", .path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint that is damaged, hostile, or of a kind that is not read.
    #[error("{file}: {problem}")]
    Checkpoint {
        /// The file, or the name that the caller gave to its bytes.
        file: String,
        /// What is wrong with it.
        #[source]
        problem: Problem,
    },
    /// A tensor that the network needs is not in the checkpoint.
    #[error("{file}: no tensor {tensor:?} among its {count}{}; is it of another architecture?", nearest(.similar))]
    MissingTensor {
        /// The checkpoint.
        file: String,
        /// The tensor that is needed.
        tensor: String,
        /// How many tensors there are.
        count: usize,
        /// A name in the checkpoint that ends alike, if there is one.
        similar: Option<String>,
    },
    /// A tensor is there, but of another shape than the network's.
    #[error(
        "{file}: tensor {tensor:?} has shape {got:?}, the network needs {expected:?}; is the model of other sizes?"
    )]
    TensorShape {
        /// The checkpoint.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its shape in the checkpoint.
        got: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
    /// A tensor holds integers or flags where weights are needed.
    #[error("{file}: tensor {tensor:?} holds {dtype}, not floating-point values")]
    TensorDtype {
        /// The checkpoint.
        file: String,
        /// The tensor.
        tensor: String,
        /// What it holds.
        dtype: Dtype,
    },
    /// Integers or flags were asked for as floating-point values.
    #[error("a tensor of {dtype} was asked for as f32; only floating-point tensors are converted")]
    NotFloat {
        /// What the tensor holds.
        dtype: Dtype,
    },
    /// The values given for a tensor do not fill its shape.
    #[error("shape {shape:?} does not take {values} values")]
    Values {
        /// The shape.
        shape: Vec<usize>,
        /// How many values were given.
        values: usize,
    },
    /// A tensor that the network does not have.
    #[error("{file}: tensor {tensor:?} is none of the network's; is it of another architecture?")]
    UnexpectedTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{file}: tensor {tensor:?} holds a value that is not finite, at position {index}; the training that made it diverged, or the file is damaged"
    )]
    TensorNotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Position of the first such value.
        index: usize,
    },
    /// A checkpoint of a known system whose network is not built yet.
    #[error(
        "{origin}: this is {architecture}, which is not built yet; ECAPA-TDNN, x-vector, ResNet (basic blocks) and LSTM encoders are read"
    )]
    NotBuilt {
        /// The file or directory.
        origin: String,
        /// What it holds.
        architecture: &'static str,
    },
    /// A checkpoint whose network is another than the file beside it says.
    #[error("{}: this looks like {found}, but {by} says {expected}; do the two belong together?", .file.display())]
    OtherArchitecture {
        /// The checkpoint.
        file: PathBuf,
        /// What its tensors look like.
        found: &'static str,
        /// What they should be.
        expected: String,
        /// The file that says so.
        by: &'static str,
    },
    /// A directory of a known system lacks a file.
    #[error("{}: {system} has a file {file}, which is not there; fetch it, or the whole directory, again", .folder.display())]
    MissingFile {
        /// The directory.
        folder: PathBuf,
        /// The file.
        file: &'static str,
        /// What the directory is.
        system: &'static str,
    },
    /// A YAML file of a foreign model could not be read as data.
    #[error("{}: {problem}", .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: YamlProblem,
    },
    /// A foreign model is set up otherwise than its tensors, or than any known model of its family.
    #[error("{}: `{key}` is {got}; it must be {need}", .path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key, from the outermost inward.
        key: String,
        /// Its value.
        got: String,
        /// What it may be.
        need: String,
    },
    /// A tensor has values that nothing here can use.
    #[error("{file}: tensor {tensor:?} must hold {need}")]
    TensorValues {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What it may hold.
        need: &'static str,
    },
    /// A device that this build knows nothing of.
    #[error("{device}: this build has no code for it; build with the feature `{feature}`, or compute on the cpu")]
    DeviceNotBuilt {
        /// The device.
        device: Device,
        /// The cargo feature it needs.
        feature: &'static str,
    },
    /// A device that is not there, or has no driver.
    #[cfg(feature = "train")]
    #[error("{device}: cannot be used: {source}; is there such a device, and its driver?")]
    DeviceNotFound {
        /// The device.
        device: Device,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// A checkpoint whose tensors belong to no known system.
    #[error("{file}: its tensors ({}, ...) belong to no known speaker encoder; SpeechBrain's, WeSpeaker's, TaoRuijie's, Resemblyzer's and the GE2E TensorFlow code's are read", .names.join(", "))]
    UnknownArchitecture {
        /// The checkpoint.
        file: String,
        /// The first names in it.
        names: Vec<String>,
    },
    /// A directory without `model.toml`.
    #[error("{}: no model directory, `model.toml` is not in it; name a model directory or a checkpoint file", .path.display())]
    NotAModelDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A text file that is far longer than any of its kind.
    #[error("{}: {bytes} bytes; at most {limit} are read of such a file", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// How much is read.
        limit: u64,
    },
    /// `model.toml` is not what it should be.
    #[error("{}: {message}", .path.display())]
    Card {
        /// The file.
        path: PathBuf,
        /// Line, key, and what was expected.
        message: String,
    },
    /// `model.toml` of another format version, or of none.
    #[error("{}: format {}, this version reads {need}; convert the original checkpoint again", .path.display(), .found.map_or("missing".to_owned(), |found| found.to_string()))]
    Format {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: Option<i64>,
        /// The version that is read.
        need: u32,
    },
    /// Weights and `model.toml` do not belong together: one of them was changed, or a save was cut off.
    #[error("{}: states fingerprint {claimed}, but the model's is {found}; one of its files was changed, save or convert it again", .path.display())]
    Fingerprint {
        /// `model.toml`.
        path: PathBuf,
        /// What it states.
        claimed: String,
        /// What encoder, front end and weights give.
        found: String,
    },
    /// A size or setting of the network that cannot be.
    #[error("{key} is {got}; it must be {need}")]
    Config {
        /// The key in `model.toml`.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it may be.
        need: String,
    },
    /// Features that the network does not take.
    #[error(
        "features of {frames} frames and {bins} bins; the network takes at least {least} frames of {need} bins; record longer"
    )]
    Features {
        /// T.
        frames: usize,
        /// F.
        bins: usize,
        /// The network's F.
        need: usize,
        /// The fewest frames that it takes.
        least: usize,
    },
    /// A classifier or a b-vector network was given an embedding of another size.
    #[error("an embedding of {got} values; {need} are needed; is it another model's?")]
    EmbeddingSize {
        /// Its number of values.
        got: usize,
        /// What is needed.
        need: usize,
    },
    /// A list of labels that does not fit its classifier.
    #[error("{}: {problem}", .path.display())]
    Labels {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: LabelProblem,
    },
    /// SpeechBrain's padded batches were asked of another network.
    #[error(
        "SpeechBrain's padded batches are defined for its ECAPA-TDNN and x-vector network; embed the batch as it is"
    )]
    NotPadded,
    /// Lengths that do not fit a padded batch.
    #[error(
        "lengths {got:?} for a batch of {rows} rows of {frames} frames; give one length a row, none above {frames}"
    )]
    Lengths {
        /// B.
        rows: usize,
        /// T.
        frames: usize,
        /// The lengths given.
        got: Vec<usize>,
    },
    /// A value of an embedding is NaN or infinite.
    #[error("value {index} of the embedding is {value}; the recording or the model is far out of range")]
    EmbeddingNotFinite {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// Embeddings of two models were compared.
    #[error("embeddings of two models ({left} and {right}) cannot be compared; embed both with one model")]
    ForeignEmbedding {
        /// Fingerprint of one model, its first digits.
        left: String,
        /// Fingerprint of the other.
        right: String,
    },
    /// Two embeddings have no score.
    #[error(transparent)]
    Score(#[from] sv_metrics::MetricsError),
    /// A front end or windows that cannot be.
    #[error(transparent)]
    FrontEnd(#[from] sv_audio::AudioError),
    /// A kernel refused the network's sizes.
    #[error(transparent)]
    Kernel(#[from] sv_kernels::KernelError),
}

fn nearest(similar: &Option<String>) -> String {
    similar.as_ref().map_or_else(String::new, |name| format!(" (there is {name:?})"))
}
