//! What several tests share: where the real recordings and the reference values are, how they are read, and what stands in
//! for them elsewhere.
#![forbid(unsafe_code)]

pub mod data;
pub mod hub;
pub mod lda;
pub mod model;
pub mod mutate;
pub mod pickle;
pub mod training;

/// The code in the project's README is compiled with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
