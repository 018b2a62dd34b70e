//! The mel scale, and banks of triangular filters on it.

use serde::{Deserialize, Serialize};

use crate::AudioError;
use crate::stft::Real;

/// How pitch grows with frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MelScale {
    /// Linear to 1 kHz (15 mel), logarithmic above, 27 mel for a factor of 6.4: Slaney's Auditory Toolbox, librosa's default.
    Slaney,
    /// `2595 log10(1 + f / 700)`: HTK's and Kaldi's. (Kaldi's factor, `1127 ln`, differs in the sixth digit, and cancels out.)
    Htk,
}

impl MelScale {
    /// Where Slaney's scale bends, in Hz and in mel.
    const BEND_HZ: f64 = 1000.0;
    const BEND_MEL: f64 = 15.0;
    const HZ_PER_MEL: f64 = 200.0 / 3.0;
    /// Factor of HTK's logarithm to base 10, and the frequency that divides.
    const HTK_MEL: f64 = 2595.0;
    const HTK_HZ: f64 = 700.0;

    /// Natural logarithm of the frequency ratio of one mel, above the bend.
    fn log_step() -> f64 {
        6.4_f64.ln() / 27.0
    }

    /// Mel of a frequency in Hz.
    #[must_use]
    pub fn mel(self, hz: f64) -> f64 {
        match self {
            Self::Slaney if hz < Self::BEND_HZ => hz / Self::HZ_PER_MEL,
            Self::Slaney => Self::BEND_MEL + (hz / Self::BEND_HZ).ln() / Self::log_step(),
            Self::Htk => Self::HTK_MEL * (1.0 + hz / Self::HTK_HZ).log10(),
        }
    }

    /// Frequency in Hz of a mel: the inverse of [`Self::mel`].
    #[must_use]
    pub fn hz(self, mel: f64) -> f64 {
        match self {
            Self::Slaney if mel < Self::BEND_MEL => mel * Self::HZ_PER_MEL,
            Self::Slaney => Self::BEND_HZ * (Self::log_step() * (mel - Self::BEND_MEL)).exp(),
            Self::Htk => Self::HTK_HZ * (10_f64.powf(mel / Self::HTK_MEL) - 1.0),
        }
    }
}

/// How tall the triangles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MelNorm {
    /// Every triangle has area 1 over Hz: its peak is 2 / (its width in Hz). librosa's `slaney`.
    Area,
    /// Every triangle's peak is 1.
    Peak,
}

/// What the sides of the triangles are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Slopes {
    /// Straight in Hz, from one filter's centre to the next. librosa's, torchaudio's `MelSpectrogram`.
    #[default]
    Hz,
    /// Straight in mel, from one filter's centre to the next. Kaldi's.
    Mel,
    /// Straight in Hz, and on both sides as wide as the left one should be. SpeechBrain's.
    LeftWidth,
}

impl Slopes {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A bank of filters, with every constant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MelSpec {
    /// Number of filters, 1 to [`MelSpec::MAX_BINS`].
    pub bins: usize,
    /// Where the first filter begins, in Hz.
    pub f_min_hz: f64,
    /// Where the last one ends, in Hz; at most half the rate.
    pub f_max_hz: f64,
    /// Filters are equally spaced on this scale.
    pub scale: MelScale,
    /// Their heights.
    pub norm: MelNorm,
    /// Their sides; [`Slopes::Hz`] if absent.
    #[serde(default, skip_serializing_if = "Slopes::is_default")]
    pub slopes: Slopes,
}

impl MelSpec {
    /// Most filters that a bank may have.
    pub const MAX_BINS: usize = 512;

    /// A bank of area-normalised filters on Slaney's scale from `f_min_hz` to `f_max_hz`.
    #[must_use]
    pub fn slaney(bins: usize, f_min_hz: f64, f_max_hz: f64) -> Self {
        Self { bins, f_min_hz, f_max_hz, scale: MelScale::Slaney, norm: MelNorm::Area, slopes: Slopes::Hz }
    }

    /// A bank of filters of peak 1 on HTK's scale from `f_min_hz` to `f_max_hz`.
    #[must_use]
    pub fn htk(bins: usize, f_min_hz: f64, f_max_hz: f64, slopes: Slopes) -> Self {
        Self { bins, f_min_hz, f_max_hz, scale: MelScale::Htk, norm: MelNorm::Peak, slopes }
    }

    /// Refuses what no bank at `rate_hz` can have.
    ///
    /// # Errors
    /// [`AudioError::Setting`] names the field.
    pub fn validate(&self, rate_hz: u32) -> Result<(), AudioError> {
        let Self { bins, f_min_hz, f_max_hz, .. } = *self;
        let refuse = |name, value, allowed| Err(AudioError::Setting { name, value, allowed });
        if !(1..=Self::MAX_BINS).contains(&bins) {
            return refuse("mel.bins", bins.to_string(), "1 to 512");
        }
        if !(f_max_hz > 0.0 && f_max_hz <= f64::from(rate_hz) / 2.0) {
            let value = format!("{f_max_hz} at {rate_hz} Hz");
            return refuse("mel.f_max_hz", value, "above 0 and at most half the rate");
        }
        if !(f_min_hz >= 0.0 && f_min_hz < f_max_hz) {
            let value = format!("{f_min_hz} with mel.f_max_hz {f_max_hz}");
            return refuse("mel.f_min_hz", value, "at least 0 and below mel.f_max_hz");
        }
        Ok(())
    }
}

/// A planned bank: for each filter, where its non-zero weights begin and what they are.
#[derive(Debug, Clone)]
pub struct MelBank<T: Real> {
    bands: Vec<Band>,
    /// All bands' weights, one band after the other.
    weights: Vec<T>,
}

#[derive(Debug, Clone, Copy)]
struct Band {
    /// First bin of the spectrum with a weight.
    bin: usize,
    /// Where the weights begin and end in `weights`.
    start: usize,
    end: usize,
}

impl<T: Real> MelBank<T> {
    /// Plans a bank for power spectra of `n_fft` points at `rate_hz`.
    ///
    /// A filter narrower than the spectrum's bins may hold none of them and then gives 0, as the published banks do.
    /// Weights are rounded to f32, and area-normalised ones before that too, as librosa's are.
    ///
    /// # Errors
    /// [`AudioError::Setting`] as [`MelSpec::validate`].
    pub fn new(spec: &MelSpec, n_fft: usize, rate_hz: u32) -> Result<Self, AudioError> {
        spec.validate(rate_hz)?;
        let (low, high) = (spec.scale.mel(spec.f_min_hz), spec.scale.mel(spec.f_max_hz));
        let step = (high - low) / (spec.bins + 1) as f64;
        let mel_edges = (0..spec.bins + 2).map(|i| if i == spec.bins + 1 { high } else { low + step * i as f64 });
        // On the axis that the slopes are straight on.
        let edges: Vec<f64> = match spec.slopes {
            Slopes::Hz | Slopes::LeftWidth => mel_edges.map(|mel| spec.scale.hz(mel)).collect(),
            Slopes::Mel => mel_edges.collect(),
        };
        let bin_hz = f64::from(rate_hz) / n_fft as f64;
        let place = |bin: usize| match spec.slopes {
            Slopes::Hz | Slopes::LeftWidth => bin as f64 * bin_hz,
            Slopes::Mel => spec.scale.mel(bin as f64 * bin_hz),
        };
        let places: Vec<f64> = (0..=n_fft / 2).map(place).collect();

        let mut bank = Self { bands: Vec::with_capacity(spec.bins), weights: Vec::new() };
        for (index, edge) in edges.windows(3).enumerate() {
            let [left, centre, mut right] = [edge[0], edge[1], edge[2]];
            if spec.slopes == Slopes::LeftWidth {
                right = centre + (centre - left);
            }
            let height = match spec.norm {
                MelNorm::Peak => 1.0,
                MelNorm::Area if spec.slopes == Slopes::Mel => {
                    let hz = |edge: usize| spec.scale.hz(low + step * edge as f64);
                    2.0 / (hz(index + 2) - hz(index))
                }
                MelNorm::Area => 2.0 / (right - left),
            };
            let weight = |bin: usize| {
                let slope = ((places[bin] - left) / (centre - left)).min((right - places[bin]) / (right - centre));
                f64::from((f64::from(slope.max(0.0) as f32) * height) as f32)
            };
            let inside = |bin: &usize| weight(*bin) > 0.0;
            let bin = (0..=n_fft / 2).find(inside).unwrap_or(0);
            let start = bank.weights.len();
            bank.weights.extend((bin..=n_fft / 2).take_while(inside).map(weight).map(T::of_f64));
            bank.bands.push(Band { bin, start, end: bank.weights.len() });
        }
        Ok(bank)
    }

    /// Number of filters.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.bands.len()
    }

    /// Energy in each band of `LANES` power spectra at once, which lie side by side: `powers[bin][lane]` to `energies[band][lane]`.
    ///
    /// # Panics
    /// If `powers` is shorter than the bank was planned for.
    pub fn energies<const LANES: usize>(&self, powers: &[[T; LANES]], energies: &mut [[T; LANES]]) {
        for (band, energies) in self.bands.iter().zip(energies) {
            let weights = &self.weights[band.start..band.end];
            let mut sums = [T::ZERO; LANES];
            for (&weight, powers) in weights.iter().zip(&powers[band.bin..band.bin + weights.len()]) {
                for lane in 0..LANES {
                    sums[lane] += weight * powers[lane];
                }
            }
            *energies = sums;
        }
    }

    /// The weights as a dense matrix, one row a filter, `bins` columns: for looking at, and for tests.
    #[must_use]
    pub fn dense(&self, bins: usize) -> Vec<Vec<T>> {
        let row = |band: &Band| {
            let mut row = vec![T::ZERO; bins];
            let weights = &self.weights[band.start..band.end];
            row.iter_mut().skip(band.bin).zip(weights).for_each(|(value, weight)| *value = *weight);
            row
        };
        self.bands.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests;
