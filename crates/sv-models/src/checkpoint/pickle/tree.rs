//! What a pickle has made: nodes that name each other by number.
//!
//! Numbers instead of pointers: a node that is used a thousand times is kept once, one that contains itself leaks nothing, and dropping
//! 200,000 lists inside each other is dropping a vector.

use super::globals::Global;
use crate::checkpoint::Dtype;

/// The number of a node in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(super) u32);

/// A value. Text borrows from the pickle.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes that are not text; state dicts hold them, but nothing here reads them.
    Bytes,
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage<'a>>),
    Tensor(Box<Tensor>),
}

/// A block of numbers outside the pickle.
#[derive(Debug)]
pub(crate) struct Storage<'a> {
    /// Its name in the file: letters and digits only.
    pub(crate) key: &'a str,
    /// What its elements are.
    pub(crate) dtype: Dtype,
    /// How many.
    pub(crate) elements: u64,
}

/// A view of a storage. Offset and strides in elements; nothing is known yet of whether they stay inside.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) storage: Id,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

impl Storage<'_> {
    /// Bytes it takes, unless that overflows.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.elements.checked_mul(self.dtype.size() as u64)
    }
}

impl Node<'_> {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Bytes => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary without tensors",
            Self::Global(_) => "a function or class",
            Self::Storage(_) => "a bare storage",
            Self::Tensor(_) => "a bare tensor",
        }
    }
}

/// All nodes that a pickle has made, and the one that it returns.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Id,
}

impl<'a> Tree<'a> {
    /// The node of that number.
    ///
    /// # Panics
    /// Never with a number that this tree gave out: nodes are not taken away.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn storage(&self, id: Id) -> Option<&Storage<'a>> {
        if let Node::Storage(storage) = self.node(id) { Some(storage) } else { None }
    }

    /// What the pickle returns.
    pub(crate) fn root(&self) -> &Node<'a> {
        self.node(self.root)
    }

    /// Every storage that the pickle names.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.nodes.iter().filter_map(|node| if let Node::Storage(storage) = node { Some(&**storage) } else { None })
    }

    /// The texts of a list of texts.
    pub(crate) fn texts(&self) -> Option<Vec<&'a str>> {
        let Node::List(items) = self.root() else { return None };
        items.iter().map(|&id| if let Node::Text(text) = self.node(id) { Some(*text) } else { None }).collect()
    }

    /// The value of `key` in the outermost dictionary.
    pub(crate) fn entry(&self, key: &str) -> Option<&Node<'a>> {
        let Node::Dict(entries) = self.root() else { return None };
        entries
            .iter()
            .rev()
            .find(|(k, _)| matches!(self.node(*k), Node::Text(text) if *text == key))
            .map(|&(_, value)| self.node(value))
    }
}
