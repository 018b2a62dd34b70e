//! Rows brought to length one, so that their products are cosines.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{Number, ROWS, held, lent, product};

/// `x[i] / |x[i]|` of the last axis of `x` (.., D); a row of zeros stays, and lets no gradient through.
///
/// What is called zero: rows whose sum of squares is at most 1e-30 in f32 and 1e-200 in f64, below which squares lose the
/// length, and the powers of it that a gradient takes would overflow. What is no number, or infinite, makes its row that. On
/// the CPU rows of f32 may be longer than the root of the largest f32; elsewhere squares overflow, and such a row becomes 0.
///
/// # Errors
/// If `x` has no axes.
pub fn unit_rows(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if width > 0 && held(&[x]) {
        return x.contiguous()?.apply_op1(UnitRows { width });
    }
    let squares = x.sqr()?.sum_keepdim(D::Minus1)?;
    let zero = squares.le(floor(x.dtype()))?;
    let ones = squares.ones_like()?;
    let kept = zero.where_cond(&squares.zeros_like()?, &ones)?;
    let length = zero.where_cond(&ones, &squares)?.sqrt()?;
    x.broadcast_div(&length)?.broadcast_mul(&kept)
}

/// The sum of squares up to which a row counts as zero.
fn floor(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-200 } else { 1e-30 }
}

/// The length of a row, 0 if it counts as zero.
fn length<T: Number>(row: &[T]) -> f64 {
    let mut squares = product(row, row).to_f64();
    if squares.is_infinite() {
        squares = row.iter().map(|value| value.to_f64() * value.to_f64()).sum();
    }
    // Compared so that not-a-number does not count as zero.
    if squares <= floor(T::DTYPE) { 0.0 } else { squares.sqrt() }
}

/// What a row is multiplied by to have length one; nothing for one that counts as zero.
pub(super) fn factor<T: Number>(row: &[T]) -> Option<T> {
    let length = length(row);
    (length != 0.0).then(|| T::from_f64(1.0 / length))
}

/// The gradient of a row x, which [`factor`] brings to length one as u, from that of u: `factor (slope - u (u . slope))`.
pub(super) fn row_slope<T: Number>(to: &mut [T], x: &[T], slope: &[T]) {
    let Some(factor) = factor(x) else { return to.fill(T::zero()) };
    // Twice, so that the square of a long row's factor does not leave f32.
    let along = product(x, slope) * factor * factor;
    for ((to, &x), &slope) in to.iter_mut().zip(x).zip(slope) {
        *to = (slope - x * along) * factor;
    }
}

struct UnitRows {
    /// D, above 0.
    width: usize,
}

impl UnitRows {
    /// `to(row of the result, row of x, number of the row)` for every row, on all threads: no row asks for another.
    fn each<T: Number>(&self, x: &[T], to: impl Fn(&mut [T], &[T], usize) + Sync) -> Vec<T> {
        let mut all = vec![T::zero(); x.len()];
        let chunk = ROWS * self.width;
        all.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(chunk, (all, x))| {
            let rows = all.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width));
            rows.enumerate().for_each(|(row, (all, x))| to(all, x, chunk * ROWS + row));
        });
        all
    }

    fn forward<T: Number>(&self, x: &[T]) -> Vec<T> {
        self.each(x, |to, x, _| {
            let length = length(x);
            // Divided, not multiplied by the factor, which is rounded once more.
            if length != 0.0 {
                let length = T::from_f64(length);
                to.iter_mut().zip(x).for_each(|(to, &x)| *to = x / length);
            }
        })
    }

    fn backward<T: Number>(&self, x: &Tensor, slopes: &Tensor) -> Result<Tensor> {
        let all = lent(x, |x| {
            lent(slopes, |slopes: &[T]| {
                let slope = |row: usize| &slopes[row * self.width..][..self.width];
                Ok(self.each(x, |to, x, row| row_slope(to, x, slope(row))))
            })
        })?;
        Tensor::from_vec(all, x.shape(), x.device())
    }
}

impl CustomOp1 for UnitRows {
    fn name(&self) -> &'static str {
        "sv-unit-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.forward(f64::values(x, at)?)),
            _ => CpuStorage::F32(self.forward(f32::values(x, at)?)),
        };
        Ok((y, at.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(if x.dtype() == DType::F64 {
            self.backward::<f64>(x, slopes)?
        } else {
            self.backward::<f32>(x, slopes)?
        }))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::composed_only;
    use super::super::network_tests::assert_slopes;
    use super::*;
    use crate::gemm::tests::noise;

    /// Rows, one of which is zeros, brought to length one, and the gradient under factors of their own.
    fn both(dtype: DType, width: usize, factor: f64) -> [Vec<f64>; 2] {
        let mut values = noise(1, 5 * width);
        values[2 * width..3 * width].fill(0.0);
        let values = Tensor::from_vec(values, (5, width), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let x = Var::from_tensor(&values.affine(factor, 0.0).unwrap()).unwrap();
        let u = unit_rows(&x).unwrap();
        let weights = Tensor::from_vec(noise(2, 5 * width), (5, width), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let grads = (&u * weights).unwrap().sum_all().unwrap().backward().unwrap();
        [&u, grads.get(&x).unwrap()].map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn rows_and_gradients_are_those_of_the_stock_operations() {
        for width in [1, 15, 16, 17, 40] {
            // Also long and short ones: the squares of the longest overflow in f32.
            for factor in [1.0, 1e-12, 1e15, 1e20] {
                let expected = composed_only(|| both(DType::F64, width, factor));
                for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
                    for (got, expected) in both(dtype, width, factor).iter().zip(&expected) {
                        let most = expected.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
                        for (got, expected) in got.iter().zip(expected) {
                            // A row of one value has one direction: its gradient is what rounding leaves of 0.
                            let most = if width == 1 { most.max(1.0 / factor) } else { most };
                            assert!((got - expected).abs() <= bound * most, "{width} {factor}: {got}, {expected}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_have_the_slopes_of_their_differences_and_those_of_zeros_none() {
        for shape in [&[3, 5][..], &[2, 2, 17], &[4]] {
            let count = shape.iter().product();
            let x = Tensor::from_vec(noise(1, count), shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
            assert_slopes(&format!("{shape:?}"), &[Var::from_tensor(&x).unwrap()], |x| unit_rows(&x[0]));
        }
        for dtype in [DType::F32, DType::F64] {
            let [u, slope] = both(dtype, 6, 1.0);
            assert!(u[12..18].iter().chain(&slope[12..18]).all(|&value| value == 0.0));
        }
    }

    #[test]
    fn the_shortest_rows_count_as_zero() {
        for (dtype, shortest) in [(DType::F32, 1e-15), (DType::F64, 1e-100)] {
            for (factor, zero) in [(0.5, true), (2.0, false)] {
                let x = Tensor::new(&[[0.6, 0.8_f64]], &Device::Cpu).unwrap().affine(factor * shortest, 0.0).unwrap();
                let x = x.to_dtype(dtype).unwrap();
                for u in [unit_rows(&x), composed_only(|| unit_rows(&x))] {
                    let u = u.unwrap().to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap().swap_remove(0);
                    let expected = if zero { [0.0, 0.0] } else { [0.6, 0.8] };
                    assert!(u.iter().zip(expected).all(|(u, e)| (u - e).abs() < 1e-6), "{dtype:?} {factor}: {u:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_and_a_view_is_taken() {
        let x = Tensor::new(&[[f32::NAN, 1.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let u = unit_rows(&x).unwrap().to_vec2::<f32>().unwrap();
        assert!(u[0].iter().all(|value| value.is_nan()) && u[1] == [0.6, 0.8]);
        let infinite = Tensor::new(&[[f32::INFINITY, 1.0]], &Device::Cpu).unwrap();
        assert!(unit_rows(&infinite).unwrap().to_vec2::<f32>().unwrap()[0][0].is_nan());
        let columns = unit_rows(&x.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        assert!(columns[0][1].is_nan() && (columns[1][0] - 1.0 / 17.0_f32.sqrt()).abs() < 1e-6);
        assert_eq!(unit_rows(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap()).unwrap().dims(), [0, 3]);
    }
}
