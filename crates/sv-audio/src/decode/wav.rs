//! WAV (also RF64): chunks, PCM samples, and the `fact` chunk that says how much of the last ADPCM block counts.
//!
//! Read here rather than by symphonia, whose demuxer drops a partial last packet, refuses files whose sizes do not add
//! up (pipes write such), and does not obey `fact`. ADPCM blocks are still decoded by it.

use std::io::Read;

use symphonia::core::audio::layouts::{CHANNEL_LAYOUT_MONO, CHANNEL_LAYOUT_STEREO};
use symphonia::core::codecs::audio::well_known::{CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::input::read_full;
use super::mono::Mono;
use super::stream::Outcome;
use super::{DecodeError, DecodeLimits};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 16;
/// Sizes from here on are what writers to a pipe leave behind: the size is not known.
const UNKNOWN_SIZE: u64 = 0x7FFF_F000;

/// How a sample is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Coding {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
    ALaw,
    MuLaw,
    Adpcm { ms: bool, block_frames: usize },
}

/// The `fmt ` chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Format {
    coding: Coding,
    channels: usize,
    rate_hz: u32,
    /// Bytes of a frame, or of an ADPCM block.
    align: usize,
}

/// Decodes a WAV file that starts at `reader`.
pub(super) fn decode<'l>(mut reader: impl Read, limits: &'l DecodeLimits) -> Result<Outcome<'l>, DecodeError> {
    let mut marker = [0_u8; 12];
    exact(&mut reader, &mut marker)?;
    let mut format = None;
    let mut fact = None;
    let mut long_size = None;
    loop {
        let mut header = [0_u8; 8];
        if read_full(&mut reader, &mut header).map_err(read_error)? < 8 {
            return Err(if format.is_some() { DecodeError::NoAudio } else { malformed("WAV without a `fmt ` chunk") });
        }
        let size = u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
        match &header[..4] {
            b"fmt " => {
                let bytes = small_chunk(&mut reader, size)?;
                format = Some(parse_format(&bytes, limits)?);
            }
            b"fact" => {
                fact =
                    small_chunk(&mut reader, size)?.first_chunk().map(|frames| u64::from(u32::from_le_bytes(*frames)));
            }
            b"ds64" => {
                long_size = small_chunk(&mut reader, size)?
                    .get(8..16)
                    .and_then(|b| b.first_chunk())
                    .map(|b| u64::from_le_bytes(*b));
            }
            b"data" => {
                let format = format.ok_or_else(|| malformed("WAV with `data` before `fmt `"))?;
                let size = match size {
                    0xFFFF_FFFF => long_size.filter(|&size| size < 1 << 62),
                    size if size >= UNKNOWN_SIZE => None,
                    size => Some(size),
                };
                return samples(reader, format, size, fact, limits);
            }
            _ => skip(&mut reader, size + (size & 1))?,
        }
    }
}

fn parse_format(bytes: &[u8], limits: &DecodeLimits) -> Result<Format, DecodeError> {
    let short = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(mut tag), Some(channels), Some(align), Some(bits)) = (short(0), short(2), short(12), short(14)) else {
        return Err(malformed("WAV with a `fmt ` chunk of less than 16 bytes"));
    };
    let rate_hz = bytes[4..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    limits.check_rate(rate_hz)?;
    let channels = limits.check_channels(usize::from(channels))?;
    if tag == 0xFFFE {
        // Extensible: the sub-format is a GUID that starts with the plain tag.
        tag = short(24).ok_or_else(|| malformed("extensible WAV without a sub-format"))?;
    }
    let align = usize::from(align);
    let coding = match (tag, bits.div_ceil(8)) {
        (1, 1) => Coding::U8,
        (1, 2) => Coding::S16,
        (1, 3) => Coding::S24,
        (1, 4) => Coding::S32,
        (3, 4) => Coding::F32,
        (3, 8) => Coding::F64,
        (6, 1) => Coding::ALaw,
        (7, 1) => Coding::MuLaw,
        (2 | 0x11, _) if bits == 4 => {
            if channels > 2 {
                return Err(DecodeError::Unsupported { what: format!("ADPCM of {channels} channels") });
            }
            let (header, free) = if tag == 2 { (7 * channels, 2) } else { (4 * channels, 1) };
            let payload = align.checked_sub(header).filter(|&payload| payload > 0);
            let payload = payload.ok_or_else(|| malformed(format!("ADPCM blocks of {align} bytes")))?;
            let block_frames = payload * 2 / channels + free;
            return Ok(Format { coding: Coding::Adpcm { ms: tag == 2, block_frames }, channels, rate_hz, align });
        }
        (0x55, _) => return Err(DecodeError::Unsupported { what: "MP3 in WAV".to_owned() }),
        _ => return Err(DecodeError::Unsupported { what: format!("WAV format 0x{tag:04X} of {bits} bits") }),
    };
    let width = match coding {
        Coding::U8 | Coding::ALaw | Coding::MuLaw => 1,
        Coding::S16 => 2,
        Coding::S24 => 3,
        Coding::F64 => 8,
        _ => 4,
    };
    Ok(Format { coding, channels, rate_hz, align: width * channels })
}

/// Decodes the `data` chunk: `size` bytes, or to the end where that is not known.
fn samples<'l>(
    reader: impl Read,
    format: Format,
    size: Option<u64>,
    fact: Option<u64>,
    limits: &'l DecodeLimits,
) -> Result<Outcome<'l>, DecodeError> {
    let mut mono = Mono::new(limits, format.rate_hz, 0)?;
    let mut reader = reader.take(size.unwrap_or(u64::MAX));
    let mut adpcm = Adpcm::new(format)?;
    let mut buffer = vec![0_u8; (PIECE / format.align).max(1) * format.align];
    let mut bytes = 0_u64;
    loop {
        let filled = read_full(&mut reader, &mut buffer).map_err(read_error)?;
        bytes += filled as u64;
        let whole = &buffer[..filled - filled % format.align];
        let channels = format.channels;
        match format.coding {
            Coding::U8 => mono.push_bytes(whole, channels, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0)?,
            Coding::S16 => mono.push_bytes(whole, channels, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0)?,
            Coding::S24 => mono.push_bytes(whole, channels, |[a, b, c]: [u8; 3]| {
                (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
            })?,
            Coding::S32 => mono.push_bytes(whole, channels, |b| i32::from_le_bytes(b) as f32 / 2_147_483_648.0)?,
            Coding::F32 => mono.push_bytes(whole, channels, f32::from_le_bytes)?,
            Coding::F64 => mono.push_bytes(whole, channels, |b| f64::from_le_bytes(b) as f32)?,
            Coding::ALaw => mono.push_bytes(whole, channels, |[b]: [u8; 1]| a_law(b))?,
            Coding::MuLaw => mono.push_bytes(whole, channels, |[b]: [u8; 1]| mu_law(b))?,
            Coding::Adpcm { .. } => {
                if let Some(adpcm) = &mut adpcm {
                    adpcm.push(whole, format, &mut mono)?;
                }
            }
        }
        if filled < buffer.len() {
            break;
        }
    }
    let frames_of = |bytes: u64| match format.coding {
        Coding::Adpcm { block_frames, .. } => bytes / format.align as u64 * block_frames as u64,
        _ => bytes / format.align as u64,
    };
    let cut = size.is_some_and(|size| bytes < size);
    // A `fact` that is off by more than the last block's padding counts something else, and is not obeyed.
    let keep = match format.coding {
        Coding::Adpcm { block_frames, .. } => {
            fact.filter(|&fact| fact < mono.decoded() && fact + 2 * block_frames as u64 > mono.decoded())
        }
        _ => None,
    };
    let codec = match format.coding {
        Coding::U8 => "pcm_u8",
        Coding::S16 => "pcm_s16le",
        Coding::S24 => "pcm_s24le",
        Coding::S32 => "pcm_s32le",
        Coding::F32 => "pcm_f32le",
        Coding::F64 => "pcm_f64le",
        Coding::ALaw => "pcm_alaw",
        Coding::MuLaw => "pcm_mulaw",
        Coding::Adpcm { ms: true, .. } => "adpcm_ms",
        Coding::Adpcm { .. } => "adpcm_ima_wav",
    };
    Ok(Outcome { mono: Some(mono), keep, codec, expected: size.map(frames_of), cut, ..Outcome::default() })
}

/// Decodes ADPCM blocks.
struct Adpcm {
    decoder: Box<dyn AudioDecoder>,
    block_frames: usize,
}

impl Adpcm {
    fn new(format: Format) -> Result<Option<Self>, DecodeError> {
        let Coding::Adpcm { ms, block_frames } = format.coding else { return Ok(None) };
        let codec: AudioCodecId = if ms { CODEC_ID_ADPCM_MS } else { CODEC_ID_ADPCM_IMA_WAV };
        let blocks = (PIECE / format.align).max(1);
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(codec)
            .with_sample_rate(format.rate_hz)
            .with_channels(if format.channels == 1 { CHANNEL_LAYOUT_MONO } else { CHANNEL_LAYOUT_STEREO })
            .with_max_frames_per_packet((blocks * block_frames) as u64)
            .with_frames_per_block(block_frames as u64);
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(&parameters, &AudioDecoderOptions::default())
            .map_err(|error| malformed(error.to_string()))?;
        Ok(Some(Self { decoder, block_frames }))
    }

    fn push(&mut self, blocks: &[u8], format: Format, mono: &mut Mono<'_>) -> Result<(), DecodeError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let frames = (blocks.len() / format.align * self.block_frames) as u64;
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::new(frames), blocks);
        match self.decoder.decode_ref(&packet) {
            Ok(buffer) => mono.push(&buffer),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// ITU-T G.711 A-law to the 16-bit scale, as a fraction of full scale.
fn a_law(byte: u8) -> f32 {
    let value = byte ^ 0x55;
    let exponent = i32::from((value >> 4) & 7);
    let mantissa = i32::from(value & 15);
    let magnitude = if exponent == 0 { mantissa * 16 + 8 } else { (mantissa * 16 + 0x108) << (exponent - 1) };
    (if value & 0x80 == 0 { -magnitude } else { magnitude }) as f32 / 32_768.0
}

/// ITU-T G.711 mu-law to the 16-bit scale, as a fraction of full scale.
fn mu_law(byte: u8) -> f32 {
    let value = !byte;
    let magnitude = ((i32::from(value & 15) * 8 + 0x84) << ((value >> 4) & 7)) - 0x84;
    (if value & 0x80 == 0 { magnitude } else { -magnitude }) as f32 / 32_768.0
}

/// The bytes of a header chunk; one that is longer than any header is damage.
fn small_chunk(reader: &mut impl Read, size: u64) -> Result<Vec<u8>, DecodeError> {
    if size > 1 << 12 {
        return Err(malformed(format!("WAV with a header chunk of {size} bytes")));
    }
    let mut bytes = vec![0; (size + (size & 1)) as usize];
    exact(reader, &mut bytes)?;
    Ok(bytes)
}

fn skip(reader: &mut impl Read, size: u64) -> Result<(), DecodeError> {
    std::io::copy(&mut reader.take(size), &mut std::io::sink()).map_err(read_error)?;
    Ok(())
}

fn exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), DecodeError> {
    if read_full(reader, buffer).map_err(read_error)? < buffer.len() {
        return Err(malformed("WAV that ends within its header"));
    }
    Ok(())
}

fn malformed(what: impl Into<String>) -> DecodeError {
    DecodeError::Malformed { what: what.into() }
}

fn read_error(reason: std::io::Error) -> DecodeError {
    DecodeError::Read { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_has_the_values_of_the_standard_at_both_ends() {
        assert_eq!(mu_law(0xFF) * 32_768.0, 0.0);
        assert_eq!(mu_law(0x00) * 32_768.0, -32_124.0);
        assert_eq!(mu_law(0x80) * 32_768.0, 32_124.0);
        assert_eq!(a_law(0xD5) * 32_768.0, 8.0);
        assert_eq!(a_law(0x55) * 32_768.0, -8.0);
        assert_eq!(a_law(0xAA) * 32_768.0, 32_256.0);
    }
}
