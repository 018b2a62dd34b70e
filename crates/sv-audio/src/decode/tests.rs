//! Recordings made here, byte by byte, and what is wrong with some of them.

use proptest::prelude::*;

use super::*;

/// A WAV of one format; `data` as it is, whatever its length.
fn wav(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0");
    bytes.extend([tag.to_le_bytes(), channels.to_le_bytes()].concat());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend((rate_hz * u32::from(align)).to_le_bytes());
    bytes.extend([align.to_le_bytes(), bits.to_le_bytes()].concat());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn decoded(bytes: &[u8]) -> Decoded {
    from_bytes("test", bytes, &DecodeLimits::default()).unwrap()
}

fn refused(bytes: &[u8], limits: &DecodeLimits) -> DecodeError {
    match from_bytes("test", bytes, limits) {
        Err(AudioError::Decode { name, reason }) if name == "test" => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_pcm_format_gives_its_values() {
    let cases: [(u16, u16, &[u8], [f32; 2]); 6] = [
        (1, 8, &[0, 192], [-1.0, 0.5]),
        (1, 16, &[0, 0x80, 0, 0x40], [-1.0, 0.5]),
        (1, 24, &[0, 0, 0x80, 0, 0, 0x40], [-1.0, 0.5]),
        (1, 32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40], [-1.0, 0.5]),
        (3, 32, &[0, 0, 0x80, 0xBF, 0, 0, 0, 0x3F], [-1.0, 0.5]),
        (3, 64, &[0, 0, 0, 0, 0, 0, 0xF0, 0xBF, 0, 0, 0, 0, 0, 0, 0xE0, 0x3F], [-1.0, 0.5]),
    ];
    for (tag, bits, data, values) in cases {
        assert_eq!(decoded(&wav(tag, 1, 8_000, bits, data)).waveform.samples(), values, "{tag}, {bits} bits");
    }
}

#[test]
fn channels_are_mixed_to_their_mean() {
    let decoded = decoded(&wav(1, 2, 8_000, 16, &[0, 0x40, 0, 0x20, 0, 0xC0, 0, 0]));
    assert_eq!((decoded.waveform.samples(), decoded.channels), (&[0.375, -0.25][..], 2));
}

#[test]
fn limits_are_enforced_on_what_is_decoded() {
    let bytes = wav(1, 2, 8_000, 16, &[1; 4 * 8_000]);
    let limited = |change: fn(&mut DecodeLimits)| {
        let mut limits = DecodeLimits::default();
        change(&mut limits);
        refused(&bytes, &limits)
    };
    assert!(matches!(limited(|l| l.max_seconds = 0.999), DecodeError::TooLong { .. }));
    assert!(matches!(limited(|l| l.max_bytes = 31_999), DecodeError::TooLarge { max_bytes: 31_999 }));
    assert!(matches!(limited(|l| l.max_channels = 1), DecodeError::Channels { channels: 2, max_channels: 1 }));
    assert!(matches!(limited(|l| l.min_rate_hz = 8_001), DecodeError::Rate { rate_hz: 8_000, min_hz: 8_001, .. }));
    assert!(matches!(limited(|l| l.max_rate_hz = 7_999), DecodeError::Rate { rate_hz: 8_000, max_hz: 7_999, .. }));
}

#[test]
fn a_wav_that_ends_early_is_used_with_a_warning_to_its_last_whole_frame() {
    let bytes = wav(1, 1, 8_000, 16, &[0; 16_000]);
    let decoded = decoded(&bytes[..44 + 8_001]);
    assert_eq!(decoded.waveform.len(), 4_000);
    let warning = DecodeWarning::CutShort { seconds: 0.5, expected_seconds: Some(1.0) };
    assert_eq!(decoded.warnings, std::slice::from_ref(&warning));
    assert_eq!(warning.to_string(), "cut short: 0.50 s of 1.00 s are there and were used");
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let data: Vec<u8> = [0.0, 1.0, f32::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(matches!(
        refused(&wav(3, 1, 8_000, 32, &data), &DecodeLimits::default()),
        DecodeError::NotFinite { index: 2, .. }
    ));
}

#[test]
fn formats_that_are_not_read_are_named() {
    let limits = DecodeLimits::default();
    let reason = refused(&wav(0x161, 1, 8_000, 16, &[0; 4]), &limits).to_string();
    assert!(reason.starts_with("WAV format 0x0161 of 16 bits is not supported"), "{reason}");
    assert!(refused(b"#!AMR\n\x3C", &limits).to_string().starts_with("AMR is not supported"));
}

#[cfg(not(feature = "opus"))]
#[test]
fn without_the_feature_opus_is_refused_with_its_name() {
    let bytes = include_bytes!("../../../../tests/fuzz/corpus/decode/opus.ogg");
    let reason = refused(bytes, &DecodeLimits::default());
    assert!(matches!(reason, DecodeError::NeedsFeature { codec: "Opus", feature: "opus" }), "{reason:?}");
}

#[test]
fn a_panic_of_a_decoder_becomes_an_error() {
    let error = named("song.mp3", || panic!("index out of bounds")).unwrap_err();
    assert!(error.to_string().starts_with("song.mp3: the decoder broke down on it (index out of bounds)"), "{error}");
}

#[test]
fn a_stream_that_fails_is_not_taken_for_a_short_one() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the line went dead"))
        }
    }
    let wav = wav(1, 1, 8_000, 16, &[0; 16_000]);
    let error = from_reader("line", wav.as_slice().chain(Failing), &DecodeLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line: cannot be read: the line went dead");
}

proptest! {
    #[test]
    fn sixteen_bit_samples_survive_exactly(samples in prop::collection::vec(any::<i16>(), 1..600), rate in 1_000..768_000_u32) {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let decoded = decoded(&wav(1, 1, rate, 16, &data));
        let back: Vec<i16> = decoded.waveform.samples().iter().map(|sample| (sample * 32_768.0) as i16).collect();
        prop_assert_eq!(back, samples);
        prop_assert_eq!(decoded.waveform.rate_hz(), rate);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), kind in 0..8_usize) {
        let magics: [&[u8]; 8] =
            [b"", b"RIFF....WAVEfmt ", b"fLaC", b"OggS\0\x02", b"\x1A\x45\xDF\xA3", b"....ftypM4A ", b"FORM....AIFF", b"caff"];
        let bytes = [magics[kind], &bytes].concat();
        let _ = from_bytes("noise", bytes, &DecodeLimits::default());
    }

    #[test]
    fn a_wav_cut_anywhere_is_refused_or_shorter(length in 0..1_044_usize) {
        let bytes = wav(1, 1, 8_000, 16, &[7; 1_000]);
        match from_bytes("cut", &bytes[..length], &DecodeLimits::default()) {
            Ok(decoded) => prop_assert_eq!(decoded.waveform.len(), (length - 44) / 2),
            Err(_) => prop_assert!(length < 46),
        }
    }
}
