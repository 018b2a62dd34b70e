//! The part of Python's pickle format that PyTorch's state dicts use, and no more.
//!
//! A pickle is a program for a stack machine. [`machine`] runs one over a [`Tree`] of plain nodes; the functions that a state dict calls
//! ([`globals`]) make nodes and nothing else. [`find`] picks the dictionary of tensors, [`assemble`] fetches their storages.
//!
//! # Source
//! Instructions: CPython's `pickletools`. What PyTorch makes of them: `torch.save` and `torch._utils`.

mod find;
mod globals;
mod machine;
mod opcodes;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::problem::shown;
use super::{Format, Problem, StateDict, StateTensor, limits};

pub(super) use machine::run;
pub(super) use tree::{Node, Storage, Tree};

/// Makes the state dict that `keys` name, or that the rule finds, in a file of `len` bytes. `fetch` gives a storage's bytes, whose number it has checked.
///
/// Each storage is fetched once, however many tensors are views of it; those that only other dictionaries use are not fetched at all.
pub(super) fn assemble(
    tree: &Tree<'_>,
    keys: &[&str],
    format: Format,
    len: u64,
    mut fetch: impl FnMut(&Storage<'_>) -> Result<Vec<u8>, Problem>,
) -> Result<StateDict, Problem> {
    let found = find::state_dict(tree, keys)?;
    let mut room =
        Room { held: limits::tensor_bytes(len), laid_out: limits::tensor_bytes(len), limit: limits::tensor_bytes(len) };
    let mut storages: HashMap<&str, Arc<Vec<u8>>> = HashMap::new();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in found.tensors {
        let layout = |fault| Problem::Layout { tensor: shown(name), fault };
        let storage = tree.storage(tensor.storage).ok_or_else(|| layout("it has no storage"))?;
        let need = storage.bytes().ok_or_else(|| layout("the size of its storage overflows"))?;
        let bytes = match storages.get(storage.key) {
            Some(bytes) if bytes.len() as u64 >= need => Arc::clone(bytes),
            Some(_) => return Err(layout("another tensor says that their storage is smaller")),
            None => {
                Room::take(&mut room.held, need, room.limit)?;
                let bytes = Arc::new(fetch(storage)?);
                storages.insert(storage.key, Arc::clone(&bytes));
                bytes
            }
        };
        let view =
            StateTensor::view(bytes, storage.dtype, tensor.offset, &tensor.shape, &tensor.strides).map_err(layout)?;
        Room::take(&mut room.laid_out, (view.len() as u64).saturating_mul(view.dtype.size() as u64), room.limit)?;
        tensors.insert(name.to_owned(), view);
    }
    Ok(StateDict::new(format, found.location, tensors, found.scalars))
}

/// What is left of the bytes that a file of this length may have held and laid out.
struct Room {
    held: u64,
    laid_out: u64,
    limit: u64,
}

impl Room {
    fn take(left: &mut u64, bytes: u64, limit: u64) -> Result<(), Problem> {
        match left.checked_sub(bytes) {
            Some(rest) => *left = rest,
            None => {
                return Err(Problem::TooLarge {
                    what: "bytes of tensors",
                    got: (limit - *left).saturating_add(bytes),
                    limit,
                });
            }
        }
        Ok(())
    }
}
