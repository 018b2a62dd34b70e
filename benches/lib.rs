//! What more than one measurement runs: the benches here and `cargo xtask bench`.
#![forbid(unsafe_code)]

pub mod residual;
pub mod workload;
