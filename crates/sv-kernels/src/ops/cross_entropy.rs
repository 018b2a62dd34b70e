//! Cross entropy of one class against all, each row of logits gone through while it is in the cache.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{Number, held, lent, sum};

/// `ln sum_j exp(z[b, j] - z[b, classes[b]])` of each row of `logits` z (B, S): (B).
///
/// The own logit goes first, so that the small difference of two large numbers is never taken; then the largest, before
/// anything can overflow. On the CPU a loss near 0 is exact too, not what rounding leaves of 1 beside it. Not-a-number in a row
/// is its loss.
///
/// # Errors
/// If `logits` has not two axes, `classes` are not B, or one of them is not below S.
pub fn cross_entropy(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    let (rows, count) = logits.dims2()?;
    if classes.len() != rows {
        bail!("{} classes for logits of {:?}", classes.len(), logits.dims())
    }
    if let Some(class) = classes.iter().find(|&&class| class as usize >= count) {
        bail!("class {class} of {count}")
    }
    if rows == 0 {
        return logits.sum(1);
    }
    if held(&[logits]) {
        let pass = CrossEntropy { classes: classes.to_vec(), count, slopes: OnceLock::new() };
        return logits.contiguous()?.apply_op1(pass);
    }
    let columns = Tensor::arange(0, count as u32, logits.device())?.reshape((1, count))?;
    let own = columns.broadcast_eq(&Tensor::from_slice(classes, (rows, 1), logits.device())?)?;
    let own = own.where_cond(logits, &logits.zeros_like()?)?.sum_keepdim(1)?;
    let ahead = logits.broadcast_sub(&own)?;
    let shift = ahead.detach().max_keepdim(1)?;
    let total = ahead.broadcast_sub(&shift)?.exp()?.sum(1)?;
    total.log()? + shift.squeeze(1)?
}

struct CrossEntropy {
    classes: Vec<u32>,
    /// S, above 0.
    count: usize,
    /// The gradient of each row's term, kept for the backward pass: the forward pass has it at hand.
    slopes: OnceLock<CpuStorage>,
}

/// Turns a row of logits into the gradient of its term, which is returned.
fn term<T: Number>(row: &mut [T], class: usize) -> T {
    let own = row[class];
    let most = row.iter().fold(own, |most, &value| if value > most { value } else { most });
    let shift = most - own;
    row.iter_mut().for_each(|value| *value = (*value - own) - shift);
    T::exp(row);
    let own = row[class].to_f64();
    row[class] = T::zero();
    let others = sum(row);
    let (total, shift) = (others + own, shift.to_f64());
    let part = T::from_f64(1.0 / total);
    row.iter_mut().for_each(|value| *value *= part);
    // What the own class lacks of 1 is what the others have.
    row[class] = T::from_f64(-others / total);
    T::from_f64(if shift == 0.0 { others.ln_1p() } else { total.ln() + shift })
}

impl CrossEntropy {
    fn forward<T: Number>(&self, logits: &[T]) -> (Vec<T>, Vec<T>) {
        let mut slopes = logits.to_vec();
        let rows = slopes.par_chunks_exact_mut(self.count).zip(&self.classes);
        let terms = rows.map(|(row, &class)| term(row, class as usize)).collect();
        (terms, slopes)
    }

    fn backward<T: Number>(&self, logits: &Tensor, kept: &[T], slope: &Tensor) -> Result<Tensor> {
        let mut all = vec![T::zero(); kept.len()];
        lent(slope, |slope: &[T]| {
            let rows = all.par_chunks_exact_mut(self.count).zip(kept.par_chunks_exact(self.count)).zip(slope);
            rows.for_each(|((to, kept), &slope)| to.iter_mut().zip(kept).for_each(|(to, &kept)| *to = kept * slope));
            Ok(())
        })?;
        Tensor::from_vec(all, logits.shape(), logits.device())
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "sv-cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let (terms, slopes) = match logits {
            CpuStorage::F64(_) => {
                let (terms, slopes) = self.forward(f64::values(logits, at)?);
                (CpuStorage::F64(terms), CpuStorage::F64(slopes))
            }
            _ => {
                let (terms, slopes) = self.forward(f32::values(logits, at)?);
                (CpuStorage::F32(terms), CpuStorage::F32(slopes))
            }
        };
        // Another call on the same operation would have come to the same.
        self.slopes.get_or_init(|| slopes);
        Ok((terms, Shape::from(self.classes.len())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, slope: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(match self.slopes.get() {
            Some(CpuStorage::F64(kept)) => self.backward(logits, kept, slope)?,
            Some(CpuStorage::F32(kept)) => self.backward(logits, kept, slope)?,
            _ => bail!("a gradient before there was a value"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::composed_only;
    use super::super::network_tests::assert_slopes;
    use super::*;
    use crate::gemm::tests::noise;

    const CLASSES: [u32; 4] = [0, 2, 2, 1];

    fn logits(dtype: DType, count: usize, factor: f64) -> Var {
        let values = Tensor::from_vec(noise(1, 4 * count), (4, count), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        Var::from_tensor(&values.affine(factor, 0.0).unwrap()).unwrap()
    }

    /// The terms, and the gradient under factors of their own.
    fn both(x: &Var) -> [Vec<f64>; 2] {
        let terms = cross_entropy(x, &CLASSES).unwrap();
        let factors = Tensor::new(&[0.5_f64, -1.0, 2.0, 0.3], &Device::Cpu).unwrap().to_dtype(x.dtype()).unwrap();
        let grads = (&terms * factors).unwrap().sum_all().unwrap().backward().unwrap();
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        [wide(&terms), wide(grads.get(x).unwrap())]
    }

    #[test]
    fn terms_and_gradients_are_those_of_the_stock_operations() {
        for count in [3, 16, 17, 1_300] {
            for factor in [0.0, 1.0, 32.0, 8_192.0] {
                let expected = composed_only(|| both(&logits(DType::F64, count, factor)));
                for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
                    let got = both(&logits(dtype, count, factor));
                    for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                        let off = (got - expected).abs();
                        // What rounding a difference of logits moves, the exponential moves by as much of itself.
                        let most = bound * (1.0 + expected.abs() + factor);
                        assert!(off <= most, "{count} {factor}: {got}, {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn terms_have_the_slopes_of_their_differences() {
        for count in [3, 19] {
            assert_slopes(&format!("{count}"), &[logits(DType::F64, count, 2.0)], |x| cross_entropy(&x[0], &CLASSES));
        }
    }

    #[test]
    fn a_class_far_ahead_keeps_its_small_loss_and_what_is_no_number_is_no_loss() {
        let of = |values: &[f32]| {
            let logits = Var::from_slice(values, (1, values.len()), &Device::Cpu).unwrap();
            let term = cross_entropy(&logits, &[0]).unwrap();
            let grads = term.backward().unwrap();
            let slopes = grads.get(&logits).unwrap().to_vec2::<f32>().unwrap().swap_remove(0);
            (term.to_vec1::<f32>().unwrap()[0], slopes)
        };
        // e^-20, far below the 6e-8 that f32 has beside 1.
        let (term, slopes) = of(&[20.0, 0.0, -90.0]);
        assert!((term / 2.061_153_6e-9 - 1.0).abs() < 1e-5 && (slopes[0] / -term - 1.0).abs() < 1e-5, "{term}");
        let (term, slopes) = of(&[-3e38, 3e38, 0.0]);
        assert!(term.is_infinite() || term.is_nan(), "{term} {slopes:?}");
        assert!(of(&[0.0, f32::NAN, 1.0]).0.is_nan() && of(&[f32::NAN, 0.0, 1.0]).0.is_nan());
        assert_eq!(of(&[5.0]), (0.0, vec![0.0]));
    }

    #[test]
    fn threads_do_not_move_a_bit_and_what_does_not_fit_is_refused() {
        let x = logits(DType::F32, 1_300, 4.0);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| both(&x))
        };
        assert_eq!(on(1), on(3));
        for classes in [&[0, 1, 2][..], &[0, 1, 2, 1_300]] {
            assert!(cross_entropy(&x, classes).is_err());
        }
        assert!(cross_entropy(&x.flatten_all().unwrap(), &[0]).is_err());
        let none = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(cross_entropy(&none, &[]).unwrap().dims(), [0]);
    }
}
