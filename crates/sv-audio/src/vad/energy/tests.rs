use proptest::prelude::*;

use super::*;

/// White noise in [-1, 1] from a small congruential generator.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn found(samples: Vec<f32>, rate_hz: u32) -> Vec<Range<usize>> {
    EnergyVad::default().segments(&Waveform::new(samples, rate_hz).unwrap()).unwrap()
}

/// Syllables of 150 ms with 100 ms between them, a buzz of 130 Hz, from 1 s to 2 s of 3 s, over noise of that level.
fn syllables(rate_hz: u32, noise_level: f32) -> Vec<f32> {
    let mut samples = noise(3 * rate_hz as usize, 5);
    for (i, sample) in samples.iter_mut().enumerate() {
        let t = i as f32 / rate_hz as f32;
        let on = (1.0..2.0).contains(&t) && (t - 1.0) % 0.25 < 0.15;
        let buzz: f32 = (1..20).map(|h| h as f32).map(|h| (std::f32::consts::TAU * 130.0 * h * t).sin() / h).sum();
        *sample = *sample * noise_level + if on { 0.1 * buzz } else { 0.0 };
    }
    samples
}

#[test]
fn syllables_are_one_stretch_with_their_hangover_at_any_rate() {
    for rate_hz in [8_000, 11_025, 16_000, 44_100, 48_000] {
        for level in [0.0, 0.001, 0.01] {
            let stretches = found(syllables(rate_hz, level), rate_hz);
            assert_eq!(stretches.len(), 1, "{rate_hz} Hz, noise {level}: {stretches:?}");
            let seconds = |sample: usize| sample as f64 / f64::from(rate_hz);
            let (start, end) = (seconds(stretches[0].start), seconds(stretches[0].end));
            assert!((start - 0.90).abs() < 0.03, "{rate_hz} Hz, noise {level}: from {start}");
            assert!((end - 2.0).abs() < 0.04, "{rate_hz} Hz, noise {level}: to {end}");
        }
    }
}

#[test]
fn what_never_varies_is_not_speech() {
    let tone = |hz: f32| (0..48_000).map(move |i| 0.5 * (std::f32::consts::TAU * hz * i as f32 / 16_000.0).sin());
    assert!(found(vec![0.0; 48_000], 16_000).is_empty(), "digital silence");
    assert!(found(vec![0.25; 16_000], 16_000).is_empty(), "a constant offset");
    assert!(found(tone(50.0).collect(), 16_000).is_empty(), "hum");
    assert!(found(tone(1000.0).collect(), 16_000).is_empty(), "a tone");
    for seed in 0..20 {
        assert!(found(noise(80_000, seed), 16_000).is_empty(), "loud noise {seed}");
        let quiet = noise(80_000, seed).into_iter().map(|x| x * 0.003).collect();
        assert!(found(quiet, 8_000).is_empty(), "quiet noise {seed}");
    }
}

#[test]
fn hum_and_an_offset_do_not_hide_speech() {
    let mut samples = syllables(16_000, 0.001);
    for (i, sample) in samples.iter_mut().enumerate() {
        *sample += 0.2 + 0.3 * (std::f32::consts::TAU * 50.0 * i as f32 / 16_000.0).sin();
    }
    let stretches = found(samples, 16_000);
    assert_eq!(stretches.len(), 1, "{stretches:?}");
    assert!(stretches[0].start > 14_000 && stretches[0].end < 33_000, "{stretches:?}");
}

#[test]
fn clicks_are_not_speech() {
    let mut samples: Vec<f32> = noise(48_000, 3).into_iter().map(|x| x * 0.001).collect();
    for at in [5_000, 20_000, 33_333] {
        samples[at] = 1.0;
    }
    assert!(found(samples, 16_000).is_empty());
}

#[test]
fn digital_silence_around_does_not_make_the_noise_speech() {
    let mut samples = vec![0.0; 48_000];
    samples.extend(syllables(16_000, 0.01));
    samples.extend(vec![0.0; 48_000]);
    let stretches = found(samples, 16_000);
    assert_eq!(stretches.len(), 1, "{stretches:?}");
    // The second of syllables and its hangover, not the three seconds of noise.
    assert!(stretches[0].len() < 20_000, "{stretches:?}");
}

#[test]
fn extreme_samples_give_an_answer() {
    for sample in [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1)] {
        let samples: Vec<f32> = (0..8000).map(|i| if i % 3000 < 1500 { sample } else { -sample }).collect();
        found(samples, 1_000);
    }
}

#[test]
fn a_constant_that_makes_no_sense_is_named() {
    let good = EnergyVad::default();
    let bad = [
        ("vad.margin_db", EnergyVad { margin_db: f64::NAN, ..good }),
        ("vad.range_db", EnergyVad { range_db: 0.0, ..good }),
        ("vad.floor_dbfs", EnergyVad { floor_dbfs: f64::INFINITY, ..good }),
        ("vad.noise_ms", EnergyVad { noise_ms: 0, ..good }),
        ("vad.min_speech_ms", EnergyVad { min_speech_ms: u32::MAX, ..good }),
        ("vad.min_pause_ms", EnergyVad { min_pause_ms: 60_001, ..good }),
        ("vad.hangover_ms", EnergyVad { hangover_ms: u32::MAX, ..good }),
    ];
    for (name, vad) in bad {
        let error = vad.segments(&Waveform::new(vec![0.1; 100], 16_000).unwrap()).unwrap_err();
        assert!(matches!(&error, AudioError::Setting { name: found, .. } if *found == name), "{name}: {error}");
    }
}

proptest! {
    #[test]
    fn a_gain_moves_nothing_while_the_noise_is_above_the_absolute_floor(gain in 0.2f32..1.0) {
        let loud = syllables(16_000, 0.005);
        let quiet = loud.iter().map(|x| x * gain).collect();
        prop_assert_eq!(found(loud, 16_000), found(quiet, 16_000));
    }
}
