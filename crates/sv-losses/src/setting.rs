//! What an objective is built for: sizes that the data and the encoder decide, and where its first values come from.

use candle_core::{DType, Device, Tensor, Var};

use crate::LossError;

/// The surroundings of an objective: size of the embeddings, number of classes, type, device and a source of draws.
pub struct Setting<'a> {
    /// D, values of an embedding.
    pub dimension: usize,
    /// S, classes that the labels count: 0 to S - 1.
    pub classes: usize,
    /// f32 or f64.
    pub dtype: DType,
    /// Where the parameters lie.
    pub device: &'a Device,
    /// Draws uniformly from `[-1, 1)`: the caller's own stream, so that a seed decides the parameters too.
    pub uniform: &'a mut dyn FnMut() -> f64,
}

impl std::fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dimension, classes, dtype, device, .. } = self;
        write!(f, "Setting({dimension} values, {classes} classes, {dtype:?}, {device:?})")
    }
}

/// The most values that a parameter may have: sizes come from files.
const MOST: usize = 1 << 31;

impl Setting<'_> {
    /// A variable of values uniform within `bound`.
    pub(crate) fn uniform_within(&mut self, bound: f64, shape: &[usize]) -> Result<Var, LossError> {
        let count = self.count(shape)?;
        let values: Vec<f64> = (0..count).map(|_| bound * (self.uniform)()).collect();
        self.variable(Tensor::from_vec(values, shape, self.device)?)
    }

    /// A variable of one value.
    pub(crate) fn constant(&self, value: f64, shape: &[usize]) -> Result<Var, LossError> {
        self.count(shape)?;
        self.variable(Tensor::full(value, shape, self.device)?)
    }

    fn variable(&self, values: Tensor) -> Result<Var, LossError> {
        if !matches!(self.dtype, DType::F32 | DType::F64) {
            return Err(LossError::DataType { what: "the loss", got: self.dtype, need: "f32 or f64" });
        }
        Ok(Var::from_tensor(&values.to_dtype(self.dtype)?)?)
    }

    fn count(&self, shape: &[usize]) -> Result<usize, LossError> {
        let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        match count.filter(|count| (1..=MOST).contains(count)) {
            Some(count) => Ok(count),
            None => Err(LossError::Sizes { dimension: self.dimension, classes: self.classes }),
        }
    }
}
