//! Training of convolutions over time and frequency on the CPU: the output, the gradient of the input and that of the weights.
//!
//! Images are (B, T, F, C), one after the other, without padding in memory: a few lines at a time are copied together with the
//! zeros around them, which stays in the cache while the products read it, so that nothing of the size of a convolution's
//! segments is ever written. Pieces of the results are shared out over the threads of the current pool; what a piece is does
//! not depend on their number, and the order in which gradients of weights are added up depends on it alone.

mod input_slope;
mod point_slope;
mod products;
mod strip;
mod weight_slope;

use rayon::prelude::*;

use super::product::Product;
use super::sweep::{Conv2dSizes, Sweep};
use super::tile::{Finish, Strides};
use crate::buffer::Buffer;
use crate::tier::Tier;
pub(crate) use input_slope::input_slope;
use strip::Strip;
pub(crate) use weight_slope::weight_slope;

/// Sizes of a convolution over a batch of images; pairs are time, then frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    /// Frames and bins of the input, each at least 1.
    pub(crate) seen: [usize; 2],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Taps.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Zeros before the first frame and bin; fewer than taps.
    pub(crate) before: [usize; 2],
    /// Frames and bins of the output, each at least 1; the last sees one frame, bin or zero after the input's end at most as
    /// many as there are taps.
    pub(crate) given: [usize; 2],
}

impl Sizes {
    /// Values of a channel of the output.
    #[cfg(feature = "candle")]
    pub(crate) fn rows(self) -> usize {
        self.batch * self.given[0] * self.given[1]
    }

    /// Values of the weights.
    #[cfg(feature = "candle")]
    pub(crate) fn weights(self) -> usize {
        self.outputs * self.inputs * self.kernel[0] * self.kernel[1]
    }

    /// Values of an input image.
    fn image(self) -> usize {
        self.seen[0] * self.seen[1] * self.inputs
    }

    /// Values of a line of the output.
    fn line(self) -> usize {
        self.given[1] * self.outputs
    }

    /// Frames of the input that so many of the output see.
    fn lines_seen(self, lines: usize) -> usize {
        (lines - 1) * self.stride[0] + self.kernel[0]
    }

    /// Bins of the input that a line of the output sees.
    fn bins_seen(self) -> usize {
        (self.given[1] - 1) * self.stride[1] + self.kernel[1]
    }

    /// Lines of the output that are made at a time.
    fn lines(self) -> usize {
        pieces(self.given[0], self.stride[0] * self.bins_seen() * self.inputs)
    }

    /// Without the batch.
    fn form(self) -> Conv2dSizes {
        let Self { inputs, outputs, kernel, stride, .. } = self;
        Conv2dSizes { inputs, outputs, kernel, stride }
    }

    /// Copies together what `lines` lines of the output from `first` on see of `image`, `slack` values behind it.
    fn strip<'a>(
        self,
        buffer: &'a mut Buffer,
        image: &'a [f32],
        first: usize,
        lines: usize,
        slack: usize,
    ) -> Strip<'a> {
        let [frames, bins] = self.seen;
        let from = [(first * self.stride[0]) as isize - self.before[0] as isize, -(self.before[1] as isize)];
        strip::strip(
            buffer,
            (image, [frames, bins, self.inputs]),
            from,
            [self.lines_seen(lines), self.bins_seen()],
            slack,
        )
    }
}

/// Values of a piece of an input that is copied together: 128 KiB.
const PIECE: usize = 32_768;

/// Of how many of `all` lines a piece is made if each takes `values` values; equal pieces.
fn pieces(all: usize, values: usize) -> usize {
    let most = (PIECE / values.max(1)).clamp(1, all.max(1));
    all.div_ceil(all.div_ceil(most)).max(1)
}

/// Cuts images of `image` values in `out` into pieces of `piece`, and has `work` done to each on the threads of the pool: the
/// image's index, that of the piece, its values and working memory.
fn each_piece(
    out: &mut [f32],
    image: usize,
    piece: usize,
    work: impl Fn(usize, usize, &mut [f32], &mut [Buffer; 2]) + Sync,
) {
    let images = out.chunks_mut(image).enumerate();
    let pieces = images.flat_map(|(index, image)| image.chunks_mut(piece).enumerate().map(move |part| (index, part)));
    let pieces: Vec<_> = pieces.collect();
    pieces.into_par_iter().for_each_init(Default::default, |memory, (image, (index, values))| {
        work(image, index, values, memory);
    });
}

/// The weights (O, I, K, L) with their taps in order, (O, K, L, I).
fn by_taps(weight: &[f32], inputs: usize, taps: usize) -> Vec<f32> {
    let mut ordered = Vec::with_capacity(weight.len());
    for output in weight.chunks_exact(inputs * taps) {
        for tap in 0..taps {
            ordered.extend(output.iter().skip(tap).step_by(taps));
        }
    }
    ordered
}

/// `x` (B, T, F, I) by `weight` (O, I, K, L): (B, T', F', O).
pub(crate) fn forward(tier: Tier, sizes: Sizes, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let Sizes { batch, inputs, outputs, kernel: [k, l], stride, given: [frames, bins], .. } = sizes;
    let product = Product::new(tier, sizes.form(), &by_taps(weight, inputs, k * l));
    let (bias, finish) = (vec![0.0; product.columns()], Finish::none());
    let mut out = vec![0.0; batch * frames * sizes.line()];
    let lines = sizes.lines().next_multiple_of(product.lines_together());
    each_piece(&mut out, frames * sizes.line(), lines * sizes.line(), |image, piece, out, [buffer, memory]| {
        let count = out.len() / sizes.line();
        let image = &x[image * sizes.image()..][..sizes.image()];
        let strip = sizes.strip(buffer, image, piece * lines, count, 0);
        let sweep = Sweep {
            frames: count,
            bins,
            input: strip.values,
            input_at: Strides { outer: stride[0] * strip.line, inner: stride[1] * inputs },
            line: strip.line,
            bias: &bias,
            finish: &finish,
            residual: None,
            out,
            out_at: Strides { outer: sizes.line(), inner: outputs },
        };
        product.run(tier, sizes.form(), sweep, memory);
    });
    out
}

#[cfg(test)]
mod tests;
