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

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor, bail};

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
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (_, None) => Err(Error::RequiresContiguous { op: "sv-tdnn" }),
        _ => bail!("an operation on kernels takes f32"),
    }
}

/// Lends the values of a tensor.
fn lent<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(values(storage, layout)?),
        _ => bail!("an operation on kernels takes tensors on the CPU"),
    }
}

fn sizes(x: &Tensor) -> Result<Sizes> {
    let (batch, frames, channels) = x.dims3()?;
    Ok(Sizes { batch, frames, channels })
}
