//! The trial-list parser on whatever the fuzzer makes up.
#![no_main]

#[path = "../calls/trials.rs"]
mod trials;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trials::call(bytes));
