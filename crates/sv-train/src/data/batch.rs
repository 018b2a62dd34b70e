//! One step's features: a function of the data, the seed and the step, and of nothing else.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::pieces::{Piece, PieceContent};
use super::{CropEdges, DataError, TrainingData};
use crate::TrainError;

/// What one training step takes: N classes with M rows each, rows of one class after the other; then as many copies of them
/// as the recipe has, each with effects of its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// (B, T, F) values, row-major: row, frame, band.
    pub features: Vec<f32>,
    /// B = N * M * (1 + copies), rows.
    pub rows: usize,
    /// T, frames of each row.
    pub frames: usize,
    /// F, bands of each frame.
    pub bins: usize,
    /// B numbers: the class of each row, an index into [`TrainingData::classes`].
    pub classes: Vec<u32>,
    /// N, classes.
    pub speakers: usize,
    /// M, rows of each class, not counting copies.
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
        let originals = drawn.len();
        let rows = originals * (1 + self.config.copies.len());
        let (frames, bins) = (self.config.crop.length(seed, step), self.bins());
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
        let places = batch.features.chunks_exact_mut(frames * bins).zip(drawn.iter().cycle());
        for (row, (values, &(class, id))) in places.enumerate() {
            let pieces = match fetched.get(&id.recording) {
                Some(pieces) => pieces,
                None => {
                    let pieces = self.preparer.fetch(&self.recordings[id.recording as usize])?;
                    fetched.entry(id.recording).or_insert(pieces)
                }
            };
            let piece = &pieces[id.piece as usize];
            let key = RowKey { seed, step, row, frames, original: row % originals, copy: row / originals };
            let filled = bins * self.crop(piece, values, key)?;
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

    /// Writes the features of a row, or its first part, and gives the number of frames written.
    fn crop(&self, piece: &Piece, values: &mut [f32], key: RowKey) -> Result<usize, DataError> {
        let RowKey { seed, step, row, frames, original, .. } = key;
        let extractor = &self.preparer.extractor;
        // What makes speech faster needs more of it.
        let range = self.config.crop.place(seed, step, original, piece.frames, self.waves.stretched(frames));
        let (features, rows) = match &piece.content {
            PieceContent::Features(features) => (Cow::Borrowed(features), range),
            PieceContent::Waveform(samples) if self.config.crop.edges == CropEdges::Cut => {
                let first = (range.start + piece.lead) * extractor.front_end().hop;
                let made = self.waves.cut_row(extractor, samples.get(first..).unwrap_or_default(), key);
                let features = made.map_err(DataError::audio(format!("row {row} of step {step}")))?;
                (Cow::Owned(features.into_inner()), 0..frames)
            }
            PieceContent::Waveform(samples) => {
                let range = range.start + piece.lead..range.end + piece.lead;
                let made = self.waves.row(extractor, samples, range, self.config.crop.from, key);
                let (features, rows) = made.map_err(DataError::audio(format!("row {row} of step {step}")))?;
                (Cow::Owned(features.into_inner()), rows)
            }
        };
        let taken = features.outer_iter().skip(rows.start).take(rows.len());
        for (frame, features) in values.chunks_exact_mut(features.ncols().max(1)).zip(taken) {
            frame.iter_mut().zip(features).for_each(|(value, feature)| *value = *feature);
        }
        Ok(rows.len())
    }
}

/// What the streams of a row are keyed by, and the frames of each row. All copies of a row are of one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowKey {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) row: usize,
    pub(super) frames: usize,
    /// The row that this is a copy of, itself if it is none.
    pub(super) original: usize,
    /// 0 of originals.
    pub(super) copy: usize,
}
