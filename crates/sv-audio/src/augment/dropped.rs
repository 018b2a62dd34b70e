//! What is lost on the way: narrow bands, short stretches.

use std::f64::consts::TAU;

use rand::Rng;

use super::convolve::convolve;
use super::draw::{place, unit};

/// Taps of a filter that takes a band out.
const TAPS: usize = 101;
/// Half the width of a band, as a share of half the rate.
const HALF_WIDTH: f64 = 0.05;

/// A number between two bounds, both included.
fn number([least, most]: [usize; 2], generator: &mut impl Rng) -> usize {
    least + place(most.saturating_sub(least) + 1, generator)
}

/// The recording without some bands, wherever they fall.
pub(super) fn without_bands(mut samples: Vec<f32>, count: [usize; 2], generator: &mut impl Rng) -> Vec<f32> {
    for _ in 0..number(count, generator) {
        let centre = HALF_WIDTH + unit(generator);
        let taps = notch(centre);
        samples = convolve(&samples, &taps, TAPS / 2);
    }
    samples
}

/// A filter that takes out what is about `centre`, a share of half the rate: a low pass below it and a high pass above, each
/// a windowed sinc whose taps add up to one at its passing end.
fn notch(centre: f64) -> Vec<f32> {
    let low = low_pass(centre - HALF_WIDTH);
    let rest = low_pass(centre + HALF_WIDTH);
    let mut taps: Vec<f64> = low.iter().zip(&rest).map(|(low, rest)| low - rest).collect();
    taps[TAPS / 2] += 1.0;
    taps.into_iter().map(|tap| tap as f32).collect()
}

/// `sin(3 f k) / (3 f k)` under Blackman's window, scaled to a sum of one. The 3 is the original's, where pi would be exact.
fn low_pass(corner: f64) -> Vec<f64> {
    let middle = (TAPS / 2) as f64;
    let mut taps: Vec<f64> = (0..TAPS)
        .map(|tap| {
            let turn = TAU * tap as f64 / (TAPS - 1) as f64;
            let window = 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos();
            let x = 3.0 * corner * (tap as f64 - middle);
            window * if x == 0.0 { 1.0 } else { x.sin() / x }
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= sum);
    taps
}

/// Sets some stretches to zero.
pub(super) fn silence_chunks(samples: &mut [f32], count: [usize; 2], lengths: [usize; 2], generator: &mut impl Rng) {
    for _ in 0..number(count, generator) {
        let length = number(lengths, generator).min(samples.len());
        let first = place(samples.len().saturating_sub(lengths[1]) + 1, generator);
        let end = (first + length).min(samples.len());
        samples[first.min(end)..end].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Gain at a share of half the rate.
    fn gain(taps: &[f32], at: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (k, &tap) in taps.iter().enumerate() {
            let turn = TAU / 2.0 * at * k as f64;
            re += f64::from(tap) * turn.cos();
            im += f64::from(tap) * turn.sin();
        }
        re.hypot(im)
    }

    #[test]
    fn a_band_is_lost_and_what_is_far_from_it_stays() {
        for centre in [0.2, 0.5, 0.7] {
            let taps = notch(centre);
            // The original's 3 for pi puts the band a little lower.
            let found = centre * 3.0 / (TAU / 2.0);
            assert!(gain(&taps, found) < 0.05, "{centre}: {}", gain(&taps, found));
            for far in [found - 0.15, found + 0.15] {
                assert!((gain(&taps, far) - 1.0).abs() < 0.02, "{centre}, {far}: {}", gain(&taps, far));
            }
        }
    }

    #[test]
    fn stretches_of_the_drawn_lengths_are_silent() {
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let mut samples = vec![1.0; 5_000];
            silence_chunks(&mut samples, [1, 1], [100, 200], &mut generator);
            let silent: Vec<usize> = (0..5_000).filter(|&place| samples[place] == 0.0).collect();
            assert!((100..=200).contains(&silent.len()));
            assert_eq!(silent.last().unwrap() - silent[0] + 1, silent.len());
        }
        // Shorter than a stretch: from its start, and nothing beyond.
        let mut short = vec![1.0; 50];
        silence_chunks(&mut short, [5, 5], [100, 200], &mut generator);
        assert_eq!(short, [0.0; 50]);
        silence_chunks(&mut [], [5, 5], [100, 200], &mut generator);
    }
}
