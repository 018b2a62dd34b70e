//! Weights that others trained: safetensors and PyTorch files, read without trusting them.
//!
//! [`StateDict::read`] finds out what a file is by its content and gives its named tensors. A PyTorch file is a pickle, which is a program;
//! it is read by an interpreter that knows the instructions and names of which state dicts are made, and refuses every other by
//! name ([`Problem`]). Nothing is run, and sizes are compared with the file before memory is taken ([`limits`]).
//!
//! | file | read |
//! |---|---|
//! | safetensors | all dtypes of [`Dtype`] |
//! | PyTorch zip (since 1.6), pickle protocols 2 to 4 | state dicts, also below other keys (feature `pth`) |
//! | PyTorch before 1.6 ("legacy") | the same (feature `pth`) |
//! | whole pickled modules, TorchScript | refused, with advice |
//!
//! [`write()`] writes safetensors, whole or not at all.
//!
//! ```
//! use sv_models::checkpoint::{StateDict, StateTensor};
//!
//! # fn main() -> Result<(), sv_models::ModelError> {
//! let bias = StateTensor::from_f32(&[2], &[0.5, -1.0])?;
//! let weights = StateDict::from_tensors("made here", [("linear.bias".to_owned(), bias)]);
//! assert_eq!(weights.under("linear.").f32("bias", &[2])?, [0.5, -1.0]);
//! let error = weights.f32("linear.bias", &[3]).unwrap_err();
//! assert!(error.to_string().contains("has shape [2], the network needs [3]"));
//! # Ok(())
//! # }
//! ```

mod dtype;
pub mod family;
#[cfg(feature = "pth")]
mod legacy;
pub mod limits;
#[cfg(feature = "pth")]
mod pickle;
mod problem;
mod safetensors;
mod source;
mod state_dict;
mod tensor;
mod write;
mod yaml;
#[cfg(feature = "pth")]
mod zip;

pub use dtype::Dtype;
pub use problem::Problem;
pub use state_dict::{Format, Scalar, StateDict};
pub use tensor::StateTensor;
pub use write::{write, write_whole};
pub use yaml::YamlProblem;

use source::Source;

/// Reads what `source` holds; `keys` name the dictionary to take, or, where empty, leave the choice to the rule of [`StateDict::read`].
fn read(source: &mut Source<'_>, keys: &[&str]) -> Result<StateDict, Problem> {
    let start = source.head(16)?;
    match sniff(&start) {
        Some(Format::Safetensors) => safetensors::read(source, keys),
        #[cfg(feature = "pth")]
        Some(Format::PytorchZip) => zip::read(source, keys),
        #[cfg(feature = "pth")]
        Some(Format::PytorchLegacy) => legacy::read(source, keys),
        #[cfg(not(feature = "pth"))]
        Some(format @ (Format::PytorchZip | Format::PytorchLegacy)) => Err(Problem::FeatureMissing { format }),
        _ => Err(Problem::UnknownFormat { start: start.escape_ascii().to_string() }),
    }
}

/// The format that a file's first bytes announce.
fn sniff(start: &[u8]) -> Option<Format> {
    match start {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Format::PytorchZip),
        // Eight bytes of length, then a JSON object. Before the pickles: a header of 0x380 bytes begins like one, and the magic
        // number of torch's has no zero there.
        [_, _, _, _, _, _, _, 0, b'{', ..] => Some(Format::Safetensors),
        // A pickle by its first instruction, PROTO 2 to 5: the legacy reader looks for the magic number itself.
        [0x80, 2..=5, ..] => Some(Format::PytorchLegacy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        for (start, format) in [
            (&b"PK\x03\x04...."[..], Some(Format::PytorchZip)),
            (b"PK\x05\x06", Some(Format::PytorchZip)),
            (b"\x80\x02\x8a\x0a", Some(Format::PytorchLegacy)),
            (b"\x08\x00\x00\x00\x00\x00\x00\x00{}", Some(Format::Safetensors)),
            // A header of 0x380 bytes, as Resemblyzer's network has, once passed for a pickle.
            (b"\x80\x03\x00\x00\x00\x00\x00\x00{}", Some(Format::Safetensors)),
            (b"", None),
            (b"\x80", None),
            (b"(dp0\n.", None),
            (b"\x08\x00\x00\x00\x00\x00\x00\x00[]", None),
        ] {
            assert_eq!(sniff(start), format, "{}", start.escape_ascii());
        }
    }

    #[test]
    #[cfg(not(feature = "pth"))]
    fn a_build_without_pickles_names_the_feature() {
        for file in [&b"PK\x03\x04"[..], b"\x80\x02\x8a\x0a"] {
            let error = StateDict::from_bytes("made", file).unwrap_err();
            assert!(error.to_string().contains("feature `pth`"), "{error}");
        }
    }
}
