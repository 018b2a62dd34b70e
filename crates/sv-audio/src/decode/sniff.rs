//! Which container a recording is in, from its first bytes; never from its name.

/// The containers that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Aiff,
    Caf,
    Flac,
    Ogg,
    Matroska,
    Mp4,
    /// Bare MPEG audio frames: MP3, and layers 1 and 2.
    Mpeg,
    /// Bare AAC frames with ADTS headers.
    Adts,
}

impl Container {
    /// A name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wav => "WAV",
            Self::Aiff => "AIFF",
            Self::Caf => "CAF",
            Self::Flac => "FLAC",
            Self::Ogg => "Ogg",
            Self::Matroska => "Matroska",
            Self::Mp4 => "MP4",
            Self::Mpeg => "MPEG audio",
            Self::Adts => "ADTS",
        }
    }

    /// True if parts of the file are found by position, so that a stream has to be held in memory.
    pub(super) fn needs_seeking(self) -> bool {
        matches!(self, Self::Mp4 | Self::Matroska | Self::Caf)
    }
}

/// What the first bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A container that is read, and where it starts (after ID3 tags or junk).
    Known(Container, usize),
    /// A format that is recognised but not read.
    Other(&'static str),
    Unknown,
}

/// How far bare frames are searched for behind junk.
const SEARCH: usize = 1 << 17;

/// Recognises the container that starts in `head`, the first bytes of a recording; `whole` if that is all of it.
pub(super) fn sniff(head: &[u8], whole: bool) -> Found {
    let start = after_id3(head);
    let rest = &head[start..];
    let is = |offset: usize, magic: &[u8]| rest.get(offset..).is_some_and(|bytes| bytes.starts_with(magic));
    let known = |container| Found::Known(container, start);
    if (is(0, b"RIFF") || is(0, b"RF64") || is(0, b"BW64")) && is(8, b"WAVE") {
        return known(Container::Wav);
    }
    if is(0, b"FORM") && (is(8, b"AIFF") || is(8, b"AIFC")) {
        return known(Container::Aiff);
    }
    let magics: [(&[u8], Container); 4] = [
        (b"caff", Container::Caf),
        (b"fLaC", Container::Flac),
        (b"OggS", Container::Ogg),
        (b"\x1A\x45\xDF\xA3", Container::Matroska),
    ];
    for (magic, container) in magics {
        if is(0, magic) {
            return known(container);
        }
    }
    if is(4, b"ftyp") {
        return known(Container::Mp4);
    }
    let others: [(&[u8], &str); 9] = [
        (b"#!AMR", "AMR"),
        (b".snd", "Sun AU"),
        (b"wvpk", "WavPack"),
        (b"MAC ", "Monkey's Audio"),
        (b"\x30\x26\xB2\x75", "Windows Media (ASF)"),
        (b"ADIF", "AAC in ADIF"),
        (b"riff\x2E\x91\xCF\x11", "Wave64"),
        (b"NIST_1A", "NIST SPHERE"),
        (b"RIFX", "big-endian WAV (RIFX)"),
    ];
    for (magic, name) in others {
        if is(0, magic) {
            return Found::Other(name);
        }
    }
    for at in start..head.len().min(start + SEARCH) {
        if head[at] != 0xFF {
            continue;
        }
        if is_chain(head, at, whole, mpeg_frame) {
            return Found::Known(Container::Mpeg, at);
        }
        if is_chain(head, at, whole, adts_frame) {
            return Found::Known(Container::Adts, at);
        }
    }
    Found::Unknown
}

/// Where the data starts behind ID3v2 tags.
fn after_id3(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some([b'I', b'D', b'3', _, _, flags, sizes @ ..]) = bytes.get(at..at + 10) {
        if sizes.iter().any(|&byte| byte >= 0x80) {
            break;
        }
        let size = sizes.iter().fold(0_usize, |size, &byte| (size << 7) | usize::from(byte));
        let footer = if flags & 0x10 == 0 { 0 } else { 10 };
        match at.checked_add(10 + size + footer) {
            Some(next) if next < bytes.len() => at = next,
            _ => break,
        }
    }
    at
}

/// A frame header: what must stay the same from frame to frame, and the length of the frame in bytes.
pub(super) type Frame = (u32, usize);

/// True if a chain of frames starts at `at`: three in a row, or fewer that end exactly with the recording. One sync word
/// stands in every 2 KiB of random bytes; three that agree and are in the right places do not.
fn is_chain(bytes: &[u8], at: usize, whole: bool, header: impl Fn(&[u8]) -> Option<Frame>) -> bool {
    let mut position = at;
    let mut first = None;
    for frames in 0..3 {
        if frames > 0 && whole && position == bytes.len() {
            return true;
        }
        let Some((kind, size)) = bytes.get(position..).and_then(&header) else { return false };
        if *first.get_or_insert(kind) != kind {
            return false;
        }
        position += size;
    }
    true
}

/// True if the frames that start at the beginning of `bytes` end within a frame rather than at a frame's end.
pub(super) fn ends_within_a_frame(bytes: &[u8], header: impl Fn(&[u8]) -> Option<Frame>) -> bool {
    let mut position = 0;
    while let Some((_, size)) = bytes.get(position..).and_then(&header) {
        position += size;
    }
    position > bytes.len()
}

/// Reads the header of an MPEG audio frame (ISO 11172-3 section 2.4.1.3 and its extension to lower rates).
pub(super) fn mpeg_frame(bytes: &[u8]) -> Option<Frame> {
    const RATES: [usize; 3] = [44_100, 48_000, 32_000];
    // Kilobits per second by table and index: MPEG-1 layers 1, 2, 3; MPEG-2 layer 1; MPEG-2 layers 2 and 3.
    const KBITS: [[usize; 14]; 5] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let word = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
    let (version, layer) = ((word >> 19) & 3, (word >> 17) & 3);
    let (bitrate, rate) = ((word >> 12) & 15, (word >> 10) & 3);
    if word >> 21 != 0x7FF || version == 1 || layer == 0 || bitrate == 0 || bitrate == 15 || rate == 3 {
        return None;
    }
    let table = match (version == 3, layer) {
        (true, layer) => 3 - layer as usize,
        (false, 3) => 3,
        (false, _) => 4,
    };
    let bits = KBITS[table][bitrate as usize - 1] * 1000;
    let divisor = [4, 1, 2, 1][version as usize];
    let rate_hz = RATES[rate as usize] / divisor;
    let padding = (word >> 9) as usize & 1;
    let size = match (layer, version == 3) {
        (3, _) => (12 * bits / rate_hz + padding) * 4,
        (1, false) => 72 * bits / rate_hz + padding,
        _ => 144 * bits / rate_hz + padding,
    };
    Some((word & 0xFFFE_0C00, size))
}

/// Reads the header of an ADTS frame (ISO 13818-7 section 6.2).
pub(super) fn adts_frame(bytes: &[u8]) -> Option<Frame> {
    let [a, b, c, d, e, f, _] = *bytes.first_chunk::<7>()?;
    let rate = (c >> 2) & 15;
    let size = (usize::from(d & 3) << 11) | (usize::from(e) << 3) | usize::from(f >> 5);
    if a != 0xFF || b & 0xF6 != 0xF0 || rate > 12 || size < 7 {
        return None;
    }
    Some((u32::from_be_bytes([0, b, c & 0xFC, 0]), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_frames_in_a_row_are_needed_where_more_could_follow() {
        // MPEG-2 layer 3, 32 kbit/s, 16 kHz: 144 bytes a frame.
        let mut bytes = vec![0_u8; 144 * 2];
        for at in [0, 144] {
            bytes[at..at + 4].copy_from_slice(&[0xFF, 0xF3, 0x48, 0xC4]);
        }
        assert_eq!(mpeg_frame(&bytes).map(|frame| frame.1), Some(144));
        assert_eq!(sniff(&bytes, false), Found::Unknown);
        assert_eq!(sniff(&bytes, true), Found::Known(Container::Mpeg, 0));
        bytes.extend_from_within(..144);
        assert_eq!(sniff(&bytes, false), Found::Known(Container::Mpeg, 0));
    }

    #[test]
    fn an_id3_tag_in_front_is_passed_over() {
        let mut bytes = b"ID3\x03\x00\x00\x00\x00\x01\x02".to_vec();
        bytes.extend([0; 130]);
        bytes.extend(b"fLaC");
        assert_eq!(sniff(&bytes, true), Found::Known(Container::Flac, 140));
    }

    #[test]
    fn text_and_noise_are_unknown() {
        assert_eq!(sniff(b"This is a text file.", true), Found::Unknown);
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(1 << 17)
        .collect();
        assert_eq!(sniff(&noise, true), Found::Unknown);
    }
}
