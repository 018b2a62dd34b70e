//! The stack machine that runs a pickle. It has no way to reach anything but the pickle and its own nodes.

use std::collections::HashMap;

use super::globals::Global;
use super::opcodes as op;
use super::tree::{Id, Node, Tree};
use crate::checkpoint::{Problem, limits};

/// Highest protocol whose instructions are known.
const HIGHEST_PROTOCOL: u8 = 4;

const MOST_ARGUMENTS: usize = 8;

/// Runs the pickle at the beginning of `bytes`; gives what it made and how many bytes it was long.
pub(in crate::checkpoint) fn run(bytes: &[u8]) -> Result<(Tree<'_>, usize), Problem> {
    let mut machine = Machine {
        bytes,
        at: 0,
        start: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        steps: 0,
    };
    loop {
        machine.pay(1)?;
        machine.start = machine.at;
        let opcode = machine.byte()?;
        if opcode == op::STOP {
            break;
        }
        machine.step(opcode)?;
    }
    let root = machine.pop()?;
    Ok((Tree { nodes: machine.nodes, root }, machine.at))
}

/// The state of a running pickle.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// Where the running instruction began.
    start: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which a mark was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    steps: usize,
}

fn too_large(what: &'static str, limit: usize) -> Problem {
    Problem::TooLarge { what, got: limit as u64 + 1, limit: limit as u64 }
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            op::PROTO => match self.byte()? {
                0..=HIGHEST_PROTOCOL => Ok(()),
                _ => Err(self.fault("a pickle protocol above 4, which torch.save does not write unless asked to")),
            },
            op::FRAME => self.take(8).map(drop),

            op::MARK => {
                if self.marks.len() == limits::NODES {
                    return Err(too_large("marks of a pickle", limits::NODES));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            op::POP if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            op::POP => self.pop().map(drop),
            op::POP_MARK => self.pop_mark().map(drop),
            op::DUP => self.top().and_then(|top| self.push(top)),

            op::BINGET => self.byte().and_then(|index| self.get(u32::from(index))),
            op::LONG_BINGET => self.u32().and_then(|index| self.get(index)),
            op::BINPUT => self.byte().and_then(|index| self.put(u32::from(index))),
            op::LONG_BINPUT => self.u32().and_then(|index| self.put(index)),
            op::MEMOIZE => self.put(self.memo.len() as u32),

            op::NONE => self.push_new(Node::None),
            op::NEWTRUE => self.push_new(Node::Bool(true)),
            op::NEWFALSE => self.push_new(Node::Bool(false)),
            op::BININT => self.u32().and_then(|bits| self.push_new(Node::Int(i64::from(bits as i32)))),
            op::BININT1 => self.byte().and_then(|value| self.push_new(Node::Int(i64::from(value)))),
            op::BININT2 => {
                self.array().and_then(|value| self.push_new(Node::Int(i64::from(u16::from_le_bytes(value)))))
            }
            op::LONG1 => self.byte().and_then(|length| self.long(usize::from(length))),
            op::LONG4 => self.length4().and_then(|length| self.long(length)),
            op::BINFLOAT => self.array().and_then(|value| self.push_new(Node::Float(f64::from_be_bytes(value)))),

            op::SHORT_BINUNICODE => self.byte().and_then(|length| self.text(usize::from(length))),
            op::BINUNICODE => self.length4().and_then(|length| self.text(length)),
            op::BINUNICODE8 => self.length8().and_then(|length| self.text(length)),
            op::SHORT_BINSTRING => self.byte().and_then(|length| self.bytes_or_text(usize::from(length))),
            op::BINSTRING => self.length4().and_then(|length| self.bytes_or_text(length)),
            op::SHORT_BINBYTES => self.byte().and_then(|length| self.bytes_only(usize::from(length))),
            op::BINBYTES => self.length4().and_then(|length| self.bytes_only(length)),
            op::BINBYTES8 => self.length8().and_then(|length| self.bytes_only(length)),

            op::EMPTY_TUPLE => self.push_new(Node::Tuple(Box::default())),
            op::TUPLE1 => self.tuple(1),
            op::TUPLE2 => self.tuple(2),
            op::TUPLE3 => self.tuple(3),
            op::TUPLE => self.pop_mark().and_then(|items| self.push_new(Node::Tuple(items.into()))),
            op::EMPTY_LIST => self.push_new(Node::List(Vec::new())),
            op::LIST => self.pop_mark().and_then(|items| self.push_new(Node::List(items))),
            op::APPEND => self.pop().and_then(|item| self.append(&[item])),
            op::APPENDS => self.pop_mark().and_then(|items| self.append(&items)),
            op::EMPTY_DICT => self.push_new(Node::Dict(Vec::new())),
            op::DICT => {
                let items = self.pop_mark()?;
                self.push_new(Node::Dict(Vec::new()))?;
                self.set_items(&items)
            }
            op::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])
            }
            op::SETITEMS => self.pop_mark().and_then(|items| self.set_items(&items)),

            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.node(module), self.node(name)) {
                    (&Node::Text(module), &Node::Text(name)) => self.global(module, name),
                    _ => Err(self.fault("a function is named by something that is not text")),
                }
            }
            op::REDUCE => self.reduce(),
            op::BUILD => self.build(),
            op::BINPERSID => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage)
            }
            _ => Err(Problem::UnknownOpcode { opcode, name: op::refused_name(opcode), offset: self.start }),
        }
    }

    /// Counts work; an instruction that copies entries pays for each, since the memo lets a short pickle repeat it.
    pub(super) fn pay(&mut self, steps: usize) -> Result<(), Problem> {
        self.steps += steps;
        if self.steps > limits::STEPS { Err(too_large("pickle instructions", limits::STEPS)) } else { Ok(()) }
    }

    /// An error at the running instruction.
    pub(super) fn fault(&self, fault: &'static str) -> Problem {
        Problem::Pickle { offset: self.start, fault }
    }

    /// The node of that number, which this machine gave out.
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    /// Keeps a node.
    pub(super) fn make(&mut self, node: Node<'a>) -> Result<Id, Problem> {
        if self.nodes.len() == limits::NODES {
            return Err(too_large("objects of a pickle", limits::NODES));
        }
        self.nodes.push(node);
        Ok(Id(self.nodes.len() as u32 - 1))
    }

    // Instructions.

    fn global(&mut self, module: &str, name: &str) -> Result<(), Problem> {
        self.push_new(Node::Global(Global::find(module, name)?))
    }

    fn reduce(&mut self) -> Result<(), Problem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let &Node::Global(function) = self.node(function) else {
            return Err(self.fault("something that is not a function is called"));
        };
        let Node::Tuple(arguments) = self.node(arguments) else {
            return Err(self.fault("a function is called with something that is not a tuple"));
        };
        // No function takes more, and copying a long tuple again and again would be a way to waste time.
        let arguments = arguments[..arguments.len().min(MOST_ARGUMENTS)].to_vec();
        let made = function.call(self, &arguments)?;
        self.push(made)
    }

    /// Attributes: state dicts carry `_metadata` with the versions of their modules, which nothing here reads.
    fn build(&mut self) -> Result<(), Problem> {
        let state = self.pop()?;
        match (self.node(self.top()?), self.node(state)) {
            (Node::Dict(_), Node::Dict(_) | Node::None) => Ok(()),
            _ => Err(self.fault("attributes are given to something that is not a dictionary")),
        }
    }

    fn append(&mut self, items: &[Id]) -> Result<(), Problem> {
        let top = self.top()?;
        match &mut self.nodes[top.0 as usize] {
            Node::List(list) => list.extend_from_slice(items),
            _ => return Err(self.fault("an item is appended to something that is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Problem> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.nodes[top.0 as usize] {
            Node::Dict(entries) if rest.is_empty() => entries.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Node::Dict(_) => return Err(self.fault("a key without a value")),
            _ => return Err(self.fault("an entry is set in something that is not a dictionary")),
        }
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), Problem> {
        if self.stack.len().saturating_sub(self.floor()) < length {
            return Err(self.empty_stack());
        }
        let items = self.stack.split_off(self.stack.len() - length);
        self.push_new(Node::Tuple(items.into()))
    }

    /// A whole number of any length, of which 64 bits are kept.
    fn long(&mut self, length: usize) -> Result<(), Problem> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(self.fault("a whole number of more than 64 bits"));
        }
        let negative = bytes.last().is_some_and(|&last| last & 0x80 != 0);
        let mut value = [if negative { 0xff } else { 0 }; 8];
        value[..length].copy_from_slice(bytes);
        self.push_new(Node::Int(i64::from_le_bytes(value)))
    }

    fn text(&mut self, length: usize) -> Result<(), Problem> {
        let bytes = self.take(length)?;
        let text = str::from_utf8(bytes).map_err(|_| self.fault("text that is not UTF-8"))?;
        self.push_new(Node::Text(text))
    }

    /// Python 2 wrote names as bytes.
    fn bytes_or_text(&mut self, length: usize) -> Result<(), Problem> {
        let bytes = self.take(length)?;
        self.push_new(str::from_utf8(bytes).map_or(Node::Bytes, Node::Text))
    }

    fn bytes_only(&mut self, length: usize) -> Result<(), Problem> {
        self.take(length)?;
        self.push_new(Node::Bytes)
    }

    // The memo.

    fn get(&mut self, index: u32) -> Result<(), Problem> {
        match self.memo.get(&index) {
            Some(&id) => self.push(id),
            None => Err(self.fault("the memo is asked for something that was not put there")),
        }
    }

    fn put(&mut self, index: u32) -> Result<(), Problem> {
        if self.memo.len() == limits::NODES {
            return Err(too_large("memo entries of a pickle", limits::NODES));
        }
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    // The stack. Nothing below the last mark can be reached.

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn empty_stack(&self) -> Problem {
        self.fault("the stack holds fewer values than the instruction takes")
    }

    fn push(&mut self, id: Id) -> Result<(), Problem> {
        if self.stack.len() == limits::NODES {
            return Err(too_large("values on the stack of a pickle", limits::NODES));
        }
        self.stack.push(id);
        Ok(())
    }

    fn push_new(&mut self, node: Node<'a>) -> Result<(), Problem> {
        let id = self.make(node)?;
        self.push(id)
    }

    fn top(&self) -> Result<Id, Problem> {
        if self.stack.len() == self.floor() {
            return Err(self.empty_stack());
        }
        self.stack.last().copied().ok_or_else(|| self.empty_stack())
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let mark = self.marks.pop().ok_or_else(|| self.fault("no mark was set"))?;
        Ok(self.stack.split_off(mark))
    }

    // The bytes.

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length).ok_or(Problem::EndsEarly {
            offset: self.at as u64,
            need: length as u64,
            have: rest.len() as u64,
        })?;
        self.at += length;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    fn length4(&mut self) -> Result<usize, Problem> {
        // Some lengths are signed; a negative one is read as one beyond any file.
        self.u32().map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn length8(&mut self) -> Result<usize, Problem> {
        self.array().map(|length| usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, Problem> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or(Problem::EndsEarly {
            offset: self.at as u64,
            need: rest.len() as u64 + 1,
            have: rest.len() as u64,
        })?;
        let line = self.take(length)?;
        self.at += 1;
        str::from_utf8(line).map_err(|_| self.fault("a name that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests;
