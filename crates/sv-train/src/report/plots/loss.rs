//! The loss over steps: what was logged, pale, and its running median.

use super::canvas::{series_colour, sheet};
use super::frame::{Frame, Heading, Key, Mark, WIDTH};
use super::saying;
use super::scale::Scale;
use crate::TrainError;
use crate::report::summary::CurvePoint;

/// Columns that a curve is drawn in: about as many as there are pixels.
const COLUMNS: usize = 500;

/// Draws one or several named curves.
pub(crate) fn loss(caption: &str, series: &[(&str, &[CurvePoint])]) -> Result<String, TrainError> {
    let curves: Vec<Vec<(f64, f64)>> = series.iter().map(|(_, points)| finite(points)).collect();
    let left_out =
        series.iter().map(|(_, points)| points.len()).sum::<usize>() - curves.iter().map(Vec::len).sum::<usize>();
    let mut keys = Vec::new();
    for (index, (name, _)) in series.iter().enumerate() {
        let colour = series_colour(index);
        if series.len() == 1 {
            keys.push(Key { name: "as logged".to_string(), colour, mark: Mark::PaleLine });
            keys.push(Key { name: format!("median of {} points", window(curves[0].len())), colour, mark: Mark::Line });
        } else {
            keys.push(Key { name: (*name).to_string(), colour, mark: Mark::Line });
        }
    }
    let heading = Heading::new("Loss while training", &saying(caption, left_out), keys, WIDTH);
    let values: Vec<f64> = curves.iter().flatten().map(|&(_, value)| value).collect();
    let x = Scale::over(curves.iter().flatten().map(|&(step, _)| step));
    let frame = Frame::wide(&heading, 320, x, Scale::fitting(&values));
    sheet("the loss", &format!("Loss over steps. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, "step", if Scale::fitting(&values).is_log() { "loss (log scale)" } else { "loss" })?;
        for (index, curve) in curves.iter().enumerate() {
            frame.line(canvas, &envelope(curve), series_colour(index), 0.35, 1)?;
        }
        for (index, curve) in curves.iter().enumerate() {
            frame.line(canvas, &running_median(curve), series_colour(index), 1.0, 2)?;
            if let [(step, value)] = curve[..] {
                canvas.dot(frame.at(step, value), 4, series_colour(index))?;
            }
        }
        Ok(())
    })
}

fn finite(points: &[CurvePoint]) -> Vec<(f64, f64)> {
    points.iter().filter(|point| point.value.is_finite()).map(|point| (point.step as f64, point.value)).collect()
}

/// The least and the largest value of each column, in their order: spikes stay, however many points there are.
fn envelope(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let wide = curve.len().div_ceil(COLUMNS).max(1);
    if wide <= 2 {
        return curve.to_vec();
    }
    let mut kept = Vec::new();
    for column in curve.chunks(wide) {
        let by_value = |&a: &usize, &b: &usize| column[a].1.total_cmp(&column[b].1);
        let (low, high) = ((0..column.len()).min_by(by_value), (0..column.len()).max_by(by_value));
        if let (Some(low), Some(high)) = (low, high) {
            kept.push(column[low.min(high)]);
            kept.push(column[low.max(high)]);
        }
    }
    kept
}

/// Points that a median is taken over: odd, about a fortieth of all.
fn window(points: usize) -> usize {
    (points / 40).max(2) | 1
}

/// The median of the points around each column's middle; at the ends the window is cut.
fn running_median(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = window(curve.len()) / 2;
    let every = curve.len().div_ceil(COLUMNS).max(1);
    let mut places: Vec<usize> = (0..curve.len()).step_by(every).collect();
    if places.last() != curve.len().checked_sub(1).as_ref() {
        places.extend(curve.len().checked_sub(1));
    }
    places
        .into_iter()
        .map(|place| {
            // As many on both sides, so that a slope at an end does not bend the line.
            let reach = half.min(place).min(curve.len() - 1 - place);
            let mut values: Vec<f64> = curve[place - reach..=place + reach].iter().map(|&(_, value)| value).collect();
            let (_, median, _) = values.select_nth_unstable_by(reach, f64::total_cmp);
            (curve[place].0, *median)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_passes_over_a_spike_and_keeps_a_slope() {
        let mut curve: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i), f64::from(i))).collect();
        assert_eq!(window(9), 3);
        assert_eq!(running_median(&curve), curve);
        curve[4].1 = 1000.0;
        // Around the spike: 3, 1000, 5.
        assert_eq!(running_median(&curve)[4], (4.0, 5.0));
    }

    #[test]
    fn a_long_curve_keeps_its_spikes_and_its_last_step() {
        let mut curve: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        curve[77_777].1 = 50.0;
        curve[12_345].1 = -3.0;
        let envelope = envelope(&curve);
        assert!(envelope.len() <= 2 * COLUMNS + 2);
        assert!(envelope.contains(&(77_777.0, 50.0)) && envelope.contains(&(12_345.0, -3.0)));
        let median = running_median(&curve);
        assert_eq!(median.last(), Some(&(99_999.0, 1.0)));
        assert!(median.iter().all(|&(_, value)| value == 1.0));
    }

    #[test]
    fn windows_are_odd() {
        assert_eq!([0, 1, 80, 120, 1000, 100_000].map(window), [3, 3, 3, 3, 25, 2501]);
    }
}
