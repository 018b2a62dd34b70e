//! What the packet table of a CAF says about priming and padding, which symphonia does not pass on (Apple Core Audio
//! Format Specification 1.0, "Packet Table Chunk").

/// What the chunks of a file say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chunks {
    /// Frames to drop at the start, and frames that are valid after those.
    pub(super) valid: Option<(u64, u64)>,
    /// True if a chunk is longer than the file.
    pub(super) cut: bool,
}

/// Walks over the chunks of a file.
pub(super) fn chunks(file: &[u8]) -> Chunks {
    let mut found = Chunks::default();
    let mut at = 8;
    while let Some(header) = file.get(at..at + 12) {
        let size = header[4..].first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        // A data chunk of size -1 goes to the end of the file.
        let Ok(size) = usize::try_from(size) else { break };
        let Some(body) = (at + 12).checked_add(size).and_then(|end| file.get(at + 12..end)) else {
            found.cut = true;
            break;
        };
        if header.starts_with(b"pakt")
            && let Some(table) = body.first_chunk::<24>()
        {
            let valid = table[8..].first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
            let priming = table[16..].first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
            if let (Ok(priming), Ok(valid @ 1..)) = (u64::try_from(priming), u64::try_from(valid)) {
                found.valid = Some((priming, valid));
            }
        }
        at += 12 + size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_table_gives_priming_and_valid_frames() {
        let mut file = b"caff\0\x01\0\0pakt\0\0\0\0\0\0\0\x18".to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 5]);
        assert_eq!(chunks(&file), Chunks { valid: Some((7, 256)), cut: false });
        file.pop();
        assert_eq!(chunks(&file), Chunks { valid: None, cut: true });
    }
}
