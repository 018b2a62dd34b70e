use proptest::prelude::*;

use super::*;
use crate::Label;

const ALL: [EerConvention; 8] = [
    EerConvention::Interpolated,
    EerConvention::Sklearn,
    EerConvention::NearestPoint,
    EerConvention::SpeechBrain,
    EerConvention::WeSpeaker,
    EerConvention::Kaldi,
    EerConvention::Grid,
    EerConvention::ConvexHull,
];

fn fixture() -> ScoredTrials {
    ScoredTrials::from_kinds(&[0.9, 0.8, 0.7, 0.55, 0.4, 0.3], &[0.65, 0.5, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1])
        .expect("both kinds")
}

#[test]
fn the_fixture_has_the_figure_of_every_tool() {
    // FAR and FRR in eighths and sixths. A: between (1/8, 1/3) at .55 and (1/4, 1/3) at .5 and (3/8, 1/3) at .45 the crossing is at 1/3,
    // two thirds of the way from .5 to .45. B: |3/8 - 1/3| at .4 from above, mean 17/48. D: max(3/8, 1/3). E: (1/8 + 1/3) / 2 at .5.
    // F: on the edge from (1/8, 1/3) to (1/2, 0), at 4/17.
    let third = 1.0 / 3.0;
    for (convention, rate, threshold, acceptance) in [
        (EerConvention::Interpolated, third, 0.5 - 0.1 / 3.0, Acceptance::AtLeast),
        (EerConvention::Sklearn, third, 0.5 - 0.1 / 3.0, Acceptance::AtLeast),
        (EerConvention::NearestPoint, 0.375, 0.45, Acceptance::AtLeast),
        (EerConvention::SpeechBrain, 17.0 / 48.0, 0.4, Acceptance::Above),
        (EerConvention::WeSpeaker, third, 0.45, Acceptance::Above),
        (EerConvention::Kaldi, third, 0.55, Acceptance::AtLeast),
        (EerConvention::Grid, 11.0 / 48.0, 0.5, Acceptance::Above),
        (EerConvention::ConvexHull, 4.0 / 17.0, 0.55 - 0.25 * 5.0 / 17.0, Acceptance::AtLeast),
    ] {
        let got = eer_by(convention, &fixture());
        // SpeechBrain's rates are f32.
        let tolerance = if convention == EerConvention::SpeechBrain { 6e-8 } else { 1e-12 };
        assert!((got.rate - rate).abs() < tolerance, "{convention:?}: {got:?}, not {rate}");
        assert!((got.threshold - threshold).abs() < 1e-12, "{convention:?}: {got:?}, not {threshold}");
        assert_eq!(got.acceptance, acceptance, "{convention:?}");
    }
}

#[test]
fn one_trial_of_each_kind_has_a_figure_by_every_rule() {
    // Right order, wrong order, one score.
    for (target, non_target, expected) in [
        (0.9, 0.1, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        // The grid finds no threshold in (.1, .9] where the rates are less than 1 apart from .5 on: FAR 1, FRR 1 there.
        (0.1, 0.9, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.5]),
        // The grid: FAR and FRR 1 apart everywhere, so it answers 0. WeSpeaker: the target comes first, and rejecting it alone is a step.
        (0.7, 0.7, [0.5, 0.5, 1.0, 0.5, 1.0, 0.0, 0.0, 0.5]),
    ] {
        let trials = ScoredTrials::from_kinds(&[target], &[non_target]).expect("both kinds");
        for (convention, rate) in ALL.into_iter().zip(expected) {
            let got = eer_by(convention, &trials);
            assert_eq!(got.rate, rate, "{convention:?} of {target} against {non_target}: {got:?}");
        }
    }
}

#[test]
fn scores_of_extreme_size_interpolate_to_a_finite_threshold() {
    let trials = ScoredTrials::from_kinds(&[f64::MAX, -f64::MAX], &[f64::MAX, -f64::MAX]).expect("both kinds");
    for convention in [EerConvention::Interpolated, EerConvention::ConvexHull] {
        let got = eer_by(convention, &trials);
        assert_eq!((got.rate, got.threshold.is_finite()), (0.5, true), "{convention:?}");
    }
}

#[test]
fn a_similarity_array_of_another_size_is_refused() {
    for (values, speakers, utterances) in [(7, 2, 2), (0, 2, 0), (1, 1, 1), (0, 0, 3), (4, usize::MAX, 2)] {
        let error = ge2e_protocol(&vec![0.5; values], speakers, utterances);
        assert_eq!(error, Err(MetricsError::Similarity { got: values, speakers, utterances }));
    }
    let error = ge2e_protocol(&[0.9, f64::NAN, 0.1, 0.9], 2, 1).expect_err("not finite");
    assert!(matches!(error, MetricsError::ScoreNotFinite { index: 1, .. }), "{error}");
}

#[test]
fn the_ge2e_test_counts_own_and_other_speakers_apart() {
    // Own similarities .9 and .6, others .1 and .7. At .50: FAR 1/2, FRR 0. At .60 (accept above): FAR 1/2, FRR 1/2, gap 0.
    let got = ge2e_protocol(&[0.9, 0.1, 0.7, 0.6], 2, 1).expect("two speakers");
    assert_eq!(got, Ge2eTest { eer: 0.5, threshold: 0.01 * 10.0 + 0.5, far: 0.5, frr: 0.5 });
}

/// Scores in steps, so that many are equal.
fn some_scores() -> impl Strategy<Value = (Vec<i32>, Vec<i32>)> {
    (prop::collection::vec(-8..12, 1..60), prop::collection::vec(-12..8, 1..60))
}

fn scored(kinds: &(Vec<i32>, Vec<i32>), map: impl Fn(i32) -> f64) -> ScoredTrials {
    let mapped = |scores: &[i32]| scores.iter().map(|&s| map(s)).collect::<Vec<_>>();
    ScoredTrials::from_kinds(&mapped(&kinds.0), &mapped(&kinds.1)).expect("both kinds")
}

/// FAR and FRR by counting, accept at least or above.
fn count(trials: &ScoredTrials, accept: impl Fn(f64) -> bool) -> Rates {
    let (mut accepted, mut rejected) = (0.0, 0.0);
    for (score, label) in trials.iter() {
        match (label, accept(score)) {
            (Label::NonTarget, true) => accepted += 1.0,
            (Label::Target, false) => rejected += 1.0,
            _ => {}
        }
    }
    Rates { far: accepted / trials.non_targets() as f64, frr: rejected / trials.targets() as f64 }
}

proptest! {
    #[test]
    fn a_rising_map_of_the_scores_moves_no_rate(kinds in some_scores()) {
        let (plain, mapped) = (scored(&kinds, f64::from), scored(&kinds, |s| (f64::from(s) * 3.0).exp() - 7.0));
        for convention in ALL.into_iter().filter(|&c| c != EerConvention::Grid) {
            prop_assert_eq!(eer_by(convention, &plain).rate, eer_by(convention, &mapped).rate, "{:?}", convention);
        }
    }

    #[test]
    fn swapped_labels_and_negated_scores_have_the_same_rate(kinds in some_scores()) {
        let swapped = (kinds.1.clone(), kinds.0.clone());
        let (plain, turned) = (scored(&kinds, f64::from), scored(&swapped, |s| -f64::from(s)));
        for convention in [EerConvention::Interpolated, EerConvention::Sklearn, EerConvention::ConvexHull] {
            let (a, b) = (eer_by(convention, &plain).rate, eer_by(convention, &turned).rate);
            prop_assert!((a - b).abs() < 1e-12, "{:?}: {} {}", convention, a, b);
        }
    }

    #[test]
    fn the_default_equals_a_quadratic_count(kinds in some_scores()) {
        let trials = scored(&kinds, f64::from);
        let mut distinct: Vec<f64> = trials.iter().map(|row| row.0).collect();
        distinct.dedup();
        let mut before = Rates { far: 0.0, frr: 1.0 };
        let mut expected = None;
        for &threshold in distinct.iter().rev() {
            let next = count(&trials, |score| score >= threshold);
            if expected.is_none() && next.far >= next.frr {
                // Where the line from one to the other meets FAR = FRR.
                let x = (before.frr - before.far) / ((next.far - before.far) + (before.frr - next.frr));
                expected = Some(before.far * (1.0 - x) + next.far * x);
            }
            before = next;
        }
        let got = eer(&trials);
        prop_assert!((got.rate - expected.expect("a crossing")).abs() < 1e-12);
        prop_assert!(distinct[0] <= got.threshold && got.threshold <= distinct[distinct.len() - 1]);
        prop_assert!((eer_by(EerConvention::Sklearn, &trials).rate - got.rate).abs() < 1e-12);
        prop_assert!(eer_by(EerConvention::ConvexHull, &trials).rate <= got.rate.min(0.5) + 1e-12);
    }

    #[test]
    fn speechbrains_figure_equals_its_quadratic_definition(kinds in some_scores()) {
        let trials = scored(&kinds, f64::from);
        let mut thresholds: Vec<f64> = trials.iter().map(|row| row.0).collect();
        thresholds.dedup();
        let middles: Vec<f64> = thresholds.windows(2).map(|w| (w[0] + w[1]) / 2.0).collect();
        thresholds.extend(middles);
        thresholds.sort_by(f64::total_cmp);
        let mut best: Option<(f64, f64)> = None;
        for threshold in thresholds {
            let Rates { far, frr } = count(&trials, |score| score > threshold);
            if best.is_none_or(|(gap, _)| (far as f32 - frr as f32).abs() < gap as f32) {
                best = Some((f64::from((far as f32 - frr as f32).abs()), f64::midpoint(far, frr)));
            }
        }
        let (gap, expected) = best.expect("a threshold");
        let got = eer_by(EerConvention::SpeechBrain, &trials);
        // In f32 two gaps that are equal may differ in the last bit; then either may win.
        let reached = count(&trials, |score| score > got.threshold);
        prop_assert!(((reached.far - reached.frr).abs() - gap).abs() < 1e-6);
        prop_assert!((got.rate - f64::midpoint(reached.far, reached.frr)).abs() < 1e-6);
        prop_assert!((got.rate - expected).abs() <= gap + 1e-6);
    }

    #[test]
    fn the_grid_equals_a_quadratic_count(kinds in some_scores()) {
        let trials = scored(&kinds, |s| 0.75 + f64::from(s) / 40.0);
        let got = eer_by(EerConvention::Grid, &trials);
        let gap = |r: Rates| (r.far - r.frr).abs();
        let least = (0..50).map(|i| gap(count(&trials, |score| score > 0.01 * f64::from(i) + 0.5))).fold(1.0, f64::min);
        if got.threshold > 0.0 {
            let here = count(&trials, |score| score > got.threshold);
            prop_assert_eq!((gap(here), (here.far + here.frr) / 2.0), (least, got.rate));
        } else {
            prop_assert_eq!((least, got.rate), (1.0, 0.0));
        }
    }

    #[test]
    fn every_rule_gives_a_rate_between_0_and_1(kinds in some_scores()) {
        for convention in ALL {
            let got = eer_by(convention, &scored(&kinds, f64::from));
            prop_assert!((-1e-15..=1.0 + 1e-15).contains(&got.rate) && !got.threshold.is_nan(), "{:?}: {:?}", convention, got);
        }
    }
}
