//! False acceptance and false rejection, at one threshold and along all of them.
//!
//! Trials of equal score are accepted or rejected together: the curve has one point for each distinct score, so no figure depends on the
//! order of the list.

use serde::Serialize;

use crate::scored::Entry;
use crate::{ScoredTrials, Threshold};

/// Both kinds of error at one threshold, as fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// FAR: share of the non-targets that is accepted.
    pub far: f64,
    /// FRR: share of the targets that is rejected.
    pub frr: f64,
}

/// A point of the DET curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DetPoint {
    /// Accept when score >= threshold.
    pub threshold: f64,
    /// Share of the non-targets that is accepted.
    pub far: f64,
    /// Share of the targets that is rejected.
    pub frr: f64,
}

/// FAR and FRR at a threshold, which says itself on which side equal scores fall.
#[must_use]
pub fn rates_at(trials: &ScoredTrials, threshold: &Threshold) -> Rates {
    let entries = trials.entries();
    let first = entries.partition_point(|e| !threshold.acceptance().accepts(e.score(), threshold.value()));
    accepting(trials, first)
}

/// The rates where the trials from position `first` on, by rising score, are accepted.
pub(crate) fn accepting(trials: &ScoredTrials, first: usize) -> Rates {
    let rejected = Counts::of(&trials.entries()[..first]);
    Rates {
        far: (trials.non_targets() as u64 - rejected.non_targets) as f64 / trials.non_targets() as f64,
        frr: rejected.targets as f64 / trials.targets() as f64,
    }
}

/// The DET curve from strict to lax: the first point accepts nothing, then one for each distinct score, the last accepts everything.
///
/// The first threshold is the largest score plus 1, or the next f64 where that is the same number.
#[must_use]
pub fn det(trials: &ScoredTrials) -> Vec<DetPoint> {
    operating_points(trials).map(|point| point.det(trials)).collect()
}

/// The lower convex hull of the DET curve in plain (not probit) coordinates, from accepting nothing to accepting everything.
///
/// Points between the vertices are reached by tossing a coin between two thresholds. It is what the pool-adjacent-violators algorithm
/// makes of the scores: every pool is one edge.
#[must_use]
pub fn convex_hull(trials: &ScoredTrials) -> Vec<DetPoint> {
    hull(trials).into_iter().map(|point| point.det(trials)).collect()
}

/// How many trials of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) targets: u64,
    pub(crate) non_targets: u64,
}

impl Counts {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let targets = entries.iter().map(|e| u64::from(e.is_target())).sum();
        Self { targets, non_targets: entries.len() as u64 - targets }
    }
}

/// A threshold and what it accepts, in counts: comparisons of counts are exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OperatingPoint {
    /// Infinite where nothing is accepted.
    pub(crate) threshold: f64,
    pub(crate) accepted: Counts,
}

impl OperatingPoint {
    const NOTHING: Self = Self { threshold: f64::INFINITY, accepted: Counts { targets: 0, non_targets: 0 } };

    pub(crate) fn rates(&self, trials: &ScoredTrials) -> Rates {
        Rates {
            far: self.accepted.non_targets as f64 / trials.non_targets() as f64,
            frr: (trials.targets() as u64 - self.accepted.targets) as f64 / trials.targets() as f64,
        }
    }

    fn det(&self, trials: &ScoredTrials) -> DetPoint {
        let Rates { far, frr } = self.rates(trials);
        let threshold = if self.threshold.is_finite() { self.threshold } else { above_all(trials) };
        DetPoint { threshold, far, frr }
    }
}

/// A threshold that accepts nothing, finite so that it can be drawn.
fn above_all(trials: &ScoredTrials) -> f64 {
    let largest = trials.entries().last().map_or(0.0, |entry| entry.score());
    (largest + 1.0).max(largest.next_up())
}

/// All operating points from strict to lax, the one that accepts nothing first.
pub(crate) fn operating_points(trials: &ScoredTrials) -> impl Iterator<Item = OperatingPoint> {
    let steps = trials.ties().rev().scan(Counts::default(), |accepted, tie| {
        let more = Counts::of(tie);
        accepted.targets += more.targets;
        accepted.non_targets += more.non_targets;
        Some(OperatingPoint { threshold: tie[0].score(), accepted: *accepted })
    });
    std::iter::once(OperatingPoint::NOTHING).chain(steps)
}

/// Vertices of the convex hull: Andrew's monotone chain over the points, which already rise in both counts.
pub(crate) fn hull(trials: &ScoredTrials) -> Vec<OperatingPoint> {
    let mut chain: Vec<OperatingPoint> = Vec::new();
    for point in operating_points(trials) {
        while let [.., before, last] = chain[..]
            && !turns_outward(before.accepted, last.accepted, point.accepted)
        {
            chain.pop();
        }
        chain.push(point);
    }
    chain
}

/// Whether `b` lies strictly on the better side of the line from `a` to `c`: more targets for its non-targets.
fn turns_outward(a: Counts, b: Counts, c: Counts) -> bool {
    // Counts rise from a to b to c, and their products fit: both factors are below 2^64.
    let step = |from: Counts, to: Counts| {
        (u128::from(to.targets - from.targets), u128::from(to.non_targets - from.non_targets))
    };
    let ((b_targets, b_non_targets), (c_targets, c_non_targets)) = (step(a, b), step(a, c));
    b_targets * c_non_targets > c_targets * b_non_targets
}

/// The probit of a rate, in which DET curves are drawn: the x below which a standard normal variable falls with that probability.
///
/// 0 and 1 give the infinities, anything outside NaN. Relative error below 1e-15.
///
/// # Source
/// M. J. Wichura 1988, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37, PPND16.
#[must_use]
pub fn probit(rate: f64) -> f64 {
    if rate == 0.0 || rate == 1.0 {
        return if rate == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let centred = rate - 0.5;
    if centred.abs() <= 0.425 {
        return centred * ratio(&CENTRE, 0.180625 - centred * centred);
    }
    // The logarithm of a negative tail, or of NaN, is NaN and stays so.
    let tail = (-rate.min(1.0 - rate).ln()).sqrt();
    let x = if tail <= 5.0 { ratio(&SHOULDER, tail - 1.6) } else { ratio(&TAIL, tail - 5.0) };
    x.copysign(centred)
}

/// Quotient of two polynomials, coefficients by rising power.
fn ratio([above, below]: &[[f64; 8]; 2], x: f64) -> f64 {
    let polynomial = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    polynomial(above) / polynomial(below)
}

const CENTRE: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_6,
        1.331_416_678_917_843_8e2,
        1.971_590_950_306_551_4e3,
        1.373_169_376_550_946e4,
        4.592_195_393_154_987e4,
        6.726_577_092_700_87e4,
        3.343_057_558_358_813e4,
        2.509_080_928_730_122_7e3,
    ],
    [
        1.0,
        4.231_333_070_160_091e1,
        6.871_870_074_920_579e2,
        5.394_196_021_424_751e3,
        2.121_379_430_158_66e4,
        3.930_789_580_009_271e4,
        2.872_908_573_572_194_3e4,
        5.226_495_278_852_854e3,
    ],
];
const SHOULDER: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        2.417_807_251_774_506e-1,
        2.272_384_498_926_918_4e-2,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        6.897_673_349_851e-1,
        1.481_039_764_274_800_8e-1,
        1.519_866_656_361_645_7e-2,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        2.965_605_718_285_048_7e-1,
        2.653_218_952_657_612_4e-2,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        5.998_322_065_558_88e-1,
        1.369_298_809_227_358e-1,
        1.487_536_129_085_061_5e-2,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_7e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[cfg(test)]
mod tests;
