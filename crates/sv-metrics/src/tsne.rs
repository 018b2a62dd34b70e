//! Points of many dimensions on a plane, neighbours beside each other: exact t-SNE.
//!
//! Source: L. van der Maaten and G. Hinton 2008, "Visualizing Data using t-SNE", JMLR 9; equations and settings are named by it.
//! Quadratic in the number of points, on one thread: for some hundreds of embeddings. A picture, not a measurement: distances
//! between far clusters and the sizes of clusters mean nothing.

use crate::MetricsError;
use crate::random::SplitMix64;

/// How points are laid out. The default is the paper's, section 3.4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tsne {
    /// Effective number of neighbours of a point, at least 1; the paper names 5 to 50.
    pub perplexity: f64,
    /// Steps of gradient descent; 0 leaves the points where they were drawn.
    pub steps: usize,
    /// Length of a step, above 0 and at most 10,000.
    pub rate: f64,
    /// What similarities are multiplied by in the first 50 steps ("early exaggeration"), from 1 to 100.
    pub exaggeration: f64,
    /// The same seed gives the same bits.
    pub seed: u64,
}

impl Default for Tsne {
    fn default() -> Self {
        Self { perplexity: 30.0, steps: 1000, rate: 100.0, exaggeration: 4.0, seed: 1 }
    }
}

/// Where points came to lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// A place for each point, in their order, around (0, 0); finite.
    pub places: Vec<[f64; 2]>,
    /// Kullback-Leibler divergence of the similarities on the plane from those of the points, in nats, as the last step left it
    /// and without exaggeration: what the descent makes small (eq. 2).
    pub divergence: f64,
}

/// Steps with exaggerated similarities.
const EXAGGERATED: usize = 50;

/// The most points: their similarities take 200 MB.
const MOST: usize = 5_000;
/// Steps until the momentum rises from 0.5 to 0.8.
const SLOW: usize = 250;
/// How near the logarithm of a point's perplexity comes to that of the setting.
const NEAR: f64 = 1e-6;

impl Tsne {
    /// Lays out `points`: (n) x (D), any D above 0, by their Euclidean distances. Equal points are as good as any.
    ///
    /// # Errors
    /// [`MetricsError::TsneSetting`] for settings out of range, [`MetricsError::TsnePoints`] unless n is more than three times
    /// the perplexity and at most 5,000, [`MetricsError::PointSize`] for rows of several sizes or without values,
    /// [`MetricsError::PointNotFinite`] on a NaN or an infinity.
    ///
    /// ```
    /// # use sv_metrics::tsne::Tsne;
    /// let near = |at: f32| (0..8).map(move |i| [at + 0.01 * i as f32, at]);
    /// let points: Vec<[f32; 2]> = near(0.0).chain(near(5.0)).collect();
    /// let layout = Tsne { perplexity: 5.0, ..Tsne::default() }.layout(&points)?;
    /// assert_eq!(layout.places.len(), 16);
    /// # Ok::<(), sv_metrics::MetricsError>(())
    /// ```
    pub fn layout<P: AsRef<[f32]>>(&self, points: &[P]) -> Result<Layout, MetricsError> {
        self.check(points)?;
        let similar = similarities(points, self.perplexity);
        let mut random = SplitMix64::new(self.seed);
        let mut places: Vec<[f64; 2]> = points.iter().map(|_| random.normals().map(|value| value * 1e-2)).collect();
        let mut speeds = vec![[0.0_f64; 2]; places.len()];
        let mut gains = vec![[1.0_f64; 2]; places.len()];
        let mut close = vec![0.0; similar.len()];
        for step in 0..self.steps {
            let exaggeration = if step < EXAGGERATED { self.exaggeration } else { 1.0 };
            let momentum = if step < SLOW { 0.5 } else { 0.8 };
            let slopes = slopes(&similar, exaggeration, &places, &mut close);
            for (((place, speed), gain), slope) in places.iter_mut().zip(&mut speeds).zip(&mut gains).zip(&slopes) {
                for axis in 0..2 {
                    // Jacobs 1988: a step that goes on in its direction grows, one that turns back shrinks.
                    let turns = (slope[axis] > 0.0) == (speed[axis] > 0.0);
                    gain[axis] = (if turns { gain[axis] * 0.8 } else { gain[axis] + 0.2 }).max(0.01);
                    speed[axis] = momentum * speed[axis] - self.rate * gain[axis] * slope[axis];
                    place[axis] += speed[axis];
                }
            }
            centre(&mut places);
        }
        let divergence = divergence(&similar, &places, &mut close);
        Ok(Layout { places, divergence })
    }

    fn check<P: AsRef<[f32]>>(&self, points: &[P]) -> Result<(), MetricsError> {
        let settings = [
            ("perplexity", self.perplexity, 1.0..=MOST as f64, "at least 1"),
            ("rate", self.rate, f64::MIN_POSITIVE..=1e4, "above 0 and at most 10,000"),
            ("exaggeration", self.exaggeration, 1.0..=100.0, "between 1 and 100"),
            ("number of steps", self.steps as f64, 0.0..=1e6, "at most 1,000,000"),
        ];
        for (setting, value, range, need) in settings {
            if !range.contains(&value) {
                return Err(MetricsError::TsneSetting { setting, value, need });
            }
        }
        if points.len() > MOST || points.len() as f64 <= 3.0 * self.perplexity {
            return Err(MetricsError::TsnePoints { points: points.len(), perplexity: self.perplexity, most: MOST });
        }
        let need = points[0].as_ref().len().max(1);
        for (point, values) in points.iter().map(AsRef::as_ref).enumerate() {
            if values.len() != need {
                return Err(MetricsError::PointSize { point, got: values.len(), need });
            }
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(MetricsError::PointNotFinite { point, index, value: values[index] });
            }
        }
        Ok(())
    }
}

/// The pairs (i, j), i < j, in the order that pairs are kept in.
fn pairs(points: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..points).flat_map(move |i| (i + 1..points).map(move |j| (i, j)))
}

/// p_ij of each pair (section 3.1): they add up to one half, each standing for both orders.
fn similarities<P: AsRef<[f32]>>(points: &[P], perplexity: f64) -> Vec<f64> {
    let n = points.len();
    // From each point to all others, the own place left out.
    let mut rows = vec![Vec::with_capacity(n - 1); n];
    for (i, row) in rows.iter_mut().enumerate() {
        for other in (0..n).filter(|&j| j != i) {
            let differences = points[i].as_ref().iter().zip(points[other].as_ref());
            row.push(differences.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>());
        }
        neighbours(row, perplexity);
    }
    pairs(n).map(|(i, j)| (rows[i][j - 1] + rows[j][i]) / (2.0 * n as f64)).collect()
}

/// Squared distances become p_j|i (eq. 1), of a width at which their perplexity is the wanted one. Returns the logarithm of
/// the perplexity, which is larger than wanted where more points than that are equally near.
fn neighbours(row: &mut [f64], perplexity: f64) -> f64 {
    let nearest = row.iter().copied().fold(f64::INFINITY, f64::min);
    let reach = row.iter().map(|distance| distance - nearest).fold(0.0, f64::max);
    // Told in the row's own range, so that no precision is too large or too small to be found.
    let distances: Vec<f64> =
        row.iter().map(|distance| if reach > 0.0 { (distance - nearest) / reach } else { 0.0 }).collect();
    let wanted = perplexity.ln();
    let (mut low, mut high) = (-50.0_f64, 600.0_f64);
    loop {
        let middle = (low + high) / 2.0;
        let precision = middle.exp();
        let (mut sum, mut weighted) = (0.0, 0.0);
        for (share, &distance) in row.iter_mut().zip(&distances) {
            *share = (-precision * distance).exp();
            sum += *share;
            // Of what is far nothing is left: 0, and not 0 times a very large number.
            weighted += *share * (precision * distance).min(1e3);
        }
        row.iter_mut().for_each(|share| *share /= sum);
        // H = -sum p ln p = ln sum + precision sum p d.
        let entropy = sum.ln() + weighted / sum;
        if (entropy - wanted).abs() <= NEAR || high - low < 1e-9 {
            return entropy;
        }
        if entropy > wanted { low = middle } else { high = middle }
    }
}

/// Fills `close` with 1 / (1 + |y_i - y_j|^2) of each pair (eq. 4) and returns their sum over both orders.
fn closeness(places: &[[f64; 2]], close: &mut [f64]) -> f64 {
    for ((i, j), close) in pairs(places.len()).zip(close.iter_mut()) {
        let [x, y] = [places[i][0] - places[j][0], places[i][1] - places[j][1]];
        *close = 1.0 / (1.0 + x * x + y * y);
    }
    2.0 * close.iter().sum::<f64>()
}

/// Gradient of the divergence by each place (eq. 5).
fn slopes(similar: &[f64], exaggeration: f64, places: &[[f64; 2]], close: &mut [f64]) -> Vec<[f64; 2]> {
    let sum = closeness(places, close);
    let mut slopes = vec![[0.0; 2]; places.len()];
    for ((i, j), (&p, &close)) in pairs(places.len()).zip(similar.iter().zip(&*close)) {
        let pull = 4.0 * (exaggeration * p - close / sum) * close;
        for axis in 0..2 {
            let force = pull * (places[i][axis] - places[j][axis]);
            slopes[i][axis] += force;
            slopes[j][axis] -= force;
        }
    }
    slopes
}

fn divergence(similar: &[f64], places: &[[f64; 2]], close: &mut [f64]) -> f64 {
    let sum = closeness(places, close);
    let pairs = similar.iter().zip(&*close).filter(|(p, _)| **p > 0.0);
    2.0 * pairs.map(|(&p, &close)| p * (p * (sum / close)).ln()).sum::<f64>()
}

/// Moves the mean to (0, 0).
fn centre(places: &mut [[f64; 2]]) {
    for axis in 0..2 {
        let mean = places.iter().map(|place| place[axis]).sum::<f64>() / places.len() as f64;
        places.iter_mut().for_each(|place| place[axis] -= mean);
    }
}

#[cfg(test)]
mod tests;
