//! Attentive statistics: a weight for each channel and frame, and the mean and variance of a signal under them. The
//! weights, as many as the signal has values, are never in memory together.

use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::conv::{Activation, Conv1d, Conv1dSizes, ConvWeights, Rows, parts};
use crate::error::{KernelError, expect_shape};
use crate::gemm::{VECTORS, load_panel_row, store_panel_row};
use crate::lanes::{Job, Lanes};
use crate::lstm::Threads;
use crate::math::exp_vector;
use crate::tier::Tier;

/// The last layer of an attention over time, its softmax, and the pooling under it, packed for one tier.
#[derive(Debug, Clone)]
pub struct AttentivePooling {
    tier: Tier,
    scores: Conv1d,
}

/// Memory for [`AttentivePooling::run`]: reused, so that a call no larger than an earlier one allocates nothing.
#[derive(Debug, Default)]
pub struct PoolingWorkspace {
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    /// Scores, then weights, of the channels of a panel: (T, columns of a panel).
    scores: Buffer,
    /// The signal's values of the same.
    values: Buffer,
}

impl AttentivePooling {
    /// Packs `weight` (channels, hidden) and `bias` (channels) of the linear layer that gives the scores.
    ///
    /// # Errors
    /// As [`Conv1d::new`].
    pub fn new(hidden: usize, channels: usize, weight: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        Self::on_tier(Tier::detect(), hidden, channels, weight, bias)
    }

    /// The same for a given tier.
    ///
    /// # Errors
    /// As [`Conv1d::new`].
    pub fn on_tier(
        tier: Tier,
        hidden: usize,
        channels: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Result<Self, KernelError> {
        let sizes = Conv1dSizes { inputs: hidden, outputs: channels, kernel: 1, dilation: 1 };
        let weights = ConvWeights { weight, bias, activation: Activation::Identity, affine: None };
        Ok(Self { tier, scores: Conv1d::on_tier(tier, sizes, &weights)? })
    }

    /// Mean and variance over `frames` frames of `signal` (T, C) under the softmax over time of the scores that `hidden`
    /// (T, hidden) gives: into `means` and `variances` (C).
    ///
    /// # Errors
    /// [`KernelError::Zero`] without frames, [`KernelError::Rows`] and [`KernelError::Length`] for memory that does not fit.
    pub fn run(
        &self,
        frames: usize,
        hidden: Rows<'_>,
        signal: Rows<'_>,
        [means, variances]: [&mut [f32]; 2],
        workspace: &mut PoolingWorkspace,
        threads: Threads,
    ) -> Result<(), KernelError> {
        let Conv1dSizes { inputs, outputs: channels, .. } = self.scores.sizes();
        if frames == 0 {
            return Err(KernelError::Zero { what: "number of frames of a pooling" });
        }
        hidden.check("hidden layer of an attention", frames, inputs)?;
        signal.check("signal to be pooled", frames, channels)?;
        expect_shape("pooled means", means.len(), &[channels])?;
        expect_shape("pooled variances", variances.len(), &[channels])?;

        let width = self.scores.panel_width();
        let panels = channels.div_ceil(width);
        let parts = parts(threads, panels, 1);
        let share = panels.div_ceil(parts);
        workspace.parts.resize_with(parts.max(workspace.parts.len()), Part::default);
        let run = |index: usize, means: &mut [f32], variances: &mut [f32], memory: &mut Part| {
            let scores = memory.scores.at_least(frames * width);
            let values = memory.values.at_least(width);
            let chunks = means.chunks_mut(width).zip(variances.chunks_mut(width));
            for (panel, (mean, variance)) in (index * share..).zip(chunks) {
                self.scores.one_panel(frames, hidden, panel, scores);
                let signal = (&signal.values[panel * width..], signal.stride);
                self.tier.run(Pool { frames, scores, signal, mean, variance, padded: values });
            }
        };
        if parts == 1 {
            run(0, means, variances, &mut workspace.parts[0]);
        } else {
            means
                .par_chunks_mut(share * width)
                .zip(variances.par_chunks_mut(share * width))
                .zip(workspace.parts.par_iter_mut())
                .enumerate()
                .for_each(|(index, ((means, variances), memory))| run(index, means, variances, memory));
        }
        Ok(())
    }
}

/// Softmax over time and pooling of the channels of one panel.
struct Pool<'a> {
    frames: usize,
    /// (T, columns of a panel)
    scores: &'a mut [f32],
    signal: (&'a [f32], usize),
    mean: &'a mut [f32],
    variance: &'a mut [f32],
    /// Room for a row of the signal that is narrower than the panel.
    padded: &'a mut [f32],
}

/// Frames whose sums are kept in registers before they are added up.
const TOGETHER: usize = 16;

impl Job for Pool<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = VECTORS * L::WIDTH;
        let channels = self.mean.len();
        self.padded.fill(0.0);
        let scores = &mut self.scores[..self.frames * width];

        let mut most = load_panel_row(l, &scores[..width]);
        for row in scores.chunks_exact(width) {
            let row = load_panel_row(l, row);
            for (most, &value) in most.iter_mut().zip(&row) {
                *most = l.max(*most, value);
            }
        }

        let zeros = [l.splat(0.0); VECTORS];
        let (mut total, mut mean) = (zeros, zeros);
        for (block, rows) in scores.chunks_mut(TOGETHER * width).enumerate() {
            let (mut some, mut weighted) = (zeros, zeros);
            for (row, weights) in rows.chunks_exact_mut(width).enumerate() {
                let mut share = load_panel_row(l, weights);
                let x = signal_row(l, self.signal, block * TOGETHER + row, channels, self.padded);
                for j in 0..VECTORS {
                    share[j] = exp_vector(l, l.sub(share[j], most[j]));
                    some[j] = l.add(some[j], share[j]);
                    weighted[j] = l.mul_add(share[j], x[j], weighted[j]);
                }
                store_panel_row(l, &share, weights);
            }
            for j in 0..VECTORS {
                total[j] = l.add(total[j], some[j]);
                mean[j] = l.add(mean[j], weighted[j]);
            }
        }
        for j in 0..VECTORS {
            mean[j] = l.div(mean[j], total[j]);
        }

        let mut variance = zeros;
        for (block, rows) in scores.chunks(TOGETHER * width).enumerate() {
            let mut some = zeros;
            for (row, weights) in rows.chunks_exact(width).enumerate() {
                let share = load_panel_row(l, weights);
                let x = signal_row(l, self.signal, block * TOGETHER + row, channels, self.padded);
                for j in 0..VECTORS {
                    let difference = l.sub(x[j], mean[j]);
                    some[j] = l.mul_add(l.mul(share[j], difference), difference, some[j]);
                }
            }
            for j in 0..VECTORS {
                variance[j] = l.add(variance[j], some[j]);
            }
        }
        for j in 0..VECTORS {
            variance[j] = l.div(variance[j], total[j]);
        }
        store_panel_row(l, &mean, self.padded);
        self.mean.copy_from_slice(&self.padded[..channels]);
        store_panel_row(l, &variance, self.padded);
        self.variance.copy_from_slice(&self.padded[..channels]);
    }
}

/// Row `frame` of the signal, with zeros behind its last channel.
#[inline(always)]
fn signal_row<L: Lanes>(
    l: L,
    (values, stride): (&[f32], usize),
    frame: usize,
    channels: usize,
    padded: &mut [f32],
) -> [L::Vector; VECTORS] {
    let row = &values[frame * stride..][..channels];
    if channels == VECTORS * L::WIDTH {
        return load_panel_row(l, row);
    }
    padded[..channels].copy_from_slice(row);
    load_panel_row(l, padded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::tests::noise;
    use crate::reference;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 }))]

        #[test]
        fn pooling_equals_its_definition_on_every_tier_and_any_threads(
            frames in 1_usize..60, hidden in 1_usize..20, channels in 1_usize..300, gap in 0_usize..9, seed: u64,
        ) {
            let stride = channels + gap;
            // Scores that spread over some ten units, so that a softmax without its greatest subtracted would show.
            let h: Vec<f32> = noise(seed, frames * hidden).iter().map(|x| 10.0 * x).collect();
            let (x, w, b) = (noise(seed ^ 1, frames * stride), noise(seed ^ 2, hidden * channels), noise(seed ^ 3, channels));
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let scores = reference::linear(frames, hidden, channels, &wide(&h), &wide(&w), &wide(&b));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            for tier in Tier::available() {
                let pooling = AttentivePooling::on_tier(tier, hidden, channels, &w, &b).unwrap();
                let mut workspace = PoolingWorkspace::default();
                let mut run = |threads| {
                    let (mut means, mut variances) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
                    let (h, x) = (Rows::new(&h, hidden), Rows::new(&x, stride));
                    pooling.run(frames, h, x, [&mut means, &mut variances], &mut workspace, threads).unwrap();
                    (means, variances)
                };
                let (means, variances) = run(Threads::One);
                prop_assert_eq!(&(means.clone(), variances.clone()), &pool.install(|| run(Threads::Pool)));
                for c in 0..channels {
                    let shares: Vec<f64> = {
                        let column = || scores.iter().skip(c).step_by(channels);
                        let most = column().copied().fold(f64::NEG_INFINITY, f64::max);
                        column().map(|score| (score - most).exp()).collect()
                    };
                    let total: f64 = shares.iter().sum();
                    let weighted = |f: &dyn Fn(f64) -> f64| {
                        shares.iter().zip(x.iter().skip(c).step_by(stride)).map(|(s, &x)| s * f(f64::from(x))).sum::<f64>() / total
                    };
                    let mean = weighted(&|x| x);
                    let variance = weighted(&|x| (x - mean) * (x - mean));
                    prop_assert!((f64::from(means[c]) - mean).abs() < 2e-5, "{tier:?}: {} {mean}", means[c]);
                    prop_assert!((f64::from(variances[c]) - variance).abs() < 2e-5, "{tier:?}: {} {variance}", variances[c]);
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let pooling = AttentivePooling::new(2, 3, &[1.0; 6], &[]).unwrap();
        let values = [1.0; 6];
        let mut workspace = PoolingWorkspace::default();
        let mut run = |frames, hidden: &[f32], signal: &[f32], sizes: [usize; 2]| {
            let (mut means, mut variances) = (vec![0.0; sizes[0]], vec![0.0; sizes[1]]);
            let (hidden, signal) = (Rows::new(hidden, 2), Rows::new(signal, 3));
            pooling.run(frames, hidden, signal, [&mut means, &mut variances], &mut workspace, Threads::One)
        };
        assert!(matches!(run(0, &values, &values, [3, 3]), Err(KernelError::Zero { .. })));
        assert!(matches!(run(2, &values[..3], &values, [3, 3]), Err(KernelError::Rows { .. })));
        assert!(matches!(run(2, &values, &values[..5], [3, 3]), Err(KernelError::Rows { .. })));
        assert!(matches!(run(2, &values, &values, [2, 3]), Err(KernelError::Length { .. })));
        assert!(matches!(run(2, &values, &values, [3, 4]), Err(KernelError::Length { .. })));
        assert_eq!(run(2, &values, &values, [3, 3]), Ok(()));
    }
}
