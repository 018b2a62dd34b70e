//! A network on a device that has no kernels of ours: composed of candle's operations, batch norms by their running averages.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use ndarray::ArrayView2;

use crate::train::{Encoder, frozen};
use crate::weights::Weights;
use crate::{EncoderConfig, ModelError};

/// Rows that go through the network together.
const ROWS: usize = 32;

pub(super) struct DevicePlan {
    /// One call at a time: a device works on them in turn anyway.
    network: Mutex<Box<dyn Encoder>>,
    device: Device,
}

impl DevicePlan {
    pub(super) fn new(config: &EncoderConfig, weights: &Weights, device: Device) -> Result<Self, ModelError> {
        let tensors = weights.iter().map(|(name, weight)| (name.to_owned(), weight.clone())).collect();
        Ok(Self { network: Mutex::new(frozen(config, tensors, &device)?), device })
    }

    /// Windows into rows of `out` (windows, D); those of one length go together, so that none is padded.
    pub(super) fn embed(&self, windows: &[ArrayView2<'_, f32>], out: &mut [f32]) -> Result<(), ModelError> {
        let size = out.len() / windows.len().max(1);
        let mut of_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, window) in windows.iter().enumerate() {
            of_length.entry(window.nrows()).or_default().push(index);
        }
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        for (frames, indices) in of_length {
            for indices in indices.chunks(ROWS) {
                let bins = windows[indices[0]].ncols();
                let values = indices.iter().flat_map(|&index| windows[index].iter().copied()).collect::<Vec<f32>>();
                let batch = Tensor::from_vec(values, (indices.len(), frames, bins), &self.device)?;
                let embeddings = network.forward(&batch)?.flatten_all()?.to_vec1::<f32>()?;
                for (&index, row) in indices.iter().zip(embeddings.chunks_exact(size)) {
                    out[index * size..][..size].copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}
