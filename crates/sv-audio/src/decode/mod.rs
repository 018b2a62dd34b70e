//! Recordings to mono samples: WAV, FLAC, MP3, Ogg (Vorbis, Opus, FLAC), M4A (AAC-LC, ALAC), WebM and Matroska, AAC,
//! AIFF, CAF; from a path, from bytes, from a reader.
//!
//! The container is recognised by its content, never by its name. Channels are mixed to their mean, the rate stays as it
//! is. Encoder delay and padding go where the container says so; a recording that is cut short is used as far as it
//! goes, with a warning. Everything read is hostile: see [`DecodeLimits`]. `docs/decoding.md` has the table of formats,
//! what is trimmed in each, and where the samples differ from ffmpeg's.
//!
//! ```
//! use sv_audio::decode::{self, DecodeLimits};
//!
//! let mut wav = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3E\0\0\0\x7D\0\0\x02\0\x10\0data\x04\0\0\0".to_vec();
//! wav.extend([0, 0x40, 0, 0xC0]);
//! let decoded = decode::from_bytes("two samples", wav, &DecodeLimits::default())?;
//! assert_eq!(decoded.waveform.samples(), [0.5, -0.5]);
//! assert_eq!(decoded.waveform.rate_hz(), 16_000);
//! # Ok::<(), sv_audio::AudioError>(())
//! ```

mod caf;
mod error;
mod input;
mod limits;
mod matroska;
mod mono;
mod mp4;
mod ogg;
mod opus;
mod sniff;
mod stream;
mod vorbis;
mod wav;

use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use error::{DecodeError, DecodeWarning};
pub use limits::DecodeLimits;

use crate::{AudioError, Waveform};
use input::{Input, Tail, read_full};
use sniff::{Container, Found};
use stream::{Extra, Outcome};

/// Up to this many bytes of a stream are read into memory before anything else.
const HEAD: usize = 1 << 23;
/// Files up to this size are read whole.
const WHOLE_FILE: u64 = 1 << 26;
/// From this share of samples at full scale on, a recording is called clipped.
const CLIPPED_SHARE: f64 = 0.001;

/// A decoded recording.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// The mean of all channels at the native rate.
    pub waveform: Waveform,
    /// What should be known about it; empty for a sound recording.
    pub warnings: Vec<DecodeWarning>,
    /// The container's name: "WAV", "Ogg", ...
    pub container: &'static str,
    /// The codec's short name: "pcm_s16le", "vorbis", ...
    pub codec: &'static str,
    /// Channels before mixing.
    pub channels: usize,
}

/// Decodes the file at `path`.
///
/// # Errors
/// [`AudioError::Decode`] with the path and one of [`DecodeError`].
pub fn read(path: impl AsRef<Path>, limits: &DecodeLimits) -> Result<Decoded, AudioError> {
    let path = path.as_ref();
    named(&path.display().to_string(), || {
        let open = |reason| DecodeError::Open { reason };
        let metadata = std::fs::metadata(path).map_err(open)?;
        if metadata.is_dir() {
            return Err(DecodeError::Directory);
        }
        let mut file = File::open(path).map_err(open)?;
        if metadata.is_file() && metadata.len() <= WHOLE_FILE {
            let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
            // The file may grow meanwhile; not more than a whole file is read.
            (&mut file).take(WHOLE_FILE + 1).read_to_end(&mut bytes).map_err(|reason| DecodeError::Read { reason })?;
            return decode(Input::Memory(&bytes), limits);
        }
        decode_stream(file, limits)
    })
}

/// Decodes a recording in memory. `name` is for messages.
///
/// # Errors
/// [`AudioError::Decode`] with the name and one of [`DecodeError`].
pub fn from_bytes(name: &str, bytes: impl AsRef<[u8]>, limits: &DecodeLimits) -> Result<Decoded, AudioError> {
    named(name, || decode(Input::Memory(bytes.as_ref()), limits))
}

/// Decodes a stream to its end, without seeking. `name` is for messages.
///
/// WAV, FLAC, Ogg, MP3, AAC and AIFF are decoded as they come; MP4, Matroska and CAF need random access and are first
/// read into memory, as far as [`DecodeLimits::max_bytes`] goes.
///
/// # Errors
/// [`AudioError::Decode`] with the name and one of [`DecodeError`].
pub fn from_reader(name: &str, reader: impl Read + Send + Sync, limits: &DecodeLimits) -> Result<Decoded, AudioError> {
    named(name, || decode_stream(reader, limits))
}

/// Runs a decoder; puts the recording's name to its error, and turns a panic into one.
///
/// The decoders are other people's code on hostile input. They are bounded and checked beforehand as far as that goes;
/// this is the last line.
fn named(name: &str, run: impl FnOnce() -> Result<Decoded, DecodeError>) -> Result<Decoded, AudioError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(DecodeError::DecoderFault { what: panic_message(&*panic) }))
        .map_err(|reason| AudioError::Decode { name: name.to_owned(), reason })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn decode_stream(mut reader: impl Read + Send + Sync, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let read_error = |reason| DecodeError::Read { reason };
    let mut head = Vec::new();
    (&mut reader).take(HEAD as u64).read_to_end(&mut head).map_err(read_error)?;
    if head.len() < HEAD {
        return decode(Input::Memory(&head), limits);
    }
    if matches!(sniff::sniff(&head, false), Found::Known(container, _) if container.needs_seeking()) {
        let room = limits.max_bytes.saturating_sub(HEAD as u64);
        (&mut reader).take(room).read_to_end(&mut head).map_err(read_error)?;
        if read_full(&mut reader, &mut [0]).map_err(read_error)? > 0 {
            return Err(DecodeError::TooLarge { max_bytes: limits.max_bytes });
        }
        return decode(Input::Memory(&head), limits);
    }
    decode(Input::Stream(head, Box::new(reader)), limits)
}

fn decode(input: Input<'_>, limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    if input.head().is_empty() {
        return Err(DecodeError::Empty);
    }
    let whole = input.whole();
    let (container, start) = match sniff::sniff(input.head(), whole.is_some()) {
        Found::Known(container, start) => (container, start),
        Found::Other(what) => return Err(DecodeError::Unsupported { what: what.to_owned() }),
        Found::Unknown => return Err(DecodeError::UnknownFormat),
    };
    let outcome = match container {
        Container::Wav => wav::decode(input.into_reader(start), limits)?,
        _ => demux(input, container, start, limits)?,
    };
    finish(outcome, container)
}

/// Decodes a container that symphonia reads.
fn demux<'l>(
    input: Input<'_>,
    container: Container,
    start: usize,
    limits: &'l DecodeLimits,
) -> Result<Outcome<'l>, DecodeError> {
    let whole = input.whole().map(|bytes| &bytes[start..]);
    let mut extra = Extra::default();
    let mut cut = false;
    // The length that the container claims.
    let mut claimed = 0;
    if let Some(bytes) = whole {
        match container {
            Container::Mp4 => {
                mp4::check_fragments(bytes)?;
                extra.edits = mp4::edits(bytes).ok_or(DecodeError::NoIndex)?;
                claimed = mp4::claimed_length(bytes);
                cut = claimed > bytes.len() as u64;
            }
            Container::Matroska => {
                let ends = matroska::ends(bytes);
                extra.discard_ns = ends.discard_ns;
                cut = ends.claimed.is_some();
                claimed = ends.claimed.unwrap_or(0);
            }
            Container::Caf => {
                let chunks = caf::chunks(bytes);
                extra.caf = chunks.valid;
                cut = chunks.cut;
            }
            Container::Mpeg => cut = sniff::ends_within_a_frame(bytes, sniff::mpeg_frame),
            Container::Adts => cut = sniff::ends_within_a_frame(bytes, sniff::adts_frame),
            Container::Ogg => cut = !ogg::ends_properly(&bytes[bytes.len().saturating_sub(Tail::LENGTH)..]),
            Container::Wav | Container::Aiff | Container::Flac => {}
        }
    }
    // Where frames just follow each other, a demuxer that can seek only makes guesses about the length, and cuts to it.
    let seekable = !matches!(container, Container::Mpeg | Container::Adts);
    let (source, tail) = input.into_source(start, seekable, claimed);
    let mut reader = stream::open(container, source)?;
    let mut outcome = stream::decode(&mut *reader, &extra, limits)?;
    if container == Container::Ogg && whole.is_none() {
        cut = !tail.with(ogg::ends_properly);
    }
    // The last packet of a CAF is often shorter than its table says.
    if container == Container::Caf && !outcome.codec.starts_with("pcm") {
        outcome.expected = None;
    }
    outcome.cut |= cut;
    Ok(outcome)
}

/// Checks what was decoded and words the warnings.
fn finish(outcome: Outcome<'_>, container: Container) -> Result<Decoded, DecodeError> {
    let Outcome { mono, keep, codec, expected, mut cut, bad, packets } = outcome;
    let mono = match mono {
        Some(mono) if 2 * bad <= packets => mono,
        None if bad == 0 => return Err(DecodeError::NoAudio),
        _ => return Err(DecodeError::Undecodable { bad, packets }),
    };
    let (rate_hz, channels, decoded) = (mono.rate_hz(), mono.channels(), mono.decoded());
    let (clipped, seen) = mono.clipped();
    let samples = mono.into_samples(keep);
    if samples.is_empty() {
        return Err(DecodeError::NoAudio);
    }
    let seconds = samples.len() as f64 / f64::from(rate_hz);
    let waveform = Waveform::new(samples, rate_hz).map_err(|error| match error {
        AudioError::NotFinite { index, value } => {
            DecodeError::NotFinite { index, seconds: index as f64 / f64::from(rate_hz), value }
        }
        other => DecodeError::Malformed { what: other.to_string() },
    })?;
    let mut warnings = Vec::new();
    // Packets that were left out also leave fewer frames; that has its own warning.
    let missing = expected.map_or(0, |expected| expected.saturating_sub(decoded));
    cut |= missing > 0 && bad == 0;
    if cut {
        let expected_seconds = (missing > 0).then(|| seconds + missing as f64 / f64::from(rate_hz));
        warnings.push(DecodeWarning::CutShort { seconds, expected_seconds });
    }
    if bad > 0 {
        warnings.push(DecodeWarning::SkippedPackets { packets: bad });
    }
    let share = clipped as f64 / seen.max(1) as f64;
    if share >= CLIPPED_SHARE {
        warnings.push(DecodeWarning::Clipped { samples: clipped, share });
    }
    Ok(Decoded { waveform, warnings, container: container.name(), codec, channels })
}

#[cfg(test)]
mod tests;
