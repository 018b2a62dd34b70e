//! Opus packets to samples at 48 kHz, with the `opus-decoder` crate (feature `opus`).

/// The rate that Opus is decoded at, whatever went in (RFC 7845 section 5.1).
pub(super) const RATE_HZ: u32 = 48_000;

#[cfg(feature = "opus")]
pub(super) use with_feature::Decoder;
#[cfg(not(feature = "opus"))]
pub(super) use without_feature::Decoder;

#[cfg(feature = "opus")]
mod with_feature {
    use opus_decoder::{OpusDecoder, OpusMultistreamDecoder};

    use super::super::mono::Mono;
    use super::super::{DecodeError, DecodeLimits};

    /// The longest packet: 120 ms.
    const MAX_FRAMES: usize = 5_760;

    /// A decoder as its identification header describes it.
    pub(in super::super) struct Decoder {
        inner: Inner,
        channels: usize,
        pre_skip: u16,
        gain: f32,
        pcm: Vec<i16>,
    }

    enum Inner {
        Single(Box<OpusDecoder>),
        Many(OpusMultistreamDecoder),
    }

    impl Decoder {
        /// Reads the header (RFC 7845 section 5.1; in MP4 the same fields, big-endian, as version 0).
        pub(in super::super) fn new(header: &[u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
            let malformed = |what: &str| DecodeError::Malformed { what: what.to_owned() };
            let fields = header.strip_prefix(b"OpusHead").and_then(|fields| fields.first_chunk::<11>());
            let Some(&[version, channels, skip_a, skip_b, _, _, _, _, gain_a, gain_b, family]) = fields else {
                return Err(malformed("Opus without an identification header"));
            };
            let big_endian = version == 0;
            let short = |a: u8, b: u8| if big_endian { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
            let channels = limits.check_channels(usize::from(channels))?;
            let inner = match family {
                0 if channels <= 2 => OpusDecoder::new(super::RATE_HZ, channels).map(|d| Inner::Single(Box::new(d))),
                1 | 255 => {
                    let table = header.get(19..).unwrap_or(&[]);
                    let (Some(&streams), Some(&coupled), Some(mapping)) =
                        (table.first(), table.get(1), table.get(2..2 + channels))
                    else {
                        return Err(malformed("Opus without a channel mapping table"));
                    };
                    // Decoders are made per stream, so their number is a matter of memory as well.
                    limits.check_channels(usize::from(streams))?;
                    OpusMultistreamDecoder::new(super::RATE_HZ, channels, streams.into(), coupled.into(), mapping)
                        .map(Inner::Many)
                }
                _ => {
                    let what = format!("Opus of channel mapping family {family} with {channels} channels");
                    return Err(DecodeError::Unsupported { what });
                }
            };
            let inner = inner.map_err(|error| DecodeError::Malformed { what: format!("Opus header: {error}") })?;
            let decibels = f32::from(short(gain_a, gain_b).cast_signed()) / 256.0;
            let gain = 10.0_f32.powf(decibels / 20.0);
            Ok(Self { inner, channels, pre_skip: short(skip_a, skip_b), gain, pcm: vec![0; MAX_FRAMES * channels] })
        }

        /// Samples at the start that are not part of the recording.
        pub(in super::super) fn pre_skip(&self) -> u16 {
            self.pre_skip
        }

        /// Decodes one packet into the mix, all but its last `trim_end` frames; false if it is damaged.
        pub(in super::super) fn decode(
            &mut self,
            packet: &[u8],
            trim_end: u64,
            mono: &mut Mono<'_>,
        ) -> Result<bool, DecodeError> {
            // An empty packet would be concealed as lost one rather than decoded.
            if packet.is_empty() {
                return Ok(false);
            }
            let decoded = match &mut self.inner {
                Inner::Single(decoder) => decoder.decode(packet, &mut self.pcm, false),
                Inner::Many(decoder) => decoder.decode(packet, &mut self.pcm, false),
            };
            let Ok(frames) = decoded else { return Ok(false) };
            let frames = frames.saturating_sub(usize::try_from(trim_end).unwrap_or(usize::MAX));
            mono.push_samples(&self.pcm[..frames * self.channels], self.channels, self.gain / 32_768.0)?;
            Ok(true)
        }
    }
}

#[cfg(not(feature = "opus"))]
mod without_feature {
    use super::super::mono::Mono;
    use super::super::{DecodeError, DecodeLimits};

    /// Stands where the decoder would be; there is no value of it.
    pub(in super::super) enum Decoder {}

    impl Decoder {
        pub(in super::super) fn new(_: &[u8], _: &DecodeLimits) -> Result<Self, DecodeError> {
            Err(DecodeError::NeedsFeature { codec: "Opus", feature: "opus" })
        }

        pub(in super::super) fn pre_skip(&self) -> u16 {
            match *self {}
        }

        pub(in super::super) fn decode(&mut self, _: &[u8], _: u64, _: &mut Mono<'_>) -> Result<bool, DecodeError> {
            match *self {}
        }
    }
}
