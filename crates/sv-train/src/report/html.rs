//! A report as one HTML page that needs no other file: plots inline, its own style, no script, nothing fetched.

use super::content::{Block, Content};

const STYLE: &str = "
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.2rem 4rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.08rem; margin: 2rem 0 .4rem; }
.note { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .94rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #e2e2e2; min-width: 4rem; }
.short { white-space: nowrap; }
.wide { min-width: 54rem; }
th { border-bottom: 2px solid #999; font-weight: 600; }
figure { margin: 1.4rem 0; }
figure svg { display: block; max-width: 100%; min-width: 34rem; height: auto; }
figcaption { color: #555; font-size: .9rem; margin-top: .3rem; }
@media print { figure, tr { break-inside: avoid; } }
";

/// The page.
pub(super) fn html(content: &Content) -> String {
    let title = escaped(&content.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for block in &content.blocks {
        out += &match block {
            Block::Heading(level, text) => format!("<h{level}>{}</h{level}>\n", escaped(text)),
            Block::Paragraph(text) => format!("<p>{}</p>\n", escaped(text)),
            Block::Warning(text) => format!("<p class=\"note\"><strong>Note.</strong> {}</p>\n", escaped(text)),
            Block::Table { head, rows } => table(head, rows),
            Block::Figure(figure) => format!(
                "<figure>\n<div class=\"scroll\">\n{}</div>\n<figcaption>{}</figcaption>\n</figure>\n",
                figure.svg,
                escaped(&figure.caption)
            ),
            Block::List(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escaped(item))).collect();
                format!("<ul>\n{items}</ul>\n")
            }
        };
    }
    out + "</body>\n</html>\n"
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    // Figures stay on one line; a table of many columns is pushed aside on a phone rather than pressed together.
    let width = if head.len() > 3 { " class=\"wide\"" } else { "" };
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", row.iter().map(|text| cell("td", text)).collect::<String>()))
        .collect();
    let head: String = head.iter().map(|text| cell("th", text)).collect();
    format!(
        "<div class=\"scroll\">\n<table{width}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )
}

fn cell(tag: &str, text: &str) -> String {
    let class = if text.chars().count() <= 20 { " class=\"short\"" } else { "" };
    format!("<{tag}{class}>{}</{tag}>", escaped(text))
}

/// Text that stands in an element or in a quoted attribute as what it is.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
