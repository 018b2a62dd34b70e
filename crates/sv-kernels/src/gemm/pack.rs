//! Weights in the order in which the product reads them: panels of `4 WIDTH` columns, within a panel one input after
//! the other. Columns beyond the last are zeros; values too small to matter are flushed ([`crate::math::FLUSHED`]).

use super::VECTORS;
use crate::buffer::Buffer;
use crate::math::flush_one;
use crate::tier::Tier;

/// A packed weight matrix and its bias.
#[derive(Debug, Clone)]
pub(crate) struct Panels {
    width: usize,
    depth: usize,
    count: usize,
    weights: Buffer,
    bias: Buffer,
}

impl Panels {
    /// Packs `weight` (outputs, inputs) and `bias` (outputs, or empty): column c of the panels is output c.
    pub(crate) fn dense(tier: Tier, inputs: usize, outputs: usize, weight: &[f32], bias: &[f32]) -> Self {
        let width = VECTORS * tier.width();
        let output = |panel: usize, column: usize| Some(panel * width + column).filter(|&output| output < outputs);
        Self::pack(width, inputs, outputs.div_ceil(width), weight, bias, output)
    }

    /// Packs `weight` (4 units, inputs) of an LSTM, rows i, f, g, o, and `bias` (4 units, or empty): panel p has, for the
    /// units that fill one vector, a vector of each gate, so that a unit's gates meet in registers.
    pub(crate) fn gates(tier: Tier, inputs: usize, units: usize, weight: &[f32], bias: &[f32]) -> Self {
        let lanes = tier.width();
        let output = |panel: usize, column: usize| {
            let (gate, unit) = (column / lanes, panel * lanes + column % lanes);
            (unit < units).then_some(gate * units + unit)
        };
        Self::pack(VECTORS * lanes, inputs, units.div_ceil(lanes), weight, bias, output)
    }

    fn pack(
        width: usize,
        depth: usize,
        count: usize,
        weight: &[f32],
        bias: &[f32],
        output: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let mut packed = Buffer::zeros(count * depth * width);
        let mut packed_bias = Buffer::zeros(count * width);
        let (values, biases) = (packed.values_mut(), packed_bias.values_mut());
        for panel in 0..count {
            for column in 0..width {
                let Some(output) = output(panel, column) else { continue };
                for (k, &value) in weight[output * depth..][..depth].iter().enumerate() {
                    values[(panel * depth + k) * width + column] = flush_one(value);
                }
                biases[panel * width + column] = bias.get(output).copied().map_or(0.0, flush_one);
            }
        }
        Self { width, depth, count, weights: packed, bias: packed_bias }
    }

    /// Columns of a panel.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Number of panels.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Columns of all panels together.
    pub(crate) fn columns(&self) -> usize {
        self.count * self.width
    }

    /// The weights of a panel (depth, width).
    pub(crate) fn weights(&self, panel: usize) -> &[f32] {
        &self.weights.values()[panel * self.depth * self.width..][..self.depth * self.width]
    }

    /// The bias of a panel (width).
    pub(crate) fn bias(&self, panel: usize) -> &[f32] {
        &self.bias.values()[panel * self.width..][..self.width]
    }
}
