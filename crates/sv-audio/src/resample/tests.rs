use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const BOTH: [Resampler; 2] = [Resampler::Torchaudio, Resampler::Sharp];

fn resampled(samples: &[f32], from_hz: u32, to_hz: u32, resampler: Resampler) -> Vec<f32> {
    ResamplePlan::new(from_hz, to_hz, resampler).unwrap().process(samples).unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The definition, in f64, with no table: every tap of every output computed where it is needed.
fn plain(samples: &[f32], from_hz: u32, to_hz: u32, resampler: Resampler, phases: Phases) -> Vec<f32> {
    let divisor = gcd(from_hz, to_hz);
    let (from, to) = (from_hz / divisor, to_hz / divisor);
    let kernel = Kernel::new(resampler, from, to);
    let reach = kernel.reach().ceil() as i64 + 1;
    let len = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from));
    (0..len)
        .map(|output| {
            let place = (output * u64::from(from) / u64::from(to)) as i64;
            let phase = match phases {
                Phases::Exact => kernel.phase((output % u64::from(to)) as u32, from, to).1,
                Phases::Interpolated { .. } => (output * u64::from(from) % u64::from(to)) as f64 / f64::from(to),
            };
            let (mut sum, mut taps) = (0.0, 0.0);
            for k in -reach..=reach {
                let tap = kernel.at(k as f64 - phase);
                let sample = usize::try_from(place + k).ok().and_then(|index| samples.get(index));
                sum += tap * sample.map_or(0.0, |&sample| f64::from(sample));
                taps += tap;
            }
            (if resampler == Resampler::Sharp { sum / taps } else { sum }) as f32
        })
        .collect()
}

/// Of a sine of `hz` after resampling: amplitude, delay in output samples, and RMS of what is left, relative to the input's.
fn tone(plan: &ResamplePlan, hz: f64) -> (f64, f64, f64) {
    let (from, to) = (f64::from(plan.from_hz()), f64::from(plan.to_hz()));
    let samples: Vec<f32> = (0..(0.3 * from) as usize).map(|n| (TAU * hz * n as f64 / from).sin() as f32).collect();
    let output = plan.process(&samples).unwrap();
    let edge = (plan.width as f64 * to / from).ceil() as usize + 1;
    let middle = edge..output.len() - edge;

    // Least squares on sine and cosine of the same frequency.
    let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let basis = |n: usize| (TAU * hz * n as f64 / to).sin_cos();
    for n in middle.clone() {
        let ((s, c), y) = (basis(n), f64::from(output[n]));
        (ss, sc, cc, ys, yc) = (ss + s * s, sc + s * c, cc + c * c, ys + y * s, yc + y * c);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
    let left: f64 = middle.clone().map(|n| (f64::from(output[n]) - a * basis(n).0 - b * basis(n).1).powi(2)).sum();
    let delay = -b.atan2(a) / TAU * to / hz;
    (a.hypot(b), delay, (left / middle.len() as f64).sqrt() / 0.5_f64.sqrt())
}

fn total(plan: &ResamplePlan, hz: f64) -> f64 {
    let from = f64::from(plan.from_hz());
    let samples: Vec<f32> = (0..(0.3 * from) as usize).map(|n| (TAU * hz * n as f64 / from).sin() as f32).collect();
    let output = plan.process(&samples).unwrap();
    let edge = (plan.width as f64 * f64::from(plan.to_hz()) / from).ceil() as usize + 1;
    let middle = &output[edge..output.len() - edge];
    let energy: f64 = middle.iter().map(|&y| f64::from(y).powi(2)).sum();
    (energy / middle.len() as f64).sqrt() / 0.5_f64.sqrt()
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn sharp_keeps_its_promises_over_a_sweep_of_tones() {
    let pairs = [
        (48_000, 16_000),
        (44_100, 16_000),
        (96_000, 16_000),
        (22_050, 16_000),
        (11_025, 16_000),
        (8_000, 16_000),
        (16_000, 8_000),
        (44_101, 16_000), // too many phases to hold: interpolated
        (16_000, 15_999),
    ];
    for (from_hz, to_hz) in pairs {
        let plan = ResamplePlan::new(from_hz, to_hz, Resampler::Sharp).unwrap();
        let nyquist = f64::from(from_hz.min(to_hz)) / 2.0;
        let (mut ripple, mut late, mut image, mut alias) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
        for step in 1..=60 {
            let (amplitude, delay, left) = tone(&plan, Resampler::SHARP_PASS_BAND * nyquist * f64::from(step) / 60.0);
            (ripple, late, image) = (ripple.max(db(amplitude).abs()), late.max(delay.abs()), image.max(left));
        }
        let above = f64::from(from_hz) / 2.0 - nyquist;
        // Above Nyquist of the output up to Nyquist of the input, neither included: a sampled sine vanishes there.
        for step in 0..if above > 0.0 { 60 } else { 0 } {
            alias = alias.max(total(&plan, nyquist + above * (f64::from(step) + 0.01) / 60.0));
        }
        println!(
            "{from_hz} -> {to_hz}: ripple {ripple:.1e} dB, delay {late:.1e} samples, images {:.1} dB, aliases {:.1} dB",
            db(image),
            db(alias)
        );
        assert!(ripple < 0.1 && late < 0.01 && db(image) < -90.0 && db(alias) < -90.0, "{from_hz} -> {to_hz}");
    }
}

#[test]
fn torchaudio_is_soft_where_sharp_is_closed() {
    // 2 % beyond Nyquist of the output.
    let aliased = |resampler| db(total(&ResamplePlan::new(48_000, 16_000, resampler).unwrap(), 8_160.0));
    let (soft, sharp) = (aliased(Resampler::Torchaudio), aliased(Resampler::Sharp));
    assert!((-9.0..-6.0).contains(&soft) && sharp < -90.0, "{soft:.1} and {sharp:.1} dB");
}

#[test]
fn a_constant_stays_that_constant_away_from_the_ends() {
    for (from_hz, to_hz) in [(44_100, 16_000), (8_000, 16_000), (44_101, 16_000)] {
        let output = resampled(&[0.5; 2_000], from_hz, to_hz, Resampler::Sharp);
        let margin = 160 * to_hz as usize / from_hz.min(to_hz) as usize;
        assert!(output[margin..output.len() - margin].iter().all(|y| (y - 0.5).abs() < 1e-6), "{from_hz} -> {to_hz}");
    }
}

#[test]
fn the_same_rate_moves_the_samples_and_copies_nothing() {
    let wave = Waveform::new(vec![0.1, 0.2, 0.3], 16_000).unwrap();
    let place = wave.samples().as_ptr();
    let same = wave.resampled(16_000, Resampler::Sharp).unwrap();
    assert_eq!(same.samples().as_ptr(), place);
    assert_eq!(resampled(&[0.1, 0.2], 16_000, 16_000, Resampler::Torchaudio), [0.1, 0.2]);
}

#[test]
fn a_rate_out_of_range_is_refused() {
    let wave = Waveform::new(vec![0.0; 8], 16_000).unwrap();
    assert!(matches!(wave.resampled(1, Resampler::Sharp), Err(AudioError::Rate { rate_hz: 1 })));
    assert!(matches!(ResamplePlan::new(0, 16_000, Resampler::Sharp), Err(AudioError::Rate { rate_hz: 0 })));
}

#[test]
fn a_length_beyond_memory_is_an_error_and_no_overflow() {
    let plan = ResamplePlan::new(1_000, 768_000, Resampler::Torchaudio).unwrap();
    let result = plan.output_len(usize::MAX);
    assert!(matches!(result, Err(AudioError::ResampledSize { samples: usize::MAX, from_hz: 1_000, to_hz: 768_000 })));
}

#[test]
fn tables_stay_small_for_absurd_ratios() {
    for (from_hz, to_hz) in [(44_101, 16_000), (767_999, 768_000), (768_000, 1_001), (1_001, 767_999), (767_999, 1_000)]
    {
        for resampler in BOTH {
            let plan = ResamplePlan::new(from_hz, to_hz, resampler).unwrap();
            assert!(plan.taps.len() <= 2 * EXACT_TAPS, "{from_hz} -> {to_hz}: {} taps", plan.taps.len());
        }
    }
}

#[test]
fn names_are_those_of_model_toml() {
    assert_eq!(toml::Value::try_from(Resampler::Torchaudio).unwrap(), toml::Value::from("torchaudio"));
    assert_eq!(toml::Value::try_from(Resampler::Sharp).unwrap(), toml::Value::from("sharp"));
}

/// Rates of recordings, and any others.
fn some_rate() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]),
        1_000_u32..60_000,
        Just(1_000),
        Just(767_999),
    ]
}

fn some_samples(most: usize) -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![prop::collection::vec(-1.0_f32..1.0, 0..4), prop::collection::vec(-1.0_f32..1.0, 0..most),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_length_is_rounded_up_and_samples_are_finite(
        samples in some_samples(200), from_hz in some_rate(), to_hz in some_rate(), which in 0_usize..2
    ) {
        let output = resampled(&samples, from_hz, to_hz, BOTH[which]);
        prop_assert_eq!(output.len() as u64, (samples.len() as u64 * u64::from(to_hz)).div_ceil(u64::from(from_hz)));
        prop_assert!(output.iter().all(|y| y.is_finite()));
    }

    #[test]
    fn the_table_equals_the_plain_definition(
        samples in some_samples(150), from_hz in some_rate(), to_hz in 4_000_u32..50_000, which in 0_usize..2
    ) {
        let plan = ResamplePlan::new(from_hz, to_hz, BOTH[which]).unwrap();
        let expected = plain(&samples, from_hz, to_hz, BOTH[which], plan.phases);
        prop_assert!(worst(&plan.process(&samples).unwrap(), &expected) <= 1e-6);
    }

    #[test]
    fn interpolated_phases_equal_exact_ones(samples in some_samples(300), to_hz in (50_u32..400).prop_map(|n| 100 * n)) {
        let exact = ResamplePlan::with_room(16_000, to_hz, Resampler::Sharp, usize::MAX).unwrap();
        let interpolated = ResamplePlan::with_room(16_000, to_hz, Resampler::Sharp, 0).unwrap();
        prop_assert!(worst(&exact.process(&samples).unwrap(), &interpolated.process(&samples).unwrap()) <= 1e-6);
    }

    #[test]
    fn resampling_is_linear(
        samples in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 0..200), to_hz in some_rate(), which in 0_usize..2
    ) {
        let (x, y): (Vec<f32>, Vec<f32>) = samples.iter().copied().unzip();
        let mix: Vec<f32> = samples.iter().map(|(x, y)| 0.5 * x - 0.25 * y).collect();
        let plan = ResamplePlan::new(16_000, to_hz, BOTH[which]).unwrap();
        let (x, y) = (plan.process(&x).unwrap(), plan.process(&y).unwrap());
        let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 0.5 * x - 0.25 * y).collect();
        prop_assert!(worst(&plan.process(&mix).unwrap(), &expected) <= 1e-6);
    }
}
