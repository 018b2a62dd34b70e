//! A bound on the memory of a Vorbis decoder. The codebooks of a setup header (Vorbis I section 3.2.1) unfold: forty
//! bytes can describe 16 MiB of vectors, and there can be 256 of them, so a file of ten kilobytes could take gigabytes.

use super::DecodeError;

/// Most vector values over all codebooks: 64 MiB, many times what encoders write.
const MAX_VALUES: u64 = 1 << 24;
/// Length of the identification header, which stands before the setup header.
const IDENTIFICATION: usize = 30;

/// Refuses headers whose codebooks would take too much memory. Headers that cannot be read are left to the decoder.
pub(super) fn check_setup(headers: &[u8]) -> Result<(), DecodeError> {
    let setup = headers.get(IDENTIFICATION..).and_then(|rest| rest.strip_prefix(b"\x05vorbis")).unwrap_or(&[]);
    if values(setup).unwrap_or(0) > MAX_VALUES {
        return Err(DecodeError::Malformed { what: "Vorbis codebooks of more than 64 MiB".to_owned() });
    }
    Ok(())
}

/// Sum of the vector values of all codebooks up to the first that cannot be read.
fn values(setup: &[u8]) -> Option<u64> {
    let mut bits = Bits { bytes: setup, position: 0 };
    let mut sum = 0;
    for _ in 0..=bits.take(8)? {
        let Some(values) = codebook(&mut bits) else { break };
        sum += values;
        if sum > MAX_VALUES {
            break;
        }
    }
    Some(sum)
}

/// Passes over a codebook; the number of its vector values.
fn codebook(bits: &mut Bits<'_>) -> Option<u64> {
    let (sync, dimensions, entries) = (bits.take(24)?, bits.take(16)?, bits.take(24)?);
    // Larger ones are refused by the decoder.
    if sync != 0x56_4342 || dimensions == 0 || dimensions > 32 || entries > 1 << 17 {
        return None;
    }
    if bits.take(1)? == 1 {
        bits.take(5)?;
        let mut entry = 0;
        while entry < entries {
            entry += bits.take(u64::BITS - (entries - entry).leading_zeros())?;
        }
    } else if bits.take(1)? == 1 {
        for _ in 0..entries {
            if bits.take(1)? == 1 {
                bits.take(5)?;
            }
        }
    } else {
        bits.skip(5 * entries);
    }
    let lookup = bits.take(4)?;
    if lookup == 0 {
        return Some(0);
    }
    bits.skip(64);
    let width = bits.take(4)? + 1;
    bits.skip(1);
    let count = match lookup {
        1 => (entries as f32).powf(1.0 / dimensions as f32).floor() as u64,
        _ => entries * dimensions,
    };
    bits.skip(count * width);
    Some(entries * dimensions)
}

/// Bits from the least significant one of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    position: u64,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0;
        for bit in 0..count {
            let byte = *self.bytes.get(usize::try_from(self.position >> 3).ok()?)?;
            value |= u64::from(byte >> (self.position & 7) & 1) << bit;
            self.position += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: u64) {
        self.position += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what [`Bits`] reads.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        position: usize,
    }

    impl Writer {
        fn put(&mut self, value: u64, count: u32) {
            for bit in 0..count {
                if self.position.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                self.bytes[self.position / 8] |= ((value >> bit & 1) as u8) << (self.position % 8);
                self.position += 1;
            }
        }
    }

    /// A setup header whose codebooks each hold 2^17 vectors of 32 values in forty bytes.
    fn bomb(codebooks: u64) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.put(codebooks - 1, 8);
        for _ in 0..codebooks {
            writer.put(0x56_4342, 24);
            writer.put(32, 16);
            writer.put(1 << 17, 24);
            writer.put(1, 1);
            writer.put(16, 5);
            writer.put(1 << 17, 18);
            writer.put(1, 4);
            writer.put(0, 64);
            writer.put(0, 4);
            writer.put(0, 1);
            writer.put(0, 1);
        }
        [&[0; IDENTIFICATION][..], b"\x05vorbis", &writer.bytes].concat()
    }

    #[test]
    fn codebooks_that_unfold_to_gigabytes_are_refused() {
        let bytes = bomb(256);
        assert!(bytes.len() < 8_192, "{} bytes", bytes.len());
        assert!(check_setup(&bytes).is_err());
        assert!(check_setup(&bomb(4)).is_ok());
        assert!(check_setup(&bytes[..40]).is_ok());
    }
}
