//! The tensors of one network, under our names, checked against its architecture.

use std::collections::BTreeMap;

use crate::{EncoderConfig, ModelError};

/// One tensor: its shape and its values, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// All tensors of a network: exactly those that its [`EncoderConfig`] (or classifier) lists, each of the right shape and
/// finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights(BTreeMap<String, Weight>);

impl Weights {
    /// Takes `tensors` for a network of `config`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::UnexpectedTensor`], [`ModelError::TensorShape`] and
    /// [`ModelError::TensorNotFinite`] name the tensor; `origin` says where it came from.
    pub fn new(origin: &str, config: &EncoderConfig, tensors: BTreeMap<String, Weight>) -> Result<Self, ModelError> {
        Self::exactly(origin, &config.tensors(), tensors)
    }

    /// Takes `tensors`, which must be those that `expected` lists; errors as [`Self::new`].
    pub(crate) fn exactly(
        origin: &str,
        expected: &BTreeMap<String, Vec<usize>>,
        tensors: BTreeMap<String, Weight>,
    ) -> Result<Self, ModelError> {
        for (name, shape) in expected {
            let Some(weight) = tensors.get(name) else {
                return Err(ModelError::MissingTensor {
                    file: origin.into(),
                    tensor: name.clone(),
                    count: tensors.len(),
                    similar: None,
                });
            };
            if weight.shape != *shape || weight.values.len() != shape.iter().product::<usize>() {
                return Err(ModelError::TensorShape {
                    file: origin.into(),
                    tensor: name.clone(),
                    got: weight.shape.clone(),
                    expected: shape.clone(),
                });
            }
            if let Some(index) = weight.values.iter().position(|value| !value.is_finite()) {
                return Err(ModelError::TensorNotFinite { file: origin.into(), tensor: name.clone(), index });
            }
        }
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(ModelError::UnexpectedTensor { file: origin.into(), tensor: name.clone() });
        }
        Ok(Self(tensors))
    }

    /// The tensor `name`.
    ///
    /// # Panics
    /// If the architecture has no such tensor, which is a mistake in this crate: the constructor saw all of them.
    #[must_use]
    pub fn get(&self, name: &str) -> &Weight {
        &self.0[name]
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.0.iter().map(|(name, weight)| (name.as_str(), weight))
    }
}
