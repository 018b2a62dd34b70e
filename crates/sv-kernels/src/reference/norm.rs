//! Batch normalisation, a shortcut and a leaky ReLU.

/// What [`batch_norm_add_leaky_relu`] gives, and, of a gradient of that, the gradients of what it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct NormAdded {
    /// The output (rows, C).
    pub y: Vec<f64>,
    /// Gradient of the input (rows, C).
    pub of_z: Vec<f64>,
    /// Gradient of the shortcut (rows, C), the same as that of the normalisation's output.
    pub of_shortcut: Vec<f64>,
    /// Gradient of the weight (C).
    pub of_weight: Vec<f64>,
    /// Gradient of the bias (C).
    pub of_bias: Vec<f64>,
}

/// `act((z - mean) / sqrt(variance + epsilon) weight + bias + shortcut)`, where mean and variance are those of each channel over
/// the rows and `act` multiplies what is not above 0 by `slope`; and its gradients from `dy`. `z`, `shortcut`, `dy`: (rows, C).
///
/// # Panics
/// If a slice is shorter than its shape.
///
/// # Source
/// Ioffe and Szegedy 2015, "Batch normalization", algorithm 1 and the gradients below it.
#[must_use]
pub fn batch_norm_add_leaky_relu(
    z: &[f64],
    [weight, bias]: [&[f64]; 2],
    shortcut: &[f64],
    slope: f64,
    epsilon: f64,
    dy: &[f64],
) -> NormAdded {
    let channels = weight.len();
    let rows = z.len() / channels;
    let n = rows as f64;
    let zeros = || vec![0.0; rows * channels];
    let (of_weight, of_bias) = (vec![0.0; channels], vec![0.0; channels]);
    let mut all = NormAdded { y: zeros(), of_z: zeros(), of_shortcut: zeros(), of_weight, of_bias };
    for c in 0..channels {
        let places = || (0..rows).map(move |row| row * channels + c);
        let mean = places().map(|at| z[at]).sum::<f64>() / n;
        let variance = places().map(|at| (z[at] - mean).powi(2)).sum::<f64>() / n;
        let deviation = (variance + epsilon).sqrt();
        for at in places() {
            let normal = (z[at] - mean) / deviation;
            let sum = normal * weight[c] + bias[c] + shortcut[at];
            let through = if sum > 0.0 { 1.0 } else { slope };
            all.y[at] = sum * through;
            all.of_shortcut[at] = dy[at] * through;
            all.of_bias[c] += all.of_shortcut[at];
            all.of_weight[c] += all.of_shortcut[at] * normal;
        }
        for at in places() {
            let normal = (z[at] - mean) / deviation;
            let rest = all.of_shortcut[at] - all.of_bias[c] / n - normal * all.of_weight[c] / n;
            all.of_z[at] = rest * weight[c] / deviation;
        }
    }
    all
}
