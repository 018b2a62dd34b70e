//! The two low-pass responses, as functions of the distance from the output's place in time.

use std::f64::consts::PI;

use super::Resampler;

/// Torchaudio's zero crossings on each side (`lowpass_filter_width`).
const HANN_ZEROS: f64 = 6.0;
/// Torchaudio's cutoff, as a share of the lower Nyquist frequency (`rolloff`).
const HANN_ROLLOFF: f64 = 0.99;

/// Stop-band attenuation that [`Resampler::Sharp`] is designed for, in dB: what it promises, and a margin.
const SHARP_ATTENUATION_DB: f64 = 96.0;
/// Kaiser's beta for it.
const KAISER_BETA: f64 = 0.1102 * (SHARP_ATTENUATION_DB - 8.7);

/// A symmetric low-pass response for one pair of rates; distances are in input samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    resampler: Resampler,
    /// Twice the cutoff in cycles per input sample: the sinc's zeros are its reciprocal apart.
    bandwidth: f64,
    /// Beyond this distance the response is zero.
    reach: f64,
    /// What brings the window to 1 in the middle.
    window_scale: f64,
}

impl Kernel {
    /// The response for rates in the proportion `from` : `to`.
    pub(super) fn new(resampler: Resampler, from: u32, to: u32) -> Self {
        let lower = f64::from(from.min(to)) / f64::from(from); // the lower of the two rates, per input sample
        match resampler {
            Resampler::Torchaudio => {
                let bandwidth = HANN_ROLLOFF * lower;
                Self { resampler, bandwidth, reach: HANN_ZEROS / bandwidth, window_scale: 1.0 }
            }
            Resampler::Sharp => {
                // Kaiser's length for a transition from the pass band's edge to Nyquist; the cutoff lies between.
                let transition = PI * (1.0 - Resampler::SHARP_PASS_BAND) * lower;
                let length = (SHARP_ATTENUATION_DB - 7.95) / (2.285 * transition);
                let bandwidth = 0.5 * (1.0 + Resampler::SHARP_PASS_BAND) * lower;
                Self { resampler, bandwidth, reach: 0.5 * length, window_scale: 1.0 / bessel_i0(KAISER_BETA) }
            }
        }
    }

    pub(super) fn reach(&self) -> f64 {
        self.reach
    }

    /// Where output `index` (below `to`) lies: r and r / `to`, in input samples after the one before it.
    pub(super) fn phase(&self, index: u32, from: u32, to: u32) -> (usize, f64) {
        let place = u64::from(index) * u64::from(from);
        let (whole, row) = (place / u64::from(to), place % u64::from(to));
        let phase = match self.resampler {
            // torchaudio divides index by `to` in f32 and goes on in f64: up to 3e-5 of a result, and models were trained so.
            Resampler::Torchaudio => f64::from(from) * f64::from(index as f32 / to as f32) - whole as f64,
            Resampler::Sharp => row as f64 / f64::from(to),
        };
        (row as usize, phase)
    }

    /// Response at `distance` input samples from its centre.
    pub(super) fn at(&self, distance: f64) -> f64 {
        if distance.abs() >= self.reach {
            return 0.0;
        }
        let window = match self.resampler {
            Resampler::Torchaudio => (0.5 * PI * distance / self.reach).cos().powi(2),
            Resampler::Sharp => kaiser(distance / self.reach) * self.window_scale,
        };
        self.bandwidth * sinc(self.bandwidth * distance) * window
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Kaiser's window on (-1, 1), for [`SHARP_ATTENUATION_DB`], before it is scaled to 1 at 0.
fn kaiser(x: f64) -> f64 {
    bessel_i0(KAISER_BETA * (1.0 - x * x).max(0.0).sqrt())
}

/// Modified Bessel function of the first kind, order 0, by its power series: all terms are positive, so none cancel.
fn bessel_i0(x: f64) -> f64 {
    let quarter = 0.25 * x * x;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-17 * sum {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bessel_agrees_with_tables() {
        // Abramowitz and Stegun, table 9.8: e^-x I0(x) at 1 and 5, and I0(0) = 1.
        assert_eq!(bessel_i0(0.0), 1.0);
        assert!((bessel_i0(1.0) * (-1.0_f64).exp() - 0.465_759_607_7).abs() < 1e-9);
        assert!((bessel_i0(5.0) * (-5.0_f64).exp() - 0.183_540_812_6).abs() < 1e-9);
    }

    #[test]
    fn a_response_is_symmetric_and_ends_at_its_reach() {
        for resampler in [Resampler::Torchaudio, Resampler::Sharp] {
            let kernel = Kernel::new(resampler, 3, 1);
            assert_eq!(kernel.at(1.25), kernel.at(-1.25));
            assert_eq!(kernel.at(kernel.reach()), 0.0);
            assert!(kernel.at(0.0) > 0.3 && kernel.at(0.0) < 1.0 / 3.0);
        }
    }
}
