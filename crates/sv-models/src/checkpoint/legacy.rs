//! PyTorch files from before 1.6: five pickles in a row, then the storages, each after the number of its elements.
//!
//! The pickles are: a magic number, a version, facts about the machine, the object, and the storages' names in the order of the data.

use std::collections::HashMap;

use super::pickle::{self, Node, Storage, Tree};
use super::problem::shown;
use super::source::Source;
use super::{Format, Problem, StateDict, limits};

/// `PROTO`, then `LONG1` with ten bytes: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 12] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;
/// The pickles of a usual checkpoint fit into this much; longer ones are read again, in larger pieces.
const FIRST_PIECE: u64 = 64 << 10;
const COUNT_BYTES: u64 = 8;

pub(super) fn read(source: &mut Source<'_>, keys: &[&str]) -> Result<StateDict, Problem> {
    let head = head(source)?;
    let pickles = Pickles::run(&head)?;
    let places = pickles.places(source)?;
    pickle::assemble(&pickles.object, keys, Format::PytorchLegacy, source.len(), |storage| {
        let (offset, bytes) = places[storage.key];
        source.read(offset, bytes)
    })
}

/// Enough of the file to hold its pickles. They do not say how long they are: where one does not end within a piece, a larger piece is tried.
fn head(source: &mut Source<'_>) -> Result<Vec<u8>, Problem> {
    let most = source.len().min(limits::HEADER_BYTES);
    let mut piece = FIRST_PIECE.min(most);
    loop {
        let head = source.head(piece)?;
        match Pickles::run(&head) {
            Err(Problem::EndsEarly { .. }) if piece < most => piece = (piece * 8).min(most),
            Err(Problem::EndsEarly { .. }) if most < source.len() => {
                return Err(Problem::TooLarge { what: "bytes of pickles", got: most + 1, limit: most });
            }
            Err(problem) => return Err(problem),
            Ok(_) => return Ok(head),
        }
    }
}

/// The pickles at the head of the file.
struct Pickles<'a> {
    object: Tree<'a>,
    keys: Vec<&'a str>,
    /// Where the data begin.
    end: usize,
}

impl<'a> Pickles<'a> {
    fn run(head: &'a [u8]) -> Result<Self, Problem> {
        let mut end = magic(head)?;
        let mut next = || -> Result<Tree<'a>, Problem> {
            let (tree, length) = pickle::run(&head[end..])?;
            end += length;
            Ok(tree)
        };
        // One after the other, so that only the object's tree stays in memory.
        if !matches!(next()?.root(), Node::Int(VERSION)) {
            return Err(Problem::Pickle { offset: 0, fault: "not version 1001 of PyTorch's legacy format" });
        }
        if !matches!(next()?.entry("little_endian"), Some(Node::Bool(true))) {
            return Err(Problem::BigEndian);
        }
        let object = next()?;
        let keys = next()?.texts();
        let keys = keys.ok_or(Problem::Pickle { offset: 0, fault: "the storages' names are not a list of text" })?;
        Ok(Self { object, keys, end })
    }

    /// Offset and length of every storage's bytes, all of them inside the file.
    fn places(&self, source: &mut Source<'_>) -> Result<HashMap<&'a str, (u64, u64)>, Problem> {
        if self.keys.len() > limits::TENSORS {
            return Err(Problem::TooLarge {
                what: "storages",
                got: self.keys.len() as u64,
                limit: limits::TENSORS as u64,
            });
        }
        let mut storages: HashMap<&str, &Storage<'_>> = HashMap::new();
        for storage in self.object.storages() {
            let first = storages.entry(storage.key).or_insert(storage);
            if (first.dtype, first.elements) != (storage.dtype, storage.elements) {
                return Err(Problem::Entry {
                    entry: storage.key.to_owned(),
                    fault: "the pickle describes this storage in two ways",
                });
            }
        }
        let mut places = HashMap::new();
        let mut at = self.end as u64;
        for &key in &self.keys {
            // Without the pickle nobody knows how large its elements are, so that what follows cannot be found.
            let storage = storages
                .get(key)
                .ok_or_else(|| Problem::Entry { entry: shown(key), fault: "no tensor uses this storage" })?;
            let count = source.read(at, COUNT_BYTES)?;
            let count = u64::from_le_bytes(count.try_into().unwrap_or_default());
            let size = storage.dtype.size() as u64;
            if count != storage.elements {
                let (need, have) = (storage.elements.saturating_mul(size), count.saturating_mul(size));
                return Err(Problem::StorageSize { key: key.to_owned(), need, have });
            }
            let bytes =
                storage.bytes().ok_or(Problem::EndsEarly { offset: at, need: u64::MAX, have: source.len() - at })?;
            at += COUNT_BYTES;
            source.check(at, bytes)?;
            places.insert(key, (at, bytes));
            at += bytes;
        }
        match storages.keys().find(|key| !places.contains_key(*key)) {
            Some(key) => Err(Problem::Entry { entry: (*key).to_owned(), fault: "this storage is not in the file" }),
            None => Ok(places),
        }
    }
}

/// Checks the first pickle; gives its length.
fn magic(head: &[u8]) -> Result<usize, Problem> {
    // From protocol 4 on, pickles of four bytes or more begin with a frame.
    let start = if head.get(2) == Some(&0x95) { 11 } else { 2 };
    let after = head.get(start..).and_then(|rest| rest.strip_prefix(&MAGIC)).and_then(|rest| rest.strip_prefix(b"."));
    match after {
        Some(rest) => Ok(head.len() - rest.len()),
        None => Err(Problem::Pickle {
            offset: 0,
            fault: "a pickle, but not one that torch.save wrote; only those hold tensors that are read",
        }),
    }
}
