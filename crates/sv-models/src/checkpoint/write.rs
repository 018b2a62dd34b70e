//! Writing safetensors, whole or not at all, the same bytes for the same tensors.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::{Dtype, StateDict, StateTensor};
use crate::ModelError;

/// Writes the tensors as safetensors: floating-point ones as f32 (F64 is rounded), others as they are, in the order of their names, after `metadata`.
///
/// Equal tensors and metadata make equal bytes. The file appears whole: see [`write_whole`].
///
/// # Errors
/// [`ModelError::Write`].
pub fn write(path: &Path, tensors: &StateDict, metadata: &BTreeMap<String, String>) -> Result<(), ModelError> {
    write_whole(path, |out| serialize(out, tensors, metadata))
}

/// Writes a file whole or not at all: `fill` writes beside it, then the system is told to store it, then it takes the name.
///
/// When `fill` or the system fails, what was at `path` is as it was and nothing is left beside it; a kill may leave a `.part` file.
///
/// # Errors
/// [`ModelError::Write`].
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ModelError> {
    let failed = |source| ModelError::Write { path: path.to_owned(), source };
    let beside = beside(path).map_err(failed)?;
    let written = fill_and_store(&beside, fill).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report; that the leftover stays too adds nothing.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)?;
    // The name itself is safe from a power cut only once the directory is stored. Where directories cannot be opened, the file is still whole.
    if let Some(directory) =
        path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    {
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(())
}

fn fill_and_store(beside: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    fill(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// A name in the same directory that no other process or thread uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(format!(".{}.{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(part))
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: (usize, usize),
}

/// The type that a tensor is written as.
fn written_as(tensor: &StateTensor) -> Dtype {
    if tensor.dtype.is_float() { Dtype::F32 } else { tensor.dtype }
}

fn serialize(out: &mut dyn Write, tensors: &StateDict, metadata: &BTreeMap<String, String>) -> io::Result<()> {
    let mut entries = BTreeMap::new();
    let mut at = 0;
    for (name, tensor) in tensors.iter() {
        let dtype = written_as(tensor);
        let end = at + tensor.len() * dtype.size();
        entries.insert(name, Entry { dtype: dtype.name(), shape: tensor.laid_out_shape(), data_offsets: (at, end) });
        at = end;
    }
    if entries.contains_key("__metadata__") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "safetensors has no tensor named __metadata__"));
    }
    // By hand, since the two kinds of entries differ; both maps are sorted.
    let mut header = serde_json::to_string(&entries)?;
    if !metadata.is_empty() {
        let separator = if entries.is_empty() { "" } else { "," };
        header.insert_str(1, &format!("\"__metadata__\":{}{separator}", serde_json::to_string(metadata)?));
    }
    // The data begin at a multiple of eight, so that readers may map them.
    header.extend(std::iter::repeat_n(' ', header.len().wrapping_neg() % 8));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for (_, tensor) in tensors.iter() {
        match tensor.dtype.to_f32(&tensor.bytes()) {
            Some(values) if tensor.dtype != Dtype::F32 => {
                for value in values {
                    out.write_all(&value.to_le_bytes())?;
                }
            }
            _ => out.write_all(&tensor.bytes())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict() -> StateDict {
        let f32s = StateTensor::from_f32(&[2, 1], &[1.5, -2.0]).unwrap();
        let f64s = StateTensor::from_bytes(&[1], Dtype::F64, 0.1_f64.to_le_bytes().to_vec()).unwrap();
        let count = StateTensor::from_bytes(&[], Dtype::I64, 5_i64.to_le_bytes().to_vec()).unwrap();
        let empty = StateTensor::from_f32(&[0, 3], &[]).unwrap();
        let tensors = [("w", f32s), ("double", f64s), ("count", count), ("empty", empty)];
        StateDict::from_tensors("made", tensors.map(|(name, tensor)| (name.to_owned(), tensor)))
    }

    fn metadata() -> BTreeMap<String, String> {
        [("source", "a \"test\""), ("format", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        for metadata in [metadata(), BTreeMap::new()] {
            let path = folder.path().join("weights.safetensors");
            write(&path, &dict(), &metadata).unwrap();
            let read = StateDict::read(&path).unwrap();
            assert_eq!(read.names().collect::<Vec<_>>(), ["count", "double", "empty", "w"]);
            assert_eq!(read.get("w"), dict().get("w"));
            assert_eq!(read.get("count"), dict().get("count"), "integers stay as they are");
            assert_eq!(read.f32("double", &[1]).unwrap(), [0.1]);
            assert_eq!(read.scalars().len(), metadata.len());
            let bytes = fs::read(&path).unwrap();
            let judge = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(judge.tensor("empty").unwrap().shape(), [0, 3], "the format's own library reads it too");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_bytes_do_not_depend_on_order_or_time() {
        let bytes = |dict: &StateDict| {
            let mut out = Vec::new();
            serialize(&mut out, dict, &metadata()).unwrap();
            out
        };
        let mut other_order = StateDict::from_tensors("other", []);
        for (name, tensor) in dict().iter().collect::<Vec<_>>().into_iter().rev() {
            other_order.insert(name, tensor.clone());
        }
        assert_eq!(bytes(&dict()), bytes(&other_order));
        assert!(
            String::from_utf8_lossy(&bytes(&dict()))[8..].starts_with(r#"{"__metadata__":{"format":"1","source":"#)
        );
    }

    #[test]
    fn a_full_disk_leaves_the_previous_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        fs::write(&path, "previous").unwrap();
        // The disk fills up after each possible number of bytes of the real content.
        let mut whole = Vec::new();
        serialize(&mut whole, &dict(), &metadata()).unwrap();
        for room in 0..whole.len() {
            let error = write_whole(&path, |out| serialize(&mut Full { out, room }, &dict(), &metadata())).unwrap_err();
            assert!(
                matches!(&error, ModelError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                "{error}"
            );
            assert_eq!(fs::read(&path).unwrap(), b"previous");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        write_whole(&path, |out| serialize(&mut Full { out, room: whole.len() }, &dict(), &metadata())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_that_names_the_file() {
        let error = write(Path::new("/no/such/directory/w.safetensors"), &dict(), &metadata()).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/directory/w.safetensors: cannot be written"), "{error}");
        assert!(write(Path::new("/"), &dict(), &metadata()).is_err());
    }

    /// A disk with room for so many bytes.
    struct Full<'a> {
        out: &'a mut dyn Write,
        room: usize,
    }

    impl Write for Full<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = self.out.write(&bytes[..bytes.len().min(self.room)])?;
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.out.flush()
        }
    }
}
