//! The operations of networks on the kernels of this crate, each with its own backward pass: f32 on the CPU.
//!
//! candle has no place for what a forward pass keeps, so an operation, made anew for each call, holds it.

mod attention;
mod image;
mod layer;
mod linear;
mod moments;
mod res2net;
mod residual;
mod squeeze;

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, Layout, Result, Tensor};

use super::rows::{self, Number};
use crate::tdnn::pooling::Sizes;
pub(super) use attention::attentive_pooling;
pub(super) use image::{conv2d, norm_add};
pub(super) use layer::tdnn;
pub(super) use linear::linear;
pub(super) use moments::{attentive, statistics};
pub(super) use res2net::res2net;
pub(super) use residual::basic_block;
pub(super) use squeeze::squeezed;

/// Three gradients.
type Slopes = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A lock that a panic elsewhere does not keep: what it guards is written whole before it is read.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values of a contiguous f32 tensor on the CPU.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    f32::values(storage, layout)
}

/// Lends the values of an f32 tensor.
fn lent<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    rows::lent(tensor, work)
}

fn sizes(x: &Tensor) -> Result<Sizes> {
    let (batch, frames, channels) = x.dims3()?;
    Ok(Sizes { batch, frames, channels })
}
