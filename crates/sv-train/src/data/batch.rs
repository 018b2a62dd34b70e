//! One step's features: a function of the data, the seed and the step, and of nothing else.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use sv_audio::Waveform;

use super::noise::Place;
use super::pieces::{Piece, PieceContent, samples_of};
use super::{DataError, TrainingData};
use crate::TrainError;

/// What one training step takes: N classes with M rows each, rows of one class after the other.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// (B, T, F) values, row-major: row, frame, band.
    pub features: Vec<f32>,
    /// B = N * M, rows.
    pub rows: usize,
    /// T, frames of each row.
    pub frames: usize,
    /// F, bands of each frame.
    pub bins: usize,
    /// B numbers: the class of each row, an index into [`TrainingData::classes`].
    pub classes: Vec<u32>,
    /// N, classes.
    pub speakers: usize,
    /// M, rows of each class.
    pub utterances: usize,
    /// B pieces: what each row was cut from; [`TrainingData::describe`] names them.
    pub pieces: Vec<PieceId>,
    /// Rows whose piece was shorter than T and was repeated from its start.
    pub repeated: usize,
}

/// A piece of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceId {
    /// The recording, counted over those that have a piece, in the manifest's order.
    pub recording: u32,
    /// The piece within it, in order of time.
    pub piece: u32,
}

impl TrainingData {
    /// The batch of a step.
    ///
    /// The same seed and step give the same bits, whatever was drawn before, on whichever thread.
    ///
    /// # Errors
    /// Where a recording is read again from its source, because memory and cache do not hold it: [`DataError::Audio`] and
    /// [`DataError::Changed`]. [`DataError::Audio`] where noise makes samples beyond what the front end takes.
    pub fn batch(&self, seed: u64, step: u64) -> Result<Batch, TrainError> {
        let drawn = self.sampler.draw(seed, step);
        let (rows, frames, bins) = (drawn.len(), self.config.crop.length(seed, step), self.bins());
        let mut batch = Batch {
            features: vec![0.0; rows * frames * bins],
            rows,
            frames,
            bins,
            classes: Vec::with_capacity(rows),
            speakers: self.config.sampler.speakers,
            utterances: self.config.sampler.utterances,
            pieces: Vec::with_capacity(rows),
            repeated: 0,
        };
        // Recordings that are not in memory are read once, however many rows they give.
        let mut fetched: HashMap<u32, Arc<Vec<Piece>>> = HashMap::new();
        for (row, (values, (class, id))) in batch.features.chunks_exact_mut(frames * bins).zip(drawn).enumerate() {
            let pieces = match fetched.get(&id.recording) {
                Some(pieces) => pieces,
                None => {
                    let pieces = self.preparer.fetch(&self.recordings[id.recording as usize])?;
                    fetched.entry(id.recording).or_insert(pieces)
                }
            };
            let piece = &pieces[id.piece as usize];
            let range = self.config.crop.place(seed, step, row, piece.frames, frames);
            let filled = range.len() * bins;
            self.crop(piece, range, &mut values[..filled], RowKey { seed, step, row, frames })?;
            for place in filled..values.len() {
                values[place] = values[place - filled];
            }
            batch.repeated += usize::from(filled < values.len());
            if let Some(offset) = &self.offset {
                offset.add(values, &self.statistics.deviation, seed, step, row);
            }
            batch.classes.push(class);
            batch.pieces.push(id);
        }
        Ok(batch)
    }

    /// The recording and piece behind an id, for messages.
    #[must_use]
    pub fn describe(&self, id: PieceId) -> String {
        match self.recordings.get(id.recording as usize) {
            Some(kept) => format!("piece {} of {}", id.piece, kept.recording),
            None => format!("piece {} of recording {}, which there is not", id.piece, id.recording),
        }
    }

    /// Writes the features of some frames of a piece.
    fn crop(&self, piece: &Piece, range: Range<usize>, values: &mut [f32], key: RowKey) -> Result<(), DataError> {
        let samples = match &piece.content {
            PieceContent::Features(features) => {
                let rows = features.outer_iter().skip(range.start);
                for (frame, row) in values.chunks_exact_mut(features.ncols().max(1)).zip(rows) {
                    frame.iter_mut().zip(row).for_each(|(value, feature)| *value = *feature);
                }
                return Ok(());
            }
            PieceContent::Waveform(samples) => samples,
        };
        let front_end = self.preparer.extractor.front_end();
        let own = range.start + piece.lead..range.end + piece.lead;
        let (around, lead) = samples_of(front_end, own, samples.len());
        let mut wave = samples[around].to_vec();
        if let Some(noise) = &self.noise {
            let RowKey { seed, step, row, frames } = key;
            let track_start = row * frames * front_end.hop;
            noise.add(&mut wave, Place { seed, step, row, track_start, before: lead * front_end.hop });
        }
        let what = || format!("row {} of step {}", key.row, key.step);
        let wave = Waveform::new(wave, front_end.rate_hz).map_err(DataError::audio(what()))?;
        let features = self.preparer.extractor.features(&wave).map_err(DataError::audio(what()))?;
        for (frame, row) in values.chunks_exact_mut(features.bins()).zip(features.view().outer_iter().skip(lead)) {
            frame.iter_mut().zip(row).for_each(|(value, feature)| *value = *feature);
        }
        Ok(())
    }
}

/// What the streams of a row are keyed by, and the frames of each row.
#[derive(Clone, Copy)]
struct RowKey {
    seed: u64,
    step: u64,
    row: usize,
    frames: usize,
}
