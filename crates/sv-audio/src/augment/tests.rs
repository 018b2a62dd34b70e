//! What effects do to recordings, alone and together.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const RATE_HZ: u32 = 16_000;

fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Something broad enough that a delay of one sample shows.
fn speech(len: usize) -> Waveform {
    let mut generator = generator(77);
    let noise: Vec<f64> = (0..len + 2).map(|_| uniform([-0.3, 0.3], &mut generator)).collect();
    let smooth = noise.windows(3).map(|three| (three[0] + 2.0 * three[1] + three[2]) as f32 / 4.0);
    Waveform::new(smooth.collect(), RATE_HZ).unwrap()
}

fn hum() -> Waveform {
    Waveform::new((0..5_000).map(|k| (0.37 * k as f32).sin()).collect(), RATE_HZ).unwrap()
}

fn augmenter(config: &AugmentConfig) -> Augmenter {
    let mut response = vec![0.0; 400];
    response[40] = -0.9;
    response[39] = 0.2;
    response[150] = 0.4;
    Augmenter::new(config, RATE_HZ, vec![hum()], vec![Waveform::new(response, RATE_HZ).unwrap()]).unwrap()
}

/// Every effect alone, always happening.
fn each() -> Vec<(&'static str, AugmentConfig)> {
    let none = AugmentConfig::default;
    let probability = 1.0;
    vec![
        ("speed", AugmentConfig { speed: Some(Speed { probability, factors: vec![0.9, 1.1] }), ..none() }),
        (
            "reverberation",
            AugmentConfig {
                reverberation: Some(Reverberation { probability, decay_s: [0.1, 0.6], direct_db: [3.0, 10.0] }),
                ..none()
            },
        ),
        ("dropped bands", AugmentConfig { dropped_bands: Some(DroppedBands { probability, count: [1, 3] }), ..none() }),
        (
            "dropped chunks",
            AugmentConfig {
                dropped_chunks: Some(DroppedChunks { probability, count: [1, 5], samples: [1_000, 2_000] }),
                ..none()
            },
        ),
        ("impulse response", AugmentConfig { impulse_responses: Some(ImpulseResponses { probability }), ..none() }),
        ("noise", AugmentConfig { noise: Some(Noise { probability, snr_db: [5.0, 20.0] }), ..none() }),
        (
            "band limit",
            AugmentConfig {
                band_limit: Some(BandLimit { probability, low_hz: [100.0, 300.0], high_hz: [3_000.0, 6_000.0] }),
                ..none()
            },
        ),
        (
            "equaliser",
            AugmentConfig {
                equaliser: Some(Equaliser { probability, peaks: 4, peak_db: 6.0, tilt_db: 3.0 }),
                ..none()
            },
        ),
        ("gain", AugmentConfig { gain: Some(Gain { probability, db: [-10.0, 10.0] }), ..none() }),
        ("clipping", AugmentConfig { clipping: Some(Clipping { probability, share_of_peak: [0.2, 0.5] }), ..none() }),
        ("codec", AugmentConfig { codec: Some(Codec { probability }), ..none() }),
    ]
}

fn all() -> AugmentConfig {
    let mut all = AugmentConfig::default();
    for (_, one) in each() {
        all = AugmentConfig {
            speed: one.speed.or(all.speed),
            reverberation: one.reverberation.or(all.reverberation),
            impulse_responses: one.impulse_responses.or(all.impulse_responses),
            noise: one.noise.or(all.noise),
            band_limit: one.band_limit.or(all.band_limit),
            equaliser: one.equaliser.or(all.equaliser),
            gain: one.gain.or(all.gain),
            clipping: one.clipping.or(all.clipping),
            codec: one.codec.or(all.codec),
            dropped_bands: one.dropped_bands.or(all.dropped_bands),
            dropped_chunks: one.dropped_chunks.or(all.dropped_chunks),
        };
    }
    all
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len() as f64
}

#[test]
fn noise_is_added_at_the_ratio_that_was_asked_for() {
    for snr_db in [-5.0, 0.0, 12.5] {
        let config = AugmentConfig {
            noise: Some(Noise { probability: 1.0, snr_db: [snr_db, snr_db] }),
            ..AugmentConfig::default()
        };
        let speech = speech(12_000);
        let noisy = augmenter(&config).apply(&speech, &mut generator(1)).unwrap();
        let added: Vec<f32> = noisy.samples().iter().zip(speech.samples()).map(|(a, b)| a - b).collect();
        let got_db = 10.0 * (power(speech.samples()) / power(&added)).log10();
        assert!((got_db - snr_db).abs() < 0.1, "{got_db} {snr_db}");
    }
}

#[test]
fn no_effect_but_speed_changes_the_length_or_delays() {
    let speech = speech(8_000);
    for (name, config) in each() {
        let augmenter = augmenter(&config);
        for seed in 0..5 {
            let changed = augmenter.apply(&speech, &mut generator(seed)).unwrap();
            assert_ne!(changed, speech, "{name}");
            if name == "speed" {
                let ratio = speech.len() as f64 / changed.len() as f64;
                assert!([0.9, 1.1].iter().any(|speed| (ratio - speed).abs() < 1e-3), "{ratio}");
                continue;
            }
            assert_eq!(changed.len(), speech.len(), "{name}");
            let (before, after) = (speech.samples(), changed.samples());
            let at = |lag: i64| {
                let pairs = before.iter().enumerate().filter_map(|(k, &x)| {
                    let place = usize::try_from(k as i64 + lag).ok()?;
                    Some(f64::from(x) * f64::from(*after.get(place)?))
                });
                pairs.sum::<f64>().abs()
            };
            let best = (-60..=60).max_by(|&a, &b| at(a).total_cmp(&at(b))).unwrap();
            assert_eq!(best, 0, "{name}");
        }
    }
}

#[test]
fn rooms_keep_the_level() {
    let speech = speech(8_000);
    for (name, config) in each().into_iter().filter(|(name, _)| ["reverberation", "impulse response"].contains(name)) {
        let changed = augmenter(&config).apply(&speech, &mut generator(3)).unwrap();
        let ratio = power(changed.samples()) / power(speech.samples());
        assert!((ratio - 1.0).abs() < 1e-4, "{name}: {ratio}");
    }
}

#[test]
fn the_same_seed_gives_the_same_samples_and_another_seed_others() {
    let augmenter = augmenter(&all());
    let speech = speech(8_000);
    let once = augmenter.apply(&speech, &mut generator(5)).unwrap();
    assert_eq!(augmenter.apply(&speech, &mut generator(5)).unwrap(), once);
    assert_ne!(augmenter.apply(&speech, &mut generator(6)).unwrap(), once);
}

#[test]
fn empty_short_and_silent_recordings_pass() {
    for (name, config) in each().into_iter().chain([("all", all())]) {
        let augmenter = augmenter(&config);
        for len in [0, 1, 2, 3, 17] {
            for wave in [speech(len), Waveform::new(vec![0.0; len], RATE_HZ).unwrap()] {
                let changed = augmenter.apply(&wave, &mut generator(1)).unwrap();
                assert_eq!(changed.is_empty(), wave.is_empty(), "{name} {len}");
            }
        }
    }
}

#[test]
fn an_effect_of_probability_zero_or_none_leaves_every_bit() {
    let mut never = all();
    never.gain = Some(Gain { probability: 0.0, db: [6.0, 6.0] });
    let never = AugmentConfig { gain: never.gain, ..AugmentConfig::default() };
    for config in [AugmentConfig::default(), never] {
        assert_eq!(augmenter(&config).apply(&speech(500), &mut generator(1)).unwrap(), speech(500));
    }
}

#[test]
fn eight_bits_of_mu_law_err_by_less_than_a_step_and_keep_zero() {
    assert_eq!((mu_law(0.0), mu_law(1.0), mu_law(-7.0)), (0.0, 1.0, -1.0));
    for k in -1_000..=1_000 {
        let sample = k as f32 / 1_000.0;
        // Half a step of the logarithm, 5.55 / 254, of the distance from -1 / 255.
        let bound = 0.5 * (256.0_f32.ln() / 127.0) * (sample.abs() + 1.0 / 255.0) * 1.05;
        assert!((mu_law(sample) - sample).abs() <= bound, "{sample} {}", mu_law(sample));
    }
}

#[test]
fn a_band_limit_takes_away_what_is_outside() {
    let config = AugmentConfig {
        band_limit: Some(BandLimit { probability: 1.0, low_hz: [300.0; 2], high_hz: [3_400.0; 2] }),
        ..AugmentConfig::default()
    };
    let gain_db = |hz: f32| {
        let tone = (0..16_000).map(|k| (std::f32::consts::TAU * hz * k as f32 / 16_000.0).sin()).collect();
        let tone = Waveform::new(tone, RATE_HZ).unwrap();
        let changed = augmenter(&config).apply(&tone, &mut generator(1)).unwrap();
        10.0 * (power(&changed.samples()[4_000..12_000]) / power(&tone.samples()[4_000..12_000])).log10()
    };
    assert!(gain_db(1_000.0).abs() < 0.5, "{}", gain_db(1_000.0));
    assert!((gain_db(300.0) + 6.0).abs() < 0.5, "{}", gain_db(300.0));
    assert!(gain_db(60.0) < -40.0 && gain_db(7_000.0) < -20.0);
}

#[test]
fn settings_out_of_range_and_missing_recordings_are_named() {
    let refused = |config: &AugmentConfig, noises: Vec<Waveform>| match Augmenter::new(config, RATE_HZ, noises, vec![])
        .unwrap_err()
    {
        AudioError::Setting { name, .. } => name,
        other => panic!("{other}"),
    };
    let none = AugmentConfig::default;
    let noise = AugmentConfig { noise: Some(Noise { probability: 0.5, snr_db: [0.0, 9.0] }), ..none() };
    assert_eq!(refused(&noise, vec![]), "augmentation.noise");
    assert_eq!(refused(&noise, vec![Waveform::new(vec![0.0; 9], RATE_HZ).unwrap()]), "augmentation.noise");
    let other = Augmenter::new(&noise, RATE_HZ, vec![Waveform::new(vec![0.5; 9], 8_000).unwrap()], vec![]);
    assert!(matches!(other, Err(AudioError::WrongRate { rate_hz: 8_000, need_hz: RATE_HZ })));
    let (config, room) = (none(), |decay_s| Reverberation { probability: 0.5, decay_s, direct_db: [0.0, 1.0] });
    for (config, name) in [
        (AugmentConfig { codec: Some(Codec { probability: 1.5 }), ..config.clone() }, "augmentation.codec.probability"),
        (
            AugmentConfig { speed: Some(Speed { probability: 1.0, factors: vec![] }), ..none() },
            "augmentation.speed.factors",
        ),
        (
            AugmentConfig { speed: Some(Speed { probability: 1.0, factors: vec![3.0] }), ..none() },
            "augmentation.speed.factors",
        ),
        (AugmentConfig { reverberation: Some(room([0.0, 1.0])), ..none() }, "augmentation.reverberation.decay_s"),
        (AugmentConfig { reverberation: Some(room([0.5, f64::NAN])), ..none() }, "augmentation.reverberation.decay_s"),
        (
            AugmentConfig {
                band_limit: Some(BandLimit { probability: 1.0, low_hz: [50.0, 90.0], high_hz: [3e3, 8e3] }),
                ..none()
            },
            "augmentation.band_limit.high_hz",
        ),
        (
            AugmentConfig {
                equaliser: Some(Equaliser { probability: 1.0, peaks: 33, peak_db: 1.0, tilt_db: 1.0 }),
                ..none()
            },
            "augmentation.equaliser.peaks",
        ),
        (AugmentConfig { gain: Some(Gain { probability: 1.0, db: [3.0, 1.0] }), ..none() }, "augmentation.gain.db"),
    ] {
        assert_eq!(refused(&config, vec![]), name);
    }
    let wave = Waveform::new(vec![0.5; 9], 8_000).unwrap();
    let result = augmenter(&none()).apply(&wave, &mut generator(1));
    assert!(matches!(result, Err(AudioError::WrongRate { rate_hz: 8_000, .. })));
}
