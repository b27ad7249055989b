//! `vfioneer explain`: the page of a finding, symptom or term, or the story of an IOMMU group.

use super::{Answer, Global};
use crate::checks;
use crate::checks::pages::{self, Page};
use crate::error::{Error, Result};
use crate::facts::Needs;
use crate::facts::pasted;
use crate::goal::Goal;
use crate::report::{self, markdown, plain};
use clap::Args;
use serde_json::json;

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A finding's id, a symptom, a message, a term, or `group N`; nothing: all pages
    #[arg(value_name = "ID|SYMPTOM|MESSAGE|group N")]
    topic: Vec<String>,
}

pub(super) fn run(global: &Global, args: &ExplainArgs) -> Result<Answer> {
    let query = args.topic.join(" ");
    if let Some(group) = query.strip_prefix("group ").and_then(|n| n.trim().parse::<u32>().ok()) {
        return explain_group(global, group);
    }
    let found = if query.trim().is_empty() { pages::all() } else { pages_about(&query) };
    let exact = found.first().filter(|page| found.len() == 1 || page.id == query.trim());
    match (exact, found.is_empty()) {
        (Some(page), _) => Ok(Answer::yes(show(global, page))),
        (None, true) => Err(Error::usage(format!("no page about {query:?}"))
            .hint("`vfioneer explain` lists all pages")
            .hint("a message of the kernel or the hypervisor: `vfioneer check --log -`, and paste it")),
        (None, false) => {
            let near = !query.trim().is_empty() && !global.json && !found.iter().any(|p| pages::is_name(p, &query));
            let first = if near {
                format!("No page is about {:?} itself. The nearest:\n\n", plain(&query))
            } else {
                String::new()
            };
            Ok(Answer::yes(first + &index(global, &found)))
        }
    }
}

/// The page of the finding that a whole message leads to; else the pages that the words may mean.
fn pages_about(query: &str) -> Vec<Page> {
    if query.split_whitespace().count() >= MESSAGE_WORDS {
        let findings = checks::run(&pasted::snapshot("message", query), &Goal::default());
        let told = findings.iter().find(|finding| !SAYS_NOTHING.contains(&finding.id));
        if let Some(page) = told.and_then(|finding| pages::page(finding.id)) {
            return vec![page];
        }
    }
    pages::find(query)
}

/// From so many words on, a query is tried as a message of the kernel or a hypervisor.
const MESSAGE_WORDS: usize = 4;

/// Findings that say that a text was not understood, or that something failed without saying why.
const SAYS_NOTHING: &[&str] = &["message-unknown", "nothing-recognised", "vm-start-failed"];

fn show(global: &Global, page: &Page) -> String {
    if global.json {
        let document = json!({
            "schema": "vfioneer/explain/1", "id": page.id, "title": page.head("title"), "text": page.body.trim(),
        });
        return format!("{document:#}\n");
    }
    let style = global.style();
    format!(
        "{}  {}\n\n{}",
        style.strong(page.id),
        page.head("title"),
        markdown::render(&style, page.body.trim_start_matches('\n'))
    )
}

fn index(global: &Global, pages: &[Page]) -> String {
    if global.json {
        let rows: Vec<_> = pages.iter().map(|page| json!({ "id": page.id, "title": page.head("title") })).collect();
        return format!("{:#}\n", json!({ "schema": "vfioneer/explain-index/1", "pages": rows }));
    }
    let style = global.style();
    let widest = pages.iter().map(|page| page.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for page in pages {
        let gap = " ".repeat(widest - page.id.len() + 2);
        let line = format!("{}{gap}{}", page.id, page.head("title"));
        text.push_str(&style.width.map_or(line.clone(), |columns| report::cut(&line, columns)));
        text.push('\n');
    }
    text + "\nRead one: vfioneer explain ID\n"
}

fn explain_group(global: &Global, group: u32) -> Result<Answer> {
    let snap = global.snapshot(Needs { pci_details: true, ..Needs::LIST })?;
    if snap.pci.group(group).next().is_none() {
        let mut error = Error::usage(format!("this host has no IOMMU group {group}"));
        let mut groups: Vec<u32> = snap.pci.functions.iter().filter_map(|f| f.group.known().copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        error = match (groups.first(), groups.last()) {
            (Some(first), Some(last)) => error.hint(format!("it has {} groups, {first} to {last}", groups.len())),
            _ => error.hint("it has no IOMMU groups at all: `vfioneer check` says why"),
        };
        return Err(error);
    }
    if global.json {
        return Ok(Answer::yes(report::group::json(&snap, group)));
    }
    Ok(Answer::yes(report::group::text(&global.style(), &snap, group)))
}
