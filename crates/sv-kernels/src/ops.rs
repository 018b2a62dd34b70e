//! Operations on candle tensors that are right for every layout and differentiable (feature `candle`).
//!
//! Stock candle 0.11.1 gives wrong values in silence for some layouts, and wrong or missing gradients for some operations;
//! `tests/ops.rs` keeps the list. What the encoders and losses need goes through here, the stock calls are forbidden by
//! `clippy.toml`. On the CPU sigmoid, tanh and the LSTM's forward pass run on the kernels of this crate; on other devices,
//! and where a gradient is asked for, they are composed of stock operations that the same test shows to be right.

use candle_core::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Tensor, bail};

use crate::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};
use crate::{Tier, math, reference};

/// `lhs rhs` over the last two axes: (.., M, K) by (.., K, N) gives (.., M, N); the axes before are broadcast.
///
/// # Errors
/// If either has fewer than two axes, the K differ, or the leading axes cannot be broadcast.
pub fn matmul(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    let (Some((left, &[m, k])), Some((right, &[k2, n]))) =
        (lhs.dims().split_last_chunk(), rhs.dims().split_last_chunk())
    else {
        bail!("matmul of {:?} by {:?}: both need two axes or more", lhs.dims(), rhs.dims())
    };
    if k != k2 {
        bail!("matmul of {:?} by {:?}: {k} columns meet {k2} rows", lhs.dims(), rhs.dims())
    }
    let batch = broadcast(left, right)
        .ok_or_else(|| Error::msg(format!("matmul of {:?} by {:?}: leading axes differ", lhs.dims(), rhs.dims())))?;
    let with = |last: [usize; 2]| [&batch[..], &last[..]].concat();
    if right.is_empty() {
        // One matrix for all: their rows stand below each other, no copy of it for each.
        let rows = batch.iter().product::<usize>() * m;
        return contiguous_matmul(&lhs.contiguous()?.reshape((rows, k))?, &rhs.contiguous()?)?.reshape(with([m, n]));
    }
    let count: usize = batch.iter().product();
    let lhs = lhs.broadcast_as(with([m, k]))?.contiguous()?.reshape((count, m, k))?;
    let rhs = rhs.broadcast_as(with([k, n]))?.contiguous()?.reshape((count, k, n))?;
    contiguous_matmul(&lhs, &rhs)?.reshape(with([m, n]))
}

/// The stock product of contiguous operands with equal leading axes. Its gradient multiplies transposed views, but then
/// neither side is broadcast, which is the case that goes wrong.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the wrapper: both operands are contiguous, nothing is broadcast"
)]
fn contiguous_matmul(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    lhs.matmul(rhs)
}

/// The common shape of two lists of axes, aligned at the end.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let axis = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (axis(a, i), axis(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// `x weight^T + bias`: `x` (.., I), `weight` (O, I), `bias` (O); returns (.., O).
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let one_row = if x.rank() == 1 { x.unsqueeze(0)? } else { x.clone() };
    let y = matmul(&one_row, &weight.t()?)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    if x.rank() == 1 { y.squeeze(0) } else { Ok(y) }
}

/// `max(x, 0)`; its derivative at 0 is 0, as PyTorch has it (stock candle: 1). Not-a-number stays.
///
/// # Errors
/// As candle's `where_cond`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.le(&x.zeros_like()?)?.where_cond(&x.zeros_like()?, x)
}

/// `1 / (1 + e^-x)`; on the CPU in f32 with the error of [`crate::math::sigmoid`].
///
/// # Errors
/// For types other than f32 and f64 on the CPU.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return candle_nn::ops::sigmoid(x);
    }
    x.contiguous()?.apply_op1(Activation::Sigmoid)
}

/// Hyperbolic tangent; on the CPU in f32 with the error of [`crate::math::tanh`].
///
/// # Errors
/// For types other than f32 and f64 on the CPU.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return x.tanh();
    }
    x.contiguous()?.apply_op1(Activation::Tanh)
}

#[derive(Debug, Clone, Copy)]
enum Activation {
    Sigmoid,
    Tanh,
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => "sv-sigmoid",
            Self::Tanh => "sv-tanh",
        }
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(Error::RequiresContiguous { op: self.name() });
        };
        let out = match storage {
            CpuStorage::F32(values) => {
                let mut out = values[start..end].to_vec();
                match self {
                    Self::Sigmoid => math::sigmoid(Tier::detect(), &mut out),
                    Self::Tanh => math::tanh(Tier::detect(), &mut out),
                }
                CpuStorage::F32(out)
            }
            CpuStorage::F64(values) => {
                let function = match self {
                    Self::Sigmoid => reference::sigmoid::<f64>,
                    Self::Tanh => f64::tanh,
                };
                CpuStorage::F64(values[start..end].iter().map(|&x| function(x)).collect())
            }
            _ => bail!("{}: takes f32 or f64", self.name()),
        };
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, _arg: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let slope = match self {
            Self::Sigmoid => (y - y.sqr()?)?,
            Self::Tanh => y.sqr()?.affine(-1.0, 1.0)?,
        };
        Ok(Some((grad * slope)?))
    }
}

/// The weights of an LSTM layer as tensors, in the layout of [`LayerWeights`].
#[derive(Debug, Clone)]
pub struct LstmLayer {
    /// (4H, I), gates i, f, g, o.
    pub w_ih: Tensor,
    /// (4H, S)
    pub w_hh: Tensor,
    /// (4H): all that is added to the gates.
    pub bias: Tensor,
    /// (P, H), if the output is projected.
    pub w_hr: Option<Tensor>,
}

/// What an LSTM gives.
#[derive(Debug, Clone)]
pub struct LstmOutputs {
    /// The last layer's output (B, T, S).
    pub sequence: Tensor,
    /// Of each layer the output (B, S) and the cell state (B, H) after the last frame.
    pub states: Vec<(Tensor, Tensor)>,
}

/// Runs `layers` over `input` (B, T, I), from the states `start`, (B, S) and (B, H) of each layer, or zeros.
///
/// f32 on the CPU runs on [`crate::lstm::Lstm`] as long as no gradient can flow into input, weights or states; all else is
/// composed of operations that candle differentiates. To run the same weights often, pack an `Lstm` once instead.
///
/// # Errors
/// If shapes, types or devices do not fit.
pub fn lstm(input: &Tensor, layers: &[LstmLayer], start: Option<&[(Tensor, Tensor)]>) -> Result<LstmOutputs> {
    let (_, frames, _) = input.dims3()?;
    if layers.is_empty() || frames == 0 {
        bail!("an LSTM needs a layer and a frame; there are {} layers and {frames} frames", layers.len())
    }
    if let Some(start) = start
        && start.len() != layers.len()
    {
        bail!("an LSTM of {} layers was given {} starting states", layers.len(), start.len())
    }
    let weights = layers.iter().flat_map(|l| [Some(&l.w_ih), Some(&l.w_hh), Some(&l.bias), l.w_hr.as_ref()]).flatten();
    let states = start.unwrap_or_default().iter().flat_map(|(h, c)| [h, c]);
    let frozen = weights.chain(states).chain([input]).all(|tensor| !tensor.track_op() && tensor.dtype() == DType::F32);
    if frozen && input.device().is_cpu() {
        return packed(input, layers, start);
    }
    composed(input, layers, start)
}

/// The last layer's output at the last frame (B, S): [`lstm`] from zeros, for those who need no more.
///
/// # Errors
/// As [`lstm`].
pub fn lstm_last(input: &Tensor, layers: &[LstmLayer]) -> Result<Tensor> {
    let sequence = lstm(input, layers, None)?.sequence;
    let frames = sequence.dim(1)?;
    sequence.narrow(1, frames - 1, 1)?.squeeze(1)
}

/// The forward pass on the kernels of this crate.
fn packed(input: &Tensor, layers: &[LstmLayer], start: Option<&[(Tensor, Tensor)]>) -> Result<LstmOutputs> {
    let (b, t, _) = input.dims3()?;
    let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    let mut weights = Vec::with_capacity(layers.len());
    for layer in layers {
        let (gates, input) = layer.w_ih.dims2()?;
        let projection = layer.w_hr.as_ref().map(|w| w.dim(0)).transpose()?;
        let sizes = LayerSizes { input, hidden: gates / 4, projection };
        let w_hr = layer.w_hr.as_ref().map(flat).transpose()?;
        let layer = LayerWeights::new(sizes, flat(&layer.w_ih)?, flat(&layer.w_hh)?, flat(&layer.bias)?, w_hr);
        weights.push(layer.map_err(Error::wrap)?);
    }
    let lstm = Lstm::new(&weights).map_err(Error::wrap)?;
    let (mut h0, mut c0) = (Vec::new(), Vec::new());
    for (h, c) in start.unwrap_or_default() {
        h0.extend(flat(h)?);
        c0.extend(flat(c)?);
    }
    let values = flat(input)?;
    let mut batch = Batch::new(&values, b, t);
    if start.is_some() {
        batch = batch.starting_from(&h0, &c0);
    }
    let mut workspace = Workspace::default();
    let out = lstm.forward(&batch, Keep::Sequence, Threads::Pool, &mut workspace).map_err(Error::wrap)?;
    let device = input.device();
    let (mut h, mut c) = (out.h_n, out.c_n);
    let mut states = Vec::with_capacity(layers.len());
    let mut output = 0;
    for sizes in lstm.sizes() {
        output = sizes.output();
        let (own_h, rest_h) = h.split_at(b * output);
        let (own_c, rest_c) = c.split_at(b * sizes.hidden);
        let state =
            (Tensor::from_slice(own_h, (b, output), device)?, Tensor::from_slice(own_c, (b, sizes.hidden), device)?);
        states.push(state);
        (h, c) = (rest_h, rest_c);
    }
    Ok(LstmOutputs { sequence: Tensor::from_slice(out.sequence, (b, t, output), device)?, states })
}

/// The definition, of operations that candle differentiates.
fn composed(input: &Tensor, layers: &[LstmLayer], start: Option<&[(Tensor, Tensor)]>) -> Result<LstmOutputs> {
    let (b, t, _) = input.dims3()?;
    let mut x = input.clone();
    let mut states = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let (gates, s) = layer.w_hh.dims2()?;
        let hidden = gates / 4;
        let (mut h, mut c) = match start {
            Some(start) => start[index].clone(),
            None => {
                let zeros = |size| Tensor::zeros((b, size), x.dtype(), x.device());
                (zeros(s)?, zeros(hidden)?)
            }
        };
        let from_input = linear(&x, &layer.w_ih, Some(&layer.bias))?;
        let w_hh = layer.w_hh.t()?.contiguous()?;
        let mut outputs = Vec::with_capacity(t);
        for frame in 0..t {
            let z = (from_input.narrow(1, frame, 1)?.squeeze(1)? + matmul(&h, &w_hh)?)?;
            let gate = |index: usize| z.narrow(1, index * hidden, hidden);
            let new = (sigmoid(&gate(0)?)? * tanh(&gate(2)?)?)?;
            c = ((sigmoid(&gate(1)?)? * &c)? + new)?;
            h = (sigmoid(&gate(3)?)? * tanh(&c)?)?;
            if let Some(w_hr) = &layer.w_hr {
                h = linear(&h, w_hr, None)?;
            }
            outputs.push(h.clone());
        }
        x = Tensor::stack(&outputs, 1)?;
        states.push((h, c));
    }
    Ok(LstmOutputs { sequence: x, states })
}

#[cfg(test)]
mod tests;
