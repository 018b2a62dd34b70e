//! One linear layer, trained by itself: what is put behind a network that stays as it is.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::parts::Parts;
use crate::ModelError;
use crate::encoders::{Shapes, insert_layer};
use crate::weights::{Weight, Weights};

/// A linear layer over variables: `NAME.weight` (D', D) and `NAME.bias` (D').
#[derive(Debug)]
pub struct LinearLayer {
    name: String,
    parts: Parts,
}

impl LinearLayer {
    /// The names and shapes of a layer `name` of `inputs` to `outputs` values.
    #[must_use]
    pub fn tensors(name: &str, inputs: usize, outputs: usize) -> BTreeMap<String, Vec<usize>> {
        let mut tensors = Shapes::new();
        insert_layer(&mut tensors, name, &[outputs, inputs]);
        tensors
    }

    /// Puts the layer's tensors on `device`, as f32.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] and its kin, [`ModelError::Tensor`].
    pub fn new(name: &str, tensors: BTreeMap<String, Weight>, device: &Device) -> Result<Self, ModelError> {
        let weight = tensors.get(&format!("{name}.weight")).map(|weight| weight.shape.clone()).unwrap_or_default();
        let size = |axis: usize| weight.get(axis).copied().unwrap_or(0);
        let expected = Self::tensors(name, size(1), size(0));
        let weights = Weights::exactly("initial weights", &expected, tensors)?;
        Ok(Self { name: name.to_owned(), parts: Parts::new(&weights, DType::F32, device)? })
    }

    /// `x W^T + b` of rows x (B, D): (B, D').
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.parts.linear(&self.name, x)
    }

    /// The trainable tensors by their names.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.parts.variables
    }

    /// The tensors as they stand.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn weights(&self) -> Result<BTreeMap<String, Weight>, ModelError> {
        self.parts.values()
    }
}
