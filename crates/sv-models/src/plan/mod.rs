//! An encoder made ready for the CPU: weights packed once, shared by any number of threads.

mod lstm;
mod plain;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

use lstm::LstmPlan;
use plain::PlainPlan;

/// Windows in one product: enough that the weights are read rarely, few enough that the activations stay in the cache.
const MOST_TOGETHER: usize = 32;

/// A compiled encoder. `Send + Sync`; working memory is kept between calls.
pub struct Plan {
    network: Network,
    bins: usize,
    least_frames: usize,
    embedding_size: usize,
}

enum Network {
    Lstm(LstmPlan),
    Plain(PlainPlan),
}

impl Plan {
    /// Packs `weights` of a network of `config`.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if a kernel refuses the sizes.
    pub fn new(config: &EncoderConfig, weights: &Weights) -> Result<Self, ModelError> {
        let network = match config {
            EncoderConfig::Lstm(lstm) => Network::Lstm(LstmPlan::new(lstm, weights)?),
            EncoderConfig::Ecapa(_) | EncoderConfig::XVector(_) | EncoderConfig::ResNet(_) => {
                Network::Plain(PlainPlan::new(config, weights))
            }
        };
        Ok(Self {
            network,
            bins: config.bins(),
            least_frames: config.least_frames(),
            embedding_size: config.embedding_size(),
        })
    }

    /// D.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.embedding_size
    }

    /// Embeds windows of features, each (T, F) with its own T of at least [`EncoderConfig::least_frames`]: one row of the (n, D)
    /// result each.
    ///
    /// Row i depends on window i alone, to the last bit, whatever else is in the call.
    ///
    /// # Errors
    /// [`ModelError::Features`] if a window has fewer frames or another number of bins than the network takes.
    pub fn embed(&self, windows: &[ArrayView2<'_, f32>]) -> Result<Array2<f32>, ModelError> {
        for window in windows {
            if window.nrows() < self.least_frames || window.ncols() != self.bins {
                return Err(ModelError::Features {
                    frames: window.nrows(),
                    bins: window.ncols(),
                    need: self.bins,
                    least: self.least_frames,
                });
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
            let (windows, rows) = (&windows[first..end], &mut values[first * size..end * size]);
            match &self.network {
                Network::Lstm(plan) => plan.embed(windows, rows)?,
                Network::Plain(plan) => plan.embed(windows, rows)?,
            }
            first = end;
        }
        Ok(Array2::from_shape_vec((windows.len(), size), values).expect("n rows of D values"))
    }

    /// Joins the embeddings of an utterance's windows, (n, D) with n at least 1: their mean, scaled as the network scales
    /// its own output (Resemblyzer's `embed_utterance`; Wan et al. 2017, section 2.3, leaves the second scaling open). Networks
    /// that do not scale give the mean alone.
    ///
    /// The mean of one embedding is that embedding.
    #[must_use]
    pub fn join(&self, embeddings: ArrayView2<'_, f32>) -> Vec<f32> {
        let count = embeddings.nrows() as f64;
        let mean = |column: ArrayView1<'_, f32>| column.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let mut joined: Vec<f32> = embeddings.columns().into_iter().map(|column| mean(column) as f32).collect();
        if embeddings.nrows() > 1 && matches!(self.network, Network::Lstm(_)) {
            to_unit(&mut joined, 0.0);
        }
        joined
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
