//! Convolution by the Fourier transform.

use realfft::RealFftPlanner;

/// `samples` through `response`, of whose output as many values are given as there are samples, from tap `direct` on: a
/// response whose direct sound is there delays nothing.
pub(super) fn convolve(samples: &[f32], response: &[f32], direct: usize) -> Vec<f32> {
    if samples.is_empty() || response.is_empty() {
        return samples.to_vec();
    }
    let size = (samples.len() + response.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |values: &[f32]| {
        let mut padded = forward.make_input_vec();
        padded.iter_mut().zip(values).for_each(|(padded, &value)| *padded = f64::from(value));
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut padded, &mut spectrum).expect("all lengths are the plan's");
        spectrum
    };
    let mut product = spectrum(samples);
    product.iter_mut().zip(spectrum(response)).for_each(|(value, other)| *value *= other);
    // Real by definition; rounding may leave a trace that the inverse refuses.
    if let Some(first) = product.first_mut() {
        first.im = 0.0;
    }
    if let Some(last) = product.last_mut() {
        last.im = 0.0;
    }
    let mut output = inverse.make_output_vec();
    inverse.process(&mut product, &mut output).expect("all lengths are the plan's");
    let scale = 1.0 / size as f64;
    output.iter().skip(direct).take(samples.len()).map(|value| (value * scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_transform_gives_the_plain_sum(
            samples in prop::collection::vec(-1.0_f32..1.0, 0..60),
            response in prop::collection::vec(-1.0_f32..1.0, 1..40),
            direct in 0_usize..40,
        ) {
            let direct = direct.min(response.len() - 1);
            let got = convolve(&samples, &response, direct);
            prop_assert_eq!(got.len(), samples.len());
            for (n, got) in got.into_iter().enumerate() {
                let term = |k: usize| (n + direct).checked_sub(k).and_then(|at| samples.get(at)).map(|x| f64::from(*x) * f64::from(response[k]));
                let expected: f64 = (0..response.len()).filter_map(term).sum();
                prop_assert!((f64::from(got) - expected).abs() < 1e-5, "{} {}", got, expected);
            }
        }
    }
}
