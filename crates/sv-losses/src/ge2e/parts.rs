//! The steps that both forms of GE2E share, on a batch of N speakers, mostly with M utterances each.

use candle_core::{Result, Tensor};
use sv_kernels::ops;

use crate::{Labels, LossError};

/// The batch as a grid: rows are utterances, speaker after speaker, columns are speakers.
pub(super) struct Grid {
    n: usize,
    /// Utterances of each speaker; 0 where their numbers differ.
    m: usize,
    /// (N M, N), 1 where the column is the row's own speaker.
    own: Tensor,
}

impl Grid {
    /// Checks the batch against `n` speakers, `m` utterances (`least_m` or more), and the type of the trained scale `w`.
    pub(super) fn new(
        n: usize,
        m: usize,
        least_m: usize,
        embeddings: &Tensor,
        w: &Tensor,
    ) -> std::result::Result<Self, LossError> {
        let rows = n.saturating_mul(m);
        check(n, rows, embeddings, w)?;
        if m < least_m {
            return Err(LossError::TooFewUtterances { got: m });
        }
        let own: Vec<u8> = (0..rows * n).map(|place| u8::from(place / n / m == place % n)).collect();
        Ok(Self { n, m, own: Tensor::from_vec(own, (rows, n), embeddings.device())? })
    }

    /// Of rows in any order and number: speakers are columns in the order of their classes.
    pub(super) fn ragged(labels: &Labels, embeddings: &Tensor, w: &Tensor) -> std::result::Result<Self, LossError> {
        let speakers = labels.speakers();
        let mut columns = speakers.to_vec();
        columns.sort_unstable();
        columns.dedup();
        check(columns.len(), speakers.len(), embeddings, w)?;
        let own: Vec<u8> =
            speakers.iter().flat_map(|own| columns.iter().map(move |column| u8::from(own == column))).collect();
        let own = Tensor::from_vec(own, (speakers.len(), columns.len()), embeddings.device())?;
        Ok(Self { n: columns.len(), m: 0, own })
    }

    /// Sum over each speaker's utterances: (N M, D) gives (N, D).
    pub(super) fn sums(&self, embeddings: &Tensor) -> Result<Tensor> {
        if self.m == 0 {
            let members = self.own.to_dtype(embeddings.dtype())?.t()?.contiguous()?;
            return ops::matmul(&members, embeddings);
        }
        embeddings.reshape((self.n, self.m, ()))?.sum(1)
    }

    /// For each utterance the sum of its speaker's others, (N M, D); `sums` as [`Grid::sums`] gives them.
    pub(super) fn without_own(&self, embeddings: &Tensor, sums: &Tensor) -> Result<Tensor> {
        let whole = sums.unsqueeze(1)?;
        whole.broadcast_sub(&embeddings.reshape((self.n, self.m, ()))?)?.flatten(0, 1)
    }

    /// Inner products of each utterance (N M, D) with each speaker (N, D): (N M, N).
    pub(super) fn products(&self, utterances: &Tensor, speakers: &Tensor) -> Result<Tensor> {
        ops::linear(utterances, speakers, None)
    }

    /// `values` (N M, N) with those of the own speaker replaced by `own` (N M).
    pub(super) fn with_own(&self, values: &Tensor, own: &Tensor) -> Result<Tensor> {
        self.own.where_cond(&own.unsqueeze(1)?.broadcast_as(values.shape())?.contiguous()?, values)
    }

    /// `-ln(exp S_own / (sum_k exp S_k + extra))` of each utterance, (N M).
    ///
    /// The largest exponent is taken out of the sum, and out of `extra`, before anything can overflow: the same function,
    /// finite wherever S is.
    pub(super) fn cross_entropy(&self, similarity: &Tensor, extra: f64) -> Result<Tensor> {
        let mut shift = similarity.detach().max_keepdim(1)?;
        if extra > 0.0 {
            // No lower than 0, else exp(-shift) could overflow in its place.
            shift = ops::relu(&shift)?;
        }
        let mut sum = similarity.broadcast_sub(&shift)?.exp()?.sum_keepdim(1)?;
        if extra > 0.0 {
            sum = (sum + (shift.neg()?.exp()? * extra)?)?;
        }
        (sum.log()? + shift)?.squeeze(1)? - self.own_of(similarity)?
    }

    /// `1 - sigmoid(S_own) + max_{k not own} sigmoid(S_k)` of each utterance, (N M).
    pub(super) fn contrast(&self, similarity: &Tensor) -> Result<Tensor> {
        // 1 - sigmoid(x) = sigmoid(-x), without the cancellation; and the sigmoid rises, so the maximum is taken before it.
        let pull = ops::sigmoid(&self.own_of(similarity)?.neg()?)?;
        pull + ops::sigmoid(&self.hardest_of(similarity)?)?
    }

    /// The entry of the own speaker, (N M).
    fn own_of(&self, similarity: &Tensor) -> Result<Tensor> {
        self.own.where_cond(similarity, &similarity.zeros_like()?)?.sum(1)
    }

    /// The largest entry of another speaker, (N M); its gradient goes to the first of equal ones, where candle's `max` would
    /// give the whole of it to each.
    fn hardest_of(&self, similarity: &Tensor) -> Result<Tensor> {
        let (device, dtype) = (similarity.device(), similarity.dtype());
        let lowest = Tensor::full(f64::NEG_INFINITY, similarity.shape(), device)?.to_dtype(dtype)?;
        let others = self.own.where_cond(&lowest, &similarity.detach())?;
        let largest = others.broadcast_eq(&others.max_keepdim(1)?)?;
        // Columns counted down from the left: the highest count among the largest is the first of them.
        let count =
            Tensor::arange_step(self.n as f64, 0.0, -1.0, device)?.broadcast_as(similarity.shape())?.contiguous()?;
        let count = largest.where_cond(&count, &count.zeros_like()?)?;
        let first = count.broadcast_eq(&count.max_keepdim(1)?)?;
        first.where_cond(similarity, &similarity.zeros_like()?)?.sum(1)
    }
}

/// Checks embeddings (`rows`, D) of `n` speakers.
fn check(n: usize, rows: usize, embeddings: &Tensor, w: &Tensor) -> std::result::Result<(), LossError> {
    match *embeddings.dims() {
        [b, d] if b == rows && d > 0 => {}
        _ => return Err(LossError::Shape { got: embeddings.dims().to_vec(), rows }),
    }
    if n < 2 {
        return Err(LossError::TooFewSpeakers { got: n });
    }
    if embeddings.dtype() != w.dtype() {
        let (got, need) = (embeddings.dtype(), w.dtype().as_str());
        return Err(LossError::DataType { what: "the tensor of embeddings", got, need });
    }
    Ok(())
}
