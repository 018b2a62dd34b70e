//! What every objective is: embeddings and labels in, a scalar to minimise out, perhaps with parameters of its own.

use std::collections::HashSet;

use candle_core::{Tensor, Var};

use crate::LossError;

/// Which speaker each row of a batch is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    speakers: Vec<u32>,
    /// N and M, or the first row that does not fit.
    arrangement: Result<(usize, usize), usize>,
}

impl Labels {
    /// One class number a row, in any order.
    #[must_use]
    pub fn new(speakers: Vec<u32>) -> Self {
        let arrangement = arrangement(&speakers);
        Self { speakers, arrangement }
    }

    /// Speakers 0 to N - 1 after each other, `utterances` rows of each.
    #[must_use]
    pub fn arranged(speakers: u32, utterances: usize) -> Self {
        Self::new((0..speakers).flat_map(|speaker| std::iter::repeat_n(speaker, utterances)).collect())
    }

    /// The class of each row.
    #[must_use]
    pub fn speakers(&self) -> &[u32] {
        &self.speakers
    }

    /// B, the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.speakers.len()
    }

    /// (N, M), if the rows are N different speakers after each other with M utterances each.
    ///
    /// # Errors
    /// [`LossError::NotArranged`] with the first row that breaks the order.
    pub fn arrangement(&self) -> Result<(usize, usize), LossError> {
        self.arrangement.map_err(|row| LossError::NotArranged { row, rows: self.rows() })
    }
}

fn arrangement(speakers: &[u32]) -> Result<(usize, usize), usize> {
    let rows = speakers.len();
    let utterances = speakers.iter().take_while(|&&speaker| speaker == speakers[0]).count();
    if utterances == 0 {
        return Ok((0, 0));
    }
    let mut seen = HashSet::new();
    for (index, block) in speakers.chunks(utterances).enumerate() {
        let start = index * utterances;
        if !seen.insert(block[0]) {
            return Err(start);
        }
        if let Some(stranger) = block.iter().position(|&speaker| speaker != block[0]) {
            return Err(start + stranger);
        }
    }
    if rows.is_multiple_of(utterances) { Ok((rows / utterances, utterances)) } else { Err(rows) }
}

/// A trainable tensor and the name that recipes, gradients and checkpoints know it by.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Unique among all that is trained together, parts joined by dots: `ge2e.w`.
    pub name: String,
    /// The values; clones share them.
    pub var: Var,
}

impl Parameter {
    /// Joins a name and a variable.
    #[must_use]
    pub fn new(name: impl Into<String>, var: Var) -> Self {
        Self { name: name.into(), var }
    }
}

/// Something to minimise.
pub trait Objective: Send {
    /// The loss of a batch, a scalar that gradients flow back from.
    ///
    /// `embeddings`: (B, D), row i of the speaker that `labels` names at i, as the encoder gives them.
    ///
    /// # Errors
    /// [`LossError`] if the batch is not one that the objective is defined for.
    fn loss(&self, embeddings: &Tensor, labels: &Labels) -> Result<Tensor, LossError>;

    /// Its own trainable parameters, for the optimizer.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// What the forward pass moves without a gradient, such as running averages: a resumed training needs it to the bit.
    fn buffers(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// Sets the margin of the steps to come, for those that have one.
    ///
    /// # Errors
    /// [`LossError::InvalidOption`] if it is out of range, or the objective has none.
    fn set_margin(&mut self, margin: f64) -> Result<(), LossError> {
        Err(LossError::InvalidOption { option: "margin", got: margin, need: "left out: the objective has no margin" })
    }

    /// Share of the rows of (B, D) that the objective's own classifier takes for their class; none where it has none.
    ///
    /// # Errors
    /// [`LossError`] as [`Objective::loss`].
    fn accuracy(&self, _embeddings: &Tensor, _labels: &Labels) -> Result<Option<f64>, LossError> {
        Ok(None)
    }

    /// To be called after each optimizer step with the batch of that step: keeps constraints, moves what is not trained by
    /// gradients.
    ///
    /// # Errors
    /// [`LossError`] as [`Objective::loss`].
    fn after_step(&mut self, _embeddings: &Tensor, _labels: &Labels) -> Result<(), LossError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_speakers_in_equal_counts_are_arranged() {
        assert_eq!(Labels::arranged(3, 2).speakers(), [0, 0, 1, 1, 2, 2]);
        assert_eq!(Labels::arranged(3, 2).arrangement().unwrap(), (3, 2));
        assert_eq!(Labels::new(vec![9, 9, 9, 4, 4, 4]).arrangement().unwrap(), (2, 3));
        assert_eq!(Labels::new(vec![5, 1]).arrangement().unwrap(), (2, 1));
        assert_eq!(Labels::new(vec![]).arrangement().unwrap(), (0, 0));
    }

    #[test]
    fn the_first_row_out_of_order_is_named() {
        let breaks = |speakers: &[u32]| match Labels::new(speakers.to_vec()).arrangement() {
            Err(LossError::NotArranged { row, rows }) => (row, rows),
            other => panic!("{other:?}"),
        };
        assert_eq!(breaks(&[1, 1, 2, 3]), (3, 4)); // speaker 2 has one utterance
        assert_eq!(breaks(&[1, 1, 2, 2, 1, 1]), (4, 6)); // speaker 1 comes twice
        assert_eq!(breaks(&[1, 1, 1, 2, 2]), (5, 5)); // speaker 2 lacks the third
        assert_eq!(breaks(&[1, 2, 2]), (2, 3)); // 1 has one utterance, so 2 must
    }
}
