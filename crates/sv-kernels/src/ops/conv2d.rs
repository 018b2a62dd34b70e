//! Convolution over time and frequency, channels last: on the CPU in f32 on our kernels; elsewhere what each output sees is
//! gathered and multiplied by the weights as one matrix.

use candle_core::{Device, Result, Tensor, bail};

use super::{linear, path, trained};
use crate::conv::train::Sizes;

/// The form of a convolution over time and frequency; pairs are time, then frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Steps along each axis from one output to the next, at least 1.
    pub stride: [usize; 2],
    /// Along each axis, zeros before and after the input; fewer than the kernel has taps.
    pub padding: [[usize; 2]; 2],
}

/// `y[b, t, f] = sum over k, l of W[.., k, l] x[b, t s + k - p, f s' + l - p']`, with the strides (s, s') and what is padded
/// before (p, p').
///
/// `x` (B, T, F, I), `weight` (O, I, K, L) with K along time; returns (B, T', F', O), T' = (T + both paddings - K) / s + 1
/// rounded down, F' alike.
///
/// # Errors
/// If shapes do not fit, an axis with its padding is shorter than the kernel, a stride is 0, or as much is padded as the kernel
/// has taps.
pub fn conv2d(x: &Tensor, weight: &Tensor, form: Conv2d) -> Result<Tensor> {
    let sizes = sizes(x.dims4()?.into(), weight, form)?;
    if path::on_kernels(&[x, weight]) {
        return trained::conv2d(x, weight, sizes);
    }
    let Sizes { batch, seen: [frames, bins], inputs, outputs, kernel: [k, l], given: [t, f], .. } = sizes;
    // (O, K L I), as what is gathered lies.
    let matrix = weight.permute((0, 2, 3, 1))?.reshape((outputs, k * l * inputs))?;
    let zero = Tensor::zeros((1, inputs), x.dtype(), x.device())?;
    let rows = Tensor::cat(&[&x.reshape((batch * frames * bins, inputs))?, &zero], 0)?;
    let index = seen_by(sizes, form);
    let index = Tensor::from_vec(index, batch * t * f * k * l, &Device::Cpu)?.to_device(x.device())?;
    let gathered = rows.index_select(&index, 0)?.reshape((batch * t * f, k * l * inputs))?;
    linear(&gathered, &matrix, None)?.reshape((batch, t, f, outputs))
}

/// The sizes of a convolution of `x` (B, T, F, I), checked.
pub(super) fn sizes(x: [usize; 4], weight: &Tensor, form: Conv2d) -> Result<Sizes> {
    let [batch, frames, bins, inputs] = x;
    let (outputs, channels, k, l) = weight.dims4()?;
    if inputs != channels || [batch, inputs, outputs, k, l].contains(&0) {
        bail!("conv2d of {:?} by {:?}: {inputs} channels meet {channels}; none of them may be 0", x, weight.dims())
    }
    let given = |size: usize, kernel: usize, stride: usize, [before, after]: [usize; 2]| {
        if stride == 0 || before >= kernel || after >= kernel {
            bail!(
                "{kernel} taps, a stride of {stride}, {before} and {after} zeros; give a stride, and fewer zeros than taps"
            )
        }
        match (size > 0).then(|| (size + before + after).checked_sub(kernel)).flatten() {
            Some(steps) => Ok(steps / stride + 1),
            None => {
                bail!("conv2d of {:?}: {size} values and {before} + {after} zeros are too few for {kernel} taps", x)
            }
        }
    };
    let t = given(frames, k, form.stride[0], form.padding[0])?;
    let f = given(bins, l, form.stride[1], form.padding[1])?;
    let before = form.padding.map(|[before, _]| before);
    let (seen, kernel, given) = ([frames, bins], [k, l], [t, f]);
    Ok(Sizes { batch, seen, inputs, outputs, kernel, stride: form.stride, before, given })
}

/// For each output and tap the row of the (B T F + 1) input rows that it reads, the last of which is zeros.
fn seen_by(sizes: Sizes, form: Conv2d) -> Vec<u32> {
    let Sizes { batch, seen: [frames, bins], kernel: [k, l], given: [t, f], .. } = sizes;
    let zero = (batch * frames * bins) as u32;
    let place = |output: usize, tap: usize, axis: usize| {
        (output * form.stride[axis] + tap).checked_sub(form.padding[axis][0]).filter(|&at| at < sizes.seen[axis])
    };
    let mut index = Vec::with_capacity(batch * t * f * k * l);
    for image in 0..batch {
        for (frame, bin) in (0..t).flat_map(|frame| (0..f).map(move |bin| (frame, bin))) {
            for (tap, other) in (0..k).flat_map(|tap| (0..l).map(move |other| (tap, other))) {
                let at = place(frame, tap, 0).zip(place(bin, other, 1));
                index.push(at.map_or(zero, |(frame, bin)| ((image * frames + frame) * bins + bin) as u32));
            }
        }
    }
    index
}
