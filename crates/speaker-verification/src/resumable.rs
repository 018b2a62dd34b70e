//! A long list embedded in batches that survive an interruption: finished ones lie in `OUT.part/` as whole files and are
//! joined at the end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::table::EmbeddingTable;
use crate::{Error, SpeakerRecognition};

/// Files in a batch: what an interruption costs at most.
const BATCH: usize = 256;

/// What the batches in `OUT.part/` belong to. Another run's are never mixed in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    fingerprint: String,
    vad: String,
    paths: Vec<String>,
}

impl SpeakerRecognition {
    /// Embeds `files` and writes the table to `out`. Batches that an interrupted run of the same call left are kept.
    ///
    /// # Errors
    /// [`Error::OtherRun`] if `OUT.part/` holds batches of another list, model or VAD; [`Error::Write`], [`Error::Model`]
    /// for files that cannot be written. A recording that fails is no error here: its row says so.
    pub fn embed_to_table<F>(&self, files: &[PathBuf], out: &Path, finished: F) -> Result<EmbeddingTable, Error>
    where
        F: Fn(usize) + Sync,
    {
        let parts = parts_of(out);
        self.claim(&parts, files)?;
        let mut whole = EmbeddingTable::new(self.description().embedding_size, self.fingerprint().to_string());
        for (number, batch) in files.chunks(BATCH).enumerate() {
            let path = parts.join(format!("batch-{number:06}.safetensors"));
            let table = if path.is_file() {
                let table = EmbeddingTable::load(&path)?;
                finished(batch.len());
                table
            } else {
                let table = self.embed_batch(batch, &finished);
                table.save(&path)?;
                table
            };
            whole.append(table);
        }
        whole.save(out)?;
        std::fs::remove_dir_all(&parts).map_err(|source| Error::Write { path: parts, source })?;
        Ok(whole)
    }

    fn embed_batch<F: Fn(usize) + Sync>(&self, files: &[PathBuf], finished: F) -> EmbeddingTable {
        let mut table = EmbeddingTable::new(self.description().embedding_size, self.fingerprint().to_string());
        for (file, result) in files.iter().zip(self.embed_files(files, finished)) {
            table.push(file.display().to_string(), &result);
        }
        table
    }

    /// Makes the folder of finished batches this run's own, or finds that it already is.
    fn claim(&self, parts: &Path, files: &[PathBuf]) -> Result<(), Error> {
        let run = Run {
            fingerprint: self.fingerprint().to_string(),
            vad: format!("{:?}", self.description().front_end.vad),
            paths: files.iter().map(|file| file.display().to_string()).collect(),
        };
        let path = parts.join("run.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            let earlier: Run =
                serde_json::from_str(&text).map_err(|error| Error::Table { path, message: error.to_string() })?;
            return match run.differs_from(&earlier) {
                Some(differs) => Err(Error::OtherRun { path: parts.into(), differs }),
                None => Ok(()),
            };
        }
        std::fs::create_dir_all(parts).map_err(|source| Error::Write { path: parts.into(), source })?;
        let text = serde_json::to_string(&run).expect("names are always JSON");
        Ok(sv_models::checkpoint::write_whole(&path, |out| out.write_all(text.as_bytes()))?)
    }
}

impl Run {
    fn differs_from(&self, other: &Self) -> Option<&'static str> {
        [
            ("the model", self.fingerprint == other.fingerprint),
            ("the VAD", self.vad == other.vad),
            ("the list of files", self.paths == other.paths),
        ]
        .into_iter()
        .find_map(|(what, same)| (!same).then_some(what))
    }
}

/// `OUT.part`, beside `out`.
fn parts_of(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    out.with_file_name(name)
}
