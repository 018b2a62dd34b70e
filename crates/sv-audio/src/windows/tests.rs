#![expect(clippy::single_range_in_vec_init, reason = "lists of one range are what is expected")]

use ndarray::Array2;
use proptest::prelude::*;

use super::*;

fn extent(samples: usize) -> Extent {
    Extent { samples, rate_hz: 16_000, hop_samples: 160 }
}

/// Features whose frame t holds t, so that a piece says where it comes from.
fn numbered(frames: usize) -> Features {
    Features::new(Array2::from_shape_fn((frames, 2), |(t, _)| t as f32))
}

fn ranges(windows: Windows, frames: usize) -> Vec<Range<usize>> {
    windows.plan(&extent(160 * frames), frames).unwrap().ranges().collect()
}

fn partial_starts(samples: usize) -> Vec<usize> {
    let windows = Windows::resemblyzer();
    let padded = windows.padded_samples(&extent(samples)).unwrap();
    let plan = windows.plan(&extent(samples), 1 + padded / 160).unwrap();
    plan.ranges().map(|range| range.start).collect()
}

#[test]
fn partials_start_every_77_frames_and_the_last_is_dropped_below_three_quarters() {
    // 16000 / 1.3 / 160 = 76.9 frames.
    for n in [1, 8_000, 16_000, 25_600] {
        assert_eq!(partial_starts(n), [0], "{n}");
    }
    // The window at 77 is 12,320..37,920: three quarters of it end at 31,520.
    assert_eq!(partial_starts(31_519), [0]);
    assert_eq!(partial_starts(31_520), [0, 77]);
    assert_eq!(partial_starts(37_920), [0, 77]);
    assert_eq!(partial_starts(48_000), [0, 77, 154]);
    assert_eq!(partial_starts(80_000), [0, 77, 154, 231, 308]);
}

#[test]
fn the_wave_is_padded_to_the_end_of_the_last_partial() {
    let padded = |n| Windows::resemblyzer().padded_samples(&extent(n)).unwrap();
    assert_eq!(padded(1), 25_600);
    assert_eq!(padded(25_600), 25_600);
    // The dropped partial pads nothing.
    assert_eq!(padded(31_519), 31_519);
    assert_eq!(padded(31_520), 37_920);
    assert_eq!(Windows::Whole.padded_samples(&extent(31_520)).unwrap(), 31_520);
}

#[test]
fn features_of_a_wave_that_was_not_padded_are_refused() {
    let error = Windows::resemblyzer().plan(&extent(16_000), 101).unwrap_err();
    assert!(matches!(error, AudioError::PlanMismatch { planned: 160, got: 101 }), "{error}");
}

#[test]
fn whole_is_one_piece() {
    assert_eq!(ranges(Windows::Whole, 7), [0..7]);
}

#[test]
fn a_sliding_window_drops_its_tail() {
    let windows = Windows::Fixed { frames: 160, hop: 80 };
    assert_eq!(ranges(windows, 160), [0..160]);
    assert_eq!(ranges(windows, 239), [0..160]);
    assert_eq!(ranges(windows, 240), [0..160, 80..240]);
}

#[test]
fn what_is_shorter_than_a_window_is_repeated() {
    for windows in [Windows::Fixed { frames: 7, hop: 3 }, Windows::Crops { frames: 7, count: 4 }] {
        let features = numbered(3);
        let plan = windows.plan(&extent(480), 3).unwrap();
        let pieces: Vec<_> = plan.cut(&features).unwrap().collect();
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].column(1).to_vec(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]);
    }
}

#[test]
fn crops_reach_from_the_first_to_the_last_frame() {
    assert_eq!(ranges(Windows::Crops { frames: 10, count: 3 }, 25), [0..10, 7..17, 15..25]);
    assert_eq!(ranges(Windows::Crops { frames: 10, count: 1 }, 25), [7..17]);
    assert_eq!(ranges(Windows::Crops { frames: 10, count: 3 }, 10), [0..10]);
}

#[test]
fn pieces_are_views_of_their_frames() {
    let features = numbered(12);
    let plan = Windows::Fixed { frames: 4, hop: 4 }.plan(&extent(1920), 12).unwrap();
    let firsts: Vec<f32> = plan.cut(&features).unwrap().map(|piece| piece[(0, 0)]).collect();
    assert_eq!(firsts, [0.0, 4.0, 8.0]);
    assert!(plan.cut(&features).unwrap().all(|piece| piece.is_view()));
    assert!(matches!(plan.cut(&numbered(11)).err(), Some(AudioError::PlanMismatch { planned: 12, got: 11 })));
}

#[test]
fn nothing_to_cut_is_an_error() {
    assert!(matches!(Windows::Whole.plan(&extent(100), 0), Err(AudioError::NoFrames { samples: 100 })));
    for windows in [Windows::Whole, Windows::resemblyzer()] {
        assert!(matches!(windows.padded_samples(&extent(0)), Err(AudioError::NoFrames { samples: 0 })));
    }
}

#[test]
fn numbers_that_make_no_sense_are_named() {
    let partials = |frames, rate_per_second, min_coverage| Windows::Partials { frames, rate_per_second, min_coverage };
    let bad = [
        ("windows.frames", partials(0, 1.3, 0.75)),
        ("windows.frames", partials(usize::MAX, 1.3, 0.75)),
        ("windows.frames", partials(10_001, 1.3, 0.75)),
        ("windows.rate_per_second", partials(160, 0.0, 0.75)),
        ("windows.rate_per_second", partials(160, -1.0, 0.75)),
        ("windows.rate_per_second", partials(160, f64::NAN, 0.75)),
        ("windows.rate_per_second", partials(160, f64::INFINITY, 0.75)),
        // A step of half a frame, and of 161 frames.
        ("windows.rate_per_second", partials(160, 200.0, 0.75)),
        ("windows.rate_per_second", partials(160, 0.621, 0.75)),
        ("windows.min_coverage", partials(160, 1.3, 0.0)),
        ("windows.min_coverage", partials(160, 1.3, 1.01)),
        ("windows.min_coverage", partials(160, 1.3, f64::NAN)),
        ("windows.frames", Windows::Fixed { frames: 0, hop: 1 }),
        ("windows.hop", Windows::Fixed { frames: 160, hop: 0 }),
        ("windows.hop", Windows::Fixed { frames: 160, hop: 161 }),
        ("windows.frames", Windows::Crops { frames: 0, count: 1 }),
        ("windows.count", Windows::Crops { frames: 10, count: 0 }),
        ("windows.count", Windows::Crops { frames: 10, count: usize::MAX }),
    ];
    for (name, windows) in bad {
        let error = windows.plan(&extent(100_000), 626).unwrap_err();
        assert!(matches!(&error, AudioError::Setting { name: found, .. } if *found == name), "{windows:?}: {error}");
    }
    for hop_samples in [0, 16_001, usize::MAX] {
        let extent = Extent { hop_samples, ..extent(100) };
        assert!(matches!(Windows::Whole.plan(&extent, 1), Err(AudioError::Setting { name: "hop_samples", .. })));
    }
}

fn any_windows() -> impl Strategy<Value = Windows> {
    let frames = 1usize..300;
    prop_oneof![
        Just(Windows::Whole),
        (frames.clone(), 0.4f64..60.0, 0.01f64..=1.0).prop_map(|(frames, rate_per_second, min_coverage)| {
            Windows::Partials { frames, rate_per_second, min_coverage }
        }),
        (frames.clone(), 1usize..300).prop_map(|(frames, hop)| Windows::Fixed { frames, hop: hop.min(frames) }),
        (frames, 1usize..20).prop_map(|(frames, count)| Windows::Crops { frames, count }),
    ]
}

proptest! {
    #[test]
    fn pieces_rise_have_equal_lengths_and_lie_within_the_padded_wave(windows in any_windows(), samples in 1usize..100_000) {
        let Ok(padded) = windows.padded_samples(&extent(samples)) else {
            let partials = matches!(windows, Windows::Partials { .. });
            prop_assert!(partials, "{windows:?}");
            return Ok(());
        };
        let frames = 1 + padded / 160;
        let plan = windows.plan(&extent(samples), frames).unwrap();
        let ranges: Vec<_> = plan.ranges().collect();
        prop_assert_eq!(ranges.len(), plan.pieces());
        prop_assert!(ranges.iter().all(|range| range.len() == plan.frames()));
        prop_assert!(ranges.windows(2).all(|pair| pair[0].start <= pair[1].start));
        prop_assert!(plan.pieces() == 1 || ranges.iter().all(|range| range.end <= frames));
        let features = numbered(frames);
        let first: Vec<usize> = plan.cut(&features).unwrap().map(|piece| piece[(0, 0)] as usize).collect();
        let starts: Vec<usize> = ranges.iter().map(|range| range.start).collect();
        prop_assert_eq!(first, starts);
        prop_assert!(plan.cut(&features).unwrap().all(|piece| piece.nrows() == plan.frames()));
    }
}

#[test]
fn the_last_frames_are_one_piece_and_a_short_utterance_fills_it() {
    let extent = Extent { samples: 800, rate_hz: 8_000, hop_samples: 80 };
    let last = Windows::Last { frames: 4 };
    assert_eq!(last.plan(&extent, 11).unwrap().ranges().collect::<Vec<_>>(), [7..11]);
    assert_eq!(last.plan(&extent, 4).unwrap().ranges().collect::<Vec<_>>(), [0..4]);
    let features = Features::new(ndarray::Array2::from_shape_fn((3, 1), |(t, _)| t as f32));
    let short: Vec<f32> = last.plan(&extent, 3).unwrap().cut(&features).unwrap().flat_map(|p| p.into_owned()).collect();
    assert_eq!(short, [0.0, 1.0, 2.0, 0.0]);
    assert!(Windows::Last { frames: 0 }.validate().is_err());
}
