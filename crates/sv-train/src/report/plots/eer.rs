//! The equal error rate at steps of a training, with its intervals, beside that of the untrained network.

use super::canvas::{series_colour, sheet};
use super::frame::{Frame, Heading, Key, Mark, WIDTH};
use super::scale::Scale;
use super::{percent, saying};
use crate::TrainError;
use crate::report::summary::ProgressPoint;

/// Draws one or several named runs.
pub(crate) fn eer_over_steps(caption: &str, series: &[(&str, &[ProgressPoint])]) -> Result<String, TrainError> {
    let runs: Vec<Vec<ProgressPoint>> = series
        .iter()
        .map(|(_, points)| points.iter().copied().filter(|point| point.eer.is_finite()).collect())
        .collect();
    let left_out =
        series.iter().map(|(_, points)| points.len()).sum::<usize>() - runs.iter().map(Vec::len).sum::<usize>();
    let mut keys = Vec::new();
    for (index, ((name, _), run)) in series.iter().zip(&runs).enumerate() {
        let colour = series_colour(index);
        let name = if series.len() == 1 { "EER, bars: 95 % interval" } else { name };
        keys.push(Key { name: name.to_string(), colour, mark: Mark::Line });
        if let Some(untrained) = run.iter().find(|point| point.step == 0) {
            keys.push(Key { name: format!("untrained: {} %", percent(untrained.eer)), colour, mark: Mark::Dashes });
        }
    }
    let heading = Heading::new("Equal error rate while training", &saying(caption, left_out), keys, WIDTH);
    let all = || runs.iter().flatten();
    let x = Scale::over(all().map(|point| point.step as f64));
    let tops = all().flat_map(|point| [point.eer, point.interval.map_or(0.0, |[_, high]| high)]);
    let frame = Frame::wide(&heading, 320, x, Scale::from_zero(tops.map(|rate| rate * 100.0)));
    sheet("the equal error rate", &format!("Equal error rate over steps. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, "step", "equal error rate (%)")?;
        for (index, run) in runs.iter().enumerate() {
            let colour = series_colour(index);
            if let Some(untrained) = run.iter().find(|point| point.step == 0) {
                let (_, y) = frame.at(f64::NAN, untrained.eer * 100.0);
                canvas.dashes((frame.at(-1e300, 0.0).0, y), (frame.at(1e300, 0.0).0, y), colour, 1)?;
            }
            let points: Vec<(f64, f64)> = run.iter().map(|point| (point.step as f64, point.eer * 100.0)).collect();
            frame.line(canvas, &points, colour, 1.0, 2)?;
            for point in run {
                let at = |rate: f64| frame.at(point.step as f64, rate * 100.0);
                if let Some([low, high]) = point.interval.filter(|ends| ends.iter().all(|end| end.is_finite())) {
                    // Runs evaluated at the same steps stand side by side.
                    let aside = 5 * index as i32 - 5 * (runs.len() as i32 - 1) / 2;
                    let ((x, low), (_, high)) = (at(low), at(high));
                    let x = x + aside;
                    canvas.line(&[(x, low), (x, high)], colour, 1.0, 2)?;
                    canvas.line(&[(x - 5, low), (x + 5, low)], colour, 1.0, 2)?;
                    canvas.line(&[(x - 5, high), (x + 5, high)], colour, 1.0, 2)?;
                }
                canvas.dot(at(point.eer), 4, colour)?;
            }
        }
        Ok(())
    })
}
