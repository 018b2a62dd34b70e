#![doc = include_str!("../README.md")]

pub mod attention;
mod buffer;
pub mod conv;
mod error;
pub mod gemm;
mod lanes;
pub mod lstm;
pub mod math;
pub mod memory;
#[cfg(feature = "candle")]
pub mod ops;
pub mod pool;
pub mod reference;
pub mod statistics;
#[cfg(feature = "candle")]
mod tdnn;
mod tier;

pub use buffer::Buffer;
pub use error::KernelError;
pub use tier::{Avx2, Avx512, Tier};
