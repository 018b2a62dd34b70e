use proptest::prelude::*;

use super::*;
use crate::{Label, eer};

fn labels(speakers: &[(usize, usize)]) -> Vec<Label> {
    speakers.iter().map(|(a, b)| if a == b { Label::Target } else { Label::NonTarget }).collect()
}

fn settings(resamples: usize, level: f64) -> Bootstrap {
    Bootstrap { resamples, level, seed: 7 }
}

#[test]
fn percentiles_are_numpys() {
    // numpy.percentile([1, 2, 4, 8], [2.5, 50, 97.5]) = 1.075, 3, 7.7.
    let sorted = [1.0, 2.0, 4.0, 8.0];
    for (share, expected) in [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.975, 7.7), (1.0, 8.0)] {
        assert!((percentile(&sorted, share) - expected).abs() < 1e-12, "{share}");
    }
    assert_eq!(percentile(&[3.0], 0.4), 3.0);
}

#[test]
fn perfect_scores_have_an_interval_of_width_zero() {
    let speakers = [(0, 0), (0, 1), (1, 1), (2, 2), (1, 2)];
    let scores = [0.9, 0.1, 0.8, 0.7, 0.2];
    let trials = ScoredTrials::new(&scores, &labels(&speakers)).expect("both kinds");
    let got = eer_interval(&trials, &speakers, &settings(200, 0.95)).expect("an interval");
    assert_eq!((got.low, got.high), (0.0, 0.0));
    // All three draws one speaker: 3 of 27 resamples have no non-target, and some of the others miss both pairs.
    assert!(got.resamples > 100 && got.resamples < 200, "{got:?}");
}

#[test]
fn one_seed_gives_one_interval_under_any_numbering_of_speakers_that_keeps_their_order() {
    let speakers: Vec<(usize, usize)> = (0..200).map(|i| (i % 7, (i * i + i / 3) % 7)).collect();
    let scores: Vec<f64> = (0..200).map(|i| f64::from(i * 73 % 101) + if i % 3 == 0 { 20.0 } else { 0.0 }).collect();
    let trials = ScoredTrials::new(&scores, &labels(&speakers)).expect("both kinds");
    let first = eer_interval(&trials, &speakers, &settings(300, 0.9)).expect("an interval");
    let far_apart: Vec<_> = speakers.iter().map(|&(a, b)| (a * 1_000_003 + 5, b * 1_000_003 + 5)).collect();
    assert_eq!(eer_interval(&trials, &far_apart, &settings(300, 0.9)), Ok(first));
    let other = Bootstrap { seed: 8, ..settings(300, 0.9) };
    assert_ne!(eer_interval(&trials, &speakers, &other), Ok(first));
    let rate = eer::eer(&trials).rate;
    assert!(first.low < rate && rate < first.high, "{first:?} {rate}");
}

#[test]
fn what_cannot_be_resampled_is_an_error() {
    let speakers = [(0, 0), (0, 1)];
    let trials = ScoredTrials::new(&[0.9, 0.1], &labels(&speakers)).expect("both kinds");
    assert_eq!(
        eer_interval(&trials, &speakers[..1], &Bootstrap::default()),
        Err(MetricsError::Count { what: "pairs of speakers", got: 1, need: 2 })
    );
    for (resamples, level) in [(0, 0.95), (10, 0.0), (10, 1.0), (10, -1.0)] {
        let error = eer_interval(&trials, &speakers, &settings(resamples, level));
        assert_eq!(error, Err(MetricsError::Bootstrap { resamples, level }));
    }
    assert!(eer_interval(&trials, &speakers, &settings(10, f64::NAN)).is_err());
    assert_eq!(
        eer_interval(&trials, &[(4, 4), (4, 4)], &Bootstrap::default()),
        Err(MetricsError::Speakers { speakers: 1 })
    );
    // A single resample of many speakers whose only target pair is one of them: the seed below leaves that one out.
    let many: Vec<(usize, usize)> = (0..40).map(|i| (i, if i == 0 { 0 } else { (i + 1) % 40 })).collect();
    let trials = ScoredTrials::new(&vec![0.5; 40], &labels(&many)).expect("both kinds");
    let empty =
        (0..50).find_map(|seed| eer_interval(&trials, &many, &Bootstrap { resamples: 1, level: 0.5, seed }).err());
    assert_eq!(empty, Some(MetricsError::NoResample { resamples: 1, speakers: 40 }));
}

proptest! {
    #[test]
    fn a_weight_counts_a_trial_that_often(
        rows in prop::collection::vec((0..5_usize, 0..5_usize, -5..5_i32), 1..40),
        drawn in prop::collection::vec(0..4_u32, 5),
    ) {
        let speakers: Vec<(usize, usize)> = rows.iter().map(|r| (r.0, r.1)).chain([(0, 0), (0, 1), (2, 3), (4, 4)]).collect();
        let scores: Vec<f64> = rows.iter().map(|r| f64::from(r.2)).chain([1.0, 0.0, 2.0, 3.0]).collect();
        let kinds = labels(&speakers);
        let trials = ScoredTrials::new(&scores, &kinds).expect("both kinds");
        let (by_score, count) = by_rising_score(&trials, &speakers);
        prop_assert_eq!(count, 5);
        let drawn: Vec<f64> = drawn.into_iter().map(f64::from).collect();

        // The plain way: the list with every trial written as often as it counts.
        let (mut repeated, mut repeated_labels) = (Vec::new(), Vec::new());
        for ((&(a, b), &score), &label) in speakers.iter().zip(&scores).zip(&kinds) {
            let times = if a == b { drawn[a] } else { drawn[a] * drawn[b] };
            repeated.extend(std::iter::repeat_n(score, times as usize));
            repeated_labels.extend(std::iter::repeat_n(label, times as usize));
        }
        let plain = ScoredTrials::new(&repeated, &repeated_labels).ok().map(|trials| eer::eer(&trials).rate);
        let got = weighted_eer(&trials, &by_score, &drawn);
        prop_assert_eq!(got.is_some(), plain.is_some());
        if let (Some(got), Some(plain)) = (got, plain) {
            prop_assert!((got - plain).abs() < 1e-12, "{} {}", got, plain);
        }
    }
}
