//! Statistics over time: mean and deviation of each channel, all frames alike or weighted by attention.

use candle_core::{Device, Result, Tensor, bail};

use super::conv1d::{checked_lengths, counted};
use super::{path, trained};

/// How small a variance may be under the root of a deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// Anything below is raised to this, and lets no gradient through.
    AtLeast(f64),
    /// This is added.
    Plus(f64),
}

/// What divides the sum of squares of T frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// T.
    Frames,
    /// T - 1; at least two frames must count.
    FramesLessOne,
}

/// The deviation of a channel over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// T or T - 1.
    pub divisor: Divisor,
    /// Under the root.
    pub floor: Floor,
    /// Added to the root.
    pub offset: f64,
}

/// Which frames of a batch count, and how many.
struct Frames {
    lengths: Vec<usize>,
    /// (B, T, 1) of 0 and 1; none where all count.
    mask: Option<Tensor>,
}

impl Frames {
    fn new(x: &Tensor, lengths: Option<&[usize]>) -> Result<Self> {
        let (b, t, _) = x.dims3()?;
        let lengths = checked_lengths(b, t, lengths)?;
        let all = lengths.iter().all(|&length| length == t);
        let mask = if all { None } else { Some(counted(&lengths, t, x.dtype(), x.device())?.ne(0.0)?) };
        Ok(Self { lengths, mask })
    }

    /// `x` with `other` in the frames that do not count, which may hold anything, numbers or not.
    fn only(&self, x: &Tensor, other: f64) -> Result<Tensor> {
        let Some(mask) = &self.mask else { return Ok(x.clone()) };
        let other = Tensor::full(other, x.shape(), x.device())?.to_dtype(x.dtype())?;
        mask.broadcast_as(x.shape())?.contiguous()?.where_cond(x, &other)
    }

    /// `sums` (B, C), each divided by its row's number of frames less `lost`.
    fn divided(&self, sums: &Tensor, lost: usize) -> Result<Tensor> {
        let shares: Vec<f64> = self.lengths.iter().map(|&length| 1.0 / (length - lost) as f64).collect();
        let shares = Tensor::from_vec(shares, (self.lengths.len(), 1), &Device::Cpu)?;
        sums.broadcast_mul(&shares.to_dtype(sums.dtype())?.to_device(sums.device())?)
    }
}

/// Mean over the frames that count, (B, C).
pub(super) fn mean(x: &Tensor, lengths: Option<&[usize]>) -> Result<Tensor> {
    let frames = Frames::new(x, lengths)?;
    frames.divided(&frames.only(x, 0.0)?.sum(1)?, 0)
}

/// Mean and deviation over the frames of `x` (B, T, C) that count: (B, C) each.
///
/// # Errors
/// If a length is 0 or above T, or 1 where T - 1 divides.
pub fn statistics(x: &Tensor, form: Deviation, lengths: Option<&[usize]>) -> Result<(Tensor, Tensor)> {
    let frames = Frames::new(x, lengths)?;
    if frames.mask.is_none() && path::on_kernels(&[x]) {
        let both = trained::statistics(x, form)?;
        let channels = both.dims()[1] / 2;
        return Ok((both.narrow(1, 0, channels)?, both.narrow(1, channels, channels)?));
    }
    let lost = usize::from(form.divisor == Divisor::FramesLessOne);
    if let Some(row) = frames.lengths.iter().position(|&length| length <= lost) {
        bail!("row {row} has {} frames; its deviation needs {}", frames.lengths[row], lost + 1)
    }
    let mean = frames.divided(&frames.only(x, 0.0)?.sum(1)?, 0)?;
    let centred = frames.only(&x.broadcast_sub(&mean.unsqueeze(1)?)?, 0.0)?;
    let deviation = root(&frames.divided(&centred.sqr()?.sum(1)?, lost)?, form.floor)?;
    Ok((mean, if form.offset == 0.0 { deviation } else { deviation.affine(1.0, form.offset)? }))
}

/// Mean and deviation weighted by attention: `a = softmax of the logits over the frames that count`, `mean = sum a x`,
/// `deviation = sqrt(sum a (x - mean)^2)` with `floor` under the root; (B, 2C), means first.
///
/// `x`, `logits`: (B, T, C).
///
/// # Errors
/// If shapes do not fit, or a length is 0 or above T.
///
/// # Source
/// Okabe et al. 2018, "Attentive statistics pooling", eqs. 4 to 6, with a weight for each channel (Desplanques et al. 2020,
/// eqs. 4 to 6). Codes that write the variance as `sum a x^2 - mean^2` mean the same number.
pub fn attentive_stats(x: &Tensor, logits: &Tensor, floor: Floor, lengths: Option<&[usize]>) -> Result<Tensor> {
    if x.dims() != logits.dims() {
        bail!("attentive statistics of {:?} with logits of {:?}", x.dims(), logits.dims())
    }
    let frames = Frames::new(x, lengths)?;
    if frames.mask.is_none() && path::on_kernels(&[x, logits]) {
        return trained::attentive(x, logits, floor);
    }
    let (x, logits) = (frames.only(x, 0.0)?, frames.only(logits, f64::NEG_INFINITY)?);
    let attention = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?.exp()?;
    let attention = attention.broadcast_div(&attention.sum_keepdim(1)?)?;
    let mean = (&x * &attention)?.sum_keepdim(1)?;
    let variance = (x.broadcast_sub(&mean)?.sqr()? * attention)?.sum(1)?;
    Tensor::cat(&[&mean.squeeze(1)?, &root(&variance, floor)?], 1)
}

/// The root with its floor.
fn root(variance: &Tensor, floor: Floor) -> Result<Tensor> {
    match floor {
        Floor::Plus(epsilon) => variance.affine(1.0, epsilon)?.sqrt(),
        Floor::AtLeast(least) => {
            let low = variance.lt(least)?;
            low.where_cond(&variance.ones_like()?.affine(least, 0.0)?, variance)?.sqrt()
        }
    }
}
