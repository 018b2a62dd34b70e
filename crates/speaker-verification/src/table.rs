//! A table of embeddings on disk: a safetensors file that NumPy, PyTorch and others read.
//!
//! | name | type | content |
//! |---|---|---|
//! | `embeddings` | f32 (n, D) | one row a file, in the order of the list; zeros where it failed |
//! | `ok` | u8 (n) | 1 where the row is an embedding |
//!
//! Its metadata holds `paths` (JSON list of n), `errors` (JSON object, row to message), `fingerprint`,
//! `seconds_of_speech` (JSON list of n).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sv_models::checkpoint::write_whole;

use crate::{Error, Utterance};

/// Rows of embeddings, some of which failed.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingTable {
    /// n paths, as they were given.
    pub paths: Vec<String>,
    /// D.
    pub embedding_size: usize,
    /// (n, D), row-major; zeros where a file failed.
    pub values: Vec<f32>,
    /// Seconds of speech in each file; 0 where it failed.
    pub seconds_of_speech: Vec<f64>,
    /// What went wrong, by row.
    pub errors: BTreeMap<usize, String>,
    /// The model's fingerprint, in hexadecimal.
    pub fingerprint: String,
}

impl EmbeddingTable {
    /// An empty table for a model's embeddings.
    #[must_use]
    pub fn new(embedding_size: usize, fingerprint: String) -> Self {
        Self {
            paths: Vec::new(),
            embedding_size,
            values: Vec::new(),
            seconds_of_speech: Vec::new(),
            errors: BTreeMap::new(),
            fingerprint,
        }
    }

    /// Adds a row.
    pub fn push(&mut self, path: String, result: &Result<Utterance, Error>) {
        let row = self.paths.len();
        self.paths.push(path);
        match result {
            Ok(utterance) => {
                self.values.extend_from_slice(utterance.embedding.values());
                self.seconds_of_speech.push(utterance.seconds_of_speech);
            }
            Err(error) => {
                self.values.resize((row + 1) * self.embedding_size, 0.0);
                self.seconds_of_speech.push(0.0);
                self.errors.insert(row, error.to_string());
            }
        }
    }

    /// Adds all rows of `other`, a table of the same model.
    pub fn append(&mut self, other: Self) {
        let first = self.paths.len();
        self.paths.extend(other.paths);
        self.values.extend(other.values);
        self.seconds_of_speech.extend(other.seconds_of_speech);
        self.errors.extend(other.errors.into_iter().map(|(row, error)| (first + row, error)));
    }

    /// The embedding in `row`, if that file did not fail.
    #[must_use]
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        if self.errors.contains_key(&row) {
            return None;
        }
        self.values.get(row * self.embedding_size..(row + 1) * self.embedding_size)
    }

    /// Writes the table whole: beside its place, then renamed.
    ///
    /// # Errors
    /// [`Error::Model`] with the path if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let unwritable = |message: String| Error::Table { path: path.into(), message };
        let rows = self.paths.len();
        let values: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let ok: Vec<u8> = (0..rows).map(|row| u8::from(!self.errors.contains_key(&row))).collect();
        let view =
            |dtype, shape, bytes| TensorView::new(dtype, shape, bytes).map_err(|error| unwritable(error.to_string()));
        let tensors = [
            ("embeddings", view(Dtype::F32, vec![rows, self.embedding_size], values.as_slice())?),
            ("ok", view(Dtype::U8, vec![rows], ok.as_slice())?),
        ];
        let json = |value: serde_json::Result<String>| value.map_err(|error| unwritable(error.to_string()));
        let metadata = HashMap::from([
            ("paths".to_owned(), json(serde_json::to_string(&self.paths))?),
            ("errors".to_owned(), json(serde_json::to_string(&self.errors))?),
            ("seconds_of_speech".to_owned(), json(serde_json::to_string(&self.seconds_of_speech))?),
            ("fingerprint".to_owned(), self.fingerprint.clone()),
        ]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| unwritable(error.to_string()))?;
        Ok(write_whole(path, |out| out.write_all(&bytes))?)
    }

    /// Reads a table back.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Table`] says what is missing or does not fit.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
        Self::parse(&bytes).map_err(|message| Error::Table { path: path.into(), message })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().clone().ok_or("no metadata")?;
        let text = |key: &str| metadata.get(key).map(String::as_str).ok_or(format!("no `{key}` in its metadata"));
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let tensor = file.tensor("embeddings").map_err(|error| error.to_string())?;
        let [rows, embedding_size] = *tensor.shape() else {
            return Err(format!("`embeddings` has shape {:?}, not (n, D)", tensor.shape()));
        };
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("`embeddings` is {:?}, not F32", tensor.dtype()));
        }
        let malformed = |key: &str, error: serde_json::Error| format!("`{key}` in its metadata: {error}");
        let table = Self {
            paths: serde_json::from_str(text("paths")?).map_err(|error| malformed("paths", error))?,
            errors: serde_json::from_str(text("errors")?).map_err(|error| malformed("errors", error))?,
            seconds_of_speech: serde_json::from_str(text("seconds_of_speech")?)
                .map_err(|error| malformed("seconds_of_speech", error))?,
            embedding_size,
            values: tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            fingerprint: text("fingerprint")?.to_owned(),
        };
        if table.paths.len() != rows || table.seconds_of_speech.len() != rows {
            return Err(format!("{rows} rows, {} paths, {} times", table.paths.len(), table.seconds_of_speech.len()));
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_as_it_was_saved_failures_included() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.safetensors");
        let failed = Err(Error::NothingToDo { origin: "b".into() });
        let mut table = EmbeddingTable::new(2, "f".into());
        table.push("b.wav".into(), &failed);
        table.append(EmbeddingTable {
            paths: vec!["a \"quoted\" ü.wav".into()],
            embedding_size: 2,
            values: vec![0.5, -1.0],
            seconds_of_speech: vec![1.25],
            errors: BTreeMap::new(),
            fingerprint: "f".into(),
        });
        table.save(&path).unwrap();
        let back = EmbeddingTable::load(&path).unwrap();
        assert_eq!(back, table);
        assert_eq!((back.row(0), back.row(1)), (None, Some([0.5, -1.0].as_slice())));
    }

    #[test]
    fn a_file_that_is_no_table_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.safetensors");
        std::fs::write(&path, b"nothing of the kind").unwrap();
        assert!(matches!(EmbeddingTable::load(&path), Err(Error::Table { .. })));
        assert!(matches!(EmbeddingTable::load(folder.path()), Err(Error::Read { .. })));
    }
}
