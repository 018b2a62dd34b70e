//! From recordings to batches: manifests, preparation and its cache, samplers, the loader.
//!
//! ```text
//! Manifest        which recordings, of whom, in which split        manifest.rs  corpora.rs  select.rs
//! TrainingData    decoded once, cut into pieces, kept or cached     prepare.rs  pieces.rs  cache.rs  store.rs
//! batch           which pieces a step takes, and which frames       sampler.rs  crop.rs  batch.rs  wave_rows.rs  noise.rs  offset.rs
//! Loader          the same batches, computed ahead by threads       loader.rs
//! ```
//!
//! A batch is a function of the seed and the step and nothing else: every draw has a stream of its own.

mod batch;
mod cache;
mod config;
mod corpora;
mod crop;
mod error;
mod loader;
mod manifest;
mod noise;
mod offset;
mod pieces;
mod prepare;
mod sampler;
mod select;
mod statistics;
mod store;
mod voxceleb;
mod wave_rows;

pub use batch::{Batch, PieceId};
pub use config::{
    AugmentationConfig, Classes, CropConfig, CropEdges, DataConfig, Draw, FeatureOffsetConfig, NoiseConfig,
    NoiseSource, PreparationConfig, SamplerConfig, TakeFrom,
};
pub use corpora::{synthetic, vctk};
pub use error::DataError;
pub use loader::Loader;
pub use manifest::{Entry, Manifest, Recording};
pub use pieces::{Piece, PieceContent};
pub use prepare::{Preparation, Skipped, TrainingData};
pub use select::{Selection, SpeakerOrder};
pub use statistics::BandStatistics;
pub use voxceleb::{VoxCeleb, located, trial_list};
