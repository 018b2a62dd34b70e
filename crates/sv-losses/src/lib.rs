#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod config;
mod error;
mod ge2e;
mod objective;

pub use config::ObjectiveConfig;
pub use error::LossError;
pub use ge2e::{Centroids, Embeddings, Ge2e, Ge2eOptions, Ge2eTf, Ge2eTfOptions, Reduction, Variant};
pub use objective::{Labels, Objective, Parameter};
