#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batch;
#[cfg(feature = "decode")]
mod cohort;
mod enrolment;
mod error;
#[cfg(feature = "decode")]
mod evaluation;
#[cfg(feature = "decode")]
mod lists;
mod recognition;
#[cfg(feature = "decode")]
mod resumable;
#[cfg(feature = "decode")]
mod table;

#[cfg(feature = "decode")]
pub use cohort::{Cohort, CohortList, read_cohort};
pub use enrolment::Enrolment;
pub use error::Error;
#[cfg(feature = "decode")]
pub use evaluation::Evaluation;
#[cfg(feature = "decode")]
pub use lists::{read_list, recordings_in};
pub use recognition::{SpeakerRecognition, Utterance, Verification};
#[cfg(feature = "decode")]
pub use table::EmbeddingTable;

/// Recordings and features: [`sv_audio`].
pub use sv_audio as audio;
/// Objectives to train by: [`sv_losses`].
#[cfg(feature = "train")]
pub use sv_losses as losses;
/// Trials, rates, thresholds: [`sv_metrics`].
pub use sv_metrics as metrics;
/// Encoders, checkpoints, model directories: [`sv_models`].
pub use sv_models as models;
/// Recipes, runs, reports: [`sv_train`].
#[cfg(feature = "train")]
pub use sv_train as train;

pub use sv_audio::Waveform;
pub use sv_metrics::{Threshold, Verdict};
pub use sv_models::{Device, Embedding, ModelDir};
