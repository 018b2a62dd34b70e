//! Sums over time of frames-major signals, and the scaling of their channels: what stands between convolutions.
//!
//! Sums run over eight frames in a register before they are added up, so that a long recording loses little to
//! rounding; their order does not depend on threads.

use rayon::prelude::*;

use crate::conv::{Rows, RowsMut, parts};
use crate::error::{KernelError, expect_shape};
use crate::lanes::{Job, Lanes};
use crate::lstm::Threads;
use crate::math::flush;
use crate::tier::Tier;

/// Frames that are added up in a register.
const TOGETHER: usize = 8;
/// Channels that a thread takes at least, and of which it takes a multiple: a cache line is then one thread's.
const LEAST_CHANNELS: usize = 256;

/// Mean over `frames` frames of `rows`, channel by channel, into `means` (C); then, unless `squares` is empty, the sums of
/// squared differences from it into `squares` (C).
///
/// # Errors
/// [`KernelError::Zero`] without frames or channels, [`KernelError::Rows`] and [`KernelError::Length`] for memory that does not fit.
pub fn moments(
    tier: Tier,
    frames: usize,
    rows: Rows<'_>,
    means: &mut [f32],
    squares: &mut [f32],
    threads: Threads,
) -> Result<(), KernelError> {
    let channels = means.len();
    for (what, size) in [("number of frames of a mean", frames), ("number of channels of a mean", channels)] {
        if size == 0 {
            return Err(KernelError::Zero { what });
        }
    }
    rows.check("signal of a mean", frames, channels)?;
    if !squares.is_empty() {
        expect_shape("sums of squares", squares.len(), &[channels])?;
    }
    let part = |first: usize, means: &mut [f32], squares: &mut [f32]| {
        let (values, stride) = (&rows.values[first..], rows.stride);
        tier.run(Sums { frames, values, stride, out: means, center: None });
        let count = frames as f32;
        means.iter_mut().for_each(|value| *value /= count);
        if !squares.is_empty() {
            tier.run(Sums { frames, values, stride, out: squares, center: Some(means) });
        }
    };
    let parts = parts(threads, channels, LEAST_CHANNELS);
    let share = channels.div_ceil(parts).next_multiple_of(64);
    if parts == 1 {
        part(0, means, squares);
    } else if squares.is_empty() {
        means.par_chunks_mut(share).enumerate().for_each(|(index, means)| part(index * share, means, &mut []));
    } else {
        means
            .par_chunks_mut(share)
            .zip(squares.par_chunks_mut(share))
            .enumerate()
            .for_each(|(index, (means, squares))| part(index * share, means, squares));
    }
    Ok(())
}

/// `out = x factors + addend`, `frames` frames of as many channels as there are `factors`: a squeeze-excitation's scaling
/// with the block's shortcut. Without `factors` it is the sum of the two, over `channels` channels.
///
/// # Errors
/// [`KernelError::Rows`] or [`KernelError::Length`] for memory that does not fit.
pub fn scale_add(
    tier: Tier,
    [frames, channels]: [usize; 2],
    x: Rows<'_>,
    factors: Option<&[f32]>,
    addend: Rows<'_>,
    out: RowsMut<'_>,
    threads: Threads,
) -> Result<(), KernelError> {
    x.check("signal to be scaled", frames, channels)?;
    addend.check("signal to be added", frames, channels)?;
    let needed = out.check("scaled signal", frames, channels)?;
    if let Some(factors) = factors {
        expect_shape("factors of channels", factors.len(), &[channels])?;
    }
    let parts = parts(threads, frames, LEAST_FRAMES);
    let share = frames.div_ceil(parts);
    let part = |index: usize, values: &mut [f32]| {
        let first = index * share;
        tier.run(ScaleAdd {
            frames: share.min(frames - first),
            channels,
            x: (&x.values[first * x.stride..], x.stride),
            factors,
            addend: (&addend.values[first * addend.stride..], addend.stride),
            out: (values, out.stride),
        });
    };
    if frames == 0 || channels == 0 {
        return Ok(());
    }
    if parts == 1 {
        part(0, &mut out.values[..needed]);
    } else {
        out.values[..needed].par_chunks_mut(share * out.stride).enumerate().for_each(|(index, out)| part(index, out));
    }
    Ok(())
}

/// Frames that a thread scales at least.
const LEAST_FRAMES: usize = 32;

/// Sums over time, of the values or of the squares of their differences from `center`.
struct Sums<'a> {
    frames: usize,
    values: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
    center: Option<&'a [f32]>,
}

impl Job for Sums<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let channels = self.out.len();
        let whole = channels / L::WIDTH * L::WIDTH;
        self.out.fill(0.0);
        let mut first = 0;
        while first < self.frames {
            let rows = TOGETHER.min(self.frames - first);
            let values = &self.values[first * self.stride..];
            assert!((rows - 1) * self.stride + channels <= values.len());
            for (at, out) in self.out[..whole].chunks_exact_mut(L::WIDTH).enumerate() {
                let at = at * L::WIDTH;
                // SAFETY: a chunk is a vector.
                let mut sum = unsafe { l.load(out.as_ptr()) };
                let mut together = l.splat(0.0);
                let center = match self.center {
                    Some(center) => load(l, &center[at..]),
                    None => l.splat(0.0),
                };
                for row in 0..rows {
                    // SAFETY: `row < rows` and a vector from `at` on is among the channels; the assertion found room.
                    let x = unsafe { l.load(values.as_ptr().add(row * self.stride + at)) };
                    together = match self.center {
                        None => l.add(together, x),
                        Some(_) => {
                            let difference = l.sub(x, center);
                            l.mul_add(difference, difference, together)
                        }
                    };
                }
                sum = l.add(sum, together);
                // SAFETY: a chunk is a vector.
                unsafe { l.store(out.as_mut_ptr(), sum) };
            }
            for (channel, out) in self.out.iter_mut().enumerate().skip(whole) {
                let mut together = 0.0;
                for row in 0..rows {
                    let x = values[row * self.stride + channel];
                    together += self.center.map_or(x, |center| (x - center[channel]) * (x - center[channel]));
                }
                *out += together;
            }
            first += rows;
        }
    }
}

struct ScaleAdd<'a> {
    frames: usize,
    channels: usize,
    x: (&'a [f32], usize),
    factors: Option<&'a [f32]>,
    addend: (&'a [f32], usize),
    out: (&'a mut [f32], usize),
}

impl Job for ScaleAdd<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let whole = self.channels / L::WIDTH * L::WIDTH;
        for frame in 0..self.frames {
            let x = &self.x.0[frame * self.x.1..][..self.channels];
            let addend = &self.addend.0[frame * self.addend.1..][..self.channels];
            let out = &mut self.out.0[frame * self.out.1..][..self.channels];
            let mut at = 0;
            while at < whole {
                let factor = match self.factors {
                    Some(factors) => load(l, &factors[at..]),
                    None => l.splat(1.0),
                };
                let value = l.mul_add(load(l, &x[at..]), factor, load(l, &addend[at..]));
                let out = &mut out[at..at + L::WIDTH];
                // SAFETY: the slice holds a vector.
                unsafe { l.store(out.as_mut_ptr(), flush(l, value)) };
                at += L::WIDTH;
            }
            for channel in whole..self.channels {
                let factor = self.factors.map_or(1.0, |factors| factors[channel]);
                out[channel] = crate::math::flush_one(x[channel] * factor + addend[channel]);
            }
        }
    }
}

/// A vector from the start of `values`.
#[inline(always)]
fn load<L: Lanes>(l: L, values: &[f32]) -> L::Vector {
    assert!(values.len() >= L::WIDTH);
    // SAFETY: the assertion found a vector.
    unsafe { l.load(values.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 }))]

        #[test]
        fn moments_equal_their_definition_on_every_tier_and_any_threads(
            frames in 1_usize..60, channels in 1_usize..600, gap in 0_usize..9, seed: u64,
        ) {
            let stride = channels + gap;
            let x: Vec<f32> = noise(seed, frames * stride).iter().map(|x| x + 2.0).collect();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            for tier in Tier::available() {
                let run = |threads| {
                    let (mut means, mut squares) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
                    moments(tier, frames, Rows::new(&x, stride), &mut means, &mut squares, threads).unwrap();
                    (means, squares)
                };
                let (means, squares) = run(Threads::One);
                prop_assert_eq!(&(means.clone(), squares.clone()), &pool.install(|| run(Threads::Pool)));
                let mut alone = vec![f32::NAN; channels];
                pool.install(|| moments(tier, frames, Rows::new(&x, stride), &mut alone, &mut [], Threads::Pool)).unwrap();
                prop_assert_eq!(&alone, &means);
                for channel in 0..channels {
                    let column = || x.iter().skip(channel).step_by(stride).map(|&x| f64::from(x));
                    let mean = column().sum::<f64>() / frames as f64;
                    let square: f64 = column().map(|x| (x - mean) * (x - mean)).sum();
                    prop_assert!((f64::from(means[channel]) - mean).abs() < 1e-6);
                    prop_assert!((f64::from(squares[channel]) - square).abs() < 1e-5 * (1.0 + square));
                }
            }
        }

        #[test]
        fn scaling_equals_its_definition_on_every_tier_and_any_threads(
            frames in 0_usize..100, channels in 0_usize..90, gap in 0_usize..9, scaled: bool, seed: u64,
        ) {
            let stride = channels + gap;
            let (x, addend) = (noise(seed, frames * stride), noise(seed ^ 1, frames * channels));
            let factors = noise(seed ^ 2, channels);
            let factors = scaled.then_some(&factors[..]);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            for tier in Tier::available() {
                let run = |threads| {
                    let mut out = vec![7.0; frames * stride];
                    let (x, addend) = (Rows::new(&x, stride), Rows::new(&addend, channels));
                    let to = RowsMut::new(&mut out, stride);
                    scale_add(tier, [frames, channels], x, factors, addend, to, threads).unwrap();
                    out
                };
                let out = run(Threads::One);
                prop_assert_eq!(&out, &pool.install(|| run(Threads::Pool)));
                for (index, &got) in out.iter().enumerate() {
                    let (frame, channel) = (index / stride, index % stride);
                    let expected = match channel < channels {
                        true => x[index] * factors.map_or(1.0, |f| f[channel]) + addend[frame * channels + channel],
                        false => 7.0,
                    };
                    prop_assert!((got - expected).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (x, mut out) = ([1.0; 6], [0.0; 6]);
        let rows = Rows::new(&x, 3);
        let tier = Tier::detect();
        assert!(matches!(moments(tier, 0, rows, &mut out[..3], &mut [], Threads::One), Err(KernelError::Zero { .. })));
        assert!(matches!(moments(tier, 2, rows, &mut [], &mut [], Threads::One), Err(KernelError::Zero { .. })));
        assert!(matches!(moments(tier, 3, rows, &mut out[..3], &mut [], Threads::One), Err(KernelError::Rows { .. })));
        let (means, squares) = out.split_at_mut(3);
        let short = moments(tier, 2, rows, means, &mut squares[..2], Threads::One);
        assert!(matches!(short, Err(KernelError::Length { .. })));
        let mut scale = |frames, factors: Option<&[f32]>| {
            scale_add(tier, [frames, 3], rows, factors, rows, RowsMut::new(&mut out, 3), Threads::One)
        };
        assert!(matches!(scale(3, None), Err(KernelError::Rows { .. })));
        assert!(matches!(scale(2, Some(&[1.0])), Err(KernelError::Length { .. })));
        assert_eq!(scale(2, None), Ok(()));
    }
}
