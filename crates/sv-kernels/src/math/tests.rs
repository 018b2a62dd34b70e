use super::*;

/// Distance in units in the last place of the true value, which is an f64.
fn ulps(got: f32, truth: f64) -> f64 {
    let rounded = truth as f32;
    if rounded.is_infinite() || truth.is_nan() {
        return if got == rounded || (got.is_nan() && truth.is_nan()) { 0.0 } else { f64::INFINITY };
    }
    if truth.abs() < f64::from(f32::MIN_POSITIVE) {
        // Flushed results: counted in units of the smallest normal number.
        return (f64::from(got) - truth).abs() / f64::from(f32::MIN_POSITIVE);
    }
    let exponent = truth.abs().log2().floor();
    (f64::from(got) - truth).abs() / (exponent - 23.0).exp2()
}

/// One f32 in every `step`, over all bit patterns but those of not-a-number, and the values around the bounds.
fn sample(step: u32) -> Vec<f32> {
    let mut values: Vec<f32> =
        (0..=0x7f80_0000_u32).step_by(step as usize).map(f32::from_bits).flat_map(|value| [value, -value]).collect();
    for i in -200_000..=200_000 {
        values.push(i as f32 * 5e-4);
    }
    values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 88.722_84, 88.722_83, -87.336_54, -87.336_55]);
    values
}

fn worst(tier: Tier, function: fn(Tier, &mut [f32]), truth: fn(f64) -> f64) -> (f64, f32) {
    let values = sample(if cfg!(miri) { 1 << 24 } else { 4099 });
    let mut got = values.clone();
    function(tier, &mut got);
    let mut worst = (0.0, 0.0);
    for (&x, &y) in values.iter().zip(&got) {
        let error = ulps(y, truth(f64::from(x)));
        if error.is_nan() || error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn exp_is_within_3_units_in_the_last_place_everywhere() {
    for tier in Tier::available() {
        let (error, at) = worst(tier, exp, f64::exp);
        assert!(error <= 3.0, "{tier:?}: {error} at {at}");
    }
}

#[test]
fn sigmoid_is_within_4_units_in_the_last_place_everywhere() {
    for tier in Tier::available() {
        let (error, at) = worst(tier, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(error <= 4.0, "{tier:?}: {error} at {at}");
    }
}

#[test]
fn tanh_is_within_6_units_in_the_last_place_everywhere() {
    for tier in Tier::available() {
        let (error, at) = worst(tier, tanh, f64::tanh);
        assert!(error <= 6.0, "{tier:?}: {error} at {at}");
    }
}

#[test]
fn both_ends_are_exact_and_not_a_number_stays() {
    for tier in Tier::available() {
        let ends = [f32::NEG_INFINITY, -1000.0, 0.0, 1000.0, f32::INFINITY, f32::NAN];
        let on = |function: fn(Tier, &mut [f32])| {
            let mut values = ends;
            function(tier, &mut values);
            assert!(values[5].is_nan(), "{tier:?}");
            [values[0], values[1], values[2], values[3], values[4]]
        };
        assert_eq!(on(exp), [0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY], "{tier:?}");
        assert_eq!(on(sigmoid), [0.0, 0.0, 0.5, 1.0, 1.0], "{tier:?}");
        assert_eq!(on(tanh), [-1.0, -1.0, 0.0, 1.0, 1.0], "{tier:?}");
    }
}

#[test]
fn a_value_does_not_depend_on_its_place_in_the_slice() {
    for tier in Tier::available() {
        for length in 0..40 {
            let mut values: Vec<f32> = (0..length).map(|i| i as f32 * 0.37 - 5.0).collect();
            let alone: Vec<f32> = values
                .iter()
                .map(|&x| {
                    let mut one = [x];
                    sigmoid(tier, &mut one);
                    one[0]
                })
                .collect();
            sigmoid(tier, &mut values);
            assert_eq!(values, alone, "{tier:?}");
        }
    }
}

#[test]
fn flushing_takes_only_what_is_below_the_bound() {
    for tier in Tier::available() {
        struct Flush;
        impl Function for Flush {
            fn of<L: Lanes>(&self, l: L, x: L::Vector) -> L::Vector {
                flush(l, x)
            }
        }
        let below = f32::from_bits(FLUSHED.to_bits() - 1);
        let mut values = [FLUSHED, -FLUSHED, below, -below, 1e-40, f32::NAN, f32::INFINITY];
        let one_by_one = values.map(flush_one);
        tier.run(Map(&mut values, Flush));
        assert_eq!(values[..5], [FLUSHED, -FLUSHED, 0.0, 0.0, 0.0]);
        assert!(values[5].is_nan() && values[6] == f32::INFINITY);
        assert_eq!(values[..5], one_by_one[..5]);
    }
}
