//! The level of the band of voices, cell by cell.

use std::f64::consts::{PI, SQRT_2};

/// Below are hum and its first harmonics, rumble, and a constant offset. Voices lose their fundamental, not their formants.
const LOW_HZ: f64 = 150.0;
/// Above is more noise than speech, except for fricatives, which the hangover covers.
const HIGH_HZ: f64 = 4000.0;
/// What is added to every power: -120 dBFS, below the quantisation noise of 16 bits.
const TINY: f64 = 1e-12;

/// Level in dBFS of each cell of `cell` samples with one neighbour on each side; the last cell may be shorter.
pub(super) fn levels_db(samples: &[f32], rate_hz: u32, cell: usize) -> Vec<f64> {
    let mut filter = Band::new(f64::from(rate_hz), samples.first().copied().map_or(0.0, f64::from));
    let energies: Vec<f64> =
        samples.chunks(cell).map(|cell| cell.iter().map(|&x| filter.next(f64::from(x)).powi(2)).sum()).collect();
    let of = |i: usize| {
        let from = i.saturating_sub(1);
        let to = (i + 2).min(energies.len());
        let samples = (to * cell).min(samples.len()) - from * cell;
        10.0 * (energies[from..to].iter().sum::<f64>() / samples as f64 + TINY).log10()
    };
    (0..energies.len()).map(of).collect()
}

/// High-pass of fourth order (two Butterworth sections), low-pass of second order where the rate leaves room for it.
struct Band {
    high: [Section; 2],
    low: Option<Section>,
}

impl Band {
    /// Settled on a constant `start`, so that a recording with an offset does not begin with a knock.
    fn new(rate_hz: f64, start: f64) -> Self {
        // Quality factors of a fourth-order Butterworth filter: 1 / (2 cos(pi / 8)) and 1 / (2 cos(3 pi / 8)).
        let q = [0.5 / (PI / 8.0).cos(), 0.5 / (3.0 * PI / 8.0).cos()];
        let mut high = q.map(|q| Section::new(rate_hz, LOW_HZ, q, Pass::High));
        high[0].settle(start);
        let low = (rate_hz > 2.2 * HIGH_HZ).then(|| Section::new(rate_hz, HIGH_HZ, 1.0 / SQRT_2, Pass::Low));
        Self { high, low }
    }

    fn next(&mut self, x: f64) -> f64 {
        let [first, second] = &mut self.high;
        let y = second.next(first.next(x));
        self.low.as_mut().map_or(y, |low| low.next(y))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    High,
    Low,
}

/// A second-order section in transposed direct form II: the bilinear transform of the analogue filter.
struct Section {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Section {
    fn new(rate_hz: f64, corner_hz: f64, q: f64, pass: Pass) -> Self {
        let k = (PI * corner_hz / rate_hz).tan();
        let norm = 1.0 / (1.0 + k / q + k * k);
        let b = match pass {
            Pass::High => [norm, -2.0 * norm, norm],
            Pass::Low => [k * k * norm, 2.0 * k * k * norm, k * k * norm],
        };
        let a = [2.0 * (k * k - 1.0) * norm, (1.0 - k / q + k * k) * norm];
        Self { b, a, state: [0.0; 2] }
    }

    /// The state after an endless constant `x`, for a high-pass, whose output is then zero.
    fn settle(&mut self, x: f64) {
        self.state = [(self.b[1] + self.b[2]) * x, self.b[2] * x];
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state[0] = self.b[1] * x - self.a[0] * y + self.state[1];
        self.state[1] = self.b[2] * x - self.a[1] * y;
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone_db(hz: f64, rate_hz: u32) -> f64 {
        let samples: Vec<f32> = (0..rate_hz)
            .map(|i| (std::f64::consts::TAU * hz * f64::from(i) / f64::from(rate_hz)).sin() as f32)
            .collect();
        // Half a second in, when the filter has settled.
        levels_db(&samples, rate_hz, (rate_hz / 100) as usize)[50]
    }

    #[test]
    fn a_tone_in_the_band_keeps_its_level() {
        for rate_hz in [8_000, 16_000, 44_100, 48_000] {
            let level = tone_db(1000.0, rate_hz);
            assert!((level + 3.01).abs() < 0.1, "{rate_hz} Hz: {level} dB");
        }
    }

    #[test]
    fn hum_is_lowered_by_thirty_decibels() {
        for (hz, most) in [(50.0, -40.0), (60.0, -33.0)] {
            let level = tone_db(hz, 16_000);
            assert!(level < most, "{hz} Hz: {level} dB");
        }
    }

    #[test]
    fn a_constant_offset_has_no_level_from_the_first_sample_on() {
        let levels = levels_db(&[0.25; 1600], 16_000, 160);
        assert!(levels.iter().all(|&level| level < -119.0), "{levels:?}");
    }

    #[test]
    fn the_last_cell_may_be_one_sample() {
        assert_eq!(levels_db(&[0.1; 161], 16_000, 160).len(), 2);
        assert!(levels_db(&[], 16_000, 160).is_empty());
    }
}
