//! The YAML of foreign models, read as data: the subset that SpeechBrain's and WeSpeaker's files use, and nothing that runs.
//!
//! Read: maps by indentation, lists of `-` items and in brackets, maps in braces, plain and quoted scalars, comments. HyperPyYAML's tags
//! `!new:CLASS`, `!name:CLASS` and `!ref TEXT` are kept as what they say. Refused by name: `!apply:` and every other tag, anchors,
//! block scalars, several documents. Sizes and depth are bounded.

mod flow;
mod lines;

use lines::{Line, split_key};

/// Longest text that is read, in bytes: real ones take 2 to 10 KiB.
pub(crate) const LARGEST: u64 = 1 << 20;
/// Most values of all kinds.
const NODES: usize = 100_000;
/// Most collections inside each other.
const DEPTH: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// Nothing, a number, a flag or a text. What is quoted is text.
    Scalar { text: String, quoted: bool },
    /// Values in order.
    List(Vec<Yaml>),
    /// Keys, each once, in the file's order.
    Map(Vec<(String, Yaml)>),
    /// `!new:CLASS` or `!name:CLASS` and what stands below or beside it. Never made.
    Class { name: String, arguments: Box<Yaml> },
    /// `!ref TEXT`.
    Reference(String),
}

/// Why a YAML file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamlProblem {
    /// A tag that would run something, or that is not known.
    #[error("line {line}: refused: the tag {tag:?} is none of `!new:`, `!name:`, `!ref`; nothing was run")]
    Tag {
        /// The line, from 1.
        line: usize,
        /// The tag, its beginning.
        tag: String,
    },
    /// A part of YAML that no known model's file uses.
    #[error("line {line}: {what} are not read; write the value out in one line")]
    Unsupported {
        /// The line, from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
    /// The text is not YAML, or not of the subset that is read.
    #[error("line {line}: {fault}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What does not fit.
        fault: &'static str,
    },
    /// A key stands twice in one map.
    #[error("line {line}: the key {key:?} stands twice")]
    Twice {
        /// The line of the second, from 1.
        line: usize,
        /// The key, its beginning.
        key: String,
    },
    /// More values, or deeper, than any model's file.
    #[error("line {line}: more than {limit} {what}; this is no model's file")]
    TooLarge {
        /// The line, from 1.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// How much is read.
        limit: usize,
    },
}

impl Yaml {
    const NULL: Self = Self::Scalar { text: String::new(), quoted: false };

    /// Reads a document; an empty one is an empty map.
    pub(crate) fn parse(text: &str) -> Result<Self, YamlProblem> {
        let lines = lines::split(text)?;
        if lines.is_empty() {
            return Ok(Self::Map(Vec::new()));
        }
        let mut parser = Parser { lines, at: 0, nodes: 0 };
        let root = parser.block(0)?;
        match parser.lines.get(parser.at) {
            None => Ok(root),
            Some(line) => Err(malformed(line.number, "the indentation fits none of the lines above")),
        }
    }

    /// The value of a key, of a map or of a class's arguments.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Keys and values of a map or of a class's arguments; none for anything else.
    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            Self::Class { arguments, .. } => arguments.entries(),
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self.plain()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    /// A finite number.
    pub(crate) fn number(&self) -> Option<f64> {
        let text = self.plain()?;
        let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        text.parse().ok().filter(|value: &f64| numeric && value.is_finite())
    }

    /// A scalar as text, quoted or not.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn plain(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, quoted: false } => Some(text),
            _ => None,
        }
    }
}

fn malformed(line: usize, fault: &'static str) -> YamlProblem {
    YamlProblem::Malformed { line, fault }
}

struct Parser {
    lines: Vec<Line>,
    at: usize,
    nodes: usize,
}

impl Parser {
    /// The list or map whose first line is the current one, or the scalar that stands alone there.
    fn block(&mut self, depth: usize) -> Result<Yaml, YamlProblem> {
        let Line { indent, number, .. } = self.lines[self.at];
        if depth > DEPTH {
            return Err(YamlProblem::TooLarge { line: number, what: "levels", limit: DEPTH });
        }
        if self.lines[self.at].is_item() { self.list(indent, depth) } else { self.map(indent, depth) }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Yaml, YamlProblem> {
        let mut items = Vec::new();
        while let Some(line) = self.lines.get_mut(self.at).filter(|line| line.indent == indent && line.is_item()) {
            let rest = line.text[1..].trim_start().to_owned();
            let begins_block =
                rest.starts_with("- ") || rest == "-" || (split_key(&rest).is_some() && !rest.starts_with('{'));
            if begins_block {
                // What follows the dash is the first line of a block of its own, further in.
                line.indent += line.text.len() - rest.len();
                line.text = rest;
                self.count()?;
                items.push(self.block(depth + 1)?);
            } else {
                self.at += 1;
                items.push(self.value(&rest, indent, depth, false)?);
            }
        }
        Ok(Yaml::List(items))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Yaml, YamlProblem> {
        let mut entries: Vec<(String, Yaml)> = Vec::new();
        // Names that were seen: a search in the entries would take quadratic time.
        let mut seen = std::collections::BTreeSet::new();
        while let Some(line) = self.lines.get(self.at).filter(|line| line.indent == indent) {
            let number = line.number;
            let (key, rest) =
                split_key(&line.text).ok_or_else(|| malformed(number, "neither `key: value` nor `- item`"))?;
            let rest = rest.to_owned();
            if !seen.insert(key.clone()) {
                return Err(YamlProblem::Twice { line: number, key: super::problem::shown(&key) });
            }
            self.at += 1;
            let value = self.value(&rest, indent, depth, true)?;
            entries.push((key, value));
        }
        Ok(Yaml::Map(entries))
    }

    /// What stands behind a key or a dash, or on the lines below it.
    fn value(&mut self, rest: &str, indent: usize, depth: usize, in_map: bool) -> Result<Yaml, YamlProblem> {
        self.count()?;
        let number = self.lines[self.at - 1].number;
        if let Some(tag) = flow::tag(rest, number)? {
            return match tag {
                flow::Tag::Reference(text) => Ok(Yaml::Reference(text)),
                flow::Tag::Class { name, rest: "" } => {
                    let arguments = Box::new(self.below(indent, depth, in_map)?);
                    Ok(Yaml::Class { name, arguments })
                }
                flow::Tag::Class { name, rest } => {
                    let arguments = Box::new(flow::parse(rest, number, depth, &mut self.nodes)?);
                    Ok(Yaml::Class { name, arguments })
                }
            };
        }
        if rest.is_empty() {
            self.below(indent, depth, in_map)
        } else {
            flow::parse(rest, number, depth, &mut self.nodes)
        }
    }

    /// The block further in that follows, or nothing. A list below a key may stand as far out as the key.
    fn below(&mut self, indent: usize, depth: usize, in_map: bool) -> Result<Yaml, YamlProblem> {
        match self.lines.get(self.at) {
            Some(line) if line.indent > indent || (in_map && line.indent == indent && line.is_item()) => {
                self.block(depth + 1)
            }
            _ => Ok(Yaml::NULL),
        }
    }

    fn count(&mut self) -> Result<(), YamlProblem> {
        let line = self.lines[self.at.min(self.lines.len() - 1)].number;
        count(&mut self.nodes, line)
    }
}

/// Counts one value more.
fn count(nodes: &mut usize, line: usize) -> Result<(), YamlProblem> {
    *nodes += 1;
    if *nodes > NODES { Err(YamlProblem::TooLarge { line, what: "values", limit: NODES }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
