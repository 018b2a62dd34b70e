//! The generalised end-to-end loss (GE2E): each utterance near the centroid of its speaker, far from those of the others.

mod parts;
mod tensorflow;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use sv_kernels::ops;

use crate::{Labels, LossError, Objective, Parameter};
use parts::Grid;

pub use tensorflow::{Ge2eTf, Ge2eTfOptions};

/// The two losses of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Cross entropy of the similarities over speakers (eq. 6); the paper's choice without a fixed text.
    #[default]
    Softmax,
    /// One minus the sigmoid of the own similarity plus that of the most similar other speaker (eq. 7).
    Contrast,
}

/// What an utterance's own speaker is represented by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Centroids {
    /// The mean of the speaker's other utterances (eqs. 8 and 9).
    #[default]
    LeaveOneOut,
    /// The mean of all of them (eq. 1).
    All,
}

/// What the centroids are means of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embeddings {
    /// Of embeddings brought to length one (eq. 4).
    #[default]
    Unit,
    /// Of embeddings as they come; longer ones count more.
    Raw,
}

/// How the terms, one an utterance, become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their sum (eq. 10): the step grows with the batch.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// The form of the loss; the default is the paper's, with softmax.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ge2eOptions {
    /// Softmax or contrast.
    pub variant: Variant,
    /// Own utterance left out of the own centroid, or not.
    pub centroids: Centroids,
    /// Unit or raw embeddings in the centroids.
    pub embeddings: Embeddings,
    /// Sum or mean over utterances.
    pub reduction: Reduction,
    /// Scale of the cosines at the start; at least 1e-6.
    pub w: f64,
    /// Offset of the cosines at the start.
    pub b: f64,
}

impl Default for Ge2eOptions {
    fn default() -> Self {
        Self {
            variant: Variant::default(),
            centroids: Centroids::default(),
            embeddings: Embeddings::default(),
            reduction: Reduction::default(),
            w: 10.0,
            b: -5.0,
        }
    }
}

/// GE2E as the paper defines it.
///
/// The similarity of utterance i of speaker j to speaker k is `w cos(e_ji, c_k) + b`, with the centroid `c_k` by
/// [`Centroids`] and [`Embeddings`]. `w` and `b` are trained with the encoder, as `ge2e.w` and `ge2e.b`; after each step `w`
/// is brought back to 1e-6 where a step took it below (the paper asks for w > 0).
///
/// A vector of zeros has no direction: the cosine with it is 0, and no gradient flows through that cosine. So is taken an
/// embedding, or a centroid whose utterances cancel, that is shorter than 1e-15 in f32 (1e-100 in f64), where the squares no
/// longer carry its length. What is not a number stays so, up to the loss. Where several other speakers are equally
/// similar, contrast takes the first.
///
/// # Source
/// Wan et al. 2018, "Generalized end-to-end loss for speaker verification", eqs. 1 and 4 to 10.
#[derive(Debug)]
pub struct Ge2e {
    options: Ge2eOptions,
    w: Var,
    b: Var,
}

impl Ge2e {
    /// The least `w` after a step.
    pub const LEAST_W: f64 = 1e-6;

    /// The loss for embeddings of type `dtype`, f32 or f64, on `device`.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] for `w` below [`Self::LEAST_W`] or a `w` or `b` that is not finite;
    /// [`LossError::DataType`] for other types.
    pub fn new(options: Ge2eOptions, dtype: DType, device: &Device) -> Result<Self, LossError> {
        if !(options.w.is_finite() && options.w >= Self::LEAST_W) {
            return Err(LossError::InvalidOption { option: "w", got: options.w, need: "finite and at least 1e-6" });
        }
        let (w, b) = (scalar("w", options.w, dtype, device)?, scalar("b", options.b, dtype, device)?);
        Ok(Self { options, w, b })
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &Ge2eOptions {
        &self.options
    }

    /// Similarity of each utterance to each speaker, (N M, N), differentiable.
    ///
    /// `embeddings`: (N M, D), the M utterances of the first speaker first.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::DataType`], [`LossError::TooFewSpeakers`] for N below 2 and
    /// [`LossError::TooFewUtterances`] for M below 2, or below 1 with [`Centroids::All`].
    pub fn similarity(&self, embeddings: &Tensor, n: usize, m: usize) -> Result<Tensor, LossError> {
        self.similarity_on(&self.grid(n, m, embeddings)?, embeddings)
    }

    fn grid(&self, n: usize, m: usize, embeddings: &Tensor) -> Result<Grid, LossError> {
        let least = match self.options.centroids {
            Centroids::LeaveOneOut => 2,
            Centroids::All => 1,
        };
        Grid::new(n, m, least, embeddings, &self.w)
    }

    fn similarity_on(&self, grid: &Grid, embeddings: &Tensor) -> Result<Tensor, LossError> {
        let unit = ops::unit_rows(embeddings)?;
        let counted = match self.options.embeddings {
            Embeddings::Unit => &unit,
            Embeddings::Raw => embeddings,
        };
        let sums = grid.sums(counted)?;
        let cosines = grid.products(&unit, &ops::unit_rows(&sums)?)?;
        let cosines = match self.options.centroids {
            Centroids::All => cosines,
            Centroids::LeaveOneOut => {
                let own = ops::unit_rows(&grid.without_own(counted, &sums)?)?;
                grid.with_own(&cosines, &(unit * own)?.sum(1)?)?
            }
        };
        Ok(cosines.broadcast_mul(&self.w)?.broadcast_add(&self.b)?)
    }
}

impl Objective for Ge2e {
    /// As [`Objective::loss`]; the rows have to be arranged, see [`Labels::arrangement`], but with [`Centroids::All`], which is
    /// defined for any numbers of utterances in any order.
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let grid = match (labels.arrangement(), self.options.centroids) {
            (Ok((n, m)), _) => self.grid(n, m, embeddings)?,
            (Err(_), Centroids::All) => Grid::ragged(labels, embeddings, &self.w)?,
            (Err(error), Centroids::LeaveOneOut) => return Err(error),
        };
        let similarity = self.similarity_on(&grid, embeddings)?;
        let terms = match self.options.variant {
            Variant::Softmax => grid.cross_entropy(&similarity, 0.0)?,
            Variant::Contrast => grid.contrast(&similarity)?,
        };
        Ok(match self.options.reduction {
            Reduction::Sum => terms.sum_all()?,
            Reduction::Mean => terms.mean_all()?,
        })
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("ge2e.w", self.w.clone()), Parameter::new("ge2e.b", self.b.clone())]
    }

    fn after_step(&mut self, _embeddings: &Tensor, _labels: &Labels) -> Result<(), LossError> {
        let w = self.w.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if w < Self::LEAST_W {
            self.w.set(&Tensor::new(Self::LEAST_W, self.w.device())?.to_dtype(self.w.dtype())?)?;
        }
        Ok(())
    }
}

/// A variable without axes.
fn scalar(option: &'static str, value: f64, dtype: DType, device: &Device) -> Result<Var, LossError> {
    if !value.is_finite() {
        return Err(LossError::InvalidOption { option, got: value, need: "finite" });
    }
    if !matches!(dtype, DType::F32 | DType::F64) {
        return Err(LossError::DataType { what: "the loss", got: dtype, need: "f32 or f64" });
    }
    Ok(Var::from_tensor(&Tensor::new(value, device)?.to_dtype(dtype)?)?)
}
