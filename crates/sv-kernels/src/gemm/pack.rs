//! Weights in the order in which the product reads them: panels of `4 WIDTH` columns, within a panel one input after
//! the other. Columns beyond the last are zeros; values too small to matter are flushed ([`crate::math::FLUSHED`]).

use super::VECTORS;
use crate::buffer::Buffer;
use crate::math::flush_one;
use crate::tier::Tier;

/// A packed weight matrix and its bias.
#[derive(Debug, Clone, Default)]
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
        let mut panels = Self::default();
        panels.set_dense(tier, inputs, outputs, weight, bias);
        panels
    }

    /// [`Panels::dense`] without bias, in panels of as few vectors, one, two or four, as hold the outputs: products of few
    /// outputs by [`super::for_narrow_blocks`] then waste none of them.
    pub(crate) fn fitted(tier: Tier, inputs: usize, outputs: usize, weight: &[f32]) -> Self {
        let mut panels = Self::default();
        let vectors = [1, 2].into_iter().find(|&vectors| outputs <= vectors * tier.width()).unwrap_or(VECTORS);
        let width = vectors * tier.width();
        let output = |panel: usize, column: usize| Some(panel * width + column).filter(|&output| output < outputs);
        panels.set(width, inputs, outputs.div_ceil(width), weight, &[], output);
        panels
    }

    /// Packs `weight` (4 units, inputs) of an LSTM, rows i, f, g, o, and `bias` (4 units, or empty): panel p has, for the
    /// units that fill one vector, a vector of each gate, so that a unit's gates meet in registers.
    pub(crate) fn gates(tier: Tier, inputs: usize, units: usize, weight: &[f32], bias: &[f32]) -> Self {
        let mut panels = Self::default();
        panels.set_gates(tier, inputs, units, weight, bias);
        panels
    }

    /// [`Panels::dense`] in the memory of what was packed here before.
    pub(crate) fn set_dense(&mut self, tier: Tier, inputs: usize, outputs: usize, weight: &[f32], bias: &[f32]) {
        let width = VECTORS * tier.width();
        let output = |panel: usize, column: usize| Some(panel * width + column).filter(|&output| output < outputs);
        self.set(width, inputs, outputs.div_ceil(width), weight, bias, output);
    }

    /// [`Panels::gates`] in the memory of what was packed here before.
    pub(crate) fn set_gates(&mut self, tier: Tier, inputs: usize, units: usize, weight: &[f32], bias: &[f32]) {
        let lanes = tier.width();
        let output = |panel: usize, column: usize| gate_row(lanes, units, panel, column);
        self.set(VECTORS * lanes, inputs, units.div_ceil(lanes), weight, bias, output);
    }

    /// Packs the transpose of a dense `weight` (outputs, inputs): column c of the panels is input c.
    pub(crate) fn set_dense_transposed(&mut self, tier: Tier, inputs: usize, outputs: usize, weight: &[f32]) {
        self.set_transposed(VECTORS * tier.width(), inputs, outputs, weight, Some);
    }

    /// Packs the transpose of what [`Panels::gates`] packs: column c of the panels is input c, its depth runs over the
    /// columns of those panels, one panel after the other.
    pub(crate) fn set_gates_transposed(&mut self, tier: Tier, inputs: usize, units: usize, weight: &[f32]) {
        let lanes = tier.width();
        let width = VECTORS * lanes;
        let row = |k: usize| gate_row(lanes, units, k / width, k % width);
        self.set_transposed(width, inputs, units.div_ceil(lanes) * width, weight, row);
    }

    fn set(
        &mut self,
        width: usize,
        depth: usize,
        count: usize,
        weight: &[f32],
        bias: &[f32],
        output: impl Fn(usize, usize) -> Option<usize>,
    ) {
        (self.width, self.depth, self.count) = (width, depth, count);
        let (values, biases) = (self.weights.at_least(count * depth * width), self.bias.at_least(count * width));
        for panel in 0..count {
            let values = &mut values[panel * depth * width..][..depth * width];
            for column in 0..width {
                let output = output(panel, column);
                biases[panel * width + column] =
                    output.and_then(|output| bias.get(output).copied()).map_or(0.0, flush_one);
                match output {
                    Some(output) => {
                        for (k, &value) in weight[output * depth..][..depth].iter().enumerate() {
                            values[k * width + column] = flush_one(value);
                        }
                    }
                    None => values.iter_mut().skip(column).step_by(width).for_each(|value| *value = 0.0),
                }
            }
        }
    }

    fn set_transposed(
        &mut self,
        width: usize,
        columns: usize,
        depth: usize,
        weight: &[f32],
        row: impl Fn(usize) -> Option<usize>,
    ) {
        (self.width, self.depth, self.count) = (width, depth, columns.div_ceil(width));
        self.bias.at_least(self.count * width).fill(0.0);
        let values = self.weights.at_least(self.count * depth * width);
        for (index, to) in values.chunks_exact_mut(width).enumerate() {
            let first = index / depth * width;
            let valid = width.min(columns - first);
            match row(index % depth) {
                Some(row) => {
                    for (to, &value) in to.iter_mut().zip(&weight[row * columns + first..][..valid]) {
                        *to = flush_one(value);
                    }
                    to[valid..].fill(0.0);
                }
                None => to.fill(0.0),
            }
        }
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

    /// The weights of all panels, one after the other.
    pub(crate) fn all(&self) -> &[f32] {
        self.weights.values()
    }

    /// The bias of a panel (width).
    pub(crate) fn bias(&self, panel: usize) -> &[f32] {
        &self.bias.values()[panel * self.width..][..self.width]
    }
}

/// The row of (4 units) that stands in `column` of a panel of gates, if there is such a unit.
pub(crate) fn gate_row(lanes: usize, units: usize, panel: usize, column: usize) -> Option<usize> {
    let (gate, unit) = (column / lanes, panel * lanes + column % lanes);
    (unit < units).then_some(gate * units + unit)
}
