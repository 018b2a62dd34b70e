//! The blocks of ECAPA-TDNN, in training: convolution with activation and batch normalisation, Res2Net, squeeze and
//! excitation.

use candle_core::{Result, Tensor, bail};

use super::batch_norm::{RunningStatistics, batch_norm};
use super::conv1d::{Conv1d, check, conv1d};
use super::pooling::{Deviation, Floor, attentive_stats, mean, statistics};
use super::{leaky_relu, linear, path, relu, sigmoid, tanh, trained};

/// Weights of a batch normalisation and the averages that it moves.
#[derive(Debug, Clone)]
pub struct Norm {
    /// (C)
    pub weight: Tensor,
    /// (C)
    pub bias: Tensor,
    /// (C) each.
    pub running: RunningStatistics,
}

impl Norm {
    /// Whether the kernels, which know the batch's own statistics only, may run it.
    fn is_the_batchs(norm: Option<&Self>) -> bool {
        norm.is_none_or(|norm| !norm.running.frozen)
    }
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// x below 0 times this.
    LeakyRelu(f64),
}

/// A convolution, its activation, and the batch normalisation after it, if there is one.
#[derive(Debug, Clone)]
pub struct Tdnn {
    /// (O, I, K)
    pub weight: Tensor,
    /// (O)
    pub bias: Tensor,
    /// Of the convolution.
    pub form: Conv1d,
    /// After it.
    pub activation: Activation,
    /// After that.
    pub norm: Option<Norm>,
}

/// Runs `layer` over `x` (B, T, I), all rows of one length, in training: (B, T, O).
///
/// # Errors
/// As [`conv1d`] and [`batch_norm`].
pub fn tdnn(x: &Tensor, layer: &Tdnn) -> Result<Tensor> {
    if path::on_kernels(&[x, &layer.weight]) && x.rank() == 3 && Norm::is_the_batchs(layer.norm.as_ref()) {
        let (b, t, _) = x.dims3()?;
        check(b, t, layer.weight.dims3()?.2, layer.form)?;
        return trained::tdnn(x, layer);
    }
    let y = conv1d(x, &layer.weight, Some(&layer.bias), layer.form, None)?;
    let y = match layer.activation {
        Activation::Relu => relu(&y)?,
        Activation::LeakyRelu(slope) => leaky_relu(&y, slope)?,
    };
    match &layer.norm {
        Some(Norm { weight, bias, running }) => batch_norm(&y, weight, bias, running),
        None => Ok(y),
    }
}

/// Which chunk of a Res2Net block passes untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untouched {
    /// The first (SpeechBrain): `y_0 = x_0`, `y_1 = B_1(x_1)`, then `y_i = B_i(x_i + y_(i-1))`.
    First,
    /// The last (WeSpeaker, TaoRuijie): `y_0 = B_0(x_0)`, `y_i = B_i(x_i + y_(i-1))`, and x of the last chunk as it is.
    Last,
}

/// Runs the chunks of the channels of `x` (B, T, C) through `layers`, one fewer than there are chunks, each after the other
/// (Gao et al. 2019, "Res2Net", eq. 1): (B, T, C).
///
/// # Errors
/// If the chunks are not of one size, and as [`tdnn`].
pub fn res2net_block(x: &Tensor, layers: &[Tdnn], untouched: Untouched) -> Result<Tensor> {
    let (b, t, channels) = x.dims3()?;
    let on_kernels = |layer: &Tdnn| path::on_kernels(&[&layer.weight]) && Norm::is_the_batchs(layer.norm.as_ref());
    if path::on_kernels(&[x]) && layers.iter().all(on_kernels) {
        for layer in layers {
            check(b, t, layer.weight.dims3()?.2, layer.form)?;
        }
        return trained::res2net(x, layers, untouched);
    }
    let scale = layers.len() + 1;
    if !channels.is_multiple_of(scale) || channels == 0 {
        bail!("{channels} channels cannot be cut into {scale} chunks of one size")
    }
    let width = channels / scale;
    let chunk = |index: usize| x.narrow(2, index * width, width);
    let first = usize::from(untouched == Untouched::First);
    let mut chunks = Vec::with_capacity(scale);
    let mut before: Option<Tensor> = None;
    for (index, layer) in layers.iter().enumerate() {
        let own = chunk(first + index)?;
        let own = match &before {
            Some(before) => (own + before)?,
            None => own.contiguous()?,
        };
        let y = tdnn(&own, layer)?;
        chunks.push(y.clone());
        before = Some(y);
    }
    match untouched {
        Untouched::First => chunks.insert(0, chunk(0)?),
        Untouched::Last => chunks.push(chunk(scale - 1)?),
    }
    Tensor::cat(&chunks, 2)
}

/// Weights of squeeze and excitation: two linear layers.
#[derive(Debug, Clone)]
pub struct Squeeze {
    /// (S, C) and (S)
    pub down: (Tensor, Tensor),
    /// (C, S) and (C)
    pub up: (Tensor, Tensor),
}

/// `x` (B, T, C), each channel scaled by a number in (0, 1) made of the means over the frames that count (Hu et al. 2018,
/// eqs. 2 to 4).
///
/// # Errors
/// If the shapes do not fit, or a length is 0 or above T.
pub fn se_scale(x: &Tensor, squeeze: &Squeeze, lengths: Option<&[usize]>) -> Result<Tensor> {
    let down = relu(&linear(&mean(x, lengths)?, &squeeze.down.0, Some(&squeeze.down.1))?)?;
    let scale = sigmoid(&linear(&down, &squeeze.up.0, Some(&squeeze.up.1))?)?;
    x.broadcast_mul(&scale.unsqueeze(1)?)
}

/// Weights of an SE-Res2Net block.
#[derive(Debug, Clone)]
pub struct SeRes2Net {
    /// Kernel 1.
    pub before: Tdnn,
    /// One fewer than there are chunks.
    pub chunks: Vec<Tdnn>,
    /// The chunk without a layer.
    pub untouched: Untouched,
    /// Kernel 1.
    pub after: Tdnn,
    /// Of its result.
    pub squeeze: Squeeze,
}

/// `x + se(after(res2net(before(x))))` in training, `x` (B, T, C), all rows of one length (Desplanques et al. 2020, figure 2).
///
/// # Errors
/// As the parts, and if they change the number of channels.
pub fn se_res2net(x: &Tensor, block: &SeRes2Net) -> Result<Tensor> {
    let y = res2net_block(&tdnn(x, &block.before)?, &block.chunks, block.untouched)?;
    let y = tdnn(&y, &block.after)?;
    if path::on_kernels(&[x, &block.squeeze.down.0]) {
        return trained::squeezed(&y, &block.squeeze, x);
    }
    x + se_scale(&y, &block.squeeze, None)?
}

/// Weights of pooling by attention over frames that are told the statistics of their utterance.
#[derive(Debug, Clone)]
pub struct AttentivePooling {
    /// The deviation that each frame is told.
    pub context: Deviation,
    /// (A, 3C) and (A): of the frame, the mean, the deviation.
    pub told: (Tensor, Tensor),
    /// ReLU and this stand before tanh, if it is there.
    pub norm: Option<Norm>,
    /// (C, A) and (C)
    pub logits: (Tensor, Tensor),
    /// Of the pooled variance.
    pub floor: Floor,
}

/// Mean and deviation of `x` (B, T, C), all rows of one length, in training, weighted by an attention over
/// `[x; mean; deviation]`: (B, 2C), means first (Desplanques et al. 2020, section 3.1).
///
/// # Errors
/// As [`super::statistics`] and [`super::attentive_stats`], and if the weights do not fit.
pub fn attentive_pooling(x: &Tensor, pooling: &AttentivePooling) -> Result<Tensor> {
    let (_, _, channels) = x.dims3()?;
    let (weight, bias) = &pooling.told;
    if weight.rank() != 2 || weight.dims()[1] != 3 * channels {
        bail!("attention of {:?} on {channels} channels; it takes three times as many", weight.dims())
    }
    if path::on_kernels(&[x, weight]) && Norm::is_the_batchs(pooling.norm.as_ref()) {
        return trained::attentive_pooling(x, pooling);
    }
    let (mean, deviation) = statistics(x, pooling.context, None)?;
    // What all frames of a row are told alike is multiplied once.
    let alike = linear(&Tensor::cat(&[mean, deviation], 1)?, &weight.narrow(1, channels, 2 * channels)?, Some(bias))?;
    let own = linear(x, &weight.narrow(1, 0, channels)?, None)?;
    let hidden = own.broadcast_add(&alike.unsqueeze(1)?)?;
    let hidden = match &pooling.norm {
        Some(Norm { weight, bias, running }) => batch_norm(&relu(&hidden)?, weight, bias, running)?,
        None => hidden,
    };
    let logits = linear(&tanh(&hidden)?, &pooling.logits.0, Some(&pooling.logits.1))?;
    attentive_stats(x, &logits, pooling.floor, None)
}
