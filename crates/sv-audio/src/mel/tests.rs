use proptest::prelude::*;

use super::*;

fn refused(spec: MelSpec) -> &'static str {
    match MelBank::<f64>::new(&spec, 512, 8_000) {
        Err(AudioError::Setting { name, .. }) => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slaney_is_linear_to_1_khz_and_logarithmic_above() {
    let scale = MelScale::Slaney;
    assert_eq!((scale.mel(0.0), scale.mel(200.0), scale.mel(1000.0)), (0.0, 3.0, 15.0));
    assert!((scale.mel(6_400.0) - 42.0).abs() < 1e-12);
    assert!((scale.hz(42.0) - 6_400.0).abs() < 1e-9);
}

#[test]
fn the_8_khz_bank_has_the_sum_and_peak_of_librosas() {
    // SPECS 1.2: sum 2.55943, largest weight 0.0173842.
    let bank = MelBank::<f64>::new(&MelSpec::slaney(40, 0.0, 4_000.0), 512, 8_000).unwrap();
    let weights: Vec<f64> = bank.dense(257).concat();
    assert!((weights.iter().sum::<f64>() - 2.559_43).abs() < 5e-6);
    assert!((weights.iter().fold(0.0_f64, |most, &weight| most.max(weight)) - 0.017_384_2).abs() < 5e-8);
}

#[test]
fn a_filter_between_two_bins_gives_zero() {
    // Bins lie 1000 Hz apart, the filters end at 500 Hz: none holds a bin.
    let bank = MelBank::<f64>::new(&MelSpec::slaney(3, 10.0, 500.0), 8, 8_000).unwrap();
    assert_eq!(bank.energies(&[1.0; 5]).collect::<Vec<_>>(), [0.0; 3]);
}

#[test]
fn settings_out_of_range_are_named() {
    assert_eq!(refused(MelSpec::slaney(0, 0.0, 4_000.0)), "mel.bins");
    assert_eq!(refused(MelSpec::slaney(513, 0.0, 4_000.0)), "mel.bins");
    assert_eq!(refused(MelSpec::slaney(40, 0.0, 4_000.1)), "mel.f_max_hz");
    assert_eq!(refused(MelSpec::slaney(40, 0.0, f64::NAN)), "mel.f_max_hz");
    assert_eq!(refused(MelSpec::slaney(40, 4_000.0, 4_000.0)), "mel.f_min_hz");
    assert_eq!(refused(MelSpec::slaney(40, -1.0, 4_000.0)), "mel.f_min_hz");
    assert_eq!(refused(MelSpec::slaney(40, f64::NAN, 4_000.0)), "mel.f_min_hz");
}

proptest! {
    #[test]
    fn mel_and_hz_are_inverse(hz in 0.0_f64..20_000.0) {
        let scale = MelScale::Slaney;
        prop_assert!((scale.hz(scale.mel(hz)) - hz).abs() < 1e-8);
    }

    #[test]
    fn sparse_bands_equal_the_dense_product(
        bins in 1_usize..60, n_fft in 2_usize..300, low in 0.0_f64..3_000.0, width in 1.0_f64..1_000.0, seed in any::<u64>()
    ) {
        let spec = MelSpec::slaney(bins, low, low + width);
        let bank = MelBank::<f64>::new(&spec, n_fft, 8_000).unwrap();
        let (first, last) = (spec.scale.mel(low), spec.scale.mel(low + width));
        let edge = |i: usize| spec.scale.hz(first + (last - first) * i as f64 / (bins + 1) as f64);
        let power: Vec<f64> = (0..=n_fft / 2).map(|k| ((seed % 97) as f64 + k as f64).sin().abs()).collect();
        for (i, energy) in bank.energies(&power).enumerate() {
            let (left, centre, right) = (edge(i), edge(i + 1), edge(i + 2));
            let expected: f64 = power.iter().enumerate().map(|(k, power)| {
                let hz = k as f64 * 8_000.0 / n_fft as f64;
                let slope = ((hz - left) / (centre - left)).min((right - hz) / (right - centre));
                power * slope.max(0.0) * 2.0 / (right - left)
            }).sum();
            // The bank's weights are rounded to f32 twice.
            prop_assert!((energy - expected).abs() <= 1.3e-7 * expected + 1e-9, "{} {}", energy, expected);
        }
    }
}
