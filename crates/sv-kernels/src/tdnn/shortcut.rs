//! Batch normalisation, a shortcut and a leaky ReLU over rows of channels, which follow a convolution of a residual network:
//! forward in one pass for the statistics and one for the output, backward in two as well.
//!
//! Where channels are few, several rows are taken as one of so many channels: loops are then long enough to be worth vectors.

use rayon::prelude::*;

use super::norm::{BLOCK, Moments, flush, middle, total};
use super::share;
use crate::lanes::{Job, Lanes};
use crate::tier::Tier;

/// Values, about, of the rows that are taken as one.
const ROW: usize = 256;

/// `values` (C) once for each of the rows that are taken as one.
fn repeated(values: &[f32]) -> Vec<f32> {
    values.repeat((ROW / values.len()).max(1))
}

/// Sums over the rows that were taken as one, (C), in place of sums of each.
fn folded(sums: Vec<f64>, channels: usize) -> Vec<f64> {
    (0..channels).map(|c| sums.iter().skip(c).step_by(channels).sum()).collect()
}

/// Values of `z` that a thread takes.
fn part(z: &[f32], channels: usize) -> usize {
    share(z.len() / channels) * channels
}

/// The statistics of `z` (rows, C).
pub(crate) fn moments(tier: Tier, z: &[f32], channels: usize, epsilon: f64) -> Moments {
    let shift = middle(z, channels, 1.0);
    let wide = repeated(&shift);
    let parts: Vec<[Vec<f64>; 2]> = z
        .par_chunks(part(z, channels))
        .map(|z| {
            let mut sums = [vec![0.0; wide.len()], vec![0.0; wide.len()]];
            tier.run(Sums { z, shift: &wide, sums: &mut sums });
            sums
        })
        .collect();
    let sums = total(parts, wide.len()).map(|sums| folded(sums, channels));
    Moments::of(sums, &shift, z.len() / channels, epsilon)
}

struct Sums<'a> {
    z: &'a [f32],
    shift: &'a [f32],
    sums: &'a mut [Vec<f64>; 2],
}

impl Job for Sums<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let width = self.shift.len();
        let (mut together, mut squares) = (vec![0.0_f32; width], vec![0.0_f32; width]);
        for block in self.z.chunks(BLOCK * width) {
            together.fill(0.0);
            squares.fill(0.0);
            for row in block.chunks(width) {
                let sums = together.iter_mut().zip(&mut squares);
                for ((&z, &shift), (sum, square)) in row.iter().zip(self.shift).zip(sums) {
                    let d = z - shift;
                    *sum += d;
                    *square += d * d;
                }
            }
            let [sums, all] = &mut *self.sums;
            flush(sums, &together);
            flush(all, &squares);
        }
    }
}

/// `act((z - mean) inverse weight + bias + shortcut)`, (rows, C); `act` multiplies what is not above 0 by `slope`.
pub(crate) fn forward(
    tier: Tier,
    z: &[f32],
    moments: &Moments,
    [weight, bias]: [&[f32]; 2],
    shortcut: Option<&[f32]>,
    slope: f32,
) -> Vec<f32> {
    let part = part(z, weight.len());
    let factor: Vec<f32> = weight.iter().zip(&moments.inverse).map(|(weight, inverse)| weight * inverse).collect();
    let (mean, factor, bias) = (repeated(&moments.mean), repeated(&factor), repeated(bias));
    let mut y = vec![0.0; z.len()];
    z.par_chunks(part).zip(y.par_chunks_mut(part)).enumerate().for_each(|(index, (z, y))| {
        let shortcut = shortcut.map(|values| &values[index * part..][..z.len()]);
        tier.run(Finish { z, mean: &mean, factor: &factor, bias: &bias, shortcut, slope, y });
    });
    y
}

struct Finish<'a> {
    z: &'a [f32],
    mean: &'a [f32],
    factor: &'a [f32],
    bias: &'a [f32],
    shortcut: Option<&'a [f32]>,
    slope: f32,
    y: &'a mut [f32],
}

impl Job for Finish<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { z, mean, factor, bias, shortcut, slope, y } = self;
        let width = mean.len();
        let rows = z.chunks(width).zip(y.chunks_mut(width));
        match shortcut {
            None => {
                for (z, y) in rows {
                    let vectors = mean.iter().zip(factor).zip(bias);
                    for ((&z, y), ((&mean, &factor), &bias)) in z.iter().zip(y).zip(vectors) {
                        let v = (z - mean) * factor + bias;
                        *y = if v > 0.0 { v } else { v * slope };
                    }
                }
            }
            Some(shortcut) => {
                for ((z, y), shortcut) in rows.zip(shortcut.chunks(width)) {
                    let vectors = mean.iter().zip(factor).zip(bias);
                    for (((&z, y), &other), ((&mean, &factor), &bias)) in z.iter().zip(y).zip(shortcut).zip(vectors) {
                        let v = (z - mean) * factor + bias + other;
                        *y = if v > 0.0 { v } else { v * slope };
                    }
                }
            }
        }
    }
}

/// What [`backward`] gives.
#[derive(Debug, Default)]
pub(crate) struct Slopes {
    /// Of the normalisation's input (rows, C).
    pub(crate) z: Vec<f32>,
    /// Of the shortcut (rows, C), if it is asked for.
    pub(crate) shortcut: Option<Vec<f32>>,
    /// (C)
    pub(crate) weight: Vec<f32>,
    /// (C)
    pub(crate) bias: Vec<f32>,
}

/// The gradients of what [`forward`] was given, from that of what it gave, `dy`; `y` is what it gave.
pub(crate) fn backward(
    tier: Tier,
    z: &[f32],
    moments: &Moments,
    weight: &[f32],
    slope: f32,
    [y, dy]: [&[f32]; 2],
    wants_shortcut: bool,
) -> Slopes {
    let channels = weight.len();
    let part = part(z, channels);
    let mean = repeated(&moments.mean);
    let mut out = vec![0.0; z.len()];
    // The gradient behind the activation stands in the result until the second pass replaces it.
    let parts: Vec<[Vec<f64>; 2]> = z
        .par_chunks(part)
        .zip(y.par_chunks(part))
        .zip(dy.par_chunks(part))
        .zip(out.par_chunks_mut(part))
        .map(|(((z, y), dy), out)| {
            let mut sums = [vec![0.0; mean.len()], vec![0.0; mean.len()]];
            tier.run(Behind { z, mean: &mean, y, dy, slope, out, sums: &mut sums });
            sums
        })
        .collect();
    let [bias, weighted] = total(parts, mean.len()).map(|sums| folded(sums, channels));
    let n = (z.len() / channels) as f64;
    let even: Vec<f32> = bias.iter().map(|sum| (sum / n) as f32).collect();
    // Per unit of z - mean.
    let along = weighted.iter().zip(&moments.inverse);
    let along: Vec<f32> =
        along.map(|(sum, &inverse)| (sum * f64::from(inverse) * f64::from(inverse) / n) as f32).collect();
    let factor: Vec<f32> = weight.iter().zip(&moments.inverse).map(|(weight, inverse)| weight * inverse).collect();
    let (even, along, factor) = (repeated(&even), repeated(&along), repeated(&factor));
    let vectors = [&mean[..], &even, &along, &factor];
    let (out, shortcut) = if wants_shortcut {
        let mut through = vec![0.0; z.len()];
        z.par_chunks(part).zip(out.par_chunks(part)).zip(through.par_chunks_mut(part)).for_each(
            |((z, behind), out)| {
                tier.run(Through { z, behind: Some(behind), vectors, out });
            },
        );
        (through, Some(out))
    } else {
        z.par_chunks(part).zip(out.par_chunks_mut(part)).for_each(|(z, out)| {
            tier.run(Through { z, behind: None, vectors, out });
        });
        (out, None)
    };
    let of_weight = weighted.iter().zip(&moments.inverse).map(|(sum, &inverse)| (sum * f64::from(inverse)) as f32);
    Slopes { z: out, shortcut, weight: of_weight.collect(), bias: bias.iter().map(|&sum| sum as f32).collect() }
}

/// Through the activation, and the sums over rows of what comes out, plain and times `z - mean`.
struct Behind<'a> {
    z: &'a [f32],
    mean: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    slope: f32,
    out: &'a mut [f32],
    sums: &'a mut [Vec<f64>; 2],
}

impl Job for Behind<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (width, slope) = (self.mean.len(), self.slope);
        let (mut plain, mut weighted) = (vec![0.0_f32; width], vec![0.0_f32; width]);
        let size = BLOCK * width;
        let blocks = self.z.chunks(size).zip(self.y.chunks(size)).zip(self.dy.chunks(size));
        for (((z, y), dy), out) in blocks.zip(self.out.chunks_mut(size)) {
            plain.fill(0.0);
            weighted.fill(0.0);
            let rows = z.chunks(width).zip(y.chunks(width)).zip(dy.chunks(width)).zip(out.chunks_mut(width));
            for (((z, y), dy), out) in rows {
                let vectors = self.mean.iter().zip(&mut plain).zip(&mut weighted);
                let values = z.iter().zip(y).zip(dy).zip(out);
                for ((((&z, &y), &dy), out), ((&mean, plain), weighted)) in values.zip(vectors) {
                    let g = if y > 0.0 { dy } else { dy * slope };
                    *out = g;
                    *plain += g;
                    *weighted += g * (z - mean);
                }
            }
            let [sums, all] = &mut *self.sums;
            flush(sums, &plain);
            flush(all, &weighted);
        }
    }
}

/// Of each channel `(behind - even - (z - mean) along) factor`, into `out`; what is behind stands there if it is not given.
struct Through<'a> {
    z: &'a [f32],
    behind: Option<&'a [f32]>,
    /// mean, even, along, factor
    vectors: [&'a [f32]; 4],
    out: &'a mut [f32],
}

impl Job for Through<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { z, behind, vectors: [mean, even, along, factor], out } = self;
        let width = mean.len();
        let rows = z.chunks(width).zip(out.chunks_mut(width));
        match behind {
            None => {
                for (z, out) in rows {
                    let vectors = mean.iter().zip(even).zip(along).zip(factor);
                    for ((&z, out), (((&mean, &even), &along), &factor)) in z.iter().zip(out).zip(vectors) {
                        *out = (*out - even - (z - mean) * along) * factor;
                    }
                }
            }
            Some(behind) => {
                for ((z, out), behind) in rows.zip(behind.chunks(width)) {
                    let vectors = mean.iter().zip(even).zip(along).zip(factor);
                    let values = z.iter().zip(out).zip(behind);
                    for (((&z, out), &behind), (((&mean, &even), &along), &factor)) in values.zip(vectors) {
                        *out = (behind - even - (z - mean) * along) * factor;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use crate::reference::batch_norm_add_leaky_relu;

    const EPSILON: f64 = 1e-3;

    fn wide(values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| f64::from(value)).collect()
    }

    fn agree(what: &str, got: &[f32], expected: &[f64]) {
        assert_eq!(got.len(), expected.len(), "{what}");
        let most = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        let error = got
            .iter()
            .zip(expected)
            .fold(0.0_f64, |worst, (&got, &expected)| worst.max((f64::from(got) - expected).abs()));
        assert!(error <= 2e-6 * most, "{what}: {error:.1e} of {most:.1e}");
    }

    #[test]
    fn both_passes_are_the_definition_on_every_tier() {
        for tier in Tier::available() {
            // Fewer channels than a vector, some that no number of rows fills evenly, and more than are taken as one.
            for (rows, channels) in [(2, 1), (7, 3), (300, 16), (129, 17), (33, 128), (5, 300)] {
                for slope in [0.0_f32, 0.3, 1.0] {
                    let count = rows * channels;
                    // Far from 0, as sums of squares would lose by.
                    let z: Vec<f32> = noise(1, count).iter().map(|value| 3.0 * value + 20.0).collect();
                    let (shortcut, dy) = (noise(2, count), noise(3, count));
                    let (weight, bias) = (noise(4, channels), noise(5, channels));
                    let expected = batch_norm_add_leaky_relu(
                        &wide(&z),
                        [&wide(&weight), &wide(&bias)],
                        &wide(&shortcut),
                        f64::from(slope),
                        EPSILON,
                        &wide(&dy),
                    );
                    let what = |part: &str| format!("{part} of {rows} x {channels}, slope {slope}, {tier:?}");
                    let moments = moments(tier, &z, channels, EPSILON);
                    let y = forward(tier, &z, &moments, [&weight, &bias], Some(&shortcut), slope);
                    agree(&what("output"), &y, &expected.y);
                    for wants in [true, false] {
                        let slopes = backward(tier, &z, &moments, &weight, slope, [&y, &dy], wants);
                        agree(&what("input's slopes"), &slopes.z, &expected.of_z);
                        agree(&what("weight's slopes"), &slopes.weight, &expected.of_weight);
                        agree(&what("bias's slopes"), &slopes.bias, &expected.of_bias);
                        assert_eq!(slopes.shortcut.is_some(), wants);
                        let of_shortcut = slopes.shortcut.unwrap_or_default();
                        agree(
                            &what("shortcut's slopes"),
                            &of_shortcut,
                            if wants { &expected.of_shortcut } else { &[] },
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn without_a_shortcut_it_is_one_of_zeros() {
        let (z, weight, bias) = (noise(1, 70), noise(2, 7), noise(3, 7));
        for tier in Tier::available() {
            let moments = moments(tier, &z, 7, EPSILON);
            let [without, zeros] = [None, Some(&[0.0; 70][..])]
                .map(|shortcut| forward(tier, &z, &moments, [&weight, &bias], shortcut, 0.3));
            assert_eq!(without, zeros, "{tier:?}");
        }
    }
}
