//! Products of rows with rows of a table that were chosen for each.

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor, bail};

use super::rows::{Number, add, held, lent, product};

/// The products of row `b` of `x` with the rows of `table` that `places` has at `b`: `y[b, k] = x[b] . table[places[b K + k]]`.
///
/// `x`: (B, D), `table`: (S, D), `places`: B K rows of the table, row after row; returns (B, K). Takes B K D multiplications,
/// and as many for either gradient, however long the table is; no row is copied. A row may be chosen more than once.
///
/// # Errors
/// If D or the data types differ, `places` are not a multiple of B, or one of them is not in the table.
pub fn chosen_products(x: &Tensor, table: &Tensor, places: &[u32]) -> Result<Tensor> {
    let ((rows, width), (entries, wide)) = (x.dims2()?, table.dims2()?);
    if width != wide || rows == 0 || !places.len().is_multiple_of(rows) {
        bail!("{} places in a table of {:?} for rows of {:?}", places.len(), table.dims(), x.dims())
    }
    if let Some(place) = places.iter().find(|&&place| place as usize >= entries) {
        bail!("row {place} of a table of {entries} rows")
    }
    let count = places.len() / rows;
    if width > 0 && held(&[x, table]) {
        let wants = [x.track_op(), table.track_op()];
        let pass = Chosen { places: places.to_vec(), count, width, wants };
        return x.contiguous()?.apply_op2(&table.contiguous()?, pass);
    }
    let places = Tensor::from_slice(places, places.len(), x.device())?;
    let chosen = table.index_select(&places, 0)?.reshape((rows, count, width))?;
    chosen.broadcast_mul(&x.unsqueeze(1)?)?.sum(D::Minus1)
}

/// What both passes need to know.
struct Chosen {
    places: Vec<u32>,
    /// K
    count: usize,
    /// D, above 0.
    width: usize,
    /// Whether a gradient of `x` is wanted, and of `table`.
    wants: [bool; 2],
}

impl Chosen {
    fn forward<T: Number>(&self, x: &[T], table: &[T]) -> Vec<T> {
        let of = |(x, places): (&[T], &[u32])| -> Vec<T> {
            places.iter().map(|&place| product(x, self.entry(table, place))).collect()
        };
        x.chunks_exact(self.width).zip(self.places.chunks(self.count.max(1))).flat_map(of).collect()
    }

    /// The gradients of `x` and of `table`; of what is not wanted nothing.
    fn backward<T: Number>(&self, x: &[T], table: &[T], slopes: &[T]) -> [Vec<T>; 2] {
        let [to_x, to_table] = self.wants;
        let zeros = |length: usize, wanted: bool| vec![T::zero(); if wanted { length } else { 0 }];
        let (mut of_x, mut of_table) = (zeros(x.len(), to_x), zeros(table.len(), to_table));
        let chosen = self.places.chunks(self.count.max(1)).zip(slopes.chunks(self.count.max(1)));
        for (row, (x, (places, slopes))) in x.chunks_exact(self.width).zip(chosen).enumerate() {
            for (&place, &slope) in places.iter().zip(slopes) {
                if to_x {
                    add(&mut of_x[row * self.width..][..self.width], slope, self.entry(table, place));
                }
                if to_table {
                    add(&mut of_table[place as usize * self.width..][..self.width], slope, x);
                }
            }
        }
        [of_x, of_table]
    }

    fn entry<'a, T>(&self, table: &'a [T], place: u32) -> &'a [T] {
        &table[place as usize * self.width..][..self.width]
    }

    fn slopes<T: Number>(&self, x: &Tensor, table: &Tensor, slopes: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let [of_x, of_table] =
            lent(x, |x| lent(table, |table| lent(slopes, |slopes| Ok(self.backward::<T>(x, table, slopes)))))?;
        let tensor = |of: Vec<T>, like: &Tensor, wanted: bool| {
            wanted.then(|| Tensor::from_vec(of, like.shape(), like.device())).transpose()
        };
        Ok([tensor(of_x, x, self.wants[0])?, tensor(of_table, table, self.wants[1])?])
    }
}

impl CustomOp2 for Chosen {
    fn name(&self) -> &'static str {
        "sv-chosen"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, table: &CpuStorage, at: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = Shape::from((x_at.dims()[0], self.count));
        let y = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.forward(f64::values(x, x_at)?, f64::values(table, at)?)),
            _ => CpuStorage::F32(self.forward(f32::values(x, x_at)?, f32::values(table, at)?)),
        };
        Ok((y, shape))
    }

    fn bwd(&self, x: &Tensor, table: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_table] = match x.dtype() {
            DType::F64 => self.slopes::<f64>(x, table, slopes)?,
            _ => self.slopes::<f32>(x, table, slopes)?,
        };
        Ok((of_x, of_table))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::composed_only;
    use super::super::network_tests::assert_slopes;
    use super::*;
    use crate::gemm::tests::noise;

    fn variables(dtype: DType, width: usize) -> [Var; 2] {
        [(3, 1), (7, 2)].map(|(rows, seed)| {
            let values = Tensor::from_vec(noise(seed, rows * width), (rows, width), &Device::Cpu).unwrap();
            Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
        })
    }

    /// Products and both gradients, under factors of their own.
    fn all(variables: &[Var; 2], places: &[u32]) -> Vec<Vec<f64>> {
        let [x, table] = variables;
        let y = chosen_products(x, table, places).unwrap();
        assert_eq!(y.dims(), [3, places.len() / 3]);
        let factors = Tensor::from_vec(noise(3, places.len()), y.dims(), &Device::Cpu).unwrap();
        let loss = (&y * factors.to_dtype(y.dtype()).unwrap()).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        vec![wide(&y), wide(grads.get(x).unwrap()), wide(grads.get(table).unwrap())]
    }

    #[test]
    fn products_and_gradients_are_those_of_the_stock_operations() {
        // Rows chosen by several, by one row twice, and by none; widths about the number of sums.
        let places = [0, 6, 6, 1, 0, 3, 2, 3, 0, 0, 0, 0];
        for width in [1, 15, 16, 17, 40] {
            let wide = variables(DType::F64, width);
            let expected = composed_only(|| all(&wide, &places));
            for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
                let got = all(&variables(dtype, width), &places);
                for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                    assert!((got - expected).abs() <= bound * (1.0 + expected.abs()), "{width}: {got}, {expected}");
                }
            }
        }
    }

    #[test]
    fn products_have_the_slopes_of_their_differences() {
        for width in [1, 3, 17] {
            for places in [&[0, 6, 6, 1, 0, 3, 2, 3, 0][..], &[4, 4, 5]] {
                let inputs = variables(DType::F64, width);
                assert_slopes(&format!("{width} {places:?}"), &inputs[..], |x| chosen_products(&x[0], &x[1], places));
            }
        }
    }

    #[test]
    fn views_are_taken_and_a_table_that_is_no_variable_gets_no_gradient() {
        let [x, table] = variables(DType::F32, 4);
        let turned = table.t().unwrap().contiguous().unwrap().t().unwrap();
        let got = chosen_products(&x, &turned, &[5, 4, 3]).unwrap();
        assert_eq!(
            got.to_vec2::<f32>().unwrap(),
            chosen_products(&x, &table, &[5, 4, 3]).unwrap().to_vec2::<f32>().unwrap()
        );
        assert_eq!(chosen_products(&x, &table, &[]).unwrap().dims(), [3, 0]);
        let still = table.as_tensor().detach();
        let grads = chosen_products(&x, &still, &[0, 1, 2]).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&x).is_some() && grads.get(&still).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let [x, table] = variables(DType::F32, 4);
        for places in [&[0, 1][..], &[0, 1, 7]] {
            assert!(chosen_products(&x, &table, places).is_err(), "{places:?}");
        }
        assert!(chosen_products(&x, &table.narrow(1, 0, 3).unwrap(), &[0, 1, 2]).is_err());
        assert!(chosen_products(&x, &table.to_dtype(DType::F64).unwrap(), &[0, 1, 2]).is_err());
        assert!(chosen_products(&x.narrow(0, 0, 0).unwrap(), &table, &[]).is_err());
    }
}
