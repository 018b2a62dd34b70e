//! Operations on candle tensors that are right for every layout and differentiable (feature `candle`).
//!
//! Stock candle 0.11.1 gives wrong values in silence for some layouts, and wrong or missing gradients for some operations;
//! `tests/ops.rs` keeps the list. What the encoders and losses need goes through here, the stock calls are forbidden by
//! `clippy.toml`. On the CPU nearly all run on the kernels of this crate, forward and backward; on other devices they are composed
//! of stock operations that the same test shows to be right.

mod batch_norm;
mod blocks;
mod chosen;
mod conv1d;
mod conv2d;
mod cosine_sum;
mod cross_entropy;
mod linear;
mod lstm;
mod lstm_training;
mod norm_add;
mod path;
mod pooling;
mod residual;
mod rows;
mod trained;
mod unit;

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor, bail};

use crate::{Tier, math, reference};
pub use batch_norm::{EPSILON, MOMENTUM, NormForm, RunningStatistics, batch_norm, batch_norm_with};
pub use blocks::{
    Activation, AttentivePooling, Norm, SeRes2Net, Squeeze, Tdnn, Untouched, attentive_pooling, res2net_block,
    se_res2net, se_scale, tdnn,
};
pub use chosen::chosen_products;
pub use conv1d::{Conv1d, Padding, conv1d};
pub use conv2d::{Conv2d, conv2d};
pub use cosine_sum::cosine_sum;
pub use cross_entropy::cross_entropy;
pub use linear::linear;
pub use lstm::{LstmLayer, LstmOutputs, lstm, lstm_last};
pub use lstm_training::LstmMemory;
pub use norm_add::batch_norm_add_leaky_relu;
pub use path::composed_only;
pub use pooling::{Deviation, Divisor, Floor, attentive_stats, statistics};
pub use residual::{BasicBlock, ImageLayer, basic_block};
pub use unit::unit_rows;

/// `lhs rhs` over the last two axes: (.., M, K) by (.., K, N) gives (.., M, N); the axes before are broadcast.
///
/// # Errors
/// If either has fewer than two axes, the K differ, or the leading axes cannot be broadcast.
pub fn matmul(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    let (Some((left, &[m, k])), Some((right, &[k2, n]))) =
        (lhs.dims().split_last_chunk(), rhs.dims().split_last_chunk())
    else {
        bail!("matmul of {:?} by {:?}: both need two axes or more", lhs.dims(), rhs.dims())
    };
    if k != k2 {
        bail!("matmul of {:?} by {:?}: {k} columns meet {k2} rows", lhs.dims(), rhs.dims())
    }
    let batch = broadcast(left, right)
        .ok_or_else(|| Error::msg(format!("matmul of {:?} by {:?}: leading axes differ", lhs.dims(), rhs.dims())))?;
    let with = |last: [usize; 2]| [&batch[..], &last[..]].concat();
    if right.is_empty() {
        // One matrix for all: their rows stand below each other, no copy of it for each.
        let rows = batch.iter().product::<usize>() * m;
        return contiguous_matmul(&lhs.contiguous()?.reshape((rows, k))?, &rhs.contiguous()?)?.reshape(with([m, n]));
    }
    let count: usize = batch.iter().product();
    let lhs = lhs.broadcast_as(with([m, k]))?.contiguous()?.reshape((count, m, k))?;
    let rhs = rhs.broadcast_as(with([k, n]))?.contiguous()?.reshape((count, k, n))?;
    contiguous_matmul(&lhs, &rhs)?.reshape(with([m, n]))
}

/// The stock product of contiguous operands with equal leading axes. Its gradient multiplies transposed views, but then
/// neither side is broadcast, which is the case that goes wrong.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the wrapper: both operands are contiguous, nothing is broadcast"
)]
fn contiguous_matmul(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    lhs.matmul(rhs)
}

/// The common shape of two lists of axes, aligned at the end.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let axis = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// `max(x, 0)`; its derivative at 0 is 0, as PyTorch has it (stock candle: 1). Not-a-number stays.
///
/// # Errors
/// As candle's `where_cond`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.le(&x.zeros_like()?)?.where_cond(&x.zeros_like()?, x)
}

/// `x` above 0, `slope x` elsewhere; its derivative at 0 is `slope`, as PyTorch has it. Not-a-number stays.
///
/// # Errors
/// As candle's `where_cond`.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    x.gt(&x.zeros_like()?)?.where_cond(x, &x.affine(slope, 0.0)?)
}

/// `1 / (1 + e^-x)`; on the CPU in f32 with the error of [`crate::math::sigmoid`].
///
/// # Errors
/// For types other than f32 and f64 on the CPU.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || !path::kernels_allowed() {
        return candle_nn::ops::sigmoid(x);
    }
    x.contiguous()?.apply_op1(Squashing::Sigmoid)
}

/// Hyperbolic tangent; on the CPU in f32 with the error of [`crate::math::tanh`].
///
/// # Errors
/// For types other than f32 and f64 on the CPU.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() || !path::kernels_allowed() {
        return x.tanh();
    }
    x.contiguous()?.apply_op1(Squashing::Tanh)
}

#[derive(Debug, Clone, Copy)]
enum Squashing {
    Sigmoid,
    Tanh,
}

impl CustomOp1 for Squashing {
    fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => "sv-sigmoid",
            Self::Tanh => "sv-tanh",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(Error::RequiresContiguous { op: self.name() });
        };
        let out = match storage {
            CpuStorage::F32(values) => {
                let mut out = values[start..end].to_vec();
                match self {
                    Self::Sigmoid => math::sigmoid(Tier::detect(), &mut out),
                    Self::Tanh => math::tanh(Tier::detect(), &mut out),
                }
                CpuStorage::F32(out)
            }
            CpuStorage::F64(values) => {
                let function = match self {
                    Self::Sigmoid => reference::sigmoid::<f64>,
                    Self::Tanh => f64::tanh,
                };
                CpuStorage::F64(values[start..end].iter().map(|&x| function(x)).collect())
            }
            _ => bail!("{}: takes f32 or f64", self.name()),
        };
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, _arg: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let slope = match self {
            Self::Sigmoid => (y - y.sqr()?)?,
            Self::Tanh => y.sqr()?.affine(-1.0, 1.0)?,
        };
        Ok(Some((grad * slope)?))
    }
}

#[cfg(test)]
mod image_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;
