//! A matrix of features: what a front end gives and an encoder takes.

use ndarray::{Array2, ArrayView2};

/// Features of one utterance, (T frames, F bins), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Features(Array2<f32>);

impl Features {
    /// Takes a (T, F) matrix.
    #[must_use]
    pub fn new(values: Array2<f32>) -> Self {
        // A matrix in row-major order is kept as it is; the general way would copy it.
        Self(if values.is_standard_layout() { values } else { values.as_standard_layout().into_owned() })
    }

    /// The (T, F) values, in standard (row-major) layout.
    #[must_use]
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.0.view()
    }

    /// T, the number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.nrows()
    }

    /// F, the number of bins.
    #[must_use]
    pub fn bins(&self) -> usize {
        self.0.ncols()
    }

    /// The values, in standard layout.
    #[must_use]
    pub fn into_inner(self) -> Array2<f32> {
        self.0
    }
}
