//! Gradients of the operations of networks against finite differences in f64, and their values against definitions written
//! out frame by frame.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;
use crate::gemm::tests::noise;

const CPU: &Device = &Device::Cpu;

pub(super) fn variable(salt: u64, shape: &[usize]) -> Var {
    let values: Vec<f64> = noise(salt, shape.iter().product()).into_iter().map(f64::from).collect();
    Var::from_vec(values, shape, CPU).unwrap()
}

pub(super) fn running(channels: usize) -> RunningStatistics {
    let full = |value: f64| Var::from_tensor(&Tensor::full(value, channels, CPU).unwrap()).unwrap();
    RunningStatistics { mean: full(0.0), variance: full(1.0) }
}

pub(super) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

/// Compares the gradient of `sum(coefficients * f(inputs))` in every input value with central differences.
pub(super) fn assert_slopes(what: &str, inputs: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors = || inputs.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    let out = f(&tensors()).unwrap();
    let coefficients = variable(99, out.dims()).as_tensor().detach();
    let value = || numbers(&(f(&tensors()).unwrap() * &coefficients).unwrap()).iter().sum::<f64>();
    let gradients = (out * &coefficients).unwrap().sum_all().unwrap().backward().unwrap();
    for (index, var) in inputs.iter().enumerate() {
        let gradient = numbers(gradients.get(var).unwrap_or_else(|| panic!("{what}: no gradient of input {index}")));
        let kept = numbers(var.as_tensor());
        let step = 1e-6;
        for place in 0..kept.len() {
            let shifted = |by: f64| {
                let mut values = kept.clone();
                values[place] += by;
                var.set(&Tensor::from_vec(values, var.shape(), CPU).unwrap()).unwrap();
                value()
            };
            let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
            let got = gradient[place];
            assert!((got - slope).abs() <= 1e-6 * (1.0 + slope.abs()), "{what}: input {index}, {place}: {got} {slope}");
        }
        var.set(&Tensor::from_vec(kept, var.shape(), CPU).unwrap()).unwrap();
    }
}

const FORMS: [Conv1d; 4] = [
    Conv1d { dilation: 1, padding: Padding::Reflect },
    Conv1d { dilation: 2, padding: Padding::Reflect },
    Conv1d { dilation: 1, padding: Padding::Zero },
    Conv1d { dilation: 3, padding: Padding::Zero },
];

#[test]
fn a_convolution_is_its_sum_over_taps() {
    for form in FORMS {
        for (k, lengths) in [(1, [7, 7]), (3, [7, 7]), (3, [5, 7]), (5, [7, 6])] {
            let [x, weight, bias] = [variable(1, &[2, 7, 3]), variable(2, &[4, 3, k]), variable(3, &[4])];
            let Conv1d { dilation, padding } = form;
            let half = dilation * (k - 1) / 2;
            let got = conv1d(&x, &weight, Some(&bias), form, Some(&lengths));
            if padding == Padding::Reflect && lengths.iter().any(|&length| length <= half) {
                assert!(got.is_err());
                continue;
            }
            let got = numbers(&got.unwrap());
            let (x, weight, bias) = (numbers(&x), numbers(&weight), numbers(&bias));
            for (row, &length) in lengths.iter().enumerate() {
                for frame in 0..7 {
                    for o in 0..4 {
                        let mut sum = bias[o];
                        for tap in 0..k {
                            let place = frame as i64 + (tap * dilation) as i64 - half as i64;
                            let last = length as i64 - 1;
                            let place = match padding {
                                Padding::Reflect if place < 0 => -place,
                                Padding::Reflect if place > last => 2 * last - place,
                                _ => place,
                            };
                            if (0..=last).contains(&place) {
                                let from = (row * 7 + place as usize) * 3;
                                sum += (0..3).map(|i| x[from + i] * weight[(o * 3 + i) * k + tap]).sum::<f64>();
                            }
                        }
                        let expected = if frame < length { sum } else { 0.0 };
                        let got = got[(row * 7 + frame) * 4 + o];
                        assert!((got - expected).abs() < 1e-12, "{form:?} {k} {lengths:?}: {got} {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_convolution_has_the_slopes_of_its_differences() {
    for form in FORMS {
        for (k, lengths) in [(1, [7, 7]), (3, [7, 7]), (3, [4, 7])] {
            let inputs = [variable(1, &[2, 7, 3]), variable(2, &[2, 3, k]), variable(3, &[2])];
            assert_slopes(&format!("{form:?} {k} {lengths:?}"), &inputs, |x| {
                conv1d(&x[0], &x[1], Some(&x[2]), form, Some(&lengths))
            });
        }
    }
}

#[test]
fn impossible_convolutions_and_lengths_are_refused() {
    let [x, weight] = [variable(1, &[2, 4, 3]), variable(2, &[2, 3, 3])];
    let run = |weight: &Var, form: Conv1d, lengths: Option<&[usize]>| conv1d(&x, weight, None, form, lengths);
    let reflect = |dilation: usize| Conv1d { dilation, padding: Padding::Reflect };
    assert!(run(&weight, reflect(1), None).is_ok());
    let message = run(&weight, reflect(4), None).unwrap_err().to_string();
    assert!(message.contains("4 frames cannot be mirrored over 4; give 5 or more"), "{message}");
    for (weight, form, lengths) in [
        (&weight, reflect(0), None),
        (&variable(2, &[2, 3, 2]), reflect(1), None),
        (&variable(2, &[2, 2, 3]), reflect(1), None),
        (&weight, reflect(1), Some(&[4_usize][..])),
        (&weight, reflect(1), Some(&[4, 5])),
        (&weight, reflect(1), Some(&[4, 0])),
        (&weight, reflect(2), Some(&[4, 2])),
    ] {
        assert!(run(weight, form, lengths).is_err(), "{form:?} {lengths:?}");
    }
}

#[test]
fn batch_normalisation_has_unit_statistics_and_the_slopes_of_its_differences() {
    let inputs = [variable(1, &[2, 3, 4]), variable(2, &[4]), variable(3, &[4])];
    assert_slopes("batch norm", &inputs, |x| batch_norm(&x[0], &x[1], &x[2], &running(4)));
    // Channel 0: 1, 3; mean 2, variance 1, unbiased 2. Channel 1: 0, 10; 5, 25, 50.
    let x = Tensor::new(&[[1.0_f64, 0.0], [3.0, 10.0]], CPU).unwrap();
    let (weight, bias) = (Tensor::new(&[2.0_f64, 1.0], CPU).unwrap(), Tensor::new(&[0.5_f64, 0.0], CPU).unwrap());
    let averages = running(2);
    let y = numbers(&batch_norm(&x, &weight, &bias, &averages).unwrap());
    let near = |got: &[f64], expected: &[f64]| {
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-12), "{got:?} {expected:?}");
    };
    let (one, five) = (1.0 / 1.00001_f64.sqrt(), 5.0 / 25.00001_f64.sqrt());
    near(&y, &[0.5 - 2.0 * one, -five, 0.5 + 2.0 * one, five]);
    near(&numbers(&averages.mean), &[0.2, 0.5]);
    near(&numbers(&averages.variance), &[0.9 + 0.2, 0.9 + 5.0]);
    assert!(batch_norm(&x.narrow(0, 0, 1).unwrap(), &weight, &bias, &averages).is_err());
}

#[test]
fn leaky_relu_has_its_own_slope_below_zero_and_at_it() {
    let x = Var::from_slice(&[-2_f64, 0.0, 3.0], 3, CPU).unwrap();
    let y = leaky_relu(&x, 0.1).unwrap();
    assert_eq!(numbers(&y), [-0.2, 0.0, 3.0]);
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(numbers(gradients.get(&x).unwrap()), [0.1, 0.1, 1.0]);
}

pub(super) fn layer(x: &[Tensor], form: Conv1d, activation: Activation) -> Tdnn {
    let channels = x[2].dims()[0];
    let norm = Norm { weight: x[2].clone(), bias: x[3].clone(), running: running(channels) };
    Tdnn { weight: x[0].clone(), bias: x[1].clone(), form, activation, norm: Some(norm) }
}

pub(super) fn layer_variables(salt: u64, [o, i, k]: [usize; 3]) -> Vec<Var> {
    vec![variable(salt, &[o, i, k]), variable(salt + 1, &[o]), variable(salt + 2, &[o]), variable(salt + 3, &[o])]
}

#[test]
fn a_layer_of_convolution_activation_and_normalisation_has_the_slopes_of_its_differences() {
    for activation in [Activation::Relu, Activation::LeakyRelu(0.2)] {
        for form in FORMS {
            let mut inputs = vec![variable(1, &[2, 8, 3])];
            inputs.extend(layer_variables(10, [2, 3, 3]));
            assert_slopes(&format!("{activation:?} {form:?}"), &inputs, |x| {
                tdnn(&x[0], &layer(&x[1..], form, activation))
            });
        }
    }
}

#[test]
fn res2net_leaves_the_chunk_it_should_and_has_the_slopes_of_its_differences() {
    for (untouched, chunk) in [(Untouched::First, 0), (Untouched::Last, 2)] {
        let mut inputs = vec![variable(1, &[2, 5, 6])];
        inputs.extend((0..2).flat_map(|index| layer_variables(10 + 10 * index, [2, 2, 3])));
        let run = |x: &[Tensor]| {
            let layers = [layer(&x[1..5], FORMS[1], Activation::Relu), layer(&x[5..], FORMS[1], Activation::Relu)];
            res2net_block(&x[0], &layers, untouched)
        };
        assert_slopes(&format!("{untouched:?}"), &inputs, run);
        let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
        let y = run(&tensors).unwrap();
        let part = |x: &Tensor| numbers(&x.narrow(2, 2 * chunk, 2).unwrap().contiguous().unwrap());
        assert_eq!(part(&y), part(&tensors[0]));
        assert!(res2net_block(&tensors[0].narrow(2, 0, 5).unwrap(), &[], untouched).is_ok());
        let layers = [layer(&tensors[1..5], FORMS[1], Activation::Relu)];
        assert!(res2net_block(&tensors[0].narrow(2, 0, 5).unwrap(), &layers, untouched).is_err());
    }
}

#[test]
fn squeeze_and_excitation_has_the_slopes_of_its_differences() {
    let inputs =
        [variable(1, &[2, 5, 4]), variable(2, &[3, 4]), variable(3, &[3]), variable(4, &[4, 3]), variable(5, &[4])];
    for lengths in [[5, 5], [2, 5]] {
        assert_slopes("squeeze and excitation", &inputs, |x| {
            let squeeze = Squeeze { down: (x[1].clone(), x[2].clone()), up: (x[3].clone(), x[4].clone()) };
            se_scale(&x[0], &squeeze, Some(&lengths))
        });
    }
}

const DEVIATIONS: [Deviation; 3] = [
    Deviation { divisor: Divisor::Frames, floor: Floor::AtLeast(1e-12), offset: 0.0 },
    Deviation { divisor: Divisor::FramesLessOne, floor: Floor::Plus(1e-7), offset: 0.0 },
    Deviation { divisor: Divisor::FramesLessOne, floor: Floor::AtLeast(0.0), offset: 1e-5 },
];

#[test]
fn statistics_over_time_have_the_slopes_of_their_differences() {
    for form in DEVIATIONS {
        for lengths in [[5, 5], [3, 5]] {
            assert_slopes(&format!("{form:?}"), &[variable(1, &[2, 5, 3])], |x| {
                let (mean, deviation) = statistics(&x[0], form, Some(&lengths))?;
                Tensor::cat(&[mean, deviation], 1)
            });
        }
    }
    let constant = Tensor::ones((1, 4, 2), DType::F64, CPU).unwrap();
    let (mean, deviation) = statistics(&constant, DEVIATIONS[0], None).unwrap();
    assert_eq!((numbers(&mean), numbers(&deviation)), (vec![1.0; 2], vec![1e-6; 2]));
    assert!(statistics(&constant, DEVIATIONS[1], Some(&[1])).is_err());
    assert!(statistics(&constant, DEVIATIONS[0], Some(&[1])).is_ok());
}

#[test]
fn attentive_statistics_have_the_slopes_of_their_differences() {
    for floor in [Floor::AtLeast(1e-12), Floor::Plus(1e-7)] {
        for lengths in [[5, 5], [3, 5]] {
            let inputs = [variable(1, &[2, 5, 3]), variable(2, &[2, 5, 3])];
            assert_slopes(&format!("{floor:?} {lengths:?}"), &inputs, |x| {
                attentive_stats(&x[0], &x[1], floor, Some(&lengths))
            });
        }
    }
}

#[test]
fn what_lies_behind_the_length_of_a_row_changes_nothing() {
    let (x, lengths) = (variable(1, &[2, 6, 4]), [4, 6]);
    let mut values = numbers(&x);
    values[4 * 4..6 * 4].fill(f64::NAN);
    let marred = Tensor::from_vec(values, (2, 6, 4), CPU).unwrap();
    let squeeze = Squeeze {
        down: (variable(2, &[3, 4]).as_tensor().clone(), variable(3, &[3]).as_tensor().clone()),
        up: (variable(4, &[4, 3]).as_tensor().clone(), variable(5, &[4]).as_tensor().clone()),
    };
    let weight = variable(6, &[4, 4, 3]);
    let run = |x: &Tensor| {
        let scaled = se_scale(x, &squeeze, Some(&lengths)).unwrap().narrow(1, 0, 4).unwrap();
        let (mean, deviation) = statistics(x, DEVIATIONS[1], Some(&lengths)).unwrap();
        let pooled = attentive_stats(x, x, Floor::Plus(1e-7), Some(&lengths)).unwrap();
        let convolved = conv1d(x, &weight, None, FORMS[1], Some(&lengths)).unwrap();
        [scaled, mean, deviation, pooled, convolved].map(|tensor| numbers(&tensor.contiguous().unwrap()))
    };
    assert_eq!(run(&x), run(&marred));
    // And the frames that stay are the row's own alone.
    let alone = x.narrow(0, 0, 1).unwrap().narrow(1, 0, 4).unwrap();
    let convolved = conv1d(&alone, &weight, None, FORMS[1], None).unwrap();
    assert_eq!(numbers(&convolved), run(&x)[4][..4 * 4]);
}

/// Runs `f` on f32 copies of the variables on the kernels, and on the f64 originals composed; compares results and gradients
/// with each other, relative to the largest magnitude.
pub(super) fn assert_kernels_agree(what: &str, inputs: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let single: Vec<Var> =
        inputs.iter().map(|var| Var::from_tensor(&var.to_dtype(DType::F32).unwrap()).unwrap()).collect();
    let both = [inputs, &single[..]].map(|vars| {
        let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let out = f(&tensors).unwrap();
        let coefficients = variable(99, out.dims()).to_dtype(out.dtype()).unwrap();
        let gradients = (&out * coefficients).unwrap().sum_all().unwrap().backward().unwrap();
        let mut all = vec![out];
        all.extend(vars.iter().map(|var| gradients.get(var).unwrap_or_else(|| panic!("{what}: no gradient")).clone()));
        all
    });
    let [double, single] = both;
    for (index, (double, single)) in double.iter().zip(&single).enumerate() {
        assert_eq!((single.dtype(), single.dims()), (DType::F32, double.dims()), "{what} {index}");
        let (expected, got) = (numbers(double), numbers(&single.to_dtype(DType::F64).unwrap()));
        // A gradient that is zero but for rounding, such as that of the bias under a softmax, is held to 2e-7.
        let largest = expected.iter().fold(1e-2_f64, |m, v| m.max(v.abs()));
        for (e, g) in expected.iter().zip(&got) {
            assert!((e - g).abs() <= 2e-5 * largest, "{what} {index}: {g} {e}, largest {largest}");
        }
    }
}

/// The layer with averages of the type of its weights.
fn typed_layer(x: &[Tensor], form: Conv1d, activation: Activation, normalised: bool) -> Tdnn {
    let full = |value: f64| {
        let tensor = Tensor::full(value, x[2].dims(), CPU).unwrap().to_dtype(x[2].dtype()).unwrap();
        Var::from_tensor(&tensor).unwrap()
    };
    let running = RunningStatistics { mean: full(0.0), variance: full(1.0) };
    let norm = Norm { weight: x[2].clone(), bias: x[3].clone(), running };
    Tdnn { weight: x[0].clone(), bias: x[1].clone(), form, activation, norm: normalised.then_some(norm) }
}

#[test]
fn a_layer_on_the_kernels_is_the_composed_one() {
    // The last is deeper than what is multiplied at a time, and wider than a panel.
    for (batch, frames, o, i, k) in [(2, 9, 3, 5, 3), (1, 8, 70, 3, 1), (3, 7, 1, 1, 5), (3, 190, 67, 35, 3)] {
        for form in [FORMS[0], FORMS[1], FORMS[3]] {
            for activation in [Activation::Relu, Activation::LeakyRelu(0.2)] {
                if form.padding == Padding::Reflect && form.dilation * (k - 1) / 2 >= frames {
                    continue;
                }
                let mut inputs = vec![variable(1, &[batch, frames, i])];
                inputs.extend(layer_variables(10, [o, i, k]));
                let what = format!("{batch} {frames} {o} {i} {k} {form:?} {activation:?}");
                assert_kernels_agree(&what, &inputs, |x| tdnn(&x[0], &typed_layer(&x[1..], form, activation, true)));
                assert_kernels_agree(&format!("{what} plain"), &inputs[..4], |x| {
                    // What a plain layer leaves out gets its gradient here.
                    tdnn(&x[0], &typed_layer(&[&x[1..], &x[3..]].concat(), form, activation, false))?
                        .broadcast_mul(&x[3])
                });
            }
        }
    }
}

#[test]
fn the_averages_that_a_layer_on_the_kernels_moves_are_the_composed_ones() {
    let mut inputs = vec![variable(1, &[2, 9, 5])];
    inputs.extend(layer_variables(10, [3, 5, 3]));
    let averages = |dtype: DType| {
        let x: Vec<Tensor> = inputs.iter().map(|var| var.to_dtype(dtype).unwrap()).collect();
        let layer = typed_layer(&x[1..], FORMS[0], Activation::Relu, true);
        tdnn(&x[0], &layer).unwrap();
        let running = layer.norm.unwrap().running;
        [running.mean, running.variance].map(|var| numbers(&var.to_dtype(DType::F64).unwrap())).concat()
    };
    for (double, single) in averages(DType::F64).iter().zip(averages(DType::F32)) {
        assert!((double - single).abs() < 1e-6, "{double} {single}");
    }
}

#[test]
fn blocks_and_pooling_on_the_kernels_are_the_composed_ones() {
    let mut inputs = vec![variable(1, &[3, 11, 6])];
    inputs.extend(layer_variables(10, [6, 6, 1]));
    inputs.extend((0..2).flat_map(|index| layer_variables(20 + 10 * index, [2, 2, 3])));
    inputs.extend(layer_variables(40, [6, 6, 1]));
    inputs.extend([variable(50, &[4, 6]), variable(51, &[4]), variable(52, &[6, 4]), variable(53, &[6])]);
    for untouched in [Untouched::First, Untouched::Last] {
        assert_kernels_agree(&format!("{untouched:?}"), &inputs, |x| {
            let layer = |first: usize, form| typed_layer(&x[first..first + 4], form, Activation::Relu, true);
            let squeeze = Squeeze { down: (x[17].clone(), x[18].clone()), up: (x[19].clone(), x[20].clone()) };
            let chunks = vec![layer(5, FORMS[1]), layer(9, FORMS[1])];
            let block =
                SeRes2Net { before: layer(1, FORMS[0]), chunks, untouched, after: layer(13, FORMS[0]), squeeze };
            se_res2net(&x[0], &block)
        });
    }
    let inputs = [
        variable(1, &[3, 11, 6]),
        variable(2, &[4, 18]),
        variable(3, &[4]),
        variable(4, &[4]),
        variable(5, &[4]),
        variable(6, &[6, 4]),
        variable(7, &[6]),
    ];
    for context in DEVIATIONS {
        for floor in [Floor::AtLeast(1e-12), Floor::AtLeast(0.2), Floor::Plus(1e-7)] {
            assert_kernels_agree(&format!("{context:?} {floor:?}"), &inputs, |x| {
                let norm = typed_layer(&x[1..5], FORMS[0], Activation::Relu, true).norm;
                let told = (x[1].clone(), x[2].clone());
                let logits = (x[5].clone(), x[6].clone());
                attentive_pooling(&x[0], &AttentivePooling { context, told, norm, logits, floor })
            });
        }
    }
}
