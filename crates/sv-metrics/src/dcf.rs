//! Detection costs: the least one, the one at the Bayes threshold, and the cost of scores as log likelihood ratios.

use std::f64::consts::LN_2;

use serde::Serialize;

use crate::rates::{Counts, Rates, accepting, hull, operating_points};
use crate::{MetricsError, ScoredTrials};

/// What errors cost, and how often targets are expected: checked on construction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostModel {
    target_prior: f64,
    miss_cost: f64,
    false_alarm_cost: f64,
}

impl CostModel {
    /// `target_prior`: expected share of targets, in (0, 1). Costs: positive; only their ratio matters to normalised figures.
    ///
    /// # Errors
    /// [`MetricsError::Costs`] for other values, or where one weight vanishes beside the other.
    pub fn new(target_prior: f64, miss_cost: f64, false_alarm_cost: f64) -> Result<Self, MetricsError> {
        let model = Self { target_prior, miss_cost, false_alarm_cost };
        let in_range = target_prior > 0.0 && target_prior < 1.0 && miss_cost > 0.0 && false_alarm_cost > 0.0;
        let (miss, false_alarm) = (model.miss_weight(), model.false_alarm_weight());
        let weighs = miss.is_normal() && false_alarm.is_normal();
        if in_range && weighs && (false_alarm / miss).is_normal() {
            Ok(model)
        } else {
            Err(MetricsError::Costs { target_prior, miss_cost, false_alarm_cost })
        }
    }

    /// Both costs 1, as VoxCeleb's and VoxSRC's figures have it (priors 0.01 and 0.05).
    ///
    /// # Errors
    /// [`MetricsError::Costs`] unless the prior is in (0, 1).
    pub fn with_prior(target_prior: f64) -> Result<Self, MetricsError> {
        Self::new(target_prior, 1.0, 1.0)
    }

    /// Expected share of targets.
    #[must_use]
    pub fn target_prior(&self) -> f64 {
        self.target_prior
    }

    /// The log likelihood ratio from which on accepting costs less than rejecting.
    #[must_use]
    pub fn bayes_threshold(&self) -> f64 {
        (self.false_alarm_weight() / self.miss_weight()).ln()
    }

    fn miss_weight(&self) -> f64 {
        self.miss_cost * self.target_prior
    }

    fn false_alarm_weight(&self) -> f64 {
        self.false_alarm_cost * (1.0 - self.target_prior)
    }

    /// Expected cost, divided by that of the better of always accepting and always rejecting.
    fn normalised(&self, rates: Rates) -> f64 {
        let (miss, false_alarm) = (self.miss_weight(), self.false_alarm_weight());
        (miss * rates.frr + false_alarm * rates.far) / miss.min(false_alarm)
    }
}

/// The least detection cost and where it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MinDcf {
    /// The cost, in [0, 1]: 1 is what a system costs that always gives the same answer.
    pub cost: f64,
    /// Accept when score >= threshold; infinite where accepting nothing costs least.
    pub threshold: f64,
    /// FAR there.
    pub far: f64,
    /// FRR there.
    pub frr: f64,
}

/// The least normalised detection cost over all thresholds (minDCF); the strictest of equal ones.
#[must_use]
pub fn min_dcf(trials: &ScoredTrials, model: &CostModel) -> MinDcf {
    let nothing = Rates { far: 0.0, frr: 1.0 };
    let first = MinDcf { cost: model.normalised(nothing), threshold: f64::INFINITY, far: 0.0, frr: 1.0 };
    operating_points(trials).fold(first, |best, point| {
        let rates = point.rates(trials);
        let cost = model.normalised(rates);
        let Rates { far, frr } = rates;
        if cost < best.cost { MinDcf { cost, threshold: point.threshold, far, frr } } else { best }
    })
}

/// The least cost as SpeechBrain's `minDCF` prints it: not normalised, computed in f32, accept above the threshold, and without the point
/// that accepts everything. For comparison with its tables only; the normalised figure is this divided by the prior at usual priors.
#[must_use]
pub fn min_dcf_speechbrain(trials: &ScoredTrials, model: &CostModel) -> f64 {
    let (targets, non_targets) = (trials.targets() as f32, trials.non_targets() as f32);
    let mut rejected = 0;
    let mut accepted = trials.non_targets() as u64;
    let mut least = f32::INFINITY;
    for tie in trials.ties() {
        let counts = Counts::of(tie);
        rejected += counts.targets;
        accepted -= counts.non_targets;
        let miss = model.miss_cost as f32 * (rejected as f32 / targets) * model.target_prior as f32;
        let false_alarm =
            model.false_alarm_cost as f32 * (accepted as f32 / non_targets) * (1.0 - model.target_prior) as f32;
        least = least.min(miss + false_alarm);
    }
    f64::from(least)
}

/// The normalised cost of deciding at the Bayes threshold (actDCF): what scores cost that are taken for log likelihood ratios in natural
/// logarithm. Not bounded by 1.
#[must_use]
pub fn act_dcf(trials: &ScoredTrials, model: &CostModel) -> f64 {
    let threshold = model.bayes_threshold();
    model.normalised(accepting(trials, trials.entries().partition_point(|e| e.score() < threshold)))
}

/// Cost of the scores as log likelihood ratios (natural logarithm), over all thresholds, in bits: 0 is perfect, 1 knows nothing, more misleads.
///
/// # Source
/// Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection", Computer Speech and Language 20.
#[must_use]
pub fn cllr(trials: &ScoredTrials) -> f64 {
    let (mut of_targets, mut of_non_targets) = (0.0, 0.0);
    for entry in trials.entries() {
        if entry.is_target() {
            of_targets += softplus(-entry.score());
        } else {
            of_non_targets += softplus(entry.score());
        }
    }
    (of_targets / trials.targets() as f64 + of_non_targets / trials.non_targets() as f64) / (2.0 * LN_2)
}

/// Cllr after the best rising map of the scores: what is lost to confusion of speakers and not to calibration. In [0, 1].
///
/// The map is found by pooling adjacent violators; each pool of t targets and n non-targets is an edge of [`crate::rates::convex_hull`], its
/// log likelihood ratio ln(t / n) less that of the whole set.
#[must_use]
pub fn min_cllr(trials: &ScoredTrials) -> f64 {
    let (all_targets, all_non_targets) = (trials.targets() as f64, trials.non_targets() as f64);
    let (mut of_targets, mut of_non_targets) = (0.0, 0.0);
    for edge in hull(trials).windows(2) {
        let targets = (edge[1].accepted.targets - edge[0].accepted.targets) as f64;
        let non_targets = (edge[1].accepted.non_targets - edge[0].accepted.non_targets) as f64;
        // A pool of one kind costs nothing: its ratio is infinite on the right side.
        if targets > 0.0 && non_targets > 0.0 {
            let ratio = (targets / non_targets).ln() - (all_targets / all_non_targets).ln();
            of_targets += targets * softplus(-ratio);
            of_non_targets += non_targets * softplus(ratio);
        }
    }
    (of_targets / all_targets + of_non_targets / all_non_targets) / (2.0 * LN_2)
}

/// ln(1 + e^x) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests;
