//! Convolutions over frames-major signals, forward only: weights packed once, and what follows the sums (bias, a residual,
//! activation, scale and shift of a batch norm) done in registers before the store.
//!
//! A signal is (T, C), row-major, each row of C values a frame; its padding stands around it in memory, written by
//! [`pad`], so that the kernel itself knows none. What an output is does not depend, to the bit, on blocks or threads.

mod image;
mod pad;
mod product;
mod sweep;
mod tile;
#[cfg(any(feature = "candle", test))]
pub(crate) mod train;
mod winograd;

use rayon::prelude::*;

use crate::error::{KernelError, expect_shape};
use crate::gemm::pack::Panels;
use crate::lstm::Threads;
use crate::tier::Tier;
pub use image::{Conv2d, ConvMemory, Image, ImageMut, ImagePass, clear_borders};
pub use pad::{Padding, pad};
pub use sweep::Conv2dSizes;
pub use tile::Activation;
use tile::{Finish, Second, Segments, Strides, Tiles};

/// Sizes of a convolution over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dSizes {
    /// C of the input.
    pub inputs: usize,
    /// C of the output.
    pub outputs: usize,
    /// Taps.
    pub kernel: usize,
    /// Frames from one tap to the next.
    pub dilation: usize,
}

impl Conv1dSizes {
    /// Frames that the input has more than the output: `dilation (kernel - 1)`.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.dilation * self.kernel.saturating_sub(1)
    }
}

/// The arrays of a convolution and what follows it: `y = scale activation(W * x + bias + residual) + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvWeights<'a> {
    /// (outputs, inputs, kernel), or (outputs, inputs, kernel in time, kernel in frequency), row-major, as PyTorch has it.
    pub weight: &'a [f32],
    /// (outputs), or empty for none.
    pub bias: &'a [f32],
    /// What is done with the sum.
    pub activation: Activation,
    /// (outputs) each: scale and shift after the activation.
    pub affine: Option<(&'a [f32], &'a [f32])>,
}

/// Rows of values, `stride` values from the start of one to the next.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows that begin at the start of `values` and every `stride` values after; the last need not fill its stride.
    #[must_use]
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    /// Refuses memory that does not hold `rows` rows of `columns`.
    pub(crate) fn check(&self, what: &'static str, rows: usize, columns: usize) -> Result<usize, KernelError> {
        check_rows(what, self.values.len(), self.stride, rows, columns)
    }
}

/// The same, to be written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
}

impl<'a> RowsMut<'a> {
    /// Rows that begin at the start of `values` and every `stride` values after; the last need not fill its stride.
    #[must_use]
    pub fn new(values: &'a mut [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    /// Refuses memory that does not hold `rows` rows of `columns`; the values that they take.
    pub(crate) fn check(&self, what: &'static str, rows: usize, columns: usize) -> Result<usize, KernelError> {
        check_rows(what, self.values.len(), self.stride, rows, columns)
    }
}

/// Refuses memory of `got` values that does not hold `rows` rows of `columns`, `stride` apart; the values that they take.
fn check_rows(
    what: &'static str,
    got: usize,
    stride: usize,
    rows: usize,
    columns: usize,
) -> Result<usize, KernelError> {
    let before = crate::error::volume(what, &[rows.saturating_sub(1), stride])?;
    let needed = if rows == 0 { 0 } else { before.saturating_add(columns) };
    if (rows > 1 && stride < columns) || got < needed {
        return Err(KernelError::Rows { what, rows, columns, stride, got });
    }
    Ok(needed)
}

/// What a convolution runs over.
#[derive(Debug)]
pub struct Pass<'a> {
    frames: usize,
    input: Rows<'a>,
    out: RowsMut<'a>,
    bias: Option<&'a [f32]>,
    residual: Option<Rows<'a>>,
    second: Option<(usize, RowsMut<'a>)>,
    apart: Option<usize>,
}

impl<'a> Pass<'a> {
    /// `frames` frames of `out` from `frames + reach` frames of `input`.
    #[must_use]
    pub fn new(frames: usize, input: Rows<'a>, out: RowsMut<'a>) -> Self {
        Self { frames, input, out, bias: None, residual: None, second: None, apart: None }
    }

    /// Adds `bias` (outputs) to every frame, beside the bias of the weights.
    #[must_use]
    pub fn with_bias(self, bias: &'a [f32]) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Adds `residual` before the activation.
    #[must_use]
    pub fn adding(self, residual: Rows<'a>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// The taps stand `values` values apart in the input, instead of `dilation` frames: signals of one length that follow each
    /// other in memory are so read side by side, as if their channels stood in one row. The input has `frames` rows then.
    #[must_use]
    pub fn with_taps_apart(self, values: usize) -> Self {
        Self { apart: Some(values), ..self }
    }

    /// Writes into `second`, too: each output plus the value that stands `offset` values behind it in the output's own
    /// memory. A Res2Net block makes the next branch's input so.
    #[must_use]
    pub fn feeding(self, offset: usize, second: RowsMut<'a>) -> Self {
        Self { second: Some((offset, second)), ..self }
    }
}

/// A convolution over time, packed for one tier.
///
/// ```
/// use sv_kernels::conv::{Activation, Conv1d, Conv1dSizes, ConvWeights, Pass, Rows, RowsMut};
/// use sv_kernels::lstm::Threads;
///
/// // Two taps, two frames apart: y(t) = max(x(t) - x(t + 2), 0).
/// let sizes = Conv1dSizes { inputs: 1, outputs: 1, kernel: 2, dilation: 2 };
/// let weights = ConvWeights { weight: &[1.0, -1.0], bias: &[], activation: Activation::Relu, affine: None };
/// let conv = Conv1d::new(sizes, &weights)?;
/// let mut out = [0.0; 3];
/// conv.run(Pass::new(3, Rows::new(&[9.0, 0.0, 4.0, 5.0, 1.0], 1), RowsMut::new(&mut out, 1)), Threads::One)?;
/// assert_eq!(out, [5.0, 0.0, 3.0]);
/// # Ok::<(), sv_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conv1d {
    tier: Tier,
    sizes: Conv1dSizes,
    packed: Packed,
}

/// Weights in panels and what follows the sums.
#[derive(Debug, Clone)]
struct Packed {
    panels: Panels,
    bias: Vec<f32>,
    finish: Finish,
}

impl Packed {
    /// Of weights packed with their depth in the order in which the input is read.
    fn new(panels: Panels, weights: &ConvWeights<'_>) -> Self {
        let (bias, finish) = after(panels.columns(), weights);
        Self { panels, bias, finish }
    }
}

/// Bias and what follows the sums, as long as there are columns.
fn after(columns: usize, weights: &ConvWeights<'_>) -> (Vec<f32>, Finish) {
    let padded = |values: &[f32]| {
        let mut padded = values.to_vec();
        padded.resize(columns, 0.0);
        padded
    };
    let (scale, shift) = match weights.affine {
        Some((scale, shift)) => (padded(scale), padded(shift)),
        None => (Vec::new(), Vec::new()),
    };
    (padded(weights.bias), Finish { activation: weights.activation, scale, shift })
}

/// Checks all but the weight.
fn check_vectors(outputs: usize, weights: &ConvWeights<'_>) -> Result<(), KernelError> {
    if !weights.bias.is_empty() {
        expect_shape("bias of a convolution", weights.bias.len(), &[outputs])?;
    }
    if let Some((scale, shift)) = weights.affine {
        expect_shape("scale after a convolution", scale.len(), &[outputs])?;
        expect_shape("shift after a convolution", shift.len(), &[outputs])?;
    }
    Ok(())
}

/// Frames that a thread takes at least.
const LEAST_FRAMES: usize = 24;

impl Conv1d {
    /// Packs `weights` for the best tier of this machine.
    ///
    /// # Errors
    /// [`KernelError::Zero`] for a size of 0, [`KernelError::Length`] for an array of another shape.
    pub fn new(sizes: Conv1dSizes, weights: &ConvWeights<'_>) -> Result<Self, KernelError> {
        Self::on_tier(Tier::detect(), sizes, weights)
    }

    /// The same for a given tier.
    ///
    /// # Errors
    /// As [`Conv1d::new`].
    pub fn on_tier(tier: Tier, sizes: Conv1dSizes, weights: &ConvWeights<'_>) -> Result<Self, KernelError> {
        let Conv1dSizes { inputs, outputs, kernel, dilation } = sizes;
        for (what, size) in [
            ("input size of a convolution", inputs),
            ("output size of a convolution", outputs),
            ("kernel of a convolution", kernel),
            ("dilation of a convolution", dilation),
        ] {
            if size == 0 {
                return Err(KernelError::Zero { what });
            }
        }
        expect_shape("weight of a convolution", weights.weight.len(), &[outputs, inputs, kernel])?;
        check_vectors(outputs, weights)?;
        // Tap by tap, as the frames of the input are read.
        let mut ordered = Vec::with_capacity(weights.weight.len());
        for output in weights.weight.chunks_exact(inputs * kernel) {
            for tap in 0..kernel {
                ordered.extend(output.iter().skip(tap).step_by(kernel));
            }
        }
        Ok(Self {
            tier,
            sizes,
            packed: Packed::new(Panels::dense(tier, kernel * inputs, outputs, &ordered, &[]), weights),
        })
    }

    /// Its sizes.
    #[must_use]
    pub fn sizes(&self) -> Conv1dSizes {
        self.sizes
    }

    /// Runs over `pass`, its frames shared out among `threads`.
    ///
    /// # Errors
    /// [`KernelError::Rows`] if some memory does not hold the rows that the sizes ask for, [`KernelError::Length`] for a
    /// bias of another size.
    pub fn run(&self, pass: Pass<'_>, threads: Threads) -> Result<(), KernelError> {
        let Conv1dSizes { inputs, outputs, dilation, kernel } = self.sizes;
        let Pass { frames, input, out, bias, residual, second, apart } = pass;
        if frames == 0 {
            return Ok(());
        }
        match apart {
            None => input.check("input of a convolution", frames.saturating_add(self.sizes.reach()), inputs)?,
            Some(apart) => {
                let before = crate::error::volume("taps of a convolution", &[kernel - 1, apart])?;
                let last_tap = input.values.get(before..).unwrap_or_default();
                Rows::new(last_tap, input.stride).check("last tap of a convolution", frames, inputs)?
            }
        };
        let apart = apart.unwrap_or(dilation * input.stride);
        let mut needed = out.check("output of a convolution", frames, outputs)?;
        if let Some(residual) = residual {
            residual.check("residual of a convolution", frames, outputs)?;
        }
        if let Some(bias) = bias {
            expect_shape("added bias of a convolution", bias.len(), &[outputs])?;
        }
        let second = match second {
            Some((offset, rows)) => {
                needed = out.check("addend of a convolution", frames, outputs.saturating_add(offset))?;
                let values = rows.check("second output of a convolution", frames, outputs)?;
                Some((offset, &mut rows.values[..values], rows.stride))
            }
            None => None,
        };

        let run = |first: usize, frames: usize, out_values: &mut [f32], second: Option<Second<'_>>| {
            self.tier.run(Tiles {
                outer: 1,
                inner: frames,
                input: &input.values[first * input.stride..],
                input_at: Strides::inner(input.stride),
                segments: Segments { count: kernel, apart, length: inputs },
                panels: &self.packed.panels,
                range: 0..self.packed.panels.count(),
                bias: &self.packed.bias,
                added: bias.unwrap_or_default(),
                finish: &self.packed.finish,
                residual: residual.map(|rows| (&rows.values[first * rows.stride..], Strides::inner(rows.stride))),
                out: out_values,
                out_at: Strides::inner(out.stride),
                columns: outputs,
                second,
            });
        };
        let second_of = |(offset, out, stride)| Second { offset, out, out_at: Strides::inner(stride) };
        let parts = parts(threads, frames, LEAST_FRAMES);
        if parts == 1 {
            run(0, frames, out.values, second.map(second_of));
            return Ok(());
        }
        let share = frames.div_ceil(parts);
        let range = |part: usize| (part * share, share.min(frames - part * share));
        let outs = out.values[..needed].par_chunks_mut(share * out.stride).enumerate();
        match second {
            None => outs.for_each(|(part, out)| {
                let (first, frames) = range(part);
                run(first, frames, out, None);
            }),
            Some((offset, values, stride)) => {
                outs.zip(values.par_chunks_mut(share * stride)).for_each(|((part, out), values)| {
                    let (first, frames) = range(part);
                    run(first, frames, out, Some(second_of((offset, values, stride))));
                });
            }
        }
        Ok(())
    }

    /// Columns of a panel.
    pub(crate) fn panel_width(&self) -> usize {
        self.packed.panels.width()
    }

    /// The columns of one panel, into dense rows of `out`.
    pub(crate) fn one_panel(&self, frames: usize, input: Rows<'_>, panel: usize, out: &mut [f32]) {
        let Conv1dSizes { inputs, outputs, kernel, dilation } = self.sizes;
        self.tier.run(Tiles {
            outer: 1,
            inner: frames,
            input: input.values,
            input_at: Strides::inner(input.stride),
            segments: Segments { count: kernel, apart: dilation * input.stride, length: inputs },
            panels: &self.packed.panels,
            range: panel..panel + 1,
            bias: &self.packed.bias,
            added: &[],
            finish: &self.packed.finish,
            residual: None,
            out,
            out_at: Strides::inner(self.panel_width()),
            columns: outputs,
            second: None,
        });
    }
}

/// Into how many parts to cut `items`, of which a thread takes `least` at least.
pub(crate) fn parts(threads: Threads, items: usize, least: usize) -> usize {
    match threads {
        Threads::One => 1,
        Threads::Pool => rayon::current_num_threads().min(items / least).max(1),
    }
}

#[cfg(test)]
mod tests;
