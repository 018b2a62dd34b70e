//! Convolutions over time and frequency.

use rayon::prelude::*;

use super::product::Product;
use super::sweep::{Conv2dSizes, Sweep};
use super::tile::{Finish, Strides};
use super::{ConvWeights, after, check_vectors, parts};
use crate::buffer::Buffer;
use crate::error::{KernelError, expect_shape, volume};
use crate::lstm::Threads;
use crate::tier::Tier;

/// A signal (T, F, C), row-major: `line` values from one frame to the next, `bin` from one bin to the next. Its padding stands
/// around it in memory ([`clear_borders`]).
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    values: &'a [f32],
    line: usize,
    bin: usize,
}

/// The same, to be written.
#[derive(Debug)]
pub struct ImageMut<'a> {
    values: &'a mut [f32],
    line: usize,
    bin: usize,
}

impl<'a> Image<'a> {
    /// An image whose frame 0, bin 0 begins at the start of `values`.
    #[must_use]
    pub fn new(values: &'a [f32], line: usize, bin: usize) -> Self {
        Self { values, line, bin }
    }
}

impl<'a> ImageMut<'a> {
    /// An image whose frame 0, bin 0 begins at the start of `values`.
    #[must_use]
    pub fn new(values: &'a mut [f32], line: usize, bin: usize) -> Self {
        Self { values, line, bin }
    }
}

/// The values that an image of `frames` lines, each `bins` bins of `channels`, takes; an error if `got` are too few or
/// lines or bins overlap.
fn check_image(
    what: &'static str,
    got: usize,
    [line, bin]: [usize; 2],
    [frames, bins, channels]: [usize; 3],
) -> Result<usize, KernelError> {
    let row = volume(what, &[bins.saturating_sub(1), bin])?.saturating_add(channels);
    if bins > 1 && bin < channels {
        return Err(KernelError::Rows { what, rows: bins, columns: channels, stride: bin, got });
    }
    super::check_rows(what, got, line, frames, row)
}

/// What a convolution over time and frequency runs over.
#[derive(Debug)]
pub struct ImagePass<'a> {
    frames: usize,
    bins: usize,
    input: Image<'a>,
    out: ImageMut<'a>,
    residual: Option<Image<'a>>,
}

impl<'a> ImagePass<'a> {
    /// `frames` frames of `bins` bins of `out`; `input` begins where the first tap of output 0, 0 lies.
    #[must_use]
    pub fn new([frames, bins]: [usize; 2], input: Image<'a>, out: ImageMut<'a>) -> Self {
        Self { frames, bins, input, out, residual: None }
    }

    /// Adds `residual` before the activation.
    #[must_use]
    pub fn adding(self, residual: Image<'a>) -> Self {
        Self { residual: Some(residual), ..self }
    }
}

/// A convolution over time and frequency, packed for one tier.
///
/// ```
/// use sv_kernels::conv::{Activation, Conv2d, Conv2dSizes, ConvMemory, ConvWeights, Image, ImageMut, ImagePass};
/// use sv_kernels::lstm::Threads;
///
/// // Two bins are weighted 1 and 10, every second frame.
/// let sizes = Conv2dSizes { inputs: 1, outputs: 1, kernel: [1, 2], stride: [2, 1] };
/// let weights = ConvWeights { weight: &[1.0, 10.0], bias: &[], activation: Activation::Identity, affine: None };
/// let conv = Conv2d::new(sizes, &weights)?;
/// let input = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0];
/// let mut out = [0.0; 4];
/// let pass = ImagePass::new([2, 2], Image::new(&input, 3, 1), ImageMut::new(&mut out, 2, 1));
/// conv.run(pass, Threads::One, &mut ConvMemory::default())?;
/// assert_eq!(out, [21.0, 32.0, 54.0, 65.0]);
/// # Ok::<(), sv_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conv2d {
    tier: Tier,
    sizes: Conv2dSizes,
    product: Product,
    bias: Vec<f32>,
    finish: Finish,
}

/// Working memory of [`Conv2d::run`], one piece a part of the work: reused, so that a call no larger than an earlier one allocates
/// nothing.
#[derive(Debug, Default)]
pub struct ConvMemory(Vec<Buffer>);

/// Outputs (frames times bins) that a thread takes at least.
const LEAST_OUTPUTS: usize = 48;

impl Conv2d {
    /// Packs `weights` for the best tier of this machine.
    ///
    /// # Errors
    /// [`KernelError::Zero`] for a size of 0, [`KernelError::Length`] for an array of another shape.
    pub fn new(sizes: Conv2dSizes, weights: &ConvWeights<'_>) -> Result<Self, KernelError> {
        Self::on_tier(Tier::detect(), sizes, weights)
    }

    /// The same for a given tier.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn on_tier(tier: Tier, sizes: Conv2dSizes, weights: &ConvWeights<'_>) -> Result<Self, KernelError> {
        let Conv2dSizes { inputs, outputs, kernel: [time, frequency], stride } = sizes;
        for (what, size) in [
            ("input size of a convolution", inputs),
            ("output size of a convolution", outputs),
            ("kernel of a convolution", time),
            ("kernel of a convolution", frequency),
            ("stride of a convolution", stride[0]),
            ("stride of a convolution", stride[1]),
        ] {
            if size == 0 {
                return Err(KernelError::Zero { what });
            }
        }
        expect_shape("weight of a convolution", weights.weight.len(), &[outputs, inputs, time, frequency])?;
        check_vectors(outputs, weights)?;
        // Tap by tap, as the input is read.
        let taps = time * frequency;
        let mut ordered = Vec::with_capacity(weights.weight.len());
        for output in weights.weight.chunks_exact(inputs * taps) {
            for tap in 0..taps {
                ordered.extend(output.iter().skip(tap).step_by(taps));
            }
        }
        let product = Product::new(tier, sizes, &ordered);
        let (bias, finish) = after(product.columns(), weights);
        Ok(Self { tier, sizes, product, bias, finish })
    }

    /// Its sizes.
    #[must_use]
    pub fn sizes(&self) -> Conv2dSizes {
        self.sizes
    }

    /// Runs over `pass`, its frames shared out among `threads`.
    ///
    /// # Errors
    /// [`KernelError::Rows`] if some memory does not hold what the sizes ask for, or the bins of the input leave gaps
    /// where a kernel spans several.
    pub fn run(&self, pass: ImagePass<'_>, threads: Threads, memory: &mut ConvMemory) -> Result<(), KernelError> {
        let Conv2dSizes { inputs, outputs, kernel: [time, frequency], stride } = self.sizes;
        let ImagePass { frames, bins, input, out, residual } = pass;
        if frames == 0 || bins == 0 {
            return Ok(());
        }
        let what = "input of a convolution";
        // How many frames and bins of the input are seen.
        let seen = |outputs: usize, stride: usize, kernel: usize| {
            Ok::<_, KernelError>(volume(what, &[outputs - 1, stride])?.saturating_add(kernel))
        };
        let seen = [seen(frames, stride[0], time)?, seen(bins, stride[1], frequency)?, inputs];
        check_image(what, input.values.len(), [input.line, input.bin], seen)?;
        if frequency > 1 && input.bin != inputs {
            let (rows, got) = (seen[1], input.values.len());
            return Err(KernelError::Rows { what, rows, columns: inputs, stride: input.bin, got });
        }
        let shape = [frames, bins, outputs];
        let needed = check_image("output of a convolution", out.values.len(), [out.line, out.bin], shape)?;
        if let Some(residual) = residual {
            check_image("residual of a convolution", residual.values.len(), [residual.line, residual.bin], shape)?;
        }

        let run = |first: usize, frames: usize, values: &mut [f32], memory: &mut Buffer| {
            let sweep = Sweep {
                frames,
                bins,
                input: &input.values[first * stride[0] * input.line..],
                input_at: Strides { outer: stride[0] * input.line, inner: stride[1] * input.bin },
                line: input.line,
                bias: &self.bias,
                finish: &self.finish,
                residual: residual.map(|image| {
                    (&image.values[first * image.line..], Strides { outer: image.line, inner: image.bin })
                }),
                out: values,
                out_at: Strides { outer: out.line, inner: out.bin },
            };
            self.product.run(self.tier, self.sizes, sweep, memory);
        };
        let share = frames.div_ceil(parts(threads, frames, LEAST_OUTPUTS.div_ceil(bins)));
        let share = share.next_multiple_of(self.product.lines_together());
        let parts = frames.div_ceil(share);
        if memory.0.len() < parts {
            memory.0.resize_with(parts, Buffer::default);
        }
        if parts == 1 {
            run(0, frames, out.values, &mut memory.0[0]);
        } else {
            let outs = out.values[..needed].par_chunks_mut(share * out.line).enumerate();
            outs.zip(&mut memory.0[..parts]).for_each(|((part, values), memory)| {
                run(part * share, share.min(frames - part * share), values, memory);
            });
        }
        Ok(())
    }
}

/// Writes zeros around an image (frames, bins, channels) that stands in `values` with `margin` frames before and after it and
/// as many bins below and above: `values` is (frames + 2 margin, bins + 2 margin, channels), without gaps.
///
/// # Errors
/// [`KernelError::Length`] if `values` has another shape.
pub fn clear_borders(
    values: &mut [f32],
    [frames, bins, channels]: [usize; 3],
    margin: usize,
) -> Result<(), KernelError> {
    let (lines, columns) = (frames + 2 * margin, bins + 2 * margin);
    expect_shape("image with its borders", values.len(), &[lines, columns, channels])?;
    for (index, line) in values.chunks_exact_mut((columns * channels).max(1)).enumerate() {
        if (margin..margin + frames).contains(&index) {
            line[..margin * channels].fill(0.0);
            line[(margin + bins) * channels..].fill(0.0);
        } else {
            line.fill(0.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Activation;
    use super::*;
    use crate::gemm::tests::noise;
    use crate::reference;
    use proptest::prelude::*;

    /// Channels, kernel and stride: of any form, or one that is done in tiles.
    fn forms() -> impl Strategy<Value = ((usize, usize), [usize; 2], [usize; 2])> {
        let pair = || prop::array::uniform2(1_usize..4);
        let tiled = || prop::sample::select(vec![32_usize, 48, 80]);
        prop_oneof![((1_usize..20, 1_usize..140), pair(), pair()), ((tiled(), tiled()), Just([3, 3]), Just([1, 1])),]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 120 }))]

        #[test]
        fn every_tier_equals_the_plain_convolution_on_any_threads(
            ((inputs, outputs), kernel, stride) in forms(), shape in prop::array::uniform2(1_usize..20),
            (relu, residual) in (any::<bool>(), any::<bool>()), seed: u64,
        ) {
            let sizes = Conv2dSizes { inputs, outputs, kernel, stride };
            let [frames, bins] = shape;
            let seen = [0, 1].map(|axis| (shape[axis] - 1) * stride[axis] + kernel[axis]);
            let input = noise(seed, seen[0] * seen[1] * inputs);
            let weight = noise(seed ^ 1, outputs * inputs * kernel[0] * kernel[1]);
            let (bias, added) = (noise(seed ^ 2, outputs), noise(seed ^ 3, frames * bins * outputs));
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let mut expected = reference::conv2d(shape, sizes, &wide(&input), &wide(&weight), &wide(&bias));
            for (value, added) in expected.iter_mut().zip(&added) {
                *value += if residual { f64::from(*added) } else { 0.0 };
                *value = if relu { value.max(0.0) } else { *value };
            }
            let activation = if relu { Activation::Relu } else { Activation::Identity };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            for tier in Tier::available() {
                let weights = ConvWeights { weight: &weight, bias: &bias, activation, affine: None };
                let conv = Conv2d::on_tier(tier, sizes, &weights).unwrap();
                // The output stands in a larger image, as the next convolution wants it.
                let line = (bins + 2) * outputs;
                let run = |threads| {
                    let mut out = vec![5.0; frames * line];
                    let to = ImageMut::new(&mut out[outputs..], line, outputs);
                    let mut pass = ImagePass::new(shape, Image::new(&input, seen[1] * inputs, inputs), to);
                    if residual {
                        pass = pass.adding(Image::new(&added, bins * outputs, outputs));
                    }
                    conv.run(pass, threads, &mut ConvMemory::default()).unwrap();
                    out
                };
                let out = run(Threads::One);
                prop_assert_eq!(&out, &pool.install(|| run(Threads::Pool)));
                for (frame, row) in out.chunks_exact(line).enumerate() {
                    let inner = &row[outputs..line - outputs];
                    for (got, expected) in inner.iter().zip(&expected[frame * bins * outputs..]) {
                        prop_assert!((f64::from(*got) - expected).abs() < 5e-5, "{tier:?}: {got} {expected}");
                    }
                    prop_assert!(row[..outputs].iter().chain(&row[line - outputs..]).all(|&value| value == 5.0));
                }
            }
        }
    }

    #[test]
    fn borders_are_cleared_and_nothing_else() {
        let mut values = [1.0; 3 * 4];
        clear_borders(&mut values, [1, 2, 1], 1).unwrap();
        assert_eq!(values, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(matches!(clear_borders(&mut values, [1, 2, 2], 1), Err(KernelError::Length { .. })));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let sizes = Conv2dSizes { inputs: 2, outputs: 3, kernel: [1, 2], stride: [1, 1] };
        let weights = ConvWeights { weight: &[1.0; 12], bias: &[], activation: Activation::Identity, affine: None };
        for zero in [Conv2dSizes { kernel: [1, 0], ..sizes }, Conv2dSizes { stride: [0, 1], ..sizes }] {
            assert!(matches!(Conv2d::new(zero, &weights), Err(KernelError::Zero { .. })));
        }
        let other = Conv2dSizes { inputs: 3, ..sizes };
        assert!(matches!(Conv2d::new(other, &weights), Err(KernelError::Length { .. })));
        let conv = Conv2d::new(sizes, &weights).unwrap();
        assert_eq!(conv.sizes(), sizes);
        let (input, mut out) = ([1.0; 12], [0.0; 12]);
        let mut run = |shape, image: Image<'_>, line, residual: Option<Image<'_>>| {
            let pass = ImagePass::new(shape, image, ImageMut::new(&mut out, line, 3));
            conv.run(ImagePass { residual, ..pass }, Threads::One, &mut ConvMemory::default())
        };
        let image = Image::new(&input, 6, 2);
        assert_eq!(run([2, 2], image, 6, None), Ok(()));
        assert_eq!(run([0, 2], image, 6, None), Ok(()));
        let refused = [
            run([3, 2], image, 6, None),
            run([2, 3], image, 9, None),
            run([2, 2], image, 5, None),
            run([2, 2], Image::new(&input, 6, 3), 6, None),
            run([2, 1], Image::new(&input, 6, 1), 6, None),
            run([2, 2], image, 6, Some(Image::new(&input[1..], 6, 3))),
            run([2, 2], image, 6, Some(Image::new(&input, 6, 2))),
        ];
        assert!(refused.iter().all(|result| matches!(result, Err(KernelError::Rows { .. }))), "{refused:?}");
    }
}
