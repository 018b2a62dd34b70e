#![expect(clippy::single_range_in_vec_init, reason = "lists of one range are what is expected")]

use proptest::prelude::*;

use super::*;

fn wave(samples: Vec<f32>) -> Waveform {
    Waveform::new(samples, 16_000).unwrap()
}

/// Bursts of a buzz in silence: something for every detector to find.
fn bursts(lengths: &[(u16, u16)]) -> Waveform {
    let mut samples = Vec::new();
    for &(pause, burst) in lengths {
        samples.resize(samples.len() + usize::from(pause), 0.0);
        samples.extend((0..burst).map(|i| {
            let t = f32::from(i) / 16_000.0;
            0.1 * (1..20u8).map(f32::from).map(|h| (std::f32::consts::TAU * 130.0 * h * t).sin() / h).sum::<f32>()
        }));
    }
    wave(samples)
}

#[test]
fn runs_are_half_open_and_the_last_is_closed() {
    let flags = [true, false, false, true, true];
    assert_eq!(runs(flags.into_iter()).collect::<Vec<_>>(), [0..1, 3..5]);
    assert_eq!(runs(std::iter::empty()).count(), 0);
}

#[test]
fn every_name_makes_the_choice_of_that_name() {
    for name in VadChoice::NAMES {
        let choice: VadChoice = name.parse().unwrap();
        assert_eq!(choice.name(), name);
        choice.validate().unwrap();
    }
    let error = "silero".parse::<VadChoice>().unwrap_err();
    assert_eq!(error.to_string(), "there is no VAD `silero`; name one of none, resemblyzer, energy, trim, split");
}

#[test]
fn none_keeps_everything() {
    let all = wave(vec![0.25; 1000]);
    assert_eq!(VadChoice::None.segments(&all).unwrap(), [0..1000]);
    assert_eq!(VadChoice::None.voiced(&all).unwrap(), all);
}

#[test]
fn nothing_left_is_an_error_that_says_how_much_was_heard_and_by_whom() {
    let error = VadChoice::energy().voiced(&wave(vec![0.25; 24_000])).unwrap_err();
    assert!(matches!(error, AudioError::NoSpeech { seconds: 1.5, vad: "energy" }), "{error}");
    let error = VadChoice::None.voiced(&wave(Vec::new())).unwrap_err();
    assert!(matches!(error, AudioError::NoSpeech { seconds: 0.0, vad: "none" }), "{error}");
}

#[test]
fn constants_that_make_no_sense_are_refused_before_anything_is_heard() {
    let resemblyzer = |mode, window_ms, average, dilate| VadChoice::Resemblyzer { mode, window_ms, average, dilate };
    let bad = [
        ("vad.mode", resemblyzer(4, 30, 8, 6)),
        ("vad.window_ms", resemblyzer(3, 0, 8, 6)),
        ("vad.average", resemblyzer(3, 30, 0, 6)),
        ("vad.average", resemblyzer(3, 30, usize::MAX, 6)),
        ("vad.dilate", resemblyzer(3, 30, 8, usize::MAX)),
        ("vad.noise_ms", VadChoice::Energy(EnergyVad { noise_ms: 0, ..EnergyVad::default() })),
    ];
    for (name, choice) in bad {
        let error = choice.voiced(&wave(vec![0.1; 100])).unwrap_err();
        assert!(matches!(&error, AudioError::Setting { name: found, .. } if *found == name), "{name}: {error}");
    }
}

#[cfg(not(feature = "vad-webrtc"))]
#[test]
fn a_build_without_webrtc_says_which_feature_it_lacks_and_what_to_name_instead() {
    let error = VadChoice::resemblyzer().segments(&wave(vec![0.1; 16_000])).unwrap_err();
    assert!(matches!(error, AudioError::MissingFeature { feature: "vad-webrtc", .. }));
    let message = error.to_string();
    assert!(["vad-webrtc", "resemblyzer", "energy", "none"].iter().all(|word| message.contains(word)), "{message}");
}

#[cfg(feature = "vad-webrtc")]
#[test]
fn resemblyzers_segments_are_whole_windows_widened_by_three() {
    let segments = VadChoice::resemblyzer().segments(&bursts(&[(16_000, 16_000), (16_007, 0)])).unwrap();
    assert_eq!(segments.len(), 1, "{segments:?}");
    assert!(segments[0].start.is_multiple_of(480) && segments[0].end.is_multiple_of(480));
    assert!((14_000..16_500).contains(&segments[0].start), "{segments:?}");
    assert!((31_500..36_000).contains(&segments[0].end), "{segments:?}");
}

fn detectors() -> Vec<VadChoice> {
    let mut choices = vec![VadChoice::None, VadChoice::energy()];
    if cfg!(feature = "vad-webrtc") {
        choices.push(VadChoice::resemblyzer());
    }
    choices
}

proptest! {
    #[test]
    fn segments_are_sorted_disjoint_and_within_bounds_and_voiced_is_as_long_as_they_are(
        lengths in prop::collection::vec((0u16..20_000, 0u16..20_000), 0..6)
    ) {
        let wave = bursts(&lengths);
        for choice in detectors() {
            let segments = choice.segments(&wave).unwrap();
            prop_assert!(segments.iter().all(|s| s.start < s.end && s.end <= wave.len()), "{segments:?}");
            prop_assert!(segments.windows(2).all(|pair| pair[0].end < pair[1].start), "{segments:?}");
            let total: usize = segments.iter().map(ExactSizeIterator::len).sum();
            match choice.voiced(&wave) {
                Ok(voiced) => prop_assert_eq!(voiced.len(), total),
                Err(error) => {
                    let none = matches!(error, AudioError::NoSpeech { .. });
                    prop_assert!(total == 0 && none, "{error}");
                }
            }
        }
    }

    #[test]
    fn librosas_stretches_are_sorted_disjoint_and_within_bounds(
        lengths in prop::collection::vec((0u16..5_000, 0u16..5_000), 0..6), top_db in 1.0f64..80.0
    ) {
        let wave = bursts(&lengths);
        let stretches = librosa::split(wave.samples(), top_db);
        prop_assert!(stretches.iter().all(|s| s.start < s.end && s.end <= wave.len()));
        prop_assert!(stretches.windows(2).all(|pair| pair[0].end < pair[1].start));
        let trimmed = librosa::trim(wave.samples(), top_db);
        prop_assert!(stretches.iter().all(|s| trimmed.start <= s.start && s.end <= trimmed.end));
    }
}

#[test]
fn trim_keeps_the_pause_inside_and_split_drops_it() {
    let mut samples = vec![0.0; 30_000];
    samples[5120..7680].fill(1.0);
    samples[15_360..17_920].fill(1.0);
    let wave = Waveform::new(samples, 8_000).unwrap();
    assert_eq!(VadChoice::Trim { top_db: 20.0 }.segments(&wave).unwrap(), [9 * 512..37 * 512]);
    assert_eq!(VadChoice::Split { top_db: 20.0 }.segments(&wave).unwrap(), [9 * 512..17 * 512, 29 * 512..37 * 512]);
    assert!(VadChoice::Trim { top_db: f64::NAN }.validate().is_err());
    let empty = Waveform::new(Vec::new(), 8_000).unwrap();
    assert!(matches!(VadChoice::Trim { top_db: 20.0 }.voiced(&empty), Err(AudioError::NoSpeech { .. })));
}
