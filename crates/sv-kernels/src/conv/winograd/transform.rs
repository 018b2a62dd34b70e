//! Tiles to points and points to tiles, vector by vector of the channels.

use std::ops::Range;

use super::super::tile::{Activation, Finish, Strides};
use super::{POINTS, SEEN, TILE, Tiling};
use crate::lanes::{Job, Lanes};
use crate::math::flush;

/// The points of some tiles of an image: point by point (tiles, channels). Where a tile's last inputs lie outside of what the
/// outputs see, those before them stand for them: they meet outputs that lie outside, too.
pub(in super::super) struct Scatter<'a> {
    pub(in super::super) tiling: Tiling,
    pub(in super::super) range: Range<usize>,
    pub(in super::super) input: &'a [f32],
    pub(in super::super) input_at: Strides,
    /// A multiple of every tier's vector.
    pub(in super::super) channels: usize,
    pub(in super::super) points: &'a mut [f32],
}

/// `B' d` of one column: (d0 - d2, d1 + d2, d2 - d1, d1 - d3).
#[inline(always)]
fn seen_points<L: Lanes>(l: L, d: [L::Vector; SEEN]) -> [L::Vector; SEEN] {
    [l.sub(d[0], d[2]), l.add(d[1], d[2]), l.sub(d[2], d[1]), l.sub(d[1], d[3])]
}

/// `A' m` of one column: (m0 + m1 + m2, m1 - m2 - m3).
#[inline(always)]
fn outputs_of<L: Lanes>(l: L, m: [L::Vector; SEEN]) -> [L::Vector; TILE] {
    [l.add(l.add(m[0], m[1]), m[2]), l.sub(l.sub(m[1], m[2]), m[3])]
}

/// `A y` of one column: (y0, y0 + y1, y0 - y1, -y1).
#[inline(always)]
fn slope_points<L: Lanes>(l: L, y: [L::Vector; TILE]) -> [L::Vector; SEEN] {
    [y[0], l.add(y[0], y[1]), l.sub(y[0], y[1]), l.sub(l.splat(0.0), y[1])]
}

/// Writes a row of a tile's points, `apart` values from one to the next.
///
/// # Safety
/// `points` has room for a vector at each of them, the first of which is at `first`.
#[inline(always)]
unsafe fn store_row<L: Lanes>(l: L, row: [L::Vector; SEEN], points: &mut [f32], first: usize, apart: usize) {
    for (j, &value) in row.iter().enumerate() {
        // SAFETY: the caller vouches for it.
        unsafe { l.store(points.as_mut_ptr().add(first + j * apart), value) };
    }
}

impl Job for Scatter<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Self { tiling, range, input, input_at, channels, points } = self;
        let count = range.len();
        let apart = count * channels;
        // The last inputs that the outputs see.
        let last = [tiling.frames + 1, tiling.bins + 1];
        assert!(last[0] * input_at.outer + last[1] * input_at.inner + channels <= input.len());
        assert!(POINTS * apart <= points.len() && channels.is_multiple_of(L::WIDTH));
        for (index, tile) in range.enumerate() {
            let place = tiling.place(tile);
            let mut lines = [0; SEEN];
            let mut bins = [0; SEEN];
            for i in 0..SEEN {
                lines[i] = (place[0] + i).min(last[0]) * input_at.outer;
                bins[i] = (place[1] + i).min(last[1]) * input_at.inner;
            }
            for channel in (0..channels).step_by(L::WIDTH) {
                // Columns first.
                let mut half = [[l.splat(0.0); SEEN]; SEEN];
                for (&bin, half) in bins.iter().zip(&mut half) {
                    let mut d = [l.splat(0.0); SEEN];
                    for (&line, d) in lines.iter().zip(&mut d) {
                        // SAFETY: line and bin are no later than the last, for which the assertion found room.
                        *d = unsafe { l.load(input.as_ptr().add(line + bin + channel)) };
                    }
                    *half = seen_points(l, d);
                }
                let [first, second, third, fourth] = &half;
                let rows = first.iter().zip(second).zip(third).zip(fourth);
                for (i, (((&a, &b), &c), &d)) in rows.enumerate() {
                    let row = seen_points(l, [a, b, c, d]);
                    // SAFETY: points, tile and channel are in what the assertion found room for.
                    unsafe { store_row(l, row, points, i * SEEN * apart + index * channels + channel, apart) };
                }
            }
        }
    }
}

/// The points of the gradients of some tiles' outputs, which are 0 outside of the image.
pub(in super::super) struct ScatterSlopes<'a> {
    pub(in super::super) tiling: Tiling,
    pub(in super::super) range: Range<usize>,
    /// (frames, bins, channels)
    pub(in super::super) y: &'a [f32],
    pub(in super::super) channels: usize,
    pub(in super::super) points: &'a mut [f32],
}

impl Job for ScatterSlopes<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Self { tiling, range, y, channels, points } = self;
        let count = range.len();
        let apart = count * channels;
        assert!(tiling.frames * tiling.bins * channels <= y.len());
        assert!(POINTS * apart <= points.len() && channels.is_multiple_of(L::WIDTH));
        for (index, tile) in range.enumerate() {
            let [frame, bin] = tiling.place(tile);
            for channel in (0..channels).step_by(L::WIDTH) {
                let mut half = [[l.splat(0.0); SEEN]; TILE];
                for (j, half) in half.iter_mut().enumerate() {
                    let mut column = [l.splat(0.0); TILE];
                    for (i, value) in column.iter_mut().enumerate() {
                        if frame + i < tiling.frames && bin + j < tiling.bins {
                            let at = ((frame + i) * tiling.bins + bin + j) * channels + channel;
                            // SAFETY: frame and bin are in the image, for which the assertion found room.
                            *value = unsafe { l.load(y.as_ptr().add(at)) };
                        }
                    }
                    *half = slope_points(l, column);
                }
                for (i, (&a, &b)) in half[0].iter().zip(&half[1]).enumerate() {
                    let row = slope_points(l, [a, b]);
                    // SAFETY: points, tile and channel are in what the assertion found room for.
                    unsafe { store_row(l, row, points, i * SEEN * apart + index * channels + channel, apart) };
                }
            }
        }
    }
}

/// The outputs of some tiles from their points, (tiles, channels) point by point, and what follows them.
pub(in super::super) struct Gather<'a> {
    pub(in super::super) tiling: Tiling,
    pub(in super::super) range: Range<usize>,
    pub(in super::super) points: &'a [f32],
    pub(in super::super) channels: usize,
    pub(in super::super) bias: &'a [f32],
    pub(in super::super) finish: &'a Finish,
    pub(in super::super) residual: Option<(&'a [f32], Strides)>,
    pub(in super::super) out: &'a mut [f32],
    pub(in super::super) out_at: Strides,
}

impl Job for Gather<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Self { tiling, range, points, channels, bias, finish, residual, out, out_at } = self;
        let apart = range.len() * channels;
        let last = |at: Strides| (tiling.frames - 1) * at.outer + (tiling.bins - 1) * at.inner + channels;
        assert!(last(out_at) <= out.len() && residual.is_none_or(|(values, at)| last(at) <= values.len()));
        assert!(POINTS * apart <= points.len() && channels.is_multiple_of(L::WIDTH) && channels <= bias.len());
        let scaled = !finish.scale.is_empty();
        assert!(!scaled || channels <= finish.scale.len().min(finish.shift.len()));
        for (index, tile) in range.enumerate() {
            let [frame, bin] = tiling.place(tile);
            for channel in (0..channels).step_by(L::WIDTH) {
                let mut half = [[l.splat(0.0); TILE]; SEEN];
                for (j, half) in half.iter_mut().enumerate() {
                    let mut m = [l.splat(0.0); SEEN];
                    for (i, m) in m.iter_mut().enumerate() {
                        let at = (i * SEEN + j) * apart + index * channels + channel;
                        // SAFETY: point, tile and channel are in what the assertion found room for.
                        *m = unsafe { l.load(points.as_ptr().add(at)) };
                    }
                    *half = outputs_of(l, m);
                }
                // SAFETY: the assertion found as many biases as channels.
                let bias = unsafe { l.load(bias.as_ptr().add(channel)) };
                let [first, second, third, fourth] = &half;
                let rows = first.iter().zip(second).zip(third).zip(fourth);
                for (i, (((&a, &b), &c), &d)) in rows.enumerate() {
                    let row = outputs_of(l, [a, b, c, d]);
                    for (j, &value) in row.iter().enumerate() {
                        let (frame, bin) = (frame + i, bin + j);
                        if frame >= tiling.frames || bin >= tiling.bins {
                            continue;
                        }
                        let place = |at: Strides| frame * at.outer + bin * at.inner + channel;
                        let mut value = l.add(value, bias);
                        if let Some((values, at)) = residual {
                            // SAFETY: frame and bin are in the image, for which the assertion found room.
                            value = l.add(value, unsafe { l.load(values.as_ptr().add(place(at))) });
                        }
                        value = match finish.activation {
                            Activation::Identity => value,
                            Activation::Relu => l.max(l.splat(0.0), value),
                            Activation::LeakyRelu(slope) => l.max(l.mul(value, l.splat(slope)), value),
                        };
                        if scaled {
                            // SAFETY: the assertion found as many scales and shifts as channels.
                            let (scale, shift) = unsafe {
                                (l.load(finish.scale.as_ptr().add(channel)), l.load(finish.shift.as_ptr().add(channel)))
                            };
                            value = l.mul_add(value, scale, shift);
                        }
                        // SAFETY: frame and bin are in the image, for which the assertion found room.
                        unsafe { l.store(out.as_mut_ptr().add(place(out_at)), flush(l, value)) };
                    }
                }
            }
        }
    }
}
