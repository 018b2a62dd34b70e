//! The gradient of the weights in Winograd's form: each point of it is the product of the same point of the outputs' gradients and
//! of what was seen, over all tiles; the weights' gradient is made of the sums of points once.

use super::super::tile::Strides;
use super::super::winograd::{POINTS, Scatter, ScatterSlopes, Tiling};
use super::Sizes;
use super::products::Products;
use super::strip::Strip;
use crate::buffer::Buffer;
use crate::tier::Tier;

/// Tiles that are gone through together: each pass reads and writes all sums, which are more than a second-level cache holds where
/// there are many channels.
const TOGETHER: usize = 80;

/// Adds the products of some lines, `y` (lines, F', O) and what they see, to `sums`, (16, O, I).
pub(super) fn add(tier: Tier, sizes: Sizes, seen: Strip<'_>, y: &[f32], sums: &mut [f32], memory: &mut Buffer) {
    let Sizes { inputs, outputs, given: [_, bins], .. } = sizes;
    let tiling = Tiling::new(y.len() / sizes.line(), bins);
    let size = TOGETHER.min(tiling.count());
    let (of_x, of_y) = memory.at_least(POINTS * size * (inputs + outputs)).split_at_mut(POINTS * size * inputs);
    let input_at = Strides { outer: seen.line, inner: inputs };
    for first in (0..tiling.count()).step_by(size) {
        let range = first..(first + size).min(tiling.count());
        let count = range.len();
        let input = seen.values;
        tier.run(Scatter { tiling, range: range.clone(), input, input_at, channels: inputs, points: &mut *of_x });
        tier.run(ScatterSlopes { tiling, range, y, channels: outputs, points: &mut *of_y });
        // A line of as many bins as there are tiles, and one tap.
        let point = Sizes { kernel: [1, 1], given: [1, count], ..sizes };
        let pairs = of_x.chunks(count * inputs).zip(of_y.chunks(count * outputs));
        for ((x, y), sums) in pairs.zip(sums.chunks_mut(outputs * inputs)) {
            tier.run(Products { sizes: point, x, line: x.len(), y, sums });
        }
    }
}
