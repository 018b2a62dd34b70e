//! Broken, hostile and endless recordings: each gives the right samples with a warning, or an error that says why.

use std::io::Read;
use std::path::PathBuf;

use common::data;
use sv_audio::AudioError;
use sv_audio::decode::{self, DecodeError, DecodeLimits, DecodeWarning, Decoded};

fn bad(name: &str) -> Option<PathBuf> {
    Some(data::data_dir()?.join("formats/bad").join(name))
}

fn refused(result: Result<Decoded, AudioError>) -> (String, DecodeError) {
    match result.expect_err("an error") {
        AudioError::Decode { name, reason } => (name, reason),
        other => panic!("{other}"),
    }
}

/// Reads a file that must be refused; its message names the file.
fn refusal(name: &str) -> Option<DecodeError> {
    let path = bad(name)?;
    let error = decode::read(&path, &DecodeLimits::default()).expect_err(name);
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    Some(refused(Err(error)).1)
}

fn decoded(name: &str) -> Option<Decoded> {
    Some(decode::read(bad(name)?, &DecodeLimits::default()).unwrap_or_else(|error| panic!("{error}")))
}

macro_rules! assert_refused {
    ($name:literal, $pattern:pat) => {
        if let Some(reason) = refusal($name) {
            assert!(matches!(reason, $pattern), "{}: {reason:?}", $name);
        }
    };
}

#[test]
fn files_without_audio_are_refused_with_the_reason() {
    assert_refused!("empty.wav", DecodeError::Empty);
    assert_refused!("header-only.wav", DecodeError::NoAudio);
    assert_refused!("text.wav", DecodeError::UnknownFormat);
    assert_refused!("random-bytes.mp3", DecodeError::UnknownFormat);
    assert_refused!("truncated-no-index.m4a", DecodeError::NoIndex);
}

#[test]
fn impossible_headers_are_refused_with_the_values() {
    assert_refused!("zero-sample-rate.wav", DecodeError::Rate { rate_hz: 0, .. });
    assert_refused!("1mhz-sample-rate.wav", DecodeError::Rate { rate_hz: 1_000_000, max_hz: 768_000, .. });
    assert_refused!("zero-channels.wav", DecodeError::Channels { channels: 0, .. });
    assert_refused!("255-channels.wav", DecodeError::Channels { channels: 255, max_channels: 32 });
}

#[test]
fn samples_that_are_not_finite_are_refused_with_their_place() {
    assert_refused!("nan-inf-f32.wav", DecodeError::NotFinite { index: 1_000, .. });
}

#[test]
fn cut_off_files_are_used_as_far_as_they_go_with_a_warning() {
    let Some(formats) = data::data_dir().map(|data| data.join("formats")) else { return };
    for (name, original, least) in [
        ("truncated.wav", "wav-s16-16k-mono.wav", 24_951),
        ("truncated.flac", "flac-s16-16k-mono.flac", 20_000),
        ("truncated.mp3", "mp3-cbr32-16k-mono.mp3", 24_000),
        ("truncated.ogg", "vorbis-16k-mono.ogg", 15_000),
        ("truncated-with-index.m4a", "aac-lc-16k-mono-faststart.m4a", 22_000),
    ] {
        let cut = decoded(name).expect("SV_DATA is set");
        let whole = decode::read(formats.join(original), &DecodeLimits::default()).unwrap();
        let (cut_short, rest): (Vec<_>, Vec<_>) =
            cut.warnings.iter().partition(|warning| matches!(warning, DecodeWarning::CutShort { .. }));
        assert_eq!((cut_short.len(), rest.len()), (1, 0), "{name}: {:?}", cut.warnings);
        assert!((least..whole.waveform.len()).contains(&cut.waveform.len()), "{name}: {}", cut.waveform.len());
        // What is there is what the whole file has there: no broken frame was decoded to noise.
        let pairs = cut.waveform.samples().iter().zip(whole.waveform.samples());
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference == 0.0, "{name}: {difference}");
    }
}

#[test]
fn sizes_that_a_pipe_left_open_are_no_damage() {
    let Some(decoded) = decoded("claims-4gb.wav") else { return };
    assert_eq!((decoded.waveform.len(), decoded.warnings.len()), (16_000, 0));
}

#[test]
fn sound_recordings_without_speech_are_decoded_for_others_to_judge() {
    for (name, frames) in [("silence-3s.wav", 48_000), ("speech-10ms.wav", 160), ("dc-offset.wav", 16_000)] {
        let Some(decoded) = decoded(name) else { return };
        assert_eq!((decoded.waveform.len(), decoded.warnings.len()), (frames, 0), "{name}");
    }
}

#[test]
fn clipping_is_measured_and_said() {
    let Some(decoded) = decoded("clipped-speech.wav") else { return };
    let [DecodeWarning::Clipped { samples, share }] = decoded.warnings[..] else { panic!("{:?}", decoded.warnings) };
    assert_eq!(samples, 5_201);
    assert!((share - 0.125).abs() < 0.001);
}

#[test]
fn a_directory_and_a_missing_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let limits = DecodeLimits::default();
    let (name, reason) = refused(decode::read(folder.path(), &limits));
    assert_eq!(name, folder.path().display().to_string());
    assert!(matches!(reason, DecodeError::Directory), "{reason:?}");
    let missing = folder.path().join("missing.wav");
    let (name, reason) = refused(decode::read(&missing, &limits));
    assert_eq!(name, missing.display().to_string());
    assert!(
        matches!(&reason, DecodeError::Open { reason } if reason.kind() == std::io::ErrorKind::NotFound),
        "{reason:?}"
    );
}

/// A WAV of 16 kHz mono noise that is made while it is read, and how much was read.
struct Endless {
    header: Vec<u8>,
    left: u64,
    state: u32,
}

impl Endless {
    fn new(frames: u64) -> Self {
        let mut header =
            b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3E\0\0\0\x7D\0\0\x02\0\x10\0data".to_vec();
        header.extend(u32::try_from(2 * frames).unwrap_or(u32::MAX).to_le_bytes());
        Self { header, left: 2 * frames, state: 1 }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.header.is_empty() {
            let count = buffer.len().min(self.header.len());
            buffer[..count].copy_from_slice(&self.header[..count]);
            self.header.drain(..count);
            return Ok(count);
        }
        let count = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for byte in &mut buffer[..count] {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (self.state >> 26) as u8;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[test]
fn twenty_hours_are_refused_with_the_limit_and_how_to_raise_it() {
    let twenty_hours = 20 * 3_600 * 16_000;
    let (name, reason) = refused(decode::from_reader("pipe", Endless::new(twenty_hours), &DecodeLimits::default()));
    assert_eq!(name, "pipe");
    assert!(matches!(reason, DecodeError::TooLarge { max_bytes: 536_870_912 }), "{reason:?}");
    assert!(reason.to_string().contains("DecodeLimits::max_bytes"), "{reason}");

    let mut limits = DecodeLimits::default();
    limits.max_seconds = 600.0;
    let (_, reason) = refused(decode::from_reader("pipe", Endless::new(twenty_hours), &limits));
    assert!(matches!(reason, DecodeError::TooLong { max_seconds: 600.0 }), "{reason:?}");
    assert!(reason.to_string().contains("DecodeLimits::max_seconds"), "{reason}");
}

#[test]
fn a_long_stream_within_the_limits_is_decoded_without_seeking() {
    let decoded = decode::from_reader("pipe", Endless::new(600 * 16_000), &DecodeLimits::default()).unwrap();
    assert_eq!(decoded.waveform.len(), 600 * 16_000);
    assert_eq!(decoded.warnings, []);
}
