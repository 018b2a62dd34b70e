use super::*;
use candle_core::{DType, Device, Var};

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

/// Input, starting states and weights as variables of one type, and the layers made of these.
fn variables(dtype: DType) -> (Vec<Var>, Vec<LstmLayer>, Vec<(Tensor, Tensor)>) {
    let var = |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap();
    let noise = |seed, shape: &[usize]| {
        let values = crate::gemm::tests::noise(seed, shape.iter().product());
        var(&Tensor::from_vec(values, shape, CPU).unwrap())
    };
    let mut all = vec![noise(9, &[5, 7, 3])];
    let (mut layers, mut states) = (Vec::new(), Vec::new());
    for (index, (hidden, projection)) in [(17, Some(5)), (6, None)].into_iter().enumerate() {
        let layer = layer(CPU, DType::F32, if index == 0 { 3 } else { 5 }, hidden, projection);
        let (h, c) = (noise(20, &[5, projection.unwrap_or(hidden)]), noise(21, &[5, hidden]));
        let [w_ih, w_hh, bias] = [&layer.w_ih, &layer.w_hh, &layer.bias].map(var);
        let w_hr = layer.w_hr.as_ref().map(var);
        let tensor = |var: &Var| var.as_tensor().clone();
        layers.push(LstmLayer {
            w_ih: tensor(&w_ih),
            w_hh: tensor(&w_hh),
            bias: tensor(&bias),
            w_hr: w_hr.as_ref().map(tensor),
        });
        states.push((tensor(&h), tensor(&c)));
        all.extend([w_ih, w_hh, bias].into_iter().chain(w_hr).chain([h, c]));
    }
    (all, layers, states)
}

/// Of these variables the input and the weights.
fn weights(all: &[Var], layers: &[LstmLayer]) -> Vec<Var> {
    let own = layers.iter().flat_map(|l| [Some(&l.w_ih), Some(&l.w_hh), Some(&l.bias), l.w_hr.as_ref()]).flatten();
    let own: Vec<_> = own.map(Tensor::id).collect();
    all.iter().enumerate().filter(|(i, v)| *i == 0 || own.contains(&v.id())).map(|(_, v)| v.clone()).collect()
}

/// A loss that sees every output with another factor.
fn loss(outputs: &[&Tensor]) -> Tensor {
    let mut sum = Tensor::zeros((), outputs[0].dtype(), CPU).unwrap();
    for (seed, output) in (70..).zip(outputs) {
        let factors =
            Tensor::from_vec(crate::gemm::tests::noise(seed, output.elem_count()), output.dims(), CPU).unwrap();
        let factors = factors.to_dtype(output.dtype()).unwrap();
        sum = (sum + (*output * factors).unwrap().sum_all().unwrap()).unwrap();
    }
    sum
}

/// The gradients of all variables; `None` for those that have none.
fn gradients(loss: &Tensor, variables: &[Var]) -> Vec<Option<Vec<f64>>> {
    let grads = loss.backward().unwrap();
    let wide = |gradient: &Tensor| gradient.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    variables.iter().map(|variable| grads.get(variable).map(wide)).collect()
}

fn assert_close(got: &[Option<Vec<f64>>], expected: &[Option<Vec<f64>>]) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let (Some(got), Some(expected)) = (got, expected) else {
            panic!("variable {index}: {:?}, expected {:?}", got.is_some(), expected.is_some())
        };
        assert_eq!(got.len(), expected.len());
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        assert!(largest > 0.0, "variable {index} has no gradient to compare");
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() <= 3e-6 * (1.0 + largest), "variable {index}: {g} is not {e}");
        }
    }
}

#[test]
fn gradients_through_the_trained_lstm_are_those_of_the_composed_one_in_f64() {
    for with_start in [true, false] {
        let both = [DType::F32, DType::F64].map(|dtype| {
            let (all, layers, states) = variables(dtype);
            let out = lstm(&all[0], &layers, with_start.then_some(&states[..])).unwrap();
            let outputs: Vec<&Tensor> =
                std::iter::once(&out.sequence).chain(out.states.iter().flat_map(|(h, c)| [h, c])).collect();
            let all = if with_start { all } else { weights(&all, &layers) };
            gradients(&loss(&outputs), &all)
        });
        assert_close(&both[0], &both[1]);
    }
}

#[test]
fn gradients_through_the_last_frame_are_those_of_the_composed_lstm_in_f64_and_memory_is_used_again() {
    let memory = LstmMemory::default();
    let (all, layers, _) = variables(DType::F32);
    let (wide, wide_layers, _) = variables(DType::F64);
    let expected = lstm_last(&wide[0], &wide_layers, &memory).unwrap();
    let expected = gradients(&loss(&[&expected]), &weights(&wide, &wide_layers));
    let mut first: Option<Vec<_>> = None;
    for _ in 0..2 {
        let last = lstm_last(&all[0], &layers, &memory).unwrap();
        assert_eq!(last.dims(), [5, 6]);
        let loss = loss(&[&last]);
        let got = gradients(&loss, &weights(&all, &layers));
        assert_close(&got, &expected);
        // Back once more through the same graph: what the first time spent is computed again.
        assert_eq!(gradients(&loss, &weights(&all, &layers)), got);
        assert_eq!(first.get_or_insert(got.clone()), &got);
    }
    assert_eq!(memory.held(), 1);
}

#[test]
fn an_input_that_is_no_variable_gets_no_gradient_and_frozen_weights_let_it_through() {
    let (all, layers, _) = variables(DType::F32);
    let memory = LstmMemory::default();
    let input = all[0].as_tensor().detach();
    let grads = lstm_last(&input, &layers, &memory).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&input).is_none() && grads.get(&layers[0].w_ih).is_some());
    let frozen: Vec<LstmLayer> = layers
        .iter()
        .map(|l| LstmLayer {
            w_ih: l.w_ih.detach(),
            w_hh: l.w_hh.detach(),
            bias: l.bias.detach(),
            w_hr: l.w_hr.as_ref().map(Tensor::detach),
        })
        .collect();
    let grads = lstm_last(&all[0], &frozen, &memory).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&all[0]).is_some());
    // With nothing to train it is the forward pass of inference.
    let last = lstm_last(&input, &frozen, &memory).unwrap().to_vec2::<f32>().unwrap();
    let frames = lstm(&input, &frozen, None).unwrap().sequence;
    assert_eq!(last, frames.narrow(1, 6, 1).unwrap().squeeze(1).unwrap().to_vec2::<f32>().unwrap());
}

#[test]
fn trained_layers_and_states_that_do_not_fit_are_refused() {
    let (all, layers, states) = variables(DType::F32);
    let memory = LstmMemory::default();
    assert!(lstm_last(&all[0], &[], &memory).is_err());
    assert!(lstm_last(&all[0], &layers[1..], &memory).is_err());
    assert!(lstm(&all[0], &layers, Some(&[states[1].clone(), states[0].clone()])).is_err());
    let torn = LstmLayer { bias: layers[1].bias.clone(), ..layers[0].clone() };
    let error = lstm_last(&all[0], &[torn], &memory).unwrap_err().to_string();
    assert!(error.contains("[68, 3]") && error.contains("[24]"), "{error}");
}
