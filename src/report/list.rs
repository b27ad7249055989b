//! The table of `list`.

use super::{Short, Style, cut, name_and_parts, plain};
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::host::Fact;
use std::collections::BTreeMap;
use unicode_width::UnicodeWidthStr;

/// One line per function, then the signs that were used, explained.
pub fn table(style: &Style, snap: &Snapshot, functions: &[&Function]) -> String {
    let short = Short::of(&snap.pci);
    let groups = snap.pci.by_group();
    let mut signs = Signs::default();
    let mut rows: Vec<[String; 7]> =
        vec![["ADDRESS", "ID", "GROUP", "DRIVER", "RESET", "NODE", "NAME"].map(str::to_owned)];
    for function in functions {
        rows.push([
            short.show(&function.address) + signs.display(function),
            function.ids.known().map_or_else(|| "?".to_owned(), ToString::to_string),
            group(&groups, function, &mut signs),
            plain(&fact(&function.driver)),
            reset(function),
            fact(&function.numa_node),
            name_and_parts(function, usize::MAX),
        ]);
    }
    // A host with one node, or none named, needs no column for it.
    if functions.iter().all(|f| !matches!(f.numa_node, Fact::Known(node) if node > 0)) {
        for row in &mut rows {
            row[5].clear();
        }
    }
    if let Some(columns) = style.width {
        let room = columns.saturating_sub(before_names(&rows)).max(12);
        for (row, function) in rows.iter_mut().skip(1).zip(functions) {
            row[6] = name_and_parts(function, room);
        }
    }
    align(style, &rows) + &signs.legend(style)
}

fn fact<T: ToString>(fact: &Fact<T>) -> String {
    match fact {
        Fact::Known(value) => value.to_string(),
        Fact::Absent => "-".to_owned(),
        Fact::Unknown(_) => "?".to_owned(),
    }
}

fn reset(function: &Function) -> String {
    match &function.reset_methods {
        Fact::Known(methods) => methods.first().cloned().unwrap_or_else(|| "yes".to_owned()),
        Fact::Absent => "-".to_owned(),
        Fact::Unknown(_) => "?".to_owned(),
    }
}

fn group(groups: &BTreeMap<u32, Vec<&Function>>, function: &Function, signs: &mut Signs) -> String {
    let Some(number) = function.group.known() else { return fact(&function.group) };
    let shared = groups
        .get(number)
        .is_some_and(|all| all.iter().any(|f| !f.is_bridge() && !f.address.same_slot(&function.address)));
    signs.shared |= shared;
    format!("{number}{}", if shared { "+" } else { "" })
}

#[derive(Default)]
struct Signs {
    shared: bool,
    display: bool,
}

impl Signs {
    fn display(&mut self, function: &Function) -> &'static str {
        let shown = function.boot_display == Fact::Known(true);
        self.display |= shown;
        if shown { "*" } else { "" }
    }

    fn legend(&self, style: &Style) -> String {
        let mut text = String::new();
        if self.display {
            text += "* boot display: the host's console and firmware show on it\n";
        }
        if self.shared {
            text += "+ the IOMMU group holds other devices too: `vfioneer explain group N`\n";
        }
        if text.is_empty() { text } else { style.faint(text.trim_end()) + "\n" }
    }
}

/// Columns of the table up to the last one.
fn before_names(rows: &[[String; 7]]) -> usize {
    let widest = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let shown = |column: &usize| rows.iter().skip(1).any(|row| !row[*column].is_empty());
    (0..6).filter(shown).map(|column| widest(column) + 2).sum()
}

fn align(style: &Style, rows: &[[String; 7]]) -> String {
    let mut widths = [0usize; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if rows.iter().skip(1).all(|row| row[5].is_empty()) {
        widths[5] = 0;
    }
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if width == 0 {
                continue;
            }
            line.push_str(cell);
            if column < 6 {
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
        }
        let line = style.width.map_or(line.clone(), |columns| cut(&line, columns));
        let line = line.trim_end();
        text.push_str(&if number == 0 { style.strong(line) } else { line.to_owned() });
        text.push('\n');
    }
    text
}
