//! Draws from any generator whose words are uniform.

use rand::Rng;

/// Uniform in `[0, 1)`, from the 53 upper bits of one word.
pub(super) fn unit(generator: &mut impl Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// True in this share of draws.
pub(super) fn happens(probability: f64, generator: &mut impl Rng) -> bool {
    unit(generator) < probability
}

/// Uniform between two bounds.
pub(super) fn uniform([low, high]: [f64; 2], generator: &mut impl Rng) -> f64 {
    low + (high - low) * unit(generator)
}

/// Log-uniform between two positive bounds.
pub(super) fn log_uniform([low, high]: [f64; 2], generator: &mut impl Rng) -> f64 {
    uniform([low.ln(), high.ln()], generator).exp()
}

/// A number from `0..count`; 0 if `count` is 0.
pub(super) fn place(count: usize, generator: &mut impl Rng) -> usize {
    ((unit(generator) * count as f64) as usize).min(count.saturating_sub(1))
}
