//! An encoder made ready for the CPU: weights packed once, shared by any number of threads.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView1, ArrayView2};
use sv_kernels::gemm::PackedLinear;
use sv_kernels::lstm::{Batch, Keep, LayerSizes, LayerWeights, Lstm, Threads, Workspace};

use crate::encoders::lstm::{Head, LstmConfig, Normalization};
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// A compiled encoder. `Send + Sync`; working memory is kept between calls.
pub struct Plan {
    network: LstmPlan,
    bins: usize,
    embedding_size: usize,
}

impl Plan {
    /// Packs `weights` of a network of `config`.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if a kernel refuses the sizes.
    pub fn new(config: &EncoderConfig, weights: &Weights) -> Result<Self, ModelError> {
        let EncoderConfig::Lstm(lstm) = config;
        Ok(Self {
            network: LstmPlan::new(lstm, weights)?,
            bins: config.bins(),
            embedding_size: config.embedding_size(),
        })
    }

    /// D.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.embedding_size
    }

    /// Embeds windows of features, each (T, F) with its own T of at least 1: one row of the (n, D) result each.
    ///
    /// Row i depends on window i alone, to the last bit, whatever else is in the call.
    ///
    /// # Errors
    /// [`ModelError::Features`] if a window has no frame or another number of bins than the network takes.
    pub fn embed(&self, windows: &[ArrayView2<'_, f32>]) -> Result<Array2<f32>, ModelError> {
        for window in windows {
            if window.nrows() == 0 || window.ncols() != self.bins {
                return Err(ModelError::Features { frames: window.nrows(), bins: window.ncols(), need: self.bins });
            }
        }
        let size = self.embedding_size;
        let mut values = vec![0.0; windows.len() * size];
        let mut first = 0;
        while first < windows.len() {
            // Windows of one length go together; their order is kept.
            let frames = windows[first].nrows();
            let same =
                windows[first..].iter().take(MOST_TOGETHER).take_while(|window| window.nrows() == frames).count();
            let end = first + same;
            self.network.embed(&windows[first..end], &mut values[first * size..end * size])?;
            first = end;
        }
        Ok(Array2::from_shape_vec((windows.len(), size), values).expect("n rows of D values"))
    }

    /// Joins the embeddings of an utterance's windows, (n, D) with n at least 1: their mean, scaled as the network scales
    /// its own output (Resemblyzer's `embed_utterance`; Wan et al. 2017, section 2.3, leaves the second scaling open).
    ///
    /// The mean of one embedding is that embedding.
    #[must_use]
    pub fn join(&self, embeddings: ArrayView2<'_, f32>) -> Vec<f32> {
        let count = embeddings.nrows() as f64;
        let mean = |column: ArrayView1<'_, f32>| column.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let mut joined: Vec<f32> = embeddings.columns().into_iter().map(|column| mean(column) as f32).collect();
        if embeddings.nrows() > 1 {
            to_unit(&mut joined, 0.0);
        }
        joined
    }
}

/// Windows in one product: enough that the weights are read rarely, few enough that the activations stay in the cache.
const MOST_TOGETHER: usize = 32;

struct LstmPlan {
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
    fn new(config: &LstmConfig, weights: &Weights) -> Result<Self, ModelError> {
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
    fn embed(&self, windows: &[ArrayView2<'_, f32>], out: &mut [f32]) -> Result<(), ModelError> {
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

/// Divides by sqrt(sum x^2 + epsilon), summed in f64; zeros stay zeros.
fn to_unit(row: &mut [f32], epsilon: f64) {
    let square: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let norm = (square + epsilon).sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
}
