//! Plots as SVG, a file each. Text stays text, colours can be told apart with any colour vision, and what cannot be drawn is counted and
//! said in the caption.

mod canvas;
mod density;
mod det;
mod eer;
mod frame;
mod histogram;
mod loss;
mod plane;
mod scale;
mod similarity;

pub use density::{Spread, densities};
pub(super) use det::{DetSeries, det};
pub(super) use eer::eer_over_steps;
pub(super) use histogram::histogram;
pub(super) use loss::loss;
pub use plane::{SpeakerOnPlane, speakers_on_plane};
pub(super) use scale::{grouped, number};
pub(super) use similarity::similarity;

/// A fraction as a percentage with two decimals, without the sign: `3.42`.
pub(super) fn percent(fraction: f64) -> String {
    if fraction.is_finite() { format!("{:.2}", fraction * 100.0) } else { "not a number".to_string() }
}

/// A caption, with what was left out.
fn saying(caption: &str, left_out: usize) -> String {
    match left_out {
        0 => caption.to_string(),
        1 => format!("{caption}; 1 value is not finite and left out"),
        count => format!("{caption}; {count} values are not finite and left out"),
    }
}
