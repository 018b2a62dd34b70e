//! The networks, one a file.

pub mod lstm;
