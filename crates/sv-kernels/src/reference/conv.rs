//! Convolutions by their definition.

use super::Real;
use crate::conv::Conv1dSizes;

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
