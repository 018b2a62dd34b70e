//! The LSTM with its own backward pass as an operation of candle.
//!
//! candle has no place for what a forward pass keeps, so the operation, made anew for each call, holds it. Weights come as
//! one row, and where there is more than one output they leave as one row: an operation has three inputs at most, one output.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error, Layout, Result, Shape, Tensor, bail};

use crate::lstm::{Batch, Gradients, Keep, LayerSizes, LayerWeights, LstmSlopes, LstmTraining, Threads};

/// Memory of [`super::lstm_last`] that is used again: clones share it.
#[derive(Debug, Clone, Default)]
pub struct LstmMemory(Arc<Mutex<Vec<LstmTraining>>>);

impl LstmMemory {
    fn free(&self) -> MutexGuard<'_, Vec<LstmTraining>> {
        locked(&self.0)
    }

    /// How many passes it has memory for that no pass uses now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.free().len()
    }
}

/// A lock that a panic elsewhere does not keep: what it guards is overwritten before it is read.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call: takes the input (B, T, I), all weights in one row and, of three inputs, the starting states in one row; gives
/// the last outputs (B, S) or, with [`Keep::Sequence`], one row of outputs (B, T, S) and states.
pub(super) struct TrainingPass {
    sizes: Vec<LayerSizes>,
    keep: Keep,
    wants_input: bool,
    memory: LstmMemory,
    training: Mutex<LstmTraining>,
}

/// The three gradients.
type Slopes = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl TrainingPass {
    pub(super) fn new(sizes: Vec<LayerSizes>, keep: Keep, wants_input: bool, memory: &LstmMemory) -> Self {
        let training = Mutex::new(memory.free().pop().unwrap_or_default());
        Self { sizes, keep, wants_input, memory: memory.clone(), training }
    }

    /// The layers of the row of weights.
    fn layers(&self, mut row: &[f32]) -> Result<Vec<LayerWeights>> {
        let mut next = |count: usize| {
            let (values, rest) = row.split_at_checked(count).ok_or_else(|| Error::msg("too few LSTM weights"))?;
            row = rest;
            Ok::<_, Error>(values.to_vec())
        };
        let layer = |&sizes: &LayerSizes| {
            let (gates, h, s) = (4 * sizes.hidden, sizes.hidden, sizes.output());
            let (w_ih, w_hh, bias) = (next(gates * sizes.input)?, next(gates * s)?, next(gates)?);
            let w_hr = sizes.projection.map(|size| next(size * h)).transpose()?;
            LayerWeights::new(sizes, w_ih, w_hh, bias, w_hr).map_err(Error::wrap)
        };
        self.sizes.iter().map(layer).collect()
    }

    /// States of the layers (h and c), of `b` sequences each, in one row: where h ends.
    fn states(&self, b: usize) -> usize {
        self.sizes.iter().map(LayerSizes::output).sum::<usize>() * b
    }

    fn forward(
        &self,
        (input, b, t): (&[f32], usize, usize),
        weights: &[f32],
        start: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let layers = self.layers(weights)?;
        let mut batch = Batch::new(input, b, t);
        if let Some(start) = start {
            let split = start.split_at_checked(self.states(b));
            let (h0, c0) = split.ok_or_else(|| Error::msg("too few starting states of an LSTM"))?;
            batch = batch.starting_from(h0, c0);
        }
        let mut training = locked(&self.training);
        let out = training.forward(&layers, &batch, self.keep, Threads::Pool).map_err(Error::wrap)?;
        Ok(match self.keep {
            Keep::Last => {
                let size = self.sizes.last().map_or(0, LayerSizes::output);
                (CpuStorage::F32(out.last().to_vec()), Shape::from((b, size)))
            }
            Keep::Sequence => {
                let row = [out.sequence, out.h_n, out.c_n].concat();
                let count = row.len();
                (CpuStorage::F32(row), Shape::from(count))
            }
        })
    }

    fn backward(&self, input: &Tensor, weights: &Tensor, start: Option<&Tensor>, slopes: &Tensor) -> Result<Slopes> {
        let (b, t, _) = input.dims3()?;
        let slopes = slopes.flatten_all()?.to_vec1::<f32>()?;
        let slopes = match self.keep {
            Keep::Last => LstmSlopes { last: Some(&slopes), ..LstmSlopes::default() },
            Keep::Sequence => {
                let (sequence, states) = slopes.split_at(b * t * self.sizes.last().map_or(0, LayerSizes::output));
                let (h_n, c_n) = states.split_at(self.states(b));
                LstmSlopes { sequence: Some(sequence), h_n: Some(h_n), c_n: Some(c_n), last: None }
            }
        };
        let mut training = locked(&self.training);
        if !training.is_kept() {
            // An earlier backward pass through the same graph has spent it.
            let values = input.flatten_all()?.to_vec1::<f32>()?;
            let start = start.map(Tensor::to_vec1::<f32>).transpose()?;
            drop(training);
            self.forward((&values, b, t), &weights.to_vec1::<f32>()?, start.as_deref())?;
            training = locked(&self.training);
        }
        let gradients = training.backward(&slopes, self.wants_input).map_err(Error::wrap)?;
        let Gradients { layers, h0, c0, input: of_input } = gradients;
        let device = input.device();
        let of_weights: Vec<&[f32]> =
            layers.iter().flat_map(|layer| [&layer.w_ih[..], &layer.w_hh, &layer.bias, &layer.w_hr]).collect();
        let row = |parts: &[&[f32]]| Tensor::new(parts.concat(), device);
        Ok((
            self.wants_input.then(|| Tensor::from_slice(of_input, input.dims(), device)).transpose()?,
            Some(row(&of_weights)?),
            start.map(|_| row(&[h0, c0])).transpose()?,
        ))
    }
}

impl Drop for TrainingPass {
    fn drop(&mut self) {
        let training = std::mem::take(self.training.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.memory.free().push(training);
    }
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (_, None) => Err(Error::RequiresContiguous { op: "sv-lstm" }),
        _ => bail!("sv-lstm: takes f32"),
    }
}

/// The input's values, sequences and frames.
fn rows<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<(&'a [f32], usize, usize)> {
    let (b, t, _) = layout.shape().dims3()?;
    Ok((values(storage, layout)?, b, t))
}

impl CustomOp2 for TrainingPass {
    fn name(&self) -> &'static str {
        "sv-lstm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(rows(x, lx)?, values(w, lw)?, None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, w, _) = self.backward(x, w, None, slopes)?;
        Ok((x, w))
    }
}

impl CustomOp3 for TrainingPass {
    fn name(&self) -> &'static str {
        "sv-lstm-from-states"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        s: &CpuStorage,
        ls: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(rows(x, lx)?, values(w, lw)?, Some(values(s, ls)?))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, s: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Slopes> {
        self.backward(x, w, Some(s), slopes)
    }
}
