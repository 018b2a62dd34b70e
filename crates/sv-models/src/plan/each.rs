//! Windows one by one through a network of convolutions, on as many threads as there are to take.

use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView2;
use rayon::prelude::*;
use sv_kernels::lstm::Threads;
use sv_kernels::pool::attended;

use crate::ModelError;

/// A network that embeds one window at a time.
pub(super) trait Network: Send + Sync {
    /// Working memory of a call.
    type Memory: Default + Send;

    /// Embeds `window` (T, F), which has been checked, into `out` (D).
    fn embed(
        &self,
        window: ArrayView2<'_, f32>,
        out: &mut [f32],
        threads: Threads,
        memory: &mut Self::Memory,
    ) -> Result<(), ModelError>;
}

/// A network that can embed a row of a padded batch as SpeechBrain does: convolutions run over all frames, statistics over those
/// that count.
pub(super) trait Padded: Network {
    /// Frames, of `frames`, that count in a row of which `share` is speech.
    fn counted(&self, share: f32, frames: usize) -> usize;

    /// [`Network::embed`], the statistics over the first `counted` frames.
    fn embed_counted(
        &self,
        window: ArrayView2<'_, f32>,
        counted: usize,
        out: &mut [f32],
        threads: Threads,
        memory: &mut Self::Memory,
    ) -> Result<(), ModelError>;
}

/// A network and the working memory of calls that have ended.
pub(super) struct Each<N: Network> {
    network: N,
    idle: Mutex<Vec<N::Memory>>,
}

impl<N: Network> Each<N> {
    pub(super) fn new(network: N) -> Self {
        Self { network, idle: Mutex::new(Vec::new()) }
    }

    /// Windows into rows of `out` (windows, D): enough of them are shared out among the threads of the pool, few go one after
    /// the other on all threads.
    pub(super) fn embed(&self, windows: &[ArrayView2<'_, f32>], out: &mut [f32]) -> Result<(), ModelError> {
        let size = out.len() / windows.len().max(1);
        if size == 0 {
            return Ok(());
        }
        let threads = Threads::for_caller();
        let one_by_one = |out: &mut [f32]| {
            windows.iter().zip(out.chunks_exact_mut(size)).try_for_each(|(window, out)| self.one(*window, out, threads))
        };
        if threads == Threads::One || rayon::current_num_threads() == 1 {
            return one_by_one(out);
        }
        if windows.len() >= LEAST_EACH * rayon::current_num_threads() {
            let rows = windows.par_iter().zip(out.par_chunks_exact_mut(size));
            return rows.try_for_each(|(window, out)| self.one(*window, out, Threads::One));
        }
        attended(|| one_by_one(out))
    }

    fn one(&self, window: ArrayView2<'_, f32>, out: &mut [f32], threads: Threads) -> Result<(), ModelError> {
        // A thread that panicked left no half-made state in a list of buffers.
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_default();
        let result = self.network.embed(window, out, threads, &mut memory);
        idle().push(memory);
        result
    }
}

impl<N: Padded> Each<N> {
    /// Rows of a padded batch, of which `least` frames must count, into rows of `out` (B, D), each with its share of speech.
    pub(super) fn embed_padded(
        &self,
        rows: &[(ArrayView2<'_, f32>, f32)],
        least: usize,
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let size = out.len() / rows.len().max(1);
        let threads = Threads::for_caller();
        let mut memory = N::Memory::default();
        for (&(row, share), out) in rows.iter().zip(out.chunks_exact_mut(size.max(1))) {
            let (frames, bins) = row.dim();
            let counted = self.network.counted(share, frames).min(frames);
            if counted < least {
                return Err(ModelError::Features { frames: counted, bins, need: bins, least });
            }
            self.network.embed_counted(row, counted, out, threads, &mut memory)?;
        }
        Ok(())
    }
}

/// Windows a thread from which on they are shared out whole.
const LEAST_EACH: usize = 2;
