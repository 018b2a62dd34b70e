//! Statistics over time in training, forward and backward: means and deviations, plain or weighted by attention, and the
//! scaling of squeeze and excitation. Each sequence is one thread's.

use rayon::prelude::*;

use crate::lanes::{Job, Lanes};
use crate::math;
use crate::tier::Tier;

/// The sizes of a batch of activations (B, T, C).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) frames: usize,
    pub(crate) channels: usize,
}

impl Sizes {
    fn sequence(self) -> usize {
        self.frames * self.channels
    }

    /// Of activations and of vectors the part of a sequence.
    fn parts(self, b: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        (b * self.sequence()..(b + 1) * self.sequence(), b * self.channels..(b + 1) * self.channels)
    }
}

/// Sums over time, `out` (B, C): of `x`, or of `x y` where there is a `y`.
pub(crate) fn sums(tier: Tier, sizes: Sizes, x: &[f32], y: Option<&[f32]>, out: &mut [f32]) {
    out.par_chunks_exact_mut(sizes.channels).enumerate().for_each(|(b, out)| {
        let (all, _) = sizes.parts(b);
        tier.run(Sum { x: &x[all.clone()], y: y.map(|y| &y[all]), out });
    });
}

struct Sum<'a> {
    x: &'a [f32],
    y: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Job for Sum<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { x, y, out } = self;
        let channels = out.len();
        out.fill(0.0);
        match y {
            None => {
                for x in x.chunks_exact(channels) {
                    for c in 0..channels {
                        out[c] += x[c];
                    }
                }
            }
            Some(y) => {
                for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact(channels)) {
                    for c in 0..channels {
                        out[c] += x[c] * y[c];
                    }
                }
            }
        }
    }
}

/// `out = x scale + offset`: `scale` (B, C), `offset` (B, T, C) or, alike for all frames, (B, C).
pub(crate) fn scaled(tier: Tier, sizes: Sizes, x: &[f32], scale: &[f32], offset: &[f32], out: &mut [f32]) {
    let step = offset.len() / sizes.batch;
    out.par_chunks_exact_mut(sizes.sequence()).enumerate().for_each(|(b, out)| {
        let (all, own) = sizes.parts(b);
        tier.run(Scaled { x: &x[all], scale: &scale[own], offset: &offset[b * step..][..step], out });
    });
}

struct Scaled<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
    out: &'a mut [f32],
}

impl Job for Scaled<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { x, scale, offset, out } = self;
        let channels = scale.len();
        let step = if offset.len() == channels { 0 } else { channels };
        for (frame, (x, out)) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)).enumerate() {
            let offset = &offset[frame * step..][..channels];
            for c in 0..channels {
                out[c] = x[c] * scale[c] + offset[c];
            }
        }
    }
}

/// Replaces `logits` (B, T, C) by their softmax over time.
pub(crate) fn softmax(tier: Tier, sizes: Sizes, logits: &mut [f32]) {
    logits.par_chunks_exact_mut(sizes.sequence()).for_each(|logits| {
        let channels = sizes.channels;
        tier.run(Shift { logits, channels });
        math::exp(tier, logits);
        tier.run(Normalise { values: logits, channels });
    });
}

/// Takes the largest of each channel from all of them.
struct Shift<'a> {
    logits: &'a mut [f32],
    channels: usize,
}

impl Job for Shift<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let channels = self.channels;
        let mut most = self.logits[..channels].to_vec();
        for row in self.logits.chunks_exact(channels) {
            for c in 0..channels {
                most[c] = if row[c] > most[c] { row[c] } else { most[c] };
            }
        }
        for row in self.logits.chunks_exact_mut(channels) {
            for c in 0..channels {
                row[c] -= most[c];
            }
        }
    }
}

/// Divides each channel by its sum.
struct Normalise<'a> {
    values: &'a mut [f32],
    channels: usize,
}

impl Job for Normalise<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let channels = self.channels;
        let mut sums = vec![0.0_f32; channels];
        for row in self.values.chunks_exact(channels) {
            for c in 0..channels {
                sums[c] += row[c];
            }
        }
        for sum in &mut sums {
            *sum = 1.0 / *sum;
        }
        for row in self.values.chunks_exact_mut(channels) {
            for c in 0..channels {
                row[c] *= sums[c];
            }
        }
    }
}

/// Weighted means and mean squares about them, (B, C) each; every frame weighs one T-th where there is no `attention`
/// (B, T, C).
pub(crate) fn moments(
    tier: Tier,
    sizes: Sizes,
    x: &[f32],
    attention: Option<&[f32]>,
    mean: &mut [f32],
    variance: &mut [f32],
) {
    let vectors = mean.par_chunks_exact_mut(sizes.channels).zip(variance.par_chunks_exact_mut(sizes.channels));
    vectors.enumerate().for_each(|(b, (mean, variance))| {
        let (all, _) = sizes.parts(b);
        tier.run(Moments { x: &x[all.clone()], attention: attention.map(|a| &a[all]), mean, variance });
    });
}

struct Moments<'a> {
    x: &'a [f32],
    attention: Option<&'a [f32]>,
    mean: &'a mut [f32],
    variance: &'a mut [f32],
}

impl Job for Moments<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { x, attention, mean, variance } = self;
        let channels = mean.len();
        let even = channels as f32 / x.len() as f32;
        mean.fill(0.0);
        variance.fill(0.0);
        match attention {
            None => {
                for x in x.chunks_exact(channels) {
                    for c in 0..channels {
                        mean[c] += x[c];
                    }
                }
                for mean in mean.iter_mut() {
                    *mean *= even;
                }
                for x in x.chunks_exact(channels) {
                    for c in 0..channels {
                        let d = x[c] - mean[c];
                        variance[c] += d * d;
                    }
                }
                for variance in variance.iter_mut() {
                    *variance *= even;
                }
            }
            Some(attention) => {
                for (x, a) in x.chunks_exact(channels).zip(attention.chunks_exact(channels)) {
                    for c in 0..channels {
                        mean[c] += a[c] * x[c];
                    }
                }
                for (x, a) in x.chunks_exact(channels).zip(attention.chunks_exact(channels)) {
                    for c in 0..channels {
                        let d = x[c] - mean[c];
                        variance[c] += a[c] * (d * d);
                    }
                }
            }
        }
    }
}

/// What the gradients of weighted moments are made of, (B, C) each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MomentSlopes<'a> {
    pub(crate) mean: &'a [f32],
    pub(crate) variance: &'a [f32],
    /// Of the mean and of the variance.
    pub(crate) of_mean: &'a [f32],
    pub(crate) of_variance: &'a [f32],
}

/// Adds to `out` the gradient of `x` from those of its plain moments.
pub(crate) fn backward(tier: Tier, sizes: Sizes, x: &[f32], slopes: MomentSlopes<'_>, out: &mut [f32]) {
    out.par_chunks_exact_mut(sizes.sequence()).enumerate().for_each(|(b, out)| {
        let (all, own) = sizes.parts(b);
        let (mean, of_mean, of_variance) =
            (&slopes.mean[own.clone()], &slopes.of_mean[own.clone()], &slopes.of_variance[own]);
        tier.run(PlainSlopes { x: &x[all], mean, of_mean, of_variance, out });
    });
}

struct PlainSlopes<'a> {
    x: &'a [f32],
    mean: &'a [f32],
    of_mean: &'a [f32],
    of_variance: &'a [f32],
    out: &'a mut [f32],
}

impl Job for PlainSlopes<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { x, mean, of_mean, of_variance, out } = self;
        let channels = mean.len();
        let (of_mean, of_variance) = (&of_mean[..channels], &of_variance[..channels]);
        let even = channels as f32 / x.len() as f32;
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for c in 0..channels {
                out[c] += (of_mean[c] + 2.0 * (x[c] - mean[c]) * of_variance[c]) * even;
            }
        }
    }
}

/// The gradients of `x` and of the logits from those of the moments that their softmax weighs.
pub(crate) fn weighted_backward(
    tier: Tier,
    sizes: Sizes,
    x: &[f32],
    attention: &[f32],
    slopes: MomentSlopes<'_>,
    of_x: &mut [f32],
    of_logits: &mut [f32],
) {
    let outs = of_x.par_chunks_exact_mut(sizes.sequence()).zip(of_logits.par_chunks_exact_mut(sizes.sequence()));
    outs.enumerate().for_each(|(b, (of_x, of_logits))| {
        let (all, own) = sizes.parts(b);
        let part = |vector: &'_ [f32]| vector[own.clone()].to_vec();
        let (mean, variance) = (part(slopes.mean), part(slopes.variance));
        let (of_mean, of_variance) = (part(slopes.of_mean), part(slopes.of_variance));
        // What the softmax takes off: the mean, under the attention, of the gradients of the attention.
        let level: Vec<f32> =
            (0..sizes.channels).map(|c| mean[c] * of_mean[c] + variance[c] * of_variance[c]).collect();
        let vectors = Vectors { mean: &mean, of_mean: &of_mean, of_variance: &of_variance, level: &level };
        tier.run(WeightedSlopes { x: &x[all.clone()], attention: &attention[all], vectors, of_x, of_logits });
    });
}

struct Vectors<'a> {
    mean: &'a [f32],
    of_mean: &'a [f32],
    of_variance: &'a [f32],
    level: &'a [f32],
}

struct WeightedSlopes<'a> {
    x: &'a [f32],
    attention: &'a [f32],
    vectors: Vectors<'a>,
    of_x: &'a mut [f32],
    of_logits: &'a mut [f32],
}

impl Job for WeightedSlopes<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Vectors { mean, of_mean, of_variance, level } = self.vectors;
        let channels = mean.len();
        let (of_mean, of_variance, level) = (&of_mean[..channels], &of_variance[..channels], &level[..channels]);
        let rows = self.x.chunks_exact(channels).zip(self.attention.chunks_exact(channels));
        let outs = self.of_x.chunks_exact_mut(channels).zip(self.of_logits.chunks_exact_mut(channels));
        for ((x, a), (of_x, of_logits)) in rows.zip(outs) {
            for c in 0..channels {
                let d = x[c] - mean[c];
                of_x[c] = a[c] * (of_mean[c] + 2.0 * d * of_variance[c]);
                of_logits[c] = a[c] * (x[c] * of_mean[c] + d * d * of_variance[c] - level[c]);
            }
        }
    }
}
