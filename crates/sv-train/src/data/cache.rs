//! Prepared recordings on disk: one small file each, named by a digest of everything that it depends on.
//!
//! A file holds a digest of its content too. One that does not fit is prepared again, never trusted; so nothing is flushed to
//! the disk, and a power cut costs the time of preparing again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::pieces::{Piece, PieceContent};
use super::statistics::BandSums;
use crate::TrainError;

/// Version of the files and of what is cut into them; any change of either is a new one.
pub(super) const FORMAT: &str = "speaker-verification pieces 1";
/// Longest body that is read: pieces of a recording take less than its samples at the highest rate.
const MAX_BODY: u64 = 1 << 33;
/// Digest of the file's name, digest of its body, length of its body.
const HEAD: usize = 32 + 32 + 8;

/// Name of a cached recording.
pub(super) type Key = [u8; 32];

/// What a recording became.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prepared {
    pub(super) pieces: Vec<Piece>,
    pub(super) sums: BandSums,
}

/// A folder of prepared recordings. Several runs may share it.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Recordings that could not be stored, and what the system said to the first.
    refused: AtomicUsize,
    first: Mutex<Option<String>>,
}

impl Cache {
    pub(super) fn open(folder: &Path) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|source| TrainError::Write { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), refused: AtomicUsize::new(0), first: Mutex::new(None) })
    }

    /// What is stored under `key`, if it is whole.
    pub(super) fn get(&self, key: &Key) -> Option<Prepared> {
        let mut file = File::open(self.path(key)).ok()?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).ok()?;
        let (names, length) = head.split_at(64);
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let stored = file.metadata().ok()?.len();
        if names[..32] != key[..] || length > MAX_BODY || stored != HEAD as u64 + length {
            return None;
        }
        let mut body = Vec::new();
        file.take(length).read_to_end(&mut body).ok()?;
        (Sha256::digest(&body)[..] == names[32..]).then(|| decoded(&body)).flatten()
    }

    /// Stores `prepared`. After the first refusal (a full disk) nothing more is tried: see [`Self::refusals`].
    pub(super) fn put(&self, key: &Key, prepared: &Prepared) {
        if self.refused.load(Ordering::Relaxed) > 0 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else if let Err(error) = self.store(key, &encoded(prepared)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let mut first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            first.get_or_insert_with(|| format!("{}: {error}", self.folder.display()));
        }
    }

    /// How many recordings could not be stored, and why the first.
    pub(super) fn refusals(&self) -> (usize, Option<String>) {
        let first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (self.refused.load(Ordering::Relaxed), first.clone())
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        // 256 folders: a million files in one are slow on some systems.
        self.folder.join(&name[..2]).join(name)
    }

    fn store(&self, key: &Key, body: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let beside = folder.join(format!(".{}.{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(key)?;
            file.write_all(&Sha256::digest(body))?;
            file.write_all(&(body.len() as u64).to_le_bytes())?;
            file.write_all(body)?;
            drop(file);
            fs::rename(&beside, &path)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&beside);
        }
        written
    }
}

fn encoded(prepared: &Prepared) -> Vec<u8> {
    let Prepared { pieces, sums } = prepared;
    let mut body = Vec::with_capacity(64 + pieces.iter().map(|piece| 32 + piece.bytes()).sum::<usize>());
    let number = |body: &mut Vec<u8>, value: usize| body.extend_from_slice(&(value as u64).to_le_bytes());
    number(&mut body, sums.mean.len());
    body.extend_from_slice(&sums.frames.to_le_bytes());
    for value in sums.mean.iter().chain(&sums.spread) {
        body.extend_from_slice(&value.to_le_bytes());
    }
    number(&mut body, pieces.len());
    for piece in pieces {
        number(&mut body, piece.lead);
        number(&mut body, piece.frames);
        // 0 bins stand for samples.
        let (bins, values): (usize, Box<dyn Iterator<Item = &f32>>) = match &piece.content {
            PieceContent::Features(features) => (features.ncols(), Box::new(features.iter())),
            PieceContent::Waveform(samples) => (0, Box::new(samples.iter())),
        };
        number(&mut body, bins);
        number(&mut body, piece.bytes() / size_of::<f32>());
        values.for_each(|value| body.extend_from_slice(&value.to_le_bytes()));
    }
    body
}

/// The reverse of [`encoded`]; `None` where numbers do not fit each other.
fn decoded(body: &[u8]) -> Option<Prepared> {
    let mut rest = body;
    let bins = number(&mut rest)?;
    let frames = number(&mut rest)? as u64;
    let mut doubles = |count: usize| -> Option<Vec<f64>> {
        let bytes = take(&mut rest, count.checked_mul(8)?)?;
        Some(bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
    };
    let sums = BandSums { frames, mean: doubles(bins)?, spread: doubles(bins)? };
    let mut pieces = Vec::new();
    for _ in 0..number(&mut rest)? {
        let (lead, frames, bins, count) =
            (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let bytes = take(&mut rest, count.checked_mul(4)?)?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let content = if bins == 0 {
            PieceContent::Waveform(values)
        } else {
            PieceContent::Features(Array2::from_shape_vec((frames, bins), values).ok()?)
        };
        pieces.push(Piece { content, lead, frames });
    }
    rest.is_empty().then_some(Prepared { pieces, sums })
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (bytes, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(bytes)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn example() -> Prepared {
        let features = array![[1.0_f32, -2.5], [f32::MIN_POSITIVE, 0.0]];
        let mut sums = BandSums::new(2);
        sums.add(features.view());
        let pieces = vec![
            Piece { content: PieceContent::Features(features), lead: 0, frames: 2 },
            Piece { content: PieceContent::Waveform(vec![0.25; 7]), lead: 3, frames: 1 },
        ];
        Prepared { pieces, sums }
    }

    #[test]
    fn what_is_stored_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(cache.get(&[1; 32]), None);
        cache.put(&[1; 32], &example());
        assert_eq!(cache.get(&[1; 32]), Some(example()));
        assert_eq!(cache.get(&[2; 32]), None);
        assert_eq!(cache.refusals(), (0, None));
    }

    #[test]
    fn a_file_with_any_byte_changed_or_cut_off_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.put(&[1; 32], &example());
        let path = cache.path(&[1; 32]);
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.get(&[1; 32]), None, "byte {place}");
            fs::write(&path, &whole[..place]).unwrap();
            assert_eq!(cache.get(&[1; 32]), None, "{place} bytes");
        }
    }

    #[test]
    fn a_body_of_numbers_that_do_not_fit_is_refused() {
        let body = encoded(&example());
        for place in 0..body.len() / 8 {
            let mut bytes = body.clone();
            bytes[place * 8..place * 8 + 8].fill(0xff);
            // Counts beyond the body give nothing; values just are other values. Nothing panics or asks for memory.
            let _ = decoded(&bytes);
        }
        assert_eq!(decoded(&body[..body.len() - 1]), None);
    }

    #[test]
    fn a_refusing_disk_is_counted_and_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        // Files where the folders of the cache should be.
        fs::write(folder.path().join("01"), b"").unwrap();
        cache.put(&[1; 32], &example());
        cache.put(&[1; 32], &example());
        let (refused, first) = cache.refusals();
        assert_eq!(refused, 2);
        assert!(first.unwrap().contains(&folder.path().display().to_string()));
    }
}
