use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;
use crate::Features;

/// 0.5 sin at 440 Hz and 0.1 sin at 3 kHz, for `samples` samples: "signal A" of the golden numbers below.
fn two_tones(samples: usize, rate_hz: u32) -> Waveform {
    let sine = |hz: f64, n: usize| (TAU * hz * n as f64 / f64::from(rate_hz)).sin();
    let samples = (0..samples).map(|n| (0.5 * sine(440.0, n) + 0.1 * sine(3_000.0, n)) as f32).collect();
    Waveform::new(samples, rate_hz).unwrap()
}

fn features(front_end: &FrontEnd, wave: &Waveform) -> Features {
    FeatureExtractor::new(front_end).unwrap().features(wave).unwrap()
}

/// To the digits that the golden numbers were written down with: half a unit of the sixth significant one.
fn assert_value(features: &Features, (frame, bin): (usize, usize), expected: f32) {
    let got = features.view()[[frame, bin]];
    assert!((got - expected).abs() <= 5e-6 * expected.abs().max(1.0), "frame {frame} bin {bin}: {got}, not {expected}");
}

fn resemblyzer_without_vad() -> FrontEnd {
    FrontEnd { vad: VadChoice::None, ..FrontEnd::resemblyzer() }
}

fn prepare(front_end: &FrontEnd, wave: &Waveform) -> Result<Waveform, AudioError> {
    FeatureExtractor::new(front_end).unwrap().prepare(wave)
}

#[test]
fn ge2e_tf_gives_librosas_golden_numbers() {
    let wave = two_tones(16_000, 8_000);
    let got = features(&FrontEnd::ge2e_tf(), &wave);
    assert_eq!((got.frames(), got.bins()), (201, 40));
    for (at, expected) in
        [((50, 6), 1.161_13), ((50, 7), 1.397_42), ((50, 8), 0.349_83), ((50, 35), -0.330_19), ((0, 0), -0.851_27)]
    {
        assert_value(&got, at, expected);
    }
    let reflected = FrontEnd { padding: Padding::CentreReflect, ..FrontEnd::ge2e_tf() };
    assert_value(&features(&reflected, &wave), (0, 0), -0.249_22);
}

#[test]
fn resemblyzer_gives_librosas_golden_numbers() {
    let wave = two_tones(16_000, 16_000);
    let got = features(&FrontEnd::resemblyzer(), &wave);
    assert_eq!((got.frames(), got.bins()), (101, 40));
    for (at, expected) in
        [((50, 4), 5.439_24), ((50, 5), 41.077_7), ((50, 6), 4.454_81), ((50, 27), 0.592_747), ((0, 0), 0.235_531)]
    {
        assert_value(&got, at, expected);
    }
    let reflected = FrontEnd { padding: Padding::CentreReflect, ..FrontEnd::resemblyzer() };
    assert_value(&features(&reflected, &wave), (0, 0), 0.942_126);
}

#[test]
fn a_front_end_survives_toml_and_a_misspelt_key_does_not() {
    for name in FrontEnd::names() {
        let front_end = FrontEnd::by_name(name).unwrap();
        assert_eq!(front_end.name, *name);
        front_end.validate().unwrap();
        let text = toml::to_string(&front_end).unwrap();
        assert_eq!(toml::from_str::<FrontEnd>(&text).unwrap(), front_end, "{text}");
        for (misspelt, key) in [
            (text.replacen("hop =", "hopp =", 1), "hopp"),
            (format!("colour = 1\n{text}"), "colour"),
            (text.replacen("f_min_hz", "f_mni_hz", 1), "f_mni_hz"),
            (text.replacen("[level]", "[level]\nlouder = 1", 1), "louder"),
            (text.replacen("[compression]", "[compression]\nbase = 2", 1), "base"),
        ] {
            let error = toml::from_str::<FrontEnd>(&misspelt).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = FrontEnd::by_name("mfcc").unwrap_err();
    assert!(matches!(&error, AudioError::UnknownFrontEnd { name } if name == "mfcc"));
    assert!(error.to_string().contains("ge2e-tf, resemblyzer"));
}

#[test]
fn impossible_settings_are_named() {
    let refused = |change: fn(&mut FrontEnd)| {
        let mut front_end = FrontEnd::resemblyzer();
        change(&mut front_end);
        match FeatureExtractor::new(&front_end) {
            Err(AudioError::Setting { name, .. }) => name,
            Err(AudioError::Rate { .. }) => "rate_hz",
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|f| f.rate_hz = 0), "rate_hz");
    assert_eq!(refused(|f| f.name.clear()), "name");
    assert_eq!(refused(|f| f.name = "x".repeat(129)), "name");
    assert_eq!(refused(|f| f.n_fft = 0), "n_fft");
    assert_eq!(refused(|f| f.n_fft = usize::MAX), "n_fft");
    assert_eq!(refused(|f| f.n_fft = 16_001), "n_fft");
    assert_eq!(refused(|f| f.win_length = 401), "win_length");
    assert_eq!(refused(|f| f.hop = 0), "hop");
    assert_eq!(refused(|f| f.hop = 15), "hop");
    assert_eq!(refused(|f| f.hop = usize::MAX), "hop");
    assert_eq!(refused(|f| f.level = Level::RaiseTo { target_dbfs: f64::NAN }), "level.target_dbfs");
    assert_eq!(refused(|f| f.level = Level::RaiseTo { target_dbfs: 1.0 }), "level.target_dbfs");
    assert_eq!(refused(|f| f.compression = Compression::Log10 { offset: 0.0 }), "compression.offset");
    assert_eq!(refused(|f| f.compression = Compression::Log10 { offset: f64::INFINITY }), "compression.offset");
    assert_eq!(refused(|f| f.compression = Compression::Ln { offset: f64::NAN }), "compression.offset");
    assert_eq!(refused(|f| f.compression = Compression::LnFloor { floor: 0.0 }), "compression.floor");
    assert_eq!(refused(|f| f.compression = Compression::Decibels { floor: 2.0, top_db: 80.0 }), "compression.floor");
    assert_eq!(refused(|f| f.compression = Compression::Decibels { floor: 1e-10, top_db: 0.0 }), "compression.top_db");
    assert_eq!(refused(|f| f.scale = 0.0), "scale");
    assert_eq!(refused(|f| f.scale = f64::NAN), "scale");
    assert_eq!(refused(|f| f.scale = 32_769.0), "scale");
    let none = PreEmphasis::Frame { coefficient: 0.0 };
    assert_eq!(refused(|f| f.pre_emphasis = Some(PreEmphasis::Wave { coefficient: 1.5 })), "pre_emphasis.coefficient");
    assert!(none.validate().is_err());
    let cepstra = Cepstra { count: 20, lifter: Some(22.0), first: FirstCepstrum::LogEnergy { floor: 1e-7 } };
    assert!(cepstra.validate(20).is_ok() && cepstra.validate(19).is_err());
    let first = FirstCepstrum::Coefficient {};
    assert_eq!(
        refused(|f| f.cepstra = Some(Cepstra { count: 41, lifter: None, first: FirstCepstrum::Coefficient {} })),
        "cepstra.count"
    );
    assert!(Cepstra { count: 0, lifter: None, first }.validate(40).is_err());
    assert!(Cepstra { lifter: Some(0.5), ..cepstra }.validate(40).is_err());
    assert!(Cepstra { first: FirstCepstrum::LogEnergy { floor: f64::NAN }, ..cepstra }.validate(40).is_err());
    assert_eq!(refused(|f| f.deltas = Some(Deltas { order: 4, reach: 2 })), "deltas.order");
    assert_eq!(refused(|f| f.deltas = Some(Deltas { order: 1, reach: 0 })), "deltas.reach");
    assert_eq!(refused(|f| f.context = Some(Context { left: 33, right: 0 })), "context.left");
    assert_eq!(refused(|f| f.context = Some(Context { left: 0, right: usize::MAX })), "context.right");
    assert_eq!(refused(|f| f.context = Some(Context { left: 32, right: 32 })), "mel.bins");
    assert_eq!(refused(|f| f.cmn = Some(Cmn::Sliding { frames: 0 })), "cmn.sliding.frames");
    assert_eq!(refused(|f| f.mel.bins = 513), "mel.bins");
    assert_eq!(refused(|f| (f.mel.bins, f.hop) = (512, 16)), "mel.bins");
    assert_eq!(refused(|f| f.mel.f_max_hz = 8_001.0), "mel.f_max_hz");
}

#[test]
fn a_quiet_recording_is_raised_and_a_loud_one_left() {
    let front_end = resemblyzer_without_vad();
    let quiet = Waveform::new(vec![0.001, -0.001, 0.001, -0.001], 16_000).unwrap();
    // RMS 0.001 is -60 dB; 30 dB more is a factor of 10^1.5.
    let raised = prepare(&front_end, &quiet).unwrap();
    assert!(raised.samples().iter().all(|sample| (sample.abs() - 0.031_622_78).abs() < 1e-8));
    let loud = Waveform::new(vec![0.5, -0.5], 16_000).unwrap();
    assert_eq!(prepare(&front_end, &loud).unwrap(), loud);
    let faintest = Waveform::new(vec![f32::from_bits(1), 0.0], 16_000).unwrap();
    assert!(prepare(&front_end, &faintest).unwrap().samples()[0] > 0.04);
}

#[test]
fn silence_has_no_level_to_raise() {
    for samples in [0, 1_000] {
        let silence = Waveform::new(vec![0.0; samples], 16_000).unwrap();
        let result = prepare(&resemblyzer_without_vad(), &silence);
        assert!(matches!(result, Err(AudioError::DigitalSilence { samples: n }) if n == samples), "{result:?}");
    }
}

#[test]
fn digital_silence_has_the_features_of_the_offset() {
    let silence = Waveform::new(vec![0.0; 800], 8_000).unwrap();
    let got = FeatureExtractor::new(&FrontEnd::ge2e_tf()).unwrap().extract(&silence).unwrap();
    assert_eq!(got.frames(), 11);
    assert!(got.view().iter().all(|&value| value == -6.0));
}

#[test]
fn too_few_samples_are_an_error_with_both_numbers() {
    let extractor = FeatureExtractor::new(&FrontEnd::ge2e_tf()).unwrap();
    let wave = |samples| Waveform::new(vec![0.1; samples], 8_000).unwrap();
    assert!(matches!(extractor.extract(&wave(0)), Err(AudioError::TooShort { samples: 0, need: 1, rate_hz: 8_000 })));
    assert_eq!(extractor.extract(&wave(1)).unwrap().frames(), 1);
    let reflected = FrontEnd { padding: Padding::CentreReflect, ..FrontEnd::ge2e_tf() };
    let extractor = FeatureExtractor::new(&reflected).unwrap();
    let result = extractor.features(&wave(256));
    assert!(matches!(result, Err(AudioError::TooShort { samples: 256, need: 257, rate_hz: 8_000 })));
    assert_eq!(extractor.features(&wave(257)).unwrap().frames(), 4);
}

#[test]
fn features_refuse_another_rate_and_extract_resamples_it() {
    let extractor = FeatureExtractor::new(&FrontEnd::ge2e_tf()).unwrap();
    let wave = two_tones(16_000, 16_000);
    assert!(matches!(extractor.features(&wave), Err(AudioError::WrongRate { rate_hz: 16_000, need_hz: 8_000 })));
    // Away from the ends, the same tones at 8 kHz: in the bands that hold them the resampler's ripple is all that differs.
    let (resampled, direct) = (extractor.extract(&wave).unwrap(), extractor.extract(&two_tones(8_000, 8_000)).unwrap());
    assert_eq!(resampled.frames(), direct.frames());
    for bin in [6, 7, 8, 35] {
        assert!((resampled.view()[[50, bin]] - direct.view()[[50, bin]]).abs() < 1e-4);
    }
}

#[test]
fn samples_far_beyond_full_scale_are_an_error_and_never_infinite_features() {
    let extractor = FeatureExtractor::new(&FrontEnd::resemblyzer()).unwrap();
    let wave = Waveform::new(vec![0.0, f32::MAX], 16_000).unwrap();
    assert!(matches!(extractor.features(&wave), Err(AudioError::TooLoud { index: 1, value: f32::MAX })));
    let wave = Waveform::new(vec![FeatureExtractor::MAX_SAMPLE; 4_000], 16_000).unwrap();
    assert!(extractor.features(&wave).unwrap().view().iter().all(|value| value.is_finite()));
}

#[test]
fn an_extractor_is_shared_between_threads_and_remembers_few_plans() {
    fn shared<T: Send + Sync + Clone>(value: T) -> T {
        value
    }
    let extractor = shared(FeatureExtractor::new(&FrontEnd::ge2e_tf()).unwrap());
    let expected = extractor.extract(&two_tones(4_410, 44_100)).unwrap();
    for rate_hz in (10_000..30_000).step_by(1_000) {
        extractor.extract(&two_tones(100, rate_hz)).unwrap();
    }
    assert_eq!(extractor.clone().extract(&two_tones(4_410, 44_100)).unwrap(), expected);
    assert_eq!(extractor.plans_kept(), 4);
}

proptest! {
    #[test]
    fn preparing_then_computing_is_extracting(
        samples in prop::collection::vec(-1.0_f32..1.0, 1..2_000), rate_hz in 4_000_u32..50_000
    ) {
        let extractor = FeatureExtractor::new(&resemblyzer_without_vad()).unwrap();
        let wave = Waveform::new(samples, rate_hz).unwrap();
        prop_assume!(wave.samples().iter().any(|&sample| sample != 0.0));
        let prepared = extractor.prepare(&wave).unwrap();
        let features = extractor.features(&prepared).unwrap();
        prop_assert_eq!(features.frames(), extractor.frames(prepared.len()));
        prop_assert!(features.view().iter().all(|value| value.is_finite()));
        prop_assert_eq!(extractor.extract(&wave).unwrap(), features);
    }
}

#[test]
fn utterance_means_are_gone_and_the_rest_is_as_it_was() {
    let wave =
        Waveform::new((0..8_000).map(|n| (n as f32 * 0.05).sin() * n as f32 / 8_000.0).collect(), 8_000).unwrap();
    let plain = FeatureExtractor::new(&FrontEnd::ge2e_tf()).unwrap().features(&wave).unwrap();
    let front_end = FrontEnd { cmn: Some(Cmn::Utterance), ..FrontEnd::ge2e_tf() };
    let centred = FeatureExtractor::new(&front_end).unwrap().features(&wave).unwrap();
    for (plain, centred) in plain.view().columns().into_iter().zip(centred.view().columns()) {
        let mean = plain.iter().map(|&v| f64::from(v)).sum::<f64>() / plain.len() as f64;
        assert!(centred.iter().zip(plain).all(|(c, p)| (f64::from(*c) - (f64::from(*p) - mean)).abs() < 1e-6));
    }
    // A front end without it is written as before it existed: fingerprints of models stay.
    assert!(!toml::to_string(&FrontEnd::ge2e_tf()).unwrap().contains("cmn"));
    assert_eq!(toml::from_str::<FrontEnd>(&toml::to_string(&front_end).unwrap()).unwrap(), front_end);
}

#[test]
fn front_ends_of_before_are_written_as_they_were() {
    // Models keep their fingerprint, which is of these keys and values.
    const KEYS: [&str; 13] = [
        "name",
        "rate_hz",
        "resampler",
        "n_fft",
        "win_length",
        "hop",
        "window",
        "padding",
        "spectrum",
        "level",
        "vad",
        "mel",
        "compression",
    ];
    for front_end in [FrontEnd::ge2e_tf(), FrontEnd::resemblyzer()] {
        let table = toml::Table::try_from(&front_end).unwrap();
        assert_eq!(table.len(), KEYS.len());
        assert!(table.keys().all(|key| KEYS.contains(&key.as_str())), "{table}");
        assert_eq!(table["mel"].as_table().unwrap().len(), 5);
    }
}

#[test]
fn kaldi_gives_the_golden_numbers_of_two_tones() {
    // SPECS 8.1 and 5.1, "signal A", before the mean is subtracted.
    let wave = two_tones(16_000, 16_000);
    let bare = |front_end: FrontEnd| features(&FrontEnd { cmn: None, ..front_end }, &wave);
    let kaldi = bare(FrontEnd::kaldi());
    assert_eq!((kaldi.frames(), kaldi.bins()), (98, 80));
    let close = |features: &Features, at: (usize, usize), expected: f32| {
        let got = features.view()[at];
        assert!((got - expected).abs() < 5e-3, "{at:?}: {got}, not {expected}");
    };
    for (at, expected) in [((0, 0), 9.233_8), ((50, 0), 9.233_8), ((50, 14), 25.201_8), ((50, 40), 4.780_8)] {
        close(&kaldi, at, expected);
    }
    let wespeaker = bare(FrontEnd::wespeaker());
    for (at, expected) in [((0, 0), 12.596_7), ((50, 14), 25.221), ((50, 40), 12.994_6), ((50, 79), 13.726_2)] {
        close(&wespeaker, at, expected);
    }
    let taoruijie = bare(FrontEnd::taoruijie());
    for (at, expected) in [((0, 0), -8.995_3), ((50, 0), -7.552_1), ((50, 14), 4.373_2), ((50, 79), -7.734_7)] {
        close(&taoruijie, at, expected);
    }
}

#[test]
fn every_preset_says_how_many_values_a_frame_has_and_gives_that_many_of_silence_too() {
    for name in FrontEnd::names() {
        let mut front_end = FrontEnd::by_name(name).unwrap();
        (front_end.vad, front_end.level) = (VadChoice::None, Level::AsIs {});
        let extractor = FeatureExtractor::new(&front_end).unwrap();
        let silence = Waveform::new(vec![0.0; 4_000], front_end.rate_hz).unwrap();
        let got = extractor.features(&silence).unwrap();
        assert_eq!((got.frames(), got.bins()), (extractor.frames(4_000), front_end.bins()), "{name}");
        assert!(got.view().iter().all(|value| value.is_finite()), "{name}");
        let loud = Waveform::new(vec![FeatureExtractor::MAX_SAMPLE; 4_000], front_end.rate_hz).unwrap();
        assert!(extractor.features(&loud).unwrap().view().iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn a_frame_reaches_as_far_as_its_features_change() {
    for name in FrontEnd::names() {
        let mut front_end = FrontEnd::by_name(name).unwrap();
        (front_end.vad, front_end.cmn, front_end.deltas, front_end.context) = (VadChoice::None, None, None, None);
        front_end.compression = Compression::None {};
        let extractor = FeatureExtractor::new(&front_end).unwrap();
        let wave = |changed: Option<i64>| {
            let mut samples: Vec<f32> = (0..2_000).map(|n| (n as f32 * 0.37).sin() * 0.1).collect();
            if let Some(index) = changed {
                samples[index as usize] += 0.5;
            }
            Waveform::new(samples, front_end.rate_hz).unwrap()
        };
        let frame = |changed| extractor.features(&wave(changed)).unwrap().view().row(5).to_vec();
        let reach = front_end.reach();
        let at = |index: i64| 5 * front_end.hop as i64 + index;
        let same = frame(None);
        assert_eq!(frame(Some(at(reach.start - 1))), same, "{name}");
        assert_eq!(frame(Some(at(reach.end))), same, "{name}");
        assert_ne!(frame(Some(at(reach.start + 40))), same, "{name}");
        assert_ne!(frame(Some(at(reach.end - 40))), same, "{name}");
    }
}

proptest! {
    #[test]
    fn every_preset_takes_or_refuses_any_length(
        samples in prop::collection::vec(-1.0_f32..1.0, 0..1_500), preset in 0_usize..FrontEnd::names().len()
    ) {
        let mut front_end = FrontEnd::by_name(FrontEnd::names()[preset]).unwrap();
        (front_end.vad, front_end.level) = (VadChoice::None, Level::AsIs {});
        let extractor = FeatureExtractor::new(&front_end).unwrap();
        let wave = Waveform::new(samples, front_end.rate_hz).unwrap();
        match extractor.features(&wave) {
            Ok(features) => {
                prop_assert!(wave.len() >= extractor.min_samples());
                prop_assert_eq!(features.view().dim(), (extractor.frames(wave.len()), front_end.bins()));
                prop_assert!(features.view().iter().all(|value| value.is_finite()));
            }
            Err(AudioError::TooShort { samples, need, .. }) => {
                prop_assert_eq!((samples, need), (wave.len(), extractor.min_samples()));
                prop_assert!(samples < need);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
