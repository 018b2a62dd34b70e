//! The functions and classes that a state dict names, and what each makes here. There are no others.

use super::machine::Machine;
use super::tree::{Id, Node, Storage, Tensor};
use crate::checkpoint::problem::shown;
use crate::checkpoint::{Dtype, Problem, limits};

/// Longest name of a storage: numbers of up to 64 bits.
const LONGEST_KEY: usize = 32;

/// A function or class that a state dict may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`: a dictionary.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`, and `_rebuild_tensor` of the first versions: a tensor.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: the tensor inside it.
    RebuildParameter,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch.FloatStorage` and its kin: what a storage holds.
    Storage(Dtype),
}

impl Global {
    /// The global of that name.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, Problem> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "DoubleStorage") => Self::Storage(Dtype::F64),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Self::Storage(Dtype::I64),
            ("torch", "IntStorage") => Self::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Self::Storage(Dtype::I16),
            ("torch", "CharStorage") => Self::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Self::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Self::Storage(Dtype::Bool),
            _ if module.starts_with("torch.nn.") || module.starts_with("__torch__") => {
                return Err(Problem::WholeModule { class: shown(&format!("{module}.{name}")) });
            }
            _ => return Err(Problem::ForbiddenGlobal { module: shown(module), name: shown(name) }),
        })
    }

    /// What calling it makes.
    pub(super) fn call(self, machine: &mut Machine<'_>, arguments: &[Id]) -> Result<Id, Problem> {
        match (self, arguments) {
            (Self::OrderedDict, []) => machine.make(Node::Dict(Vec::new())),
            (Self::OrderedDict, [pairs]) => {
                let fault = "OrderedDict is not given a list of pairs";
                let mut entries = Vec::new();
                for &pair in machine.items(*pairs, fault)? {
                    let &[key, value] = machine.items(pair, fault)? else { return Err(machine.fault(fault)) };
                    entries.push((key, value));
                }
                machine.pay(entries.len())?;
                machine.make(Node::Dict(entries))
            }
            (Self::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let Node::Storage(_) = machine.node(*storage) else {
                    return Err(machine.fault("a tensor is built of something that is not a storage"));
                };
                let tensor = Tensor {
                    storage: *storage,
                    offset: machine.size(*offset)?,
                    shape: machine.sizes(*shape)?,
                    strides: machine.sizes(*strides)?,
                };
                machine.make(Node::Tensor(Box::new(tensor)))
            }
            (Self::RebuildParameter, [tensor, ..]) if matches!(machine.node(*tensor), Node::Tensor(_)) => Ok(*tensor),
            (Self::Size, [sizes]) if matches!(machine.node(*sizes), Node::Tuple(_)) => Ok(*sizes),
            (Self::Storage(_), _) => Err(machine.fault("a storage class is called, which state dicts never do")),
            _ => Err(machine.fault("a function is called with other arguments than it takes")),
        }
    }
}

impl<'a> Machine<'a> {
    /// The storage that a persistent id names: `("storage", class, key, location, elements)`, in legacy files followed by a view.
    pub(super) fn storage(&mut self, id: Id) -> Result<Id, Problem> {
        let (kind, class, key, elements, view) = match *self.items(id, "a persistent id is not a tuple")? {
            [kind, class, key, _location, elements] => (kind, class, key, elements, None),
            [kind, class, key, _location, elements, view] => (kind, class, key, elements, Some(view)),
            _ => return Err(self.fault("a persistent id has neither five nor six parts")),
        };
        let (Node::Text("storage"), Node::Global(Global::Storage(dtype)), Node::Text(key)) =
            (self.node(kind), self.node(class), self.node(key))
        else {
            return Err(self.fault("a persistent id does not name a storage"));
        };
        let (dtype, key) = (*dtype, *key);
        if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Problem::UnsafeName { name: shown(key) });
        }
        if view.is_some_and(|view| !matches!(self.node(view), Node::None)) {
            return Err(self.fault(
                "a storage that is a view of another, which only the first PyTorch versions wrote; save it again",
            ));
        }
        let elements = self.size(elements)? as u64;
        self.make(Node::Storage(Box::new(Storage { key, dtype, elements })))
    }

    /// A number that is not negative.
    fn size(&self, id: Id) -> Result<usize, Problem> {
        match self.node(id) {
            Node::Int(value) => usize::try_from(*value).map_err(|_| self.fault("a size or an offset is negative")),
            _ => Err(self.fault("a size or an offset is not an int")),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, Problem> {
        let items = self.items(id, "a shape is not a tuple")?;
        if items.len() > limits::AXES {
            return Err(Problem::TooLarge {
                what: "axes of a tensor",
                got: items.len() as u64,
                limit: limits::AXES as u64,
            });
        }
        items.iter().map(|&item| self.size(item)).collect()
    }

    /// The items of a tuple or list.
    fn items(&self, id: Id, fault: &'static str) -> Result<&[Id], Problem> {
        match self.node(id) {
            Node::Tuple(items) => Ok(items),
            Node::List(items) => Ok(items),
            _ => Err(self.fault(fault)),
        }
    }
}
