//! From the scores of a list of trials to what a report shows of them: figures, a DET curve of a few hundred points, a histogram.

use sv_metrics::dcf::{CostModel, min_dcf};
use sv_metrics::rates::{DetPoint, det, probit};
use sv_metrics::{Label, ScoredTrials, eer};

use super::summary::{Histogram, TrialSummary};

/// Bins of a histogram: narrow enough to show two humps, wide enough for a few hundred targets.
const BINS: usize = 50;

/// Least way on probit axes between two points that are kept, where neither is an end: a curve of all rates spans 16 at most, counted along
/// both axes, so fewer than 330 points remain, two for each step.
const DET_STEP: f64 = 0.1;

/// Probits are cut here: one in 30,000, beyond any axis.
const DET_EDGE: f64 = 4.0;

impl TrialSummary {
    /// Rates a list of trials. `interval`: that of the equal error rate, from [`sv_metrics::bootstrap::eer_interval`]. `costs`: for the
    /// least detection cost.
    #[must_use]
    pub fn from_scores(trials: &ScoredTrials, interval: Option<[f64; 2]>, costs: &CostModel) -> Self {
        let eer = eer::eer(trials);
        Self {
            eer: eer.rate,
            interval,
            min_dcf: min_dcf(trials, costs).cost,
            target_prior: costs.target_prior(),
            threshold: eer.threshold,
            trials: trials.trials(),
            targets: trials.targets(),
            det: thinned(&det(trials)),
            histogram: Histogram::from_scores(trials, BINS),
        }
    }
}

/// The points worth drawing: both ends, both sides of the crossing of FAR and FRR, and both sides of each visible step.
fn thinned(curve: &[DetPoint]) -> Vec<[f64; 2]> {
    let place = |point: &DetPoint| [point.far, point.frr].map(|rate| probit(rate).clamp(-DET_EDGE, DET_EDGE));
    let crossing = curve.partition_point(|point| point.far < point.frr);
    let mut kept: Vec<usize> = Vec::new();
    for (index, point) in curve.iter().enumerate() {
        let far_from_last = kept.last().is_none_or(|&last| {
            let ([x, y], [last_x, last_y]) = (place(point), place(&curve[last]));
            (x - last_x).abs() + (y - last_y).abs() >= DET_STEP
        });
        if far_from_last {
            // A step seen from its last point before: without it a long step would become a slope.
            if index > 0 && kept.last() != Some(&(index - 1)) {
                kept.push(index - 1);
            }
            kept.push(index);
        } else if index + 1 == curve.len() || index == crossing || index + 1 == crossing {
            kept.push(index);
        }
    }
    kept.into_iter().map(|index| [curve[index].far, curve[index].frr]).collect()
}

impl Histogram {
    /// Counts the scores of both kinds in `bins` bins from the least to the largest score. Where all are equal, a bin's width is 1 / bins
    /// and they lie in the middle. Without bins there is one.
    #[must_use]
    pub fn from_scores(trials: &ScoredTrials, bins: usize) -> Self {
        let bins = bins.max(1);
        let least = trials.iter().next().map_or(0.0, |(score, _)| score);
        let largest = trials.iter().next_back().map_or(0.0, |(score, _)| score);
        let (low, high) = if least < largest { (least, largest) } else { (least - 0.5, least + 0.5) };
        let mut histogram = Self { low, high, targets: vec![0; bins], non_targets: vec![0; bins] };
        for (score, label) in trials.iter() {
            // Halves, as the difference of two huge scores may be infinite; a NaN from equal huge ones lands in the first bin.
            let share = (score / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            let bin = ((share * bins as f64) as usize).min(bins - 1);
            match label {
                Label::Target => histogram.targets[bin] += 1,
                Label::NonTarget => histogram.non_targets[bin] += 1,
            }
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn costs() -> CostModel {
        CostModel::with_prior(0.01).unwrap()
    }

    #[test]
    fn figures_are_those_of_the_metrics() {
        let trials =
            ScoredTrials::from_kinds(&[0.9, 0.8, 0.7, 0.55, 0.4, 0.3], &[0.65, 0.5, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1])
                .unwrap();
        let summary = TrialSummary::from_scores(&trials, Some([0.1, 0.6]), &costs());
        // As worked out beside sv_metrics::eer: a third.
        assert!((summary.eer - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((summary.trials, summary.targets), (14, 6));
        assert_eq!(summary.min_dcf, min_dcf(&trials, &costs()).cost);
        assert_eq!(summary.target_prior, 0.01);
        // Few trials: all points stay.
        assert_eq!(summary.det.len(), 15);
    }

    #[test]
    fn a_score_on_an_inner_edge_is_in_the_upper_bin() {
        let trials = ScoredTrials::from_kinds(&[0.5, 1.0], &[0.0, 0.25]).unwrap();
        let histogram = Histogram::from_scores(&trials, 4);
        assert_eq!((histogram.low, histogram.high), (0.0, 1.0));
        assert_eq!(histogram.targets, [0, 0, 1, 1]);
        assert_eq!(histogram.non_targets, [1, 1, 0, 0]);
    }

    #[test]
    fn scores_that_are_all_equal_are_counted_all_the_same() {
        for score in [0.25, 0.0, f64::MAX, f64::MIN] {
            let trials = ScoredTrials::from_kinds(&[score; 3], &[score; 2]).unwrap();
            let summary = TrialSummary::from_scores(&trials, None, &costs());
            assert_eq!(summary.histogram.targets.iter().sum::<u64>(), 3);
            assert_eq!(summary.histogram.non_targets.iter().sum::<u64>(), 2);
            assert_eq!(summary.det, [[0.0, 1.0], [1.0, 0.0]]);
            assert_eq!(summary.eer, 0.5);
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends_and_its_crossing() {
        // 40,000 scores of each kind, two humps by a low-discrepancy sequence.
        let scores = |shift: f64| -> Vec<f64> {
            (0..40_000).map(|i| probit(((f64::from(i) + 0.5) * 0.618_033_988_75).fract()) + shift).collect()
        };
        let trials = ScoredTrials::from_kinds(&scores(3.0), &scores(0.0)).unwrap();
        let whole = det(&trials);
        assert!(whole.len() > 70_000);
        let summary = TrialSummary::from_scores(&trials, None, &costs());
        assert!((20..330).contains(&summary.det.len()), "{} points", summary.det.len());
        assert_eq!(summary.det.first(), Some(&[0.0, 1.0]));
        assert_eq!(summary.det.last(), Some(&[1.0, 0.0]));
        let k = summary.det.partition_point(|[far, frr]| far < frr);
        let gap = |i: usize| (summary.det[i][0] - summary.det[i][1]).abs();
        assert!(gap(k - 1) < 1e-3 && gap(k) < 1e-3);
        // Two humps three deviations apart: FAR = FRR = 6.68 % at the middle.
        assert!((summary.eer - 0.0668).abs() < 1e-3, "{}", summary.eer);
    }

    proptest! {
        #[test]
        fn a_histogram_holds_every_trial_and_a_curve_both_ends(
            targets in prop::collection::vec(-1e3..1e3_f64, 1..60),
            non_targets in prop::collection::vec(prop_oneof![-1e3..1e3_f64, Just(f64::MAX), Just(-f64::MAX), Just(0.0)], 1..60),
            bins in 0..80_usize,
        ) {
            let trials = ScoredTrials::from_kinds(&targets, &non_targets).unwrap();
            let histogram = Histogram::from_scores(&trials, bins);
            prop_assert_eq!(histogram.targets.iter().sum::<u64>() as usize, targets.len());
            prop_assert_eq!(histogram.non_targets.iter().sum::<u64>() as usize, non_targets.len());
            let curve = thinned(&det(&trials));
            prop_assert_eq!(curve.first(), Some(&[0.0, 1.0]));
            prop_assert_eq!(curve.last(), Some(&[1.0, 0.0]));
            prop_assert!(curve.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] >= pair[1][1]));
        }
    }
}
