//! How far an EER can be trusted: intervals from resampling the speakers.
//!
//! Trials of one speaker stand or fall together, so resampling trials would promise too much. Speakers are drawn with replacement instead,
//! and a trial counts as often as its speakers were drawn: with the product of both counts where they differ, with the one count where
//! both sides are of the same speaker.

use std::collections::HashMap;

use serde::Serialize;

use crate::random::SplitMix64;
use crate::{MetricsError, ScoredTrials};

/// Settings of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How many resamples are drawn.
    pub resamples: usize,
    /// Share of them that the interval is to hold.
    pub level: f64,
    /// The same seed gives the same interval on every machine.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 1000 resamples, 95 %, a fixed seed.
    fn default() -> Self {
        Self { resamples: 1000, level: 0.95, seed: 20_240_505 }
    }
}

/// An interval from percentiles of the resampled figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples that it rests on: those that held both targets and non-targets.
    pub resamples: usize,
}

/// Interval of the EER ([`crate::eer::EerConvention::Interpolated`]) over the choice of speakers.
///
/// `speakers`: the speakers of both sides of each trial, in the order in which [`ScoredTrials::new`] was given the scores; any numbers, equal
/// for one speaker. Time grows with trials x resamples; nothing is sorted again.
///
/// # Errors
/// [`MetricsError::Count`] unless there is a pair for each trial, [`MetricsError::Bootstrap`] for settings out of range,
/// [`MetricsError::Speakers`] with fewer than two of them, [`MetricsError::NoResample`] if no resample had both kinds of trials.
///
/// ```
/// # use sv_metrics::{Label, ScoredTrials, bootstrap::{Bootstrap, eer_interval}};
/// // Six speakers, each against all; every fifth score is misleading.
/// let speakers: Vec<(usize, usize)> = (0..36).map(|i| (i / 6, i % 6)).collect();
/// let labels: Vec<Label> = speakers.iter().map(|(a, b)| if a == b { Label::Target } else { Label::NonTarget }).collect();
/// let scores: Vec<f64> = (0..36).map(|i| if (i % 7 == 0) == (i % 5 != 0) { 0.8 } else { 0.2 }).collect();
/// let interval = eer_interval(&ScoredTrials::new(&scores, &labels)?, &speakers, &Bootstrap::default())?;
/// assert!(interval.low < interval.high);
/// # Ok::<(), sv_metrics::MetricsError>(())
/// ```
pub fn eer_interval(
    trials: &ScoredTrials,
    speakers: &[(usize, usize)],
    settings: &Bootstrap,
) -> Result<Interval, MetricsError> {
    let Bootstrap { resamples, level, seed } = *settings;
    if speakers.len() != trials.trials() {
        return Err(MetricsError::Count { what: "pairs of speakers", got: speakers.len(), need: trials.trials() });
    }
    if resamples == 0 || !(level > 0.0 && level < 1.0) {
        return Err(MetricsError::Bootstrap { resamples, level });
    }
    let (rows, count) = by_rising_score(trials, speakers);
    if count < 2 {
        return Err(MetricsError::Speakers { speakers: count });
    }
    let mut random = SplitMix64::new(seed);
    let mut drawn = vec![0.0; count];
    let mut rates = Vec::new();
    for _ in 0..resamples {
        drawn.fill(0.0);
        for _ in 0..count {
            drawn[random.below(count as u64) as usize] += 1.0;
        }
        rates.extend(weighted_eer(trials, &rows, &drawn));
    }
    if rates.is_empty() {
        return Err(MetricsError::NoResample { resamples, speakers: count });
    }
    rates.sort_unstable_by(f64::total_cmp);
    let outside = (1.0 - level) / 2.0;
    Ok(Interval { low: percentile(&rates, outside), high: percentile(&rates, 1.0 - outside), resamples: rates.len() })
}

/// The two speakers of each trial, by rising score, renumbered from 0 in the order of their numbers, and how many there are.
fn by_rising_score(trials: &ScoredTrials, speakers: &[(usize, usize)]) -> (Vec<[usize; 2]>, usize) {
    let mut numbers: Vec<usize> = speakers.iter().flat_map(|&(a, b)| [a, b]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let places: HashMap<usize, usize> = numbers.iter().enumerate().map(|(place, &number)| (number, place)).collect();
    let row = |entry: &crate::scored::Entry| {
        let (a, b) = speakers[entry.index()];
        [places[&a], places[&b]]
    };
    (trials.entries().iter().map(row).collect(), numbers.len())
}

/// The EER where each trial counts as often as its speakers were drawn; `None` if targets or non-targets are gone.
fn weighted_eer(trials: &ScoredTrials, rows: &[[usize; 2]], drawn: &[f64]) -> Option<f64> {
    let weight = |&[a, b]: &[usize; 2]| if a == b { drawn[a] } else { drawn[a] * drawn[b] };
    // Weights and their sums are whole numbers, exact in f64 up to 2^53.
    let sums = |entries: &[crate::scored::Entry], rows: &[[usize; 2]]| {
        entries.iter().zip(rows).fold([0.0; 2], |mut sums, (entry, row)| {
            sums[usize::from(entry.is_target())] += weight(row);
            sums
        })
    };
    let [all_non_targets, all_targets] = sums(trials.entries(), rows);
    if all_targets == 0.0 || all_non_targets == 0.0 {
        return None;
    }
    let mut rest = rows;
    let (mut rejected_targets, mut rejected_non_targets) = (0.0, 0.0);
    let (mut far, mut frr) = (1.0, 0.0);
    for tie in trials.ties() {
        let (own, after) = rest.split_at(tie.len());
        rest = after;
        let [non_targets, targets] = sums(tie, own);
        rejected_non_targets += non_targets;
        rejected_targets += targets;
        let (next_far, next_frr) = (1.0 - rejected_non_targets / all_non_targets, rejected_targets / all_targets);
        if next_frr >= next_far {
            let (before, after) = (frr - far, next_frr - next_far);
            return Some(far + -before / (after - before) * (next_far - far));
        }
        (far, frr) = (next_far, next_frr);
    }
    // Rounding aside the last step has FAR 0 and FRR 1.
    Some(frr)
}

/// Percentile of sorted values, interpolated between the two nearest as numpy does by default.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    below + (sorted[position.ceil() as usize] - below) * position.fract()
}

#[cfg(test)]
mod tests;
