#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod checkpoint;
mod classifier;
mod device;
mod embedding;
mod encoder;
pub mod encoders;
mod error;
#[cfg(feature = "hub")]
pub mod hub;
mod labels;
mod model_dir;
pub mod pair;
mod plan;
pub mod reference;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;

pub use classifier::{Classification, Classifier, ClassifierConfig};
pub use device::{Device, NotADevice};
pub use embedding::{Embedding, Fingerprint, NotAFingerprint};
pub use encoder::EncoderConfig;
pub use error::ModelError;
pub use labels::LabelProblem;
pub use model_dir::{Description, FORMAT, ModelDir, Source, parse_card};
pub use pair::BVector;
pub use plan::Plan;
/// The worker threads that plans run on: bounded once, by a binary.
pub use sv_kernels::{memory, pool};
