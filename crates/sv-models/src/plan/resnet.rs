//! The plan of a residual network: images (T, F, C) with a border of zeros, batch norms folded into the convolutions.

use ndarray::ArrayView2;
use sv_kernels::conv::{Activation, Conv2d, Conv2dSizes, ConvWeights, Image, ImageMut, ImagePass, Rows, clear_borders};
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::Threads;
use sv_kernels::statistics::moments;
use sv_kernels::{Buffer, KernelError, Tier};

use super::each::Network;
use super::layers::{Affine, narrow, root};
use crate::ModelError;
use crate::encoders::ecapa::Floor;
use crate::encoders::resnet::ResNetConfig;
use crate::weights::Weights;

pub(super) struct ResNetPlan {
    tier: Tier,
    stem: Conv2d,
    blocks: Vec<Block>,
    floor: Floor,
    /// Over the pooled values in the order in which the last image has them.
    embedding: PackedLinear,
}

struct Block {
    first: Conv2d,
    second: Conv2d,
    shortcut: Option<Conv2d>,
}

/// Working memory, reused.
#[derive(Default)]
pub(super) struct Memory {
    images: [Buffer; 3],
    shortcut: Buffer,
    pooled: Buffer,
}

/// Zeros around each image: what a 3x3 convolution sees beyond the edge.
const BORDER: usize = 1;

/// Frames, bins and channels of an image.
#[derive(Clone, Copy)]
struct Shape {
    frames: usize,
    bins: usize,
    channels: usize,
}

impl Shape {
    /// What `conv` makes of it.
    fn after(self, conv: &Conv2d) -> Self {
        let Conv2dSizes { stride: [time, frequency], outputs, .. } = conv.sizes();
        Self { frames: self.frames.div_ceil(time), bins: self.bins.div_ceil(frequency), channels: outputs }
    }

    /// Values of a line with its border.
    fn line(self) -> usize {
        (self.bins + 2 * BORDER) * self.channels
    }

    /// Values of the image with its border.
    fn size(self) -> usize {
        (self.frames + 2 * BORDER) * self.line()
    }

    /// Where frame 0, bin 0 stands.
    fn origin(self) -> usize {
        BORDER * (self.line() + self.channels)
    }
}

impl ResNetPlan {
    pub(super) fn new(tier: Tier, config: &ResNetConfig, weights: &Weights) -> Result<Self, KernelError> {
        let conv = |conv: &str, norm: &str, stride, activation| conv2d(tier, weights, [conv, norm], stride, activation);
        let mut blocks = Vec::new();
        for (stage, &count) in config.blocks.iter().enumerate() {
            for block in 0..count {
                let name = |part: &str| format!("stages.{stage}.{block}.{part}");
                let stride = config.stride(stage, block);
                let shortcut = config
                    .projects(stage, block)
                    .then(|| conv(&name("shortcut.conv"), &name("shortcut.norm"), stride, Activation::Identity));
                blocks.push(Block {
                    first: conv(&name("conv1"), &name("norm1"), stride, Activation::Relu)?,
                    second: conv(&name("conv2"), &name("norm2"), 1, Activation::Relu)?,
                    shortcut: shortcut.transpose()?,
                });
            }
        }
        // The network pools value c rows + r, our image has it at r channels + c; so for means and deviations.
        let (rows, weight) = (config.rows(), weights.get("embedding.weight"));
        let channels = config.pooled() / rows;
        let ordered: Vec<f32> = weight
            .values
            .chunks_exact(config.pooled())
            .flat_map(|half| (0..rows * channels).map(|index| half[index % channels * rows + index / channels]))
            .collect();
        let bias = &weights.get("embedding.bias").values;
        Ok(Self {
            tier,
            stem: conv("stem.conv", "stem.norm", 1, Activation::Relu)?,
            blocks,
            floor: Floor::Plus(config.form.variance_offset()),
            embedding: PackedLinear::on_tier(tier, weight.shape[1], weight.shape[0], &ordered, bias)?,
        })
    }
}

/// The convolution without bias and the batch norm of these names, as one.
fn conv2d(
    tier: Tier,
    weights: &Weights,
    [conv, norm]: [&str; 2],
    stride: usize,
    activation: Activation,
) -> Result<Conv2d, KernelError> {
    let weight = weights.get(&format!("{conv}.weight"));
    let [outputs, inputs, rows, columns] = weight.shape[..] else { unreachable!("{conv} is no convolution of images") };
    let norm = Affine::batch_norm(weights, norm);
    // Frequency and time change places: the source's images have a row a bin, ours a line a frame.
    let mut folded = Vec::with_capacity(weight.values.len());
    for (index, taps) in weight.values.chunks_exact(rows * columns).enumerate() {
        let scale = norm.scale[index / inputs];
        for tap in 0..rows * columns {
            folded.push((f64::from(taps[tap % rows * columns + tap / rows]) * scale) as f32);
        }
    }
    let sizes = Conv2dSizes { inputs, outputs, kernel: [columns, rows], stride: [stride, stride] };
    let arrays = ConvWeights { weight: &folded, bias: &narrow(&norm.shift), activation, affine: None };
    Conv2d::on_tier(tier, sizes, &arrays)
}

/// Runs a 3x3 convolution from the bordered image `input` into `out`, which gets its border, too.
fn run(
    conv: &Conv2d,
    shape: Shape,
    input: &[f32],
    out: &mut [f32],
    residual: Option<Image<'_>>,
    threads: Threads,
) -> Result<(), KernelError> {
    let after = shape.after(conv);
    clear_borders(out, [after.frames, after.bins, after.channels], BORDER)?;
    let out = ImageMut::new(&mut out[after.origin()..], after.line(), after.channels);
    let pass = ImagePass::new([after.frames, after.bins], Image::new(input, shape.line(), shape.channels), out);
    conv.run(
        match residual {
            Some(residual) => pass.adding(residual),
            None => pass,
        },
        threads,
    )
}

impl Network for ResNetPlan {
    type Memory = Memory;

    fn embed(
        &self,
        window: ArrayView2<'_, f32>,
        out: &mut [f32],
        threads: Threads,
        memory: &mut Memory,
    ) -> Result<(), ModelError> {
        let Memory { images: [now, inner, next], shortcut, pooled } = memory;
        let (mut now, mut next) = (now, next);
        let (frames, bins) = window.dim();
        let mut shape = Shape { frames, bins, channels: 1 };
        let image = next.at_least(shape.size());
        clear_borders(image, [frames, bins, 1], BORDER)?;
        for (line, values) in image[shape.origin()..].chunks_mut(shape.line()).zip(window.rows()) {
            line.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
        }
        let stem = shape.after(&self.stem);
        run(&self.stem, shape, image, now.at_least(stem.size()), None, threads)?;
        shape = stem;
        for block in &self.blocks {
            let after = shape.after(&block.first);
            let input = &now.values()[..shape.size()];
            let inner = inner.at_least(after.size());
            run(&block.first, shape, input, inner, None, threads)?;
            let origin = &input[shape.origin()..];
            let residual = match &block.shortcut {
                None => Image::new(origin, shape.line(), shape.channels),
                Some(conv) => {
                    let values = shortcut.at_least(after.frames * after.bins * after.channels);
                    let line = after.bins * after.channels;
                    let from = Image::new(origin, shape.line(), shape.channels);
                    let to = ImageMut::new(values, line, after.channels);
                    conv.run(ImagePass::new([after.frames, after.bins], from, to), threads)?;
                    Image::new(values, line, after.channels)
                }
            };
            run(&block.second, after, inner, next.at_least(after.size()), Some(residual), threads)?;
            shape = after;
            (now, next) = (next, now);
        }
        let size = shape.bins * shape.channels;
        let signal = Rows::new(&now.values()[shape.origin()..shape.size()], shape.line());
        let pooled = pooled.at_least(2 * size);
        let (means, deviations) = pooled.split_at_mut(size);
        moments(self.tier, shape.frames, signal, means, deviations, threads)?;
        root(self.floor, shape.frames as f64 - 1.0, deviations);
        self.embedding.apply(1, pooled, out)?;
        Ok(())
    }
}
