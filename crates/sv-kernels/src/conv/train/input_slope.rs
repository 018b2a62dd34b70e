//! The gradient of a convolution's input: for each remainder of a frame and a bin by the strides a convolution of stride 1 of
//! the output's gradient, by those taps that meet there.

use super::super::product::Product;
use super::super::sweep::{Conv2dSizes, Sweep};
use super::super::tile::{Finish, Strides};
use super::{Sizes, each_piece, pieces, strip};
use crate::tier::Tier;

/// Of one axis, the places of the input that leave one remainder: place `stride q + rest` is seen by the outputs `q + first`,
/// `q + first + 1` and so on, through these taps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phase {
    rest: usize,
    first: isize,
    taps: Vec<usize>,
}

/// The phases of an axis, one for each remainder.
fn phases(kernel: usize, stride: usize, before: usize) -> Vec<Phase> {
    let phase = |rest: usize| {
        let taps: Vec<usize> = (0..kernel).rev().filter(|tap| (rest + before) % stride == tap % stride).collect();
        let first = taps.first().map_or(0, |&tap| (rest as isize + before as isize - tap as isize) / stride as isize);
        Phase { rest, first, taps }
    };
    (0..stride).map(phase).collect()
}

/// The first output that any phase sees, and how many more than one they see together.
fn reach(phases: &[Phase]) -> (isize, usize) {
    let seen = || phases.iter().filter(|phase| !phase.taps.is_empty());
    let first = seen().map(|phase| phase.first).min().unwrap_or(0);
    let last = seen().map(|phase| phase.first + phase.taps.len() as isize).max().unwrap_or(first + 1);
    (first, (last - first - 1) as usize)
}

/// `y` (B, T', F', O) back through `weight` (O, I, K, L), and `added` to it: (B, T, F, I) both.
pub(crate) fn input_slope(tier: Tier, sizes: Sizes, y: &[f32], weight: &[f32], added: Option<&[f32]>) -> Vec<f32> {
    let Sizes { batch, seen: [frames, bins], inputs, outputs, kernel, stride, before, given } = sizes;
    let axes = [0, 1].map(|axis| phases(kernel[axis], stride[axis], before[axis]));
    let [(top, more_lines), (left, more_bins)] = [reach(&axes[0]), reach(&axes[1])];
    let pairs = axes[0].iter().flat_map(|time| axes[1].iter().map(move |frequency| (time, frequency)));
    // What no tap meets stays as it is.
    let pairs = pairs.filter(|(time, frequency)| !time.taps.is_empty() && !frequency.taps.is_empty());
    let packed: Vec<_> =
        pairs.map(|(time, frequency)| (time, frequency, packed(tier, sizes, weight, time, frequency))).collect();
    let bias = vec![0.0; packed.iter().map(|(.., (product, _))| product.columns()).max().unwrap_or(0)];
    let finish = Finish::none();

    let line = bins * inputs;
    let columns = bins.div_ceil(stride[1]) + more_bins;
    // Whole strides, so that every piece begins with remainder 0.
    let together = packed.iter().map(|(.., (product, _))| product.lines_together()).max().unwrap_or(1);
    let lines = stride[0] * pieces(frames.div_ceil(stride[0]), columns * outputs).next_multiple_of(together);
    let mut out = match added {
        Some(added) if packed.len() < stride[0] * stride[1] => added.to_vec(),
        _ => vec![0.0; batch * frames * line],
    };
    each_piece(&mut out, frames * line, lines * line, |image, piece, out, [buffer, memory]| {
        let count = out.len() / line;
        let place = image * frames * line + piece * lines * line;
        let image_size = given[0] * given[1] * outputs;
        let image = (&y[image * image_size..][..image_size], [given[0], given[1], outputs]);
        let first = (piece * lines / stride[0]) as isize + top;
        let strip = strip::strip(buffer, image, [first, left], [count.div_ceil(stride[0]) + more_lines, columns], 0);
        for (time, frequency, (product, form)) in &packed {
            // How many places leave these remainders.
            let outer = count.saturating_sub(time.rest).div_ceil(stride[0]);
            let inner = bins.saturating_sub(frequency.rest).div_ceil(stride[1]);
            if outer == 0 || inner == 0 {
                continue;
            }
            let rest = time.rest * line + frequency.rest * inputs;
            let apart = Strides { outer: stride[0] * line, inner: stride[1] * inputs };
            let from = (time.first - top) as usize * strip.line + (frequency.first - left) as usize * outputs;
            let sweep = Sweep {
                frames: outer,
                bins: inner,
                input: &strip.values[from..],
                input_at: Strides { outer: strip.line, inner: outputs },
                line: strip.line,
                bias: &bias[..product.columns()],
                finish: &finish,
                residual: added.map(|added| (&added[place + rest..], apart)),
                out: &mut out[rest..],
                out_at: apart,
            };
            product.run(tier, *form, sweep, memory);
        }
    });
    out
}

/// The weights of a pair of phases, (I, taps in time, taps in frequency, O), and of what convolution they are.
fn packed(tier: Tier, sizes: Sizes, weight: &[f32], time: &Phase, frequency: &Phase) -> (Product, Conv2dSizes) {
    let Sizes { inputs, outputs, kernel: [k, l], .. } = sizes;
    let mut ordered = Vec::with_capacity(inputs * time.taps.len() * frequency.taps.len() * outputs);
    for input in 0..inputs {
        for (&tap, &other) in time.taps.iter().flat_map(|tap| frequency.taps.iter().map(move |other| (tap, other))) {
            let from = &weight[(input * k + tap) * l + other..];
            ordered.extend(from.iter().step_by(inputs * k * l));
        }
    }
    let kernel = [time.taps.len(), frequency.taps.len()];
    let form = Conv2dSizes { inputs: outputs, outputs: inputs, kernel, stride: [1, 1] };
    (Product::new(tier, form, &ordered), form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_meet_where_stride_and_padding_let_them() {
        // Stride 1, 3 taps, one zero before: place q is seen by outputs q - 1 (tap 2), q (tap 1), q + 1 (tap 0).
        assert_eq!(phases(3, 1, 1), [Phase { rest: 0, first: -1, taps: vec![2, 1, 0] }]);
        // Stride 2: an even place 2 q by tap 1 of output q; an odd one by tap 2 of output q and tap 0 of q + 1.
        let even = Phase { rest: 0, first: 0, taps: vec![1] };
        let odd = Phase { rest: 1, first: 0, taps: vec![2, 0] };
        assert_eq!(phases(3, 2, 1), [even.clone(), odd]);
        assert_eq!(reach(&phases(3, 2, 1)), (0, 1));
        // One tap, stride 2: odd places are seen by none.
        assert_eq!(phases(1, 2, 0), [Phase { taps: vec![0], ..even }, Phase { rest: 1, first: 0, taps: vec![] }]);
        assert_eq!(reach(&phases(1, 2, 0)), (0, 0));
    }
}
