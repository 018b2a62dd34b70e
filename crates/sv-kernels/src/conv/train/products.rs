//! Products of the outputs' gradients with what they see, added up over lines.

use super::Sizes;
use crate::gemm::WIDEST;
use crate::lanes::{Job, Lanes};

/// Vectors of columns whose sums are held at a time: three taps of one vector of channels.
const COLUMNS: usize = 3;
/// Outputs (frames times bins) that are gone through before the sums leave the registers: what they read stays in the cache.
const TOGETHER: usize = 256;
/// Values behind the last that a line sees which may be read, and count for nothing.
pub(super) const SLACK: usize = COLUMNS * WIDEST;

/// Adds the products of some lines to `sums` (O, K, L I).
pub(super) struct Products<'a> {
    pub(super) sizes: Sizes,
    /// What the lines see, `line` values from one to the next.
    pub(super) x: &'a [f32],
    pub(super) line: usize,
    /// (lines, F', O)
    pub(super) y: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl Job for Products<'_> {
    type Out = ();
    #[inline(always)]
    fn run<L: Lanes>(mut self, l: L) {
        let Sizes { outputs, kernel: [taps, _], given: [_, bins], .. } = self.sizes;
        let together = (TOGETHER / bins).max(1);
        let lines = self.y.len() / self.sizes.line();
        for first in (0..lines).step_by(together) {
            let count = together.min(lines - first);
            for tap in 0..taps {
                let mut output = 0;
                while output < outputs {
                    output += match outputs - output {
                        8.. if L::ROWS >= 6 => self.columns::<L, 8>(l, [first, count], tap, output),
                        4.. if L::ROWS >= 3 => self.columns::<L, 4>(l, [first, count], tap, output),
                        2.. => self.columns::<L, 2>(l, [first, count], tap, output),
                        _ => self.columns::<L, 1>(l, [first, count], tap, output),
                    };
                }
            }
        }
    }
}

impl Products<'_> {
    /// All columns of `R` outputs from `output` on; gives `R`.
    #[inline(always)]
    fn columns<L: Lanes, const R: usize>(&mut self, l: L, lines: [usize; 2], tap: usize, output: usize) -> usize {
        let columns = self.sizes.kernel[1] * self.sizes.inputs;
        let mut column = 0;
        while column < columns {
            column += match (columns - column).div_ceil(L::WIDTH) {
                1 => self.block::<L, R, 1>(l, lines, tap, output, column),
                2 => self.block::<L, R, 2>(l, lines, tap, output, column),
                _ => self.block::<L, R, COLUMNS>(l, lines, tap, output, column),
            };
        }
        R
    }

    /// `V` vectors of columns of `R` outputs, over `count` lines from `first` on; gives the number of columns.
    #[inline(always)]
    fn block<L: Lanes, const R: usize, const V: usize>(
        &mut self,
        l: L,
        [first, count]: [usize; 2],
        tap: usize,
        output: usize,
        column: usize,
    ) -> usize {
        let Sizes { inputs, outputs, kernel: [taps, across], stride, given: [_, bins], .. } = self.sizes;
        let (step, width) = (stride[1] * inputs, V * L::WIDTH);
        let columns = across * inputs;
        let mut sums = [[l.splat(0.0); V]; R];
        for line in first..first + count {
            let x = &self.x[(line * stride[0] + tap) * self.line + column..];
            let y = &self.y[line * bins * outputs + output..];
            assert!((bins - 1) * step + width <= x.len() && (bins - 1) * outputs + R <= y.len());
            let (mut x, mut y) = (x.as_ptr(), y.as_ptr());
            for _ in 0..bins {
                // No closures in here: each would be compiled without the tier's instructions where it is not inlined.
                let mut seen = [l.splat(0.0); V];
                for (j, seen) in seen.iter_mut().enumerate() {
                    // SAFETY: bin f begins at `f step`; the assertion found room for `V` vectors at the last.
                    *seen = unsafe { l.load(x.wrapping_add(j * L::WIDTH)) };
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: bin f begins at `f outputs`; the assertion found room for `R` values at the last.
                    let slope = l.splat(unsafe { *y.wrapping_add(r) });
                    for (sum, &seen) in sums.iter_mut().zip(&seen) {
                        *sum = l.mul_add(slope, seen, *sum);
                    }
                }
                x = x.wrapping_add(step);
                y = y.wrapping_add(outputs);
            }
        }
        let valid = width.min(columns - column);
        let mut whole = [0.0; SLACK];
        for (r, row) in sums.iter().enumerate() {
            crate::gemm::store_panel_row(l, row, &mut whole[..width]);
            let to = &mut self.sums[((output + r) * taps + tap) * columns + column..][..valid];
            to.iter_mut().zip(&whole).for_each(|(to, value)| *to += value);
        }
        valid
    }
}
