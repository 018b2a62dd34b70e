//! A convolution over time and frequency: its sizes, and what one run goes over.

use super::tile::{Finish, Strides};

/// Sizes of a convolution over time and frequency; pairs are time, then frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dSizes {
    /// C of the input.
    pub inputs: usize,
    /// C of the output.
    pub outputs: usize,
    /// Taps along each axis.
    pub kernel: [usize; 2],
    /// Steps along each axis from one output to the next.
    pub stride: [usize; 2],
}

/// What to run over: `frames` lines of `bins` outputs, the input at the first tap of output (0, 0).
pub(super) struct Sweep<'a> {
    pub(super) frames: usize,
    pub(super) bins: usize,
    pub(super) input: &'a [f32],
    /// From what an output sees to what the next frame's and the next bin's see.
    pub(super) input_at: Strides,
    /// From one frame of the input to the next.
    pub(super) line: usize,
    /// As long as there are columns of weights.
    pub(super) bias: &'a [f32],
    pub(super) finish: &'a Finish,
    /// Added before the activation.
    pub(super) residual: Option<(&'a [f32], Strides)>,
    pub(super) out: &'a mut [f32],
    pub(super) out_at: Strides,
}
