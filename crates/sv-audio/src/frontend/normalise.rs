//! Normalisation of a finished matrix of features over time.

use ndarray::Array2;

use super::Cmn;

impl Cmn {
    /// Subtracts the means, summed in f64.
    pub(super) fn apply(self, features: &mut Array2<f32>) {
        match self {
            Self::Sliding { frames } if frames < features.nrows() => subtract_sliding_means(features, frames),
            Self::Utterance | Self::Sliding { .. } => subtract_means(features),
        }
    }
}

fn subtract_means(features: &mut Array2<f32>) {
    let (frames, bins) = features.dim();
    let mut means = vec![0.0; bins];
    for row in features.outer_iter() {
        means.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    means.iter_mut().for_each(|mean| *mean /= frames as f64);
    for mut row in features.outer_iter_mut() {
        row.iter_mut().zip(&means).for_each(|(value, mean)| *value = (f64::from(*value) - mean) as f32);
    }
}

/// The window of `window` frames, fewer than there are, moves along; what enters is added and what leaves is subtracted.
fn subtract_sliding_means(features: &mut Array2<f32>, window: usize) {
    let (frames, bins) = features.dim();
    let original = features.clone();
    let mut sums = vec![0.0; bins];
    let add = |frame: usize, sign: f64, sums: &mut [f64]| {
        sums.iter_mut().zip(original.row(frame)).for_each(|(sum, &value)| *sum += sign * f64::from(value));
    };
    (0..window).for_each(|frame| add(frame, 1.0, &mut sums));
    let mut start = 0;
    for (frame, mut row) in features.outer_iter_mut().enumerate() {
        if frame > window / 2 && start + window < frames {
            add(start, -1.0, &mut sums);
            add(start + window, 1.0, &mut sums);
            start += 1;
        }
        row.iter_mut().zip(&sums).for_each(|(value, sum)| *value = (f64::from(*value) - sum / window as f64) as f32);
    }
}

/// Raises what is more than `range` below the largest value to that.
pub(super) fn limit_range(features: &mut Array2<f32>, range: f32) {
    let largest =
        features.iter().fold(f32::NEG_INFINITY, |largest, &value| if value > largest { value } else { largest });
    let least = largest - range;
    features.iter_mut().for_each(|value| *value = if *value < least { least } else { *value });
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_far_below_the_largest_are_raised() {
        let mut features = array![[-100.0_f32, 3.0], [-77.0, -76.0]];
        limit_range(&mut features, 80.0);
        assert_eq!(features, array![[-77.0_f32, 3.0], [-77.0, -76.0]]);
    }

    /// Kaldi's rule, frame by frame.
    fn plain(features: &Array2<f32>, window: usize) -> Array2<f32> {
        let frames = features.nrows() as i64;
        let mut result = features.clone();
        for (frame, mut row) in result.outer_iter_mut().enumerate() {
            let mut start = frame as i64 - window as i64 / 2;
            let mut end = start + window as i64;
            if start < 0 {
                (start, end) = (0, end - start);
            }
            if end > frames {
                (start, end) = ((start - (end - frames)).max(0), frames);
            }
            for (bin, value) in row.iter_mut().enumerate() {
                let sum: f64 = (start..end).map(|t| f64::from(features[[t as usize, bin]])).sum();
                *value = (f64::from(*value) - sum / (end - start) as f64) as f32;
            }
        }
        result
    }

    proptest! {
        #[test]
        fn sliding_means_equal_kaldis_rule(
            values in prop::collection::vec(-10.0_f32..10.0, 1..120), bins in 1_usize..4, window in 1_usize..50
        ) {
            prop_assume!(values.len() >= bins);
            let frames = values.len() / bins;
            let features = Array2::from_shape_vec((frames, bins), values[..frames * bins].to_vec()).unwrap();
            let mut fast = features.clone();
            Cmn::Sliding { frames: window }.apply(&mut fast);
            let slow = plain(&features, window);
            prop_assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
