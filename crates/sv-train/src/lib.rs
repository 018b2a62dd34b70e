#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod data;
mod error;
pub mod optim;
pub mod report;
mod streams;

pub use error::TrainError;
pub use streams::{Purpose, Stream};
