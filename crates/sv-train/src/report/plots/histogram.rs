//! How the scores of targets and non-targets spread, and where the threshold cuts them.

use super::canvas::{BLUE, INK, ORANGE, sheet};
use super::frame::{Frame, Heading, Key, Mark, WIDTH};
use super::scale::{Scale, grouped};
use crate::TrainError;
use crate::report::summary::TrialSummary;

/// Draws the histogram of a list of trials, each kind as shares of its own number.
pub(crate) fn histogram(caption: &str, trials: &TrialSummary) -> Result<String, TrainError> {
    let histogram = &trials.histogram;
    let kinds = [(&histogram.non_targets, ORANGE, "non-targets"), (&histogram.targets, BLUE, "targets")];
    let mut keys: Vec<Key> = kinds
        .iter()
        .map(|(counts, colour, name)| {
            let count = counts.iter().fold(0_u64, |sum, &count| sum.saturating_add(count));
            Key { name: format!("{} {name}", grouped(&count.to_string())), colour: *colour, mark: Mark::Block }
        })
        .collect();
    let threshold = Some(trials.threshold).filter(|threshold| threshold.is_finite());
    let name = threshold.map_or("no finite threshold".to_string(), |at| format!("threshold of the EER: {at:.3}"));
    keys.push(Key { name, colour: INK, mark: Mark::Dashes });
    let heading = Heading::new("Scores of the trials", caption, keys, WIDTH);
    let shares: Vec<Vec<f64>> = kinds.iter().map(|(counts, ..)| shares(counts)).collect();
    let x = Scale::over([histogram.low, histogram.high].into_iter().chain(threshold));
    let frame = Frame::wide(&heading, 300, x, Scale::from_zero(shares.iter().flatten().copied()));
    sheet("scores", &format!("Histogram of scores. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, "score (cosine)", "share of the trials of its kind (%)")?;
        for ((_, colour, _), shares) in kinds.iter().zip(&shares) {
            let edge = |bin: usize| {
                let share = bin as f64 / shares.len() as f64;
                histogram.low * (1.0 - share) + histogram.high * share
            };
            let mut outline = vec![(edge(0), 0.0)];
            for (bin, &share) in shares.iter().enumerate() {
                if share > 0.0 {
                    canvas.area(frame.at(edge(bin), share), frame.at(edge(bin + 1), 0.0), *colour, 0.35)?;
                }
                outline.extend([(edge(bin), share), (edge(bin + 1), share)]);
            }
            outline.push((edge(shares.len()), 0.0));
            frame.line(canvas, &outline, *colour, 1.0, 2)?;
        }
        match threshold {
            Some(at) => canvas.dashes(frame.at(at, 0.0), frame.at(at, 1e300), INK, 2),
            None => Ok(()),
        }
    })
}

/// Counts as percentages of their sum; nothing of nothing is 0.
fn shares(counts: &[u64]) -> Vec<f64> {
    let sum: f64 = counts.iter().map(|&count| count as f64).sum();
    counts.iter().map(|&count| if sum > 0.0 { count as f64 / sum * 100.0 } else { 0.0 }).collect()
}
