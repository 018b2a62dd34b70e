//! `model.toml`: any answer but a panic, a hang or gigabytes.
#![no_main]

#[path = "../calls/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::call(bytes));
