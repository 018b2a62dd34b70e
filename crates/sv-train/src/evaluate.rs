//! How good a model is: trial lists scored by a plan, and the TensorFlow code's enrol/verify test.

mod protocol;
mod trials;
mod utterances;

pub use protocol::{ProtocolResult, ge2e_protocol};
pub use trials::{Scorer, TrialList, TrialResult, TrialSet};
pub use utterances::{Reader, Utterances};
