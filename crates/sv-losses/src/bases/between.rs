//! The between-class loss: the sum of the cosines between all bases, without a matrix of all pairs.

use candle_core::Tensor;
use sv_kernels::ops;

use crate::LossError;

/// Sum of the cosines between every two speaker bases, `L_BC`: smaller is better spread.
///
/// `bases`: (S, D), one row a training speaker; only directions count, and a row of zeros counts for nothing. Returns a
/// scalar in `[-S, S (S - 1)]`. Takes S D multiplications.
///
/// # Errors
/// [`LossError::Sizes`] unless `bases` has two axes, neither of them empty.
///
/// # Source
/// Heo et al. 2019, eq. 9, where S is called N. The sum is over ordered pairs, as printed.
pub fn between_class(bases: &Tensor) -> Result<Tensor, LossError> {
    match *bases.dims() {
        [classes, dimension] if classes > 0 && dimension > 0 => Ok(ops::cosine_sum(bases)?),
        _ => {
            let size = |axis: usize| bases.dims().get(axis).copied().unwrap_or(0);
            Err(LossError::Sizes { dimension: size(1), classes: size(0) })
        }
    }
}
