//! A linear layer.

use candle_core::{Result, Tensor, bail};

use super::{matmul, path, trained};

/// `x weight^T + bias`: `x` (.., I), `weight` (O, I), `bias` (O); returns (.., O).
///
/// In f32 on the CPU the weights are packed by the kernels, which make 0 of what is below [`crate::math::FLUSHED`].
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let fits = x.dims().last() == Some(&inputs) && bias.is_none_or(|bias| bias.dims() == [outputs]);
    if !fits {
        bail!("a linear layer of {:?} and {:?} on {:?}", weight.dims(), bias.map(Tensor::dims), x.dims())
    }
    let [rest @ .., _] = x.dims() else { bail!("a linear layer on a number") };
    let count = rest.iter().product::<usize>();
    let rows = x.reshape((count, inputs))?;
    let on_kernels = path::on_kernels(&[&rows, weight]) && bias.is_none_or(|bias| path::on_kernels(&[bias]));
    let y = if on_kernels && rows.elem_count() > 0 && outputs > 0 {
        trained::linear(&rows, weight, bias)?
    } else {
        let y = match inputs {
            0 => Tensor::zeros((count, outputs), x.dtype(), x.device())?,
            _ => matmul(&rows, &weight.t()?)?,
        };
        match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        }
    };
    y.reshape([rest, &[outputs]].concat())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::composed_only;
    use super::super::network_tests::assert_slopes;
    use super::*;
    use crate::gemm::tests::noise;

    fn variables(dtype: DType, rows: &[usize], inputs: usize, outputs: usize) -> [Var; 3] {
        let shapes = [[rows, &[inputs]].concat(), vec![outputs, inputs], vec![outputs]];
        let mut seed = 0;
        shapes.map(|shape| {
            seed += 1;
            let values = Tensor::from_vec(noise(seed, shape.iter().product()), shape, &Device::Cpu).unwrap();
            Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
        })
    }

    /// The outputs, and all gradients under factors of their own.
    fn all([x, weight, bias]: &[Var; 3], with_bias: bool) -> Vec<Vec<f64>> {
        let y = linear(x, weight, with_bias.then(|| bias.as_tensor())).unwrap();
        let factors = Tensor::from_vec(noise(9, y.elem_count()), y.dims(), &Device::Cpu).unwrap();
        let grads = (&y * factors.to_dtype(y.dtype()).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let of = [x, weight, bias].into_iter().filter_map(|var| grads.get(var).map(wide));
        std::iter::once(wide(&y)).chain(of).collect()
    }

    #[test]
    fn outputs_and_gradients_are_those_of_the_stock_operations() {
        // Fewer and more than a vector's lanes, a panel's columns, and a block's rows.
        for (rows, inputs, outputs) in
            [(&[1][..], 1, 1), (&[3], 17, 5), (&[2, 7], 4, 33), (&[70], 40, 100), (&[], 6, 3)]
        {
            for with_bias in [false, true] {
                let expected = composed_only(|| all(&variables(DType::F64, rows, inputs, outputs), with_bias));
                let got = all(&variables(DType::F32, rows, inputs, outputs), with_bias);
                assert_eq!(got.len(), if with_bias { 4 } else { 3 });
                for (got, expected) in got.iter().zip(&expected) {
                    assert_eq!(got.len(), expected.len());
                    let most = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
                    for (got, expected) in got.iter().zip(expected) {
                        assert!((got - expected).abs() <= 3e-6 * most, "{rows:?} {inputs} {outputs}: {got} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_layer_has_the_slopes_of_its_differences() {
        let inputs = variables(DType::F64, &[3], 5, 4);
        assert_slopes("with a bias", &inputs, |x| linear(&x[0], &x[1], Some(&x[2])));
        assert_slopes("without", &inputs[..2], |x| linear(&x[0], &x[1], None));
    }

    #[test]
    fn threads_do_not_move_a_bit() {
        let variables = variables(DType::F32, &[70], 40, 100);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| all(&variables, true))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn views_are_taken_what_is_no_variable_gets_no_gradient_and_what_does_not_fit_is_refused() {
        let [x, weight, bias] = variables(DType::F32, &[4], 6, 3);
        let turned = |tensor: &Var| tensor.t().unwrap().contiguous().unwrap().t().unwrap();
        let (plain, of_views) = (
            linear(&x, &weight, Some(&bias)).unwrap().to_vec2::<f32>().unwrap(),
            linear(&turned(&x), &turned(&weight), Some(&bias)).unwrap().to_vec2::<f32>().unwrap(),
        );
        assert_eq!(plain, of_views);
        let still = weight.as_tensor().detach();
        let grads = linear(&x, &still, None).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&x).is_some() && grads.get(&still).is_none());
        assert!(linear(&x, &bias, None).is_err() && linear(&x, &weight, Some(&x)).is_err());
        assert!(linear(&weight.t().unwrap(), &weight, None).is_err());
        let still = bias.as_tensor().detach();
        let grads = linear(&x, &weight, Some(&still)).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&weight).is_some() && grads.get(&still).is_none());
        let none = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(linear(&none((0, 6)), &weight, Some(&bias)).unwrap().dims(), [0, 3]);
        let of_nothing = linear(&none((2, 0)), &none((3, 0)), Some(&bias)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(of_nothing, [bias.to_vec1::<f32>().unwrap(), bias.to_vec1::<f32>().unwrap()]);
    }
}
