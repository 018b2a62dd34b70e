#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod back_end;
mod classifier;
pub mod corpus;
pub mod data;
mod error;
pub mod evaluate;
pub mod heo2019;
mod initialisation;
pub mod optim;
pub mod recipe;
pub mod report;
pub mod run_dir;
pub mod session;
pub mod speakers;
mod start;
mod streams;
pub mod summary;
pub mod trainer;

/// Where a network is computed: candle's.
pub use candle_core::Device;
pub use error::TrainError;
pub use initialisation::Initialisation;
pub use recipe::Recipe;
pub use run_dir::RunDir;
pub use start::Start;
pub use streams::{Purpose, Stream};
pub use trainer::{Observer, Trainer};
