//! PyTorch files. The seeds are legacy files: nothing but pickles and data, so that most mutations reach the interpreter.
#![no_main]

#[path = "../calls/checkpoint.rs"]
mod checkpoint;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checkpoint::call(bytes);
});
