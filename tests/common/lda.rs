//! The baseline that every figure on synthetic voices is compared with: linear discriminant analysis on the mean and the
//! deviation over time of log-mel bands. It knows no time, so what it misses is what a sequence model has to find.
//!
//! Equal to scikit-learn's `LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")`: within each class the
//! standardised covariance of Ledoit and Wolf (2004), their mean as within-class scatter, the total's minus it as
//! between-class scatter.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use realfft::RealFftPlanner;
use sv_audio::synth::{Corpus, Speaker};

const RATE_HZ: f64 = 16_000.0;
const FFT: usize = 512;
const WINDOW: usize = 400;
const HOP: usize = 160;
const BANDS: usize = 40;
const LOWEST_HZ: f64 = 20.0;
const HIGHEST_HZ: f64 = 7_600.0;

/// Mean and deviation over time of 40 log-mel bands: window 400, hop 160, transform 512, Slaney's mel from 20 to
/// 7,600 Hz, frames centred with zeros beyond the edges, `ln(power + 1e-8)`.
pub struct LogMelStats {
    window: Vec<f64>,
    /// (bands, bins).
    bank: Vec<Vec<f64>>,
    planner: RealFftPlanner<f64>,
}

impl Default for LogMelStats {
    fn default() -> Self {
        let window =
            (0..WINDOW).map(|n| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / WINDOW as f64).cos()).collect();
        Self { window, bank: mel_bank(), planner: RealFftPlanner::new() }
    }
}

impl LogMelStats {
    /// 80 values of a 16 kHz recording: 40 means, then 40 deviations (of the population).
    ///
    /// # Panics
    /// Never: the transform's buffers are its own.
    pub fn of(&mut self, samples: &[f32]) -> Vec<f64> {
        let transform = self.planner.plan_fft_forward(FFT);
        let (mut time, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
        let frames = samples.len() / HOP + 1;
        let (mut sum, mut squares) = (vec![0.0; BANDS], vec![0.0; BANDS]);
        for frame in 0..frames {
            time.fill(0.0);
            for (n, &w) in self.window.iter().enumerate() {
                let place = (frame * HOP + n).checked_sub(WINDOW / 2);
                let sample = place.and_then(|place| samples.get(place)).copied().unwrap_or(0.0);
                time[(FFT - WINDOW) / 2 + n] = w * f64::from(sample);
            }
            transform.process(&mut time, &mut spectrum).expect("buffers come from the plan itself");
            let power: Vec<f64> = spectrum.iter().map(|bin| bin.norm_sqr()).collect();
            for (band, filter) in self.bank.iter().enumerate() {
                let energy: f64 = filter.iter().zip(&power).map(|(w, p)| w * p).sum();
                let value = (energy + 1e-8).ln();
                sum[band] += value;
                squares[band] += value * value;
            }
        }
        let count = frames as f64;
        let means: Vec<f64> = sum.iter().map(|s| s / count).collect();
        let deviations = squares.iter().zip(&means).map(|(s, m)| (s / count - m * m).max(0.0).sqrt());
        means.iter().copied().chain(deviations).collect()
    }

    /// The values of the first `takes` recordings of each synthetic speaker in `indices`, and whose they are.
    pub fn of_speakers(
        &mut self,
        corpus: Corpus,
        seed: u64,
        indices: std::ops::Range<u64>,
        takes: u64,
    ) -> (Vec<Vec<f64>>, Vec<u64>) {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for index in indices {
            let speaker = Speaker::draw(seed, corpus, index);
            for take in 0..takes {
                rows.push(self.of(speaker.utterance(take).samples()));
                labels.push(index);
            }
        }
        (rows, labels)
    }
}

/// Triangles of unit area, evenly spaced on Slaney's scale: linear below 1 kHz, logarithmic above.
fn mel_bank() -> Vec<Vec<f64>> {
    let step = 6.4_f64.ln() / 27.0;
    let mel = |hz: f64| if hz < 1_000.0 { 3.0 * hz / 200.0 } else { 15.0 + (hz / 1_000.0).ln() / step };
    let hz = |mel: f64| if mel < 15.0 { 200.0 * mel / 3.0 } else { 1_000.0 * (step * (mel - 15.0)).exp() };
    let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
    let edges: Vec<f64> = (0..BANDS + 2).map(|n| hz(low + (high - low) * n as f64 / (BANDS + 1) as f64)).collect();
    edges
        .windows(3)
        .map(|edge| {
            (0..=FFT / 2)
                .map(|bin| {
                    let at = bin as f64 * RATE_HZ / FFT as f64;
                    let rise = (at - edge[0]) / (edge[1] - edge[0]);
                    let fall = (edge[2] - at) / (edge[2] - edge[1]);
                    2.0 / (edge[2] - edge[0]) * rise.min(fall).max(0.0)
                })
                .collect()
        })
        .collect()
}

/// A fitted analysis: features to `dims` discriminants.
#[derive(Debug)]
pub struct Lda {
    mean: DVector<f64>,
    deviation: DVector<f64>,
    /// (features, dims).
    scalings: DMatrix<f64>,
}

impl Lda {
    /// Fits to `features`, one row a recording, with the class of each: all rows of a class in a row.
    ///
    /// # Panics
    /// If there are fewer than two rows, or lengths differ.
    #[must_use]
    pub fn fit(features: &[Vec<f64>], classes: &[u64], dims: usize) -> Self {
        assert_eq!(features.len(), classes.len(), "one class a row");
        let width = features[0].len();
        let raw = DMatrix::from_fn(features.len(), width, |row, column| features[row][column]);
        let (mean, deviation) = moments(&raw);
        let data = standardised(&raw, &mean, &deviation);

        let mut within = DMatrix::zeros(width, width);
        let mut start = 0;
        for group in classes.chunk_by(|a, b| a == b) {
            let rows = data.rows(start, group.len()).into_owned();
            within += shrunk_covariance(&rows) * (group.len() as f64 / classes.len() as f64);
            start += group.len();
        }
        let between = shrunk_covariance(&data) - &within;

        // between v = value within v, by the Cholesky factor L of the latter: v = L^-T u, u of L^-1 between L^-T.
        let lower = within.cholesky().expect("a shrunk covariance is positive definite").l();
        let half = lower.solve_lower_triangular(&between).expect("its diagonal is positive");
        let white = lower.solve_lower_triangular(&half.transpose()).expect("its diagonal is positive");
        let eigen = SymmetricEigen::new((&white + white.transpose()) * 0.5);
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let directions = DMatrix::from_fn(width, dims, |row, column| eigen.eigenvectors[(row, order[column])]);
        let scalings = lower.transpose().solve_upper_triangular(&directions).expect("its diagonal is positive");
        Self { mean, deviation, scalings }
    }

    /// The discriminants of one recording, scaled to length 1.
    #[must_use]
    pub fn embed(&self, features: &[f64]) -> Vec<f64> {
        let row = DMatrix::from_row_slice(1, features.len(), features);
        let out = standardised(&row, &self.mean, &self.deviation) * &self.scalings;
        let length = out.norm().max(1e-12);
        out.iter().map(|value| value / length).collect()
    }
}

/// Mean and deviation (of the population) of each column.
fn moments(data: &DMatrix<f64>) -> (DVector<f64>, DVector<f64>) {
    let count = data.nrows() as f64;
    let mean = data.row_sum().transpose() / count;
    let deviation = DVector::from_fn(data.ncols(), |column, _| {
        (data.column(column).iter().map(|x| (x - mean[column]).powi(2)).sum::<f64>() / count).sqrt()
    });
    (mean, deviation)
}

fn standardised(data: &DMatrix<f64>, mean: &DVector<f64>, deviation: &DVector<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(data.nrows(), data.ncols(), |row, column| {
        let scale = if deviation[column] > 0.0 { deviation[column] } else { 1.0 };
        (data[(row, column)] - mean[column]) / scale
    })
}

/// Ledoit and Wolf's estimate on standardised columns, scaled back.
fn shrunk_covariance(data: &DMatrix<f64>) -> DMatrix<f64> {
    let (rows, width) = (data.nrows() as f64, data.ncols() as f64);
    let (mean, deviation) = moments(data);
    let x = standardised(data, &mean, &deviation);
    let gram = x.transpose() * &x;
    let trace = gram.trace() / rows;
    let mu = trace / width;
    // Sum over all pairs of columns of the sum over rows of the product of squares: the square of each row's energy.
    let fourth: f64 = x.row_iter().map(|row| row.norm_squared().powi(2)).sum();
    let squared = gram.norm_squared() / (rows * rows);
    let delta = (squared - 2.0 * mu * trace + width * mu * mu) / width;
    let beta = ((fourth / rows - squared) / (width * rows)).min(delta);
    let shrinkage = if beta == 0.0 { 0.0 } else { beta / delta };
    DMatrix::from_fn(data.ncols(), data.ncols(), |a, b| {
        let scale = |k: usize| if deviation[k] > 0.0 { deviation[k] } else { 1.0 };
        let own = if a == b { shrinkage * mu } else { 0.0 };
        scale(a) * scale(b) * ((1.0 - shrinkage) * gram[(a, b)] / rows + own)
    })
}

/// EER over all pairs of `embeddings` (unit rows), as a fraction: targets within a speaker, non-targets across; crossing of
/// the error rates, linear between the points of the ROC, equal scores in one point.
#[must_use]
pub fn all_pairs_eer(embeddings: &[Vec<f64>], speakers: &[u64]) -> f64 {
    let mut scored = Vec::with_capacity(embeddings.len() * embeddings.len() / 2);
    for (a, first) in embeddings.iter().enumerate() {
        for (b, second) in embeddings.iter().enumerate().take(a) {
            let score: f64 = first.iter().zip(second).map(|(x, y)| x * y).sum();
            scored.push((score, speakers[a] == speakers[b]));
        }
    }
    scored.sort_by(|x, y| x.0.total_cmp(&y.0));
    let targets = scored.iter().filter(|pair| pair.1).count() as f64;
    let others = scored.len() as f64 - targets;
    let (mut missed, mut rejected) = (0.0, 0.0);
    let (mut last_frr, mut last_far) = (0.0, 1.0);
    for group in scored.chunk_by(|x, y| x.0 == y.0) {
        let hits = group.iter().filter(|pair| pair.1).count() as f64;
        missed += hits;
        rejected += group.len() as f64 - hits;
        let (frr, far) = (missed / targets, 1.0 - rejected / others);
        if frr >= far {
            let (before, after): (f64, f64) = (last_frr - last_far, frr - far);
            return last_far + before / (before - after) * (far - last_far);
        }
        (last_frr, last_far) = (frr, far);
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eer_is_zero_for_separated_speakers_and_where_the_rates_cross_for_others() {
        let apart = vec![vec![1.0, 0.0], vec![0.9, 0.1], vec![0.0, 1.0], vec![0.1, 0.9]];
        assert_eq!(all_pairs_eer(&apart, &[0, 0, 1, 1]), 0.0);
        // At 0, 60 (one speaker), 30, 90 degrees (the other), non-targets score 0 and three times 0.87, targets 0.5. FAR
        // is 3/4 on both sides of the step at 0.5, where FRR goes from 0 to 1.
        let at = |degrees: f64| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let mixed = vec![at(0.0), at(60.0), at(30.0), at(90.0)];
        let tied: Vec<u64> = vec![0, 0, 1, 1];
        assert!((all_pairs_eer(&mixed, &tied) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn the_first_discriminant_is_the_one_that_separates() {
        // Two features: the first differs between classes, the second within.
        let features: Vec<Vec<f64>> =
            (0..40).map(|n| vec![f64::from(n / 20) + 0.01 * f64::from(n % 3), f64::from(n % 7)]).collect();
        let classes: Vec<u64> = (0..40).map(|n| n / 20).collect();
        let lda = Lda::fit(&features, &classes, 1);
        let sides: Vec<f64> = features.iter().map(|row| lda.embed(row)[0].signum()).collect();
        assert!(sides[..20].iter().all(|&side| side == sides[0]));
        assert!(sides[20..].iter().all(|&side| side == -sides[0]));
    }
}
