//! What all losses over classes check, and which class the largest logit is of.

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

/// Share of the rows whose largest entry is that of their class; of equal ones the first counts.
pub(crate) fn accuracy(scores: &Tensor, labels: &Labels) -> Result<f64> {
    let found = scores.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let right = found.iter().zip(labels.speakers()).filter(|(found, own)| found == own).count();
    Ok(right as f64 / labels.rows().max(1) as f64)
}
