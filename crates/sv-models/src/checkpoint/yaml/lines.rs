//! The lines of a document that say something, brackets closed: a list that goes on below is one line.

use super::{YamlProblem, malformed};

/// A line without its indentation and comment.
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// Spaces before it.
    pub(super) indent: usize,
    pub(super) text: String,
}

impl Line {
    /// Whether it is an item of a list.
    pub(super) fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

pub(super) fn split(text: &str) -> Result<Vec<Line>, YamlProblem> {
    let mut lines: Vec<Line> = Vec::new();
    // Brackets that the last line has left open.
    let mut open = 0_usize;
    for (index, raw) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let number = index + 1;
        let (content, opened, closed) = without_comment(raw);
        let content = content.trim_end();
        let indent = content.len() - content.trim_start_matches(' ').len();
        let content = &content[indent..];
        if content.is_empty() || (content == "---" && lines.is_empty()) {
            continue;
        }
        if content.starts_with('\t') {
            return Err(YamlProblem::Unsupported { line: number, what: "tabs for indentation" });
        }
        if indent == 0 && (matches!(content, "---" | "...") || content.starts_with('%')) {
            return Err(YamlProblem::Unsupported { line: number, what: "directives and further documents" });
        }
        match lines.last_mut().filter(|_| open > 0) {
            Some(line) => {
                line.text.push(' ');
                line.text.push_str(content);
            }
            None => lines.push(Line { number, indent, text: content.to_owned() }),
        }
        open = (open + opened)
            .checked_sub(closed)
            .ok_or_else(|| malformed(number, "a bracket closes that none opened"))?;
    }
    match lines.last() {
        Some(line) if open > 0 => Err(malformed(line.number, "a bracket is not closed")),
        _ => Ok(lines),
    }
}

/// A line up to its comment, and how many brackets open and close in it, quoted text aside. Quotes count where a value may begin.
fn without_comment(line: &str) -> (&str, usize, usize) {
    let (mut opened, mut closed) = (0, 0);
    let mut quote = None;
    let mut before = ' ';
    let mut characters = line.char_indices();
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (Some('"'), '\\') => drop(characters.next()),
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '#') if before.is_whitespace() => return (&line[..at], opened, closed),
            (None, '"' | '\'') if matches!(before, ' ' | '[' | '{' | ',') => quote = Some(c),
            (None, '[' | '{') => opened += 1,
            (None, ']' | '}') => closed += 1,
            _ => {}
        }
        before = c;
    }
    (line, opened, closed)
}

/// The key of `key: value` and what follows it, or `None` where the line is none.
pub(super) fn split_key(text: &str) -> Option<(String, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let end = text[1..].find(quote)? + 1;
        let rest = text[end + 1..].trim_start().strip_prefix(':')?;
        return Some((text[1..end].to_owned(), rest.trim_start()));
    }
    let (key, rest) = text.split_once(": ").or_else(|| Some((text.strip_suffix(':')?, "")))?;
    let sound = !key.is_empty() && !key.starts_with(['!', '&', '*', '[', '{', '|', '>', '%', '@', '`', '#', '?']);
    sound.then(|| (key.trim_end().to_owned(), rest.trim_start()))
}
