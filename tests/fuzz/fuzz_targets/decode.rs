//! The decoder entry on arbitrary bytes, from memory and as a stream: any answer but a panic, a hang or gigabytes.
//!
//! The same calls run over this target's corpus and mutations of it in `tests/decode_fuzz.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sv_audio::decode::{self, DecodeLimits};

fuzz_target!(|bytes: &[u8]| {
    let mut limits = DecodeLimits::default();
    limits.max_seconds = 60.0;
    limits.max_bytes = 16 << 20;
    let _ = decode::from_bytes("fuzz", bytes, &limits);
    let _ = decode::from_reader("fuzz", bytes, &limits);
});
