use super::*;
use candle_core::{Device, Var};

const CPU: &Device = &Device::Cpu;

/// (2, 2, 3), the values 0 to 11, transposed in its last two axes: not contiguous.
fn transposed() -> Tensor {
    Tensor::arange(0_f32, 12.0, CPU).unwrap().reshape((2, 2, 3)).unwrap().transpose(1, 2).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "shows what the stock product does")]
fn stock_matmul_is_wrong_for_a_transposed_lhs_and_a_broadcast_rhs_and_ours_is_right() {
    // Rows of the transposed lhs: (0 3) (1 4) (2 5); (6 9) (7 10) (8 11). Times the column (1, 10).
    let rhs = Tensor::new(&[[1_f32], [10.0]], CPU).unwrap();
    let right = [30.0_f32, 41.0, 52.0, 96.0, 107.0, 118.0];
    let ours = matmul(&transposed(), &rhs).unwrap();
    assert_eq!(ours.dims(), [2, 3, 1]);
    assert_eq!(ours.flatten_all().unwrap().to_vec1::<f32>().unwrap(), right);
    let stock = transposed().matmul(&rhs.broadcast_as((2, 2, 1)).unwrap()).unwrap();
    let stock = stock.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_ne!(stock, right, "candle has mended its product: ops::matmul may go");
}

#[test]
fn leading_axes_are_broadcast_from_both_sides() {
    let lhs = Tensor::arange(0_f32, 12.0, CPU).unwrap().reshape((2, 1, 2, 3)).unwrap();
    let rhs = Tensor::arange(0_f32, 18.0, CPU).unwrap().reshape((3, 3, 2)).unwrap();
    let got = matmul(&lhs, &rhs).unwrap();
    assert_eq!(got.dims(), [2, 3, 2, 2]);
    // lhs[1, 0] = (6 7 8; 9 10 11), rhs[2] = (12 13; 14 15; 16 17): 6*12 + 7*14 + 8*16 = 298, and so on.
    let last = got.get(1).unwrap().get(2).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(last, [[298.0, 319.0], [424.0, 454.0]]);
    assert!(matmul(&lhs, &Tensor::zeros((4, 1), DType::F32, CPU).unwrap()).is_err());
    assert!(matmul(&lhs, &Tensor::zeros((5, 2, 3, 1), DType::F32, CPU).unwrap()).is_err());
    assert!(matmul(&lhs, &Tensor::zeros(3, DType::F32, CPU).unwrap()).is_err());
}

#[test]
fn relu_has_no_slope_at_zero_and_keeps_what_is_no_number() {
    let x = Var::from_slice(&[-1_f32, 0.0, 2.0, f32::NEG_INFINITY], 4, CPU).unwrap();
    let y = relu(&x).unwrap();
    assert_eq!(y.to_vec1::<f32>().unwrap(), [0.0, 0.0, 2.0, 0.0]);
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 1.0, 0.0]);
    let nan = relu(&Tensor::new(&[f32::NAN], CPU).unwrap()).unwrap();
    assert!(nan.to_vec1::<f32>().unwrap()[0].is_nan());
}

#[test]
fn activations_take_strided_tensors_and_refuse_whole_numbers() {
    let x = transposed();
    let got = tanh(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected: Vec<f32> = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(|v| (v as f32).tanh()).to_vec();
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= 4e-7), "{got:?}");
    assert!(sigmoid(&Tensor::zeros(3, DType::U32, CPU).unwrap()).is_err());
}

fn layer(device: &Device, dtype: DType, input: usize, hidden: usize, projection: Option<usize>) -> LstmLayer {
    let tensor = |rows: usize, columns: usize, salt: u64| {
        let values = crate::gemm::tests::noise(salt, rows * columns);
        Tensor::from_vec(values, (rows, columns), device).unwrap().affine(0.5, 0.0).unwrap().to_dtype(dtype).unwrap()
    };
    let s = projection.unwrap_or(hidden);
    LstmLayer {
        w_ih: tensor(4 * hidden, input, 1),
        w_hh: tensor(4 * hidden, s, 2),
        bias: tensor(1, 4 * hidden, 3).squeeze(0).unwrap(),
        w_hr: projection.map(|p| tensor(p, hidden, 4)),
    }
}

#[test]
fn the_packed_and_the_composed_lstm_agree() {
    let layers = [layer(CPU, DType::F32, 3, 17, Some(5)), layer(CPU, DType::F32, 5, 6, None)];
    let wide: Vec<LstmLayer> = [layer(CPU, DType::F64, 3, 17, Some(5)), layer(CPU, DType::F64, 5, 6, None)].to_vec();
    let input = Tensor::from_vec(crate::gemm::tests::noise(9, 4 * 7 * 3), (4, 7, 3), CPU).unwrap();
    let wide_input = input.to_dtype(DType::F64).unwrap();
    let first = lstm(&input, &layers, None).unwrap();
    let wide_first = lstm(&wide_input, &wide, None).unwrap();
    let second = lstm(&input, &layers, Some(&first.states)).unwrap();
    let wide_second = lstm(&wide_input, &wide, Some(&wide_first.states)).unwrap();
    let mut pairs = vec![(first.sequence, wide_first.sequence), (second.sequence, wide_second.sequence)];
    for ((h, c), (wide_h, wide_c)) in second.states.into_iter().zip(wide_second.states) {
        pairs.extend([(h, wide_h), (c, wide_c)]);
    }
    for (narrow, wide) in pairs {
        assert_eq!(narrow.dims(), wide.dims());
        let difference = (narrow.to_dtype(DType::F64).unwrap() - wide).unwrap().abs().unwrap();
        let worst = difference.flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap();
        assert!(worst <= 2e-6, "{worst}");
    }
}

#[test]
fn a_weight_that_wants_a_gradient_gets_the_one_of_finite_differences() {
    let mut layers = [layer(CPU, DType::F64, 2, 3, Some(2))];
    let input = Tensor::arange(0_f64, 12.0, CPU).unwrap().affine(0.1, -0.5).unwrap().reshape((2, 3, 2)).unwrap();
    let w_hh = Var::from_tensor(&layers[0].w_hh).unwrap();
    layers[0].w_hh = w_hh.as_tensor().clone();
    let loss = |layers: &[LstmLayer]| lstm(&input, layers, None).unwrap().sequence.sqr().unwrap().sum_all().unwrap();
    let grads = loss(&layers).backward().unwrap();
    let got = grads.get(&w_hh).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let start = w_hh.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (i, &got) in got.iter().enumerate() {
        let at = |step: f64| {
            let mut values = start.clone();
            values[i] += step;
            let mut moved = layers.clone();
            moved[0].w_hh = Tensor::from_vec(values, w_hh.dims(), CPU).unwrap();
            loss(&moved).to_scalar::<f64>().unwrap()
        };
        let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((got - expected).abs() <= 1e-8, "{i}: {got} {expected}");
    }
}

#[test]
fn layers_and_states_that_do_not_fit_are_refused() {
    let layers = [layer(CPU, DType::F32, 3, 4, None)];
    let input = Tensor::zeros((2, 5, 3), DType::F32, CPU).unwrap();
    assert!(lstm(&input, &[], None).is_err());
    assert!(lstm(&Tensor::zeros((2, 0, 3), DType::F32, CPU).unwrap(), &layers, None).is_err());
    assert!(lstm(&Tensor::zeros((2, 5, 2), DType::F32, CPU).unwrap(), &layers, None).is_err());
    assert!(lstm(&input, &layers, Some(&[])).is_err());
}
