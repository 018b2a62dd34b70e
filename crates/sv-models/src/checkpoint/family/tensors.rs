//! A foreign state dict under our names, and nothing left over.

use std::collections::{BTreeMap, BTreeSet};

use crate::ModelError;
use crate::checkpoint::StateDict;
use crate::encoders::Shapes;
use crate::weights::Weight;

/// Where a tensor of ours is to be found.
pub(super) struct Theirs {
    /// The layer's name there, without `.weight` and the like.
    pub(super) name: String,
    /// Whether its weight has an axis of size 1 more than ours: a linear layer that is written as a convolution.
    pub(super) as_convolution: bool,
}

impl Theirs {
    pub(super) fn layer(name: impl Into<String>) -> Self {
        Self { name: name.into(), as_convolution: false }
    }

    pub(super) fn convolution(name: impl Into<String>) -> Self {
        Self { name: name.into(), as_convolution: true }
    }
}

/// Takes every tensor that `ours` lists out of `state`, by the name that `theirs` gives for its layer, in pieces between dots.
///
/// # Errors
/// A tensor that is missing, of another shape or no floating-point values; and one that is neither taken, nor a counter of batch
/// norms (`num_batches_tracked`), nor known as `surplus`.
pub(super) fn take(
    state: &StateDict,
    ours: &Shapes,
    theirs: impl Fn(&[&str]) -> Theirs,
    surplus: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Weight>, ModelError> {
    let mut taken = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (name, shape) in ours {
        let mut pieces: Vec<&str> = name.split('.').collect();
        let part = pieces.pop().unwrap_or_default();
        let Theirs { name: layer, as_convolution } = theirs(&pieces);
        // Names of a single piece are a tensor, not a layer.
        let their_name = if pieces.is_empty() { part.to_owned() } else { format!("{layer}.{part}") };
        let mut their_shape = shape.clone();
        if as_convolution && part == "weight" {
            their_shape.push(1);
        }
        let values = state.f32(&their_name, &their_shape)?;
        taken.insert(name.clone(), Weight { shape: shape.clone(), values });
        used.insert(their_name);
    }
    let left = |name: &&str| !used.contains(*name) && !name.ends_with("num_batches_tracked") && !surplus(name);
    match state.names().find(left) {
        Some(name) => Err(ModelError::UnexpectedTensor { file: state.file().into(), tensor: name.into() }),
        None => Ok(taken),
    }
}

/// Size of an axis of a tensor, to be read off.
pub(super) fn size(state: &StateDict, name: &str, axes: usize, axis: usize) -> Result<usize, ModelError> {
    match state.get(name) {
        Some(tensor) if tensor.shape.len() == axes => Ok(tensor.shape[axis]),
        // Missing, or with other axes: said as for any other tensor.
        _ => Err(state
            .f32(name, &vec![0; axes])
            .err()
            .unwrap_or_else(|| ModelError::UnexpectedTensor { file: state.file().into(), tensor: name.into() })),
    }
}

/// The shape of a matrix, to be read off.
pub(super) fn rows_and_columns(state: &StateDict, name: &str) -> Result<(usize, usize), ModelError> {
    Ok((size(state, name, 2, 0)?, size(state, name, 2, 1)?))
}

/// How many of `name(0)`, `name(1)`, ... there are; no network has more than 64 of anything.
pub(super) fn count(state: &StateDict, name: impl Fn(usize) -> String) -> usize {
    (0..64).take_while(|&index| state.contains(&name(index))).count()
}
