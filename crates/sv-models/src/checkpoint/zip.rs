//! PyTorch files since 1.6: a zip archive of `STEM/data.pkl` and `STEM/data/KEY`, usually stored without compression.
//!
//! The reader goes by the archive's central directory, takes what entries say only after comparing it with the file, and knows of zip no
//! more than `torch.save` and ordinary zip programs write: no encryption, no parts, storing and deflate.
//!
//! # Source
//! PKWARE's APPNOTE, sections 4.3 (structures) and 4.5.3 (the zip64 extra field).

use std::collections::BTreeMap;
use std::io::Read;

use super::problem::shown;
use super::source::Source;
use super::{Format, Problem, StateDict, limits, pickle};

const END: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: u64 = 22;
const LONGEST_COMMENT: u64 = 0xffff;
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_BYTES: u64 = 20;
const END64: [u8; 4] = *b"PK\x06\x06";
const END64_BYTES: u64 = 56;
const RECORD: [u8; 4] = *b"PK\x01\x02";
const RECORD_BYTES: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;
/// Kind of the extra field that holds sizes of more than 32 bits.
const EXTRA64: u16 = 1;
const ENCRYPTED: u16 = 1;
const LARGEST_ELEMENT: u64 = 8;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

pub(super) fn read(source: &mut Source<'_>, keys: &[&str]) -> Result<StateDict, Problem> {
    let archive = Archive::open(source)?;
    let stem = archive.stem()?;
    if let Some(entry) = archive.entries.get(&format!("{stem}byteorder")) {
        match entry.read(source, "byteorder", 16)?.trim_ascii() {
            b"little" => {}
            b"big" => return Err(Problem::BigEndian),
            _ => return Err(Problem::Entry { entry: "byteorder".to_owned(), fault: "neither \"little\" nor \"big\"" }),
        }
    }
    let pickle = archive.read(source, &format!("{stem}data.pkl"), limits::HEADER_BYTES)?;
    let (tree, _) = pickle::run(&pickle)?;
    let len = source.len();
    pickle::assemble(&tree, keys, Format::PytorchZip, len, |storage| {
        let need = storage.bytes().unwrap_or(u64::MAX);
        let name = format!("{stem}data/{}", storage.key);
        let entry = archive.entry(&name)?;
        // A storage that is read as larger elements than it was made of may have a rest.
        if entry.size.checked_sub(need).is_none_or(|rest| rest >= LARGEST_ELEMENT) {
            return Err(Problem::StorageSize { key: storage.key.to_owned(), need, have: entry.size });
        }
        let mut bytes = entry.read(source, &name, limits::tensor_bytes(len))?;
        bytes.truncate(usize::try_from(need).unwrap_or(usize::MAX));
        Ok(bytes)
    })
}

/// The central directory.
struct Archive {
    entries: BTreeMap<String, Entry>,
}

/// What the central directory says of an entry.
struct Entry {
    method: u16,
    stored: u64,
    size: u64,
    header: u64,
}

impl Archive {
    fn open(source: &mut Source<'_>) -> Result<Self, Problem> {
        let (offset, size) = directory(source)?;
        if size > limits::HEADER_BYTES {
            return Err(Problem::TooLarge {
                what: "bytes of archive directory",
                got: size,
                limit: limits::HEADER_BYTES,
            });
        }
        let directory = source.read(offset, size)?;
        let mut entries = BTreeMap::new();
        let mut rest = Fields(&directory);
        while !rest.0.is_empty() {
            let (name, entry) = record(&mut rest)?;
            if name.ends_with('/') {
                continue;
            }
            if is_unsafe(&name) {
                return Err(Problem::UnsafeName { name: shown(&name) });
            }
            if entries.len() == limits::TENSORS {
                return Err(Problem::TooLarge {
                    what: "archive entries",
                    got: limits::TENSORS as u64 + 1,
                    limit: limits::TENSORS as u64,
                });
            }
            let shown = shown(&name);
            if entries.insert(name, entry).is_some() {
                return Err(Problem::Entry { entry: shown, fault: "it is listed twice" });
            }
        }
        Ok(Self { entries })
    }

    /// What comes before `data.pkl`: a folder and its slash, or nothing.
    fn stem(&self) -> Result<String, Problem> {
        let stems: Vec<&str> = self
            .entries
            .keys()
            .filter_map(|name| name.strip_suffix("data.pkl"))
            .filter(|stem| stem.is_empty() || stem.ends_with('/'))
            .collect();
        let [stem] = *stems else {
            return Err(Problem::Zip {
                fault: if stems.is_empty() {
                    "a zip file without data.pkl: torch.save did not write it"
                } else {
                    "data.pkl is there more than once"
                },
            });
        };
        let code = format!("{stem}code/");
        if self.entries.keys().any(|name| name.starts_with(&code))
            || self.entries.contains_key(&format!("{stem}constants.pkl"))
        {
            return Err(Problem::TorchScript);
        }
        Ok(stem.to_owned())
    }

    fn entry(&self, name: &str) -> Result<&Entry, Problem> {
        self.entries.get(name).ok_or_else(|| Problem::Entry { entry: shown(name), fault: "it is not in the archive" })
    }

    fn read(&self, source: &mut Source<'_>, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        self.entry(name)?.read(source, name, limit)
    }
}

impl Entry {
    /// The content, of at most `limit` bytes once inflated.
    fn read(&self, source: &mut Source<'_>, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let wrong = |fault| Problem::Entry { entry: shown(name), fault };
        if self.size > limit {
            return Err(Problem::TooLarge { what: "bytes of an archive entry", got: self.size, limit });
        }
        let local = source.read(self.header, LOCAL_BYTES)?;
        let mut fields = Fields(&local);
        fields.signature(LOCAL)?;
        fields.take(22)?;
        let start = self.header + LOCAL_BYTES + u64::from(fields.u16()?) + u64::from(fields.u16()?);
        match self.method {
            STORED if self.stored == self.size => source.read(start, self.size),
            STORED => Err(wrong("it is not compressed, yet has two sizes")),
            DEFLATED => {
                let stored = source.read(start, self.stored)?;
                let mut bytes = Vec::new();
                // One byte more than it should be tells whether it ends there.
                let inflated =
                    flate2::bufread::DeflateDecoder::new(&*stored).take(self.size + 1).read_to_end(&mut bytes);
                match inflated {
                    Ok(length) if length as u64 == self.size => Ok(bytes),
                    Ok(_) => Err(wrong("it inflates to another size than the archive says")),
                    Err(_) => Err(wrong("its compressed data are damaged")),
                }
            }
            _ => Err(wrong("it is compressed by a method other than deflate; pack it again without compression")),
        }
    }
}

/// Offset and size of the central directory.
fn directory(source: &mut Source<'_>) -> Result<(u64, u64), Problem> {
    let tail_start = source.len().saturating_sub(END_BYTES + LONGEST_COMMENT);
    let tail = source.read(tail_start, source.len() - tail_start)?;
    let found = (0..tail.len().saturating_sub(END_BYTES as usize - 1)).rev().find(|&at| tail[at..].starts_with(&END));
    let Some(at) = found else {
        return Err(Problem::Zip { fault: "it has no directory at its end: the file is cut short; fetch it again" });
    };
    let mut fields = Fields(&tail[at + END.len()..]);
    let (disk, directory_disk) = (fields.u16()?, fields.u16()?);
    fields.take(4)?;
    let (size, offset) = (fields.u32()?, fields.u32()?);
    let is_short = size != u32::MAX && offset != u32::MAX;
    if is_short && (disk, directory_disk) != (0, 0) {
        return Err(Problem::Zip { fault: "one of several parts" });
    }
    if is_short {
        return Ok((u64::from(offset), u64::from(size)));
    }
    let wrong = Problem::Zip { fault: "its directory of more than 32 bits is malformed" };
    let Some(locator) = (tail_start + at as u64).checked_sub(LOCATOR_BYTES) else { return Err(wrong) };
    let locator = source.read(locator, LOCATOR_BYTES)?;
    let mut fields = Fields(&locator);
    fields.signature(LOCATOR)?;
    fields.take(4)?;
    let end64 = source.read(fields.u64()?, END64_BYTES)?;
    let mut fields = Fields(&end64);
    fields.signature(END64)?;
    fields.take(36)?;
    let (size, offset) = (fields.u64()?, fields.u64()?);
    Ok((offset, size))
}

/// The next record of the central directory.
fn record(fields: &mut Fields<'_>) -> Result<(String, Entry), Problem> {
    let mut head = Fields(fields.take(RECORD_BYTES)?);
    head.signature(RECORD)?;
    head.take(4)?;
    let (flags, method) = (head.u16()?, head.u16()?);
    head.take(8)?;
    let (mut stored, mut size) = (u64::from(head.u32()?), u64::from(head.u32()?));
    let (name_length, extra_length, comment_length) = (head.u16()?, head.u16()?, head.u16()?);
    head.take(8)?;
    let mut header = u64::from(head.u32()?);
    let name = fields.take(usize::from(name_length))?;
    let mut extra = Fields(fields.take(usize::from(extra_length))?);
    fields.take(usize::from(comment_length))?;

    let name = str::from_utf8(name).map_err(|_| Problem::Zip { fault: "an entry's name is not UTF-8" })?.to_owned();
    if flags & ENCRYPTED != 0 {
        return Err(Problem::Entry { entry: shown(&name), fault: "it is encrypted" });
    }
    // Fields may be followed by padding, by which torch.save aligns the data.
    while extra.0.len() >= 4 {
        let (kind, length) = (extra.u16()?, extra.u16()?);
        let mut body = Fields(extra.take(usize::from(length))?);
        if kind == EXTRA64 {
            for value in [&mut size, &mut stored, &mut header] {
                if *value == u64::from(u32::MAX) {
                    *value = body.u64()?;
                }
            }
        }
    }
    // Far beyond any file, and far from overflow when lengths are added.
    if [stored, size, header].iter().any(|&value| value > u64::MAX / 4) {
        return Err(Problem::Entry { entry: shown(&name), fault: "its sizes are beyond any file" });
    }
    Ok((name, Entry { method, stored, size, header }))
}

/// Whether a program that unpacked the entry by its name could write outside the folder it unpacks to.
fn is_unsafe(name: &str) -> bool {
    name.starts_with('/') || name.contains(['\\', ':', '\0']) || name.split('/').any(|part| part == "..")
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Problem::Zip { fault: "its directory is cut short" })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Problem> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    fn signature(&mut self, signature: [u8; 4]) -> Result<(), Problem> {
        if self.array()? == signature {
            Ok(())
        } else {
            Err(Problem::Zip { fault: "a part of it is not where the directory says" })
        }
    }
}
