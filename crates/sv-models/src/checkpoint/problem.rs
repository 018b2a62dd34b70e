//! What is wrong with a checkpoint; the file's name is in the error around it.

use std::io;

use super::Format;

/// Why the content of a checkpoint was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is of none of the known formats.
    #[error("neither safetensors nor a PyTorch checkpoint: it begins with \"{start}\"")]
    UnknownFormat {
        /// Its first bytes, escaped.
        start: String,
    },
    /// The format is known, but its reader was not built in.
    #[error(
        "{format} is read only with the feature `pth`, which this build lacks; build with it, or convert the file to safetensors"
    )]
    FeatureMissing {
        /// The format.
        format: Format,
    },
    /// The system failed while the file was read.
    #[error("reading failed: {0}")]
    Io(#[source] io::Error),
    /// The file ends before something that it announces.
    #[error("cut short: {need} bytes are announced at offset {offset}, {have} are left; fetch the file again")]
    EndsEarly {
        /// Where they should begin.
        offset: u64,
        /// How many there should be.
        need: u64,
        /// How many there are.
        have: u64,
    },
    /// Something is larger than any checkpoint needs (see [`limits`](super::limits)).
    #[error("{what}: {got}, and no more than {limit} are read; this does not look like a speaker model")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it claims to be.
        got: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The pickle names a function or class that no state dict needs; it was not called.
    #[error(
        "refused: the pickle asks for `{module}.{name}`, which no state dict needs and which was not run; save `module.state_dict()` alone"
    )]
    ForbiddenGlobal {
        /// The Python module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// A whole network was pickled, code references and all.
    #[error(
        "a whole module was saved (`{class}`), which only its own Python code can open; save `module.state_dict()` instead"
    )]
    WholeModule {
        /// The first class that the pickle asks for.
        class: String,
    },
    /// The archive is a compiled TorchScript program.
    #[error(
        "a TorchScript program, not a state dict; in Python, `torch.save(torch.jit.load(file).state_dict(), other)` makes one"
    )]
    TorchScript,
    /// An instruction that no state dict needs, or none at all.
    #[error("refused: pickle instruction {name} (0x{opcode:02x}) at offset {offset} is not used by state dicts")]
    UnknownOpcode {
        /// The instruction's byte.
        opcode: u8,
        /// Its name in Python's `pickletools`, or "unknown".
        name: &'static str,
        /// Where it is in the pickle.
        offset: usize,
    },
    /// The instructions of a pickle do not fit each other.
    #[error("malformed pickle at offset {offset}: {fault}")]
    Pickle {
        /// Where, in bytes from the pickle's start.
        offset: usize,
        /// What does not fit.
        fault: &'static str,
    },
    /// The archive around the pickle is malformed.
    #[error("malformed archive: {fault}")]
    Zip {
        /// What does not fit.
        fault: &'static str,
    },
    /// An archive entry is malformed, absent or of a kind that is not read.
    #[error("archive entry {entry:?}: {fault}")]
    Entry {
        /// The entry.
        entry: String,
        /// What is the matter with it.
        fault: &'static str,
    },
    /// An entry or a storage whose name leads out of the archive.
    #[error("refused: the name {name:?} could lead out of the archive")]
    UnsafeName {
        /// The name.
        name: String,
    },
    /// The numbers are stored with the most significant byte first.
    #[error("written on a big-endian machine, which is not read; save it again on a little-endian one")]
    BigEndian,
    /// A storage holds another number of bytes than the pickle says.
    #[error("storage {key:?} should hold {need} bytes and holds {have}")]
    StorageSize {
        /// The storage.
        key: String,
        /// Bytes that the pickle announces.
        need: u64,
        /// Bytes in the file.
        have: u64,
    },
    /// A tensor's shape, strides and offset lead outside its storage, or are not sizes at all.
    #[error("tensor {tensor:?}: {fault}")]
    Layout {
        /// The tensor.
        tensor: String,
        /// What does not fit.
        fault: &'static str,
    },
    /// A safetensors header that does not describe the file.
    #[error("malformed safetensors header: {fault}")]
    Header {
        /// What does not fit.
        fault: String,
    },
    /// There is no dictionary of tensors.
    #[error("no state dict inside: it holds {found}; save `module.state_dict()`")]
    NoStateDict {
        /// What is there instead.
        found: String,
    },
    /// Several dictionaries hold tensors and none has a usual name.
    #[error("several dictionaries hold tensors: {}; name the one to read", .candidates.join(", "))]
    Ambiguous {
        /// Where they are, the keys joined by dots; the first eight.
        candidates: Vec<String>,
    },
    /// The dictionary that the caller named is not there.
    #[error("no dictionary {wanted:?} with tensors inside; there are: {}", .candidates.join(", "))]
    NoSuchDictionary {
        /// The keys that were asked for, joined by dots.
        wanted: String,
        /// Where tensors are; the first eight.
        candidates: Vec<String>,
    },
}

/// `text` from a file as a message may show it: short, and without characters that do something to a terminal.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let harmless = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = text.chars().take(LONGEST).map(harmless).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
