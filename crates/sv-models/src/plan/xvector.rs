//! The plan of an x-vector network: each block writes where the next one's padding stands around it.

use ndarray::ArrayView2;
use sv_kernels::conv::{Activation, Conv1d, Padding, Pass, Rows, RowsMut, pad};
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::Threads;
use sv_kernels::statistics::moments;
use sv_kernels::{Buffer, KernelError, Tier};

use super::each::{Network, Padded};
use super::layers::{conv1d, padding, place, root, side};
use crate::ModelError;
use crate::encoders::ecapa::Floor;
use crate::encoders::xvector::XVectorConfig;
use crate::weights::Weights;

pub(super) struct XVectorPlan {
    tier: Tier,
    padding: Padding,
    blocks: Vec<Conv1d>,
    embedding: PackedLinear,
}

/// Working memory, reused.
#[derive(Default)]
pub(super) struct Memory {
    signals: [Buffer; 2],
    pooled: Buffer,
}

impl XVectorPlan {
    pub(super) fn new(tier: Tier, config: &XVectorConfig, weights: &Weights) -> Result<Self, KernelError> {
        let activation = Activation::LeakyRelu(XVectorConfig::SLOPE as f32);
        let block = |(block, &dilation): (usize, &usize)| {
            let (conv, norm) = (format!("blocks.{block}.conv"), format!("blocks.{block}.norm"));
            conv1d(tier, weights, &conv, dilation, activation, Some(&norm))
        };
        let weight = weights.get("embedding.weight");
        let bias = &weights.get("embedding.bias").values;
        Ok(Self {
            tier,
            padding: padding(config.padding()),
            blocks: config.dilations.iter().enumerate().map(block).collect::<Result<_, _>>()?,
            embedding: PackedLinear::on_tier(tier, weight.shape[1], weight.shape[0], &weight.values, bias)?,
        })
    }
}

impl Network for XVectorPlan {
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

impl Padded for XVectorPlan {
    /// `share T`, rounded in f32, halves to even.
    fn counted(&self, share: f32, frames: usize) -> usize {
        (share * frames as f32).round_ties_even() as usize
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
        let Memory { signals: [now, next], pooled } = memory;
        let (mut now, mut next) = (now, next);
        let first = self.blocks.first().map_or(0, side);
        place(window, first, now.at_least((frames + 2 * first) * bins));
        let mut channels = bins;
        for (index, block) in self.blocks.iter().enumerate() {
            let around = side(block);
            let input = now.at_least((frames + 2 * around) * channels);
            pad(self.padding, RowsMut::new(input, channels), channels, [around, frames, around])?;
            let outputs = block.sizes().outputs;
            let after = self.blocks.get(index + 1).map_or(0, side);
            let output = &mut next.at_least((frames + 2 * after) * outputs)[after * outputs..];
            block.run(Pass::new(frames, Rows::new(input, channels), RowsMut::new(output, outputs)), threads)?;
            channels = outputs;
            (now, next) = (next, now);
        }
        let signal = Rows::new(&now.values()[..frames * channels], channels);
        let pooled = pooled.at_least(2 * channels);
        let (means, deviations) = pooled.split_at_mut(channels);
        moments(self.tier, counted, signal, means, deviations, threads)?;
        root(Floor::AtLeast(0.0), counted as f64 - 1.0, deviations);
        let offset = XVectorConfig::DEVIATION_OFFSET as f32;
        deviations.iter_mut().for_each(|value| *value += offset);
        self.embedding.apply(1, pooled, out)?;
        Ok(())
    }
}
