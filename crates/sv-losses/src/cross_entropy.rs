//! Cross entropy over classes, and which class the largest logit is of: what all softmax losses share.

use candle_core::{D, DType, Result, Tensor};

use crate::{Labels, LossError};

/// Refuses labels that are not one of the `classes`: [`LossError::Class`] names the first.
pub(crate) fn check_classes(labels: &Labels, classes: usize) -> std::result::Result<(), LossError> {
    let speakers = labels.speakers();
    match speakers.iter().position(|&speaker| speaker as usize >= classes) {
        Some(row) => Err(LossError::Class { row, class: speakers[row], classes }),
        None => Ok(()),
    }
}

/// (B, S), 1 in the column of each row's class.
///
/// # Errors
/// [`LossError::Class`] if a label is not one of the `classes`.
pub(crate) fn targets(labels: &Labels, classes: usize, like: &Tensor) -> std::result::Result<Tensor, LossError> {
    check_classes(labels, classes)?;
    let speakers = labels.speakers();
    let columns = Tensor::arange(0, classes as u32, like.device())?.reshape((1, classes))?;
    let own = Tensor::from_slice(speakers, (speakers.len(), 1), like.device())?;
    Ok(columns.broadcast_eq(&own)?)
}

/// Checks embeddings (B, D) against the labels and a weight's size and type.
pub(crate) fn check(
    embeddings: &Tensor,
    labels: &Labels,
    dimension: usize,
    dtype: DType,
) -> std::result::Result<(), LossError> {
    let rows = labels.rows();
    match *embeddings.dims() {
        [b, d] if b == rows && b > 0 && d == dimension => {}
        _ => return Err(LossError::Dimension { got: embeddings.dims().to_vec(), rows, dimension }),
    }
    if embeddings.dtype() != dtype {
        let (got, need) = (embeddings.dtype(), dtype.as_str());
        return Err(LossError::DataType { what: "the tensor of embeddings", got, need });
    }
    Ok(())
}

/// The entry of each row where `targets` is 1, (B).
pub(crate) fn own(values: &Tensor, targets: &Tensor) -> Result<Tensor> {
    targets.where_cond(values, &values.zeros_like()?)?.sum(1)
}

/// `ln sum_j exp(z_j - z_own)` of each row of the logits z (B, S): (B). The own logit goes first, so that the small difference
/// of two large numbers is never taken; then the largest, before anything can overflow.
pub(crate) fn terms(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let ahead = logits.broadcast_sub(&own(logits, targets)?.unsqueeze(1)?)?;
    let shift = ahead.detach().max_keepdim(1)?;
    let sum = ahead.broadcast_sub(&shift)?.exp()?.sum(1)?;
    sum.log()? + shift.squeeze(1)?
}

/// Share of the rows whose largest entry is that of their class; of equal ones the first counts.
pub(crate) fn accuracy(scores: &Tensor, labels: &Labels) -> Result<f64> {
    let found = scores.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = found.iter().zip(labels.speakers()).filter(|(found, own)| found == own).count();
    Ok(right as f64 / labels.rows().max(1) as f64)
}
