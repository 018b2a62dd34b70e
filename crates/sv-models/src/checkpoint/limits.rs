//! How much a checkpoint may claim. All are far above what published speaker models need (tens of thousands of nodes, a few kilobytes of
//! pickle), and keep the refusal of a hostile file below 64 MiB.

/// Longest pickle, and longest safetensors header, in bytes.
pub const HEADER_BYTES: u64 = 4 << 20;
/// Instructions that a pickle may run.
pub const STEPS: usize = 1_000_000;
/// Objects that a pickle may make, entries of its stack and of its memo.
pub const NODES: usize = 250_000;
/// Tensors in one checkpoint, and entries of one archive.
pub const TENSORS: usize = 65_536;
/// Axes of one tensor.
pub const AXES: usize = 8;
/// Dictionaries inside dictionaries.
pub const DEPTH: usize = 32;
/// Dictionaries that are searched for tensors.
pub const DICTIONARIES: usize = 16_384;
/// Bytes of names and of text that are kept beside the tensors.
pub const TEXT_BYTES: usize = 4 << 20;

/// Bytes of storage that may be held, and of values that tensors may stand for once each is laid out in full, for a file of `len` bytes.
///
/// More than the file, since a tensor may repeat its values (a stride of zero), several may share them, and archives may be compressed; but not
/// without bound.
#[must_use]
pub fn tensor_bytes(len: u64) -> u64 {
    len.saturating_mul(4).saturating_add(16 << 20)
}
