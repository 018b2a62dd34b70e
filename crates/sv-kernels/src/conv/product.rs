//! The weights of a convolution over time and frequency in the form in which they are multiplied.

use super::sweep::{Conv2dSizes, Sweep};
use super::tile::{Segments, Tiles};
use super::winograd::{self, Filters, TILE};
use crate::buffer::Buffer;
use crate::gemm::pack::Panels;
use crate::tier::Tier;

/// Weights, packed.
#[derive(Debug, Clone)]
pub(super) enum Product {
    /// Tap by tap, as the input is read.
    Direct(Panels),
    /// In points of tiles.
    Tiled(Filters),
}

impl Product {
    /// Of weights (O, K, L, I).
    pub(super) fn new(tier: Tier, sizes: Conv2dSizes, ordered: &[f32]) -> Self {
        let Conv2dSizes { inputs, outputs, kernel, .. } = sizes;
        if winograd::pays(sizes) {
            Self::Tiled(Filters::new(tier, inputs, outputs, ordered))
        } else {
            Self::Direct(Panels::fitted(tier, kernel[0] * kernel[1] * inputs, outputs, ordered))
        }
    }

    /// Outputs, and what fills the last vectors.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Direct(panels) => panels.columns(),
            Self::Tiled(filters) => filters.columns(),
        }
    }

    /// Lines of the output of which a part of the work should be a multiple, so that no tile is made twice and the bits do not
    /// depend on the parts.
    pub(super) fn lines_together(&self) -> usize {
        match self {
            Self::Direct(_) => 1,
            Self::Tiled(_) => TILE,
        }
    }

    /// Runs over `sweep`; `memory` is left with anything.
    pub(super) fn run(&self, tier: Tier, sizes: Conv2dSizes, sweep: Sweep<'_>, memory: &mut Buffer) {
        let panels = match self {
            Self::Tiled(filters) => return filters.run(tier, sweep, memory),
            Self::Direct(panels) => panels,
        };
        let Sweep { frames, bins, input, input_at, line, bias, finish, residual, out, out_at } = sweep;
        let Conv2dSizes { inputs, outputs, kernel: [time, frequency], .. } = sizes;
        tier.run(Tiles {
            outer: frames,
            inner: bins,
            input,
            input_at,
            segments: Segments { count: time, apart: line, length: frequency * inputs },
            panels,
            range: 0..panels.count(),
            bias,
            added: &[],
            finish,
            residual,
            out,
            out_at,
            columns: outputs,
            second: None,
        });
    }
}
