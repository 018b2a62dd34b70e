//! The plan of a network that has no fast one yet: its plain definition, window by window.

use ndarray::ArrayView2;

use crate::weights::Weights;
use crate::{EncoderConfig, ModelError, reference};

pub(super) struct PlainPlan {
    config: EncoderConfig,
    weights: Weights,
}

impl PlainPlan {
    pub(super) fn new(config: &EncoderConfig, weights: &Weights) -> Self {
        Self { config: config.clone(), weights: weights.clone() }
    }

    /// Windows into rows of `out` (windows, D).
    pub(super) fn embed(&self, windows: &[ArrayView2<'_, f32>], out: &mut [f32]) -> Result<(), ModelError> {
        let size = self.config.embedding_size();
        for (window, row) in windows.iter().zip(out.chunks_exact_mut(size)) {
            let embedding = reference::embed(&self.config, &self.weights, *window)?;
            row.iter_mut().zip(embedding).for_each(|(out, value)| *out = value as f32);
        }
        Ok(())
    }
}
