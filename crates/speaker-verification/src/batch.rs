//! The operations that SpeechBrain's inference classes have, under their names: batches of waves, classes, verdicts.
//!
//! A row of a batch gets what its utterance gets alone: padding is cut off before anything is computed. SpeechBrain's own
//! batches let it in, and so does the one operation that is named after it.

#[cfg(feature = "decode")]
use std::path::Path;

use ndarray::{Array2, Array3, ArrayView2};
use sv_audio::Waveform;
use sv_audio::frontend::{Cmn, FeatureExtractor};
use sv_models::Classification;

use crate::recognition::Prepared;
use crate::{Error, SpeakerRecognition, Utterance, Verification};

impl SpeakerRecognition {
    /// Embeds waves that were padded to one length: (B, n) samples at the front end's rate give (B, D) values, as the network
    /// gives them.
    ///
    /// `lengths`: the share of each row that is speech, in (0, 1]; all of it if absent. With `normalize` the model's mean of many
    /// embeddings is subtracted, as SpeechBrain's argument of that name does.
    ///
    /// # Errors
    /// [`Error::Lengths`] for a length out of range or another number of them than rows, [`Error::NothingToDo`] for an empty
    /// batch, [`Error::NoEmbeddingMean`], and those of [`Self::embed`].
    pub fn encode_batch(
        &self,
        waves: ArrayView2<'_, f32>,
        lengths: Option<&[f64]>,
        normalize: bool,
    ) -> Result<Array2<f32>, Error> {
        let utterances = self.embed_rows(waves, lengths)?;
        let size = self.description().embedding_size;
        let mut values = Vec::with_capacity(utterances.len() * size);
        for utterance in &utterances {
            values.extend_from_slice(utterance.embedding.values());
        }
        if normalize {
            self.subtract_mean(&mut values)?;
        }
        Ok(Array2::from_shape_vec((utterances.len(), size), values).expect("a row of D values for each utterance"))
    }

    /// Embeds a padded batch as SpeechBrain does, padding and all: features of each whole row, their mean taken off over the share
    /// that is speech, convolutions over all frames, statistics over those that count. A row's embedding then depends on how
    /// far it was padded; [`Self::encode_batch`] has no such flaw. Nothing is cut off by a detector of speech.
    ///
    /// # Errors
    /// Those of [`Self::encode_batch`]; [`Error::Model`] for models that are not SpeechBrain's.
    pub fn encode_batch_as_speechbrain(
        &self,
        waves: ArrayView2<'_, f32>,
        lengths: Option<&[f64]>,
        normalize: bool,
    ) -> Result<Array2<f32>, Error> {
        let (rows, _) = waves.dim();
        check_lengths(rows, lengths)?;
        let mut front_end = self.description().front_end.clone();
        let subtracts = front_end.cmn.take() == Some(Cmn::Utterance);
        let rate_hz = front_end.rate_hz;
        let extractor = FeatureExtractor::new(&front_end)?;
        let shares: Vec<f32> = (0..rows).map(|row| lengths.map_or(1.0, |lengths| lengths[row] as f32)).collect();
        let (mut values, mut frames) = (Vec::new(), 0);
        for (wave, &share) in waves.outer_iter().zip(&shares) {
            let mut features = extractor.features(&Waveform::new(wave.to_vec(), rate_hz)?)?.into_inner();
            frames = features.nrows();
            if subtracts {
                let counted = ((share * frames as f32).round_ties_even() as usize).clamp(1, frames.max(1));
                for mut column in features.columns_mut() {
                    let mean = column.iter().take(counted).map(|&value| f64::from(value)).sum::<f64>() / counted as f64;
                    column.iter_mut().for_each(|value| *value -= mean as f32);
                }
            }
            values.extend(features);
        }
        let batch =
            Array3::from_shape_vec((rows, frames, front_end.bins()), values).expect("T frames of F values a row");
        let mut embeddings = self.plan.embed_padded_as_speechbrain(batch.view(), &shares)?;
        if normalize {
            self.subtract_mean(embeddings.as_slice_mut().unwrap_or_default())?;
        }
        Ok(embeddings)
    }

    /// Compares rows of two batches, the first with the first and so on; see [`Self::encode_batch`].
    ///
    /// # Errors
    /// Those of [`Self::encode_batch`], [`Error::Rows`] for another number of rows, and those of [`Self::compare`].
    pub fn verify_batch(
        &self,
        a: ArrayView2<'_, f32>,
        b: ArrayView2<'_, f32>,
        a_lengths: Option<&[f64]>,
        b_lengths: Option<&[f64]>,
    ) -> Result<Vec<Verification>, Error> {
        if a.nrows() != b.nrows() {
            return Err(Error::Rows { a: a.nrows(), b: b.nrows() });
        }
        let (a, b) = (self.embed_rows(a, a_lengths)?, self.embed_rows(b, b_lengths)?);
        a.iter().zip(&b).map(|(a, b)| self.compare(&a.embedding, &b.embedding)).collect()
    }

    /// Which of the speakers of the model's training a recording is most like.
    ///
    /// # Errors
    /// [`Error::NoClassifier`] for a model without one, and those of [`Self::embed`].
    pub fn classify(&self, wave: &Waveform) -> Result<Classification, Error> {
        self.class_of(&self.embed(wave)?)
    }

    /// The same for a file.
    ///
    /// # Errors
    /// [`Error::NoClassifier`], and those of [`Self::embed_file`].
    #[cfg(feature = "decode")]
    pub fn classify_file(&self, path: impl AsRef<Path>) -> Result<Classification, Error> {
        self.class_of(&self.embed_file(path)?)
    }

    /// The same for each row of a batch; see [`Self::encode_batch`].
    ///
    /// # Errors
    /// [`Error::NoClassifier`], and those of [`Self::encode_batch`].
    pub fn classify_batch(
        &self,
        waves: ArrayView2<'_, f32>,
        lengths: Option<&[f64]>,
    ) -> Result<Vec<Classification>, Error> {
        self.embed_rows(waves, lengths)?.iter().map(|utterance| self.class_of(utterance)).collect()
    }

    /// The class of an utterance that is embedded already.
    ///
    /// # Errors
    /// [`Error::NoClassifier`]; [`Error::Model`] if the embedding is another model's.
    pub fn class_of(&self, utterance: &Utterance) -> Result<Classification, Error> {
        let classifier = self.classifier().ok_or(Error::NoClassifier)?;
        Ok(classifier.classify(utterance.embedding.values())?)
    }

    /// From each row of D values the mean of many embeddings that the model came with.
    fn subtract_mean(&self, values: &mut [f32]) -> Result<(), Error> {
        let mean = self.embedding_mean().ok_or(Error::NoEmbeddingMean)?;
        for row in values.chunks_exact_mut(mean.len()) {
            row.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
        }
        Ok(())
    }

    fn embed_rows(&self, waves: ArrayView2<'_, f32>, lengths: Option<&[f64]>) -> Result<Vec<Utterance>, Error> {
        let (rows, samples) = waves.dim();
        check_lengths(rows, lengths)?;
        let rate_hz = self.description().front_end.rate_hz;
        let prepared = waves.outer_iter().enumerate().map(|(row, wave)| {
            let length = lengths.map_or(1.0, |lengths| lengths[row]);
            let taken = (length * samples as f64).round_ties_even() as usize;
            let wave = Waveform::new(wave.iter().take(taken).copied().collect(), rate_hz)?;
            self.prepare(&wave)
        });
        let prepared = prepared.collect::<Result<Vec<Prepared>, Error>>()?;
        self.embed_prepared(prepared).into_iter().collect()
    }
}

/// A batch has rows, and one length each if any.
fn check_lengths(rows: usize, lengths: Option<&[f64]>) -> Result<(), Error> {
    if rows == 0 {
        return Err(Error::NothingToDo { origin: "a batch".to_owned() });
    }
    match lengths {
        Some(lengths) if lengths.len() != rows || lengths.iter().any(|length| !(*length > 0.0 && *length <= 1.0)) => {
            Err(Error::Lengths { rows, got: lengths.to_vec() })
        }
        _ => Ok(()),
    }
}
