//! Activation and batch normalisation over rows of channels: forward in one pass for the statistics and one for the output,
//! backward in two as well.

use rayon::prelude::*;

use super::share;
use crate::lanes::{Job, Lanes};
use crate::tier::Tier;

/// Rows whose sums are taken in f32 before they join those in f64.
pub(super) const BLOCK: usize = 32;
/// Rows, at most, whose mean is near enough to that of all.
const SAMPLE: usize = 32;

/// Statistics of a batch, (C) each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    /// One over the root of the variance and its epsilon.
    pub(crate) inverse: Vec<f32>,
    /// Of the rows, not of the population they are drawn from.
    pub(crate) variance: Vec<f64>,
}

/// Replaces `z` (rows, C) by its activation: values not above 0 times `slope`; gives the statistics of the result.
pub(crate) fn activate(tier: Tier, z: &mut [f32], channels: usize, slope: f32, epsilon: f64) -> Moments {
    let rows = z.len() / channels;
    let share = share(rows) * channels;
    let shift = middle(z, channels, slope);
    let parts: Vec<[Vec<f64>; 2]> = z
        .par_chunks_mut(share)
        .map(|z| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            tier.run(Activate { z, slope, shift: &shift, sums: &mut sums });
            sums
        })
        .collect();
    let [sums, squares] = total(parts, channels);
    Moments::of([sums, squares], &shift, rows, epsilon)
}

impl Moments {
    /// From the sums of the differences of `rows` rows from `shift`, and of their squares.
    pub(super) fn of([sums, squares]: [Vec<f64>; 2], shift: &[f32], rows: usize, epsilon: f64) -> Self {
        let mut moments = Self::default();
        for ((sum, square), &shift) in sums.into_iter().zip(squares).zip(shift) {
            let offset = sum / rows as f64;
            let variance = (square / rows as f64 - offset * offset).max(0.0);
            moments.mean.push((f64::from(shift) + offset) as f32);
            moments.inverse.push((1.0 / (variance + epsilon).sqrt()) as f32);
            moments.variance.push(variance);
        }
        moments
    }
}

/// The mean of some rows after their activation. Sums are taken of differences from it: the variance is then no small
/// difference of large squares, neither for a channel that hardly moves nor for one whose first row lies far out.
pub(super) fn middle(z: &[f32], channels: usize, slope: f32) -> Vec<f32> {
    let step = (z.len() / channels).div_ceil(SAMPLE).max(1);
    let mut sums = vec![0.0; channels];
    let mut count = 0.0;
    for row in z.chunks_exact(channels).step_by(step) {
        count += 1.0;
        for (sum, &v) in sums.iter_mut().zip(row) {
            *sum += if v > 0.0 { v } else { v * slope };
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// Adds up the sums of the threads, in their order.
pub(super) fn total<const N: usize>(parts: Vec<[Vec<f64>; N]>, channels: usize) -> [Vec<f64>; N] {
    let mut total = std::array::from_fn(|_| vec![0.0; channels]);
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    }
    total
}

struct Activate<'a> {
    z: &'a mut [f32],
    slope: f32,
    shift: &'a [f32],
    sums: &'a mut [Vec<f64>; 2],
}

impl Job for Activate<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let channels = self.shift.len();
        let mut block_sums = vec![0.0_f32; channels];
        let mut block_squares = vec![0.0_f32; channels];
        for block in self.z.chunks_mut(BLOCK * channels) {
            block_sums.fill(0.0);
            block_squares.fill(0.0);
            for row in block.chunks_exact_mut(channels) {
                for c in 0..channels {
                    let v = row[c];
                    let v = if v > 0.0 { v } else { v * self.slope };
                    row[c] = v;
                    let d = v - self.shift[c];
                    block_sums[c] += d;
                    block_squares[c] += d * d;
                }
            }
            let [sums, squares] = &mut *self.sums;
            flush(sums, &block_sums);
            flush(squares, &block_squares);
        }
    }
}

#[inline(always)]
pub(super) fn flush(sums: &mut [f64], block: &[f32]) {
    for (sum, &block) in sums.iter_mut().zip(block) {
        *sum += f64::from(block);
    }
}

/// `y = (z - mean) inverse weight + bias`, (rows, C).
pub(crate) fn normalise(tier: Tier, z: &[f32], moments: &Moments, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let channels = weight.len();
    let share = share(z.len() / channels) * channels;
    let factor: Vec<f32> = weight.iter().zip(&moments.inverse).map(|(weight, inverse)| weight * inverse).collect();
    z.par_chunks(share).zip(y.par_chunks_mut(share)).for_each(|(z, y)| {
        tier.run(Affine { z, mean: &moments.mean, factor: &factor, bias, y });
    });
}

struct Affine<'a> {
    z: &'a [f32],
    mean: &'a [f32],
    factor: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
}

impl Job for Affine<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let channels = self.mean.len();
        let (mean, factor, bias) = (self.mean, &self.factor[..channels], &self.bias[..channels]);
        for (z, y) in self.z.chunks_exact(channels).zip(self.y.chunks_exact_mut(channels)) {
            for c in 0..channels {
                y[c] = (z[c] - mean[c]) * factor[c] + bias[c];
            }
        }
    }
}

/// Gradients of the vectors of a layer, (C) each.
#[derive(Debug, Default)]
pub(crate) struct VectorSlopes {
    /// Of what was added before the activation.
    pub(crate) offset: Vec<f32>,
    /// Of the normalisation.
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// The gradient of what [`activate`] was given, into `out`, from that of what [`normalise`] gave, `dy` (rows, C).
pub(crate) fn backward(
    tier: Tier,
    z: &[f32],
    moments: &Moments,
    weight: &[f32],
    slope: f32,
    dy: &[f32],
    out: &mut [f32],
) -> VectorSlopes {
    let channels = weight.len();
    let rows = z.len() / channels;
    let share = share(rows) * channels;
    let parts: Vec<[Vec<f64>; 2]> = z
        .par_chunks(share)
        .zip(dy.par_chunks(share))
        .map(|(z, dy)| {
            let mut sums = [vec![0.0; channels], vec![0.0; channels]];
            tier.run(SlopeSums { z, mean: &moments.mean, dy, sums: &mut sums });
            sums
        })
        .collect();
    let [bias, weighted] = total(parts, channels);
    let n = rows as f64;
    let even: Vec<f32> = bias.iter().map(|sum| (sum / n) as f32).collect();
    // Per unit of z - mean.
    let along: Vec<f32> = weighted
        .iter()
        .zip(&moments.inverse)
        .map(|(sum, &inverse)| (sum * f64::from(inverse) * f64::from(inverse) / n) as f32)
        .collect();
    let factor: Vec<f32> = weight.iter().zip(&moments.inverse).map(|(weight, inverse)| weight * inverse).collect();
    let of_weight = weighted.iter().zip(&moments.inverse).map(|(sum, &inverse)| (sum * f64::from(inverse)) as f32);
    let job = Slopes { mean: &moments.mean, even: &even, along: &along, factor: &factor, slope };
    let offset = each_row(tier, z, dy, out, &job);
    VectorSlopes { offset, weight: of_weight.collect(), bias: bias.iter().map(|&sum| sum as f32).collect() }
}

/// The gradient of what [`activate`] was given, into `out`, where no normalisation follows; gives the sum over rows.
pub(crate) fn backward_plain(
    tier: Tier,
    z: &[f32],
    channels: usize,
    slope: f32,
    dy: &[f32],
    out: &mut [f32],
) -> Vec<f32> {
    let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
    each_row(tier, z, dy, out, &Slopes { mean: &zeros, even: &zeros, along: &zeros, factor: &ones, slope })
}

fn each_row(tier: Tier, z: &[f32], dy: &[f32], out: &mut [f32], slopes: &Slopes<'_>) -> Vec<f32> {
    let channels = slopes.mean.len();
    let share = share(z.len() / channels) * channels;
    let parts: Vec<[Vec<f64>; 1]> = z
        .par_chunks(share)
        .zip(dy.par_chunks(share))
        .zip(out.par_chunks_mut(share))
        .map(|((z, dy), out)| {
            let mut sums = [vec![0.0; channels]];
            tier.run(RowSlopes { z, dy, out, slopes, sums: &mut sums[0] });
            sums
        })
        .collect();
    let [sums] = total(parts, channels);
    sums.into_iter().map(|sum| sum as f32).collect()
}

struct SlopeSums<'a> {
    z: &'a [f32],
    mean: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [Vec<f64>; 2],
}

impl Job for SlopeSums<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let channels = self.mean.len();
        let mut block_sums = vec![0.0_f32; channels];
        let mut block_weighted = vec![0.0_f32; channels];
        for (z, dy) in self.z.chunks(BLOCK * channels).zip(self.dy.chunks(BLOCK * channels)) {
            block_sums.fill(0.0);
            block_weighted.fill(0.0);
            for (z, dy) in z.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
                for c in 0..channels {
                    block_sums[c] += dy[c];
                    block_weighted[c] += dy[c] * (z[c] - self.mean[c]);
                }
            }
            let [sums, weighted] = &mut *self.sums;
            flush(sums, &block_sums);
            flush(weighted, &block_weighted);
        }
    }
}

/// Of each channel: `dz = (dy - even - (z - mean) along) factor`, times the slope of the activation.
struct Slopes<'a> {
    mean: &'a [f32],
    even: &'a [f32],
    along: &'a [f32],
    factor: &'a [f32],
    slope: f32,
}

struct RowSlopes<'a> {
    z: &'a [f32],
    dy: &'a [f32],
    out: &'a mut [f32],
    slopes: &'a Slopes<'a>,
    sums: &'a mut Vec<f64>,
}

impl Job for RowSlopes<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Slopes { mean, even, along, factor, slope } = *self.slopes;
        let channels = mean.len();
        let mut block_sums = vec![0.0_f32; channels];
        let size = BLOCK * channels;
        for ((z, dy), out) in self.z.chunks(size).zip(self.dy.chunks(size)).zip(self.out.chunks_mut(size)) {
            block_sums.fill(0.0);
            let rows = z.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(out.chunks_exact_mut(channels));
            for ((z, dy), out) in rows {
                for c in 0..channels {
                    let plain = (dy[c] - even[c] - (z[c] - mean[c]) * along[c]) * factor[c];
                    let dz = if z[c] > 0.0 { plain } else { plain * slope };
                    out[c] = dz;
                    block_sums[c] += dz;
                }
            }
            flush(self.sums, &block_sums);
        }
    }
}
