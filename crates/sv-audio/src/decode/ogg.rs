//! Whether an Ogg stream is all there (RFC 3533 section 6: the last page of a stream carries a flag).

/// True if the last page within `tail`, the end of an Ogg file, is whole and marked as the last of its stream.
pub(super) fn ends_properly(tail: &[u8]) -> bool {
    let mut end = tail.len();
    while let Some(at) = tail[..end].windows(4).rposition(|window| window == b"OggS") {
        if let Some(length) = page_length(&tail[at..]) {
            return at + length <= tail.len() && tail[at + 5] & 4 != 0;
        }
        // Fewer bytes than a header: the page is cut, or the letters stood in a packet.
        if tail.len() - at < 27 + 255 {
            return false;
        }
        end = at + 3;
    }
    false
}

fn page_length(page: &[u8]) -> Option<usize> {
    let segments = usize::from(*page.get(26)?);
    let lacing = page.get(27..27 + segments)?;
    (page[4] == 0).then(|| 27 + segments + lacing.iter().map(|&length| usize::from(length)).sum::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(flags: u8, body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 20]);
        page.extend([1, body.len() as u8]);
        page.extend(body);
        page
    }

    #[test]
    fn a_stream_ends_properly_only_with_a_whole_last_page() {
        let stream = [page(2, b"first"), page(4, b"last")].concat();
        assert!(ends_properly(&stream));
        assert!(!ends_properly(&stream[..stream.len() - 1]));
        assert!(!ends_properly(&page(2, b"first")));
        assert!(!ends_properly(b"OggS"));
        assert!(!ends_properly(b""));
    }
}
