use proptest::prelude::*;

use super::*;
use crate::{Acceptance, ThresholdOrigin};

fn kinds(targets: &[f64], non_targets: &[f64]) -> ScoredTrials {
    ScoredTrials::from_kinds(targets, non_targets).expect("both kinds")
}

fn at(value: f64, acceptance: Acceptance) -> Threshold {
    Threshold::new(value, acceptance, ThresholdOrigin::Caller).expect("finite")
}

#[test]
fn tied_scores_are_one_point_in_any_order() {
    // 0.5 is shared by one target of two and two non-targets of four.
    let expected = [(1.9, 0.0, 1.0), (0.9, 0.0, 0.5), (0.5, 0.5, 0.0), (0.1, 1.0, 0.0)];
    for trials in [kinds(&[0.9, 0.5], &[0.5, 0.1, 0.5, 0.1]), kinds(&[0.5, 0.9], &[0.1, 0.1, 0.5, 0.5])] {
        let points: Vec<_> = det(&trials).iter().map(|p| (p.threshold, p.far, p.frr)).collect();
        assert_eq!(points, expected);
    }
}

#[test]
fn the_first_point_accepts_nothing_at_any_magnitude() {
    for largest in [1e300, -1e300, 0.0, 3.5, f64::MAX] {
        let trials = kinds(&[largest], &[-f64::MAX]);
        let first = det(&trials)[0];
        assert!(first.threshold > largest, "{largest}");
        assert_eq!((first.far, first.frr), (0.0, 1.0));
    }
}

#[test]
fn rates_follow_the_thresholds_own_side() {
    let trials = kinds(&[0.9, 0.5], &[0.5, 0.1, 0.5, 0.1]);
    assert_eq!(rates_at(&trials, &at(0.5, Acceptance::AtLeast)), Rates { far: 0.5, frr: 0.0 });
    assert_eq!(rates_at(&trials, &at(0.5, Acceptance::Above)), Rates { far: 0.0, frr: 0.5 });
    assert_eq!(rates_at(&trials, &at(-5.0, Acceptance::Above)), Rates { far: 1.0, frr: 0.0 });
    assert_eq!(rates_at(&trials, &at(5.0, Acceptance::AtLeast)), Rates { far: 0.0, frr: 1.0 });
}

#[test]
fn the_hull_of_the_fixture_has_the_vertices_of_the_books() {
    // SPECS 9.1 F, from lax to strict: (1, 0) (.5, 0) (.125, .3333) (0, .5) (0, 1).
    let trials = kinds(&[0.9, 0.8, 0.7, 0.55, 0.4, 0.3], &[0.65, 0.5, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1]);
    let vertices: Vec<_> = convex_hull(&trials).iter().map(|p| (p.far, p.frr)).collect();
    assert_eq!(vertices, [(0.0, 1.0), (0.0, 0.5), (0.125, 1.0 / 3.0), (0.5, 0.0), (1.0, 0.0)]);
}

#[test]
fn probit_has_the_values_of_scipy_in_all_three_ranges() {
    // scipy.stats.norm.ppf, scipy 1.17.1.
    for (rate, expected) in PROBITS {
        assert!((probit(rate) - expected).abs() <= 1e-15 * expected.abs().max(1.0), "{rate}: {}", probit(rate));
    }
    assert_eq!(probit(0.0), f64::NEG_INFINITY);
    assert_eq!(probit(1.0), f64::INFINITY);
    assert!([f64::NAN, -0.1, 1.1].iter().all(|&rate| probit(rate).is_nan()));
}

fn some_trials() -> impl Strategy<Value = ScoredTrials> {
    let scores = || prop::collection::vec((-6..6_i32).prop_map(|s| f64::from(s) / 4.0), 1..40);
    (scores(), scores()).prop_map(|(targets, non_targets)| kinds(&targets, &non_targets))
}

proptest! {
    #[test]
    fn the_curve_equals_a_plain_count(trials in some_trials(), other in -8..8_i32) {
        let rows: Vec<_> = trials.iter().collect();
        let share = |label, accept: &dyn Fn(f64) -> bool| {
            let of_label: Vec<f64> = rows.iter().filter(|r| r.1 == label).map(|r| r.0).collect();
            of_label.iter().filter(|&&score| accept(score)).count() as f64 / of_label.len() as f64
        };
        let points = det(&trials);
        prop_assert!(points.windows(2).all(|w| w[0].threshold > w[1].threshold));
        prop_assert_eq!(points.len(), 1 + trials.ties().count());
        for point in points {
            prop_assert_eq!(point.far, share(crate::Label::NonTarget, &|s| s >= point.threshold));
            prop_assert_eq!(point.frr, share(crate::Label::Target, &|s| s < point.threshold));
        }
        let value = f64::from(other) / 4.0;
        let above = rates_at(&trials, &at(value, Acceptance::Above));
        prop_assert_eq!(above.far, share(crate::Label::NonTarget, &|s| s > value));
        prop_assert_eq!(above.frr, share(crate::Label::Target, &|s| s <= value));
    }

    #[test]
    fn no_point_lies_below_the_hull_and_the_hull_is_convex(trials in some_trials()) {
        let (points, hull) = (det(&trials), convex_hull(&trials));
        let slopes: Vec<f64> = hull.windows(2).map(|w| (w[1].frr - w[0].frr) / (w[1].far - w[0].far)).collect();
        prop_assert!(slopes.windows(2).all(|s| s[0] < s[1]), "{:?}", slopes);
        for point in &points {
            let edge = hull.windows(2).find(|w| w[0].far <= point.far && point.far <= w[1].far && w[0].far < w[1].far);
            if let Some([a, b]) = edge {
                let line = a.frr + (b.frr - a.frr) * (point.far - a.far) / (b.far - a.far);
                prop_assert!(point.frr >= line - 1e-12);
            }
        }
        prop_assert!(hull.iter().all(|vertex| points.contains(vertex)));
    }

    #[test]
    fn probit_is_odd_about_a_half_and_rises(rate in 1e-6..0.5_f64) {
        prop_assert!((probit(rate) + probit(1.0 - rate)).abs() < 1e-9);
        prop_assert!(probit(rate) < probit(rate + 1e-7));
    }
}

const PROBITS: [(f64, f64); 20] = [
    (1e-300, -37.0470962993612),
    (1e-20, -9.262340089798409),
    (1e-12, -7.034483825301131),
    (1e-06, -4.753424308822899),
    (0.001, -3.090232306167813),
    (0.01, -2.3263478740408408),
    (0.02, -2.053748910631823),
    (0.05, -1.6448536269514729),
    (0.0749, -1.4402382675279635),
    (0.075, -1.4395314709384563),
    (0.0751, -1.4388253927525403),
    (0.1, -1.2815515655446004),
    (0.2, -0.8416212335729142),
    (0.4, -0.2533471031357997),
    (0.5, 0.0),
    (0.6, 0.2533471031357997),
    (0.9, 1.2815515655446004),
    (0.925, 1.4395314709384563),
    (0.93, 1.475791028179171),
    (0.999, 3.090232306167813),
];
