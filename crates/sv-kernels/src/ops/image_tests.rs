//! The operations of residual networks: gradients against finite differences in f64, values and gradients on the kernels against
//! the composed ones.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::network_tests::{assert_kernels_agree, assert_slopes, numbers, variable};
use super::*;

const CPU: &Device = &Device::Cpu;

/// Kernels and strides of the networks.
const KERNELS: [(usize, [usize; 2]); 6] =
    [(7, [1, 1]), (7, [1, 2]), (3, [1, 1]), (3, [2, 2]), (1, [2, 2]), (1, [1, 1])];

/// Half the kernel on both sides, and Keras's zeros, of which the odd one stands after.
fn forms(seen: [usize; 2], kernel: usize, stride: [usize; 2]) -> [Conv2d; 2] {
    let same = [0, 1].map(|axis| {
        let reach = (seen[axis].div_ceil(stride[axis]) - 1) * stride[axis] + kernel;
        let all = reach.saturating_sub(seen[axis]);
        [all / 2, all - all / 2]
    });
    [Conv2d { stride, padding: [[kernel / 2; 2]; 2] }, Conv2d { stride, padding: same }]
}

#[test]
fn a_convolution_of_images_is_its_sum_over_taps() {
    let (x, weight) = (variable(1, &[2, 5, 4, 3]), variable(2, &[2, 3, 3, 2]));
    let form = Conv2d { stride: [2, 1], padding: [[1, 0], [0, 1]] };
    let got = conv2d(&x, &weight, form).unwrap();
    assert_eq!(got.dims(), [2, 2, 4, 2]);
    let (got, x, weight) = (numbers(&got), numbers(&x), numbers(&weight));
    for (index, got) in got.iter().enumerate() {
        let (b, t, f, o) = (index / 16, index / 8 % 2, index / 2 % 4, index % 2);
        let mut sum = 0.0;
        for (i, k, l) in (0..3).flat_map(|i| (0..3).flat_map(move |k| (0..2).map(move |l| (i, k, l)))) {
            let (frame, bin) = ((2 * t + k).checked_sub(1), f + l);
            if let Some(frame) = frame.filter(|&frame| frame < 5 && bin < 4) {
                sum += x[((b * 5 + frame) * 4 + bin) * 3 + i] * weight[((o * 3 + i) * 3 + k) * 2 + l];
            }
        }
        assert!((got - sum).abs() < 1e-12, "{index}: {got} {sum}");
    }
}

#[test]
fn convolutions_of_images_have_the_slopes_of_their_differences() {
    for (kernel, stride) in KERNELS {
        // Odd and even along either axis.
        for seen in [[4, 6], [5, 6], [4, 5], [5, 7]] {
            for form in forms(seen, kernel, stride) {
                let inputs = [variable(1, &[2, seen[0], seen[1], 2]), variable(2, &[2, 2, kernel, kernel])];
                assert_slopes(&format!("{seen:?} {kernel} {form:?}"), &inputs, |x| conv2d(&x[0], &x[1], form));
            }
        }
    }
}

#[test]
fn convolutions_of_images_on_the_kernels_are_the_composed_ones() {
    for (kernel, stride) in KERNELS {
        for (seen, [i, o]) in [([9, 12], [1, 17]), ([8, 13], [5, 3]), ([11, 7], [16, 36])] {
            for form in forms(seen, kernel, stride) {
                let inputs = [variable(1, &[3, seen[0], seen[1], i]), variable(2, &[o, i, kernel, kernel])];
                let what = format!("{seen:?} {i} {o} {kernel} {form:?}");
                assert_kernels_agree(&what, &inputs, |x| conv2d(&x[0], &x[1], form));
            }
        }
    }
    // What is not contiguous.
    let inputs = [variable(1, &[2, 3, 6, 8]), variable(2, &[3, 3, 4, 2])];
    assert_kernels_agree("transposed", &inputs, |x| {
        conv2d(&x[0].permute((0, 2, 3, 1))?, &x[1].transpose(2, 3)?, forms([6, 8], 3, [1, 1])[0].to_owned())
    });
}

/// `norm_add` over the variables x, weight, bias and perhaps a shortcut.
fn norm_add(x: &[Tensor], slope: f64) -> Result<(Tensor, RunningStatistics)> {
    let full = |value: f64| {
        let tensor = Tensor::full(value, x[1].dims(), CPU)?.to_dtype(x[1].dtype())?;
        Var::from_tensor(&tensor)
    };
    let running = RunningStatistics { mean: full(0.5)?, variance: full(2.0)?, frozen: false };
    let norm = Norm { weight: x[1].clone(), bias: x[2].clone(), running };
    let form = NormForm { epsilon: 1e-3, momentum: 0.01 };
    let y = batch_norm_add_leaky_relu(&x[0], &norm, form, x.get(3), slope)?;
    Ok((y, norm.running))
}

fn norm_inputs(shape: [usize; 4]) -> [Var; 4] {
    let channels = shape[3];
    [variable(1, &shape), variable(2, &[channels]), variable(3, &[channels]), variable(4, &shape)]
}

#[test]
fn normalisation_shortcut_and_activation_have_the_slopes_of_their_differences() {
    for slope in [0.0, 0.3, 1.0] {
        for count in [3, 4] {
            // Odd and even along either axis, and one frame of one bin in each of few rows.
            for shape in [[2, 3, 2, 3], [1, 4, 6, 2], [2, 5, 3, 2], [1, 2, 5, 4], [3, 1, 1, 2]] {
                let what = format!("{shape:?} {slope} {count}");
                assert_slopes(&what, &norm_inputs(shape)[..count], |x| Ok(norm_add(x, slope)?.0));
            }
        }
    }
}

#[test]
fn normalisation_shortcut_and_activation_on_the_kernels_are_the_composed_ones() {
    // Few channels, of which several rows are taken as one, and more than fill such a row.
    for shape in [[2, 9, 7, 3], [3, 31, 12, 16], [2, 5, 3, 300], [1, 2, 1, 1]] {
        for slope in [0.0, 0.3, 1.0] {
            for count in [3, 4] {
                let inputs = norm_inputs(shape);
                let what = format!("{shape:?} {slope} {count}");
                if shape[0] > 1 {
                    assert_kernels_agree(&what, &inputs[..count], |x| Ok(norm_add(x, slope)?.0));
                }
                let averages = |dtype: DType| {
                    let x: Vec<Tensor> = inputs[..count].iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
                    let running = norm_add(&x, slope).unwrap().1;
                    [running.mean, running.variance].map(|var| numbers(&var.to_dtype(DType::F64).unwrap())).concat()
                };
                for (double, single) in averages(DType::F64).iter().zip(averages(DType::F32)) {
                    assert!((double - single).abs() < 1e-6, "{what}: {double} {single}");
                }
            }
        }
    }
}

/// A block over the variables x, weights, and for each layer weight and bias of its normalisation; and its averages.
fn block(x: &[Tensor], stride: usize, slope: f64) -> Result<(Tensor, Vec<Tensor>)> {
    let full =
        |value: f64, like: &Tensor| Var::from_tensor(&Tensor::full(value, like.dims(), CPU)?.to_dtype(like.dtype())?);
    let layer = |at: usize, seen: [usize; 2], step: usize| -> Result<ImageLayer> {
        let running =
            RunningStatistics { mean: full(0.5, &x[at + 1])?, variance: full(2.0, &x[at + 1])?, frozen: false };
        let norm = Norm { weight: x[at + 1].clone(), bias: x[at + 2].clone(), running };
        let form = forms(seen, x[at].dims()[2], [step; 2])[0];
        Ok(ImageLayer { weight: x[at].clone(), form, norm })
    };
    let seen = [x[0].dims()[1], x[0].dims()[2]];
    let block = BasicBlock {
        first: layer(1, seen, stride)?,
        second: layer(4, seen.map(|size| size.div_ceil(stride)), 1)?,
        shortcut: (x.len() > 7).then(|| layer(7, seen, stride)).transpose()?,
        norms: NormForm { epsilon: 1e-3, momentum: 0.01 },
        slope,
    };
    let y = basic_block(&x[0], &block)?;
    let layers = [Some(&block.first), Some(&block.second), block.shortcut.as_ref()].into_iter().flatten();
    let averages = layers.flat_map(|layer| [&layer.norm.running.mean, &layer.norm.running.variance]);
    Ok((y, averages.map(|var| var.as_tensor().copy()).collect::<Result<_>>()?))
}

fn block_inputs(shape: [usize; 4], outputs: usize) -> Vec<Var> {
    let inputs = shape[3];
    let mut all = vec![variable(1, &shape)];
    for (salt, [o, i, k]) in [(10, [outputs, inputs, 3]), (20, [outputs, outputs, 3]), (30, [outputs, inputs, 1])] {
        all.extend([variable(salt, &[o, i, k, k]), variable(salt + 1, &[o]), variable(salt + 2, &[o])]);
    }
    all
}

#[test]
fn a_basic_block_has_the_slopes_of_its_differences() {
    for (seen, stride, outputs, count) in
        [([4, 5], 1, 2, 7), ([5, 4], 2, 3, 10), ([4, 6], 2, 3, 10), ([3, 4], 1, 3, 10)]
    {
        let inputs = block_inputs([2, seen[0], seen[1], 2], outputs);
        assert_slopes(&format!("{seen:?} {stride}"), &inputs[..count], |x| Ok(block(x, stride, 0.3)?.0));
    }
}

#[test]
fn a_basic_block_on_the_kernels_is_the_composed_one() {
    for (seen, stride, channels, count) in
        [([9, 8], 1, [16, 16], 7), ([9, 8], 2, [5, 17], 10), ([8, 7], 2, [16, 32], 10), ([6, 5], 1, [3, 4], 10)]
    {
        for slope in [0.0, 0.3] {
            let inputs = block_inputs([3, seen[0], seen[1], channels[0]], channels[1]);
            let what = format!("{seen:?} {stride} {channels:?} {slope}");
            assert_kernels_agree(&what, &inputs[..count], |x| Ok(block(x, stride, slope)?.0));
            let averages = |dtype: DType| {
                let x: Vec<Tensor> = inputs[..count].iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
                let averages = block(&x, stride, slope).unwrap().1;
                averages.iter().flat_map(|a| numbers(&a.to_dtype(DType::F64).unwrap())).collect::<Vec<_>>()
            };
            let (double, single) = (averages(DType::F64), averages(DType::F32));
            assert_eq!(double.len(), single.len());
            for (double, single) in double.iter().zip(single) {
                assert!((double - single).abs() < 2e-6 * (1.0 + double.abs()), "{what}: {double} {single}");
            }
        }
    }
}

#[test]
fn blocks_whose_layers_do_not_fit_are_refused_on_either_path() {
    for dtype in [DType::F32, DType::F64] {
        let inputs = block_inputs([2, 4, 5, 2], 3);
        let x: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        assert!(block(&x, 2, 0.3).is_ok());
        assert!(block(&x, 2, 1.5).is_err());
        // Without a layer beside, three channels are not two, nor is half of the frames all of them.
        assert!(block(&x[..7], 1, 0.3).is_err());
        let square = block_inputs([2, 4, 5, 2], 2);
        let square: Vec<Tensor> = square.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        assert!(block(&square[..7], 1, 0.3).is_ok());
        assert!(block(&square[..7], 2, 0.3).is_err());
        // The first layer's weights are the second's, of three channels in place of two; a normalisation's are a convolution's.
        let mut other = x.clone();
        other[1] = x[4].clone();
        assert!(block(&other, 2, 0.3).is_err());
        let mut other = x.clone();
        other[2] = x[1].clone();
        assert!(block(&other, 2, 0.3).is_err());
    }
}

#[test]
fn one_step_gives_the_same_bits_again_on_as_many_threads() {
    let single =
        |seed, shape: &[usize]| Var::from_tensor(&variable(seed, shape).to_dtype(DType::F32).unwrap()).unwrap();
    let (x, weight) = (single(1, &[3, 40, 33, 5]), single(2, &[7, 5, 3, 3]));
    let step = || {
        let y = conv2d(&x, &weight, forms([40, 33], 3, [2, 2])[0]).unwrap();
        let ones = Tensor::ones(7, DType::F32, CPU).unwrap();
        let y = norm_add(&[y, ones.clone(), ones], 0.3).unwrap().0;
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [&x, &weight].map(|var| gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(step), pool.install(step), "{threads} threads");
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let (x, weight) = (variable(1, &[2, 4, 5, 3]), variable(2, &[2, 3, 3, 3]));
    let sound = Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]] };
    assert!(conv2d(&x, &weight, sound).is_ok());
    for form in [
        Conv2d { stride: [0, 1], ..sound },
        Conv2d { stride: [1, 0], ..sound },
        Conv2d { padding: [[3, 0], [1, 1]], ..sound },
        Conv2d { padding: [[1, 1], [0, 3]], ..sound },
    ] {
        assert!(conv2d(&x, &weight, form).is_err(), "{form:?}");
    }
    for (x, weight) in [
        ([2, 4, 5, 2], [2, 3, 3, 3]),
        ([0, 4, 5, 3], [2, 3, 3, 3]),
        ([2, 0, 5, 3], [2, 3, 3, 3]),
        ([2, 4, 0, 3], [2, 3, 3, 3]),
        ([2, 4, 5, 3], [0, 3, 3, 3]),
        ([2, 4, 5, 3], [2, 3, 0, 3]),
        ([2, 4, 5, 3], [2, 3, 9, 3]),
        ([2, 4, 5, 0], [2, 0, 3, 3]),
    ] {
        for dtype in [DType::F32, DType::F64] {
            let [x, weight] = [&x, &weight].map(|shape| Tensor::zeros(&shape[..], dtype, CPU).unwrap());
            assert!(conv2d(&x, &weight, sound).is_err(), "{x:?} {weight:?}");
        }
    }
    let error = conv2d(&x, &variable(1, &[2, 3, 7, 3]), sound).unwrap_err().to_string();
    assert!(error.contains("4 values and 1 + 1 zeros are too few for 7 taps"), "{error}");

    let inputs = norm_inputs([2, 3, 2, 3]);
    let tensors = |inputs: &[Var]| inputs.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    for slope in [-0.1, 1.1, f64::NAN] {
        assert!(norm_add(&tensors(&inputs), slope).is_err());
    }
    let [x, weight, bias, _] = inputs;
    let other = variable(5, &[2, 3, 3, 2]);
    assert!(norm_add(&tensors(&[x.clone(), weight.clone(), bias.clone(), other.clone()]), 0.3).is_err());
    assert!(norm_add(&tensors(&[other, weight.clone(), bias.clone()]), 0.3).is_err());
    assert!(norm_add(&tensors(&[variable(1, &[1, 1, 1, 3]), weight, bias]), 0.3).is_err());
}
