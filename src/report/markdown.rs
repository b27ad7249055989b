//! Pages of text on a terminal: the small part of Markdown that pages use. A table becomes one block per row, since its
//! columns rarely fit.

use super::{Style, wrap};

/// Headings, paragraphs, lists and tables, wrapped; code is left as it is.
pub fn render(style: &Style, source: &str) -> String {
    let width = style.text_width();
    let mut text = String::new();
    let mut paragraph = String::new();
    let mut code = false;
    let mut columns: Vec<&str> = Vec::new();
    for line in source.lines() {
        if line.trim_start().starts_with("```") {
            flush(style, &mut paragraph, &mut text, width);
            code = !code;
            continue;
        }
        if code {
            text.push_str(&format!("    {line}\n"));
            continue;
        }
        let trimmed = line.trim();
        if !trimmed.starts_with('|') {
            columns.clear();
        }
        if let Some(heading) = trimmed.strip_prefix('#') {
            flush(style, &mut paragraph, &mut text, width);
            text.push_str(&format!("{}\n", style.strong(heading.trim_start_matches('#').trim())));
        } else if trimmed.is_empty() {
            flush(style, &mut paragraph, &mut text, width);
            if !text.ends_with("\n\n") && !text.is_empty() {
                text.push('\n');
            }
        } else if trimmed.starts_with('|') {
            flush(style, &mut paragraph, &mut text, width);
            let cells: Vec<&str> = trimmed.trim_matches('|').split('|').map(str::trim).collect();
            if columns.is_empty() {
                columns = cells;
            } else if !trimmed.contains("---") {
                text.push_str(&row(style, &columns, &cells, width));
            }
        } else {
            if is_item(trimmed) {
                flush(style, &mut paragraph, &mut text, width);
            }
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(trimmed);
        }
    }
    flush(style, &mut paragraph, &mut text, width);
    text
}

/// The first cell as a heading, the others behind their columns' names.
fn row(style: &Style, columns: &[&str], cells: &[&str], width: usize) -> String {
    let mut text = String::new();
    for (number, (column, cell)) in columns.iter().zip(cells).enumerate() {
        match number {
            0 => text.push_str(&emphasise(style, &wrap(cell, 2, width))),
            _ if cell.is_empty() => {}
            _ => {
                let wrapped = wrap(&format!("{column}: {cell}"), 6, width);
                text.push_str(&emphasise(style, wrapped.get(2..).unwrap_or(&wrapped)));
            }
        }
    }
    text
}

fn is_item(line: &str) -> bool {
    let number = line.split_once(". ").is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    line.starts_with("- ") || line.starts_with("* ") || number
}

fn flush(style: &Style, paragraph: &mut String, text: &mut String, width: usize) {
    if paragraph.is_empty() {
        return;
    }
    let mark = if is_item(paragraph) { paragraph.find(' ').map_or(0, |at| at + 1) } else { 0 };
    let (mark, words) = paragraph.split_at(mark);
    let wrapped = wrap(words, 2 + mark.len(), width);
    text.push_str(&format!("  {mark}{}", emphasise(style, wrapped.trim_start())));
    paragraph.clear();
}

/// `**bold**` becomes bold; `code` keeps its marks, so that it can be told from prose without colours.
fn emphasise(style: &Style, text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.split("**").enumerate() {
        if number % 2 == 1 { out.push_str(&style.strong(part)) } else { out.push_str(part) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Style, render};

    #[test]
    fn wraps_prose_and_leaves_code_alone() {
        let source = "## Fix\nOne line\nand one more.\n\n- first item\n- second\n\n```\ncode   stays\n```\n";
        let plain = anstream::adapter::strip_str(&render(&Style { width: Some(80) }, source)).to_string();
        assert_eq!(plain, "Fix\n  One line and one more.\n\n  - first item\n  - second\n\n    code   stays\n");
    }

    #[test]
    fn a_long_word_stays_with_its_mark_and_tables_become_blocks() {
        let long = "x".repeat(90);
        let source = format!("- {long}\n\n| maker | Intel | AMD |\n| --- | --- | --- |\n| A | menu > VT-d | |\n");
        let plain = anstream::adapter::strip_str(&render(&Style { width: Some(80) }, &source)).to_string();
        assert_eq!(plain, format!("  - {long}\n\n  A\n    Intel: menu > VT-d\n"));
    }
}
