//! Convolutions by their definition.

use super::Real;
use crate::conv::{Conv1dSizes, Conv2dSizes};

/// `y[t, o] = bias[o] + sum over taps k and inputs i of x[t + k dilation, i] weight[o, i, k]`: `x` (frames + reach, inputs),
/// `weight` (outputs, inputs, kernel), `bias` (outputs); returns (frames, outputs).
///
/// # Panics
/// If a slice is shorter than its shape.
#[must_use]
pub fn conv1d<T: Real>(frames: usize, sizes: Conv1dSizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let Conv1dSizes { inputs, outputs, kernel, dilation } = sizes;
    let mut out = Vec::with_capacity(frames * outputs);
    for frame in 0..frames {
        for output in 0..outputs {
            let mut sum = bias[output];
            for tap in 0..kernel {
                for input in 0..inputs {
                    sum = sum
                        + x[(frame + tap * dilation) * inputs + input]
                            * weight[(output * inputs + input) * kernel + tap];
                }
            }
            out.push(sum);
        }
    }
    out
}

/// The same over time and frequency, with strides: `x` (frames seen, bins seen, inputs), `weight` (outputs, inputs, kernel in
/// time, kernel in frequency), `bias` (outputs); returns (frames, bins, outputs).
///
/// # Panics
/// If a slice is shorter than its shape.
#[must_use]
pub fn conv2d<T: Real>([frames, bins]: [usize; 2], sizes: Conv2dSizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let Conv2dSizes { inputs, outputs, kernel: [time, frequency], stride } = sizes;
    let columns = bins.saturating_sub(1) * stride[1] + frequency;
    let mut out = Vec::with_capacity(frames * bins * outputs);
    for (frame, bin, output) in (0..frames)
        .flat_map(|frame| (0..bins).flat_map(move |bin| (0..outputs).map(move |output| (frame, bin, output))))
    {
        let mut sum = bias[output];
        for (t, f) in (0..time).flat_map(|t| (0..frequency).map(move |f| (t, f))) {
            let from = ((frame * stride[0] + t) * columns + bin * stride[1] + f) * inputs;
            for input in 0..inputs {
                sum = sum + x[from + input] * weight[((output * inputs + input) * time + t) * frequency + f];
            }
        }
        out.push(sum);
    }
    out
}
