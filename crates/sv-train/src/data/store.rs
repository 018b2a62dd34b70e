//! Prepared recordings: made from their sources, looked up in the cache, kept in memory up to a budget.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use sv_audio::decode::{self, DecodeLimits};
use sv_audio::frontend::FeatureExtractor;
use sv_audio::synth::{GENERATOR_VERSION, Speaker};
use sv_audio::{AudioError, Waveform};

use super::cache::{Cache, FORMAT, Key, Prepared};
use super::pieces::{Piece, PieceContent, cut_features, cut_waveforms};
use super::statistics::BandSums;
use super::{DataError, PreparationConfig, Recording};

/// Makes pieces of recordings, or finds them made.
#[derive(Debug)]
pub(super) struct Preparer {
    pub(super) root: PathBuf,
    pub(super) extractor: FeatureExtractor,
    pub(super) rule: PreparationConfig,
    /// Whether pieces are kept as waves.
    pub(super) waveforms: bool,
    pub(super) cache: Option<Cache>,
}

/// A recording that training draws from.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) recording: Recording,
    /// Frames of each of its pieces.
    pub(super) frames: Vec<u32>,
    /// What it was stored under, where it was.
    pub(super) key: Option<Key>,
    /// Its pieces, if the budget has room for them.
    pub(super) resident: Option<Arc<Vec<Piece>>>,
}

impl Preparer {
    /// The pieces of a recording, what they are stored under, and whether they came from the cache.
    pub(super) fn prepare(&self, recording: &Recording) -> Result<(Prepared, Option<Key>, bool), AudioError> {
        let stored = self.cache.as_ref().and_then(|cache| Some((cache, self.key(recording)?)));
        if let Some((cache, key)) = &stored
            && let Some(prepared) = cache.get(key)
        {
            return Ok((prepared, Some(*key), true));
        }
        let prepared = self.make(recording)?;
        if let Some((cache, key)) = &stored {
            cache.put(key, &prepared);
        }
        Ok((prepared, stored.map(|(_, key)| key), false))
    }

    /// All pieces of a recording: from memory, the cache or its source.
    pub(super) fn fetch(&self, kept: &Kept) -> Result<Arc<Vec<Piece>>, DataError> {
        if let Some(pieces) = &kept.resident {
            return Ok(Arc::clone(pieces));
        }
        let cached = self.cache.as_ref().zip(kept.key).and_then(|(cache, key)| cache.get(&key));
        let prepared = match cached {
            Some(prepared) => prepared,
            None => self.make(&kept.recording).map_err(DataError::audio(kept.recording.to_string()))?,
        };
        let frames = prepared.pieces.iter().map(|piece| piece.frames as u32);
        if !frames.eq(kept.frames.iter().copied()) {
            return Err(DataError::Changed { recording: kept.recording.to_string() });
        }
        Ok(Arc::new(prepared.pieces))
    }

    fn make(&self, recording: &Recording) -> Result<Prepared, AudioError> {
        let mut prepared = Prepared { pieces: Vec::new(), sums: BandSums::new(self.extractor.front_end().bins()) };
        let wave = match self.extractor.prepare(&read(&self.root, recording)?) {
            Ok(wave) => wave,
            // Nothing is wrong with the file: nobody speaks in it.
            Err(AudioError::NoSpeech { .. } | AudioError::DigitalSilence { .. }) => return Ok(prepared),
            Err(error) => return Err(error),
        };
        prepared.pieces = cut_features(&self.extractor, &wave, &self.rule)?;
        for piece in &prepared.pieces {
            if let PieceContent::Features(features) = &piece.content {
                prepared.sums.add(features.view());
            }
        }
        if self.waveforms {
            prepared.pieces = cut_waveforms(&self.extractor, &wave, &self.rule);
        }
        Ok(prepared)
    }

    /// Digest of everything that the pieces depend on; `None` if the source cannot be looked at.
    fn key(&self, recording: &Recording) -> Option<Key> {
        let mut digest = Sha256::new();
        // Each part is closed by a byte that no text holds.
        let mut part = |bytes: &[u8]| {
            digest.update(bytes);
            digest.update([0xff]);
        };
        part(FORMAT.as_bytes());
        part(&serde_json::to_vec(self.extractor.front_end()).ok()?);
        part(&serde_json::to_vec(&self.rule).ok()?);
        part(&[u8::from(self.waveforms)]);
        match recording {
            Recording::File(path) => {
                let path = self.root.join(path);
                let metadata = std::fs::metadata(&path).ok()?;
                let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
                part(b"file");
                part(path.as_os_str().as_encoded_bytes());
                part(&metadata.len().to_le_bytes());
                part(&modified.as_nanos().to_le_bytes());
            }
            Recording::Synthetic { corpus, seed, speaker, utterance } => {
                part(b"synthetic");
                for number in [u64::from(GENERATOR_VERSION), *corpus as u64, *seed, *speaker, *utterance] {
                    part(&number.to_le_bytes());
                }
            }
        }
        Some(digest.finalize().into())
    }
}

impl Recording {
    /// The samples at their own rate; `root` is the manifest's.
    ///
    /// # Errors
    /// [`AudioError`] says what is wrong with the file.
    pub fn load(&self, root: &Path) -> Result<Waveform, AudioError> {
        read(root, self)
    }
}

pub(super) fn read(root: &Path, recording: &Recording) -> Result<Waveform, AudioError> {
    match recording {
        Recording::File(path) => Ok(decode::read(root.join(path), &DecodeLimits::default())?.waveform),
        Recording::Synthetic { corpus, seed, speaker, utterance } => {
            Ok(Speaker::draw(*seed, *corpus, *speaker).utterance(*utterance))
        }
    }
}
