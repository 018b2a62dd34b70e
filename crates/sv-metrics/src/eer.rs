//! The equal error rate, where FAR and FRR meet, by the rules that tools use.
//!
//! With finitely many trials the two rates rarely meet exactly, and tools differ in what they report then, and in what they do with equal
//! scores. [`eer`] is our own figure; [`eer_by`] gives that of another tool, for comparison with its tables.

use serde::{Deserialize, Serialize};

use crate::rates::{Counts, OperatingPoint, Rates, accepting, hull, operating_points};
use crate::{Acceptance, MetricsError, ScoredTrials};

/// The equal error rate and the threshold it is reached at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Eer {
    /// The rate, as a fraction.
    pub rate: f64,
    /// Score to decide at; infinite where the rule ends on the point that accepts nothing ([`EerConvention::NearestPoint`],
    /// [`EerConvention::Sklearn`] only).
    pub threshold: f64,
    /// On which side a score falls that equals the threshold.
    pub acceptance: Acceptance,
}

/// A rule by which an EER is read off the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EerConvention {
    /// Where the polyline through the operating points meets FAR = FRR. One point for each distinct score; the threshold is interpolated on
    /// the same segment, and is the largest score on the first one, whose strict end has no finite threshold.
    #[default]
    Interpolated,
    /// The same rate, with the threshold that scikit-learn's curve gives (`roc_curve` with its points dropped where two steps are equal,
    /// `brentq` and `interp1d`). On a vertical step it is the threshold of the strict end, except at a rate of 0.
    Sklearn,
    /// The vertex of scikit-learn's curve where |FAR - FRR| is least, the stricter of two equal ones; the larger of its two rates.
    /// voxceleb_trainer, TaoRuijie's ECAPA-TDNN.
    NearestPoint,
    /// SpeechBrain's `EER`: accept above the threshold, the lowest distinct score with the least |FAR - FRR|, mean of both rates, all of it
    /// in f32. Its midpoints between scores never win and are left out; it takes quadratic time, this does not.
    SpeechBrain,
    /// WeSpeaker's `compute_eer`: one step for each trial, not for each distinct score, equal scores in the order they were given;
    /// interpolated over the step on which FRR passes FAR. Their sort leaves the order of equal scores open. Where FRR passes FAR on the
    /// very first step theirs ends in an error; here the step begins at accepting everything.
    WeSpeaker,
    /// Kaldi's `compute-eer`: share of the targets below the first one that beats the non-target at the matching quantile.
    Kaldi,
    /// The TensorFlow GE2E code: the first of the thresholds 0.50, 0.51 ... 0.99 with the least |FAR - FRR|, accept above it, mean of both
    /// rates. For cosines only. Where the two are 1 apart at all of them it answers 0 at threshold 0, and so does this.
    Grid,
    /// Where the convex hull of the curve meets FAR = FRR (BOSARIS, pyBOSARIS, sidekit): never above 0.5. The threshold is ours,
    /// interpolated between the hull's vertices: those tools give none.
    ConvexHull,
}

/// The EER by our default, [`EerConvention::Interpolated`].
///
/// ```
/// # use sv_metrics::{ScoredTrials, eer};
/// let trials = ScoredTrials::from_kinds(&[0.9, 0.8, 0.7, 0.55, 0.4, 0.3], &[0.65, 0.5, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1])?;
/// assert!((eer::eer(&trials).rate - 1.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), sv_metrics::MetricsError>(())
/// ```
#[must_use]
pub fn eer(trials: &ScoredTrials) -> Eer {
    crossing(operating_points(trials), trials)
}

/// The EER by the rule of another tool.
#[must_use]
pub fn eer_by(convention: EerConvention, trials: &ScoredTrials) -> Eer {
    match convention {
        EerConvention::Interpolated => eer(trials),
        EerConvention::Sklearn => sklearn(trials),
        EerConvention::NearestPoint => nearest_point(trials),
        EerConvention::SpeechBrain => speechbrain(trials),
        EerConvention::WeSpeaker => wespeaker(trials),
        EerConvention::Kaldi => kaldi(trials),
        EerConvention::Grid => grid(trials),
        EerConvention::ConvexHull => crossing(hull(trials).into_iter(), trials),
    }
}

/// Crossing of the polyline through `points`, from strict to lax, with FAR = FRR.
fn crossing(mut points: impl Iterator<Item = OperatingPoint>, trials: &ScoredTrials) -> Eer {
    let nothing = points.next().expect("a curve begins with the point that accepts nothing");
    let (mut before, mut rates) = (nothing.threshold, nothing.rates(trials));
    for point in points {
        let next = point.rates(trials);
        if next.far >= next.frr {
            let share = share(rates, next);
            let threshold =
                if before.is_finite() { before * (1.0 - share) + point.threshold * share } else { point.threshold };
            return Eer { rate: between(rates.far, next.far, share), threshold, acceptance: Acceptance::AtLeast };
        }
        (before, rates) = (point.threshold, next);
    }
    unreachable!("the last point accepts everything: FAR 1, FRR 0")
}

/// How far along the way from `from` to `to` FAR equals FRR: in (0, 1], as FAR < FRR at `from` only.
fn share(from: Rates, to: Rates) -> f64 {
    let (start, end) = (from.far - from.frr, to.far - to.frr);
    -start / (end - start)
}

fn between(from: f64, to: f64, share: f64) -> f64 {
    from + share * (to - from)
}

/// scikit-learn's curve: the operating points without those at which the step in both counts stays what it was.
fn sklearn_curve(trials: &ScoredTrials) -> Vec<OperatingPoint> {
    let mut points = operating_points(trials);
    let mut curve: Vec<OperatingPoint> = points.by_ref().take(2).collect();
    let mut before = curve[curve.len() - 1];
    let mut step: Option<Counts> = None;
    for point in points {
        let next = Counts {
            targets: point.accepted.targets - before.accepted.targets,
            non_targets: point.accepted.non_targets - before.accepted.non_targets,
        };
        // The point that accepts nothing is put in front afterwards, so the first distinct score always stays: it is there already.
        if step.is_some_and(|step| step != next) {
            curve.push(before);
        }
        (before, step) = (point, Some(next));
    }
    if step.is_some() {
        curve.push(before);
    }
    curve
}

fn sklearn(trials: &ScoredTrials) -> Eer {
    let curve = sklearn_curve(trials);
    let rates: Vec<Rates> = curve.iter().map(|point| point.rates(trials)).collect();
    let k = rates.partition_point(|r| r.far < r.frr).max(1);
    let share = share(rates[k - 1], rates[k]);
    let rate = between(rates[k - 1].far, rates[k].far, share);
    let threshold = if rate == 0.0 || (share == 1.0 && rates[k].far > rates[k - 1].far) {
        curve[k].threshold
    } else if rates[k].far > rates[k - 1].far {
        // From an infinite threshold nothing can be interpolated, and scikit-learn gives none.
        let (strict, lax) = (curve[k - 1].threshold, curve[k].threshold);
        if strict.is_finite() { strict * (1.0 - share) + lax * share } else { strict }
    } else {
        curve[rates.partition_point(|r| r.far < rates[k].far)].threshold
    };
    Eer { rate, threshold, acceptance: Acceptance::AtLeast }
}

fn nearest_point(trials: &ScoredTrials) -> Eer {
    let (targets, non_targets) = (trials.targets() as f64, trials.non_targets() as f64);
    let mut best = Eer { rate: 1.0, threshold: f64::INFINITY, acceptance: Acceptance::AtLeast };
    let mut least = f64::INFINITY;
    for OperatingPoint { threshold, accepted } in sklearn_curve(trials) {
        // FRR as they have it, 1 - TPR, whose rounding can decide between two points.
        let (far, frr) = (accepted.non_targets as f64 / non_targets, 1.0 - accepted.targets as f64 / targets);
        if (frr - far).abs() < least {
            least = (frr - far).abs();
            best = Eer { rate: far.max(frr), threshold, ..best };
        }
    }
    best
}

fn speechbrain(trials: &ScoredTrials) -> Eer {
    let (targets, non_targets) = (trials.targets() as f32, trials.non_targets() as f32);
    let mut accepted = trials.non_targets() as u64;
    let mut rejected = 0;
    let mut best: Option<(f64, f64, f64)> = None;
    for tie in trials.ties() {
        let counts = Counts::of(tie);
        accepted -= counts.non_targets;
        rejected += counts.targets;
        let (far, frr) = (accepted as f32 / non_targets, rejected as f32 / targets);
        if best.is_none_or(|(best_far, best_frr, _)| f64::from((far - frr).abs()) < (best_far - best_frr).abs()) {
            best = Some((f64::from(far), f64::from(frr), tie[0].score()));
        }
    }
    let (far, frr, threshold) = best.expect("at least one trial");
    Eer { rate: (far + frr) / 2.0, threshold, acceptance: Acceptance::Above }
}

fn wespeaker(trials: &ScoredTrials) -> Eer {
    let (targets, non_targets) = (trials.targets() as f64, trials.non_targets() as f64);
    let mut rejected = Counts::default();
    let mut before = Rates { far: 1.0, frr: 0.0 };
    for entry in trials.entries() {
        rejected.targets += u64::from(entry.is_target());
        rejected.non_targets += u64::from(!entry.is_target());
        let next =
            Rates { far: 1.0 - rejected.non_targets as f64 / non_targets, frr: rejected.targets as f64 / targets };
        if next.frr >= next.far {
            let share = (next.frr - next.far) / (before.far - next.far - (before.frr - next.frr));
            let rate = between(next.frr, before.frr, share);
            return Eer { rate, threshold: entry.score(), acceptance: Acceptance::Above };
        }
        before = next;
    }
    unreachable!("after the last trial everything is rejected: FAR 0, FRR 1")
}

fn kaldi(trials: &ScoredTrials) -> Eer {
    let scores_of = |target| trials.entries().iter().filter(move |e| e.is_target() == target).map(|e| e.score());
    let (targets, non_targets): (Vec<f64>, Vec<f64>) = (scores_of(true).collect(), scores_of(false).collect());
    let matching = |k: usize| {
        let above = non_targets.len() as u128 * k as u128 / targets.len() as u128;
        non_targets[non_targets.len() - 1 - above as usize]
    };
    // As k < number of targets, the quantile stays within the list.
    let last = targets.len() - 1;
    let k = (0..last).find(|&k| matching(k) < targets[k]).unwrap_or(last);
    Eer { rate: k as f64 / targets.len() as f64, threshold: targets[k], acceptance: Acceptance::AtLeast }
}

/// Thresholds of the TensorFlow GE2E code.
fn grid_thresholds() -> impl Iterator<Item = f64> {
    (0..50).map(|i| 0.01 * f64::from(i) + 0.5)
}

/// The first threshold of the grid with the least gap below 1; zeros if there is none.
fn on_grid(rates_above: impl Fn(f64) -> Rates) -> Ge2eTest {
    let mut least = 1.0;
    let mut best = Ge2eTest { eer: 0.0, threshold: 0.0, far: 0.0, frr: 0.0 };
    for threshold in grid_thresholds() {
        let Rates { far, frr } = rates_above(threshold);
        if (far - frr).abs() < least {
            least = (far - frr).abs();
            best = Ge2eTest { eer: (far + frr) / 2.0, threshold, far, frr };
        }
    }
    best
}

fn grid(trials: &ScoredTrials) -> Eer {
    let found = on_grid(|threshold| accepting(trials, trials.entries().partition_point(|e| e.score() <= threshold)));
    Eer { rate: found.eer, threshold: found.threshold, acceptance: Acceptance::Above }
}

/// What the TensorFlow GE2E code prints at the end of its test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ge2eTest {
    /// Mean of FAR and FRR at the threshold.
    pub eer: f64,
    /// Score above which it accepts; 0 where no threshold of the grid brings the two rates less than 1 apart.
    pub threshold: f64,
    /// Share of the comparisons with another speaker that is accepted.
    pub far: f64,
    /// Share of the comparisons with the own speaker that is rejected.
    pub frr: f64,
}

/// The enrol/verify test of the TensorFlow GE2E code, on the grid of [`EerConvention::Grid`].
///
/// `similarity`: (N, M, N), row-major: of each speaker's M verification utterances to each of the N enrolled speakers, in the same order
/// of speakers.
///
/// # Errors
/// [`MetricsError::Similarity`] for another number of values, fewer than two speakers or no utterance; [`MetricsError::ScoreNotFinite`].
///
/// # Source
/// `model.py: test` of Janghyun1230/Speaker_Verification.
pub fn ge2e_protocol(similarity: &[f64], speakers: usize, utterances: usize) -> Result<Ge2eTest, MetricsError> {
    let need = speakers.checked_mul(utterances).and_then(|rows| rows.checked_mul(speakers));
    if speakers < 2 || utterances == 0 || need != Some(similarity.len()) {
        return Err(MetricsError::Similarity { got: similarity.len(), speakers, utterances });
    }
    if let Some(index) = similarity.iter().position(|value| !value.is_finite()) {
        return Err(MetricsError::ScoreNotFinite { index, value: similarity[index] });
    }
    Ok(on_grid(|threshold| {
        let (mut accepted, mut own_accepted) = (0_usize, 0_usize);
        for (row, enrolled) in similarity.chunks_exact(speakers).enumerate() {
            accepted += enrolled.iter().filter(|&&value| value > threshold).count();
            own_accepted += usize::from(enrolled[row / utterances] > threshold);
        }
        // Divided one after the other, as in the source: the rounding can decide between two thresholds.
        let (n, m) = (speakers as f64, utterances as f64);
        Rates {
            far: (accepted - own_accepted) as f64 / (n - 1.0) / m / n,
            frr: (speakers * utterances - own_accepted) as f64 / m / n,
        }
    }))
}

#[cfg(test)]
mod tests;
