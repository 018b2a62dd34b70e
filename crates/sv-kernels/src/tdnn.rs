//! Training of layers of time-delay networks on the CPU, forward and backward: convolution, activation, batch normalisation;
//! and what follows the convolutions of residual networks.
//! Activations are rows of channels, one row a frame, sequence after sequence.
//!
//! A convolution is a product of its weights with segments: for each frame the rows of its taps, one after the other. The
//! rows are shared out over the threads of the current pool; every sum is taken in an order that depends on their number
//! alone.

pub(crate) mod norm;
pub(crate) mod pooling;
pub(crate) mod products;
pub(crate) mod segments;
pub(crate) mod shortcut;

/// Rows of each of the current pool's threads, at least one.
pub(crate) fn share(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).max(1)
}
