//! What can go wrong between a recipe and a trained model.

use std::io;
use std::path::PathBuf;

use crate::data::DataError;

/// Why a training, or a part of it, could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The system refused to open or read a file or folder.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to write a file; what was there before is untouched.
    #[error("{}: cannot be written, the previous state stands: {source}", .path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Recordings, their list, what is cut out of them or how they are drawn.
    #[error(transparent)]
    Data(#[from] DataError),
}
