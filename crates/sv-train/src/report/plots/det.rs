//! Detection error trade-off: FRR against FAR, both on probit axes, where two normal humps of scores make a straight line.
//!
//! Source: A. Martin et al. 1997, "The DET curve in assessment of detection task performance".

use super::canvas::{FAINT_INK, series_colour, sheet};
use super::frame::{Frame, Heading, Key, Mark};
use super::scale::Scale;
use super::{percent, saying};
use crate::TrainError;

/// A curve and the point it is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetSeries<'a> {
    pub(crate) name: &'a str,
    /// (FAR, FRR) as fractions.
    pub(crate) points: &'a [[f64; 2]],
    /// Equal error rate, as a fraction.
    pub(crate) eer: f64,
}

/// Side of the square frame, in pixels.
const SIDE: i32 = 460;

/// Draws one or several curves.
pub(crate) fn det(caption: &str, series: &[DetSeries<'_>]) -> Result<String, TrainError> {
    let is_rate = |rate: &f64| (0.0..=1.0).contains(rate);
    let curves: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|one| one.points.iter().filter(|point| point.iter().all(is_rate)).map(|&[far, frr]| (far, frr)).collect())
        .collect();
    let left_out =
        series.iter().map(|one| one.points.len()).sum::<usize>() - curves.iter().map(Vec::len).sum::<usize>();
    let worst = series.iter().map(|one| one.eer).filter(is_rate).fold(0.0, f64::max);
    // 0.07 % to 50 %, or to 97 % where a system is worse than the usual axes show.
    let axis = Scale::Probit { low: 0.0007, high: if worst > 0.35 { 0.97 } else { 0.5 } };
    let keys = series
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let beyond = if is_rate(&one.eer) && one.eer < 0.0007 { ", off the axes" } else { "" };
            let name = format!("{}: EER {} %{beyond}", one.name, percent(one.eer));
            Key { name, colour: series_colour(index), mark: Mark::Line }
        })
        .chain([Key { name: "FAR = FRR".to_string(), colour: FAINT_INK, mark: Mark::Dashes }])
        .collect();
    let heading = Heading::new("Detection error trade-off", &saying(caption, left_out), keys, SIDE + 100);
    let frame = Frame::below(&heading, (SIDE, SIDE), axis, axis);
    sheet("detection errors", &format!("DET curve. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, "false acceptance rate (%)", "false rejection rate (%)")?;
        canvas.dashes(frame.at(0.0, 0.0), frame.at(1.0, 1.0), FAINT_INK, 1)?;
        for (index, curve) in curves.iter().enumerate() {
            frame.line(canvas, curve, series_colour(index), 1.0, 2)?;
        }
        for (index, one) in series.iter().enumerate() {
            if is_rate(&one.eer) && frame.holds(one.eer, one.eer) {
                canvas.dot(frame.at(one.eer, one.eer), 5, series_colour(index))?;
            }
        }
        Ok(())
    })
}
