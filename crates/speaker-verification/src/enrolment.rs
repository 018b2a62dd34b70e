//! A speaker as known from several utterances.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sv_models::checkpoint::write_whole;
use sv_models::{Embedding, Fingerprint, ModelError};

use crate::Error;

/// The version of the file that this crate writes, and the only one it reads.
const FORMAT: u32 = 1;
/// The largest file that is read: 16,384 values take less than 400 kB.
const LARGEST: u64 = 1 << 20;

/// A speaker as known from one utterance or more: the mean of their embeddings, each brought to length 1 first, so that no
/// utterance counts more than another.
///
/// Saved as JSON of a few kB: `format`, `model` (the fingerprint), `utterances` (their number) and `embedding` (the mean).
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    mean: Vec<f64>,
    utterances: usize,
    fingerprint: Fingerprint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AsSaved {
    format: u32,
    model: String,
    utterances: usize,
    embedding: Vec<f64>,
}

impl Enrolment {
    /// Begins with one utterance.
    ///
    /// # Errors
    /// [`Error::Model`] if the embedding is all zeros: it has no direction.
    pub fn new(first: &Embedding) -> Result<Self, Error> {
        let mut enrolment =
            Self { mean: vec![0.0; first.values().len()], utterances: 0, fingerprint: first.fingerprint() };
        enrolment.add(first)?;
        Ok(enrolment)
    }

    /// Adds an utterance.
    ///
    /// # Errors
    /// [`Error::Model`] if another model made the embedding, or it is all zeros; the enrolment stays as it was.
    pub fn add(&mut self, embedding: &Embedding) -> Result<(), Error> {
        if embedding.fingerprint() != self.fingerprint {
            let (left, right) = (self.fingerprint.short(), embedding.fingerprint().short());
            return Err(ModelError::ForeignEmbedding { left, right }.into());
        }
        let square: f64 = embedding.values().iter().map(|&value| f64::from(value).powi(2)).sum();
        if square == 0.0 {
            // The same word for it as a comparison would have.
            embedding.cosine(embedding)?;
        }
        let (norm, before) = (square.sqrt(), self.utterances as f64);
        for (mean, &value) in self.mean.iter_mut().zip(embedding.values()) {
            *mean = (*mean * before + f64::from(value) / norm) / (before + 1.0);
        }
        self.utterances += 1;
        Ok(())
    }

    /// The utterances that it is made of.
    #[must_use]
    pub fn utterances(&self) -> usize {
        self.utterances
    }

    /// The model whose embeddings it is made of.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The speaker's embedding: compare it as that of an utterance.
    ///
    /// # Errors
    /// Never for one that was made by [`Self::add`] and [`Self::load`], which refuse what is not finite.
    pub fn embedding(&self) -> Result<Embedding, Error> {
        Ok(Embedding::new(self.mean.iter().map(|&value| value as f32).collect(), self.fingerprint)?)
    }

    /// Writes it whole: beside its place, then renamed.
    ///
    /// # Errors
    /// [`Error::Model`] with the path if it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let saved = AsSaved {
            format: FORMAT,
            model: self.fingerprint.to_string(),
            utterances: self.utterances,
            embedding: self.mean.clone(),
        };
        let bytes = serde_json::to_vec(&saved).map_err(|error| malformed(path, error.to_string()))?;
        Ok(write_whole(path, |out| out.write_all(&bytes))?)
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Enrolment`] says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Read { path: path.into(), source };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > LARGEST {
            return Err(malformed(path, format!("{size} bytes; at most {LARGEST} are read")));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let saved: AsSaved = serde_json::from_slice(&bytes).map_err(|error| malformed(path, error.to_string()))?;
        if saved.format != FORMAT {
            return Err(malformed(path, format!("format {}; this version reads {FORMAT}", saved.format)));
        }
        let fingerprint = saved.model.parse().map_err(|error| malformed(path, format!("`model`: {error}")))?;
        // As f32, in which it is compared; a mean of unit vectors is no longer than one.
        let sound = saved.embedding.iter().all(|value| value.abs() <= 1.0);
        if saved.utterances == 0 || saved.embedding.is_empty() || !sound {
            let message = "it needs at least one utterance, and values from -1 to 1".to_owned();
            return Err(malformed(path, message));
        }
        Ok(Self { mean: saved.embedding, utterances: saved.utterances, fingerprint })
    }
}

fn malformed(path: &Path, message: String) -> Error {
    Error::Enrolment { path: path.into(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::new(values.to_vec(), MODEL.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_utterance_counts_alike_however_long_its_embedding() {
        let mut enrolment = Enrolment::new(&embedding(&[3.0, 0.0])).unwrap();
        enrolment.add(&embedding(&[0.0, 0.5])).unwrap();
        assert_eq!(enrolment.utterances(), 2);
        assert_eq!(enrolment.embedding().unwrap().values(), [0.5, 0.5]);
    }

    #[test]
    fn it_comes_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speaker.json");
        let mut enrolment = Enrolment::new(&embedding(&[0.3, -0.7, 0.2])).unwrap();
        enrolment.add(&embedding(&[0.1, -0.9, 0.5])).unwrap();
        enrolment.save(&path).unwrap();
        assert_eq!(Enrolment::load(&path).unwrap(), enrolment);
    }

    #[test]
    fn embeddings_of_another_model_and_of_no_direction_are_refused_and_change_nothing() {
        let mut enrolment = Enrolment::new(&embedding(&[1.0, 0.0])).unwrap();
        let before = enrolment.clone();
        let other = Embedding::new(vec![1.0, 0.0], MODEL.replace("00", "ff").parse().unwrap()).unwrap();
        assert!(matches!(enrolment.add(&other), Err(Error::Model(ModelError::ForeignEmbedding { .. }))));
        assert!(matches!(enrolment.add(&embedding(&[0.0, 0.0])), Err(Error::Model(ModelError::Score(_)))));
        assert_eq!(enrolment, before);
        assert!(Enrolment::new(&embedding(&[0.0, 0.0])).is_err());
    }

    #[test]
    fn damaged_files_are_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speaker.json");
        let sound = format!(r#"{{"format":1,"model":"{MODEL}","utterances":2,"embedding":[0.5,0.5]}}"#);
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            (MODEL, "0011"),
            (MODEL, "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
            ("\"utterances\":2", "\"utterances\":0"),
            ("[0.5,0.5]", "[]"),
            ("[0.5,0.5]", "[0.5,1e9]"),
            ("[0.5,0.5]", "[0.5,null]"),
            ("\"utterances\"", "\"utterance\""),
            ("}", ""),
        ] {
            assert!(sound.contains(from));
            std::fs::write(&path, sound.replacen(from, to, 1)).unwrap();
            let error = Enrolment::load(&path).unwrap_err();
            assert!(matches!(error, Error::Enrolment { .. }), "{to}: {error}");
        }
        std::fs::write(&path, vec![b' '; LARGEST as usize + 1]).unwrap();
        assert!(matches!(Enrolment::load(&path), Err(Error::Enrolment { .. })));
        assert!(matches!(Enrolment::load(folder.path().join("no").as_path()), Err(Error::Read { .. })));
    }
}
