//! Convolution along time, frames first: segments of the input are gathered and multiplied by the weights as one matrix.

use candle_core::{Device, Result, Tensor, bail};

use super::linear;

/// What a convolution sees before the first and after the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The frames mirrored, the outermost one not repeated (SpeechBrain). There must be more frames than are padded.
    Reflect,
    /// Zeros.
    Zero,
}

/// The form of a convolution of stride 1 that keeps the number of frames: `dilation (K - 1) / 2` frames are padded on each
/// side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1d {
    /// Frames from one tap to the next, at least 1.
    pub dilation: usize,
    /// What lies outside.
    pub padding: Padding,
}

/// `y[b, t] = bias + sum over k of W[.., k] x[b, t + dilation (k - (K - 1) / 2)]`.
///
/// `x` (B, T, I), `weight` (O, I, K) with K odd, `bias` (O), `lengths`: of each row the number of frames that count, all T
/// if not given; returns (B, T, O). The padding stands at the end of what counts; frames after it are read by nothing, and
/// are zeros in the result.
///
/// # Errors
/// If shapes do not fit, a length is 0 or above T, K is even, or fewer frames count than reflecting needs.
pub fn conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    form: Conv1d,
    lengths: Option<&[usize]>,
) -> Result<Tensor> {
    let (b, t, i) = x.dims3()?;
    let (o, inputs, k) = weight.dims3()?;
    if i != inputs {
        bail!("conv1d of {:?} by {:?}: {i} channels meet {inputs}", x.dims(), weight.dims())
    }
    let lengths = checked_lengths(b, t, lengths)?;
    let index = segments(t, &lengths, k, form)?;
    // (O, K, I), as the gathered segments lie.
    let matrix = weight.transpose(1, 2)?.reshape((o, k * i))?;
    let rows = x.reshape((b * t, i))?;
    let y = match index {
        None => linear(&rows, &matrix, bias)?,
        Some(index) => {
            let zero = Tensor::zeros((1, i), x.dtype(), x.device())?;
            let padded = Tensor::cat(&[&rows, &zero], 0)?;
            let index = Tensor::from_vec(index, b * t * k, &Device::Cpu)?.to_device(x.device())?;
            linear(&padded.index_select(&index, 0)?.reshape((b * t, k * i))?, &matrix, bias)?
        }
    };
    let y = y.reshape((b, t, o))?;
    if lengths.iter().all(|&length| length == t) {
        return Ok(y);
    }
    y.broadcast_mul(&counted(&lengths, t, y.dtype(), y.device())?)
}

/// The lengths, checked: one a row, each from 1 to T.
pub(super) fn checked_lengths(b: usize, t: usize, lengths: Option<&[usize]>) -> Result<Vec<usize>> {
    if b == 0 || t == 0 {
        bail!("{b} rows of {t} frames; at least one of each is needed")
    }
    let Some(lengths) = lengths else { return Ok(vec![t; b]) };
    if lengths.len() != b {
        bail!("{} lengths for {b} rows", lengths.len())
    }
    if let Some(row) = lengths.iter().position(|length| !(1..=t).contains(length)) {
        bail!("length {} of row {row}: 1 to {t} frames are possible", lengths[row])
    }
    Ok(lengths.to_vec())
}

/// (B, T, 1): 1 for a frame that counts, 0 for one after the row's length.
pub(super) fn counted(lengths: &[usize], t: usize, dtype: candle_core::DType, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> = lengths.iter().flat_map(|&length| (0..t).map(move |t| f32::from(t < length))).collect();
    Tensor::from_vec(mask, (lengths.len(), t, 1), device)?.to_dtype(dtype)
}

/// Refuses taps that cannot keep the number of frames, and rows too short to be mirrored: `least` is the shortest.
fn checked_form(least: usize, k: usize, form: Conv1d) -> Result<()> {
    let Conv1d { dilation, padding } = form;
    if k.is_multiple_of(2) || dilation == 0 {
        bail!("a convolution of {k} taps, {dilation} apart; an odd number of them, 1 or more apart, keeps the frames")
    }
    let half = dilation.saturating_mul((k - 1) / 2);
    if padding == Padding::Reflect && least <= half {
        bail!("{least} frames cannot be mirrored over {half}; give {} or more", half.saturating_add(1))
    }
    Ok(())
}

/// The same for `b` rows of `t` frames, all of which count.
pub(super) fn check(b: usize, t: usize, k: usize, form: Conv1d) -> Result<()> {
    checked_lengths(b, t, None)?;
    checked_form(t, k, form)
}

/// For each row, frame and tap the row of the (B T + 1) input rows that it reads, the last of which is zeros; none where
/// each frame reads itself alone.
fn segments(t: usize, lengths: &[usize], k: usize, form: Conv1d) -> Result<Option<Vec<u32>>> {
    let Conv1d { dilation, padding } = form;
    checked_form(lengths.iter().copied().min().unwrap_or(0), k, form)?;
    if k == 1 {
        return Ok(None);
    }
    let half = dilation * ((k - 1) / 2);
    let zero = (lengths.len() * t) as u32;
    let mut index = Vec::with_capacity(lengths.len() * t * k);
    for (row, &length) in lengths.iter().enumerate() {
        for frame in 0..t {
            for tap in 0..k {
                let place = source(frame + tap * dilation, half, length, padding).filter(|_| frame < length);
                index.push(place.map_or(zero, |place| (row * t + place) as u32));
            }
        }
    }
    Ok(Some(index))
}

/// The frame that stands `half` before `place`, of `length` that count; none for a zero.
fn source(place: usize, half: usize, length: usize, padding: Padding) -> Option<usize> {
    match padding {
        _ if (half..half + length).contains(&place) => Some(place - half),
        Padding::Zero => None,
        Padding::Reflect if place < half => Some(half - place),
        Padding::Reflect => Some((2 * (length - 1) + half).saturating_sub(place)),
    }
}
