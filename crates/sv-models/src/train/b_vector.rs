//! The b-vector network, trained: two embeddings in, the logits of "different" and "same" out.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};
use sv_kernels::ops;

use super::parts::Parts;
use crate::pair::{BVectorConfig, Difference, Length};
use crate::weights::{Weight, Weights};
use crate::{BVector, Fingerprint, ModelError};

/// A b-vector network over variables.
#[derive(Debug)]
pub struct BVectorNetwork {
    config: BVectorConfig,
    parts: Parts,
}

impl BVectorNetwork {
    /// Puts `tensors`, named as [`BVectorConfig::tensors`] says, on `device`, as f32 or f64.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`] and its kin, [`ModelError::Tensor`].
    pub fn new(
        config: &BVectorConfig,
        tensors: BTreeMap<String, Weight>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let weights = Weights::exactly("initial weights", &config.tensors(), tensors)?;
        Ok(Self { config: config.clone(), parts: Parts::new(&weights, dtype, device)? })
    }

    /// Logits of "different" and "same", (B, 2), of the pairs that the rows of `first` and `second` (B, D) make, in this order.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    pub fn logits(&self, first: &Tensor, second: &Tensor) -> Result<Tensor, ModelError> {
        let (first, second) = (&self.brought_to_length(first)?, &self.brought_to_length(second)?);
        let difference = (first - second)?;
        let difference = match self.config.difference {
            Difference::Signed => difference,
            // By its sign: candle's own magnitude has a slope at 0.
            Difference::Absolute => (&difference * difference.detach().sign()?)?,
        };
        let mut x = Tensor::cat(&[(first + second)?, difference, (first * second)?], 1)?;
        for layer in 0..=self.config.hidden.len() {
            if layer > 0 {
                x = ops::leaky_relu(&x, self.config.slope)?;
            }
            x = self.parts.linear(&format!("fc{layer}"), &x)?;
        }
        Ok(x)
    }

    fn brought_to_length(&self, embeddings: &Tensor) -> Result<Tensor, ModelError> {
        Ok(match self.config.length {
            Length::AsGiven => embeddings.clone(),
            Length::RootD => ops::unit_rows(embeddings)?.affine((self.config.embedding as f64).sqrt(), 0.0)?,
        })
    }

    /// Cross entropy of `logits` (B, 2), summed over the pairs; `same`: (B), 1 where a pair is of one speaker, else 0, of the
    /// logits' type.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    pub fn cross_entropy(logits: &Tensor, same: &Tensor) -> Result<Tensor, ModelError> {
        let ahead = (logits.narrow(1, 1, 1)? - logits.narrow(1, 0, 1)?)?.squeeze(D::Minus1)?;
        // ln(1 + e^-x) of how far the right output is ahead, x: the larger of 0 and -x comes out of the logarithm first, so that
        // nothing overflows.
        let behind = (ahead * same.affine(-2.0, 1.0)?)?;
        let most = ops::relu(&behind)?;
        let small = behind.gt(0.0)?.where_cond(&behind.neg()?, &behind)?;
        Ok((most + (small.exp()? + 1.0)?.log()?)?.sum_all()?)
    }

    /// The trainable tensors by our names.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.parts.variables
    }

    /// The network as it stands, ready to score embeddings of `model`.
    ///
    /// # Errors
    /// [`ModelError::TensorNotFinite`] if training has left a value that is no number.
    pub fn compiled(&self, model: Fingerprint) -> Result<BVector, ModelError> {
        BVector::new("trained weights", &self.config, model, self.parts.values()?)
    }
}
