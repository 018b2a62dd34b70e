//! Broken copies of a good file, for the tests that feed parsers with them: seeded, so a failure can be repeated.

/// `count` mutations of `seed`, each one to four small damages away from it: flipped bits, bytes and integers of extreme value,
/// text numbers, and pieces cut out, doubled, moved or appended.
///
/// The same arguments give the same bytes on every machine. A mutation is at most twice as long as the seed, and 64 bytes; an empty seed
/// grows.
///
/// ```
/// use common::mutate::mutations;
/// let broken: Vec<Vec<u8>> = mutations(b"1 a b\n", 100, 1).collect();
/// assert_eq!(broken, mutations(b"1 a b\n", 100, 1).collect::<Vec<_>>());
/// ```
pub fn mutations(seed: &[u8], count: usize, stream_seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = SplitMix64(stream_seed);
    let longest = 2 * seed.len() + 64;
    (0..count).map(move |_| {
        let mut bytes = seed.to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        bytes.truncate(longest);
        bytes
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, 0 where `n` is 0. The modulo's bias does not matter here.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % (n as u64).max(1)) as usize
    }
}

/// Numbers at which sizes, counts and offsets go wrong.
const EXTREME: [u64; 10] =
    [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF];

/// Pieces of text that readers of lists, JSON and TOML trip over.
const TEXT: [&[u8]; 12] =
    [b"\0", b"\r\n", b"\n\n", b"\t", b" ", b"\xEF\xBB\xBF", b"\xFF\xFE", b"-1", b"1e999", b"NaN", b"{[\"", b"\xF0\x9F"];

fn damage(bytes: &mut Vec<u8>, random: &mut SplitMix64) {
    let length = bytes.len();
    let at = random.below(length);
    match random.below(9) {
        0 if length > 0 => bytes[at] ^= 1 << random.below(8),
        1 if length > 0 => bytes[at] = random.next() as u8,
        2 if length > 0 => {
            // An integer of 1, 2, 4 or 8 bytes, in either byte order.
            let width = (1 << random.below(4)).min(length - at);
            let value = EXTREME[random.below(EXTREME.len())];
            let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
            let source = if random.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
            bytes[at..at + width].copy_from_slice(source);
        }
        3 => bytes.truncate(at),
        4 if length > 0 => {
            let piece = piece(at, length, random);
            bytes.drain(piece);
        }
        5 if length > 0 => {
            let doubled = bytes[piece(at, length, random)].to_vec();
            bytes.splice(at..at, doubled);
        }
        6 if length > 0 => {
            let moved: Vec<u8> = bytes.drain(piece(at, length, random)).collect();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, moved);
        }
        7 => {
            for _ in 0..=random.below(16) {
                bytes.push(random.next() as u8);
            }
        }
        _ => {
            bytes.splice(at..at, TEXT[random.below(TEXT.len())].iter().copied());
        }
    }
}

/// A range from `at` on: short ones often, long ones sometimes.
fn piece(at: usize, length: usize, random: &mut SplitMix64) -> std::ops::Range<usize> {
    let most = if random.below(4) == 0 { length - at } else { (length - at).min(16) };
    at..at + 1 + random.below(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_itself_and_differs_from_another() {
        let of = |stream| mutations(b"some bytes to break", 200, stream).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_length_of_seed_is_broken_within_the_bound() {
        for length in 0..40 {
            let seed = vec![b'x'; length];
            let all: Vec<_> = mutations(&seed, 300, 1).collect();
            assert_eq!(all.len(), 300);
            assert!(all.iter().all(|bytes| bytes.len() <= 2 * length + 64));
            assert!(all.iter().filter(|&bytes| *bytes != seed).count() > 200);
        }
    }
}
