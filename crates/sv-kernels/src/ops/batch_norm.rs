//! Batch normalisation in training: by the statistics of the batch, which a running average follows.

use candle_core::{Result, Tensor, Var, bail};

/// What inference normalises by: averages over the batches seen, moved by training but by no gradient.
#[derive(Debug, Clone)]
pub struct RunningStatistics {
    /// (C)
    pub mean: Var,
    /// (C), of the unbiased variances.
    pub variance: Var,
}

/// Share of a new batch in the running averages (PyTorch's default).
pub const MOMENTUM: f64 = 0.1;
/// Added to the variance under the root (PyTorch's default).
pub const EPSILON: f64 = 1e-5;

/// The constants of a batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormForm {
    /// Added to the variance under the root.
    pub epsilon: f64,
    /// Share of a new batch in the running averages.
    pub momentum: f64,
}

impl Default for NormForm {
    fn default() -> Self {
        Self { epsilon: EPSILON, momentum: MOMENTUM }
    }
}

impl RunningStatistics {
    /// Moves the averages by the share `momentum` to a batch's mean and (biased) variance, (C) each, over `count` values.
    pub(super) fn follow(&self, momentum: f64, mean: &Tensor, variance: &Tensor, count: usize) -> Result<()> {
        let unbiased = count as f64 / (count - 1) as f64;
        let moved = |old: &Var, new: &Tensor, factor: f64| -> Result<()> {
            let kept = old.as_detached_tensor().affine(1.0 - momentum, 0.0)?;
            old.set(&(kept + new.detach().affine(momentum * factor, 0.0)?)?)
        };
        moved(&self.mean, mean, 1.0)?;
        moved(&self.variance, variance, unbiased)
    }
}

/// `weight (x - mean) / sqrt(variance + 1e-5) + bias`, mean and variance of each channel over everything else in `x`.
///
/// `x` (.., C), `weight` and `bias` (C). `running` is moved a tenth of the way to the batch's mean and unbiased variance.
///
/// # Errors
/// If shapes do not fit, or a channel has fewer than two values: they have no variance.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, running: &RunningStatistics) -> Result<Tensor> {
    batch_norm_with(x, weight, bias, running, NormForm::default())
}

/// [`batch_norm`] with constants of its own.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_with(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running: &RunningStatistics,
    form: NormForm,
) -> Result<Tensor> {
    let (count, _) = count(x)?;
    let mean = mean(x, count)?;
    let centred = x.broadcast_sub(&mean)?;
    let variance = self::mean(&centred.sqr()?, count)?;
    let unit = centred.broadcast_div(&variance.affine(1.0, form.epsilon)?.sqrt()?)?;
    running.follow(form.momentum, &mean, &variance, count)?;
    unit.broadcast_mul(weight)?.broadcast_add(bias)
}

/// The mean over all axes but the last, one after the other: a sum of sums loses less than one long sum.
fn mean(x: &Tensor, count: usize) -> Result<Tensor> {
    let mut sum = x.clone();
    while sum.rank() > 1 {
        sum = sum.sum(sum.rank() - 2)?;
    }
    sum.affine(1.0 / count as f64, 0.0)
}

/// Values of a channel, and channels.
pub(super) fn count(x: &Tensor) -> Result<(usize, usize)> {
    let Some((&channels, rest)) = x.dims().split_last() else { bail!("batch normalisation of a number") };
    let count: usize = rest.iter().product();
    if count < 2 || channels == 0 {
        bail!("batch normalisation of {:?}: a channel has {count} values, 2 or more have a variance", x.dims())
    }
    Ok((count, channels))
}
