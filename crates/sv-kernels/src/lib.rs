#![doc = include_str!("../README.md")]

mod buffer;
mod error;
pub mod gemm;
mod lanes;
pub mod lstm;
pub mod math;
#[cfg(feature = "candle")]
pub mod ops;
pub mod pool;
pub mod reference;
#[cfg(feature = "candle")]
mod tdnn;
mod tier;

pub use error::KernelError;
pub use tier::{Avx2, Avx512, Tier};
