//! The between-class loss: the sum of the cosines between all bases, without a matrix of all pairs.

use candle_core::{D, Tensor};

use crate::LossError;
use crate::ge2e::normalised;

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
        [classes, dimension] if classes > 0 && dimension > 0 => of_unit(&normalised(bases)?),
        _ => {
            let size = |axis: usize| bases.dims().get(axis).copied().unwrap_or(0);
            Err(LossError::Sizes { dimension: size(1), classes: size(0) })
        }
    }
}

/// The same of rows u (S, D) that have length one, or zero where a direction is missing.
pub(super) fn of_unit(unit: &Tensor) -> Result<Tensor, LossError> {
    // The cosines of all ordered pairs add up to |sum u|^2 less those of each row with itself, which are 1, so 100,000
    // speakers cost S D, not S^2 D. They are counted rather than added up: their gradient is 0, and need not be computed.
    let own = unit.detach().sqr()?.sum(D::Minus1)?.round()?.sum_all()?;
    Ok((unit.sum(0)?.sqr()?.sum_all()? - own)?)
}
