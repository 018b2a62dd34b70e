//! Slopes over time and neighbouring frames, appended to features.

use ndarray::Array2;

use super::{Context, Deltas};

impl Deltas {
    /// (T, F) to (T, (1 + order) F): the features, then their slopes, then the slopes of those.
    pub(super) fn append(self, features: &Array2<f32>) -> Array2<f32> {
        let (frames, bins) = features.dim();
        let reach = self.reach as isize;
        // Least squares through 2 n + 1 points at -n..n: sum k x / sum k^2.
        let denominator: f32 = (1..=reach).map(|k| 2.0 * (k * k) as f32).sum();
        let mut all = Array2::zeros((frames, bins * (1 + self.order)));
        for frame in 0..frames {
            for bin in 0..bins {
                all[[frame, bin]] = features[[frame, bin]];
            }
        }
        for column in bins..bins * (1 + self.order) {
            for frame in 0..frames {
                let at = |k: isize| {
                    let frame = frame.saturating_add_signed(k).min(frames - 1);
                    all[[frame, column - bins]]
                };
                let slope = (1..=reach).map(|k| k as f32 * (at(k) - at(-k))).sum::<f32>() / denominator;
                all[[frame, column]] = slope;
            }
        }
        all
    }
}

impl Context {
    /// (T, F) to (T, F (left + 1 + right)): for each value, what it is in the frames around.
    pub(super) fn gather(self, features: &Array2<f32>) -> Array2<f32> {
        let (frames, bins) = features.dim();
        let width = self.left + 1 + self.right;
        Array2::from_shape_fn((frames, bins * width), |(frame, column)| {
            let neighbour = (frame + column % width).checked_sub(self.left);
            neighbour.and_then(|neighbour| features.get([neighbour, column / width])).copied().unwrap_or(0.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_straight_line_has_its_slope_inside_and_half_of_it_at_the_ends() {
        // Reach 1: (x[t+1] - x[t-1]) / 2, the end frames repeated; the slope of 1, 2, 2, 1 (halves) again.
        let got = Deltas { order: 2, reach: 1 }.append(&array![[0.0], [2.0], [4.0], [6.0]]);
        assert_eq!(got, array![[0.0, 1.0, 0.5], [2.0, 2.0, 0.5], [4.0, 2.0, -0.5], [6.0, 1.0, -0.5]]);
    }

    #[test]
    fn context_stands_value_by_value_and_ends_in_zeros() {
        let got = Context { left: 1, right: 2 }.gather(&array![[1.0, 10.0], [2.0, 20.0]]);
        assert_eq!(got, array![[0.0, 1.0, 2.0, 0.0, 0.0, 10.0, 20.0, 0.0], [1.0, 2.0, 0.0, 0.0, 10.0, 20.0, 0.0, 0.0]]);
    }
}
