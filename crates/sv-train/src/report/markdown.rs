//! A report as Markdown, its plots linked.

use std::fmt::Write as _;

use super::content::{Block, Content};

/// The report's text; plots are at `plots/` beside it.
pub(super) fn markdown(content: &Content) -> String {
    let mut out = format!("# {}\n", escaped(&content.title));
    for block in &content.blocks {
        out.push('\n');
        match block {
            Block::Heading(level, text) => {
                push(&mut out, &["#".repeat(usize::from(*level)), " ".into(), escaped(text)])
            }
            Block::Paragraph(text) => push(&mut out, &[escaped(text)]),
            Block::Warning(text) => push(&mut out, &["> **Note.** ".into(), escaped(text)]),
            Block::Table { head, rows } => {
                push(&mut out, &[row(head.iter().map(|cell| escaped(cell)))]);
                push(&mut out, &[row(head.iter().map(|_| "---".to_string()))]);
                for cells in rows {
                    push(&mut out, &[row(cells.iter().map(|cell| escaped(cell)))]);
                }
            }
            Block::Figure(figure) => {
                let caption = escaped(&figure.caption);
                // Writing to a string cannot fail.
                let _ = writeln!(out, "![{caption}](plots/{})\n\n*{caption}*", figure.file);
            }
            Block::List(items) => items.iter().for_each(|item| push(&mut out, &["- ".into(), escaped(item)])),
        }
    }
    out
}

fn push(out: &mut String, parts: &[String]) {
    out.extend(parts.iter().map(String::as_str));
    out.push('\n');
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// Text that Markdown leaves as it is: on one line, without marks, links, tags or cells.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    // A number or a hyphen in front would begin a list.
    let trimmed = out.trim();
    if trimmed.starts_with(['-', '+', '=']) { format!("\\{trimmed}") } else { trimmed.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_names_stay_text() {
        for (text, want) in [
            ("a|b", "a\\|b"),
            ("<script>", "&lt;script&gt;"),
            ("[x](javascript:y)", "\\[x\\](javascript:y)"),
            ("two\nlines\r\n# head", "two lines  \\# head"),
            ("- item", "\\- item"),
            ("`*_~\\", "\\`\\*\\_\\~\\\\"),
            ("&amp;", "&amp;amp;"),
        ] {
            assert_eq!(escaped(text), want);
        }
    }
}
