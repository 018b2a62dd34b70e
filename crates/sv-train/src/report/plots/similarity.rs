//! The similarity matrix of the enrol and verify protocol: rows are utterances, columns enrolled speakers, own cells outlined.

use plotters::prelude::RGBColor;

use super::canvas::{Anchor, Canvas, Drawn, FAINT_INK, INK, ORANGE, TEXT, WHITE, sheet, shortened, text_width};
use super::frame::{Heading, Key, Mark, WIDTH};
use super::saying;
use crate::TrainError;
use crate::report::summary::ProtocolSummary;

/// Blues from light to dark, even in lightness: ColorBrewer's sequential "Blues" (C. Brewer), five of its classes.
const SHADES: [RGBColor; 5] = [
    RGBColor(0xf7, 0xfb, 0xff),
    RGBColor(0xc6, 0xdb, 0xef),
    RGBColor(0x6b, 0xae, 0xd6),
    RGBColor(0x21, 0x71, 0xb5),
    RGBColor(0x08, 0x30, 0x6b),
];

const NOT_FINITE: RGBColor = RGBColor(0xd0, 0xd0, 0xd0);

/// Height of the rows of values and of the names above them.
const ROW: i32 = 24;

/// Draws the matrix. Rows that are too long or too short are drawn as far as they go.
pub(crate) fn similarity(caption: &str, protocol: &ProtocolSummary) -> Result<String, TrainError> {
    let cells = || protocol.similarity.iter().flatten();
    let left_out = cells().filter(|value| !value.is_finite()).count();
    let own = Key { name: "a speaker's own utterances".to_string(), colour: ORANGE, mark: Mark::Line };
    let heading = Heading::new("Verification against enrolment", &saying(caption, left_out), vec![own], WIDTH);
    let grid = Grid::new(protocol, heading.height);
    let (low, high) = ends(cells().copied());
    sheet("similarities", &format!("Similarity matrix. {caption}"), (WIDTH, grid.bottom() + 92), |canvas| {
        heading.draw(canvas)?;
        grid.names(canvas, protocol)?;
        for (row, values) in protocol.similarity.iter().enumerate() {
            for (column, &value) in values.iter().enumerate().take(grid.columns) {
                grid.cell(canvas, row, column, value, (value - low) / (high - low))?;
            }
        }
        for speaker in 0..grid.columns {
            let (from, to) = (speaker * grid.block, ((speaker + 1) * grid.block).min(grid.rows));
            if from < to {
                canvas.outline(grid.at(from, speaker), grid.at(to, speaker + 1), ORANGE, 3)?;
            }
        }
        colour_key(canvas, grid.bottom() + 34, low, high)
    })
}

/// Ends of the colours: 0 to 1 for cosines, from -1 if one is negative, and the values' own range for what is no cosine.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .map(|value| value.clamp(-1e30, 1e30))
        .fold((0.0_f64, 1.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    // Cosines computed in f32 may pass 1 by a rounding.
    let low = if (-1.001..0.0).contains(&low) { -1.0 } else { low };
    (low, if high < 1.001 { 1.0 } else { high })
}

struct Grid {
    rows: usize,
    columns: usize,
    /// Rows of one speaker.
    block: usize,
    left: i32,
    top: i32,
    wide: f64,
    high: f64,
}

impl Grid {
    fn new(protocol: &ProtocolSummary, top: i32) -> Self {
        let rows = protocol.similarity.len().max(1);
        let columns = protocol.speakers.len().max(1);
        let left = 150;
        let wide = (f64::from(WIDTH - left - 24) / columns as f64).min(130.0);
        // A tall matrix is pressed into the height of a page, and then drawn without its values.
        let high = f64::from(ROW).min((1200.0 / rows as f64).max(1.0));
        Self { rows, columns, block: protocol.utterances.max(1), left, top: top + 2 * ROW, wide, high }
    }

    /// Upper left corner of a cell.
    fn at(&self, row: usize, column: usize) -> (i32, i32) {
        (self.left + (column as f64 * self.wide).round() as i32, self.top + (row as f64 * self.high).round() as i32)
    }

    fn bottom(&self) -> i32 {
        self.at(self.rows, 0).1
    }

    fn names(&self, canvas: &Canvas<'_>, protocol: &ProtocolSummary) -> Drawn {
        let middle = (self.left + self.at(0, self.columns).0) / 2;
        canvas.text("enrolled speaker", (middle, self.top - 2 * ROW + 8), TEXT + 1, INK, Anchor::Middle)?;
        canvas.text("verified with", (16, self.top - ROW + 9), TEXT + 1, INK, Anchor::Start)?;
        // Names that would touch are left out but for every second, third, ... of them.
        let every_column = (44.0 / self.wide).ceil().max(1.0) as usize;
        let every_row = (f64::from(TEXT + 4) / (self.high * self.block as f64)).ceil().max(1.0) as usize;
        for (speaker, name) in protocol.speakers.iter().enumerate() {
            if speaker % every_column == 0 {
                let room = (self.wide * every_column as f64) as i32 - 6;
                let x = self.at(0, speaker).0 + (self.wide / 2.0) as i32;
                canvas.text(&shortened(name, room, TEXT), (x, self.top - 13), TEXT, INK, Anchor::Middle)?;
            }
            let first = speaker * self.block;
            if speaker % every_row == 0 && first < self.rows {
                let last = (first + self.block).min(self.rows);
                let y = (self.at(first, 0).1 + self.at(last, 0).1) / 2;
                let room = self.left - 16 - 36;
                canvas.text(&shortened(name, room, TEXT), (16, y), TEXT, INK, Anchor::Start)?;
            }
        }
        if self.high >= f64::from(TEXT + 2) {
            for row in 0..self.rows {
                let y = self.at(row, 0).1 + (self.high / 2.0) as i32;
                let number = (row % self.block + 1).to_string();
                canvas.text(&number, (self.left - 8, y), TEXT - 1, FAINT_INK, Anchor::End)?;
            }
        }
        Ok(())
    }

    fn cell(&self, canvas: &Canvas<'_>, row: usize, column: usize, value: f64, share: f64) -> Drawn {
        let (from, to) = (self.at(row, column), self.at(row + 1, column + 1));
        let (colour, text) =
            if value.is_finite() { (shade(share), format!("{value:.2}")) } else { (NOT_FINITE, "n/a".to_string()) };
        canvas.area(from, to, colour, 1.0)?;
        if self.high < f64::from(TEXT + 2) || f64::from(text_width(&text, TEXT)) > self.wide - 2.0 {
            return Ok(());
        }
        canvas.outline(from, to, WHITE, 1)?;
        let ink = if share > 0.55 { WHITE } else { INK };
        canvas.text(&text, ((from.0 + to.0) / 2, (from.1 + to.1) / 2), TEXT, ink, Anchor::Middle)
    }
}

/// The colour of a share of the range.
fn shade(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64;
    let index = (place as usize).min(SHADES.len() - 2);
    let (from, to, rest) = (SHADES[index], SHADES[index + 1], place - index as f64);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * rest).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// The colours from least to largest, and what they stand for.
fn colour_key(canvas: &Canvas<'_>, y: i32, low: f64, high: f64) -> Drawn {
    const STEPS: i32 = 60;
    const STEP: i32 = 6;
    let left = 150;
    canvas.text("cosine", (16, y), TEXT + 1, INK, Anchor::Start)?;
    for step in 0..STEPS {
        let x = left + step * STEP;
        canvas.area((x, y - 9), (x + STEP, y + 9), shade(f64::from(step) / f64::from(STEPS - 1)), 1.0)?;
    }
    canvas.outline((left, y - 9), (left + STEPS * STEP, y + 9), FAINT_INK, 1)?;
    for quarter in 0..=4 {
        let value = low + (high - low) * f64::from(quarter) / 4.0;
        let x = left + STEPS * STEP * quarter / 4;
        canvas.line(&[(x, y + 9), (x, y + 13)], FAINT_INK, 1.0, 1)?;
        canvas.text(&super::number(value, 2), (x, y + 24), TEXT, INK, Anchor::Middle)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stand_for_cosines_where_they_are() {
        assert_eq!(ends([0.2, 0.9].into_iter()), (0.0, 1.0));
        assert_eq!(ends([-0.2, 1.000_000_1].into_iter()), (-1.0, 1.0));
        assert_eq!(ends([f64::NAN, f64::INFINITY].into_iter()), (0.0, 1.0));
        assert_eq!(ends([-7.0, 4.0].into_iter()), (-7.0, 4.0));
    }

    #[test]
    fn shades_run_from_light_to_dark() {
        assert_eq!((shade(0.0), shade(1.0), shade(0.5)), (SHADES[0], SHADES[4], SHADES[2]));
        let sums: Vec<u32> = (0..=20)
            .map(|i| shade(f64::from(i) / 20.0))
            .map(|c| u32::from(c.0) + u32::from(c.1) + u32::from(c.2))
            .collect();
        assert!(sums.windows(2).all(|pair| pair[0] > pair[1]), "{sums:?}");
    }
}
