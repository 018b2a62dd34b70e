//! Mean and deviation of each band over all training pieces.

use ndarray::ArrayView2;

/// Mean and deviation of each of F bands, over all frames of all pieces, a frame in two pieces counted twice.
#[derive(Debug, Clone, PartialEq)]
pub struct BandStatistics {
    /// Frames that were counted.
    pub frames: u64,
    /// F means.
    pub mean: Vec<f64>,
    /// F deviations (of the whole, not of a sample: divided by the number of frames).
    pub deviation: Vec<f64>,
}

/// Sums over some frames, f64, from which statistics follow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BandSums {
    pub(super) frames: u64,
    pub(super) mean: Vec<f64>,
    /// Sum of squared distances from the mean.
    pub(super) spread: Vec<f64>,
}

impl BandSums {
    pub(super) fn new(bins: usize) -> Self {
        Self { frames: 0, mean: vec![0.0; bins], spread: vec![0.0; bins] }
    }

    /// Counts (T, F) features.
    pub(super) fn add(&mut self, features: ArrayView2<'_, f32>) {
        let (frames, bins) = features.dim();
        if frames == 0 {
            return;
        }
        let mut other = Self::new(bins);
        other.frames = frames as u64;
        for row in features.outer_iter() {
            other.mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        other.mean.iter_mut().for_each(|mean| *mean /= frames as f64);
        for row in features.outer_iter() {
            for ((spread, mean), &value) in other.spread.iter_mut().zip(&other.mean).zip(row) {
                *spread += (f64::from(value) - mean).powi(2);
            }
        }
        self.merge(&other);
    }

    /// Counts what `other` counted. The order of merging is part of the result's last bits.
    ///
    /// # Source
    /// Chan, Golub and LeVeque 1979, the pairwise update: no difference of large squares.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.frames == 0 {
            return;
        }
        let (a, b) = (self.frames as f64, other.frames as f64);
        for band in 0..self.mean.len().min(other.mean.len()) {
            let apart = other.mean[band] - self.mean[band];
            self.mean[band] += apart * b / (a + b);
            self.spread[band] += other.spread[band] + apart * apart * a * b / (a + b);
        }
        self.frames += other.frames;
    }

    pub(super) fn finish(&self) -> BandStatistics {
        let frames = self.frames.max(1) as f64;
        let deviation = self.spread.iter().map(|spread| (spread / frames).sqrt()).collect();
        BandStatistics { frames: self.frames, mean: self.mean.clone(), deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn statistics_of_parts_are_those_of_the_whole() {
        let (first, second) = (array![[1.0_f32, 10.0], [3.0, 10.0]], array![[8.0_f32, 13.0]]);
        let mut sums = BandSums::new(2);
        sums.add(first.view());
        sums.add(second.view());
        // 1, 3, 8: mean 4, squares 9 + 1 + 16 = 26. 10, 10, 13: mean 11, squares 1 + 1 + 4 = 6.
        let got = sums.finish();
        assert_eq!(got.frames, 3);
        for (value, expected) in
            got.mean.iter().chain(&got.deviation).zip([4.0, 11.0, (26.0_f64 / 3.0).sqrt(), 2_f64.sqrt()])
        {
            assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        }
    }
}
