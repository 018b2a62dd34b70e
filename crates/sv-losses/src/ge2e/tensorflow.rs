//! GE2E as a published TensorFlow implementation computes it, for comparison with what was trained by it.

use candle_core::{D, DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::parts::Grid;
use super::{Variant, scalar};
use crate::{Labels, LossError, Objective, Parameter};

/// Under the roots and inside the logarithm.
const EPSILON: f64 = 1e-6;

/// Options of [`Ge2eTf`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ge2eTfOptions {
    /// Softmax or contrast.
    pub variant: Variant,
    /// Scale of the inner products at the start; its sign does not count.
    pub w: f64,
    /// Their offset at the start.
    pub b: f64,
}

impl Default for Ge2eTfOptions {
    fn default() -> Self {
        Self { variant: Variant::default(), w: 10.0, b: -5.0 }
    }
}

/// The loss of the TensorFlow code: as [`Ge2e`](super::Ge2e) with the own utterance left out and unit embeddings, summed over
/// utterances, but
///
/// - a vector x is divided by `sqrt(|x|^2 + 1e-6)`: embeddings, means of a speaker's utterances, and SUMS of a speaker's other
///   utterances. A vector of zeros stays zero and has a finite gradient;
/// - the scale is `|w|`, and nothing keeps `w` positive. At `w` = 0 its gradient is 0;
/// - softmax is `-(S_own - ln(sum_k exp S_k + 1e-6))`. The code overflows there in f32 for S above 88; here the largest
///   exponent is taken out of the whole logarithm first, which is the same function and finite for every finite S.
///
/// # Source
/// Janghyun1230/Speaker_Verification, `utils.py`, of Wan et al. 2018.
#[derive(Debug)]
pub struct Ge2eTf {
    options: Ge2eTfOptions,
    w: Var,
    b: Var,
}

impl Ge2eTf {
    /// The loss for embeddings of type `dtype`, f32 or f64, on `device`.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] for a `w` or `b` that is not finite, [`LossError::DataType`] for other types.
    pub fn new(options: Ge2eTfOptions, dtype: DType, device: &Device) -> Result<Self, LossError> {
        let (w, b) = (scalar("w", options.w, dtype, device)?, scalar("b", options.b, dtype, device)?);
        Ok(Self { options, w, b })
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &Ge2eTfOptions {
        &self.options
    }

    /// Similarity of each utterance to each speaker, (N M, N), differentiable.
    ///
    /// `embeddings`: (N M, D), the M utterances of the first speaker first.
    ///
    /// # Errors
    /// [`LossError::Shape`], [`LossError::DataType`], [`LossError::TooFewSpeakers`] for N below 2 and
    /// [`LossError::TooFewUtterances`] for M below 2.
    pub fn similarity(&self, embeddings: &Tensor, n: usize, m: usize) -> Result<Tensor, LossError> {
        self.similarity_on(&Grid::new(n, m, 2, embeddings, &self.w)?, embeddings, m)
    }

    fn similarity_on(&self, grid: &Grid, embeddings: &Tensor, m: usize) -> Result<Tensor, LossError> {
        let unit = shortened(embeddings)?;
        let sums = grid.sums(&unit)?;
        let products = grid.products(&unit, &shortened(&(&sums / m as f64)?)?)?;
        let rest = shortened(&grid.without_own(&unit, &sums)?)?;
        let products = grid.with_own(&products, &(unit * rest)?.sum(1)?)?;
        let scale = (self.w.as_tensor() * self.w.detach().sign()?)?;
        Ok(products.broadcast_mul(&scale)?.broadcast_add(&self.b)?)
    }
}

impl Objective for Ge2eTf {
    /// As [`Objective::loss`]; the rows have to be arranged, see [`Labels::arrangement`].
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let (n, m) = labels.arrangement()?;
        let grid = Grid::new(n, m, 2, embeddings, &self.w)?;
        let similarity = self.similarity_on(&grid, embeddings, m)?;
        let terms = match self.options.variant {
            Variant::Softmax => grid.cross_entropy(&similarity, EPSILON)?,
            // The code sets own entries to 0 before the maximum; a sigmoid is never below, so they never win.
            Variant::Contrast => grid.contrast(&similarity)?,
        };
        Ok(terms.sum_all()?)
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![Parameter::new("ge2e.w", self.w.clone()), Parameter::new("ge2e.b", self.b.clone())]
    }
}

/// Rows divided by a little more than their length.
fn shortened(rows: &Tensor) -> candle_core::Result<Tensor> {
    rows.broadcast_div(&(rows.sqr()?.sum_keepdim(D::Minus1)? + EPSILON)?.sqrt()?)
}
