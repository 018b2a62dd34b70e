//! What Matroska and WebM say about the end of a track, which symphonia does not pass on: `DiscardPadding` of the last
//! block (RFC 9559 section 5.1.3.5.7), and whether the file is all there.

/// What a walk over the elements found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ends {
    /// Nanoseconds to drop from the end, by track number, where the last block of the track says so.
    pub(super) discard_ns: Vec<(u64, i64)>,
    /// Where the element that ends last should end, if that is behind the end of the file.
    pub(super) claimed: Option<u64>,
}

const SEGMENT: u64 = 0x1853_8067;
const CLUSTER: u64 = 0x1F43_B675;
const BLOCK_GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;
const SIMPLE_BLOCK: u64 = 0xA3;
const DISCARD_PADDING: u64 = 0x75A2;

/// Walks over a file, element by element; the masters that lead to blocks are entered, so that their ends (which may be
/// unknown in live streams) need not be kept.
pub(super) fn ends(file: &[u8]) -> Ends {
    let mut found = Ends::default();
    let mut at = 0;
    let mut track = 0;
    while let Some((id, id_length)) = number(file, at, false)
        && let Some((size, size_length)) = number(file, at + id_length, true)
    {
        let body = at + id_length + size_length;
        let unknown = size == (1 << (7 * size_length)) - 1;
        let end = (body as u64).saturating_add(size);
        if end > file.len() as u64 && !unknown {
            found.claimed = found.claimed.max(Some(end));
        }
        let end = usize::try_from(end).ok().filter(|&end| end <= file.len());
        at = match (id, end) {
            (SEGMENT | CLUSTER | BLOCK_GROUP, _) => body,
            (BLOCK | SIMPLE_BLOCK, Some(end)) => {
                track = number(file, body, true).map_or(0, |(track, _)| track);
                found.discard_ns.retain(|&(other, _)| other != track);
                end
            }
            (DISCARD_PADDING, Some(end)) => {
                found.discard_ns.retain(|&(other, _)| other != track);
                found.discard_ns.push((track, signed(&file[body..end])));
                end
            }
            (_, Some(end)) => end,
            (_, None) => break,
        };
    }
    found
}

/// A number of variable length at `at` and its length in bytes, with its length marker or `masked`.
fn number(file: &[u8], at: usize, masked: bool) -> Option<(u64, usize)> {
    let first = *file.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    let bytes = file.get(at..at + length)?;
    if length > 8 {
        return None;
    }
    let value = bytes.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte));
    Some((if masked { value & ((1 << (7 * length)) - 1) } else { value }, length))
}

/// A signed integer of up to 8 bytes.
fn signed(bytes: &[u8]) -> i64 {
    let Some((&first, rest)) = bytes.split_first().filter(|_| bytes.len() <= 8) else { return 0 };
    rest.iter().fold(i64::from(first.cast_signed()), |value, &byte| (value << 8) | i64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discard_of_the_last_block_counts() {
        let mut file = vec![0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF];
        file.extend([0xA0, 0x89, 0xA1, 0x84, 0x81, 0, 0, 0, 0x75, 0xA2, 0x81, 0x64]);
        assert_eq!(ends(&file), Ends { discard_ns: vec![(1, 100)], claimed: None });
        file.extend([0xA3, 0x84, 0x81, 0, 1, 0]);
        assert_eq!(ends(&file), Ends::default());
        file.extend([0xA3, 0x90, 0x81, 0, 1, 0]);
        assert_eq!(ends(&file), Ends { discard_ns: vec![], claimed: Some(46) });
    }

    #[test]
    fn signed_numbers_keep_their_sign() {
        assert_eq!(signed(&[0xFF, 0x00]), -256);
        assert_eq!(signed(&[0x00, 0xFF]), 255);
        assert_eq!(signed(&[]), 0);
    }
}
