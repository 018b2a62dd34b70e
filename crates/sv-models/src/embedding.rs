//! What an encoder makes of an utterance, and the fingerprint of the model that made it.

use std::fmt;
use std::str::FromStr;

use sv_metrics::score;

use crate::ModelError;

/// SHA-256 over a model's architecture, front end and tensors: two models with the same fingerprint give the same
/// embeddings, whatever files they came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The first eight hexadecimal digits, for messages.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let refused = || NotAFingerprint { text: text.chars().take(80).collect() };
        let digits = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        if digits.0.len() != digest.len() || !digits.1.is_empty() {
            return Err(refused());
        }
        for (byte, pair) in digest.iter_mut().zip(digits.0) {
            let [Some(high), Some(low)] = pair.map(|digit| char::from(digit).to_digit(16)) else {
                return Err(refused());
            };
            *byte = (16 * high + low) as u8;
        }
        Ok(Self(digest))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no fingerprint of a model: 64 hexadecimal digits")]
pub struct NotAFingerprint {
    /// What it begins with.
    pub text: String,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// D finite values that stand for one utterance, and the model that made them.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    values: Vec<f32>,
    fingerprint: Fingerprint,
}

impl Embedding {
    /// Takes the values that the model with `fingerprint` gave.
    ///
    /// # Errors
    /// [`ModelError::EmbeddingNotFinite`] if a value is NaN or infinite: such an embedding has no score.
    pub fn new(values: Vec<f32>, fingerprint: Fingerprint) -> Result<Self, ModelError> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(ModelError::EmbeddingNotFinite { index, value: values[index] }),
            None => Ok(Self { values, fingerprint }),
        }
    }

    /// The D values, as the model gives them.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The model that made them.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Cosine with another embedding of the same model, in `[-1, 1]`; higher is more alike.
    ///
    /// # Errors
    /// [`ModelError::ForeignEmbedding`] if another model made the other one: their spaces have nothing in common;
    /// [`ModelError::Score`] if one of them is all zeros.
    pub fn cosine(&self, other: &Self) -> Result<f64, ModelError> {
        if self.fingerprint != other.fingerprint {
            return Err(ModelError::ForeignEmbedding {
                left: self.fingerprint.short(),
                right: other.fingerprint.short(),
            });
        }
        Ok(score::cosine(&self.values, &other.values)?)
    }
}
