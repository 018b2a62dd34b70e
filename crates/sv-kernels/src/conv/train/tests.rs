use super::*;
use crate::conv::Conv2dSizes;
use crate::gemm::tests::noise;
use crate::reference;
use proptest::prelude::*;

/// `x` (B, T, F, I) with the zeros around each image that the sizes ask for, as the definition takes it.
fn padded(sizes: Sizes, x: &[f64]) -> Vec<Vec<f64>> {
    let [lines, bins] = [sizes.lines_seen(sizes.given[0]), sizes.bins_seen()];
    let image = |image: &[f64]| {
        let mut out = vec![0.0; lines * bins * sizes.inputs];
        for (index, out) in out.iter_mut().enumerate() {
            let (place, channel) = (index / sizes.inputs, index % sizes.inputs);
            let frame = (place / bins).checked_sub(sizes.before[0]).filter(|&t| t < sizes.seen[0]);
            let bin = (place % bins).checked_sub(sizes.before[1]).filter(|&f| f < sizes.seen[1]);
            if let (Some(frame), Some(bin)) = (frame, bin) {
                *out = image[(frame * sizes.seen[1] + bin) * sizes.inputs + channel];
            }
        }
        out
    };
    x.chunks(sizes.image()).map(image).collect()
}

fn plain_forward(sizes: Sizes, x: &[f64], weight: &[f64]) -> Vec<f64> {
    let form = Conv2dSizes { inputs: sizes.inputs, outputs: sizes.outputs, kernel: sizes.kernel, stride: sizes.stride };
    let bias = vec![0.0; sizes.outputs];
    padded(sizes, x).iter().flat_map(|x| reference::conv2d(sizes.given, form, x, weight, &bias)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The gradients of `sum(y conv(x))`, by the definition: the convolution is linear in `x` and in `weight`, so each gradient is
/// its value at a unit vector.
fn plain_slopes(sizes: Sizes, x: &[f64], weight: &[f64], y: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let units = |length: usize| {
        (0..length).map(move |place| (0..length).map(|i| if i == place { 1.0 } else { 0.0 }).collect::<Vec<f64>>())
    };
    let of_x = units(x.len()).map(|unit| dot(&plain_forward(sizes, &unit, weight), y)).collect();
    let of_weight = units(weight.len()).map(|unit| dot(&plain_forward(sizes, x, &unit), y)).collect();
    (of_x, of_weight)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn assert_close(what: &str, got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
    for (index, (&got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(got) - expected).abs() <= 3e-6 * largest, "{what} {index}: {got} {expected}");
    }
}

fn sizes(
    batch: usize,
    seen: [usize; 2],
    [inputs, outputs]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    sides: [[usize; 2]; 2],
) -> Option<Sizes> {
    let given = [0, 1].map(|axis| {
        (seen[axis] + sides[axis][0] + sides[axis][1]).checked_sub(kernel[axis]).map(|more| more / stride[axis] + 1)
    });
    let [Some(t), Some(f)] = given else { return None };
    let before = [sides[0][0], sides[1][0]];
    Some(Sizes { batch, seen, inputs, outputs, kernel, stride, before, given: [t, f] })
}

/// Compares all three products with their definitions on every tier, on one thread and on three.
fn check(sizes: Sizes, seed: u64) {
    let Sizes { batch, inputs, outputs, kernel, given, .. } = sizes;
    let x = noise(seed, batch * sizes.image());
    let weight = noise(seed ^ 1, outputs * inputs * kernel[0] * kernel[1]);
    let y = noise(seed ^ 2, batch * given[0] * sizes.line());
    let expected = plain_forward(sizes, &wide(&x), &wide(&weight));
    let added = noise(seed ^ 3, x.len());
    let (of_x, of_weight) = plain_slopes(sizes, &wide(&x), &wide(&weight), &wide(&y));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for tier in Tier::available() {
        let both = [&alone, &pool].map(|pool| {
            pool.install(|| {
                let out = forward(tier, sizes, &x, &weight);
                (out, input_slope(tier, sizes, &y, &weight, None), weight_slope(tier, sizes, &y, &x))
            })
        });
        for (out, slope, slopes) in &both {
            assert_close(&format!("{sizes:?} {tier:?}: output"), out, &expected);
            assert_close(&format!("{sizes:?} {tier:?}: slope of the input"), slope, &of_x);
            assert_close(&format!("{sizes:?} {tier:?}: slope of the weights"), slopes, &of_weight);
        }
        let sum: Vec<f64> = of_x.iter().zip(&added).map(|(of_x, &added)| of_x + f64::from(added)).collect();
        let got = input_slope(tier, sizes, &y, &weight, Some(&added));
        assert_close(&format!("{sizes:?} {tier:?}: slope of the input, added to"), &got, &sum);
        assert_eq!(both[0].0, both[1].0, "the same bits on any threads");
        assert_eq!(both[0].1, both[1].1, "the same bits on any threads");
    }
}

#[test]
fn the_networks_convolutions_are_their_definitions() {
    let half = |kernel: usize| [[kernel / 2; 2]; 2];
    let mut done = 0;
    for (kernel, stride) in [(7_usize, [1_usize, 1]), (7, [1, 2]), (3, [1, 1]), (3, [2, 2]), (1, [2, 2]), (1, [1, 1])] {
        for seen in [[6_usize, 8], [7, 8], [6, 9], [9, 7]] {
            for channels in [[1, 17], [3, 4]] {
                // Keras's padding, where the odd zero stands after.
                let same = [0, 1].map(|axis: usize| {
                    let reach = (seen[axis].div_ceil(stride[axis]) - 1) * stride[axis] + kernel;
                    let all = reach.saturating_sub(seen[axis]);
                    [all / 2, all - all / 2]
                });
                for sides in [half(kernel), same] {
                    check(sizes(2, seen, channels, [kernel; 2], stride, sides).unwrap(), 5 + done);
                    done += 1;
                }
            }
        }
    }
    assert_eq!(done, 6 * 4 * 2 * 2);
}

#[test]
fn many_channels_and_lines_in_pieces_are_their_definitions() {
    // More than one panel, a depth above one block, pieces of a few lines: too long for all unit vectors, so against sums in f64.
    for (seen, channels, kernel, stride) in [
        ([40, 66], [67, 70], [3, 3], [1, 1]),
        ([31, 5], [90, 35], [3, 3], [2, 2]),
        ([90, 64], [16, 16], [3, 3], [1, 1]),
        // In tiles, of which the last lie half outside.
        ([41, 33], [32, 48], [3, 3], [1, 1]),
        ([90, 16], [64, 64], [3, 3], [1, 1]),
        ([1, 1], [32, 32], [3, 3], [1, 1]),
    ] {
        let sizes = sizes(2, seen, channels, kernel, stride, [[1, 1], [1, 1]]).unwrap();
        let x = noise(1, 2 * sizes.image());
        let weight = noise(2, channels[0] * channels[1] * 9);
        let y = noise(3, 2 * sizes.given[0] * sizes.line());
        assert!(sizes.lines() < sizes.given[0] || seen[0] <= 41);
        for tier in Tier::available() {
            let out = forward(tier, sizes, &x, &weight);
            let expected = plain_forward(sizes, &wide(&x), &wide(&weight));
            assert_close(&format!("{sizes:?} {tier:?}"), &out, &expected);
            // sum(y conv(x, w)) is the product of either gradient with what it is the gradient of.
            let value = dot(&wide(&y), &expected);
            let of_x = dot(&wide(&input_slope(tier, sizes, &y, &weight, None)), &wide(&x));
            let of_weight = dot(&wide(&weight_slope(tier, sizes, &y, &x)), &wide(&weight));
            let scale = (dot(&wide(&y), &wide(&y)) * dot(&expected, &expected)).sqrt();
            for got in [of_x, of_weight] {
                assert!((got - value).abs() <= 1e-6 * scale, "{sizes:?} {tier:?}: {got} {value}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 40 }))]

    #[test]
    fn any_convolution_is_its_definition(
        batch in 1_usize..3, seen in prop::array::uniform2(1_usize..6), channels in prop::array::uniform2(1_usize..6),
        kernel in prop::array::uniform2(1_usize..5), stride in prop::array::uniform2(1_usize..4),
        sides in prop::array::uniform2(prop::array::uniform2(0_usize..4)), seed: u64,
    ) {
        let sides = [0, 1].map(|axis| sides[axis].map(|zeros: usize| zeros.min(kernel[axis] - 1)));
        if let Some(sizes) = sizes(batch, seen, channels, kernel, stride, sides) {
            check(sizes, seed);
        }
    }
}
