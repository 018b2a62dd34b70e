//! The benches share nothing but their manifest.
#![forbid(unsafe_code)]
