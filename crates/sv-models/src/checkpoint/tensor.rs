//! One tensor of a checkpoint: a view into bytes that several may share.

use std::borrow::Cow;
use std::sync::Arc;

use super::Dtype;
use super::limits;
use crate::ModelError;

/// A tensor as a checkpoint holds it. Its values are laid out only when asked for.
#[derive(Debug, Clone)]
pub struct StateTensor {
    /// Sizes of the axes, outermost first; empty for a scalar. To be read: another value here does not lay the tensor out anew.
    pub shape: Vec<usize>,
    /// What an element is.
    pub dtype: Dtype,
    layout: Layout,
    storage: Arc<Vec<u8>>,
}

/// Where in the storage an element is: `offset + sum(index * stride)`, in elements.
#[derive(Debug, Clone)]
struct Layout {
    shape: Box<[usize]>,
    strides: Box<[usize]>,
    offset: usize,
}

impl StateTensor {
    /// A tensor of f32 values in row-major order.
    ///
    /// # Errors
    /// [`ModelError::Values`] unless the product of `shape` is the number of values.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, ModelError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_bytes(shape, Dtype::F32, bytes)
            .ok_or_else(|| ModelError::Values { shape: shape.to_vec(), values: values.len() })
    }

    /// A tensor of row-major little-endian bytes, or `None` where they do not fill the shape.
    pub(super) fn from_bytes(shape: &[usize], dtype: Dtype, bytes: Vec<u8>) -> Option<Self> {
        if element_count(shape)?.checked_mul(dtype.size())? != bytes.len() {
            return None;
        }
        Self::view(Arc::new(bytes), dtype, 0, shape, &row_major(shape)).ok()
    }

    /// A view of `storage`; all of `offset` and `strides` in elements. What it reaches lies inside the storage, or it is not made.
    pub(super) fn view(
        storage: Arc<Vec<u8>>,
        dtype: Dtype,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Result<Self, &'static str> {
        if shape.len() > limits::AXES {
            return Err("has more than eight axes");
        }
        if shape.len() != strides.len() {
            return Err("has not as many strides as axes");
        }
        let count = element_count(shape).ok_or("its size overflows")?;
        let mut last = Some(offset);
        for (&size, &stride) in shape.iter().zip(strides) {
            last = last.zip(size.saturating_sub(1).checked_mul(stride)).and_then(|(last, step)| last.checked_add(step));
        }
        let end = if count == 0 { Some(0) } else { last.and_then(|last| last.checked_add(1)) };
        if end.and_then(|end| end.checked_mul(dtype.size())).is_none_or(|end| end > storage.len()) {
            return Err("its shape, strides and offset lead outside its storage");
        }
        let layout = Layout { shape: shape.into(), strides: strides.into(), offset };
        Ok(Self { shape: shape.to_vec(), dtype, layout, storage })
    }

    /// The sizes by which the values are laid out, whatever a caller wrote over `shape`.
    pub(super) fn laid_out_shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// How many values it stands for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.shape.iter().product()
    }

    /// Whether it has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order, little-endian; borrowed where the checkpoint has them so.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        let size = self.dtype.size();
        let count = self.len();
        if count == 0 {
            return Cow::Borrowed(&[]);
        }
        let start = self.layout.offset * size;
        if self.layout.is_row_major() {
            return Cow::Borrowed(&self.storage[start..start + count * size]);
        }
        let mut bytes = Vec::with_capacity(count * size);
        self.layout.for_each_row(|first, length, stride| {
            for index in 0..length {
                let at = (first + index * stride) * size;
                bytes.extend_from_slice(&self.storage[at..at + size]);
            }
        });
        Cow::Owned(bytes)
    }

    /// The values in row-major order; F64 is rounded, halves are exact.
    ///
    /// # Errors
    /// [`ModelError::NotFloat`] for integers and flags.
    pub fn f32(&self) -> Result<Vec<f32>, ModelError> {
        if !self.dtype.is_float() {
            return Err(ModelError::NotFloat { dtype: self.dtype });
        }
        self.dtype.to_f32(&self.bytes()).ok_or(ModelError::NotFloat { dtype: self.dtype })
    }
}

impl PartialEq for StateTensor {
    /// Equal in type, shape and bits, however stored.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.layout.shape == other.layout.shape && self.bytes() == other.bytes()
    }
}

impl Layout {
    fn is_row_major(&self) -> bool {
        let expected = row_major(&self.shape);
        self.shape
            .iter()
            .zip(&self.strides)
            .zip(expected)
            .all(|((&size, &stride), expected)| size == 1 || stride == expected)
    }

    /// Calls `row(first element, length, stride)` for every run along the last axis, in order.
    fn for_each_row(&self, mut row: impl FnMut(usize, usize, usize)) {
        let Some((&length, outer)) = self.shape.split_last() else { return row(self.offset, 1, 0) };
        let stride = self.strides[outer.len()];
        let mut index = [0_usize; limits::AXES];
        loop {
            let first: usize = index.iter().zip(&self.strides[..outer.len()]).map(|(&i, &stride)| i * stride).sum();
            row(self.offset + first, length, stride);
            let mut axis = outer.len();
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// The product of the sizes. Zero if one is, but `None` if those that are not zero overflow: callers multiply them too.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    let product =
        shape.iter().filter(|&&size| size != 0).try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    Some(if shape.contains(&0) { 0 } else { product })
}

/// Strides of a tensor whose last axis varies fastest.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_0_to(n: u8) -> Arc<Vec<u8>> {
        Arc::new((0..n).collect())
    }

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<Vec<u8>, &'static str> {
        Ok(StateTensor::view(bytes_0_to(12), Dtype::U8, offset, shape, strides)?.bytes().into_owned())
    }

    #[test]
    fn strides_and_offsets_are_honoured() {
        // 0..12 as 3 x 4, transposed; a slice of it; a row repeated by a stride of zero; a scalar.
        assert_eq!(view(0, &[4, 3], &[1, 4]).unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(view(5, &[2, 2], &[4, 1]).unwrap(), [5, 6, 9, 10]);
        assert_eq!(view(3, &[3, 2], &[0, 2]).unwrap(), [3, 5, 3, 5, 3, 5]);
        assert_eq!(view(7, &[], &[]).unwrap(), [7]);
        // 2 x 3 x 2 permuted to 3 x 2 x 2.
        assert_eq!(view(0, &[3, 2, 2], &[2, 6, 1]).unwrap(), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
    }

    #[test]
    fn an_empty_tensor_reaches_nothing() {
        assert_eq!(view(99, &[0, 4], &[4, 1]).unwrap(), [0_u8; 0]);
        assert_eq!(view(0, &[4, 0], &[1, 1]).unwrap(), [0_u8; 0]);
    }

    #[test]
    fn what_leads_outside_the_storage_is_refused() {
        for (offset, shape, strides) in
            [(0, [3, 5], [4, 1]), (1, [3, 4], [4, 1]), (0, [2, 2], [usize::MAX, 1]), (usize::MAX, [1, 1], [1, 1])]
        {
            assert!(view(offset, &shape, &strides).is_err(), "{offset} {shape:?} {strides:?}");
        }
        assert!(view(0, &[usize::MAX, usize::MAX, 0], &[1, 1, 1]).is_err(), "a product that callers would overflow on");
        assert!(view(0, &[1; 9], &[1; 9]).is_err());
        assert!(view(0, &[1], &[]).is_err());
    }

    #[test]
    fn values_must_fill_the_shape() {
        let tensor = StateTensor::from_f32(&[2, 1], &[1.0, -2.0]).unwrap();
        assert_eq!((tensor.f32().unwrap(), tensor.len(), tensor.is_empty()), (vec![1.0, -2.0], 2, false));
        let error = StateTensor::from_f32(&[2, 2], &[1.0]).unwrap_err();
        assert!(matches!(error, ModelError::Values { values: 1, .. }), "{error}");
    }
}
