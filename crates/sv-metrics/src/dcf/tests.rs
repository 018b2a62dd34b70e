use proptest::prelude::*;

use super::*;

fn fixture(map: impl Fn(f64) -> f64) -> ScoredTrials {
    let targets = [0.9, 0.8, 0.7, 0.55, 0.4, 0.3].map(&map);
    let non_targets = [0.65, 0.5, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1].map(&map);
    ScoredTrials::from_kinds(&targets, &non_targets).expect("both kinds")
}

fn prior(target_prior: f64) -> CostModel {
    CostModel::with_prior(target_prior).expect("a prior")
}

#[test]
fn the_fixture_costs_what_the_books_say() {
    // SPECS 9.2. At .7 half of the targets are missed and nothing is accepted wrongly.
    for target_prior in [0.01, 0.05] {
        let got = min_dcf(&fixture(|s| s), &prior(target_prior));
        assert_eq!(got, MinDcf { cost: 0.5, threshold: 0.7, far: 0.0, frr: 0.5 });
    }
    assert!((min_dcf_speechbrain(&fixture(|s| s), &prior(0.01)) - 0.005).abs() < 1e-9);
    assert!((cllr(&fixture(|s| 10.0 * s - 5.0)) - 0.786_510).abs() < 5e-7);
}

#[test]
fn costs_and_prior_enter_as_their_products() {
    // A miss at 10 with prior 1/11 weighs as much as a false alarm at 1: cost = FAR + FRR, least at .55 (1/8 + 1/3) or .3 (1/2 + 0).
    let model = CostModel::new(1.0 / 11.0, 10.0, 1.0).expect("costs");
    assert!(model.bayes_threshold().abs() < 1e-12);
    let got = min_dcf(&fixture(|s| s), &model);
    assert!((got.cost - 11.0 / 24.0).abs() < 1e-12, "{got:?}");
    assert_eq!(got.threshold, 0.55);
    // Decided at 0 all scores of the fixture are accepted, shifted by .6 those from .6 on: FAR 1/8, FRR 1/2.
    assert!((act_dcf(&fixture(|s| s), &model) - 1.0).abs() < 1e-12);
    assert!((act_dcf(&fixture(|s| s - 0.6), &model) - 0.625).abs() < 1e-12);
}

#[test]
fn where_accepting_nothing_costs_least_no_score_is_the_threshold() {
    let trials = ScoredTrials::from_kinds(&[0.1], &[0.9]).expect("both kinds");
    assert_eq!(min_dcf(&trials, &prior(0.01)), MinDcf { cost: 1.0, threshold: f64::INFINITY, far: 0.0, frr: 1.0 });
}

#[test]
fn cllr_survives_scores_of_any_size() {
    let right = ScoredTrials::from_kinds(&[1e300], &[-1e300]).expect("both kinds");
    assert_eq!((cllr(&right), min_cllr(&right)), (0.0, 0.0));
    let wrong = ScoredTrials::from_kinds(&[-1e4], &[1e4]).expect("both kinds");
    assert!((cllr(&wrong) * LN_2 - 1e4).abs() < 1e-8);
    assert!((min_cllr(&wrong) - 1.0).abs() < 1e-12);
    let knows_nothing = ScoredTrials::from_kinds(&[0.0; 3], &[0.0; 5]).expect("both kinds");
    assert!((cllr(&knows_nothing) - 1.0).abs() < 1e-12);
}

#[test]
fn costs_out_of_range_are_refused() {
    for (target_prior, miss_cost, false_alarm_cost) in [
        (0.0, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        (-0.1, 1.0, 1.0),
        (f64::NAN, 1.0, 1.0),
        (0.5, 0.0, 1.0),
        (0.5, 1.0, -1.0),
        (0.5, f64::INFINITY, 1.0),
        (0.5, 1.0, f64::NAN),
        (0.5, 1e-300, 1e300),
        (1e-310, 1.0, 1.0),
    ] {
        let error = CostModel::new(target_prior, miss_cost, false_alarm_cost).expect_err("out of range");
        assert!(matches!(error, MetricsError::Costs { .. }), "{error}");
    }
    assert!(CostModel::new(0.5, f64::MAX, f64::MAX).is_ok(), "only the ratio of the weights matters");
}

/// Pool adjacent violators, as it is taught: start with a pool a score, merge while a pool has a larger share of targets than the next.
fn pools(trials: &ScoredTrials) -> Vec<[f64; 2]> {
    let mut pools: Vec<[f64; 2]> = Vec::new();
    for tie in trials.ties() {
        let counts = Counts::of(tie);
        let mut pool = [counts.targets as f64, counts.non_targets as f64];
        while let Some(&last) = pools.last()
            && last[0] / (last[0] + last[1]) >= pool[0] / (pool[0] + pool[1])
        {
            pool = [pool[0] + last[0], pool[1] + last[1]];
            pools.pop();
        }
        pools.push(pool);
    }
    pools
}

proptest! {
    #[test]
    fn min_cllr_equals_pooled_adjacent_violators(
        targets in prop::collection::vec(-8..12_i32, 1..60),
        non_targets in prop::collection::vec(-12..8_i32, 1..60),
    ) {
        let floats = |scores: &[i32]| scores.iter().map(|&s| f64::from(s)).collect::<Vec<_>>();
        let trials = ScoredTrials::from_kinds(&floats(&targets), &floats(&non_targets)).expect("both kinds");
        let (t, n) = (targets.len() as f64, non_targets.len() as f64);
        let mut cost = 0.0;
        for [a, b] in pools(&trials) {
            let odds = (a / b) / (t / n);
            cost += if a > 0.0 { a / t * (1.0 + 1.0 / odds).log2() } else { 0.0 };
            cost += if b > 0.0 { b / n * (1.0 + odds).log2() } else { 0.0 };
        }
        let got = min_cllr(&trials);
        prop_assert!((got - cost / 2.0).abs() < 1e-12, "{} {}", got, cost / 2.0);
        prop_assert!(got <= cllr(&trials) + 1e-12);
    }

    #[test]
    fn no_threshold_costs_less_than_min_dcf(
        targets in prop::collection::vec(-8..12_i32, 1..40),
        non_targets in prop::collection::vec(-12..8_i32, 1..40),
        target_prior in 0.01..0.99_f64,
    ) {
        let floats = |scores: &[i32]| scores.iter().map(|&s| f64::from(s)).collect::<Vec<_>>();
        let trials = ScoredTrials::from_kinds(&floats(&targets), &floats(&non_targets)).expect("both kinds");
        let model = prior(target_prior);
        let got = min_dcf(&trials, &model);
        let shares = |threshold: f64| {
            let far = non_targets.iter().filter(|&&s| f64::from(s) >= threshold).count() as f64 / non_targets.len() as f64;
            let frr = targets.iter().filter(|&&s| f64::from(s) < threshold).count() as f64 / targets.len() as f64;
            (far, frr)
        };
        prop_assert_eq!(shares(got.threshold), (got.far, got.frr));
        for half in -26..26 {
            let (far, frr) = shares(f64::from(half) / 2.0);
            let cost = model.normalised(Rates { far, frr });
            prop_assert!(got.cost <= cost + 1e-12);
        }
        prop_assert!(got.cost <= act_dcf(&trials, &model) && got.cost <= 1.0);
    }
}
