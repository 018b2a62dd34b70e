//! The plan of a residual network: images (T, F, C) with a border of zeros, batch norms folded into the convolutions.

use ndarray::ArrayView2;
use sv_kernels::conv::{
    Activation, Conv2d, Conv2dSizes, ConvMemory, ConvWeights, Image, ImageMut, ImagePass, Rows, clear_borders,
};
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::Threads;
use sv_kernels::statistics::moments;
use sv_kernels::{Buffer, KernelError, Tier};

use super::each::Network;
use super::layers::{Affine, narrow, root};
use crate::ModelError;
use crate::encoders::ecapa::Floor;
use crate::encoders::resnet::{Axes, ImagePadding, Pooling, ResNetConfig, ResNetForm};
use crate::weights::Weights;

pub(super) struct ResNetPlan {
    tier: Tier,
    stem: Conv2d,
    blocks: Vec<Block>,
    padding: ImagePadding,
    pooling: Pooling,
    /// Over the pooled values in the order in which the last image has them; none where they are the embedding.
    embedding: Option<PackedLinear>,
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
    conv: ConvMemory,
}

/// Frames, bins and channels of an image, and the zeros around it: as many as any convolution of it sees beyond an edge.
#[derive(Clone, Copy)]
struct Shape {
    frames: usize,
    bins: usize,
    channels: usize,
    border: usize,
}

/// Zeros around the image of a 3x3 convolution.
const BORDER: usize = 1;

impl Shape {
    /// What `conv` makes of it.
    fn after(self, conv: &Conv2d) -> Self {
        let Conv2dSizes { stride: [time, frequency], outputs, .. } = conv.sizes();
        let (frames, bins) = (self.frames.div_ceil(time), self.bins.div_ceil(frequency));
        Self { frames, bins, channels: outputs, border: BORDER }
    }

    /// Values of a line with its border.
    fn line(self) -> usize {
        (self.bins + 2 * self.border) * self.channels
    }

    /// Values of the image with its border.
    fn size(self) -> usize {
        (self.frames + 2 * self.border) * self.line()
    }

    /// Where the value stands that is `frames` before frame 0 and `bins` below bin 0.
    fn before(self, [frames, bins]: [usize; 2]) -> usize {
        (self.border - frames) * self.line() + (self.border - bins) * self.channels
    }

    /// Where frame 0, bin 0 stands.
    fn origin(self) -> usize {
        self.before([0, 0])
    }

    fn clear_border(self, values: &mut [f32]) -> Result<(), KernelError> {
        clear_borders(values, [self.frames, self.bins, self.channels], self.border)
    }
}

impl ResNetPlan {
    pub(super) fn new(tier: Tier, config: &ResNetConfig, weights: &Weights) -> Result<Self, KernelError> {
        let form = config.form;
        let conv =
            |conv: &str, norm: &str, stride, activation| conv2d(tier, weights, form, [conv, norm], stride, activation);
        let activation =
            if form.slope() == 0.0 { Activation::Relu } else { Activation::LeakyRelu(form.slope() as f32) };
        let mut blocks = Vec::new();
        for (stage, &count) in config.blocks.iter().enumerate() {
            for block in 0..count {
                let name = |part: &str| format!("stages.{stage}.{block}.{part}");
                let stride = [config.stride(stage, block); 2];
                let shortcut = config
                    .projects(stage, block)
                    .then(|| conv(&name("shortcut.conv"), &name("shortcut.norm"), stride, Activation::Identity));
                blocks.push(Block {
                    first: conv(&name("conv1"), &name("norm1"), stride, activation)?,
                    second: conv(&name("conv2"), &name("norm2"), [1, 1], activation)?,
                    shortcut: shortcut.transpose()?,
                });
            }
        }
        let embedding = form.has_linear_head().then(|| {
            let (rows, weight) = (config.rows(), weights.get("embedding.weight"));
            let pooled = config.pooled();
            let ordered: Vec<f32> = match form.pooling() {
                // The network pools value c rows + r, our image has it at r channels + c; so for means and deviations.
                Pooling::Tstp { .. } => {
                    let channels = pooled / rows;
                    let place = |index: usize| index % channels * rows + index / channels;
                    weight
                        .values
                        .chunks_exact(pooled)
                        .flat_map(|half| (0..pooled).map(move |i| half[place(i)]))
                        .collect()
                }
                Pooling::Average => weight.values.clone(),
            };
            let bias = &weights.get("embedding.bias").values;
            PackedLinear::on_tier(tier, weight.shape[1], weight.shape[0], &ordered, bias)
        });
        Ok(Self {
            tier,
            stem: conv("stem.conv", "stem.norm", form.stem_stride(), activation)?,
            blocks,
            padding: form.padding(),
            pooling: form.pooling(),
            embedding: embedding.transpose()?,
        })
    }

    /// Runs a convolution from the bordered image `input` into `out`, which gets its border, too.
    fn run(
        &self,
        conv: &Conv2d,
        shape: Shape,
        input: &[f32],
        out: &mut [f32],
        residual: Option<Image<'_>>,
        (threads, memory): (Threads, &mut ConvMemory),
    ) -> Result<(), KernelError> {
        let after = shape.after(conv);
        after.clear_border(out)?;
        let Conv2dSizes { kernel, stride, .. } = conv.sizes();
        let [time, _] = self.padding.sides(shape.frames, kernel[0], stride[0]);
        let [frequency, _] = self.padding.sides(shape.bins, kernel[1], stride[1]);
        let input = Image::new(&input[shape.before([time, frequency])..], shape.line(), shape.channels);
        let out = ImageMut::new(&mut out[after.origin()..], after.line(), after.channels);
        let pass = ImagePass::new([after.frames, after.bins], input, out);
        conv.run(
            match residual {
                Some(residual) => pass.adding(residual),
                None => pass,
            },
            threads,
            memory,
        )
    }
}

/// The convolution without bias and the batch norm of these names, as one.
fn conv2d(
    tier: Tier,
    weights: &Weights,
    form: ResNetForm,
    [conv, norm]: [&str; 2],
    stride: [usize; 2],
    activation: Activation,
) -> Result<Conv2d, KernelError> {
    let weight = weights.get(&format!("{conv}.weight"));
    let [outputs, inputs, kernel, _] = weight.shape[..] else { unreachable!("{conv} is no convolution of images") };
    let norm = Affine::batch_norm_with(form.epsilon(), weights, norm);
    let mut folded = Vec::with_capacity(weight.values.len());
    for (index, taps) in weight.values.chunks_exact(kernel * kernel).enumerate() {
        let scale = norm.scale[index / inputs];
        for tap in 0..kernel * kernel {
            // Our images have a line a frame.
            let theirs = match form.axes() {
                Axes::FrequencyTime => tap % kernel * kernel + tap / kernel,
                Axes::TimeFrequency => tap,
            };
            folded.push((f64::from(taps[theirs]) * scale) as f32);
        }
    }
    let sizes = Conv2dSizes { inputs, outputs, kernel: [kernel, kernel], stride };
    let arrays = ConvWeights { weight: &folded, bias: &narrow(&norm.shift), activation, affine: None };
    Conv2d::on_tier(tier, sizes, &arrays)
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
        let Memory { images: [now, inner, next], shortcut, pooled, conv: conv_memory } = memory;
        let (mut now, mut next) = (now, next);
        let (frames, bins) = window.dim();
        // More than any stem sees beyond an edge.
        let border = self.stem.sizes().kernel[0] / 2;
        let mut shape = Shape { frames, bins, channels: 1, border };
        let image = next.at_least(shape.size());
        shape.clear_border(image)?;
        for (line, values) in image[shape.origin()..].chunks_mut(shape.line()).zip(window.rows()) {
            line.iter_mut().zip(values).for_each(|(to, &value)| *to = value);
        }
        let stem = shape.after(&self.stem);
        self.run(&self.stem, shape, image, now.at_least(stem.size()), None, (threads, &mut *conv_memory))?;
        shape = stem;
        for block in &self.blocks {
            let after = shape.after(&block.first);
            let input = &now.values()[..shape.size()];
            let inner = inner.at_least(after.size());
            self.run(&block.first, shape, input, inner, None, (threads, &mut *conv_memory))?;
            let origin = &input[shape.origin()..];
            let residual = match &block.shortcut {
                None => Image::new(origin, shape.line(), shape.channels),
                Some(conv) => {
                    let values = shortcut.at_least(after.frames * after.bins * after.channels);
                    let line = after.bins * after.channels;
                    let from = Image::new(origin, shape.line(), shape.channels);
                    let to = ImageMut::new(values, line, after.channels);
                    conv.run(ImagePass::new([after.frames, after.bins], from, to), threads, conv_memory)?;
                    Image::new(values, line, after.channels)
                }
            };
            self.run(
                &block.second,
                after,
                inner,
                next.at_least(after.size()),
                Some(residual),
                (threads, &mut *conv_memory),
            )?;
            shape = after;
            (now, next) = (next, now);
        }
        let last = &now.values()[shape.origin()..shape.size()];
        self.pooled(shape, last, pooled, threads)?;
        let pooled = pooled.values();
        match &self.embedding {
            Some(linear) => linear.apply(1, &pooled[..linear.inputs()], out)?,
            None => out.copy_from_slice(&pooled[..out.len()]),
        }
        Ok(())
    }
}

impl ResNetPlan {
    /// Pools the last image, whose frame 0, bin 0 stands at the start of `last`.
    fn pooled(&self, shape: Shape, last: &[f32], pooled: &mut Buffer, threads: Threads) -> Result<(), KernelError> {
        let size = shape.bins * shape.channels;
        let signal = Rows::new(last, shape.line());
        match self.pooling {
            Pooling::Tstp { variance_offset } => {
                let (means, deviations) = pooled.at_least(2 * size).split_at_mut(size);
                moments(self.tier, shape.frames, signal, means, deviations, threads)?;
                root(Floor::Plus(variance_offset), shape.frames as f64 - 1.0, deviations);
            }
            Pooling::Average => {
                let pooled = pooled.at_least(size + shape.channels);
                let (means, bins) = pooled.split_at_mut(shape.channels);
                moments(self.tier, shape.frames, signal, bins, &mut [], threads)?;
                moments(self.tier, shape.bins, Rows::new(bins, shape.channels), means, &mut [], threads)?;
            }
        }
        Ok(())
    }
}
