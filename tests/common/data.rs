//! The folders named by `SV_DATA` and `SV_REFERENCE`, and the safetensors files in the latter.

use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors};

/// The folder of real recordings, or `None`, with a line on standard error, where `SV_DATA` is not set.
///
/// # Panics
/// If the variable is set but names no folder with a `manifest.tsv`: that is a failure, never a skip.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    folder("SV_DATA", "manifest.tsv")
}

/// The folder of reference values, or `None`, with a line on standard error, where `SV_REFERENCE` is not set.
///
/// # Panics
/// If the variable is set but names no folder with a `tolerances.json`.
#[must_use]
pub fn reference_dir() -> Option<PathBuf> {
    folder("SV_REFERENCE", "tolerances.json")
}

fn folder(variable: &str, must_hold: &str) -> Option<PathBuf> {
    let Some(value) = std::env::var_os(variable) else {
        // Past the harness, which keeps what a passing test prints to itself; nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {variable} is not set");
        return None;
    };
    let path = PathBuf::from(value);
    assert!(path.join(must_hold).is_file(), "{variable}={} holds no {must_hold}", path.display());
    Some(path)
}

/// A safetensors file in memory.
pub struct Tensors(Vec<u8>);

/// One tensor: its shape and its values as f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major; f32, f64 and integer tensors alike.
    pub data: Vec<f64>,
}

impl Values {
    /// The values as f32.
    #[must_use]
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|&value| value as f32).collect()
    }
}

impl Tensors {
    /// Reads a file.
    ///
    /// # Panics
    /// If it cannot be read: a reference folder without it is broken.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Names of all tensors, sorted.
    ///
    /// # Panics
    /// If the file is not a safetensors file.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let mut names: Vec<String> = file.names().into_iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// The tensor `name`.
    ///
    /// # Panics
    /// If it is not there or of a type that the reference values do not use.
    #[must_use]
    pub fn get(&self, name: &str) -> Values {
        let file = SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bytes = view.data();
        let data = match view.dtype() {
            Dtype::F32 => numbers(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => numbers(bytes, f64::from_le_bytes),
            Dtype::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f64),
            Dtype::U32 => numbers(bytes, |b| f64::from(u32::from_le_bytes(b))),
            Dtype::I32 => numbers(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::I16 => numbers(bytes, |b| f64::from(i16::from_le_bytes(b))),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
            other => panic!("{name}: {other:?} is not read here"),
        };
        Values { shape: view.shape().to_vec(), data }
    }
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.chunks_exact(N).map(|chunk| read(chunk.try_into().expect("N bytes"))).collect()
}

/// Largest difference between two sequences, and the same divided by `max(1, largest magnitude)` of `expected`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn difference(got: &[f32], expected: &[f64]) -> (f64, f64) {
    assert_eq!(got.len(), expected.len(), "lengths differ");
    let mut absolute: f64 = 0.0;
    let mut magnitude: f64 = 1.0;
    for (&g, &e) in got.iter().zip(expected) {
        let d = (f64::from(g) - e).abs();
        absolute = if d.is_nan() { f64::INFINITY } else { absolute.max(d) };
        magnitude = magnitude.max(e.abs());
    }
    (absolute, absolute / magnitude)
}
