//! What an MP4 index says about priming and padding, which symphonia does not pass on: edit lists, `iTunSMPB`, and how
//! long the samples are (ISO 14496-12 sections 8.6.1, 8.6.6; `iTunSMPB` as iTunes and ffmpeg write it).

use super::DecodeError;

/// Which part of a track is to be heard.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edit {
    pub(super) track: u32,
    /// Where it starts, in ticks of the media.
    start: u64,
    /// How long it is, in ticks of the movie, where an edit list says so.
    length: Option<u64>,
    /// How long all samples together are, in ticks of the media; 0 in fragmented files.
    total: u64,
    media_scale: u64,
    movie_scale: u64,
}

impl Edit {
    /// Samples to drop at the start.
    pub(super) fn skip(&self, rate_hz: u32) -> u64 {
        rescale(self.start, rate_hz, self.media_scale)
    }

    /// Samples to keep from there on. The movie's ticks are coarse (often milliseconds), so an edit that ends less than
    /// a tick from the end of the media ends with it.
    pub(super) fn keep(&self, rate_hz: u32) -> Option<u64> {
        let natural =
            (self.total > 0).then(|| rescale(self.total.saturating_sub(self.start), rate_hz, self.media_scale));
        let Some(length) = self.length else { return natural };
        let edited = rescale(length, rate_hz, self.movie_scale);
        let tick = u64::from(rate_hz).div_ceil(self.movie_scale);
        Some(match natural {
            Some(natural) if edited + tick > natural => natural,
            _ => edited,
        })
    }
}

fn rescale(ticks: u64, rate_hz: u32, scale: u64) -> u64 {
    let product = u128::from(ticks) * u128::from(rate_hz) + u128::from(scale) / 2;
    u64::try_from(product / u128::from(scale)).unwrap_or(u64::MAX)
}

/// The edits of all tracks of a file; `None` if it has no index. Tracks that cannot be read are left out: symphonia's
/// own reader reports the damage.
pub(super) fn edits(file: &[u8]) -> Option<Vec<Edit>> {
    let moov = find(file, &[b"moov"])?;
    let Some(movie_scale) = find(moov, &[b"mvhd"]).and_then(timescale) else { return Some(Vec::new()) };
    let mut edits: Vec<Edit> =
        boxes(moov).filter(|(kind, _)| *kind == b"trak").filter_map(|(_, trak)| edit(trak, movie_scale)).collect();
    if let [edit] = edits.as_mut_slice()
        && edit.start == 0
        && let Some((delay, length)) = gapless(moov)
    {
        edit.start = delay;
        edit.length = Some(length);
        edit.movie_scale = edit.media_scale;
    }
    Some(edits)
}

/// Refuses fragments (`moof`, ISO 14496-12 section 8.8) that claim more samples than the file has bytes. Such a sample
/// takes no space in its table, and the demuxer would count through all four billion.
pub(super) fn check_fragments(file: &[u8]) -> Result<(), DecodeError> {
    let fragments = boxes(file).filter(|(kind, _)| *kind == b"moof").flat_map(|(_, moof)| boxes(moof));
    let runs = fragments.filter(|(kind, _)| *kind == b"traf").flat_map(|(_, traf)| boxes(traf));
    for (_, run) in runs.filter(|(kind, _)| *kind == b"trun") {
        let samples = u32_at(run, 4).unwrap_or(0);
        if u64::from(samples) > file.len() as u64 {
            let what = format!("MP4 fragment of {samples} samples in a file of {} bytes", file.len());
            return Err(DecodeError::Malformed { what });
        }
    }
    Ok(())
}

/// Where the last box of the file should end.
pub(super) fn claimed_length(file: &[u8]) -> u64 {
    let mut at = 0_u64;
    while let Some(rest) = usize::try_from(at).ok().and_then(|at| file.get(at..)).filter(|rest| !rest.is_empty()) {
        // Fewer bytes than a header: some more should follow, no matter how many.
        at = at.saturating_add(box_header(rest).map_or(rest.len() as u64 + 1, |(_, _, size)| size));
    }
    at
}

fn edit(trak: &[u8], movie_scale: u64) -> Option<Edit> {
    let tkhd = find(trak, &[b"tkhd"])?;
    let track = u32_at(tkhd, if tkhd.first()? == &1 { 20 } else { 12 })?;
    let media_scale = find(trak, &[b"mdia", b"mdhd"]).and_then(timescale)?;
    let stts = find(trak, &[b"mdia", b"minf", b"stbl", b"stts"]).unwrap_or(&[]);
    let entries = stts.get(8..).unwrap_or(&[]).chunks_exact(8);
    let total = entries.fold(0_u64, |total, entry| {
        let (count, delta) = (u32_at(entry, 0).unwrap_or(0), u32_at(entry, 4).unwrap_or(0));
        total.saturating_add(u64::from(count) * u64::from(delta))
    });
    let mut edit = Edit { track, start: 0, length: None, total, media_scale, movie_scale };
    // Empty edits (media time -1) delay the track against others and drop nothing. More than one real edit would be a
    // cut within the recording: such lists are not obeyed.
    let list = find(trak, &[b"edts", b"elst"]).map(entries_of).unwrap_or_default();
    let mut real = list.into_iter().filter(|&(_, media_time)| media_time >= 0);
    if let (Some((length, media_time)), None) = (real.next(), real.next()) {
        let media_time = media_time.unsigned_abs();
        if total == 0 || media_time < total {
            edit.start = media_time;
            edit.length = (length > 0).then_some(length);
        }
    }
    Some(edit)
}

/// Duration in movie ticks and media time of each entry of an `elst` box.
fn entries_of(elst: &[u8]) -> Vec<(u64, i64)> {
    let body = elst.get(8..).unwrap_or(&[]);
    if elst.first() == Some(&1) {
        let long = |entry: &[u8], at: usize| entry[at..].first_chunk().map_or(0, |b| u64::from_be_bytes(*b));
        body.chunks_exact(20).map(|entry| (long(entry, 0), long(entry, 8).cast_signed())).collect()
    } else {
        let short = |entry: &[u8], at: usize| u32_at(entry, at).unwrap_or(0);
        body.chunks_exact(12).map(|entry| (short(entry, 0).into(), short(entry, 4).cast_signed().into())).collect()
    }
}

/// Delay and length in samples from iTunes' gapless tag: hexadecimal words, of which the second is the delay, the third
/// the padding and the fourth the length.
fn gapless(moov: &[u8]) -> Option<(u64, u64)> {
    let name = b"iTunSMPB";
    let at = moov.windows(name.len()).position(|window| window == name)? + name.len();
    let text = moov.get(at + 16..)?;
    let text = text[..text.len().min(64)].split(|byte| !byte.is_ascii()).next()?;
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let mut words = text.split(' ').map(|word| u64::from_str_radix(word, 16).ok());
    let (_, delay, _, length) = (words.next()??, words.next()??, words.next()??, words.next()??);
    (length > 0).then_some((delay, length))
}

/// The time scale in an `mvhd` or `mdhd` box.
fn timescale(header: &[u8]) -> Option<u64> {
    let scale = u32_at(header, if header.first()? == &1 { 20 } else { 12 })?;
    (scale > 0).then_some(scale.into())
}

/// The body of the box that a path of kinds leads to.
fn find<'a>(mut body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    for wanted in path {
        body = boxes(body).find(|(kind, _)| *kind == *wanted)?.1;
    }
    Some(body)
}

/// Kind and body of each box; ends at the first that does not fit.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, header, size) = box_header(rest)?;
        let whole = rest.get(..usize::try_from(size).ok()?)?;
        let body = whole.get(header..)?;
        rest = &rest[whole.len()..];
        Some((kind, body))
    })
}

/// Kind, length of the header, and length of the whole box.
fn box_header(bytes: &[u8]) -> Option<(&[u8; 4], usize, u64)> {
    let kind = bytes.get(4..)?.first_chunk()?;
    match u32_at(bytes, 0)? {
        0 => Some((kind, 8, bytes.len() as u64)),
        1 => {
            let size = u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
            (size >= 16).then_some((kind, 16, size))
        }
        size => (size >= 8).then_some((kind, 8, size.into())),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An error that says so if an AudioSpecificConfig (ISO 14496-3 section 1.6.2.1) is that of HE-AAC.
pub(super) fn check_aac(config: &[u8]) -> Result<(), DecodeError> {
    let mut bits = config.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut take =
        |count: usize| -> Option<u32> { (0..count).try_fold(0, |value, _| Some((value << 1) | bits.next()?)) };
    let object = |take: &mut dyn FnMut(usize) -> Option<u32>| match take(5)? {
        31 => Some(32 + take(6)?),
        object => Some(object),
    };
    let mut is_high_efficiency = || -> Option<bool> {
        let kind = object(&mut take)?;
        if take(4)? == 15 {
            take(24)?;
        }
        take(4)?;
        if kind != 2 {
            return Some(kind == 5 || kind == 29);
        }
        take(1)?;
        if take(1)? == 1 {
            take(14)?;
        }
        take(1)?;
        // The backward compatible extension: a sync word, an object type, and whether it is there.
        Some(take(11)? == 0x2B7 && object(&mut take)? == 5 && take(1)? == 1)
    };
    if is_high_efficiency() == Some(true) {
        return Err(DecodeError::Unsupported { what: "HE-AAC (AAC with spectral band replication)".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(start: u64, length: Option<u64>, total: u64) -> Edit {
        Edit { track: 1, start, length, total, media_scale: 16_000, movie_scale: 1_000 }
    }

    #[test]
    fn an_edit_within_a_tick_of_the_end_ends_with_the_media() {
        // 41,605 samples after priming, 2.600 s of movie ticks: the same thing, rounded.
        assert_eq!(edit(1_024, Some(2_600), 42_629).keep(16_000), Some(41_605));
        assert_eq!(edit(1_024, Some(2_600), 43_008).keep(16_000), Some(41_600));
        assert_eq!(edit(1_024, None, 43_008).keep(16_000), Some(41_984));
        assert_eq!(edit(1_024, None, 0).keep(16_000), None);
        assert_eq!(edit(1_024, None, 0).skip(48_000), 3_072);
    }

    #[test]
    fn a_fragment_of_more_samples_than_bytes_is_refused() {
        let nest = |kind: &[u8], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
        let file = |samples: u32| {
            let run = nest(b"trun", &[&[0; 4][..], &samples.to_be_bytes()].concat());
            nest(b"moof", &nest(b"traf", &run))
        };
        assert!(check_fragments(&file(32)).is_ok());
        assert!(check_fragments(&file(u32::MAX)).is_err());
    }

    #[test]
    fn high_efficiency_aac_is_told_from_low_complexity() {
        assert!(check_aac(&[0x14, 0x08]).is_ok());
        assert!(check_aac(&[0x2B, 0x92, 0x08, 0x00]).is_err());
        assert!(check_aac(&[0xEB, 0x8A, 0x08, 0x00]).is_err());
        // Low complexity with the extension: 22.05 kHz, stereo, sync word, object type 5, present.
        assert!(check_aac(&[0x13, 0x90, 0x56, 0xE5, 0xA0]).is_err());
        assert!(check_aac(&[]).is_ok());
    }

    #[test]
    fn the_gapless_tag_gives_delay_and_length() {
        let mut moov = b"....iTunSMPB".to_vec();
        moov.extend([0; 16]);
        moov.extend(b" 00000000 00000840 000001C0 0000000000001000 00000000");
        assert_eq!(gapless(&moov), Some((0x840, 0x1000)));
        assert_eq!(gapless(&moov[..30]), None);
    }
}
