//! Scalars in the files that TensorBoard reads, without TensorFlow.
//!
//! A file is a sequence of records: length (u64), checksum of the length, the bytes, checksum of the bytes, all little-endian; each record
//! is one `Event` message in protocol-buffer encoding. Formats: TensorFlow's `record_writer.cc`, `event.proto` and `summary.proto`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::TrainError;

/// An event file, open at its end.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder`, which is there already. `wall_time`: seconds since 1970, which also order the files of a folder. A run
    /// that is resumed begins another one, and says so with [`EventFile::resumed`].
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn create(folder: &Path, wall_time: f64) -> Result<Self, TrainError> {
        let mut attempt = 0;
        loop {
            // TensorBoard asks for `tfevents` in the name and reads files in the order of their names.
            let path = folder.join(format!("events.out.tfevents.{:010}.{attempt}.sv-train", wall_time.max(0.0) as u64));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut events = Self { path, file };
                    events.event(wall_time, 0, |event| bytes_field(event, 3, b"brain.Event:2"))?;
                    return Ok(events);
                }
                // Resumed within the second in which it was begun.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
                Err(source) => return Err(TrainError::Write { path, source }),
            }
        }
    }

    /// Says that the run goes on after `step` steps: TensorBoard forgets what earlier files hold beyond it.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn resumed(&mut self, wall_time: f64, step: u64) -> Result<(), TrainError> {
        // SessionLog { status: START }, which drops events of its own step and later ones.
        self.event(wall_time, step.saturating_add(1), |event| bytes_field(event, 7, &[8, 1]))
    }

    /// Appends the values of one step, by name, and hands them to the system at once.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn scalars(&mut self, wall_time: f64, step: u64, values: &[(&str, f32)]) -> Result<(), TrainError> {
        self.event(wall_time, step, |event| {
            let mut summary = Vec::new();
            for (tag, value) in values {
                let mut entry = Vec::new();
                bytes_field(&mut entry, 1, tag.as_bytes());
                entry.push(2 << 3 | FIXED_32);
                entry.extend(value.to_le_bytes());
                bytes_field(&mut summary, 1, &entry);
            }
            bytes_field(event, 5, &summary);
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn event(&mut self, wall_time: f64, step: u64, what: impl FnOnce(&mut Vec<u8>)) -> Result<(), TrainError> {
        let mut event = vec![1 << 3 | FIXED_64];
        event.extend(wall_time.to_le_bytes());
        event.push(2 << 3 | VARINT);
        varint(&mut event, step);
        what(&mut event);
        self.file
            .write_all(&record(&event))
            .and_then(|()| self.file.flush())
            .map_err(|source| TrainError::Write { path: self.path.clone(), source })
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | LENGTH_DELIMITED);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(crc32c(&length)).to_le_bytes(), data, &masked(crc32c(data)).to_le_bytes()].concat()
}

/// The checksum as it is stored: turned and shifted, so that a checksum over stored checksums is no weak one.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C: Castagnoli's polynomial, bits reversed.
///
/// # Source
/// RFC 3720, section 12.1 and appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| (sum >> 8) ^ CRC_TABLE[usize::from(sum as u8 ^ byte)])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, B.4: 32 bytes of 0, of 255, rising, falling.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[255; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(&(0..32).rev().collect::<Vec<u8>>()), 0x113f_db5c);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_checksum_is_masked_by_a_turn_and_a_sum() {
        // 0xe3069283 turned right by 15 is 0x2507c60d, and 0x2507c60d + 0xa282ead8 = 0xc78ab0e5.
        assert_eq!(masked(0xe306_9283), 0xc78a_b0e5);
        assert_eq!(masked(0), 0xa282_ead8);
    }

    #[test]
    fn a_file_holds_the_bytes_written_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 1.5).unwrap();
        events.scalars(2.0, 300, &[("a", 0.5), ("bc", -2.0)]).unwrap();
        let name = events.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "events.out.tfevents.0000000001.0.sv-train");

        // 1.5 is 0x3ff8 and 2.0 is 0x4000 in their upper bytes; 300 = 0b10_0101100 is the varint ac 02.
        let version = [b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x00\x1a\x0d".as_slice(), b"brain.Event:2"].concat();
        let scalars = [
            b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02".as_slice(),
            b"\x2a\x15\x0a\x08\x0a\x01a\x15\0\0\0\x3f\x0a\x09\x0a\x02bc\x15\0\0\0\xc0",
        ]
        .concat();
        let bytes = std::fs::read(events.path()).unwrap();
        let mut rest = bytes.as_slice();
        for want in [version, scalars] {
            let length = (want.len() as u64).to_le_bytes();
            assert_eq!(rest[..8], length);
            assert_eq!(rest[8..12], masked(crc32c(&length)).to_le_bytes());
            assert_eq!(rest[12..12 + want.len()], want);
            assert_eq!(rest[12 + want.len()..16 + want.len()], masked(crc32c(&want)).to_le_bytes());
            rest = &rest[16 + want.len()..];
        }
        assert_eq!(rest, b"");
    }

    #[test]
    fn a_resumed_run_begins_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventFile::create(folder.path(), 5.0).unwrap();
        let mut second = EventFile::create(folder.path(), 5.0).unwrap();
        assert!(first.path() < second.path());
        second.resumed(5.0, 9).unwrap();
        let bytes = std::fs::read(second.path()).unwrap();
        // Step 10 and SessionLog { status: START }.
        assert_eq!(bytes[bytes.len() - 10..bytes.len() - 4], [0x10, 10, 0x3a, 2, 8, 1]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = EventFile::create(&folder.path().join("none"), f64::NAN).expect_err("no folder");
        assert!(matches!(error, TrainError::Write { .. }), "{error}");
    }
}
