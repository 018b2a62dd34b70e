//! What several tests share: where the real recordings and the reference values are, and how they are read.
#![forbid(unsafe_code)]

pub mod data;
