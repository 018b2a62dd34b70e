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
    let mut energies = [[1.0]; 3];
    bank.energies(&[[1.0]; 5], &mut energies);
    assert_eq!(energies, [[0.0]; 3]);
}

#[test]
fn htk_is_about_linear_below_1_khz() {
    // 2595 log10(1 + 700 / 700) = 781.173.
    assert!((MelScale::Htk.mel(700.0) - 781.172_8).abs() < 1e-3);
    assert_eq!((MelScale::Htk.mel(0.0), MelScale::Htk.hz(0.0)), (0.0, 0.0));
}

#[test]
fn speechbrains_bank_has_the_sum_and_places_of_its_own() {
    // SPECS 4.1: sum 193.0572; filter 79 has its centre at 7733.501 Hz and falls to 0 at 258.337 Hz from it, on both sides.
    let bank = MelBank::<f64>::new(&MelSpec::htk(80, 0.0, 8_000.0, Slopes::LeftWidth), 400, 16_000).unwrap();
    let dense = bank.dense(201);
    assert!((dense.concat().iter().sum::<f64>() - 193.057_2).abs() < 5e-4);
    for (bin, weight) in dense[79].iter().enumerate() {
        let expected = (1.0 - (40.0 * bin as f64 - 7_733.501).abs() / 258.337).max(0.0);
        assert!((weight - expected).abs() < 1e-5, "bin {bin}: {weight}, not {expected}");
    }
}

#[test]
fn slopes_in_mel_reach_half_where_the_mel_is_halfway() {
    // Two filters, edges 0, a, 2a, 3a mel: at 0.5 a the first is 1/2, at 1.5 a both are.
    let spec = MelSpec::htk(2, 0.0, 4_000.0, Slopes::Mel);
    let third = MelScale::Htk.mel(4_000.0) / 3.0;
    let dense = MelBank::<f64>::new(&spec, 8_000, 8_000).unwrap().dense(4_001);
    let at = |filter: usize, mel: f64| dense[filter][MelScale::Htk.hz(mel).round() as usize];
    assert!((at(0, 0.5 * third) - 0.5).abs() < 1e-3);
    assert!((at(0, 1.5 * third) - 0.5).abs() < 1e-3);
    assert!((at(1, 1.5 * third) - 0.5).abs() < 1e-3);
    assert!((at(0, third) - 1.0).abs() < 1e-3);
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
        for scale in [MelScale::Slaney, MelScale::Htk] {
            prop_assert!((scale.hz(scale.mel(hz)) - hz).abs() < 1e-8);
        }
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
        // The second lane holds twice the first.
        let powers: Vec<[f64; 2]> = power.iter().map(|&power| [power, 2.0 * power]).collect();
        let mut energies = vec![[0.0; 2]; bins];
        bank.energies(&powers, &mut energies);
        for (i, [energy, twice]) in energies.into_iter().enumerate() {
            prop_assert_eq!(twice, 2.0 * energy);
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
