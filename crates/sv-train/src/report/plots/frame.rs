//! The parts that all plots over two axes share: heading, key, grid, labels, and lines that end at the frame.

use plotters::prelude::RGBColor;

use super::canvas::{Anchor, Canvas, Drawn, FAINT_INK, GRID, INK, TEXT, shortened, text_width, wrapped};
use super::scale::Scale;

/// Width of a plot with axes, in pixels.
pub(super) const WIDTH: i32 = 720;

const LEFT: i32 = 76;
const RIGHT: i32 = 24;
const BOTTOM: i32 = 58;
const LINE: i32 = 19;

/// How a line of the key looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Line,
    PaleLine,
    Dashes,
    Block,
    Dot,
    Triangle,
    Cross,
}

/// A line of the key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) mark: Mark,
}

/// Heading and key, laid out before the sheet is cut: its height depends on them.
pub(super) struct Heading {
    title: Vec<String>,
    caption: Vec<String>,
    keys: Vec<(i32, i32, Key)>,
    /// Where the plot may begin.
    pub(super) height: i32,
}

impl Heading {
    pub(super) fn new(title: &str, caption: &str, keys: Vec<Key>, width: i32) -> Self {
        let room = width - 2 * 16;
        let title = wrapped(title, room, 17);
        let caption = wrapped(caption, room, TEXT);
        let mut y = 12 + 23 * title.len() as i32 + LINE * caption.len() as i32;
        let (mut x, mut placed) = (16, Vec::new());
        let some = !keys.is_empty();
        y += if some { 14 } else { 0 };
        for key in keys {
            let key = Key { name: shortened(&key.name, room - 34, TEXT), ..key };
            let wide = 34 + text_width(&key.name, TEXT) + 16;
            if x > 16 && x + wide > width - 8 {
                (x, y) = (16, y + LINE + 2);
            }
            placed.push((x, y, key));
            x += wide;
        }
        Self { title, caption, keys: placed, height: y + if some { 20 } else { 12 } }
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let mut y = 22;
        for line in &self.title {
            canvas.text(line, (16, y), 17, INK, Anchor::Start)?;
            y += 23;
        }
        for line in &self.caption {
            canvas.text(line, (16, y), TEXT, FAINT_INK, Anchor::Start)?;
            y += LINE;
        }
        for (x, y, key) in &self.keys {
            let (from, to) = ((*x, *y), (x + 26, *y));
            match key.mark {
                Mark::Line => canvas.line(&[from, to], key.colour, 1.0, 3)?,
                Mark::PaleLine => canvas.line(&[from, to], key.colour, 0.35, 2)?,
                Mark::Dashes => canvas.dashes(from, to, key.colour, 2)?,
                Mark::Block => canvas.area((x + 4, y - 7), (x + 24, y + 7), key.colour, 0.55)?,
                Mark::Dot => canvas.dot((x + 16, *y), 4, key.colour)?,
                Mark::Triangle => canvas.triangle((x + 15, *y), 7, key.colour)?,
                Mark::Cross => canvas.cross((x + 15, *y), 5, key.colour)?,
            }
            canvas.text(&key.name, (x + 33, *y), TEXT, INK, Anchor::Start)?;
        }
        Ok(())
    }
}

/// A rectangle with two axes.
pub(super) struct Frame {
    left: i32,
    top: i32,
    right: i32,
    bottom: i32,
    x: Scale,
    y: Scale,
}

impl Frame {
    /// A frame of `size` pixels below a heading.
    pub(super) fn below(heading: &Heading, size: (i32, i32), x: Scale, y: Scale) -> Self {
        Self { left: LEFT, top: heading.height, right: LEFT + size.0, bottom: heading.height + size.1, x, y }
    }

    /// A frame as wide as the sheet.
    pub(super) fn wide(heading: &Heading, height: i32, x: Scale, y: Scale) -> Self {
        Self::below(heading, (WIDTH - LEFT - RIGHT, height), x, y)
    }

    /// Size of the sheet that it needs.
    pub(super) fn sheet(&self) -> (i32, i32) {
        (self.right + RIGHT, self.bottom + BOTTOM)
    }

    pub(super) fn axes(&self, canvas: &Canvas<'_>, x_label: &str, y_label: &str) -> Drawn {
        for (value, label) in self.x.ticks() {
            let (x, _) = self.at(value, f64::NAN);
            canvas.line(&[(x, self.top), (x, self.bottom)], GRID, 1.0, 1)?;
            canvas.text(&label, (x, self.bottom + 15), TEXT, INK, Anchor::Middle)?;
        }
        for (value, label) in self.y.ticks() {
            let (_, y) = self.at(f64::NAN, value);
            canvas.line(&[(self.left, y), (self.right, y)], GRID, 1.0, 1)?;
            canvas.text(&label, (self.left - 8, y), TEXT, INK, Anchor::End)?;
        }
        canvas.outline((self.left, self.top), (self.right, self.bottom), FAINT_INK, 1)?;
        canvas.text(x_label, ((self.left + self.right) / 2, self.bottom + 40), TEXT + 1, INK, Anchor::Middle)?;
        canvas.text(y_label, (16, (self.top + self.bottom) / 2), TEXT + 1, INK, Anchor::Upward)
    }

    /// The pixel of a point, at most at the frame's edge; NaN is at the left and the bottom.
    pub(super) fn at(&self, x: f64, y: f64) -> (i32, i32) {
        self.pixel([self.x.share(x), self.y.share(y)].map(|share| if share.is_nan() { 0.0 } else { share }))
    }

    fn pixel(&self, [x, y]: [f64; 2]) -> (i32, i32) {
        let (width, height) = (f64::from(self.right - self.left), f64::from(self.bottom - self.top));
        (
            self.left + (x.clamp(0.0, 1.0) * width).round() as i32,
            self.bottom - (y.clamp(0.0, 1.0) * height).round() as i32,
        )
    }

    /// Whether a point is on the sheet of the frame, edges included.
    pub(super) fn holds(&self, x: f64, y: f64) -> bool {
        [self.x.share(x), self.y.share(y)].iter().all(|share| (-1e-9..=1.0 + 1e-9).contains(share))
    }

    /// A line through points, each part of it that is inside; points that are not numbers break it.
    pub(super) fn line(
        &self,
        canvas: &Canvas<'_>,
        points: &[(f64, f64)],
        colour: RGBColor,
        alpha: f64,
        width: u32,
    ) -> Drawn {
        let mut stroke: Vec<(i32, i32)> = Vec::new();
        for pair in points.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|(x, y)| [self.x.share(x), self.y.share(y)]);
            let Some((from, to)) = inside(from, to) else { continue };
            let (from, to) = (self.pixel(from), self.pixel(to));
            if stroke.last() != Some(&from) {
                canvas.line(&stroke, colour, alpha, width)?;
                stroke = vec![from];
            }
            if from != to {
                stroke.push(to);
            }
        }
        canvas.line(&stroke, colour, alpha, width)
    }
}

/// The part of a segment in the unit square: Liang and Barsky 1984, "A new concept and method for line clipping".
fn inside(from: [f64; 2], to: [f64; 2]) -> Option<([f64; 2], [f64; 2])> {
    if from.iter().chain(&to).any(|share| share.is_nan()) {
        return None;
    }
    let step = [to[0] - from[0], to[1] - from[1]];
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for axis in 0..2 {
        for (toward, room) in [(-step[axis], from[axis]), (step[axis], 1.0 - from[axis])] {
            if toward == 0.0 {
                if room < 0.0 {
                    return None;
                }
            } else if toward < 0.0 {
                enter = enter.max(room / toward);
            } else {
                leave = leave.min(room / toward);
            }
        }
    }
    let at = |share: f64| [from[0] + share * step[0], from[1] + share * step[1]];
    (enter <= leave).then(|| (at(enter), at(leave)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_cut_at_the_edges() {
        assert_eq!(inside([0.25, 0.5], [0.75, 0.5]), Some(([0.25, 0.5], [0.75, 0.5])));
        assert_eq!(inside([-1.0, 0.5], [3.0, 0.5]), Some(([0.0, 0.5], [1.0, 0.5])));
        assert_eq!(inside([0.5, -0.5], [1.5, 0.5]), Some(([1.0, 0.0], [1.0, 0.0])));
        assert_eq!(inside([1.5, 0.0], [1.5, 1.0]), None);
        assert_eq!(inside([0.5, f64::NAN], [0.5, 0.5]), None);
        assert_eq!(inside([0.5, 0.5], [0.5, 0.5]), Some(([0.5, 0.5], [0.5, 0.5])));
    }
}
