//! The sheet that plots are drawn on: pixels, colours and text over `plotters`' SVG writer.

use std::io;

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    Circle, Color, DrawingArea, FontTransform, IntoDrawingArea, IntoFont, PathElement, Polygon, RGBColor, Rectangle,
    SVGBackend, ShapeStyle, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::html::escaped;
use crate::TrainError;

/// What drawing answers: errors are those of the library, and an SVG in memory meets none.
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x55, 0x55, 0x55);
pub(super) const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
pub(super) const WHITE: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// Colours of series, told apart with any kind of colour vision: M. Okabe and K. Ito 2008, "Color Universal Design", without their yellow
/// and sky blue, which are too light for lines on white.
const SERIES: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x00, 0x00, 0x00),
];

pub(super) const BLUE: RGBColor = SERIES[0];
pub(super) const ORANGE: RGBColor = SERIES[1];

/// The colour of a series by its position; they repeat.
pub(super) fn series_colour(index: usize) -> RGBColor {
    SERIES[index % SERIES.len()]
}

/// Height of most text, in pixels.
pub(super) const TEXT: i32 = 13;

/// Where text lies about its point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    /// Begins there, centred in height.
    Start,
    /// Centred both ways.
    Middle,
    /// Ends there, centred in height.
    End,
    /// Centred both ways and turned to read upwards.
    Upward,
}

/// A sheet under the pen.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Draws a sheet of `size` pixels; `name` says what it shows, to those who cannot see it and in errors.
pub(super) fn sheet(
    name: &'static str,
    label: &str,
    size: (i32, i32),
    draw: impl FnOnce(&Canvas<'_>) -> Drawn,
) -> Result<String, TrainError> {
    let mut svg = String::new();
    let (width, height) = (size.0.max(1) as u32, size.1.max(1) as u32);
    {
        let canvas = Canvas { area: SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area() };
        canvas
            .area
            .fill(&WHITE)
            .and_then(|()| draw(&canvas))
            .and_then(|()| canvas.area.present())
            .map_err(|source| TrainError::Plot { plot: name, source: Box::new(source) })?;
    }
    let label = escaped(&printable(label));
    Ok(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1))
}

impl Canvas<'_> {
    /// Text of `size` pixels; what cannot stand in XML is replaced.
    pub(super) fn text(&self, text: &str, at: (i32, i32), size: i32, colour: RGBColor, anchor: Anchor) -> Drawn {
        let (horizontal, turn) = match anchor {
            Anchor::Start => (HPos::Left, FontTransform::None),
            Anchor::Middle => (HPos::Center, FontTransform::None),
            Anchor::End => (HPos::Right, FontTransform::None),
            Anchor::Upward => (HPos::Center, FontTransform::Rotate270),
        };
        // The library divides by 1.24 what it is told.
        let font = ("sans-serif", f64::from(size) * 1.24).into_font().transform(turn);
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(horizontal, VPos::Center));
        self.area.draw_text(&printable(text), &style, at)
    }

    pub(super) fn line(&self, points: &[(i32, i32)], colour: RGBColor, alpha: f64, width: u32) -> Drawn {
        if points.len() < 2 {
            return Ok(());
        }
        let style = ShapeStyle { color: colour.mix(alpha), filled: false, stroke_width: width };
        self.area.draw(&PathElement::new(points.to_vec(), style))
    }

    /// A straight dashed line.
    pub(super) fn dashes(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, width: u32) -> Drawn {
        const DASH: f64 = 6.0;
        let (x, y) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = x.hypot(y);
        let at = |way: f64| {
            let share = (way / length).min(1.0);
            (from.0 + (x * share).round() as i32, from.1 + (y * share).round() as i32)
        };
        let mut way = 0.0;
        while way < length {
            self.line(&[at(way), at(way + DASH)], colour, 1.0, width)?;
            way += 2.0 * DASH;
        }
        Ok(())
    }

    /// A filled rectangle from one corner to the other.
    pub(super) fn area(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, alpha: f64) -> Drawn {
        self.area.draw(&Rectangle::new([from, to], colour.mix(alpha).filled()))
    }

    /// The outline of a rectangle.
    pub(super) fn outline(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, width: u32) -> Drawn {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from, (to.0, from.1)];
        self.line(&corners, colour, 1.0, width)
    }

    /// A dot with a white rim.
    pub(super) fn dot(&self, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        self.area.draw(&Circle::new(at, radius + 1, WHITE.filled()))?;
        self.area.draw(&Circle::new(at, radius, colour.filled()))
    }

    /// A triangle that points upwards, with a dark rim.
    pub(super) fn triangle(&self, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        let corners = |radius: i32| {
            let (wide, low) = (radius * 7 / 8, radius / 2);
            vec![(at.0, at.1 - radius), (at.0 + wide, at.1 + low), (at.0 - wide, at.1 + low)]
        };
        self.area.draw(&Polygon::new(corners(radius + 4), WHITE.filled()))?;
        self.area.draw(&Polygon::new(corners(radius + 2), INK.filled()))?;
        self.area.draw(&Polygon::new(corners(radius - 1), colour.filled()))
    }

    /// A cross of two diagonals, with a dark rim.
    pub(super) fn cross(&self, at: (i32, i32), radius: i32, colour: RGBColor) -> Drawn {
        for (more, colour, width) in [(2, WHITE, 8), (1, INK, 6), (0, colour, 3)] {
            let reach = radius + more;
            self.line(&[(at.0 - reach, at.1 - reach), (at.0 + reach, at.1 + reach)], colour, 1.0, width)?;
            self.line(&[(at.0 - reach, at.1 + reach), (at.0 + reach, at.1 - reach)], colour, 1.0, width)?;
        }
        Ok(())
    }
}

/// Width of text in pixels, a little more than most fonts take: the SVG's reader brings the font.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    let ems: f64 = text.chars().map(|c| if c.is_ascii() { 0.57 } else { 1.0 }).sum();
    (ems * f64::from(size)).ceil() as i32
}

/// Text cut to a width, the cut marked.
pub(super) fn shortened(text: &str, width: i32, size: i32) -> String {
    if text_width(text, size) <= width {
        return text.to_string();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if text_width(&short, size) + size > width {
            short.pop();
            break;
        }
    }
    short.trim_end().to_string() + "…"
}

/// Text in lines of at most `width` pixels, broken at spaces; a word that is too long is cut.
pub(super) fn wrapped(text: &str, width: i32, size: i32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shortened(word, width, size);
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// Control characters and the two other code points that XML has no way to write, replaced.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c }).collect()
}
