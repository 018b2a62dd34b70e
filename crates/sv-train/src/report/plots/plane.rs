//! Embeddings of a few speakers on a plane: a dot an utterance, a triangle the mean embedding, a cross the speaker basis.
//!
//! Source: Heo et al. 2019, Figure 1.

use super::canvas::{INK, series_colour, sheet};
use super::frame::{Frame, Heading, Key, Mark};
use super::saying;
use super::scale::Scale;
use crate::TrainError;

/// Where a speaker's embeddings lie on a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeakerOnPlane {
    /// Name, for the legend.
    pub name: String,
    /// One place an utterance.
    pub embeddings: Vec<[f64; 2]>,
    /// The mean embedding's place.
    pub centroid: [f64; 2],
    /// The speaker basis's place.
    pub basis: [f64; 2],
}

/// Side of the square frame, in pixels.
const SIDE: i32 = 560;

/// Draws speakers on a plane as SVG, a colour each (they repeat after five). Both axes have one scale. Places that are not finite
/// are counted in the caption.
///
/// # Errors
/// [`TrainError::Plot`].
pub fn speakers_on_plane(
    title: &str,
    caption: &str,
    axes: [&str; 2],
    speakers: &[SpeakerOnPlane],
) -> Result<String, TrainError> {
    let is_finite = |place: &[f64; 2]| place.iter().all(|value| value.is_finite());
    let places = |speaker: &SpeakerOnPlane| -> Vec<[f64; 2]> {
        speaker.embeddings.iter().copied().chain([speaker.centroid, speaker.basis]).collect()
    };
    let all: Vec<[f64; 2]> = speakers.iter().flat_map(places).collect();
    let left_out = all.iter().filter(|place| !is_finite(place)).count();
    let mut keys: Vec<Key> = speakers
        .iter()
        .enumerate()
        .map(|(index, speaker)| Key { name: speaker.name.clone(), colour: series_colour(index), mark: Mark::Dot })
        .collect();
    keys.push(Key { name: "mean embedding".to_string(), colour: INK, mark: Mark::Triangle });
    keys.push(Key { name: "speaker basis".to_string(), colour: INK, mark: Mark::Cross });
    let heading = Heading::new(title, &saying(caption, left_out), keys, SIDE + 100);
    let finite: Vec<[f64; 2]> = all.into_iter().filter(is_finite).collect();
    let [x, y] = scales(&finite);
    let frame = Frame::below(&heading, (SIDE, SIDE), x, y);
    sheet("embeddings on a plane", &format!("{title}. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, axes[0], axes[1])?;
        for (index, speaker) in speakers.iter().enumerate() {
            for place in speaker.embeddings.iter().filter(|place| is_finite(place)) {
                canvas.dot(frame.at(place[0], place[1]), 4, series_colour(index))?;
            }
        }
        // Last: one each, which no cloud of dots may cover.
        for (index, speaker) in speakers.iter().enumerate() {
            let colour = series_colour(index);
            if is_finite(&speaker.centroid) {
                canvas.triangle(frame.at(speaker.centroid[0], speaker.centroid[1]), 9, colour)?;
            }
            if is_finite(&speaker.basis) {
                canvas.cross(frame.at(speaker.basis[0], speaker.basis[1]), 7, colour)?;
            }
        }
        Ok(())
    })
}

/// Axes over all places, of equal length: a circle of embeddings is to look like one.
fn scales(places: &[[f64; 2]]) -> [Scale; 2] {
    let ends = [0, 1].map(|axis| {
        let values = places.iter().map(|place| place[axis].clamp(-1e30, 1e30));
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    });
    let half = ends.iter().map(|(low, high)| (high - low) / 2.0).fold(0.0, f64::max);
    ends.map(|(low, high)| {
        let middle = (low + high) / 2.0;
        Scale::over([middle - half, middle + half])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(name: &str, at: f64) -> SpeakerOnPlane {
        let name = name.to_string();
        SpeakerOnPlane {
            name,
            embeddings: vec![[at, 1.0], [at, 2.0], [at + 1.0, 1.5]],
            centroid: [at, 1.5],
            basis: [at, 0.0],
        }
    }

    fn drawn(speakers: &[SpeakerOnPlane]) -> String {
        speakers_on_plane("Embeddings", "real speech", ["first", "second"], speakers).unwrap()
    }

    #[test]
    fn every_speaker_has_dots_a_triangle_and_a_cross() {
        let svg = drawn(&[speaker("ann", 0.0), speaker("bob", 5.0)]);
        // Each dot on a white one; one more for each name in the key, which has a triangle and a cross too.
        assert_eq!(svg.matches("<circle").count(), 2 * (2 * 3 + 2));
        assert_eq!(svg.matches("<polygon").count(), 3 * (2 + 1));
        // Two strokes a cross, in three layers; the widest are white.
        assert_eq!(svg.matches("stroke=\"#FFFFFF\" stroke-width=\"8\"").count(), 2 * (2 + 1));
        for text in ["ann", "bob", "mean embedding", "speaker basis", "first", "second", "real speech"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}");
        }
    }

    #[test]
    fn axes_are_of_equal_length() {
        let [x, y] = scales(&[[0.0, 10.0], [2.0, 50.0]]);
        assert_eq!((x.share(1.0), y.share(30.0)), (0.5, 0.5));
        assert!((x.share(3.0) - x.share(1.0) - (y.share(32.0) - y.share(30.0))).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_place_is_counted() {
        let mut broken = speaker("ann", 0.0);
        (broken.embeddings[1], broken.basis) = ([f64::NAN, 0.0], [0.0, f64::INFINITY]);
        let svg = drawn(&[broken, speaker("<b>&", 1e300)]);
        assert!(svg.contains("2 values are not finite and left out"), "{svg}");
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"));
        assert_eq!(drawn(&[]).matches("<polygon").count(), 3);
    }
}
