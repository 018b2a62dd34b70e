use super::*;
use crate::gemm::tests::noise;
use crate::reference;
use proptest::prelude::*;

/// A case of everything that a convolution over time does, with room between the rows.
#[derive(Debug, Clone)]
struct Case {
    sizes: Conv1dSizes,
    frames: usize,
    gap: usize,
    activation: Activation,
    affine: bool,
    added: bool,
    residual: bool,
    second: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let activation = prop_oneof![Just(Activation::Identity), Just(Activation::Relu), Just(Activation::LeakyRelu(0.01))];
    // Sums of more than 768 steps go in blocks.
    let sizes = prop_oneof![
        4 => (1_usize..40, 1_usize..150, 1_usize..6, 1_usize..5),
        1 => (250_usize..420, 1_usize..70, 1_usize..5, 1_usize..3),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, 0_usize..120, 0_usize..20, activation, flags, any::<u64>()).prop_map(
        |((inputs, outputs, kernel, dilation), frames, gap, activation, (affine, added, residual, second), seed)| {
            Case {
                sizes: Conv1dSizes { inputs, outputs, kernel, dilation },
                frames,
                gap,
                activation,
                affine,
                added,
                residual,
                second,
                seed,
            }
        },
    )
}

/// The arrays of a case, and what comes out by the definition, in f64: output and second output, dense.
struct Arrays {
    input: Vec<f32>,
    weight: Vec<f32>,
    vectors: [Vec<f32>; 4],
    residual: Vec<f32>,
    before: Vec<f32>,
    expected: Vec<f64>,
    expected_second: Vec<f64>,
}

impl Case {
    fn strides(&self) -> (usize, usize) {
        (self.sizes.inputs + self.gap, 2 * self.sizes.outputs + self.gap)
    }

    fn arrays(&self) -> Arrays {
        let Conv1dSizes { inputs, outputs, kernel, .. } = self.sizes;
        let (input_stride, out_stride) = self.strides();
        let rows = self.frames + self.sizes.reach();
        let input = noise(self.seed, rows * input_stride);
        let weight = noise(self.seed ^ 1, outputs * inputs * kernel);
        let vectors = [2, 3, 4, 5].map(|index| noise(self.seed ^ index, outputs));
        let residual = noise(self.seed ^ 6, self.frames * out_stride);
        let before = noise(self.seed ^ 7, self.frames * out_stride);

        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let dense: Vec<f64> = input.chunks(input_stride).flat_map(|row| wide(&row[..inputs])).collect();
        let zero = vec![0.0; outputs];
        let mut expected = reference::conv1d(self.frames, self.sizes, &dense, &wide(&weight), &zero);
        let mut expected_second = Vec::new();
        for (index, value) in expected.iter_mut().enumerate() {
            let (frame, output) = (index / outputs, index % outputs);
            let at = |vector: usize| f64::from(vectors[vector][output]);
            *value += at(0);
            *value += if self.added { at(1) } else { 0.0 };
            *value += if self.residual { f64::from(residual[frame * out_stride + output]) } else { 0.0 };
            *value = match self.activation {
                Activation::Identity => *value,
                Activation::Relu => value.max(0.0),
                Activation::LeakyRelu(slope) => value.max(*value * f64::from(slope)),
            };
            *value = if self.affine { *value * at(2) + at(3) } else { *value };
            expected_second.push(*value + f64::from(before[frame * out_stride + outputs + output]));
        }
        Arrays { input, weight, vectors, residual, before, expected, expected_second }
    }

    /// Output with its gaps, and second output.
    fn run(&self, tier: Tier, threads: Threads, arrays: &Arrays) -> (Vec<f32>, Vec<f32>) {
        let (input_stride, out_stride) = self.strides();
        let [bias, added, scale, shift] = &arrays.vectors;
        let weights = ConvWeights {
            weight: &arrays.weight,
            bias,
            activation: self.activation,
            affine: self.affine.then_some((&scale[..], &shift[..])),
        };
        let conv = Conv1d::on_tier(tier, self.sizes, &weights).unwrap();
        let mut out = arrays.before.clone();
        let mut second = vec![f32::NAN; self.frames * self.sizes.outputs];
        let mut pass =
            Pass::new(self.frames, Rows::new(&arrays.input, input_stride), RowsMut::new(&mut out, out_stride));
        if self.added {
            pass = pass.with_bias(added);
        }
        if self.residual {
            pass = pass.adding(Rows::new(&arrays.residual, out_stride));
        }
        if self.second {
            pass = pass.feeding(self.sizes.outputs, RowsMut::new(&mut second, self.sizes.outputs));
        }
        conv.run(pass, threads).unwrap();
        (out, second)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 150 }))]

    #[test]
    fn every_tier_equals_the_plain_convolution_and_leaves_the_gaps_alone(case in cases()) {
        let arrays = case.arrays();
        let outputs = case.sizes.outputs;
        let (_, out_stride) = case.strides();
        let bound = 3e-6 * (1.0 + (case.sizes.inputs * case.sizes.kernel) as f64).sqrt();
        for tier in Tier::available() {
            let (out, second) = case.run(tier, Threads::One, &arrays);
            for (frame, row) in out.chunks(out_stride).enumerate() {
                for (output, &got) in row[..outputs].iter().enumerate() {
                    let index = frame * outputs + output;
                    let expected = arrays.expected[index];
                    prop_assert!((f64::from(got) - expected).abs() <= bound, "{tier:?}: {got} {expected}");
                    if case.second {
                        let (got, expected) = (second[index], arrays.expected_second[index]);
                        prop_assert!((f64::from(got) - expected).abs() <= bound, "{tier:?}: {got} {expected}");
                    }
                }
                prop_assert_eq!(&row[outputs..], &arrays.before[frame * out_stride..][outputs..out_stride]);
            }
        }
    }

    #[test]
    fn threads_and_other_frames_move_no_bit(case in cases()) {
        let arrays = case.arrays();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for tier in Tier::available() {
            let one = case.run(tier, Threads::One, &arrays);
            let three = pool.install(|| case.run(tier, Threads::Pool, &arrays));
            prop_assert_eq!(&one.0, &three.0);
            prop_assert!(one.1.iter().zip(&three.1).all(|(a, b)| a.to_bits() == b.to_bits()));
            let fewer = Case { frames: case.frames / 2, ..case.clone() }.run(tier, Threads::One, &arrays);
            let (_, out_stride) = case.strides();
            let kept = case.frames / 2 * out_stride;
            prop_assert_eq!(&one.0[..kept], &fewer.0[..kept]);
        }
    }
}

#[test]
fn signals_that_follow_each_other_are_read_side_by_side() {
    // Two signals of two channels and three frames; 1, 10, 100, 1000 times their channels.
    let sizes = Conv1dSizes { inputs: 2, outputs: 1, kernel: 2, dilation: 1 };
    let weights =
        ConvWeights { weight: &[1.0, 100.0, 10.0, 1000.0], bias: &[], activation: Activation::Identity, affine: None };
    let conv = Conv1d::new(sizes, &weights).unwrap();
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.0, 2.0, 3.0];
    let mut out = [0.0; 3];
    let pass = Pass::new(3, Rows::new(&input, 2), RowsMut::new(&mut out, 1)).with_taps_apart(6);
    conv.run(pass, Threads::One).unwrap();
    assert_eq!(out, [8721.0, 1943.0, 3265.0]);
    let pass = Pass::new(3, Rows::new(&input, 2), RowsMut::new(&mut out, 1)).with_taps_apart(7);
    assert!(matches!(conv.run(pass, Threads::One), Err(KernelError::Rows { .. })));
    let pass = Pass::new(3, Rows::new(&input, 2), RowsMut::new(&mut out, 1)).with_taps_apart(70);
    assert!(matches!(conv.run(pass, Threads::One), Err(KernelError::Rows { .. })));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let sizes = Conv1dSizes { inputs: 2, outputs: 3, kernel: 3, dilation: 2 };
    let weights = ConvWeights { weight: &[1.0; 18], bias: &[], activation: Activation::Identity, affine: None };
    let build = |sizes, weights: &ConvWeights<'_>| Conv1d::new(sizes, weights).err();
    assert!(matches!(build(Conv1dSizes { kernel: 0, ..sizes }, &weights), Some(KernelError::Zero { .. })));
    assert!(matches!(build(Conv1dSizes { dilation: 0, ..sizes }, &weights), Some(KernelError::Zero { .. })));
    assert!(matches!(build(Conv1dSizes { inputs: 3, ..sizes }, &weights), Some(KernelError::Length { .. })));
    for wrong in [
        ConvWeights { bias: &[1.0], ..weights },
        ConvWeights { affine: Some((&[1.0; 3], &[1.0])), ..weights },
        ConvWeights { affine: Some((&[1.0], &[1.0; 3])), ..weights },
    ] {
        assert!(matches!(build(sizes, &wrong), Some(KernelError::Length { .. })));
    }

    let conv = Conv1d::new(sizes, &weights).unwrap();
    assert_eq!((conv.sizes(), sizes.reach()), (sizes, 4));
    let input = [0.0; 12];
    let mut memory = ([0.0; 6], [0.0; 6]);
    let rows = |got: Result<(), KernelError>| assert!(matches!(got, Err(KernelError::Rows { .. })), "{got:?}");
    let (out, other) = (&mut memory.0, &mut memory.1);
    rows(conv.run(Pass::new(3, Rows::new(&input, 2), RowsMut::new(out, 3)), Threads::One));
    rows(conv.run(Pass::new(2, Rows::new(&input, 1), RowsMut::new(out, 3)), Threads::One));
    rows(conv.run(Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 2)), Threads::One));
    rows(conv.run(Pass::new(2, Rows::new(&input, 2), RowsMut::new(&mut out[..5], 3)), Threads::One));
    let pass = Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 3));
    rows(conv.run(pass.adding(Rows::new(&input[..5], 3)), Threads::One));
    let pass = Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 3));
    rows(conv.run(pass.feeding(1, RowsMut::new(other, 3)), Threads::One));
    let pass = Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 3));
    rows(conv.run(pass.feeding(0, RowsMut::new(&mut other[..5], 3)), Threads::One));
    let pass = Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 3));
    assert!(matches!(conv.run(pass.with_bias(&[1.0]), Threads::One), Err(KernelError::Length { .. })));
    conv.run(Pass::new(2, Rows::new(&input, 2), RowsMut::new(out, 3)), Threads::One).unwrap();
}
