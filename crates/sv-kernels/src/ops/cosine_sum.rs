//! The sum of the cosines between all rows of a table, in one pass.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{Number, ROWS, add, held, lent};
use super::unit::{factor, row_slope, unit_rows};

/// `sum_i sum_{j not i} cos(x_i, x_j)` of the rows of `x` (S, D), a scalar; a row of zeros counts for nothing.
///
/// The cosines of all ordered pairs add up to the square of the length of the sum of the unit rows, less those of each row with
/// itself, which are 1: S D multiplications, not S S D, and in memory nothing of the size of `x` but its gradient.
///
/// # Errors
/// If `x` has not two axes, or rows of no values.
pub fn cosine_sum(x: &Tensor) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    if width == 0 {
        bail!("cosines of {:?}: rows of no values", x.dims())
    }
    if held(&[x]) {
        return x.contiguous()?.apply_op1(CosineSum { width, direction: OnceLock::new() });
    }
    let unit = unit_rows(x)?;
    // Counted rather than added up: their gradient is 0, and need not be computed.
    let own = unit.detach().sqr()?.sum(D::Minus1)?.round()?.sum_all()?;
    unit.sum(0)?.sqr()?.sum_all()? - own
}

struct CosineSum {
    /// D, above 0.
    width: usize,
    /// The sum of the unit rows, kept for the backward pass.
    direction: OnceLock<Vec<f64>>,
}

impl CosineSum {
    fn forward<T: Number>(&self, x: &[T]) -> T {
        // In parts of a fixed size, so that the sum has one order on any number of threads, and a hundred thousand rows do not
        // add up their rounding.
        let part = |rows: &[T]| {
            let (mut sums, mut count) = (vec![T::zero(); self.width], 0);
            for row in rows.chunks_exact(self.width) {
                if let Some(factor) = factor(row) {
                    add(&mut sums, factor, row);
                    count += 1;
                }
            }
            (sums, count)
        };
        let parts: Vec<(Vec<T>, u64)> = x.par_chunks(ROWS * self.width).map(part).collect();
        let (mut direction, mut count) = (vec![0.0; self.width], 0);
        for (sums, rows) in parts {
            direction.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum.to_f64());
            count += rows;
        }
        let squares: f64 = direction.iter().map(|value| value * value).sum();
        // Another call on the same operation would have come to the same.
        self.direction.get_or_init(|| direction);
        T::from_f64(squares - count as f64)
    }

    fn backward<T: Number>(&self, x: &Tensor, slope: &Tensor) -> Result<Tensor> {
        let Some(direction) = self.direction.get() else { bail!("a gradient before there was a value") };
        let slope = slope.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let direction: Vec<T> = direction.iter().map(|value| T::from_f64(2.0 * slope * value)).collect();
        let mut all = vec![T::zero(); x.elem_count()];
        lent(x, |x: &[T]| {
            let chunk = ROWS * self.width;
            all.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(all, x)| {
                for (to, row) in all.chunks_exact_mut(self.width).zip(x.chunks_exact(self.width)) {
                    row_slope(to, row, &direction);
                }
            });
            Ok(())
        })?;
        Tensor::from_vec(all, x.shape(), x.device())
    }
}

impl CustomOp1 for CosineSum {
    fn name(&self) -> &'static str {
        "sv-cosine-sum"
    }

    fn cpu_fwd(&self, x: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let sum = match x {
            CpuStorage::F64(_) => CpuStorage::F64(vec![self.forward(f64::values(x, at)?)]),
            _ => CpuStorage::F32(vec![self.forward(f32::values(x, at)?)]),
        };
        Ok((sum, Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(if x.dtype() == DType::F64 {
            self.backward::<f64>(x, slope)?
        } else {
            self.backward::<f32>(x, slope)?
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

    fn rows(dtype: DType, count: usize, width: usize) -> Var {
        let mut values = noise(1, count * width);
        if count > 2 {
            values[width..2 * width].fill(0.0);
        }
        let values = Tensor::from_vec(values, (count, width), &Device::Cpu).unwrap();
        Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
    }

    /// The value, and its gradient under a factor.
    fn both(x: &Var) -> (f64, Vec<f64>) {
        let sum = cosine_sum(x).unwrap();
        let grads = sum.affine(-0.7, 0.0).unwrap().backward().unwrap();
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let slope: Vec<f64> = wide(grads.get(x).unwrap());
        (wide(&sum)[0], slope)
    }

    #[test]
    fn the_sum_and_its_gradient_are_those_of_the_stock_operations() {
        // Fewer rows than one thread takes at a time, as many, and more.
        for (count, width) in [(1, 3), (2, 1), (5, 17), (ROWS, 4), (ROWS + 1, 4), (3 * ROWS + 7, 40)] {
            let (value, slopes) = composed_only(|| both(&rows(DType::F64, count, width)));
            for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
                let (got, got_slopes) = both(&rows(dtype, count, width));
                assert!((got - value).abs() <= bound * count as f64, "{count} {width}: {got}, {value}");
                let most = slopes.iter().fold(1.0, |most: f64, slope| most.max(slope.abs()));
                for (got, slope) in got_slopes.iter().zip(&slopes) {
                    assert!((got - slope).abs() <= bound * most, "{count} {width}: {got}, {slope}");
                }
            }
        }
    }

    #[test]
    fn the_sum_has_the_slopes_of_its_differences() {
        for (count, width) in [(2, 3), (7, 5), (4, 17)] {
            let mut x = rows(DType::F64, count, width);
            if count > 2 {
                // Where a row is zero there is a step.
                x = Var::from_tensor(
                    &Tensor::cat(&[x.narrow(0, 0, 1).unwrap(), x.narrow(0, 2, 2).unwrap()], 0).unwrap(),
                )
                .unwrap();
            }
            assert_slopes(&format!("{count} {width}"), &[x], |x| cosine_sum(&x[0]));
        }
    }

    #[test]
    fn threads_do_not_move_a_bit_and_what_has_no_rows_is_refused() {
        let x = rows(DType::F32, 5 * ROWS + 3, 24);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| both(&x))
        };
        assert_eq!(on(1), on(3));
        for wrong in [f32::NAN, f32::INFINITY] {
            let x = Tensor::new(&[[wrong, 1.0], [1.0, 2.0]], &Device::Cpu).unwrap();
            assert!(cosine_sum(&x).unwrap().to_scalar::<f32>().unwrap().is_nan(), "{wrong}");
        }
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(cosine_sum(&zeros(&[3])).is_err() && cosine_sum(&zeros(&[3, 0])).is_err());
        assert_eq!(cosine_sum(&zeros(&[3, 2])).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }
}
