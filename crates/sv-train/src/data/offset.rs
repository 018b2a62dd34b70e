//! A smooth random offset over the bands of a row: the channel, as features see it.

use super::FeatureOffsetConfig;
use crate::{Purpose, Stream};

/// Deviation of the Gaussian that joins neighbouring bands, in bands.
const WIDTH: f64 = 4.0;

/// The offset, planned for some bands.
#[derive(Debug)]
pub(super) struct FeatureOffset {
    deviation: f64,
    /// (F, F), rows of unit norm.
    kernel: Vec<Vec<f64>>,
}

impl FeatureOffset {
    pub(super) fn new(config: &FeatureOffsetConfig, bins: usize) -> Self {
        let row = |band: usize| {
            let weight = |other: usize| (-0.5 * ((band as f64 - other as f64) / WIDTH).powi(2)).exp();
            let weights: Vec<f64> = (0..bins).map(weight).collect();
            let norm = weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt();
            weights.into_iter().map(|weight| weight / norm).collect()
        };
        Self { deviation: config.deviation, kernel: (0..bins).map(row).collect() }
    }

    /// Adds the offset of a row to its (T, F) values; `deviations` are those of the F bands over the training data.
    pub(super) fn add(&self, values: &mut [f32], deviations: &[f64], seed: u64, step: u64, row: usize) {
        let mut stream = Stream::new(seed, Purpose::FeatureAugmentation, step, row as u64);
        let normal: Vec<f64> = self.kernel.iter().map(|_| stream.normal()).collect();
        let offset = |(weights, deviation): (&Vec<f64>, &f64)| {
            let smooth: f64 = weights.iter().zip(&normal).map(|(weight, normal)| weight * normal).sum();
            (self.deviation * deviation * smooth) as f32
        };
        let offsets: Vec<f32> = self.kernel.iter().zip(deviations).map(offset).collect();
        for frame in values.chunks_exact_mut(offsets.len().max(1)) {
            frame.iter_mut().zip(&offsets).for_each(|(value, offset)| *value += offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_smooth_constant_in_time_and_as_large_as_asked() {
        let offset = FeatureOffset::new(&FeatureOffsetConfig { deviation: 0.25 }, 40);
        let deviations: Vec<f64> = (0..40).map(|band| 1.0 + band as f64 / 10.0).collect();
        let (mut squares, mut steps) = (0.0, 0.0);
        for row in 0..2_000 {
            let mut values = vec![0.0; 80];
            offset.add(&mut values, &deviations, 1, 0, row);
            assert_eq!(values[..40], values[40..]);
            let unit: Vec<f64> =
                values.iter().zip(&deviations).map(|(value, deviation)| f64::from(*value) / deviation).collect();
            squares += unit[20].powi(2);
            steps += (unit[21] - unit[20]).powi(2);
        }
        // Each band has the stated deviation (2,000 draws: 1.6 % of it); neighbours differ by 0.25 * sqrt(2 - 2 c), where
        // c = exp(-1 / 64) is the overlap of two Gaussian rows a band apart.
        let (deviation, step) = ((squares / 2_000.0_f64).sqrt(), (steps / 2_000.0_f64).sqrt());
        assert!((deviation - 0.25).abs() < 0.02, "{deviation}");
        let expected = 0.25 * (2.0 - 2.0 * (-1.0_f64 / 64.0).exp()).sqrt();
        assert!((step / expected - 1.0).abs() < 0.1, "{step} {expected}");
    }
}
