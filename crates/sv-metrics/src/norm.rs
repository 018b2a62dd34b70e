//! Score normalisation: a score told by how it stands among the scores of the same recording against a cohort of strangers.
//!
//! ```text
//! cohort     score::cosine of one recording against each of the cohort     -> scores of that side
//! side       Normalization::statistics        -> CohortStatistics   mean and deviation, of all or of the highest
//! score      Normalization::apply             -> f64                z, t or s
//! ```
//!
//! SpeechBrain's form is [`Deviation::Sample`] over the highest 20,000 of a cohort of utterances; WeSpeaker's is
//! [`Deviation::Population`] over the highest 300 of a cohort of speaker means, with a [`mean`] subtracted from every embedding
//! ([`centred`]). Both are called adaptive s-norm, "AS-norm".

use std::cmp::Ordering;
use std::num::NonZeroUsize;

use crate::MetricsError;

/// Which side's cohort a score is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// z-norm: the enrolment's, `(s - mean_e) / deviation_e`.
    Z,
    /// t-norm: the test utterance's.
    T,
    /// s-norm: the mean of both.
    S,
}

/// What the squared differences are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deviation {
    /// By n: WeSpeaker's.
    Population,
    /// By n - 1: SpeechBrain's.
    Sample,
}

/// A rule to normalise scores by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalization {
    /// Which side counts.
    pub kind: NormKind,
    /// Only the highest so many scores of a side count; all if there are fewer, or with `None`.
    pub top: Option<NonZeroUsize>,
    /// What the squared differences are divided by.
    pub deviation: Deviation,
}

/// Mean and deviation of one side's scores against the cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CohortStatistics {
    /// Mean of the scores that count.
    pub mean: f64,
    /// Their deviation; above zero.
    pub deviation: f64,
}

impl CohortStatistics {
    fn tell(self, score: f64) -> f64 {
        (score - self.mean) / self.deviation
    }
}

impl Normalization {
    /// Mean and deviation of the `scores` of one recording against the cohort.
    ///
    /// # Errors
    /// [`MetricsError::EmptyCohort`], [`MetricsError::ScoreNotFinite`], and [`MetricsError::CohortDeviation`] if the scores that
    /// count are all the same, or just one.
    ///
    /// ```
    /// use sv_metrics::norm::{Deviation, NormKind, Normalization};
    ///
    /// let highest_two = Normalization { kind: NormKind::S, top: 2.try_into().ok(), deviation: Deviation::Population };
    /// let side = highest_two.statistics(&[0.1, 0.5, -0.9, 0.3])?;
    /// assert!((side.mean - 0.4).abs() < 1e-12 && (side.deviation - 0.1).abs() < 1e-12);
    /// assert!((highest_two.apply(0.6, side, side) - 2.0).abs() < 1e-12);
    /// # Ok::<(), sv_metrics::MetricsError>(())
    /// ```
    pub fn statistics(&self, scores: &[f64]) -> Result<CohortStatistics, MetricsError> {
        check(scores)?;
        let top = self.counting(scores.len());
        let mut counting = scores.to_vec();
        if top < counting.len() {
            counting.select_nth_unstable_by(top - 1, |a, b| b.total_cmp(a));
            counting.truncate(top);
        }
        self.of(&counting)
    }

    /// The score told by the two sides; the one that the rule does not ask for has no part in it.
    #[must_use]
    pub fn apply(&self, score: f64, enrolment: CohortStatistics, test: CohortStatistics) -> f64 {
        match self.kind {
            NormKind::Z => enrolment.tell(score),
            NormKind::T => test.tell(score),
            NormKind::S => 0.5 * (enrolment.tell(score) + test.tell(score)),
        }
    }

    /// The score told by cohorts that the sides choose for each other: the enrolment's mean and deviation are over the members that
    /// are nearest to the test utterance, and the reverse.
    ///
    /// `enrolment`, `test`: the scores of each side against the same cohort, in one order; of equal ones the earlier is nearer.
    ///
    /// # Errors
    /// Those of [`Self::statistics`], and [`MetricsError::Count`] if the two differ in length.
    ///
    /// # Source
    /// Matějka et al. 2017, "Analysis of score normalization in multilingual speaker recognition", AS-Norm2.
    pub fn apply_crossed(&self, score: f64, enrolment: &[f64], test: &[f64]) -> Result<f64, MetricsError> {
        if enrolment.len() != test.len() {
            let what = "scores of the test utterance against the cohort";
            return Err(MetricsError::Count { what, got: test.len(), need: enrolment.len() });
        }
        check(enrolment)?;
        check(test)?;
        let side = |scores: &[f64], chooser: &[f64]| {
            let chosen: Vec<f64> = self.highest(chooser).into_iter().map(|member| scores[member]).collect();
            self.of(&chosen)
        };
        // A side that the rule does not ask for may well have no deviation.
        Ok(match self.kind {
            NormKind::Z => side(enrolment, test)?.tell(score),
            NormKind::T => side(test, enrolment)?.tell(score),
            NormKind::S => 0.5 * (side(enrolment, test)?.tell(score) + side(test, enrolment)?.tell(score)),
        })
    }

    /// Positions of the highest scores, as many as count.
    fn highest(&self, scores: &[f64]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let higher_first =
            |&a: &usize, &b: &usize| scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal).then(a.cmp(&b));
        let top = self.counting(scores.len());
        if top < order.len() {
            order.select_nth_unstable_by(top - 1, higher_first);
            order.truncate(top);
        }
        order
    }

    fn counting(&self, cohort: usize) -> usize {
        self.top.map_or(cohort, |top| top.get().min(cohort))
    }

    /// Mean and deviation of what counts: in two passes, so that near-equal scores keep their digits.
    fn of(&self, scores: &[f64]) -> Result<CohortStatistics, MetricsError> {
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        let divisor = match self.deviation {
            Deviation::Population => count,
            Deviation::Sample => count - 1.0,
        };
        let deviation = (squares / divisor).sqrt();
        // Rounding of the mean gives equal scores a deviation of their own; so they are looked at themselves.
        let equal = scores.iter().all(|&score| score == scores[0]);
        if equal || deviation == 0.0 {
            return Err(MetricsError::CohortDeviation { scores: scores.len(), value: scores[0] });
        }
        Ok(CohortStatistics { mean, deviation })
    }
}

fn check(scores: &[f64]) -> Result<(), MetricsError> {
    if scores.is_empty() {
        return Err(MetricsError::EmptyCohort);
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(MetricsError::ScoreNotFinite { index, value: scores[index] }),
        None => Ok(()),
    }
}

/// Mean of `rows`, each (D): a speaker's, or the one that is subtracted from every embedding. Summed in f64.
///
/// # Errors
/// [`MetricsError::EmptyCohort`] without a row, [`MetricsError::Dimensions`] if two differ in length.
pub fn mean<R: AsRef<[f32]>>(rows: &[R]) -> Result<Vec<f32>, MetricsError> {
    let first = rows.first().ok_or(MetricsError::EmptyCohort)?.as_ref();
    let mut sums = vec![0.0_f64; first.len()];
    for row in rows {
        let row = row.as_ref();
        if row.len() != sums.len() {
            return Err(MetricsError::Dimensions { left: sums.len(), right: row.len() });
        }
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    Ok(sums.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect())
}

/// `row` minus `mean`, both (D).
///
/// # Errors
/// [`MetricsError::Dimensions`] if they differ in length.
pub fn centred(row: &[f32], mean: &[f32]) -> Result<Vec<f32>, MetricsError> {
    if row.len() != mean.len() {
        return Err(MetricsError::Dimensions { left: row.len(), right: mean.len() });
    }
    Ok(row.iter().zip(mean).map(|(value, mean)| value - mean).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(kind: NormKind, top: usize, deviation: Deviation) -> Normalization {
        Normalization { kind, top: NonZeroUsize::new(top), deviation }
    }

    #[test]
    fn the_three_kinds_ask_their_sides() {
        // (6 - 1) / 2 and (6 - 4) / 1.
        let (e, t) = (CohortStatistics { mean: 1.0, deviation: 2.0 }, CohortStatistics { mean: 4.0, deviation: 1.0 });
        let of = |kind| rule(kind, 1, Deviation::Sample).apply(6.0, e, t);
        assert_eq!((of(NormKind::Z), of(NormKind::T), of(NormKind::S)), (2.5, 2.0, 2.25));
    }

    #[test]
    fn deviations_are_over_n_or_one_less() {
        // Of 1, 2, 3, 6 the mean is 3 and the squares add up to 14; of the highest two, 4.5 and 4.5.
        let scores = [2.0, 6.0, 1.0, 3.0];
        for (top, deviation, mean, square) in [
            (0, Deviation::Population, 3.0, 14.0 / 4.0),
            (0, Deviation::Sample, 3.0, 14.0 / 3.0),
            (2, Deviation::Population, 4.5, 4.5 / 2.0),
            (2, Deviation::Sample, 4.5, 4.5),
            (9, Deviation::Sample, 3.0, 14.0 / 3.0),
        ] {
            let found = rule(NormKind::S, top, deviation).statistics(&scores).expect("a deviation");
            assert_eq!((found.mean, found.deviation), (mean, f64::sqrt(square)), "top {top} {deviation:?}");
        }
    }

    #[test]
    fn crossed_cohorts_are_chosen_by_the_other_side() {
        let (enrolment, test) = ([0.0, 1.0, 2.0, 9.0], [5.0, 5.0, 4.0, 1.0]);
        // The test utterance's nearest are members 0 and 1 (0 and 1 for the enrolment: mean 0.5, deviation 0.5); the
        // enrolment's are 3 and 2 (1 and 4 for the test utterance: mean 2.5, deviation 1.5).
        let of = |kind| rule(kind, 2, Deviation::Population).apply_crossed(4.0, &enrolment, &test);
        assert_eq!((of(NormKind::Z), of(NormKind::T), of(NormKind::S)), (Ok(7.0), Ok(1.0), Ok(4.0)));
        // Of equal scores the earlier member is nearer: with one more 5 at the end, the choice is the same.
        let longer = rule(NormKind::Z, 2, Deviation::Population).apply_crossed(
            4.0,
            &[0.0, 1.0, 2.0, 9.0, 100.0],
            &[5.0, 5.0, 4.0, 1.0, 5.0],
        );
        assert_eq!(longer, Ok(7.0));
    }

    #[test]
    fn a_cohort_that_tells_nothing_is_an_error() {
        let all = rule(NormKind::S, 0, Deviation::Sample);
        assert_eq!(all.statistics(&[]), Err(MetricsError::EmptyCohort));
        // 0.1 + 0.1 + 0.1 is not three times 0.1: equality is not left to rounding.
        assert_eq!(all.statistics(&[0.1; 3]), Err(MetricsError::CohortDeviation { scores: 3, value: 0.1 }));
        assert_eq!(all.statistics(&[0.4]), Err(MetricsError::CohortDeviation { scores: 1, value: 0.4 }));
        let highest = rule(NormKind::S, 2, Deviation::Population);
        assert_eq!(highest.statistics(&[0.2, 0.7, 0.7]), Err(MetricsError::CohortDeviation { scores: 2, value: 0.7 }));
        let error = all.statistics(&[0.1, f64::NAN]).expect_err("not finite");
        assert!(matches!(error, MetricsError::ScoreNotFinite { index: 1, .. }));
        assert!(matches!(
            all.apply_crossed(0.0, &[0.1, 0.2], &[0.1]),
            Err(MetricsError::Count { got: 1, need: 2, .. })
        ));
        assert_eq!(all.apply_crossed(0.0, &[], &[]), Err(MetricsError::EmptyCohort));
    }

    #[test]
    fn a_mean_is_one_of_rows_and_is_subtracted() {
        let rows = [vec![1.0_f32, -2.0], vec![3.0, 4.0]];
        let middle = mean(&rows).expect("rows");
        assert_eq!(middle, [2.0, 1.0]);
        assert_eq!(centred(&rows[0], &middle), Ok(vec![-1.0, -3.0]));
        assert_eq!(mean::<Vec<f32>>(&[]), Err(MetricsError::EmptyCohort));
        let two_sizes = Err(MetricsError::Dimensions { left: 1, right: 2 });
        assert_eq!(mean(&[vec![1.0], vec![1.0, 2.0]]), two_sizes);
        assert_eq!(centred(&[1.0], &[1.0, 2.0]), two_sizes);
    }

    proptest! {
        #[test]
        fn a_rising_line_over_all_scores_changes_nothing(
            scores in prop::collection::vec(-1.0_f64..1.0, 3..40),
            score in -1.0_f64..1.0,
            slope in 0.1_f64..10.0,
            shift in -5.0_f64..5.0,
            top in 0_usize..12,
        ) {
            let rule = rule(NormKind::S, top, Deviation::Population);
            let Ok(side) = rule.statistics(&scores) else { return Ok(()) };
            prop_assume!(side.deviation > 1e-3);
            let moved: Vec<f64> = scores.iter().map(|score| slope * score + shift).collect();
            let other = rule.statistics(&moved).expect("the same spread");
            let difference = rule.apply(slope * score + shift, other, other) - rule.apply(score, side, side);
            prop_assert!(difference.abs() < 1e-6, "{difference}");
        }

        #[test]
        fn sides_that_agree_choose_the_same_cohort(scores in prop::collection::vec(-1.0_f64..1.0, 2..40), top in 2_usize..12) {
            let rule = rule(NormKind::S, top, Deviation::Population);
            let Ok(side) = rule.statistics(&scores) else { return Ok(()) };
            prop_assume!(side.deviation > 1e-6);
            let crossed = rule.apply_crossed(0.5, &scores, &scores).expect("the same spread");
            prop_assert!((crossed - rule.apply(0.5, side, side)).abs() < 1e-6 * crossed.abs().max(1.0));
        }
    }
}
