//! What follows a convolution of a residual network: batch normalisation, the shortcut, a leaky ReLU.

use candle_core::{Result, Tensor, bail};

use super::batch_norm::{NormForm, batch_norm_with, count};
use super::blocks::Norm;
use super::{leaky_relu, path, trained};

/// `act(batch_norm(x) + shortcut)`, where `act` leaves what is above 0 and multiplies the rest by `slope`: 0 is a ReLU, 1 leaves
/// everything.
///
/// `x` and `shortcut` (.., C). The averages of `norm` are moved as [`batch_norm_with`] moves them.
///
/// # Errors
/// If shapes do not fit, the slope is not from 0 to 1, or a channel has fewer than two values.
pub fn batch_norm_add_leaky_relu(
    x: &Tensor,
    norm: &Norm,
    form: NormForm,
    shortcut: Option<&Tensor>,
    slope: f64,
) -> Result<Tensor> {
    let (rows, channels) = count(x)?;
    check_norm(norm, rows, channels, slope)?;
    if shortcut.is_some_and(|shortcut| shortcut.dims() != x.dims()) {
        bail!("a shortcut of {:?} around {:?}", shortcut.map(Tensor::dims), x.dims())
    }
    if path::on_kernels(&[x, &norm.weight]) && shortcut.is_none_or(|shortcut| path::on_kernels(&[shortcut])) {
        return trained::norm_add(x, norm, form, shortcut, slope);
    }
    let y = batch_norm_with(x, &norm.weight, &norm.bias, &norm.running, form)?;
    let y = match shortcut {
        Some(shortcut) => (y + shortcut)?,
        None => y,
    };
    if slope == 1.0 { Ok(y) } else { leaky_relu(&y, slope) }
}

/// Refuses a normalisation of other than `channels`, of too few rows, and a slope that is none.
pub(super) fn check_norm(norm: &Norm, rows: usize, channels: usize, slope: f64) -> Result<()> {
    if norm.weight.dims() != [channels] || norm.bias.dims() != [channels] {
        bail!("batch normalisation by {:?} and {:?} of {channels} channels", norm.weight.dims(), norm.bias.dims())
    }
    if rows < 2 {
        bail!("batch normalisation of {rows} values of each channel; 2 or more have a variance")
    }
    if !(0.0..=1.0).contains(&slope) {
        bail!("a leaky ReLU of slope {slope}; it must be from 0 to 1")
    }
    Ok(())
}
