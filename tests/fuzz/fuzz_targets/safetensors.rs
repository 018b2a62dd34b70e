//! safetensors files.
#![no_main]

#[path = "../calls/checkpoint.rs"]
mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checkpoint::call(bytes);
});
