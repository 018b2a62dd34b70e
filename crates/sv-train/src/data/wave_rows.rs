//! Rows whose waves change from step to step: augmentation, then added noise, then features.

use std::ops::Range;
use std::path::PathBuf;

use rayon::prelude::*;
use sv_audio::augment::Augmenter;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::{AudioError, Features, Waveform};

use super::batch::RowKey;
use super::noise::{Noise, Place, at_rate, recordings};
use super::pieces::samples_of;
use super::{AugmentationConfig, DataConfig, DataError, TakeFrom};
use crate::{Purpose, Stream, TrainError};

/// Seconds of each noise recording and impulse response that are kept: so MUSAN's take 2 GiB at 8 kHz.
const KEPT_S: usize = 30;
/// Speech before a row that its reverberation comes from, in seconds, where the piece has it.
const CONTEXT_S: f64 = 0.5;

/// What is done to waves.
#[derive(Debug)]
pub(super) struct WaveRows {
    /// What happens to originals, then to each copy.
    augmenters: Vec<Option<Augmenter>>,
    /// Greatest factor of speed, at least 1.
    fastest: f64,
    noise: Option<Noise>,
}

impl WaveRows {
    /// Reads all noise that the configuration names; `longest` is the number of samples of the longest batch.
    pub(super) fn load(config: &DataConfig, front_end: &FrontEnd, longest: usize) -> Result<Self, TrainError> {
        let all = std::iter::once(config.augmentation.as_ref()).chain(config.copies.iter().map(Some));
        let speeds = all.clone().flatten().filter_map(|augmentation| augmentation.effects.speed.as_ref());
        Ok(Self {
            fastest: speeds.flat_map(|speed| &speed.factors).copied().fold(1.0, f64::max),
            augmenters: all
                .map(|config| config.map(|config| augmenter(config, front_end)).transpose())
                .collect::<Result<_, _>>()?,
            noise: config.noise.as_ref().map(|noise| Noise::load(noise, front_end, longest)).transpose()?,
        })
    }

    /// Frames that a row of `frames` may need.
    pub(super) fn stretched(&self, frames: usize) -> usize {
        (frames as f64 * self.fastest).ceil() as usize
    }

    /// Features, and which frames of them are the row's; `range` is what was drawn, in frames of `samples`.
    pub(super) fn row(
        &self,
        extractor: &FeatureExtractor,
        samples: &[f32],
        range: Range<usize>,
        from: TakeFrom,
        key: RowKey,
    ) -> Result<(Features, Range<usize>), AudioError> {
        let RowKey { seed, step, row, frames, copy, .. } = key;
        let front_end = extractor.front_end();
        let (hop, rate_hz) = (front_end.hop, front_end.rate_hz);
        let (mut around, mut lead) = samples_of(front_end, range.clone(), samples.len());
        let mut rows = range.len();
        let mut wave = match &self.augmenters[copy] {
            None => samples[around].to_vec(),
            Some(augmenter) => {
                let context = ((CONTEXT_S * f64::from(rate_hz)) as usize / hop).min(around.start / hop);
                around.start -= context * hop;
                lead += context;
                let before = Waveform::new(samples[around].to_vec(), rate_hz)?;
                let mut stream = Stream::new(seed, Purpose::Augmentation, step, row as u64);
                let after = augmenter.apply(&before, stream.rng())?;
                // A piece too short to be made faster still stays as it is.
                let after = if after.len() < extractor.min_samples() { before.clone() } else { after };
                if after.len() != before.len() {
                    let slower = after.len() as f64 / before.len() as f64;
                    let have = extractor.frames(after.len());
                    lead = ((lead as f64 * slower).round() as usize).min(have - 1);
                    rows = ((rows as f64 * slower) as usize).clamp(1, have - lead);
                }
                after.into_samples()
            }
        };
        if from == TakeFrom::End {
            lead += rows.saturating_sub(frames);
        }
        let rows = rows.min(frames);

        let (around, lead) = samples_of(front_end, lead..lead + rows, wave.len());
        wave.truncate(around.end);
        wave.drain(..around.start);
        if let Some(noise) = &self.noise {
            let track_start = row * frames * hop;
            noise.add(&mut wave, Place { seed, step, row, track_start, before: lead * hop });
        }
        let features = extractor.features(&Waveform::new(wave, rate_hz)?)?;
        Ok((features, lead..lead + rows))
    }

    /// Features of a row that is a recording of its own: of `samples`, which begin at its first, as many as its frames need,
    /// repeated where there are fewer.
    pub(super) fn cut_row(
        &self,
        extractor: &FeatureExtractor,
        samples: &[f32],
        key: RowKey,
    ) -> Result<Features, AudioError> {
        let RowKey { seed, step, row, frames, copy, .. } = key;
        let front_end = extractor.front_end();
        let need = samples_for(extractor, frames);
        let filled = |samples: &[f32], len: usize| samples.iter().copied().cycle().take(len).collect::<Vec<f32>>();
        let mut wave = match &self.augmenters[copy] {
            None => filled(samples, need),
            Some(augmenter) => {
                // What makes speech faster needs more of it.
                let before = Waveform::new(filled(samples, self.stretched(need)), front_end.rate_hz)?;
                let mut stream = Stream::new(seed, Purpose::Augmentation, step, row as u64);
                filled(augmenter.apply(&before, stream.rng())?.samples(), need)
            }
        };
        if let Some(noise) = &self.noise {
            let track_start = row * frames * front_end.hop;
            noise.add(&mut wave, Place { seed, step, row, track_start, before: 0 });
        }
        extractor.features(&Waveform::new(wave, front_end.rate_hz)?)
    }
}

/// The least number of samples that gives this many frames.
fn samples_for(extractor: &FeatureExtractor, frames: usize) -> usize {
    let front_end = extractor.front_end();
    let (mut low, mut high) = (0, frames * front_end.hop + front_end.n_fft.max(front_end.win_length));
    while low < high {
        let middle = low.midpoint(high);
        if extractor.frames(middle) < frames { low = middle + 1 } else { high = middle }
    }
    low
}

fn augmenter(config: &AugmentationConfig, front_end: &FrontEnd) -> Result<Augmenter, TrainError> {
    let AugmentationConfig { effects, noise_folders, impulse_response_folders } = config;
    // Settings first: reading may take minutes.
    effects.validate(front_end.rate_hz).map_err(DataError::audio("augmentation"))?;
    let noises = if effects.noise.is_some() { sounds(noise_folders, front_end)? } else { Vec::new() };
    let rooms = effects.impulse_responses.is_some();
    let rooms = if rooms { sounds(impulse_response_folders, front_end)? } else { Vec::new() };
    Ok(Augmenter::new(effects, front_end.rate_hz, noises, rooms).map_err(DataError::audio("augmentation"))?)
}

/// The recordings of some folders at the front end's rate, those without sound left out.
fn sounds(folders: &[PathBuf], front_end: &FrontEnd) -> Result<Vec<Waveform>, TrainError> {
    let mut waves = Vec::new();
    for folder in folders {
        let read = |file: PathBuf| {
            let wave = at_rate(folder, &file, front_end)?;
            let mut samples = wave.into_samples();
            samples.truncate(KEPT_S * front_end.rate_hz as usize);
            samples.shrink_to_fit();
            let name = folder.join(file).display().to_string();
            Waveform::new(samples, front_end.rate_hz).map_err(DataError::audio(name))
        };
        let found: Vec<Waveform> = recordings(folder)?.into_par_iter().map(read).collect::<Result<_, DataError>>()?;
        waves.extend(found.into_iter().filter(|wave| wave.samples().iter().any(|&sample| sample != 0.0)));
    }
    Ok(waves)
}
