//! Second-order filters: peaks, shelves, high and low passes.

use std::f64::consts::TAU;

/// A filter of second order, `y = (b0 x + b1 x' + b2 x'') - (a1 y' + a2 y'')`, where a prime is a sample before.
///
/// # Source
/// Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients".
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
}

impl Biquad {
    fn normalised(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|value| value / a[0]), a: [a[1] / a[0], a[2] / a[0]] }
    }

    /// `gain_db` at the centre, nothing far from it.
    pub(super) fn peak(centre_hz: f64, quality: f64, gain_db: f64, rate_hz: f64) -> Self {
        let (sin, cos) = (TAU * centre_hz / rate_hz).sin_cos();
        let (alpha, root) = (sin / (2.0 * quality), 10_f64.powf(gain_db / 40.0));
        Self::normalised(
            [1.0 + alpha * root, -2.0 * cos, 1.0 - alpha * root],
            [1.0 + alpha / root, -2.0 * cos, 1.0 - alpha / root],
        )
    }

    /// `gain_db` far above `corner_hz`, nothing far below.
    pub(super) fn high_shelf(corner_hz: f64, gain_db: f64, rate_hz: f64) -> Self {
        let (sin, cos) = (TAU * corner_hz / rate_hz).sin_cos();
        let root = 10_f64.powf(gain_db / 40.0);
        let slope = sin * (2.0 * root).sqrt();
        Self::normalised(
            [
                root * (root + 1.0 + (root - 1.0) * cos + slope),
                -2.0 * root * (root - 1.0 + (root + 1.0) * cos),
                root * (root + 1.0 + (root - 1.0) * cos - slope),
            ],
            [
                root + 1.0 - (root - 1.0) * cos + slope,
                2.0 * (root - 1.0 - (root + 1.0) * cos),
                root + 1.0 - (root - 1.0) * cos - slope,
            ],
        )
    }

    /// Lets through what is below `corner_hz`.
    pub(super) fn low_pass(corner_hz: f64, quality: f64, rate_hz: f64) -> Self {
        let (sin, cos) = (TAU * corner_hz / rate_hz).sin_cos();
        let alpha = sin / (2.0 * quality);
        let half = (1.0 - cos) / 2.0;
        Self::normalised([half, 2.0 * half, half], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    /// Lets through what is above `corner_hz`.
    pub(super) fn high_pass(corner_hz: f64, quality: f64, rate_hz: f64) -> Self {
        let (sin, cos) = (TAU * corner_hz / rate_hz).sin_cos();
        let alpha = sin / (2.0 * quality);
        let half = (1.0 + cos) / 2.0;
        Self::normalised([half, -2.0 * half, half], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    /// The same with another level at all frequencies.
    pub(super) fn louder(self, gain_db: f64) -> Self {
        Self { b: self.b.map(|value| value * 10_f64.powf(gain_db / 20.0)), a: self.a }
    }

    /// One pass over `values`, from silence.
    fn pass<'v>(&self, values: impl Iterator<Item = &'v mut f64>) {
        let Self { b: [b0, b1, b2], a: [a1, a2] } = *self;
        let (mut first, mut second) = (0.0, 0.0);
        for value in values {
            let input = *value;
            *value = b0 * input + first;
            first = b1 * input - a1 * *value + second;
            second = b2 * input - a2 * *value;
        }
    }
}

/// Filters one after the other.
pub(super) fn run(filters: &[Biquad], samples: &mut [f32]) {
    over(samples, |values| filters.iter().for_each(|filter| filter.pass(values.iter_mut())));
}

/// Filters forwards and backwards: what one delays the other brings back, and every response is squared.
pub(super) fn run_both_ways(filters: &[Biquad], samples: &mut [f32]) {
    over(samples, |values| {
        for filter in filters {
            filter.pass(values.iter_mut());
            filter.pass(values.iter_mut().rev());
        }
    });
}

/// In f64 between: poles near the unit circle lose digits in f32.
fn over(samples: &mut [f32], run: impl FnOnce(&mut [f64])) {
    let mut values: Vec<f64> = samples.iter().map(|&sample| f64::from(sample)).collect();
    run(&mut values);
    samples.iter_mut().zip(values).for_each(|(sample, value)| *sample = value as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gain in dB at a frequency, from the response to an impulse.
    fn gain_db(filter: Biquad, hz: f64) -> f64 {
        let mut impulse = vec![0.0_f32; 16_000];
        impulse[0] = 1.0;
        run(&[filter], &mut impulse);
        let (mut re, mut im) = (0.0, 0.0);
        for (k, &value) in impulse.iter().enumerate() {
            let (sin, cos) = (TAU * hz * k as f64 / 16_000.0).sin_cos();
            re += f64::from(value) * cos;
            im += f64::from(value) * sin;
        }
        10.0 * (re * re + im * im).log10()
    }

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 0.02, "{got} dB, expected {expected} dB");
    }

    #[test]
    fn a_peak_has_its_gain_at_its_centre_and_none_far_away() {
        for db in [-9.0, 6.0] {
            let peak = Biquad::peak(1_000.0, 1.0, db, 16_000.0);
            close(gain_db(peak, 1_000.0), db);
            close(gain_db(peak, 7_999.0), 0.0);
            close(gain_db(peak, 1.0), 0.0);
        }
    }

    #[test]
    fn a_shelf_turns_about_its_corner() {
        let shelf = Biquad::high_shelf(1_000.0, 8.0, 16_000.0);
        close(gain_db(shelf, 5.0), 0.0);
        close(gain_db(shelf, 1_000.0), 4.0);
        close(gain_db(shelf, 7_990.0), 8.0);
        close(gain_db(shelf.louder(-4.0), 5.0), -4.0);
    }

    #[test]
    fn passes_are_three_decibels_down_at_their_corner() {
        let three = -10.0 * 2_f64.log10();
        let quality = std::f64::consts::FRAC_1_SQRT_2;
        close(gain_db(Biquad::low_pass(2_000.0, quality, 16_000.0), 2_000.0), three);
        close(gain_db(Biquad::high_pass(200.0, quality, 16_000.0), 200.0), three);
        close(gain_db(Biquad::low_pass(2_000.0, quality, 16_000.0), 10.0), 0.0);
        assert!(gain_db(Biquad::high_pass(200.0, quality, 16_000.0), 20.0) < -39.0);
    }
}
