//! The plan of an LSTM encoder: gates packed once, windows of one length through the layers together.

use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView2;
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};

use super::to_unit;
use crate::ModelError;
use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::weights::Weights;

pub(super) struct LstmPlan {
    lstm: Lstm,
    head: Option<PackedLinear>,
    relu: bool,
    epsilon: f64,
    bins: usize,
    /// Working memory of calls that have ended.
    idle: Mutex<Vec<Memory>>,
}

#[derive(Default)]
struct Memory {
    input: Vec<f32>,
    workspace: Workspace,
}

impl LstmPlan {
    pub(super) fn new(config: &LstmConfig, weights: &Weights) -> Result<Self, ModelError> {
        let values = |name: &str| weights.get(name).values.as_slice();
        let layers = (0..config.layers)
            .map(|layer| {
                let input = if layer == 0 { config.bins } else { config.state_size() };
                let name = |kind: &str| values(&format!("lstm.{layer}.{kind}")).to_vec();
                LayerWeights::new(
                    LayerSizes { input, hidden: config.hidden, projection: config.projection },
                    name("weight_ih"),
                    name("weight_hh"),
                    name("bias"),
                    config.projection.map(|_| name("weight_hr")),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let head = match config.head {
            Head::None => None,
            Head::Linear { size } | Head::LinearRelu { size } => {
                Some(PackedLinear::new(config.state_size(), size, values("head.weight"), values("head.bias"))?)
            }
        };
        let Normalization::L2 { epsilon } = config.normalization;
        Ok(Self {
            lstm: Lstm::new(&layers)?,
            head,
            relu: matches!(config.head, Head::LinearRelu { .. }),
            epsilon,
            bins: config.bins,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Windows of one length into rows of `out` (windows, D).
    pub(super) fn embed(&self, windows: &[ArrayView2<'_, f32>], out: &mut [f32]) -> Result<(), ModelError> {
        // A thread that panicked left no half-made state in a list of buffers.
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_default();
        let result = self.embed_in(windows, out, &mut memory);
        idle().push(memory);
        result
    }

    fn embed_in(
        &self,
        windows: &[ArrayView2<'_, f32>],
        out: &mut [f32],
        memory: &mut Memory,
    ) -> Result<(), ModelError> {
        let Some(frames) = windows.first().map(ArrayView2::nrows) else { return Ok(()) };
        let size = out.len() / windows.len();
        memory.input.clear();
        memory.input.reserve(windows.len() * frames * self.bins);
        for window in windows {
            match window.as_slice() {
                Some(values) => memory.input.extend_from_slice(values),
                None => memory.input.extend(window.iter()),
            }
        }
        let batch = Batch::new(&memory.input, windows.len(), frames);
        let last = self.lstm.forward(&batch, Keep::Last, Threads::for_caller(), &mut memory.workspace)?.last();
        match &self.head {
            Some(head) => head.apply(windows.len(), last, out)?,
            None => out.copy_from_slice(last),
        }
        if self.relu {
            out.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        out.chunks_exact_mut(size).for_each(|row| to_unit(row, self.epsilon));
        Ok(())
    }
}
