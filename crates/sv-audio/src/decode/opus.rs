//! Opus packets to samples at 48 kHz, with the `opus-pure` crate (feature `opus`).

/// The rate that Opus is decoded at, whatever went in (RFC 7845 section 5.1).
pub(super) const RATE_HZ: u32 = 48_000;

#[cfg(feature = "opus")]
pub(super) use with_feature::Decoder;
#[cfg(not(feature = "opus"))]
pub(super) use without_feature::Decoder;

#[cfg(feature = "opus")]
mod with_feature {
    use std::ops::Range;

    use opus_pure::{MAX_PACKET_SAMPLES, OpusDecoder};

    use super::super::mono::Mono;
    use super::super::{DecodeError, DecodeLimits};

    /// What stands in a channel mapping for a silent channel (RFC 7845 section 5.1.1).
    const SILENT: u8 = 255;

    /// A decoder as its identification header describes it: streams of one or two channels, and where these go.
    pub(in super::super) struct Decoder {
        streams: Vec<Stream>,
        /// For each channel the index among those of all streams, or `SILENT`.
        mapping: Vec<u8>,
        pre_skip: u16,
        gain: f32,
        pcm: Vec<i16>,
        /// Frames of all channels of one packet.
        mixed: Vec<i16>,
        /// The packet of one stream among several, in the framing of a stream alone.
        packet: Vec<u8>,
    }

    struct Stream {
        decoder: OpusDecoder,
        channels: usize,
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
            let (streams, coupled, mapping) = match family {
                0 if channels == 1 => (1, 0, vec![0]),
                0 if channels == 2 => (1, 1, vec![0, 1]),
                1 | 255 => {
                    let table = header.get(19..).unwrap_or(&[]);
                    let (Some(&streams), Some(&coupled), Some(mapping)) =
                        (table.first(), table.get(1), table.get(2..2 + channels))
                    else {
                        return Err(malformed("Opus without a channel mapping table"));
                    };
                    // Decoders are made per stream, so their number is a matter of memory as well.
                    let streams = limits.check_channels(usize::from(streams))?;
                    (streams, usize::from(coupled), mapping.to_vec())
                }
                _ => {
                    let what = format!("Opus of channel mapping family {family} with {channels} channels");
                    return Err(DecodeError::Unsupported { what });
                }
            };
            if coupled > streams || mapping.iter().any(|&to| to != SILENT && usize::from(to) >= streams + coupled) {
                let what = format!("Opus mapping {mapping:?} for {streams} streams, {coupled} of them stereo");
                return Err(DecodeError::Malformed { what });
            }
            let streams = (0..streams)
                .map(|index| {
                    let channels = if index < coupled { 2 } else { 1 };
                    let decoder = OpusDecoder::new(super::RATE_HZ.cast_signed(), channels)
                        .map_err(|error| DecodeError::DecoderFault { what: error.to_string() })?;
                    Ok(Stream { decoder, channels })
                })
                .collect::<Result<_, DecodeError>>()?;
            let decibels = f32::from(short(gain_a, gain_b).cast_signed()) / 256.0;
            Ok(Self {
                streams,
                mixed: vec![0; MAX_PACKET_SAMPLES * channels],
                mapping,
                pre_skip: short(skip_a, skip_b),
                gain: 10.0_f32.powf(decibels / 20.0),
                pcm: vec![0; MAX_PACKET_SAMPLES * 2],
                packet: Vec::new(),
            })
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
            let Some(frames) = self.decode_streams(packet) else { return Ok(false) };
            let frames = frames.saturating_sub(usize::try_from(trim_end).unwrap_or(usize::MAX));
            let channels = self.mapping.len();
            mono.push_samples(&self.mixed[..frames * channels], channels, self.gain / 32_768.0)?;
            Ok(true)
        }

        /// Decodes every stream into its channels of `mixed` and gives the frames, of which all must have as many.
        fn decode_streams(&mut self, mut rest: &[u8]) -> Option<usize> {
            let channels = self.mapping.len();
            let last = self.streams.len() - 1;
            let mut frames = None;
            let mut first = 0;
            for (index, stream) in self.streams.iter_mut().enumerate() {
                let packet = if index == last {
                    rest
                } else {
                    let (length_field, end) = self_delimited(rest)?;
                    self.packet.clear();
                    self.packet.extend_from_slice(&rest[..length_field.start]);
                    self.packet.extend_from_slice(&rest[length_field.end..end]);
                    rest = &rest[end..];
                    &self.packet
                };
                // An empty packet would be concealed as a lost one rather than decoded.
                if packet.is_empty() {
                    return None;
                }
                let decoded = stream.decoder.decode_s16(packet, MAX_PACKET_SAMPLES, &mut self.pcm).ok()?;
                if *frames.get_or_insert(decoded) != decoded {
                    return None;
                }
                for (to, &from) in self.mapping.iter().enumerate() {
                    let from = usize::from(from);
                    if (first..first + stream.channels).contains(&from) {
                        let source = self.pcm[from - first..decoded * stream.channels].iter().step_by(stream.channels);
                        let target = self.mixed[to..].iter_mut().step_by(channels);
                        target.zip(source).for_each(|(target, &sample)| *target = sample);
                    }
                }
                first += stream.channels;
            }
            frames
        }
    }

    /// Where in a self-delimited packet its last length field is, and where the packet ends (RFC 6716 appendix B).
    ///
    /// That field is what an ordinary packet does not have; the rest of the two is the same.
    fn self_delimited(packet: &[u8]) -> Option<(Range<usize>, usize)> {
        let mut bytes = packet.iter().map(|&byte| usize::from(byte)).enumerate();
        let (_, toc) = bytes.next()?;
        let mut padding = 0;
        let (frames, own_lengths) = match toc & 3 {
            0 => (1, false),
            1 => (2, false),
            2 => (2, true),
            _ => {
                let (_, count) = bytes.next()?;
                if count & 0x40 != 0 {
                    loop {
                        let (_, more) = bytes.next()?;
                        padding += more.min(254);
                        if more < 255 {
                            break;
                        }
                    }
                }
                (count & 0x3F, count & 0x80 != 0)
            }
        };
        let fields = if own_lengths { frames } else { frames.min(1) };
        let mut payload = 0;
        let mut last = None;
        for _ in 0..fields {
            let (start, mut length) = bytes.next()?;
            let mut end = start + 1;
            if length >= 252 {
                length += 4 * bytes.next()?.1;
                end += 1;
            }
            payload += if own_lengths { length } else { frames * length };
            last = Some(start..end);
        }
        let last = last?;
        let end = last.end + payload + padding;
        (end <= packet.len()).then_some((last, end))
    }

    #[cfg(test)]
    mod tests {
        use super::self_delimited;

        #[test]
        fn the_last_length_field_and_the_end_of_a_self_delimited_packet_are_found() {
            // One frame; two alike; two with their own lengths, the second of 252 + 4 bytes.
            assert_eq!(self_delimited(&[0, 2, 7, 7, 9]), Some((1..2, 4)));
            assert_eq!(self_delimited(&[1, 1, 7, 7, 9]), Some((1..2, 4)));
            let long = [&[2, 1, 252, 1, 7][..], &[7; 256], &[9]].concat();
            assert_eq!(self_delimited(&long), Some((2..4, 4 + 257)));
            // Three alike with padding of 254 + 1; three with their own lengths.
            let padded = [&[3, 0x43, 255, 1, 2][..], &[7; 6], &[0; 255], &[9]].concat();
            assert_eq!(self_delimited(&padded), Some((4..5, 5 + 6 + 255)));
            assert_eq!(self_delimited(&[3, 0x83, 1, 0, 2, 7, 7, 7, 9]), Some((4..5, 8)));
        }

        #[test]
        fn a_self_delimited_packet_that_is_cut_or_has_no_frames_is_refused() {
            let whole = [&[3, 0xC3, 2, 1, 0, 252, 0, 7][..], &[7; 252], &[0; 2]].concat();
            assert_eq!(self_delimited(&whole), Some((5..7, whole.len())));
            for length in 0..whole.len() {
                assert_eq!(self_delimited(&whole[..length]), None, "{length} bytes");
            }
            assert_eq!(self_delimited(&[3, 0x80, 0, 0]), None);
            assert_eq!(self_delimited(&[3, 0, 0, 0]), None);
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
