//! What the kernels refuse.

use thiserror::Error;

/// Why a kernel could not be built or run. Every message names the values that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice does not hold as many values as its shape says.
    #[error("{what}: {got} values, its shape {shape:?} takes {expected}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its shape as it follows from the other arguments.
        shape: Vec<usize>,
        /// Values that the shape takes.
        expected: usize,
        /// Values that were given.
        got: usize,
    },
    /// A size that must not be zero is.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// Which size.
        what: &'static str,
    },
    /// The product of these sizes does not fit into memory.
    #[error("{what}: a shape of {shape:?} is more than this machine can address; check the sizes")]
    TooLarge {
        /// Which slice.
        what: &'static str,
        /// The shape asked for.
        shape: Vec<usize>,
    },
    /// Projection weights without a projection size, or the other way round.
    #[error("projection size {size:?}, but {got} projection weights; give both or neither")]
    Projection {
        /// The size given.
        size: Option<usize>,
        /// Values of projection weights given.
        got: usize,
    },
    /// Two layers do not fit together.
    #[error("layer {layer} takes {takes} values a frame, layer {} gives {gives}", .layer - 1)]
    Chain {
        /// The later layer, counted from 0.
        layer: usize,
        /// Its input size.
        takes: usize,
        /// The output size of the layer before.
        gives: usize,
    },
    /// A sequence is said to be longer than the array it stands in.
    #[error("sequence {sequence} has {got} frames, the batch holds {frames} of each; pad the batch or mend the length")]
    Frames {
        /// Index of the sequence.
        sequence: usize,
        /// Its stated length in frames.
        got: usize,
        /// Frames of the array.
        frames: usize,
    },
    /// Memory does not hold the rows that a kernel reads or writes.
    #[error(
        "{what}: {rows} rows of {columns} values, {stride} apart, do not fit into {got} values; enlarge the memory or the stride"
    )]
    Rows {
        /// Which matrix.
        what: &'static str,
        /// Rows asked for.
        rows: usize,
        /// Values of a row.
        columns: usize,
        /// Values from one row to the next.
        stride: usize,
        /// Values of the memory.
        got: usize,
    },
    /// A signal is too short for the padding by reflection around it.
    #[error("{frames} frames cannot be padded by reflection of {padding}; give at least {}", .padding + 1)]
    Reflection {
        /// Frames of the signal.
        frames: usize,
        /// Frames of padding on a side.
        padding: usize,
    },
    /// Training was given sequences of unequal length.
    #[error("an LSTM in training takes sequences of one length; cut them to the same number of frames")]
    Ragged,
    /// There is no forward pass to go back through.
    #[error("no forward pass is kept to go back through: a backward pass spends it; run the forward pass again")]
    NothingKept,
    /// The worker threads are there already.
    #[error("the worker threads are already running; limit them before the first parallel call")]
    PoolRuns,
    /// The worker threads could not be started.
    #[error("{threads} worker threads could not be started: {reason}")]
    PoolStart {
        /// How many were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
}

/// The number of values in `shape`.
pub(crate) fn volume(what: &'static str, shape: &[usize]) -> Result<usize, KernelError> {
    shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&values| values <= isize::MAX as usize / 8)
        .ok_or_else(|| KernelError::TooLarge { what, shape: shape.to_vec() })
}

/// What a slice is, the slice if it is given, and the shape that it then has.
pub(crate) type Given<'a, T> = (&'static str, Option<&'a [T]>, &'a [usize]);

/// Checks that `got` values fill `shape`.
pub(crate) fn expect_shape(what: &'static str, got: usize, shape: &[usize]) -> Result<(), KernelError> {
    let expected = volume(what, shape)?;
    if got == expected { Ok(()) } else { Err(KernelError::Length { what, shape: shape.to_vec(), expected, got }) }
}
