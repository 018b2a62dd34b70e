//! Rows of numbers on the CPU, in f32 and in f64: what operations that go through a table row by row share.

use candle_core::{CpuStorage, DType, Error, Layout, Result, Storage, Tensor, WithDType, bail};

use super::path;
use crate::{Tier, math};

/// How many sums a sum over a row runs in side by side.
const SUMS: usize = 16;

/// Rows that one thread takes at a time.
pub(super) const ROWS: usize = 256;

/// A number of a tensor on the CPU.
pub(super) trait Number: WithDType {
    /// The values of a contiguous tensor.
    fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [Self]> {
        let (start, end) = layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "sv-rows" })?;
        Ok(&storage.as_slice::<Self>()?[start..end])
    }

    /// Replaces each value by its exponential; in f32 with the error of [`math::exp`].
    fn exp(values: &mut [Self]);
}

impl Number for f32 {
    fn exp(values: &mut [Self]) {
        math::exp(Tier::detect(), values);
    }
}

impl Number for f64 {
    fn exp(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value = value.exp());
    }
}

/// Whether operations on rows take `tensors`: all on the CPU, and all f32 or all f64.
pub(super) fn held(tensors: &[&Tensor]) -> bool {
    let on_cpu = tensors.iter().all(|tensor| tensor.device().is_cpu());
    let alike = |dtype: DType| tensors.iter().all(|tensor| tensor.dtype() == dtype);
    path::kernels_allowed() && on_cpu && (alike(DType::F32) || alike(DType::F64))
}

/// Lends the values of a tensor.
pub(super) fn lent<T: Number, R>(tensor: &Tensor, work: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(T::values(storage, layout)?),
        _ => bail!("an operation on rows takes tensors on the CPU"),
    }
}

/// The sum of products. In a fixed order, in sums that a vector register holds side by side.
pub(super) fn product<T: Number>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); SUMS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(T::zero(), |sum, (&a, &b)| sum + a * b);
    sums.into_iter().fold(rest, |sum, part| sum + part)
}

/// The sum of values, so too; of long rows in parts, that rounding does not add up.
pub(super) fn sum<T: Number>(values: &[T]) -> f64 {
    let of = |values: &[T]| {
        let mut sums = [T::zero(); SUMS];
        let (parts, rest) = values.as_chunks::<SUMS>();
        for part in parts {
            for (sum, &value) in sums.iter_mut().zip(part) {
                *sum += value;
            }
        }
        let rest = rest.iter().fold(T::zero(), |sum, &value| sum + value);
        sums.into_iter().fold(rest, |sum, part| sum + part).to_f64()
    };
    values.chunks(64 * SUMS).map(of).sum()
}

/// `sums += factor row`
pub(super) fn add<T: Number>(sums: &mut [T], factor: T, row: &[T]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += factor * value;
    }
}
