//! What the fuzz target `decode` calls, over its corpus and seeded mutations of it, for a bounded time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use common::mutate::mutations;
use sv_audio::AudioError;
use sv_audio::decode::{self, DecodeError, DecodeLimits, Decoded};

/// Mutations of each seed.
const ROUNDS: usize = 60;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "md"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn limits() -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_seconds = 60.0;
    limits.max_bytes = 16 << 20;
    limits
}

/// Whatever the bytes are, samples are within the limits, and both ways in agree on them.
fn check(name: &str, bytes: &[u8]) -> Result<Decoded, AudioError> {
    let from_bytes = decode::from_bytes(name, bytes, &limits());
    let from_reader = decode::from_reader(name, bytes, &limits());
    match (&from_bytes, &from_reader) {
        (Ok(a), Ok(b)) => {
            assert_eq!(a, b, "{name}");
            assert!(!a.waveform.is_empty() && a.waveform.seconds() <= 60.0, "{name}");
        }
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        _ => panic!("{name}: {from_bytes:?} from bytes, {from_reader:?} from a reader"),
    }
    from_bytes
}

#[test]
fn every_seed_is_decoded_without_a_warning() {
    let corpus = corpus();
    assert!(corpus.len() > 30, "{} seeds", corpus.len());
    for (name, bytes) in corpus {
        let decoded = check(&name, &bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(decoded.warnings, [], "{name}");
        assert!((0.02..0.3).contains(&decoded.waveform.seconds()), "{name}: {} s", decoded.waveform.seconds());
    }
}

#[test]
fn mutated_files_never_break_a_decoder_out_of_its_bounds() {
    let corpus = corpus();
    let mut faults = 0;
    for (index, (name, bytes)) in corpus.iter().enumerate() {
        for (round, damaged) in mutations(bytes, ROUNDS, index as u64).enumerate() {
            let result = check(&format!("{name}, round {round}"), &damaged);
            if let Err(AudioError::Decode { reason: DecodeError::DecoderFault { what }, .. }) = result {
                eprintln!("{name}, round {round}: {what}");
                faults += 1;
            }
        }
    }
    // Panics of the decoders are caught, but they are not to become the rule.
    assert!(faults * 100 <= corpus.len() * ROUNDS, "{faults} faults");
}

#[test]
fn a_file_cut_at_any_length_is_refused_or_used_as_far_as_it_goes() {
    for (name, bytes) in corpus() {
        let whole = check(&name, &bytes).unwrap().waveform.len();
        let step = (bytes.len() / 100).max(1);
        for length in (0..bytes.len()).step_by(step) {
            if let Ok(decoded) = check(&format!("{name}, {length} bytes"), &bytes[..length]) {
                assert!(
                    decoded.waveform.len() <= whole + 2_048,
                    "{name}: {length} bytes give more than the whole file"
                );
            }
        }
    }
}

#[test]
fn packets_that_claim_a_thousand_million_frames_cost_no_memory() {
    let (_, mut bytes) = corpus().into_iter().find(|(name, _)| name == "pcm.caf").unwrap();
    // Frames per packet of the audio description; found by mutation, it made a decoder ask for 2 GiB.
    bytes[40..44].copy_from_slice(&0x4000_0001_u32.to_be_bytes());
    let error = check("pcm.caf", &bytes).unwrap_err().to_string();
    assert!(error.contains("packets of 1073741825 frames"), "{error}");
}
