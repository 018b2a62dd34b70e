//! Reading safetensors: eight bytes of header length, a JSON header, then the data, without gap or overlap.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use super::problem::shown;
use super::source::Source;
use super::tensor::{element_count, row_major};
use super::{Dtype, Format, Problem, Scalar, StateDict, StateTensor, limits};

const LENGTH_BYTES: u64 = 8;

/// Reads the whole file. Its names are flat, so `keys` select by prefix: `["model"]` takes `model.*`.
pub(super) fn read(source: &mut Source<'_>, keys: &[&str]) -> Result<StateDict, Problem> {
    let length = source.read(0, LENGTH_BYTES)?;
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    if length > limits::HEADER_BYTES {
        return Err(Problem::TooLarge {
            what: "bytes of safetensors header",
            got: length,
            limit: limits::HEADER_BYTES,
        });
    }
    let header: Header =
        serde_json::from_slice(&source.read(LENGTH_BYTES, length)?).map_err(|error| fault(error.to_string()))?;

    let start = LENGTH_BYTES + length;
    header.check(source.len() - start)?;
    let data = Arc::new(source.read(start, source.len() - start)?);
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors {
        let tensor = entry.view(&data).map_err(|fault| Problem::Layout { tensor: shown(&name), fault })?;
        tensors.insert(name, tensor);
    }
    let scalars = header.metadata.into_iter().map(|(key, text)| (key, Scalar::Text(text))).collect();
    let dict = StateDict::new(Format::Safetensors, Vec::new(), tensors, scalars);
    if keys.is_empty() {
        return Ok(dict);
    }
    let below = dict.under(&format!("{}.", keys.join(".")));
    if below.is_empty() {
        return Err(Problem::NoSuchDictionary { wanted: keys.join("."), candidates: Vec::new() });
    }
    Ok(below)
}

fn fault(fault: String) -> Problem {
    Problem::Header { fault: shown(&fault) }
}

/// The JSON object: `__metadata__` and the tensors.
#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl Header {
    /// The tensors must fill the data of `have` bytes from end to end, each byte once.
    fn check(&self, have: u64) -> Result<(), Problem> {
        let mut pieces: Vec<(usize, usize, &String)> =
            self.tensors.iter().map(|(name, entry)| (entry.data_offsets.0, entry.data_offsets.1, name)).collect();
        pieces.sort_unstable();
        let mut at = 0;
        for (start, end, name) in pieces {
            if start != at || end < start {
                return Err(Problem::Layout {
                    tensor: shown(name),
                    fault: "its data leave a gap or overlap another's",
                });
            }
            at = end;
        }
        match (at as u64).cmp(&have) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Problem::EndsEarly { offset: 0, need: at as u64, have }),
            std::cmp::Ordering::Less => Err(fault(format!("it describes {at} bytes of data, the file has {have}"))),
        }
    }
}

impl Entry {
    fn view(&self, data: &Arc<Vec<u8>>) -> Result<StateTensor, &'static str> {
        let dtype = Dtype::from_name(&self.dtype)
            .ok_or("its dtype is not one that is read (F64 to F16, BF16, I64 to I8, U8, BOOL)")?;
        let bytes = element_count(&self.shape).and_then(|count| count.checked_mul(dtype.size()));
        let (start, end) = self.data_offsets;
        if bytes != end.checked_sub(start) {
            return Err("its shape and dtype do not fill its bytes");
        }
        let strides = if self.shape.len() <= limits::AXES { row_major(&self.shape) } else { Vec::new() };
        if start % dtype.size() == 0 {
            return StateTensor::view(Arc::clone(data), dtype, start / dtype.size(), &self.shape, &strides);
        }
        // Another writer's odd alignment: views count in elements, so these bytes get a storage of their own.
        let own = data.get(start..end).ok_or("its data lie outside the file")?.to_vec();
        StateTensor::view(Arc::new(own), dtype, 0, &self.shape, &strides)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                header.metadata = map.next_value()?;
                continue;
            }
            if header.tensors.len() == limits::TENSORS {
                return Err(A::Error::custom("more tensors than are read"));
            }
            match header.tensors.entry(name) {
                MapEntry::Vacant(place) => {
                    place.insert(map.next_value()?);
                }
                MapEntry::Occupied(place) => {
                    return Err(A::Error::custom(format_args!("{} is there twice", shown(place.key()))));
                }
            }
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelError;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn read(header: &str, data: &[u8]) -> Result<StateDict, Problem> {
        match StateDict::from_bytes("test", &file(header, data)) {
            Ok(dict) => Ok(dict),
            Err(ModelError::Checkpoint { problem, .. }) => Err(problem),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn tensors_and_metadata_are_read() {
        let header = r#"{"__metadata__":{"step":"7"},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[3,7]}}"#;
        let dict = read(header, &[1, 2, 3, 0, 0, 0x80, 0x3f]).unwrap();
        assert_eq!(dict.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(dict.get("a").unwrap().f32().unwrap(), [1.0], "not aligned to four bytes");
        assert_eq!(*dict.get("b").unwrap().bytes(), [1, 2, 3]);
        assert_eq!(dict.scalars()["step"], Scalar::Text("7".to_owned()));
    }

    #[test]
    fn a_header_that_does_not_describe_the_file_is_refused() {
        let one = |shape: &str, dtype: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        for (header, data) in [
            (one("[2]", "F32", "[0,8]"), 4),                                 // ends early
            (one("[1]", "F32", "[0,4]"), 5),                                 // a byte too many
            (one("[1]", "F32", "[1,5]"), 5),                                 // a gap
            (one("[2]", "F32", "[0,4]"), 4),                                 // too few bytes for the shape
            (one("[1]", "F8_E4M3", "[0,1]"), 1),                             // a dtype that is not read
            (one("[4294967296,4294967296]", "F32", "[0,0]"), 0),             // a size that overflows
            (one("[4294967296,4294967296,4294967296,0]", "F32", "[0,0]"), 0), // the same beside a zero
            (one("[1,1,1,1,1,1,1,1,1]", "U8", "[0,1]"), 1),                  // nine axes
            (one("[-1]", "U8", "[0,1]"), 1),
            (one("[0]", "U8", "[4,2]"), 0),
            ("{".to_owned(), 0),
            ("[]".to_owned(), 0),
            (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_owned(), 1),
            (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.to_owned(), 1),
        ] {
            let refused = read(&header, &vec![0; data]);
            assert!(refused.is_err(), "{header}: {refused:?}");
        }
    }

    #[test]
    fn a_header_length_beyond_the_limit_or_the_file_takes_no_memory() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes[7] = 0;
        bytes.extend(b"{}");
        let problem = StateDict::from_bytes("test", &bytes).unwrap_err();
        assert!(matches!(problem, ModelError::Checkpoint { problem: Problem::TooLarge { .. }, .. }), "{problem}");
        let problem = StateDict::from_bytes("test", &[9, 0, 0, 0, 0, 0, 0, 0, b'{', b'}']).unwrap_err();
        assert!(
            matches!(problem, ModelError::Checkpoint { problem: Problem::EndsEarly { need: 9, have: 2, .. }, .. }),
            "{problem}"
        );
    }
}
