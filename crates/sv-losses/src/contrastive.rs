//! The contrastive loss of pairs: those of one speaker drawn together, those of two pushed apart up to a margin.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};
use sv_kernels::ops;

use crate::{Embeddings, Labels, LossError, Objective, Reduction};

/// Which pairs of a batch count. "Nearest" and "farthest" are taken as given by the gradient; of equal distances the earlier
/// pair comes first, pairs (i, j) with i < j row by row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pairs {
    /// All.
    All {},
    /// For each row its farthest of the same speaker, if it has one, and its nearest of another.
    BatchHard {},
    /// All of one speaker, and the nearest of two.
    Nearest {
        /// How many of two speakers, 1 or more; where there are fewer, all.
        negatives: usize,
    },
    /// All of one speaker, and as many of two: half spread evenly over all of them, as random as the batch is, half spread
    /// evenly over the nearest.
    Balanced {
        /// Share of the pairs of two speakers that count as the nearest, in (0, 1]; Nagrani et al. 2017: 0.1.
        hardest: f64,
    },
}

/// Options of the contrastive loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastiveOptions {
    /// Distance up to which embeddings of two speakers are pushed apart, above 0.
    pub margin: f64,
    /// Distances between unit or raw embeddings.
    pub embeddings: Embeddings,
    /// Which pairs.
    pub pairs: Pairs,
    /// Sum or mean over the pairs that count.
    pub reduction: Reduction,
}

impl Default for ContrastiveOptions {
    fn default() -> Self {
        Self {
            margin: 1.0,
            embeddings: Embeddings::Unit,
            pairs: Pairs::Balanced { hardest: 0.1 },
            reduction: Reduction::Mean,
        }
    }
}

/// `0.5 d^2` for a pair of one speaker, `0.5 max(0, margin - d)^2` for one of two, with the Euclidean distance d.
///
/// Two equal embeddings have distance 0 and no direction to be pushed apart in: no gradient flows through their distance.
/// Nothing of its own is trained.
///
/// # Source
/// Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping", eqs. 3 and 4; the choice of
/// pairs is described in Nagrani et al. 2017, "VoxCeleb", section 5, in so far as it is.
#[derive(Debug)]
pub struct Contrastive {
    options: ContrastiveOptions,
}

/// The rows of a pair.
type Pair = (u32, u32);

impl Contrastive {
    /// The loss.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`].
    pub fn new(options: &ContrastiveOptions) -> Result<Self, LossError> {
        let positive = options.margin.is_finite() && options.margin > 0.0;
        if !positive {
            let need = "finite and above 0";
            return Err(LossError::InvalidOption { option: "margin", got: options.margin, need });
        }
        match options.pairs {
            Pairs::Nearest { negatives: 0 } => {
                Err(LossError::InvalidOption { option: "pairs.negatives", got: 0.0, need: "1 or more" })
            }
            Pairs::Balanced { hardest } if !(hardest > 0.0 && hardest <= 1.0) => {
                Err(LossError::InvalidOption { option: "pairs.hardest", got: hardest, need: "in (0, 1]" })
            }
            _ => Ok(Self { options: options.clone() }),
        }
    }

    /// The pairs that count, of one speaker and of two. `distances`: (B, B), row by row.
    fn choose(&self, distances: &[f64], labels: &Labels) -> Result<(Vec<Pair>, Vec<Pair>), LossError> {
        let speakers = labels.speakers();
        let rows = speakers.len();
        let at = |&(i, j): &Pair| distances[i as usize * rows + j as usize];
        let pairs = (0..rows as u32).flat_map(|i| (i + 1..rows as u32).map(move |j| (i, j)));
        let (same, mut other): (Vec<Pair>, Vec<Pair>) =
            pairs.partition(|&(i, j)| speakers[i as usize] == speakers[j as usize]);
        if same.is_empty() || other.is_empty() {
            return Err(LossError::NoPairs { rows, same: same.len(), other: other.len() });
        }
        // Stable: of equal distances the earlier pair.
        let nearest = |pairs: &mut Vec<Pair>| pairs.sort_by(|a, b| at(a).total_cmp(&at(b)));
        Ok(match self.options.pairs {
            Pairs::All {} => (same, other),
            Pairs::Nearest { negatives } => {
                nearest(&mut other);
                other.truncate(negatives);
                (same, other)
            }
            Pairs::Balanced { hardest } => {
                let count = same.len().min(other.len());
                let mut chosen = spread(&other, count - count / 2);
                nearest(&mut other);
                let hard = (other.len() as f64 * hardest).ceil() as usize;
                chosen.extend(spread(&other[..hard.clamp(count / 2, other.len())], count / 2));
                (same, chosen)
            }
            Pairs::BatchHard {} => {
                let all = |i: u32| (0..rows as u32).filter(move |&j| j != i).map(move |j| (i, j));
                let is_same = |&(i, j): &Pair| speakers[i as usize] == speakers[j as usize];
                let far = |i: u32| {
                    all(i).filter(is_same).reduce(|best, next| if at(&next) > at(&best) { next } else { best })
                };
                let near = |i: u32| {
                    let others = all(i).filter(|pair| !is_same(pair));
                    others.reduce(|best, next| if at(&next) < at(&best) { next } else { best })
                };
                ((0..rows as u32).filter_map(far).collect(), (0..rows as u32).filter_map(near).collect())
            }
        })
    }
}

/// `count` of the pairs at equal steps, the first of them first.
fn spread(pairs: &[Pair], count: usize) -> Vec<Pair> {
    (0..count).map(|index| pairs[index * pairs.len() / count]).collect()
}

/// Squared distances of the pairs, (P), differentiable.
fn squares(rows: &Tensor, pairs: &[Pair]) -> candle_core::Result<Tensor> {
    let pick = |side: fn(&Pair) -> u32| -> candle_core::Result<Tensor> {
        let places: Vec<u32> = pairs.iter().map(side).collect();
        rows.index_select(&Tensor::from_vec(places, pairs.len(), rows.device())?, 0)
    };
    (pick(|pair| pair.0)? - pick(|pair| pair.1)?)?.sqr()?.sum(D::Minus1)
}

/// The root, 0 and without a gradient where there is nothing under it.
fn root(squares: &Tensor) -> candle_core::Result<Tensor> {
    let zero = squares.le(0.0)?;
    let ones = squares.ones_like()?;
    let kept = zero.where_cond(&squares.zeros_like()?, &ones)?;
    zero.where_cond(&ones, squares)?.sqrt()? * kept
}

impl Objective for Contrastive {
    /// As [`Objective::loss`]; the batch needs two rows of one speaker and two speakers, see [`LossError::NoPairs`].
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let rows = labels.rows();
        match *embeddings.dims() {
            [b, d] if b == rows && b > 0 && d > 0 => {}
            _ => return Err(LossError::Shape { got: embeddings.dims().to_vec(), rows }),
        }
        if !matches!(embeddings.dtype(), DType::F32 | DType::F64) {
            let (got, need) = (embeddings.dtype(), "f32 or f64");
            return Err(LossError::DataType { what: "the tensor of embeddings", got, need });
        }
        let points = match self.options.embeddings {
            Embeddings::Unit => ops::unit_rows(embeddings)?,
            Embeddings::Raw => embeddings.clone(),
        };
        let values = points.detach().to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let distance = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let distances: Vec<f64> = values.iter().flat_map(|a| values.iter().map(move |b| distance(a, b))).collect();
        let (same, other) = self.choose(&distances, labels)?;
        let pull = (squares(&points, &same)? * 0.5)?.sum_all()?;
        let short = root(&squares(&points, &other)?)?.affine(-1.0, self.options.margin)?;
        let push = (sv_kernels::ops::relu(&short)?.sqr()? * 0.5)?.sum_all()?;
        let pairs = (same.len() + other.len()) as f64;
        let sum = (pull + push)?;
        Ok(match self.options.reduction {
            Reduction::Sum => sum,
            Reduction::Mean => (sum / pairs)?,
        })
    }
}

#[cfg(test)]
mod tests;
