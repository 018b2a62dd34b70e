//! Values within a line: scalars, lists in brackets, maps in braces, tags.

use super::{DEPTH, Yaml, YamlProblem, count, malformed};
use crate::checkpoint::problem::shown;

/// A tag at the start of a value, and what follows it.
pub(super) enum Tag<'a> {
    Class { name: String, rest: &'a str },
    Reference(String),
}

/// The tag that a value begins with, if it does.
pub(super) fn tag(text: &str, line: usize) -> Result<Option<Tag<'_>>, YamlProblem> {
    if !text.starts_with('!') {
        return Ok(None);
    }
    let (tag, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    if tag == "!ref" {
        return Ok(Some(Tag::Reference(rest.to_owned())));
    }
    match tag.strip_prefix("!new:").or_else(|| tag.strip_prefix("!name:")) {
        Some(name) if !name.is_empty() => Ok(Some(Tag::Class { name: name.to_owned(), rest })),
        _ => Err(YamlProblem::Tag { line, tag: shown(tag) }),
    }
}

/// The one value that `text` is.
pub(super) fn parse(text: &str, line: usize, depth: usize, nodes: &mut usize) -> Result<Yaml, YamlProblem> {
    if !text.starts_with(['[', '{', '"', '\'']) {
        return plain(text, line);
    }
    let mut flow = Flow { rest: text, line, nodes };
    let value = flow.value(depth)?;
    if flow.rest.trim_start().is_empty() {
        Ok(value)
    } else {
        Err(malformed(line, "text follows the end of the value"))
    }
}

fn plain(text: &str, line: usize) -> Result<Yaml, YamlProblem> {
    let what = match text.chars().next() {
        Some('|' | '>') => "texts over several lines",
        Some('&' | '*') => "anchors and aliases",
        Some('%' | '@' | '`' | '?') => "reserved characters at the start of a value",
        _ => return Ok(Yaml::Scalar { text: text.trim_end().to_owned(), quoted: false }),
    };
    Err(YamlProblem::Unsupported { line, what })
}

struct Flow<'a, 'n> {
    rest: &'a str,
    line: usize,
    nodes: &'n mut usize,
}

impl<'a> Flow<'a, '_> {
    fn value(&mut self, depth: usize) -> Result<Yaml, YamlProblem> {
        if depth > DEPTH {
            return Err(YamlProblem::TooLarge { line: self.line, what: "levels", limit: DEPTH });
        }
        count(self.nodes, self.line)?;
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('[') => self.list(depth),
            Some('{') => self.map(depth),
            Some(quote @ ('"' | '\'')) => Ok(Yaml::Scalar { text: self.quoted(quote)?, quoted: true }),
            Some('!') => {
                let text = self.until(&[',', ']', '}']);
                match tag(text.trim_end(), self.line)? {
                    Some(Tag::Reference(text)) => Ok(Yaml::Reference(text)),
                    Some(Tag::Class { name, rest: "" }) => Ok(Yaml::Class { name, arguments: Box::new(Yaml::NULL) }),
                    _ => Err(malformed(self.line, "a class within brackets takes no arguments here")),
                }
            }
            _ => plain(self.until(&[',', ']', '}']).trim_end(), self.line),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Yaml, YamlProblem> {
        let mut items = Vec::new();
        self.skip();
        while !self.ends(']')? {
            items.push(self.value(depth + 1)?);
            self.comma(']')?;
        }
        Ok(Yaml::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Yaml, YamlProblem> {
        let mut entries: Vec<(String, Yaml)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        self.skip();
        while !self.ends('}')? {
            let key = match self.rest.chars().next() {
                Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
                _ => self.until(&[':', ',', '}']).trim_end().to_owned(),
            };
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with(':') {
                return Err(malformed(self.line, "an entry in braces is no `key: value`"));
            }
            self.skip();
            if !seen.insert(key.clone()) {
                return Err(YamlProblem::Twice { line: self.line, key: shown(&key) });
            }
            entries.push((key, self.value(depth + 1)?));
            self.comma('}')?;
        }
        Ok(Yaml::Map(entries))
    }

    /// Leaves out one character of a byte.
    fn skip(&mut self) {
        self.rest = &self.rest[1..];
    }

    /// Whether the collection ends here; its bracket is left out then.
    fn ends(&mut self, bracket: char) -> Result<bool, YamlProblem> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Err(malformed(self.line, "a bracket is not closed"));
        }
        let ends = self.rest.starts_with(bracket);
        if ends {
            self.skip();
        }
        Ok(ends)
    }

    /// What stands between two values: a comma, or the end.
    fn comma(&mut self, bracket: char) -> Result<(), YamlProblem> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(',') {
            self.skip();
            Ok(())
        } else if self.rest.starts_with(bracket) {
            Ok(())
        } else {
            Err(malformed(self.line, "a comma or the closing bracket is missing"))
        }
    }

    fn until(&mut self, ends: &[char]) -> &'a str {
        let (text, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        text
    }

    /// The text between quotes. In double ones a backslash keeps what follows it; other escapes are not read.
    fn quoted(&mut self, quote: char) -> Result<String, YamlProblem> {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices();
        while let Some((at, c)) = characters.next() {
            let rest = &self.rest[1 + at + c.len_utf8()..];
            match c {
                '\\' if quote == '"' => match characters.next() {
                    Some((_, kept @ ('"' | '\\' | '/'))) => text.push(kept),
                    _ => return Err(YamlProblem::Unsupported { line: self.line, what: "escapes in quoted texts" }),
                },
                // A single quote is written twice within single quotes.
                '\'' if quote == '\'' && rest.starts_with('\'') => {
                    characters.next();
                    text.push('\'');
                }
                _ if c == quote => {
                    self.rest = rest;
                    return Ok(text);
                }
                _ => text.push(c),
            }
        }
        Err(malformed(self.line, "a quote is not closed"))
    }
}
