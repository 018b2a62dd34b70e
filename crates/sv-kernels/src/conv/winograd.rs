//! Convolutions of 3x3 taps, one output a step, by minimal filtering F(2x2, 3x3) (Winograd 1980; Lavin and Gray 2016): tiles of 2x2
//! outputs by 16 products a pair of channels where the definition has 36, at the rounding error of the definition. A tile's values
//! become 16 points by sums and differences, each point is a product of matrices over all channels, and the points of the product
//! become the tile's outputs.

mod transform;

use super::sweep::{Conv2dSizes, Sweep};
use super::tile::{Finish, Segments, Strides, Tiles};
use crate::buffer::Buffer;
use crate::gemm::WIDEST;
use crate::gemm::pack::Panels;
use crate::tier::Tier;
use transform::Gather;
pub(super) use transform::{Scatter, ScatterSlopes};

/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 2;
/// Inputs that a tile sees along an axis.
const SEEN: usize = 4;
/// Points of a tile.
pub(super) const POINTS: usize = SEEN * SEEN;
/// Taps along an axis.
const TAPS: usize = 3;
/// Channels, of input and of output, from which on the products saved are worth the sums, for outputs and for the gradient of the
/// weights (measured: 16 channels' outputs take as long either way).
const LEAST_CHANNELS: usize = 2 * WIDEST;
const LEAST_OF_SLOPES: usize = WIDEST;
/// Values of the points of the tiles that are gone through together: they stay in a second-level cache.
const TOGETHER: usize = 131_072;

/// Whether the outputs of a convolution of this form are made so.
pub(super) fn pays(form: Conv2dSizes) -> bool {
    fits(form, LEAST_CHANNELS)
}

/// Whether the gradient of its weights is.
pub(super) fn pays_for_slopes(form: Conv2dSizes) -> bool {
    fits(form, LEAST_OF_SLOPES)
}

fn fits(Conv2dSizes { inputs, outputs, kernel, stride }: Conv2dSizes, least: usize) -> bool {
    let many = |channels: usize| channels >= least && channels.is_multiple_of(WIDEST);
    kernel == [TAPS; 2] && stride == [1, 1] && many(inputs) && many(outputs)
}

/// How many tiles of so many channels are gone through together.
fn together(inputs: usize, outputs: usize) -> usize {
    (TOGETHER / (POINTS * (inputs + outputs))).max(1)
}

/// Each point of the weights, packed.
#[derive(Debug, Clone)]
pub(super) struct Filters {
    inputs: usize,
    outputs: usize,
    points: Vec<Panels>,
    /// As many as the panels have columns.
    zeros: Vec<f32>,
}

/// Of row a, the weights that tap k has in point a: (1, 0, 0), (1, 1, 1) / 2, (1, -1, 1) / 2, (0, 0, 1).
const WEIGHT_POINTS: [[f64; TAPS]; SEEN] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

impl Filters {
    /// Of weights (O, 3, 3, I) whose channels [`pays`] has seen.
    pub(super) fn new(tier: Tier, inputs: usize, outputs: usize, weight: &[f32]) -> Self {
        let mut points = vec![vec![0.0; outputs * inputs]; POINTS];
        // Along time first: (4, 3, I).
        let mut half = vec![0.0; SEEN * TAPS * inputs];
        for (output, taps) in weight.chunks_exact(TAPS * TAPS * inputs).enumerate() {
            let taps: Vec<Vec<f64>> =
                taps.chunks_exact(inputs).map(|tap| tap.iter().map(|&w| w.into()).collect()).collect();
            for (index, to) in half.chunks_exact_mut(inputs).enumerate() {
                let (point, across) = (index / TAPS, index % TAPS);
                let taps = [0, 1, 2].map(|along| &taps[along * TAPS + across][..]);
                to.iter_mut().zip(weighted(WEIGHT_POINTS[point], taps)).for_each(|(to, sum)| *to = sum);
            }
            let half: Vec<&[f64]> = half.chunks_exact(inputs).collect();
            for (index, point) in points.iter_mut().enumerate() {
                let (along, across) = (index / SEEN, index % SEEN);
                let taps = [0, 1, 2].map(|tap| half[along * TAPS + tap]);
                let to = &mut point[output * inputs..][..inputs];
                to.iter_mut().zip(weighted(WEIGHT_POINTS[across], taps)).for_each(|(to, sum)| *to = sum as f32);
            }
        }
        let points = points.iter().map(|point| Panels::fitted(tier, inputs, outputs, point));
        let points: Vec<_> = points.collect();
        let zeros = vec![0.0; points.iter().map(Panels::columns).max().unwrap_or(0)];
        Self { inputs, outputs, points, zeros }
    }

    /// Outputs, and what fills the last vectors of the panels.
    pub(super) fn columns(&self) -> usize {
        self.zeros.len()
    }

    /// The output of `sweep`; `memory` is for its points.
    pub(super) fn run(&self, tier: Tier, sweep: Sweep<'_>, memory: &mut Buffer) {
        let Self { inputs, outputs, points, zeros } = self;
        let Sweep { frames, bins, input, input_at, bias, finish, residual, out, out_at, .. } = sweep;
        let (tiles, plain) = (Tiling::new(frames, bins), Finish::none());
        let size = together(*inputs, *outputs).min(tiles.count());
        let (seen, made) = memory.at_least(POINTS * size * (inputs + outputs)).split_at_mut(POINTS * size * inputs);
        for first in (0..tiles.count()).step_by(size) {
            let range = first..(first + size).min(tiles.count());
            let count = range.len();
            tier.run(Scatter { tiling: tiles, range: range.clone(), input, input_at, channels: *inputs, points: seen });
            let pairs = seen.chunks(count * inputs).zip(made.chunks_mut(count * outputs));
            for (panels, (seen, made)) in points.iter().zip(pairs) {
                tier.run(Tiles {
                    outer: 1,
                    inner: count,
                    input: seen,
                    input_at: Strides::inner(*inputs),
                    segments: Segments { count: 1, apart: 0, length: *inputs },
                    panels,
                    range: 0..panels.count(),
                    bias: zeros,
                    added: &[],
                    finish: &plain,
                    residual: None,
                    out: made,
                    out_at: Strides::inner(*outputs),
                    columns: *outputs,
                    second: None,
                });
            }
            let points = &made[..POINTS * count * outputs];
            let channels = *outputs;
            tier.run(Gather { tiling: tiles, range, points, channels, bias, finish, residual, out: &mut *out, out_at });
        }
    }
}

/// Three rows, each times its weight, added up.
fn weighted<'a>(weights: [f64; TAPS], rows: [&'a [f64]; TAPS]) -> impl Iterator<Item = f64> + 'a {
    let [a, b, c] = weights;
    let rows = rows[0].iter().zip(rows[1]).zip(rows[2]);
    rows.map(move |((first, second), third)| a * first + b * second + c * third)
}

/// The gradient of the weights (O, I, 3, 3) from that of their points, (16, O, I).
pub(super) fn weights_of(points: &[f64]) -> Vec<f32> {
    /// Of a tap, the weights of the points that it has a part in.
    const TAP_WEIGHTS: [[f64; SEEN]; TAPS] = {
        let mut turned = [[0.0; SEEN]; TAPS];
        let mut index = 0;
        while index < TAPS * SEEN {
            turned[index / SEEN][index % SEEN] = WEIGHT_POINTS[index % SEEN][index / SEEN];
            index += 1;
        }
        turned
    };
    let pairs = points.len() / POINTS;
    let mut out = vec![0.0; pairs * TAPS * TAPS];
    for (pair, taps) in out.chunks_exact_mut(TAPS * TAPS).enumerate() {
        // Along time first: tap by tap, the points along frequency.
        let half = TAP_WEIGHTS.map(|weights| {
            let mut line = [0.0; SEEN];
            for (along, weight) in weights.iter().enumerate() {
                for (across, to) in line.iter_mut().enumerate() {
                    *to += weight * points[(along * SEEN + across) * pairs + pair];
                }
            }
            line
        });
        for (line, to) in half.iter().zip(taps.chunks_exact_mut(TAPS)) {
            for (weights, to) in TAP_WEIGHTS.iter().zip(to) {
                *to = weights.iter().zip(line).map(|(weight, point)| weight * point).sum::<f64>() as f32;
            }
        }
    }
    out
}

/// An image of outputs in tiles, the last of which may lie half outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    frames: usize,
    bins: usize,
    across: usize,
}

impl Tiling {
    pub(super) fn new(frames: usize, bins: usize) -> Self {
        Self { frames, bins, across: bins.div_ceil(TILE) }
    }

    pub(super) fn count(self) -> usize {
        self.frames.div_ceil(TILE) * self.across
    }

    /// Frame and bin of a tile's first output.
    fn place(self, tile: usize) -> [usize; 2] {
        [tile / self.across * TILE, tile % self.across * TILE]
    }
}
