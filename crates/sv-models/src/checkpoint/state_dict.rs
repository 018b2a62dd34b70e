//! The named tensors of a checkpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::problem::shown;
use super::source::Source;
use super::{Problem, StateTensor};
use crate::ModelError;

/// Named tensors, sorted by name, and the plain values that lay beside them.
#[derive(Debug, Clone)]
pub struct StateDict {
    file: String,
    format: Format,
    location: Vec<String>,
    tensors: BTreeMap<String, StateTensor>,
    scalars: BTreeMap<String, Scalar>,
}

/// How a checkpoint was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Hugging Face's format: a JSON header and raw data.
    Safetensors,
    /// PyTorch since 1.6: a zip archive with a pickle and raw data.
    PytorchZip,
    /// PyTorch before 1.6: five pickles, then raw data.
    PytorchLegacy,
    /// Made in memory, not read.
    Memory,
}

/// A plain value beside the tensors, such as a count of steps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; the metadata of a safetensors file are text.
    Text(String),
}

impl StateDict {
    /// Reads a checkpoint of any known format, told by its content.
    ///
    /// A PyTorch file often wraps its state dict in others. The dictionary taken is: the one under `model_state`, `state_dict`, `model_state_dict`,
    /// `model` or `state`, the first of them in this order that leads to tensors; else the outermost itself, if tensors lie in it; else the only one that
    /// holds tensors; and so on inward. [`location`](Self::location) says which it was.
    ///
    /// # Errors
    /// [`ModelError::Read`], [`ModelError::NotAFile`], and [`ModelError::Checkpoint`] with the [`Problem`], among them
    /// [`Problem::Ambiguous`] where the rule does not decide.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        Self::read_within(path, &[])
    }

    /// Reads the dictionary that lies under `keys`, outermost first; no keys leave the choice to the rule of [`read`](Self::read).
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Problem::NoSuchDictionary`].
    pub fn read_within(path: &Path, keys: &[&str]) -> Result<Self, ModelError> {
        let mut source = Source::open(path)?;
        named(path.display().to_string(), super::read(&mut source, keys))
    }

    /// Reads a checkpoint from memory; `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`], as [`read`](Self::read).
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        named(name.to_owned(), super::read(&mut Source::from_bytes(bytes), &[]))
    }

    /// A state dict made in memory; `name` stands for the file in errors. Of two tensors with one name the later stays.
    #[must_use]
    pub fn from_tensors(name: &str, tensors: impl IntoIterator<Item = (String, StateTensor)>) -> Self {
        let mut dict = Self::new(Format::Memory, Vec::new(), tensors.into_iter().collect(), BTreeMap::new());
        name.clone_into(&mut dict.file);
        dict
    }

    pub(super) fn new(
        format: Format,
        location: Vec<String>,
        tensors: BTreeMap<String, StateTensor>,
        scalars: BTreeMap<String, Scalar>,
    ) -> Self {
        Self { file: String::new(), format, location, tensors, scalars }
    }

    /// The file that it came from, as errors name it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How the file stores it.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The keys under which it lay in the file, outermost first; empty if it was the file's outermost dictionary.
    #[must_use]
    pub fn location(&self) -> &[String] {
        &self.location
    }

    /// Plain values in the file by their keys joined by dots, such as `step` or `optimizer.lr`; for safetensors the metadata.
    #[must_use]
    pub fn scalars(&self) -> &BTreeMap<String, Scalar> {
        &self.scalars
    }

    /// How many tensors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&StateTensor> {
        self.tensors.get(name)
    }

    /// Takes the tensor of that name out.
    pub fn take(&mut self, name: &str) -> Option<StateTensor> {
        self.tensors.remove(name)
    }

    /// Puts a tensor in; gives back the one that had this name.
    pub fn insert(&mut self, name: &str, tensor: StateTensor) -> Option<StateTensor> {
        self.tensors.insert(name.to_owned(), tensor)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StateTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensors whose name begins with `prefix`, which is taken off: `under("resnet.")` turns `resnet.conv1.weight` to `conv1.weight`.
    /// Storage is shared, not copied.
    #[must_use]
    pub fn under(&self, prefix: &str) -> Self {
        let tensors = self
            .tensors
            .range(prefix.to_owned()..)
            .map_while(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
            .collect();
        Self { tensors, ..self.without_tensors() }
    }

    /// The values of the tensor `name`, row-major, which must have this shape.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`], [`ModelError::TensorShape`], [`ModelError::TensorDtype`]: each names file and tensor.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (file, tensor) = (|| self.file.clone(), || name.to_owned());
        let found = self.get(name).ok_or_else(|| ModelError::MissingTensor {
            file: file(),
            tensor: tensor(),
            count: self.len(),
            similar: self.similar(name),
        })?;
        if found.shape != shape {
            return Err(ModelError::TensorShape {
                file: file(),
                tensor: tensor(),
                got: found.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        found.f32().map_err(|_| ModelError::TensorDtype { file: file(), tensor: tensor(), dtype: found.dtype })
    }

    /// A name of which `name` is the end, or that is the end of `name`: the usual difference is a prefix.
    fn similar(&self, name: &str) -> Option<String> {
        self.names().find(|other| !other.is_empty() && (other.ends_with(name) || name.ends_with(other))).map(shown)
    }

    fn without_tensors(&self) -> Self {
        Self {
            file: self.file.clone(),
            format: self.format,
            location: self.location.clone(),
            tensors: BTreeMap::new(),
            scalars: self.scalars.clone(),
        }
    }
}

fn named(file: String, result: Result<StateDict, Problem>) -> Result<StateDict, ModelError> {
    match result {
        Ok(dict) => Ok(StateDict { file, ..dict }),
        Err(problem) => Err(ModelError::Checkpoint { file, problem }),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "a safetensors file",
            Self::PytorchZip => "a PyTorch file (zip)",
            Self::PytorchLegacy => "a PyTorch file (legacy pickle)",
            Self::Memory => "a state dict in memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict() -> StateDict {
        let tensor = |n: usize| StateTensor::from_f32(&[n], &vec![n as f32; n]).unwrap();
        StateDict::from_tensors(
            "made",
            [("net.a".to_owned(), tensor(1)), ("net.b".to_owned(), tensor(2)), ("other".to_owned(), tensor(3))],
        )
    }

    #[test]
    fn a_prefix_selects_and_is_taken_off() {
        assert_eq!(dict().under("net.").names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(dict().under("").len(), 3);
        assert!(dict().under("none.").is_empty());
    }

    #[test]
    fn a_missing_tensor_is_named_with_its_likely_twin() {
        let error = dict().f32("a", &[1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "made: no tensor \"a\" among its 3 (there is \"net.a\"); is it of another architecture?"
        );
    }

    #[test]
    fn a_misshapen_tensor_is_named_with_both_shapes() {
        let error = dict().f32("net.b", &[2, 1]).unwrap_err();
        assert!(
            matches!(&error, ModelError::TensorShape { got, expected, .. } if *got == [2] && *expected == [2, 1]),
            "{error}"
        );
        assert_eq!(dict().f32("net.b", &[2]).unwrap(), [2.0, 2.0]);
    }

    #[test]
    fn take_and_insert_move_tensors() {
        let mut dict = dict();
        let taken = dict.take("other").unwrap();
        assert!(!dict.contains("other") && dict.take("other").is_none());
        assert_eq!(dict.insert("net.a", taken).unwrap().shape, [1]);
        assert_eq!(dict.get("net.a").unwrap().shape, [3]);
    }
}
