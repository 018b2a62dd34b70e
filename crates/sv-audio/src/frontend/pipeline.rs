//! From samples to features in one number type: spectra, filters, compression, cepstra.

use std::f64::consts::PI;

use ndarray::Array2;

use super::normalise::limit_range;
use super::{AudioError, Cepstra, Compression, FirstCepstrum, FrontEnd, PreEmphasis, Precision};
use crate::mel::MelBank;
use crate::stft::{Conditioning, Real, Stft};

/// Frames that go through filters and logarithm together: their values lie side by side, so that each step is vector code.
const LANES: usize = 8;

/// The part of a front end between samples and normalisation, planned in the precision it asks for.
#[derive(Debug)]
pub(super) enum Pipeline {
    Single(Typed<f32>),
    Double(Typed<f64>),
}

impl Pipeline {
    pub(super) fn new(front_end: &FrontEnd) -> Result<Self, AudioError> {
        Ok(match front_end.precision {
            Precision::Single => Self::Single(Typed::new(front_end)?),
            Precision::Double => Self::Double(Typed::new(front_end)?),
        })
    }

    pub(super) fn min_samples(&self) -> usize {
        match self {
            Self::Single(typed) => typed.stft.min_samples(),
            Self::Double(typed) => typed.stft.min_samples(),
        }
    }

    pub(super) fn frames(&self, samples: usize) -> usize {
        match self {
            Self::Single(typed) => typed.stft.frames(samples),
            Self::Double(typed) => typed.stft.frames(samples),
        }
    }

    /// (T, filters) or (T, cepstra) of at least [`Self::min_samples`] samples.
    pub(super) fn features(&self, samples: &[f32]) -> Array2<f32> {
        match self {
            Self::Single(typed) => typed.features(samples),
            Self::Double(typed) => typed.features(samples),
        }
    }
}

#[derive(Debug)]
pub(super) struct Typed<T: Real> {
    stft: Stft<T>,
    mel: MelBank<T>,
    compression: Compression,
    /// Coefficient of pre-emphasis over the whole wave.
    wave_emphasis: Option<f32>,
    cepstra: Option<CepstraPlan>,
}

impl<T: Real> Typed<T> {
    fn new(front_end: &FrontEnd) -> Result<Self, AudioError> {
        let log_energy = front_end.cepstra.and_then(|cepstra| match cepstra.first {
            FirstCepstrum::Coefficient {} => None,
            FirstCepstrum::LogEnergy { floor } => Some(floor),
        });
        let (in_wave, in_frame) = match front_end.pre_emphasis {
            None => (None, 0.0),
            Some(PreEmphasis::Wave { coefficient }) => (Some(coefficient as f32), 0.0),
            Some(PreEmphasis::Frame { coefficient }) => (None, coefficient),
        };
        let conditioning = Conditioning {
            scale: T::of_f64(front_end.scale),
            remove_dc: front_end.remove_dc,
            pre_emphasis: T::of_f64(in_frame),
            energy: log_energy.is_some(),
        };
        Ok(Self {
            stft: Stft::conditioned(front_end.framing(), conditioning)?,
            mel: MelBank::new(&front_end.mel, front_end.n_fft, front_end.rate_hz)?,
            compression: front_end.compression,
            wave_emphasis: in_wave,
            cepstra: front_end.cepstra.map(|cepstra| CepstraPlan::new(cepstra, front_end.mel.bins, log_energy)),
        })
    }

    fn features(&self, samples: &[f32]) -> Array2<f32> {
        match self.wave_emphasis {
            None => self.of_wave(samples),
            Some(coefficient) => self.of_wave(&emphasised(samples, coefficient)),
        }
    }

    fn of_wave(&self, samples: &[f32]) -> Array2<f32> {
        let (frames, bins) = (self.stft.frames(samples.len()), self.mel.bins());
        let log_energy_floor = self.cepstra.as_ref().and_then(|plan| plan.log_energy_floor);
        let mut log_energies = Vec::with_capacity(if log_energy_floor.is_some() { frames } else { 0 });
        let mut features = vec![0.0; frames * bins];
        let mut work = self.stft.workspace();
        let mut powers = vec![[T::ZERO; LANES]; self.stft.bins()];
        let mut energies = vec![[T::ZERO; LANES]; bins];
        for (block, rows) in features.chunks_mut(LANES * bins).enumerate() {
            for lane in 0..rows.len() / bins {
                self.stft.power_lane(samples, block * LANES + lane, &mut work, lane, &mut powers);
                if let Some(floor) = log_energy_floor {
                    let energy = f64::from(work.energy().into_f32());
                    log_energies.push(energy.max(floor).ln() as f32);
                }
            }
            self.mel.energies(&powers, &mut energies);
            self.compression.apply(energies.as_flattened_mut());
            for (lane, row) in rows.chunks_mut(bins).enumerate() {
                row.iter_mut().zip(&energies).for_each(|(value, energies)| *value = energies[lane].into_f32());
            }
        }
        let mut features = Array2::from_shape_vec((frames, bins), features).expect("frames times bins values");
        if let Compression::Decibels { top_db, .. } = self.compression {
            limit_range(&mut features, top_db as f32);
        }
        match &self.cepstra {
            None => features,
            Some(plan) => plan.apply(&features, &log_energies),
        }
    }
}

/// `x[n] - c x[n - 1]`, with the second sample, the mirror image, before the first.
fn emphasised(samples: &[f32], coefficient: f32) -> Vec<f32> {
    let mut result = Vec::with_capacity(samples.len());
    if let Some(&first) = samples.first() {
        result.push(first - coefficient * samples.get(1).copied().unwrap_or(first));
    }
    result.extend(samples.windows(2).map(|pair| pair[1] - coefficient * pair[0]));
    result
}

impl Compression {
    fn apply<T: Real>(self, energies: &mut [T]) {
        let (offset, floor, factor) = match self {
            Self::None {} => return,
            Self::Log10 { offset } => (offset, 0.0, std::f64::consts::LOG10_E),
            Self::Ln { offset } => (offset, 0.0, 1.0),
            Self::LnFloor { floor } => (0.0, floor, 1.0),
            Self::Decibels { floor, .. } => (0.0, floor, 10.0 * std::f64::consts::LOG10_E),
        };
        let (offset, floor) = (T::of_f64(offset), T::of_f64(floor));
        for energy in &mut *energies {
            let value = *energy + offset;
            *energy = if value > floor { value } else { floor };
        }
        T::scaled_ln(energies, T::of_f64(factor));
    }
}

/// A planned cosine transform.
#[derive(Debug)]
struct CepstraPlan {
    /// One row a coefficient, lifter included.
    rows: Vec<Vec<f32>>,
    log_energy_floor: Option<f64>,
}

impl CepstraPlan {
    fn new(cepstra: Cepstra, filters: usize, log_energy_floor: Option<f64>) -> Self {
        let n = filters as f64;
        let row = |i: usize| {
            let norm = if i == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
            let i = i as f64;
            let lift = cepstra.lifter.map_or(1.0, |period| 1.0 + period / 2.0 * (PI * i / period).sin());
            (0..filters).map(|k| (lift * norm * (PI / n * (k as f64 + 0.5) * i).cos()) as f32).collect()
        };
        Self { rows: (0..cepstra.count).map(row).collect(), log_energy_floor }
    }

    fn apply(&self, features: &Array2<f32>, log_energies: &[f32]) -> Array2<f32> {
        let mut cepstra = Array2::zeros((features.nrows(), self.rows.len()));
        for (mut row, values) in cepstra.outer_iter_mut().zip(features.outer_iter()) {
            for (value, weights) in row.iter_mut().zip(&self.rows) {
                *value = weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
            }
        }
        for (mut row, &log_energy) in cepstra.outer_iter_mut().zip(log_energies) {
            row[0] = log_energy;
        }
        cepstra
    }
}
