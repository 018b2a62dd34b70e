//! The plan of an ECAPA-TDNN.
//!
//! Every signal is (T, C), frames-major. What follows a convolution is done where its sums are; a Res2 layer overwrites its
//! input piece by piece, each branch's output making the next branch's padded input on the way; the attention is told mean
//! and deviation by a bias, computed once.

use ndarray::ArrayView2;
use sv_kernels::attention::{AttentivePooling, PoolingWorkspace};
use sv_kernels::conv::{Activation, Conv1d, Conv1dSizes, ConvWeights, Padding, Pass, Rows, RowsMut, pad};
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::Threads;
use sv_kernels::statistics::{moments, scale_add};
use sv_kernels::{Buffer, KernelError, Tier, math};

use super::each::{Network, Padded};
use super::layers::{Affine, conv1d, folded, narrow, padding, place, root, side};
use crate::ModelError;
use crate::encoders::ecapa::{BlockInput, Deviation, Divisor, EcapaConfig, Floor, Untouched};
use crate::weights::Weights;

pub(super) struct EcapaPlan {
    tier: Tier,
    config: EcapaConfig,
    padding: Padding,
    stem: Conv1d,
    blocks: Vec<Block>,
    /// The blocks' outputs are its taps.
    mfa: Conv1d,
    /// The attention's part for the frame, and for mean and deviation.
    frame: Conv1d,
    context: PackedLinear,
    pooling: AttentivePooling,
    /// The running mean of what is pooled, which the embedding's layer takes without it.
    centre: Vec<f32>,
    embedding: PackedLinear,
}

struct Block {
    first: Conv1d,
    branches: Vec<Conv1d>,
    last: Conv1d,
    down: PackedLinear,
    up: PackedLinear,
}

/// Working memory, reused.
#[derive(Default)]
pub(super) struct Memory {
    input: Buffer,
    /// The inputs of the blocks that are no block's output: the stem's output, and sums.
    inputs: [Buffer; 2],
    /// The blocks' outputs, one after the other.
    outputs: Buffer,
    inner: Buffer,
    squeezed: Buffer,
    branches: [Buffer; 2],
    mfa: Buffer,
    hidden: Buffer,
    vectors: Buffer,
    pooling: PoolingWorkspace,
}

/// Values between the rows of a signal that would else start a multiple of 4 KiB apart, and so share a set of the
/// first-level cache.
const GAP: usize = 16;

/// From the start of one frame of `channels` values to the next.
fn stride(channels: usize) -> usize {
    if channels.is_multiple_of(1024) { channels + GAP } else { channels }
}

impl EcapaPlan {
    pub(super) fn new(tier: Tier, config: &EcapaConfig, weights: &Weights) -> Result<Self, KernelError> {
        let form = config.form;
        let layer = |name: &str, dilation: usize| {
            let (conv, norm) = (format!("{name}.conv"), format!("{name}.norm"));
            conv1d(tier, weights, &conv, dilation, Activation::Relu, Some(&norm))
        };
        let linear = |name: &str| {
            let weight = weights.get(&format!("{name}.weight"));
            let bias = &weights.get(&format!("{name}.bias")).values;
            PackedLinear::on_tier(tier, weight.shape[1], weight.shape[0], &weight.values, bias)
        };
        let block = |(block, &dilation): (usize, &usize)| {
            let name = |part: &str| format!("blocks.{block}.{part}");
            Ok(Block {
                first: layer(&name("tdnn1"), 1)?,
                branches: (0..config.scale - 1)
                    .map(|piece| layer(&name(&format!("res2.{piece}")), dilation))
                    .collect::<Result<_, _>>()?,
                last: layer(&name("tdnn2"), 1)?,
                down: linear(&name("se.down"))?,
                up: linear(&name("se.up"))?,
            })
        };

        let values = |name: &str| &weights.get(name).values;
        let told = values("attention.tdnn.conv.weight");
        let columns = |first: usize, count: usize| -> Vec<f32> {
            told.chunks_exact(3 * config.mfa).flat_map(|row| &row[first..first + count]).copied().collect()
        };
        let norm = form.attention_batch_norm().then(|| Affine::batch_norm(weights, "attention.tdnn.norm"));
        let norm = norm.map(|norm| (narrow(&norm.scale), narrow(&norm.shift)));
        let frame = ConvWeights {
            weight: &columns(0, config.mfa),
            bias: values("attention.tdnn.conv.bias"),
            activation: if norm.is_some() { Activation::Relu } else { Activation::Identity },
            affine: norm.as_ref().map(|(scale, shift)| (&scale[..], &shift[..])),
        };
        let sizes = Conv1dSizes { inputs: config.mfa, outputs: config.attention, kernel: 1, dilation: 1 };
        let context = columns(config.mfa, 2 * config.mfa);

        let before = Affine::centred_batch_norm(weights, "pool.norm");
        let after = form.embedding_batch_norm().then(|| Affine::batch_norm(weights, "embedding.norm"));
        let (weight, bias) = folded(weights, "embedding", Some(&before), after.as_ref());
        Ok(Self {
            tier,
            padding: padding(form.padding()),
            stem: layer("stem", config.dilations[0])?,
            blocks: config.dilations[1..].iter().enumerate().map(block).collect::<Result<_, KernelError>>()?,
            mfa: aggregation(tier, config, weights)?,
            frame: Conv1d::on_tier(tier, sizes, &frame)?,
            centre: values("pool.norm.running_mean").to_vec(),
            context: PackedLinear::on_tier(tier, 2 * config.mfa, config.attention, &context, &[])?,
            pooling: AttentivePooling::on_tier(
                tier,
                config.attention,
                config.mfa,
                values("attention.conv.weight"),
                values("attention.conv.bias"),
            )?,
            embedding: PackedLinear::on_tier(tier, 2 * config.mfa, config.size, &weight, &bias)?,
            config: config.clone(),
        })
    }

    /// One block: `input` to `output`, both `frames` frames, of which the first `counted` are what the means are of.
    fn block(
        &self,
        block: &Block,
        [frames, counted]: [usize; 2],
        input: Rows<'_>,
        output: &mut [f32],
        threads: Threads,
        memory: &mut BlockMemory<'_>,
    ) -> Result<(), KernelError> {
        let channels = self.config.channels;
        let stride = stride(channels);
        let inner = memory.inner.at_least(frames * stride);
        block.first.run(Pass::new(frames, input, RowsMut::new(inner, stride)), threads)?;
        self.res2(block, frames, inner, memory.branches, threads)?;
        let squeezed = memory.squeezed.at_least(frames * stride);
        block.last.run(Pass::new(frames, Rows::new(inner, stride), RowsMut::new(squeezed, stride)), threads)?;

        let (means, rest) = memory.vectors.at_least(2 * channels + self.config.squeeze).split_at_mut(channels);
        let (factors, hidden) = rest.split_at_mut(channels);
        moments(self.tier, counted, Rows::new(squeezed, stride), means, &mut [], threads)?;
        block.down.apply(1, means, hidden)?;
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        block.up.apply(1, hidden, factors)?;
        math::sigmoid(self.tier, factors);
        let scaled = Rows::new(squeezed, stride);
        scale_add(self.tier, [frames, channels], scaled, Some(factors), input, RowsMut::new(output, stride), threads)
    }

    /// The Res2 layer, in place: `signal` (T, C) in pieces.
    fn res2(
        &self,
        block: &Block,
        frames: usize,
        signal: &mut [f32],
        [now, next]: &mut [Buffer; 2],
        threads: Threads,
    ) -> Result<(), KernelError> {
        let (width, stride) = (self.config.width(), stride(self.config.channels));
        let (mut now, mut next) = (now, next);
        let first = match self.config.form.untouched() {
            Untouched::First => width,
            Untouched::Last => 0,
        };
        for (index, branch) in block.branches.iter().enumerate() {
            let piece = first + index * width;
            let side = side(branch);
            let padded = (frames + 2 * side) * width;
            let input = now.at_least(padded);
            if index == 0 {
                for (to, from) in input[side * width..].chunks_exact_mut(width).zip(signal.chunks(stride)) {
                    to.copy_from_slice(&from[piece..piece + width]);
                }
            }
            pad(self.padding, RowsMut::new(input, width), width, [side, frames, side])?;
            let mut pass = Pass::new(frames, Rows::new(input, width), RowsMut::new(&mut signal[piece..], stride));
            if let Some(after) = block.branches.get(index + 1) {
                let after = self::side(after);
                let second = &mut next.at_least((frames + 2 * after) * width)[after * width..];
                pass = pass.feeding(width, RowsMut::new(second, width));
            }
            branch.run(pass, threads)?;
            (now, next) = (next, now);
        }
        Ok(())
    }

    /// Mean and deviation under the attention of `signal` (T, mfa): the first 2 mfa values of `vectors`.
    fn pool<'m>(
        &self,
        frames: usize,
        signal: Rows<'_>,
        threads: Threads,
        [hidden, vectors]: [&'m mut Buffer; 2],
        workspace: &mut PoolingWorkspace,
    ) -> Result<&'m mut [f32], KernelError> {
        let (mfa, size, form) = (self.config.mfa, self.config.attention, self.config.form);
        let (pooled, added) = vectors.at_least(2 * mfa + size).split_at_mut(2 * mfa);
        let (means, deviations) = pooled.split_at_mut(mfa);
        moments(self.tier, frames, signal, means, deviations, threads)?;
        let Deviation { divisor, floor } = form.context();
        let divisor = match divisor {
            Divisor::Population => frames as f64,
            Divisor::Sample => frames as f64 - 1.0,
        };
        root(floor, divisor, deviations);
        self.context.apply(1, pooled, added)?;
        let hidden = hidden.at_least(frames * size);
        self.frame.run(Pass::new(frames, signal, RowsMut::new(hidden, size)).with_bias(added), threads)?;
        math::tanh(self.tier, hidden);
        let (means, deviations) = pooled.split_at_mut(mfa);
        self.pooling.run(frames, Rows::new(hidden, size), signal, [means, deviations], workspace, threads)?;
        root(Floor::AtLeast(form.pooled_floor()), 1.0, deviations);
        Ok(pooled)
    }
}

/// What a block works in.
struct BlockMemory<'m> {
    inner: &'m mut Buffer,
    squeezed: &'m mut Buffer,
    branches: &'m mut [Buffer; 2],
    vectors: &'m mut Buffer,
}

/// The aggregation over the blocks' outputs, which follow each other in memory: one tap a block.
fn aggregation(tier: Tier, config: &EcapaConfig, weights: &Weights) -> Result<Conv1d, KernelError> {
    let (blocks, channels) = (config.blocks(), config.channels);
    let weight = &weights.get("mfa.conv.weight").values;
    let mut taps = Vec::with_capacity(weight.len());
    for row in weight.chunks_exact(blocks * channels) {
        for channel in 0..channels {
            taps.extend((0..blocks).map(|block| row[block * channels + channel]));
        }
    }
    let norm = config.form.mfa_batch_norm().then(|| Affine::batch_norm(weights, "mfa.norm"));
    let norm = norm.map(|norm| (narrow(&norm.scale), narrow(&norm.shift)));
    let arrays = ConvWeights {
        weight: &taps,
        bias: &weights.get("mfa.conv.bias").values,
        activation: Activation::Relu,
        affine: norm.as_ref().map(|(scale, shift)| (&scale[..], &shift[..])),
    };
    let sizes = Conv1dSizes { inputs: channels, outputs: config.mfa, kernel: blocks, dilation: 1 };
    Conv1d::on_tier(tier, sizes, &arrays)
}

impl Network for EcapaPlan {
    type Memory = Memory;

    fn embed(
        &self,
        window: ArrayView2<'_, f32>,
        out: &mut [f32],
        threads: Threads,
        memory: &mut Memory,
    ) -> Result<(), ModelError> {
        self.embed_counted(window, window.nrows(), out, threads, memory)
    }
}

impl Padded for EcapaPlan {
    /// Frame t counts if `t < share T`, in f32.
    fn counted(&self, share: f32, frames: usize) -> usize {
        (share * frames as f32).ceil() as usize
    }

    fn embed_counted(
        &self,
        window: ArrayView2<'_, f32>,
        counted: usize,
        out: &mut [f32],
        threads: Threads,
        memory: &mut Memory,
    ) -> Result<(), ModelError> {
        let (frames, bins) = window.dim();
        let (channels, mfa) = (self.config.channels, self.config.mfa);
        let (stride, mfa_stride) = (stride(channels), stride(mfa));
        let Memory { input, inputs, outputs, inner, squeezed, branches, mfa: aggregated, hidden, vectors, pooling } =
            memory;

        let side = side(&self.stem);
        let padded = input.at_least((frames + 2 * side) * bins);
        place(window, side, padded);
        pad(self.padding, RowsMut::new(padded, bins), bins, [side, frames, side])?;
        let [now, next] = inputs;
        let (mut now, mut next) = (now, next);
        let stem = RowsMut::new(now.at_least(frames * stride), stride);
        self.stem.run(Pass::new(frames, Rows::new(padded, bins), stem), threads)?;

        let size = frames * stride;
        let outputs = outputs.at_least(self.blocks.len() * size);
        for (index, block) in self.blocks.iter().enumerate() {
            let (before, output) = outputs.split_at_mut(index * size);
            let previous = before.len().checked_sub(size).map(|first| Rows::new(&before[first..], stride));
            let input = match (self.config.form.block_input(), previous) {
                (BlockInput::Previous, Some(previous)) => previous,
                (BlockInput::Sum, Some(previous)) => {
                    let sum = RowsMut::new(next.at_least(size), stride);
                    let so_far = Rows::new(&now.values()[..size], stride);
                    scale_add(self.tier, [frames, channels], so_far, None, previous, sum, threads)?;
                    (now, next) = (next, now);
                    Rows::new(&now.values()[..size], stride)
                }
                (_, None) => Rows::new(&now.values()[..size], stride),
            };
            let mut memory = BlockMemory { inner, squeezed, branches, vectors };
            self.block(block, [frames, counted], input, &mut output[..size], threads, &mut memory)?;
        }
        let aggregated = aggregated.at_least(frames * mfa_stride);
        let pass = Pass::new(frames, Rows::new(outputs, stride), RowsMut::new(aggregated, mfa_stride));
        self.mfa.run(pass.with_taps_apart(size), threads)?;
        let signal = Rows::new(aggregated, mfa_stride);
        let pooled = self.pool(counted, signal, threads, [hidden, vectors], pooling)?;
        pooled.iter_mut().zip(&self.centre).for_each(|(value, centre)| *value -= centre);
        self.embedding.apply(1, pooled, out)?;
        Ok(())
    }
}
