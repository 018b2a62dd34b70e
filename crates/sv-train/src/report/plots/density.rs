//! How values of several kinds spread: densities side by side, with the mean of each.

use super::canvas::{series_colour, sheet};
use super::frame::{Frame, Heading, Key, Mark, WIDTH};
use super::saying;
use super::scale::Scale;
use crate::TrainError;

/// Values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Name, for the legend.
    pub name: String,
    /// The values, in any order.
    pub values: Vec<f64>,
}

/// The most bins over the range of all values.
const MOST_BINS: f64 = 400.0;

/// Draws the histograms of `series` as densities (each of area 1) over common bins of `width`, as SVG; the legend has the mean of
/// each. Values that are not finite are counted in the caption.
///
/// # Errors
/// [`TrainError::Plot`].
pub fn densities(
    title: &str,
    caption: &str,
    x_label: &str,
    width: f64,
    series: &[Spread],
) -> Result<String, TrainError> {
    let finite: Vec<Vec<f64>> = series
        .iter()
        .map(|one| one.values.iter().copied().filter(|value| value.is_finite() && value.abs() < 1e30).collect())
        .collect();
    let left_out =
        series.iter().map(|one| one.values.len()).sum::<usize>() - finite.iter().map(Vec::len).sum::<usize>();
    let bins = Bins::over(finite.iter().flatten().copied(), width);
    let curves: Vec<Vec<f64>> = finite.iter().map(|values| bins.densities(values)).collect();
    let keys = series
        .iter()
        .zip(&finite)
        .enumerate()
        .map(|(index, (one, values))| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let mean = if values.is_empty() { "no value".to_string() } else { format!("mean {mean:.3}") };
            Key { name: format!("{}: {mean}", one.name), colour: series_colour(index), mark: Mark::Block }
        })
        .collect();
    let heading = Heading::new(title, &saying(caption, left_out), keys, WIDTH);
    let x = Scale::over([bins.edge(0), bins.edge(bins.count)]);
    let frame = Frame::wide(&heading, 320, x, Scale::from_zero(curves.iter().flatten().copied()));
    sheet("densities", &format!("{title}. {caption}"), frame.sheet(), |canvas| {
        heading.draw(canvas)?;
        frame.axes(canvas, x_label, "density")?;
        for (index, curve) in curves.iter().enumerate() {
            let mut outline = vec![(bins.edge(0), 0.0)];
            for (bin, &density) in curve.iter().enumerate() {
                let (from, to) = (bins.edge(bin), bins.edge(bin + 1));
                if density > 0.0 {
                    canvas.area(frame.at(from, density), frame.at(to, 0.0), series_colour(index), 0.35)?;
                }
                outline.extend([(from, density), (to, density)]);
            }
            outline.push((bins.edge(bins.count), 0.0));
            frame.line(canvas, &outline, series_colour(index), 1.0, 2)?;
        }
        Ok(())
    })
}

/// Bins of one width, whose edges are multiples of it.
struct Bins {
    first: f64,
    width: f64,
    count: usize,
}

impl Bins {
    fn over(values: impl Iterator<Item = f64>, width: f64) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // A width that is none, or that the range holds too often, gives way to one that can be drawn.
        let least = ((high - low) / MOST_BINS).max(low.abs().max(high.abs()) * 1e-9).max(1e-9);
        let width = if width.is_finite() { width.max(least) } else { least };
        let first = (low / width).floor();
        let count = ((high / width).floor() - first) as usize + 1;
        Self { first, width, count }
    }

    fn edge(&self, bin: usize) -> f64 {
        (self.first + bin as f64) * self.width
    }

    fn densities(&self, values: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        for value in values {
            let bin = ((value / self.width).floor() - self.first).max(0.0) as usize;
            counts[bin.min(self.count - 1)] += 1.0;
        }
        let area = values.len().max(1) as f64 * self.width;
        counts.into_iter().map(|count: f64| count / area).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_at_an_edge_is_in_the_bin_above() {
        let values = [-0.5, -0.25, 0.0, 0.125, 0.25];
        let bins = Bins::over(values.into_iter(), 0.25);
        assert_eq!((bins.edge(0), bins.edge(bins.count), bins.count), (-0.5, 0.5, 4));
        // 1, 1, 2 and 1 of five, in bins of a quarter.
        assert_eq!(bins.densities(&values), [0.8, 0.8, 1.6, 0.8]);
        assert_eq!(bins.densities(&[]), [0.0; 4]);
    }

    #[test]
    fn the_legend_has_the_means_and_the_caption_what_is_left_out() {
        let one = |name: &str, values: &[f64]| Spread { name: name.to_string(), values: values.to_vec() };
        let svg = densities(
            "Scores",
            "all pairs",
            "cos",
            0.5,
            &[one("with", &[0.0, 0.25]), one("without", &[f64::NAN, 1.0]), one("<b>", &[])],
        )
        .unwrap();
        for text in ["with: mean 0.125", "without: mean 1.000", "&lt;b&gt;: no value", "density", "cos"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        assert!(svg.contains("all pairs; 1 value is not finite and left out"), "{svg}");
        // One filled bin of each of the first two, and three blocks of the key, all translucent.
        assert_eq!((svg.matches("opacity=\"0.35\"").count(), svg.matches("opacity=\"0.55\"").count()), (2, 3));
    }

    proptest! {
        #[test]
        fn the_area_is_one_and_the_bins_are_few(
            values in prop::collection::vec(prop_oneof![-1.0_f64..1.0, -1e29_f64..1e29, Just(0.0)], 1..60),
            width in prop_oneof![Just(0.02), Just(0.0), Just(-1.0), Just(f64::NAN), Just(1e-300), Just(1e300)],
        ) {
            let bins = Bins::over(values.iter().copied(), width);
            prop_assert!(bins.count <= 402, "{}", bins.count);
            let area: f64 = bins.densities(&values).iter().map(|density| density * bins.width).sum();
            prop_assert!((area - 1.0).abs() < 1e-9, "{area}");
        }
    }
}
