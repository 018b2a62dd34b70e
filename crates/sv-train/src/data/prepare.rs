//! Training data: every recording of a manifest decoded once and cut into pieces, on all cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};

use super::cache::Cache;
use super::offset::FeatureOffset;
use super::sampler::{Class, Sampler};
use super::statistics::BandSums;
use super::store::{Kept, Preparer};
use super::wave_rows::WaveRows;
use super::{BandStatistics, Classes, DataConfig, DataError, Entry, Manifest, Recording};
use crate::TrainError;

/// Recordings in flight at a time: what a budget of memory may be exceeded by.
const CHUNK: usize = 256;
/// One recording in this many may be unusable; more is a defect of the corpus or its path.
const SKIP_ONE_IN: usize = 100;
/// Skipped recordings and speakers that a message names.
const NAMED: usize = 5;

/// Recordings prepared to be drawn from: see [`Self::prepare`] and [`Self::batch`].
#[derive(Debug)]
pub struct TrainingData {
    pub(super) config: DataConfig,
    pub(super) preparer: Preparer,
    pub(super) recordings: Vec<Kept>,
    pub(super) sampler: Sampler,
    pub(super) waves: WaveRows,
    pub(super) offset: Option<FeatureOffset>,
    pub(super) statistics: BandStatistics,
}

/// What preparation found.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Preparation {
    /// Recordings of the manifest.
    pub recordings: usize,
    /// Those that were found in the cache.
    pub from_cache: usize,
    /// Those that could not be used, with the reasons.
    pub skipped: Vec<Skipped>,
    /// Those that are sound but long enough for no piece.
    pub without_piece: usize,
    /// Pieces of all others.
    pub pieces: usize,
    /// Frames of these pieces.
    pub frames: u64,
    /// Pieces shorter than the longest crop: they are repeated where such a row is drawn.
    pub short_pieces: usize,
    /// Classes that batches draw from.
    pub classes: usize,
    /// Names of classes with too few recordings or pieces to be drawn, sorted.
    pub dropped: Vec<String>,
    /// Bytes of pieces in memory.
    pub resident_bytes: usize,
    /// Recordings beyond the budget, read when they are drawn.
    pub on_demand: usize,
    /// Recordings that the cache could not store, and what the system said first; training goes on without.
    pub uncached: usize,
    /// See [`Self::uncached`].
    pub cache_error: Option<String>,
}

impl std::fmt::Display for Preparation {
    /// One line: what was prepared, what was left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { recordings, pieces, classes, frames, .. } = self;
        write!(f, "{recordings} recordings, {pieces} pieces, {frames} frames, {classes} classes")?;
        for (count, what) in [
            (self.from_cache, "from the cache"),
            (self.skipped.len(), "skipped"),
            (self.without_piece, "too short"),
            (self.dropped.len(), "classes too small"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// A recording that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Its path or synthetic identity.
    pub recording: String,
    /// What is wrong with it.
    pub reason: String,
}

impl TrainingData {
    /// Prepares all recordings of `manifest`, on the threads of rayon's current pool; `progress` is called from them with the
    /// number of recordings done and of all.
    ///
    /// With `cache`, a folder that is made if need be, prepared recordings are stored there and found again by a later run of
    /// the same front end and rule.
    ///
    /// # Errors
    /// [`DataError::Setting`] and what the front end refuses; [`DataError::NoPhrase`]; [`DataError::TooManySkipped`] if more
    /// than one recording in a hundred cannot be used; [`DataError::TooFewClasses`]; those of reading noise;
    /// [`TrainError::Write`] if the cache folder cannot be made.
    pub fn prepare(
        manifest: &Manifest,
        config: &DataConfig,
        front_end: &FrontEnd,
        cache: Option<&Path>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(Self, Preparation), TrainError> {
        config.validate()?;
        let config = &config.below(&manifest.root);
        let preparer = Preparer {
            root: manifest.root.clone(),
            extractor: FeatureExtractor::new(front_end).map_err(DataError::audio("front end"))?,
            rule: config.preparation.clone(),
            waveforms: config.keeps_waveforms(),
            cache: cache.map(Cache::open).transpose()?,
        };
        let longest = config.crop.frames[1];
        let span = config.rows().saturating_mul(longest).saturating_mul(front_end.hop).saturating_add(front_end.n_fft);
        let waves = WaveRows::load(config, front_end, span)?;

        let mut classes: BTreeMap<String, Class> = BTreeMap::new();
        let mut names = Vec::with_capacity(manifest.entries.len());
        for entry in &manifest.entries {
            let name = class_name(entry, config.classes)?;
            classes.entry(name.clone()).or_default().speaker.clone_from(&entry.speaker);
            names.push(name);
        }

        let mut report = Preparation { recordings: manifest.entries.len(), ..Preparation::default() };
        let mut recordings = Vec::new();
        let mut sums = BandSums::new(front_end.bins());
        let budget = config.memory_mib.saturating_mul(1 << 20);
        let done = AtomicUsize::new(0);
        for (entries, names) in manifest.entries.chunks(CHUNK).zip(names.chunks(CHUNK)) {
            let prepared: Vec<_> = entries
                .par_iter()
                .map(|entry| {
                    let prepared = preparer.prepare(&entry.recording);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, manifest.entries.len());
                    prepared
                })
                .collect();
            // In the manifest's order, whoever was ready first: numbers, budget and sums are the same on every machine.
            for ((entry, name), prepared) in entries.iter().zip(names).zip(prepared) {
                let (prepared, key, cached) = match prepared {
                    Ok(prepared) => prepared,
                    Err(error) => {
                        let recording = entry.recording.to_string();
                        report.skipped.push(Skipped { recording, reason: error.to_string() });
                        continue;
                    }
                };
                report.from_cache += usize::from(cached);
                if prepared.pieces.is_empty() {
                    report.without_piece += 1;
                    continue;
                }
                sums.merge(&prepared.sums);
                let bytes: usize = prepared.pieces.iter().map(super::Piece::bytes).sum();
                let frames: Vec<u32> = prepared.pieces.iter().map(|piece| piece.frames as u32).collect();
                report.pieces += frames.len();
                report.frames += frames.iter().map(|&frames| u64::from(frames)).sum::<u64>();
                report.short_pieces += frames.iter().filter(|&&frames| (frames as usize) < longest).count();
                let fits = report.resident_bytes.saturating_add(bytes) <= budget;
                if fits {
                    report.resident_bytes += bytes;
                } else {
                    report.on_demand += 1;
                }
                let times = config.sampler.once_per_frames.map_or(1, |once| {
                    let total: usize = frames.iter().map(|&frames| frames as usize).sum();
                    total / once
                });
                if let Some(class) = classes.get_mut(name) {
                    let place = (recordings.len() as u32, frames.len() as u32);
                    class.recordings.extend(std::iter::repeat_n(place, times));
                }
                let resident = fits.then(|| Arc::new(prepared.pieces));
                recordings.push(Kept { recording: entry.recording.clone(), frames, key, resident });
            }
            too_many(&report)?;
        }
        if let Some(cache) = &preparer.cache {
            (report.uncached, report.cache_error) = cache.refusals();
        }

        let (sampler, dropped) = Sampler::new(&config.sampler, classes)?;
        report.classes = sampler.names.len();
        report.dropped = dropped;
        let offset = config.feature_offset.as_ref().map(|offset| FeatureOffset::new(offset, front_end.bins()));
        let statistics = sums.finish();
        Ok((Self { config: config.clone(), preparer, recordings, sampler, waves, offset, statistics }, report))
    }

    /// Names of the classes, sorted: speakers, or speaker, tab, phrase. Their places are the numbers in [`super::Batch::classes`].
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.sampler.names
    }

    /// The recordings that pieces were cut out of, in the manifest's order.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Recording> {
        self.recordings.iter().map(|kept| &kept.recording)
    }

    /// Mean and deviation of each band over all pieces, before noise and augmentation.
    #[must_use]
    pub fn statistics(&self) -> &BandStatistics {
        &self.statistics
    }

    /// F, features a frame.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.preparer.extractor.front_end().bins()
    }
}

fn class_name(entry: &Entry, classes: Classes) -> Result<String, DataError> {
    match (classes, &entry.phrase) {
        (Classes::Speaker, _) => Ok(entry.speaker.clone()),
        // A tab, which no field of a manifest holds: no two pairs give one name.
        (Classes::SpeakerAndPhrase, Some(phrase)) => Ok(format!("{}\t{phrase}", entry.speaker)),
        (Classes::SpeakerAndPhrase, None) => Err(DataError::NoPhrase { recording: entry.recording.to_string() }),
    }
}

fn too_many(report: &Preparation) -> Result<(), DataError> {
    let (skipped, recordings) = (report.skipped.len(), report.recordings);
    if skipped * SKIP_ONE_IN <= recordings {
        return Ok(());
    }
    let first = report.skipped.iter().take(NAMED);
    // The reason of a file that cannot be decoded begins with its path.
    let told =
        first.map(
            |Skipped { recording, reason }| {
                if reason.contains(recording.as_str()) { reason.clone() } else { format!("{recording}: {reason}") }
            },
        );
    Err(DataError::TooManySkipped { skipped, recordings, first: told.collect() })
}
