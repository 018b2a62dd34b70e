//! What can be wrong with a batch or an option before it becomes a loss.

use candle_core::DType;

/// Why a loss could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// The embeddings do not have one row a label.
    #[error("embeddings of shape {got:?} meet {rows} labels; give ({rows}, D), one row a label and D of at least 1")]
    Shape {
        /// The embeddings' axes.
        got: Vec<usize>,
        /// Rows that the labels, or the N and M given, ask for.
        rows: usize,
    },
    /// The element type is not one that the objective computes in.
    #[error("{what} is of type {}, {need} is needed; convert it before", .got.as_str())]
    DataType {
        /// Which tensor.
        what: &'static str,
        /// Its type.
        got: DType,
        /// What fits.
        need: &'static str,
    },
    /// The rows are not N speakers after each other with M utterances each.
    #[error(
        "{rows} rows are not whole speakers after each other with equally many utterances: the order breaks at row {row} \
         (counted from 0); sort the batch by speaker and give each equally many rows"
    )]
    NotArranged {
        /// First row that does not fit; the number of rows if the last speaker has too few.
        row: usize,
        /// Rows of the batch.
        rows: usize,
    },
    /// There is nobody to tell the speaker from.
    #[error("a batch of {got} speakers has no pair to compare; give 2 or more")]
    TooFewSpeakers {
        /// N of the batch.
        got: usize,
    },
    /// An utterance left out of its speaker's centroid leaves nothing.
    #[error("{got} utterances a speaker leave no centroid without the utterance itself; give 2 or more")]
    TooFewUtterances {
        /// M of the batch.
        got: usize,
    },
    /// A label names a class that the loss has no basis for.
    #[error(
        "row {row} is of class {class}; there are {classes} classes, counted from 0: build the loss for more of them"
    )]
    Class {
        /// Row of the batch.
        row: usize,
        /// Its label.
        class: u32,
        /// Classes there are.
        classes: usize,
    },
    /// The embeddings do not have one row a label, or not the size that the loss was built for.
    #[error(
        "embeddings of shape {got:?} meet {rows} labels and bases of {dimension} values; give ({rows}, {dimension}), one row or more"
    )]
    Dimension {
        /// The embeddings' axes.
        got: Vec<usize>,
        /// Labels given.
        rows: usize,
        /// Values of a basis.
        dimension: usize,
    },
    /// Sizes that no loss can be built for.
    #[error(
        "a classifier of {classes} classes for embeddings of {dimension} values; 2 classes or more are needed, every size from \
         1, and no tensor of more than 2^31 values"
    )]
    Sizes {
        /// D.
        dimension: usize,
        /// S.
        classes: usize,
    },
    /// A sum over speaker bases in which nothing ties embeddings to them.
    #[error(
        "the sum over speaker bases has neither `softmax` nor `hard`, so no embedding would be drawn to its speaker's basis; \
         add one of them"
    )]
    NoPart {},
    /// A batch in which no two rows are of one speaker, or none of two.
    #[error("a batch of {rows} rows has {same} pairs of one speaker and {other} of two; give one or more of each")]
    NoPairs {
        /// B.
        rows: usize,
        /// Pairs of one speaker.
        same: usize,
        /// Pairs of two speakers.
        other: usize,
    },
    /// An option outside its range.
    #[error("option `{option}` is {got}, it has to be {need}")]
    InvalidOption {
        /// Its name in a recipe.
        option: &'static str,
        /// The value given.
        got: f64,
        /// The range.
        need: &'static str,
    },
    /// candle refused an operation, say because two tensors are on different devices.
    #[error("computing the loss: {source}")]
    Tensor {
        /// What candle said.
        #[from]
        source: candle_core::Error,
    },
}
