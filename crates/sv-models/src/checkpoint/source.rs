//! Random access to the bytes of a checkpoint, every size compared with the file's before memory is taken.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::Problem;
use crate::ModelError;

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A checkpoint's bytes, wherever they are.
pub(super) struct Source<'a> {
    reader: Box<dyn ReadSeek + 'a>,
    len: u64,
}

impl<'a> Source<'a> {
    /// Opens a file. Only regular ones: opening a pipe would wait for a writer.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let read = |source| ModelError::Read { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(read)?.is_file() {
            return Err(ModelError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        Ok(Self { reader: Box::new(file), len })
    }

    pub(super) fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { reader: Box::new(Cursor::new(bytes)), len: bytes.len() as u64 }
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fails unless `need` bytes are at `offset`.
    pub(super) fn check(&self, offset: u64, need: u64) -> Result<(), Problem> {
        let have = self.len.saturating_sub(offset);
        if need > have { Err(Problem::EndsEarly { offset, need, have }) } else { Ok(()) }
    }

    /// `need` bytes at `offset`.
    pub(super) fn read(&mut self, offset: u64, need: u64) -> Result<Vec<u8>, Problem> {
        self.check(offset, need)?;
        let need = usize::try_from(need).map_err(|_| Problem::TooLarge {
            what: "bytes in one piece",
            got: need,
            limit: usize::MAX as u64,
        })?;
        let mut bytes = vec![0; need];
        self.reader.seek(SeekFrom::Start(offset)).map_err(Problem::Io)?;
        self.reader.read_exact(&mut bytes).map_err(Problem::Io)?;
        Ok(bytes)
    }

    /// The first `most` bytes, or all if there are fewer.
    pub(super) fn head(&mut self, most: u64) -> Result<Vec<u8>, Problem> {
        self.read(0, most.min(self.len))
    }
}
