//! Pages of text on a terminal: the small part of Markdown that pages use.

use super::{Style, wrap};

/// Headings, paragraphs, lists, code blocks and quotes, wrapped; tables and code are left as they are.
pub fn render(style: &Style, source: &str) -> String {
    let width = style.text_width();
    let mut text = String::new();
    let mut paragraph = String::new();
    let mut code = false;
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
            text.push_str(&format!("  {trimmed}\n"));
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

fn is_item(line: &str) -> bool {
    let number = line.split_once(". ").is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    line.starts_with("- ") || line.starts_with("* ") || number
}

fn flush(style: &Style, paragraph: &mut String, text: &mut String, width: usize) {
    if paragraph.is_empty() {
        return;
    }
    let hanging = if is_item(paragraph) { paragraph.find(' ').map_or(0, |at| at + 1) } else { 0 };
    let wrapped = wrap(paragraph, 2 + hanging, width);
    // The first line of a list item hangs out by its mark.
    let first = if hanging > 0 { wrapped.get(hanging..).unwrap_or(&wrapped) } else { &wrapped };
    text.push_str(&emphasise(style, first));
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
}
