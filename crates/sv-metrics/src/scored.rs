//! Scores with their labels, checked and sorted once for everything that is computed from them.

use crate::{Label, MetricsError};

/// Scores of trials whose truth is known: all finite, at least one target and one non-target.
///
/// Sorted on construction, which is the only step above linear time; 16 bytes a trial. -0 and 0 are one score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredTrials {
    /// By rising score, equal ones in the order they were given.
    entries: Vec<Entry>,
    targets: u64,
}

/// A trial in 16 bytes that sort as one number: the score in the upper half, then the trial's position, then one bit for a target.
/// Sorting these without regard to stability is a stable sort of the trials, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry(u128);

impl Entry {
    fn new(score: f64, index: usize, label: Label) -> Self {
        // Adding 0 turns -0 into 0. The bits of positive floats rise with the value, those of negative ones fall.
        let bits = (score + 0.0).to_bits();
        let key = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        let rest = ((index as u64) << 1) | u64::from(label == Label::Target);
        Self((u128::from(key) << 64) | u128::from(rest))
    }

    fn key(self) -> u64 {
        (self.0 >> 64) as u64
    }

    pub(crate) fn score(self) -> f64 {
        let key = self.key();
        f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
    }

    /// Position of the trial in the order it was given.
    pub(crate) fn index(self) -> usize {
        (self.0 as u64 >> 1) as usize
    }

    pub(crate) fn is_target(self) -> bool {
        self.0 & 1 == 1
    }
}

impl ScoredTrials {
    /// Checks and sorts. `scores`, `labels`: one each for every trial, in any order.
    ///
    /// # Errors
    /// [`MetricsError::Count`] if the lengths differ, [`MetricsError::ScoreNotFinite`], [`MetricsError::OneKind`] without a target or
    /// without a non-target.
    pub fn new(scores: &[f64], labels: &[Label]) -> Result<Self, MetricsError> {
        if scores.len() != labels.len() {
            return Err(MetricsError::Count { what: "scores", got: scores.len(), need: labels.len() });
        }
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(MetricsError::ScoreNotFinite { index, value: scores[index] });
        }
        let targets = labels.iter().filter(|&&label| label == Label::Target).count();
        if targets == 0 || targets == labels.len() {
            return Err(MetricsError::OneKind { targets, non_targets: labels.len() - targets });
        }
        let mut entries: Vec<Entry> = scores
            .iter()
            .zip(labels)
            .enumerate()
            .map(|(index, (&score, &label))| Entry::new(score, index, label))
            .collect();
        entries.sort_unstable();
        Ok(Self { entries, targets: targets as u64 })
    }

    /// The same from scores in two lists, as many tools keep them.
    ///
    /// # Errors
    /// As [`ScoredTrials::new`]; positions count the targets first.
    pub fn from_kinds(targets: &[f64], non_targets: &[f64]) -> Result<Self, MetricsError> {
        let labels: Vec<Label> =
            targets.iter().map(|_| Label::Target).chain(non_targets.iter().map(|_| Label::NonTarget)).collect();
        Self::new(&[targets, non_targets].concat(), &labels)
    }

    /// Number of trials.
    #[must_use]
    pub fn trials(&self) -> usize {
        self.entries.len()
    }

    /// Number of targets, at least 1.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets as usize
    }

    /// Number of non-targets, at least 1.
    #[must_use]
    pub fn non_targets(&self) -> usize {
        self.entries.len() - self.targets()
    }

    /// Scores and labels by rising score, equal scores in the order they were given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (f64, Label)> + DoubleEndedIterator {
        self.entries
            .iter()
            .map(|entry| (entry.score(), if entry.is_target() { Label::Target } else { Label::NonTarget }))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Entries of equal score together, by rising score.
    pub(crate) fn ties(&self) -> impl DoubleEndedIterator<Item = &[Entry]> {
        self.entries.chunk_by(|a, b| a.key() == b.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scores_are_sorted_and_ties_keep_their_order() {
        let (t, n) = (Label::Target, Label::NonTarget);
        let trials = ScoredTrials::new(&[0.5, -1.0, 0.0, 0.5, -0.0, 1e-300], &[t, n, t, n, n, t]).expect("both kinds");
        let rows: Vec<_> = trials.iter().collect();
        assert_eq!(rows, [(-1.0, n), (0.0, t), (0.0, n), (1e-300, t), (0.5, t), (0.5, n)]);
        assert_eq!(trials.ties().map(<[Entry]>::len).collect::<Vec<_>>(), [1, 2, 1, 2]);
        assert_eq!((trials.trials(), trials.targets(), trials.non_targets()), (6, 3, 3));
    }

    #[test]
    fn what_has_no_error_rate_is_refused() {
        let (t, n) = (Label::Target, Label::NonTarget);
        assert_eq!(ScoredTrials::new(&[0.1], &[t, n]), Err(MetricsError::Count { what: "scores", got: 1, need: 2 }));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = ScoredTrials::new(&[0.1, bad], &[t, n]).expect_err("not finite");
            assert!(matches!(error, MetricsError::ScoreNotFinite { index: 1, .. }), "{error}");
        }
        assert_eq!(ScoredTrials::new(&[], &[]), Err(MetricsError::OneKind { targets: 0, non_targets: 0 }));
        assert_eq!(ScoredTrials::from_kinds(&[0.1], &[]), Err(MetricsError::OneKind { targets: 1, non_targets: 0 }));
        assert_eq!(ScoredTrials::from_kinds(&[], &[0.1]), Err(MetricsError::OneKind { targets: 0, non_targets: 1 }));
    }

    proptest! {
        #[test]
        fn an_entry_keeps_what_was_put_in(score in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO, index in 0..usize::MAX / 2, target: bool) {
            let entry = Entry::new(score, index, if target { Label::Target } else { Label::NonTarget });
            prop_assert_eq!((entry.score(), entry.index(), entry.is_target()), (score, index, target));
        }

        #[test]
        fn entries_sort_as_their_scores(a in prop::num::f64::NORMAL, b in prop::num::f64::ANY) {
            prop_assume!(b.is_finite() && a != b);
            prop_assert_eq!(Entry::new(a, 1, Label::Target) < Entry::new(b, 0, Label::NonTarget), a < b);
        }
    }
}
