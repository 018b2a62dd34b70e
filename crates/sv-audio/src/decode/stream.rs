//! Everything but WAV: symphonia's demuxer and decoder, packet by packet into the mono mix.

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{self as id, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadBytes};
use symphonia::core::packet::Packet;
use symphonia::default::formats;

use super::mono::Mono;
use super::sniff::Container;
use super::{DecodeError, DecodeLimits, mp4, opus, vorbis};

/// Packets in a row that may give no audio before the demuxer is taken to run in circles.
const BARREN: u64 = 1 << 16;
/// Most frames of a packet; the longest of any codec are FLAC's 65,535. Decoders make room for what the header claims.
const PACKET_FRAMES: u64 = 1 << 17;
/// Errors of a demuxer after which it is not asked again.
const DEMUXER_ERRORS: u64 = 64;

/// What decoding gave.
#[derive(Default)]
pub(super) struct Outcome<'l> {
    /// The mix; `None` if not one packet could be decoded.
    pub(super) mono: Option<Mono<'l>>,
    /// Samples to keep, after those dropped at the start.
    pub(super) keep: Option<u64>,
    pub(super) codec: &'static str,
    /// Frames that the container promises, as the mix counts them.
    pub(super) expected: Option<u64>,
    /// True if the recording ends before its container says so.
    pub(super) cut: bool,
    /// Packets that could not be decoded, and all packets.
    pub(super) bad: u64,
    pub(super) packets: u64,
}

/// What the container says beyond what symphonia passes on.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) edits: Vec<mp4::Edit>,
    /// Nanoseconds to drop at the end, by Matroska track number.
    pub(super) discard_ns: Vec<(u64, i64)>,
    /// Frames to drop at the start and then to keep, of the one track of a CAF.
    pub(super) caf: Option<(u64, u64)>,
}

impl Extra {
    /// Frames to drop at the start of a track, where the container says so.
    fn skip(&self, track: u32, rate_hz: u32) -> Option<u64> {
        let edit = self.edits.iter().find(|edit| edit.track == track).map(|edit| edit.skip(rate_hz));
        edit.or(self.caf.map(|(skip, _)| skip))
    }

    /// Frames to keep after those, where the container says so, of a track of which `len` were decoded.
    fn keep(&self, track: u32, rate_hz: u32, len: u64) -> Option<u64> {
        if let Some(&(_, nanoseconds)) = self.discard_ns.iter().find(|(number, _)| *number == u64::from(track)) {
            let frames = (nanoseconds.max(0) as f64 * 1e-9 * f64::from(rate_hz)).round() as u64;
            return Some(len.saturating_sub(frames));
        }
        let edit = self.edits.iter().find(|edit| edit.track == track).and_then(|edit| edit.keep(rate_hz));
        edit.or(self.caf.map(|(_, keep)| keep))
    }
}

/// Opens a demuxer at the start of its container.
pub(super) fn open<'a>(
    container: Container,
    mut source: MediaSourceStream<'a>,
) -> Result<Box<dyn FormatReader + 'a>, DecodeError> {
    let options = FormatOptions::default();
    let opened: Result<Box<dyn FormatReader + 'a>, Error> = match container {
        // WAV never comes here: `wav.rs` reads it.
        Container::Wav | Container::Aiff => formats::AiffReader::try_new(source, options).map(|r| Box::new(r) as _),
        Container::Caf => formats::CafReader::try_new(source, options).map(|r| Box::new(r) as _),
        Container::Flac => formats::FlacReader::try_new(source, options).map(|r| Box::new(r) as _),
        Container::Ogg => formats::OggReader::try_new(source, options).map(|r| Box::new(r) as _),
        Container::Matroska => formats::MkvReader::try_new(source, options).map(|r| Box::new(r) as _),
        // This reader steps back over the four bytes that a probe would have read.
        Container::Mp4 => source
            .read_quad_bytes()
            .map_err(Error::from)
            .and_then(|_| formats::IsoMp4Reader::try_new(source, options))
            .map(|r| Box::new(r) as _),
        Container::Mpeg => formats::MpaReader::try_new(source, options).map(|r| Box::new(r) as _),
        Container::Adts => formats::AdtsReader::try_new(source, options).map(|r| Box::new(r) as _),
    };
    opened.map_err(|error| match error {
        Error::Unsupported("isomp4: missing moov atom") => DecodeError::NoIndex,
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Malformed { what: format!("{} that ends within its header", container.name()) }
        }
        error => fault(error),
    })
}

/// Decodes the first audio track whose codec is read.
pub(super) fn decode<'l>(
    reader: &mut dyn FormatReader,
    extra: &Extra,
    limits: &'l DecodeLimits,
) -> Result<Outcome<'l>, DecodeError> {
    let (mut track, mut decoder) = select(reader.tracks(), limits)?;
    let mut outcome = Outcome { codec: decoder.name(), expected: track.num_frames, ..Outcome::default() };
    let mut barren = 0;
    let mut demuxer_errors = 0;
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(Error::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                outcome.cut = true;
                break;
            }
            Err(Error::ResetRequired) => {
                // A chained Ogg stream: the next recording behind the first one.
                (track, decoder) = select(reader.tracks(), limits)?;
                outcome.expected = None;
                continue;
            }
            Err(Error::IoError(reason)) => return Err(DecodeError::Read { reason }),
            Err(error) => {
                outcome.bad += 1;
                outcome.packets += 1;
                demuxer_errors += 1;
                match (demuxer_errors < DEMUXER_ERRORS, &outcome.mono) {
                    (true, _) => continue,
                    (false, Some(_)) => break,
                    (false, None) => return Err(fault(error)),
                }
            }
        };
        barren += 1;
        if barren > BARREN {
            return Err(DecodeError::DecoderFault { what: format!("{BARREN} packets without audio") });
        }
        if packet.track_id != track.id {
            continue;
        }
        outcome.packets += 1;
        let before = outcome.mono.as_ref().map_or(0, Mono::decoded);
        if !decoder.decode(&packet, &mut outcome.mono, limits, extra)? {
            outcome.bad += 1;
        }
        if outcome.mono.as_ref().map_or(0, Mono::decoded) > before {
            barren = 0;
        }
    }
    if let Some(mono) = &outcome.mono {
        let skip = extra.skip(track.id, mono.rate_hz()).unwrap_or(0);
        outcome.keep = extra.keep(track.id, mono.rate_hz(), mono.len() as u64);
        if let Some(keep) = outcome.keep {
            outcome.expected = Some(skip + keep);
        }
    }
    Ok(outcome)
}

/// A decoder of one codec.
enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(Box<opus::Decoder>),
}

impl Decoder {
    fn name(&self) -> &'static str {
        match self {
            Self::Symphonia(decoder) => decoder.codec_info().short_name,
            Self::Opus(_) => "opus",
        }
    }

    /// Decodes one packet into the mix; false if the packet is damaged.
    fn decode<'l>(
        &mut self,
        packet: &Packet,
        mono: &mut Option<Mono<'l>>,
        limits: &'l DecodeLimits,
        extra: &Extra,
    ) -> Result<bool, DecodeError> {
        match self {
            Self::Symphonia(decoder) => match decoder.decode(packet) {
                Ok(buffer) => {
                    let rate_hz = buffer.spec().rate();
                    let skip = extra.skip(packet.track_id, rate_hz).unwrap_or(0);
                    let mono = started(mono, limits, rate_hz, skip)?;
                    mono.push(&buffer)?;
                    Ok(true)
                }
                Err(Error::Unsupported(what)) => Err(DecodeError::Unsupported { what: what.to_owned() }),
                Err(_) => Ok(false),
            },
            Self::Opus(decoder) => {
                let skip = extra.skip(packet.track_id, opus::RATE_HZ).unwrap_or_else(|| decoder.pre_skip().into());
                let mono = started(mono, limits, opus::RATE_HZ, skip)?;
                decoder.decode(&packet.data, packet.trim_end.get(), mono)
            }
        }
    }
}

/// The mix, begun if this is its first block.
fn started<'m, 'l>(
    mono: &'m mut Option<Mono<'l>>,
    limits: &'l DecodeLimits,
    rate_hz: u32,
    skip: u64,
) -> Result<&'m mut Mono<'l>, DecodeError> {
    let mono = match mono {
        Some(mono) => mono,
        none => none.insert(Mono::new(limits, rate_hz, skip)?),
    };
    if mono.rate_hz() != rate_hz {
        return Err(DecodeError::Malformed {
            what: format!("the sample rate changes from {} to {rate_hz} Hz within the recording", mono.rate_hz()),
        });
    }
    Ok(mono)
}

/// The first audio track with a decoder; otherwise the reason why the first one has none.
fn select(tracks: &[Track], limits: &DecodeLimits) -> Result<(Track, Decoder), DecodeError> {
    let mut refusal = None;
    for track in tracks.iter().filter(|track| track.track_type() == Some(TrackType::Audio)) {
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else { continue };
        match make_decoder(parameters, limits) {
            Ok(decoder) => return Ok((track.clone(), decoder)),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    Err(refusal.unwrap_or(DecodeError::Unsupported { what: "a file without an audio track that is known".to_owned() }))
}

fn make_decoder(parameters: &AudioCodecParameters, limits: &DecodeLimits) -> Result<Decoder, DecodeError> {
    if let Some(rate_hz) = parameters.sample_rate {
        limits.check_rate(rate_hz)?;
    }
    if let Some(channels) = &parameters.channels {
        limits.check_channels(channels.count())?;
    }
    let frames = parameters.max_frames_per_packet.max(parameters.frames_per_block).unwrap_or(0);
    if frames > PACKET_FRAMES {
        return Err(DecodeError::Malformed { what: format!("packets of {frames} frames") });
    }
    let extra_data = parameters.extra_data.as_deref().unwrap_or(&[]);
    match parameters.codec {
        CODEC_ID_OPUS => return Ok(Decoder::Opus(Box::new(opus::Decoder::new(extra_data, limits)?))),
        id::CODEC_ID_VORBIS => vorbis::check_setup(extra_data)?,
        id::CODEC_ID_AAC => mp4::check_aac(extra_data)?,
        _ => {}
    }
    match symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()) {
        Ok(decoder) => Ok(Decoder::Symphonia(decoder)),
        Err(Error::Unsupported(what)) => {
            let what = codec_name(parameters.codec).map_or_else(|| what.to_owned(), |name| format!("{name} ({what})"));
            Err(DecodeError::Unsupported { what })
        }
        Err(error) => Err(fault(error)),
    }
}

/// Names of codecs that may be met in a container that is read.
fn codec_name(codec: AudioCodecId) -> Option<&'static str> {
    Some(match codec {
        id::CODEC_ID_AAC => "this kind of AAC",
        id::CODEC_ID_AC3 => "AC-3",
        id::CODEC_ID_EAC3 => "E-AC-3",
        id::CODEC_ID_AC4 => "AC-4",
        id::CODEC_ID_DCA => "DTS",
        id::CODEC_ID_SPEEX => "Speex",
        id::CODEC_ID_MUSEPACK => "Musepack",
        id::CODEC_ID_WMA => "Windows Media Audio",
        _ => return None,
    })
}

/// An error of symphonia in our words.
fn fault(error: Error) -> DecodeError {
    match error {
        Error::IoError(reason) => DecodeError::Read { reason },
        Error::Unsupported(what) => DecodeError::Unsupported { what: what.to_owned() },
        error => DecodeError::Malformed { what: error.to_string() },
    }
}
