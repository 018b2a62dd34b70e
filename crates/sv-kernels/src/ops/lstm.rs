//! The LSTM on tensors: packed where nothing is trained, with our backward pass where something is, else composed.

use candle_core::{Error, Result, Tensor, bail};

use super::lstm_training::{LstmMemory, TrainingPass};
use super::{linear, matmul, path as paths, sigmoid, tanh};
use crate::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};

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
/// f32 on the CPU runs on [`crate::lstm::Lstm`] where no gradient can flow into input, weights or states, and on
/// [`crate::lstm::LstmTraining`] where one can; all else is composed of operations that candle differentiates. To run the
/// same weights often, pack an `Lstm` once instead.
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
    match path(input, layers, start) {
        Path::Packed => packed(input, layers, start),
        Path::Trained => trained(input, layers, start),
        Path::Composed => composed(input, layers, start),
    }
}

/// The last layer's output (B, S) at the last frame of `input` (B, T, I), from states of zeros: what a d-vector is made of.
///
/// The same as the last frame of [`lstm`], without the memory and time that outputs of all frames and their gradients
/// take. Where a gradient can flow, what the backward pass needs is kept in memory of `memory`, which has it back when the
/// result and all that was computed from it are dropped: a loop that passes the same one allocates it once.
///
/// # Errors
/// If shapes, types or devices do not fit.
pub fn lstm_last(input: &Tensor, layers: &[LstmLayer], memory: &LstmMemory) -> Result<Tensor> {
    let (_, frames, _) = input.dims3()?;
    if layers.is_empty() || frames == 0 {
        bail!("an LSTM needs a layer and a frame; there are {} layers and {frames} frames", layers.len())
    }
    match path(input, layers, None) {
        Path::Trained => {
            let sizes = layers.iter().map(LstmLayer::sizes).collect::<Result<Vec<_>>>()?;
            let pass = TrainingPass::new(sizes, Keep::Last, input.track_op(), memory);
            input.contiguous()?.apply_op2(&flat_weights(layers)?, pass)
        }
        Path::Packed => {
            let LstmOutputs { mut states, .. } = packed(input, layers, None)?;
            let (last, _) = states.pop().ok_or_else(|| Error::msg("an LSTM without layers"))?;
            Ok(last)
        }
        Path::Composed => composed(input, layers, None)?.sequence.narrow(1, frames - 1, 1)?.squeeze(1),
    }
}

/// Which implementation takes a case.
enum Path {
    Packed,
    Trained,
    Composed,
}

fn path(input: &Tensor, layers: &[LstmLayer], start: Option<&[(Tensor, Tensor)]>) -> Path {
    let weights = layers.iter().flat_map(|l| [Some(&l.w_ih), Some(&l.w_hh), Some(&l.bias), l.w_hr.as_ref()]).flatten();
    let states = start.unwrap_or_default().iter().flat_map(|(h, c)| [h, c]);
    let all: Vec<&Tensor> = weights.chain(states).chain([input]).collect();
    if !paths::on_kernels(&all) {
        Path::Composed
    } else if all.iter().any(|tensor| tensor.track_op()) {
        Path::Trained
    } else {
        Path::Packed
    }
}

impl LstmLayer {
    /// The sizes, checked against each other.
    fn sizes(&self) -> Result<LayerSizes> {
        let (gates, input) = self.w_ih.dims2()?;
        let projection = self.w_hr.as_ref().map(|w| w.dim(0)).transpose()?;
        let sizes = LayerSizes { input, hidden: gates / 4, projection };
        let (h, s) = (sizes.hidden, sizes.output());
        let fits = gates == 4 * h
            && self.w_hh.dims() == [gates, s]
            && self.bias.dims() == [gates]
            && self.w_hr.as_ref().is_none_or(|w| w.dims() == [s, h]);
        if !fits {
            let w_hr = self.w_hr.as_ref().map(Tensor::dims);
            let (w_ih, w_hh, bias) = (self.w_ih.dims(), self.w_hh.dims(), self.bias.dims());
            bail!(
                "weights of an LSTM layer: w_ih {w_ih:?}, w_hh {w_hh:?}, bias {bias:?}, w_hr {w_hr:?} do not fit together"
            )
        }
        Ok(sizes)
    }
}

/// All weights in one row, layer by layer: w_ih, w_hh, bias, w_hr.
fn flat_weights(layers: &[LstmLayer]) -> Result<Tensor> {
    let weights = layers.iter().flat_map(|l| [Some(&l.w_ih), Some(&l.w_hh), Some(&l.bias), l.w_hr.as_ref()]).flatten();
    Tensor::cat(&weights.map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?, 0)
}

/// The forward pass with gradients, on the kernels of this crate.
fn trained(input: &Tensor, layers: &[LstmLayer], start: Option<&[(Tensor, Tensor)]>) -> Result<LstmOutputs> {
    let (b, t, _) = input.dims3()?;
    let sizes = layers.iter().map(LstmLayer::sizes).collect::<Result<Vec<_>>>()?;
    let pass = TrainingPass::new(sizes.clone(), Keep::Sequence, input.track_op(), &LstmMemory::default());
    let (input, weights) = (input.contiguous()?, flat_weights(layers)?);
    let all = match start {
        Some(start) => {
            for ((h, c), sizes) in start.iter().zip(&sizes) {
                if h.dims() != [b, sizes.output()] || c.dims() != [b, sizes.hidden] {
                    let takes = [[b, sizes.output()], [b, sizes.hidden]];
                    bail!("starting states of an LSTM layer: {:?} and {:?}, it takes {takes:?}", h.dims(), c.dims())
                }
            }
            let states = start.iter().map(|(h, _)| h).chain(start.iter().map(|(_, c)| c));
            let states = Tensor::cat(&states.map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?, 0)?;
            input.apply_op3(&weights, &states, pass)?
        }
        None => input.apply_op2(&weights, pass)?,
    };
    // One row: the outputs, then of each layer the state, then of each the cell state.
    let mut first = 0;
    let mut next = |shape: &[usize]| {
        let count = shape.iter().product();
        let part = all.narrow(0, first, count)?.reshape(shape);
        first += count;
        part
    };
    let output = sizes.last().map_or(0, LayerSizes::output);
    let sequence = next(&[b, t, output])?;
    let h = sizes.iter().map(|sizes| next(&[b, sizes.output()])).collect::<Result<Vec<_>>>()?;
    let c = sizes.iter().map(|sizes| next(&[b, sizes.hidden])).collect::<Result<Vec<_>>>()?;
    Ok(LstmOutputs { sequence, states: h.into_iter().zip(c).collect() })
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
