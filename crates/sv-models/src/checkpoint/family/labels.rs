//! SpeechBrain's `label_encoder.txt`: lines `'label' => index`, a line of equals signs, then what is no label.

use crate::LabelProblem;
use crate::checkpoint::problem::shown;

/// The labels in the order of their indices.
pub(super) fn parse(text: &str) -> Result<Vec<String>, LabelProblem> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.len() >= 8 && line.bytes().all(|byte| byte == b'=') {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let line_number = index + 1;
        let entry = entry(line).ok_or_else(|| LabelProblem::Line { line: line_number, text: shown(line) })?;
        entries.push((line_number, entry));
    }
    let count = entries.len();
    let mut labels: Vec<Option<String>> = vec![None; count];
    for (line, (label, index)) in entries {
        match labels.get_mut(index) {
            Some(slot @ None) => *slot = Some(label),
            _ => return Err(LabelProblem::Index { line, index, count }),
        }
    }
    // As many entries as places, none taken twice: all are filled.
    Ok(labels.into_iter().flatten().collect())
}

/// A text in Python's quotes, ` => `, a number.
fn entry(line: &str) -> Option<(String, usize)> {
    let (label, index) = line.trim().rsplit_once(" => ")?;
    let quote = label.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let label = label[1..].strip_suffix(quote)?;
    let mut text = String::new();
    let mut characters = label.chars();
    while let Some(c) = characters.next() {
        match c {
            // Python writes other characters as they are, or in ways that no label needs.
            '\\' => text.push(characters.next().filter(|c| matches!(c, '\\' | '"' | '\''))?),
            _ if c == quote => return None,
            _ => text.push(c),
        }
    }
    Some((text, index.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_put_in_the_order_of_their_indices() {
        let text = "'b' => 1\n\"it's\" => 0\n'c \\' => d' => 2\n================\n'starting_index' => 0\n";
        assert_eq!(parse(text).unwrap(), ["it's", "b", "c ' => d"]);
    }

    #[test]
    fn what_is_no_label_or_has_no_place_is_named_with_its_line() {
        assert!(matches!(parse("'a' => 0\nb => 1\n"), Err(LabelProblem::Line { line: 2, .. })));
        assert!(matches!(parse("'a' = 0\n"), Err(LabelProblem::Line { line: 1, .. })));
        assert!(matches!(parse("'a' => -1\n"), Err(LabelProblem::Line { line: 1, .. })));
        assert!(matches!(parse("'a' => 0\n'b' => 0\n"), Err(LabelProblem::Index { line: 2, index: 0, count: 2 })));
        assert!(matches!(parse("'a' => 1\n"), Err(LabelProblem::Index { index: 1, count: 1, .. })));
    }
}
