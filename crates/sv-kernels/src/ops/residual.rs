//! The basic block of a residual network, in training.

use candle_core::{Result, Tensor};

use super::batch_norm::NormForm;
use super::blocks::Norm;
use super::conv2d::{Conv2d, conv2d};
use super::norm_add::batch_norm_add_leaky_relu;
use super::{path, trained};

/// A convolution over time and frequency, and the batch normalisation after it.
#[derive(Debug, Clone)]
pub struct ImageLayer {
    /// (O, I, K, L), K along time.
    pub weight: Tensor,
    /// Of the convolution.
    pub form: Conv2d,
    /// Of O channels.
    pub norm: Norm,
}

/// The layers of a basic block.
#[derive(Debug, Clone)]
pub struct BasicBlock {
    /// From the input.
    pub first: ImageLayer,
    /// From the first.
    pub second: ImageLayer,
    /// From the input beside them, where it is not passed as it is.
    pub shortcut: Option<ImageLayer>,
    /// Of all batch normalisations.
    pub norms: NormForm,
    /// Of the leaky ReLUs after the first layer and after the sum: 0 for ReLUs.
    pub slope: f64,
}

/// `act(second(act(first(x))) + shortcut(x))` in training, `x` (B, T, F, I); returns (B, T', F', O) (He et al. 2016, figure 2).
///
/// # Errors
/// As [`conv2d`] and [`batch_norm_add_leaky_relu`], and if the two that are added differ in shape.
pub fn basic_block(x: &Tensor, block: &BasicBlock) -> Result<Tensor> {
    let BasicBlock { first, second, shortcut, norms, slope } = block;
    let mut layers = [Some(first), Some(second), shortcut.as_ref()].into_iter().flatten();
    let here =
        |layer: &ImageLayer| path::on_kernels(&[&layer.weight, &layer.norm.weight]) && !layer.norm.running.frozen;
    if path::on_kernels(&[x]) && layers.all(here) {
        return trained::basic_block(x, block);
    }
    let inner = conv2d(x, &first.weight, first.form)?;
    let inner = batch_norm_add_leaky_relu(&inner, &first.norm, *norms, None, *slope)?;
    let y = conv2d(&inner, &second.weight, second.form)?;
    let beside = match shortcut {
        Some(layer) => {
            let beside = conv2d(x, &layer.weight, layer.form)?;
            batch_norm_add_leaky_relu(&beside, &layer.norm, *norms, None, 1.0)?
        }
        None => x.clone(),
    };
    batch_norm_add_leaky_relu(&y, &second.norm, *norms, Some(&beside), *slope)
}
