//! The networks, one a file: sizes, tensors by our names, and checks.
//!
//! All names are ours; a family of checkpoints is a table that leads to them (`checkpoint/`). Convolution weights keep
//! PyTorch's order, `[out, in, kernel]` and `[out, in, kernel, kernel]`; linear layers are `[out, in]`, also where a source
//! writes them as convolutions of kernel 1 over a single frame. A batch norm `NAME` is four tensors `[channels]`:
//! `NAME.weight`, `NAME.bias`, `NAME.running_mean`, `NAME.running_var`.

use std::collections::BTreeMap;

use crate::ModelError;

pub mod ecapa;
pub mod lstm;
pub mod resnet;
mod resnet_form;
pub mod xvector;

/// What is added to a batch norm's variance under the root: PyTorch's default, which every network has that does not say otherwise.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// What lies beyond the ends of a sequence that a convolution runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The sequence mirrored at its first and last frame, which are not repeated: needs more frames than it pads.
    Reflect,
    /// Zeros.
    Zeros,
}

/// Whether a tensor of ours is a running statistic of a batch norm: measured while training, not trained.
#[must_use]
pub fn is_running_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// Tensors by name, with their shapes.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// `NAME.weight` and `NAME.bias` of a convolution or a linear layer; `shape` is the weight's.
pub(crate) fn insert_layer(tensors: &mut Shapes, name: &str, shape: &[usize]) {
    tensors.insert(format!("{name}.bias"), vec![shape[0]]);
    tensors.insert(format!("{name}.weight"), shape.to_vec());
}

/// The four tensors of a batch norm.
pub(crate) fn insert_batch_norm(tensors: &mut Shapes, name: &str, channels: usize) {
    for part in ["weight", "bias", "running_mean", "running_var"] {
        tensors.insert(format!("{name}.{part}"), vec![channels]);
    }
}

/// Most of anything that is counted along an axis.
pub(crate) const MOST: usize = 16_384;

/// Refuses a size that is 0 or beyond `most`.
pub(crate) fn check_size(key: &'static str, value: usize, most: usize) -> Result<(), ModelError> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(ModelError::Config { key, got: value.to_string(), need: format!("a whole number from 1 to {most}") })
    }
}

/// Refuses kernel sizes and dilations of a stack of "same" convolutions over time that cannot be: of each as many as layers,
/// kernels odd.
pub(crate) fn check_convolutions(layers: usize, kernels: &[usize], dilations: &[usize]) -> Result<(), ModelError> {
    for (key, values, need) in
        [("encoder.kernels", kernels, "an odd number"), ("encoder.dilations", dilations, "a number")]
    {
        let odd = key == "encoder.dilations" || values.iter().all(|value| value % 2 == 1);
        if values.len() != layers || !odd || !values.iter().all(|value| (1..=63).contains(value)) {
            let need = format!("{layers} numbers, each {need} from 1 to 63");
            return Err(ModelError::Config { key, got: format!("{values:?}"), need });
        }
    }
    Ok(())
}

/// The most frames that one of the convolutions adds on a side: `dilation * (kernel - 1) / 2`.
pub(crate) fn most_padding(kernels: &[usize], dilations: &[usize]) -> usize {
    kernels.iter().zip(dilations).map(|(kernel, dilation)| dilation * (kernel - 1) / 2).max().unwrap_or(0)
}
