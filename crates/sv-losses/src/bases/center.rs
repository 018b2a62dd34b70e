//! The center loss: squared distances to centres that follow the embeddings by a rule of their own.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use crate::{Labels, LossError};

/// A centre for each class, (S, D), moved without gradients.
#[derive(Debug)]
pub(super) struct Centres {
    values: Var,
    alpha: f64,
}

impl Centres {
    pub(super) fn new(values: Var, alpha: f64) -> Self {
        Self { values, alpha }
    }

    pub(super) fn var(&self) -> &Var {
        &self.values
    }

    /// `sum_i abs(e_i - c_{y_i})^2`, a scalar; no gradient flows to the centres. Labels are checked by the caller.
    pub(super) fn squares(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError> {
        let own = Tensor::from_slice(labels.speakers(), labels.rows(), embeddings.device())?;
        let own = self.values.as_tensor().detach().index_select(&own, 0)?;
        Ok((embeddings - own)?.sqr()?.sum_all()?)
    }

    /// Eq. 3: `c_k -= alpha sum_{y_i = k} (c_k - e_i) / (1 + count_k)`, all from the centres as they were.
    pub(super) fn follow(&self, embeddings: &Tensor, labels: &Labels) -> Result<(), LossError> {
        // Rows in the order of their class, so that the sum has one order whatever the batch's.
        let mut rows: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (row, &class) in labels.speakers().iter().enumerate() {
            rows.entry(class).or_default().push(row);
        }
        let classes: Vec<u32> = rows.keys().copied().collect();
        let classes = Tensor::from_slice(&classes, classes.len(), embeddings.device())?;
        let wide = |tensor: &Tensor| tensor.detach().to_dtype(DType::F64)?.to_vec2::<f64>();
        let (embeddings, centres) = (wide(embeddings)?, wide(&self.values.as_tensor().index_select(&classes, 0)?)?);
        let dimension = self.values.dims2()?.1;
        let mut moves = Vec::with_capacity(rows.len() * dimension);
        for (centre, rows) in centres.iter().zip(rows.values()) {
            let share = self.alpha / (1.0 + rows.len() as f64);
            moves.extend(centre.iter().enumerate().map(|(place, &c)| {
                let sum: f64 = rows.iter().map(|&row| c - embeddings[row][place]).sum();
                -share * sum
            }));
        }
        let moves = Tensor::from_vec(moves, (rows.len(), dimension), self.values.device())?;
        let moves = moves.to_dtype(self.values.dtype())?;
        self.values.set(&self.values.as_tensor().detach().index_add(&classes, &moves, 0)?)?;
        Ok(())
    }
}
