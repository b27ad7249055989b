//! A plan as text for a terminal, as one unified diff, and as JSON.

use super::{Short, Style, at_host, count, name_within, plain, size, wrap};
use crate::facts::{Origin, Snapshot, own};
use crate::host::Kind;
use crate::plan::Plan;
use crate::plan::guards::Refusal;
use crate::steps::{Action, Content, Product, sha256};
use similar::TextDiff;
use unicode_width::UnicodeWidthStr;

/// `plan --json` and the plan file: `vfioneer/plan/1`.
pub fn json(plan: &Plan) -> String {
    let document = serde_json::to_value(plan).unwrap_or_default();
    format!("{document:#}\n")
}

/// What the report needs to name the command to type next; empty: none is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Next<'a> {
    /// The options that lead to the same host, with a blank behind them.
    pub options: &'a str,
    /// The arguments that lead to the same plan.
    pub arguments: &'a str,
    /// Where the plan was written.
    pub file: Option<&'a str>,
    /// The findings that `--repair` does not mend.
    pub left: &'a [&'a str],
    /// Say why each line of the guides is left out.
    pub verbose: bool,
    /// Show the lines of vfioneer's own scripts, too: the diff is then one that patch takes.
    pub whole: bool,
}

/// The plan for a person.
pub fn text(style: &Style, snap: &Snapshot, plan: &Plan, next: &Next<'_>) -> String {
    let mut text = devices(style, snap, plan);
    if !plan.refused.is_empty() {
        text.push_str(&refused(style, plan));
        return text;
    }
    text.push_str(&words(style, plan));
    text.push_str(&steps(style, plan));
    let diff = diff(plan, next.whole);
    if !diff.is_empty() {
        text.push_str(&format!("\n{}\n{}", style.strong("Changes"), shown(style, &diff)));
    }
    if !plan.manual.is_empty() {
        text.push_str(&format!("\n{}\n", style.warning("To do by hand: vfioneer does not change this")));
        text.extend(plan.manual.iter().map(|line| by_hand(style, line)));
    }
    if !plan.notes.is_empty() {
        text.push_str(&format!("\n{}\n", style.strong("Notes")));
        text.extend(plan.notes.iter().map(|note| item(style, "- ", &at_host(note, next.options))));
    }
    text.push_str(&left_out(style, plan, next.verbose));
    text.push('\n');
    text.push_str(&what_next(style, snap, plan, next));
    text
}

fn devices(style: &Style, snap: &Snapshot, plan: &Plan) -> String {
    let short = Short::of(&snap.pci);
    let mut text = String::new();
    for address in &plan.devices {
        let Some(function) = snap.pci.get(address) else { continue };
        let driver = function.driver.known().map_or("no driver", String::as_str);
        let address = short.show(address);
        let room = style.text_width().saturating_sub(address.len() + driver.len() + 6);
        let name = name_within(function, room);
        text.push_str(&format!("{}  {name}  ({})\n", style.strong(&address), plain(driver)));
    }
    text
}

fn refused(style: &Style, plan: &Plan) -> String {
    let head = format!("\n{}: nothing is planned, for these reasons.\n", style.error("refused"));
    head + &refusals(style, &plan.refused)
}

/// Refusals with their reasons, and what allows them.
pub(super) fn refusals(style: &Style, all: &[Refusal]) -> String {
    let mut text = String::new();
    for refusal in all {
        text.push_str(&format!("\n{}  {}\n", style.strong(refusal.guard), plain(&refusal.subject)));
        text.push_str(&wrap(&plain(&refusal.reason), 2, style.text_width()));
        if refusal.allowable {
            text.push_str(&format!("  To do it all the same: --allow {}\n", refusal.guard));
        }
    }
    text
}

fn words(style: &Style, plan: &Plan) -> String {
    if plan.words.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", style.strong("Kernel command line"));
    for word in &plan.words {
        let (sign, state) = match (word.done, word.present) {
            (false, true) => ("+", ""),
            (false, false) => ("-", ""),
            (true, true) => ("=", "  (is there)"),
            (true, false) => ("=", "  (is gone)"),
        };
        text.push_str(&format!("  {sign} {}{state}\n", plain(&word.word)));
        text.push_str(&wrap(&plain(&word.why), 6, style.text_width()));
    }
    text
}

fn steps(style: &Style, plan: &Plan) -> String {
    if plan.steps.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", style.strong("Steps"));
    for (number, step) in (1..).zip(&plan.steps) {
        text.push_str(&item(style, &format!("{number:>3}. "), &what(&step.action)));
        text.push_str(&wrap(&plain(&step.why), 7, style.text_width()));
    }
    text
}

fn left_out(style: &Style, plan: &Plan, verbose: bool) -> String {
    if plan.left_out.is_empty() || plan.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", style.strong("What guides have, and this plan has not"));
    if !verbose {
        let lines: Vec<&str> = plan.left_out.iter().map(|line| line.line.as_str()).collect();
        text.push_str(&wrap(&plain(&lines.join(" · ")), 2, style.text_width()));
        text.push_str("  (-v says why)\n");
        return text;
    }
    for line in &plan.left_out {
        text.push_str(&format!("  {}\n", plain(&line.line)));
        text.push_str(&wrap(&plain(&line.why), 6, style.text_width()));
    }
    text
}

/// A paragraph behind a label, its other lines under the first.
fn item(style: &Style, label: &str, text: &str) -> String {
    let indent = label.len() + 2;
    format!("  {label}{}", wrap(&plain(text), indent, style.text_width()).trim_start())
}

/// A line for a person: what is to be typed begins with blanks and stays as it is.
fn by_hand(style: &Style, line: &str) -> String {
    match line.starts_with("  ") {
        true => format!("  {}\n", plain(line)),
        false => wrap(&plain(line), 2, style.text_width()),
    }
}

/// One step in one line.
pub fn what(action: &Action) -> String {
    match action {
        Action::WriteFile { path, before_sha256: None, .. } => format!("write {path} (new)"),
        Action::WriteFile { path, .. } => format!("change {path}"),
        Action::RemoveFile { path, .. } => format!("remove {path}"),
        Action::Generate { argv, output, product } => {
            let kind = match product {
                Product::Image { release, .. } => format!(" for {release}"),
                Product::Unified { release, .. } => format!(" (unified) for {release}"),
                Product::GrubConfig { .. } => String::new(),
            };
            format!("make {output}{kind}: {}", command(argv).replace("{out}", "NEW"))
        }
        Action::Run { argv, .. } => format!("run {}", command(argv)),
        Action::Bind { address, driver, former } => {
            let from = former.as_ref().map(|former| format!(" from {former}")).unwrap_or_default();
            format!("hand {address} over{from} to {driver} now")
        }
        Action::VirtualFunctions { address, count: 0, .. } => {
            format!("take away the virtual functions of {address} now")
        }
        Action::VirtualFunctions { address, count, .. } => {
            format!("have {address} make {count} virtual functions for vfio-pci now")
        }
    }
}

/// A command as a shell takes it; of a script among its arguments, how long it is (the plan's JSON has it whole).
fn command(argv: &[String]) -> String {
    let word = |word: &String| match word.lines().count() {
        0 | 1 => quoted(word),
        lines => format!("(script of {lines} lines)"),
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%={}".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// All changed files as one diff. If `whole`, as `patch -p1 -d /` takes it; else vfioneer's own new scripts, which are the same on every
/// host, are only named.
pub fn diff(plan: &Plan, whole: bool) -> String {
    let mut text = String::new();
    let (mut scripts, mut binaries) = (String::new(), String::new());
    for step in &plan.steps {
        let (path, before, after) = match &step.action {
            Action::WriteFile { path, before_sha256, after: Content::Binary(bytes), .. } => {
                binaries.push_str(&binary(path, before_sha256.is_some(), bytes, whole));
                continue;
            }
            Action::WriteFile { path, before, after: Content::Text(after), .. } => {
                (path, before.as_deref(), Some(after.as_str()))
            }
            Action::RemoveFile { path, before, .. } => (path, Some(before.as_str()), None),
            Action::Generate { .. } | Action::Run { .. } | Action::Bind { .. } | Action::VirtualFunctions { .. } => {
                continue;
            }
        };
        if let (false, None, Some(script)) = (whole, before, after.filter(|after| after.starts_with("#!")))
            && own::FILES.contains(&path.as_str())
        {
            scripts.push_str(&format!("  {path} ({} lines)\n", script.lines().count()));
            continue;
        }
        let changes = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
        let mut unified = changes.unified_diff();
        let (old, new) = (side("a", path, before.is_some()), side("b", path, after.is_some()));
        text.push_str(&unified.header(&old, &new).to_string());
    }
    text.push_str(&binaries);
    if !scripts.is_empty() {
        text.push_str(&format!("New scripts, the same on every host (-v shows them):\n{scripts}"));
    }
    text
}

/// A file's name in a diff.
fn side(side: &str, path: &str, there: bool) -> String {
    if there { format!("{side}{path}") } else { "/dev/null".to_owned() }
}

/// A file that is no text, for a person; if `whole`, as `diff` says it, which `patch` passes by.
fn binary(path: &str, there: bool, bytes: &[u8], whole: bool) -> String {
    match whole {
        true => format!("Binary files {} and {} differ\n", side("a", path, there), side("b", path, true)),
        false => format!("Not shown: {path} ({}, SHA-256 {}…)\n", size(bytes.len() as u64), short(&sha256(bytes))),
    }
}

/// The first digits of a hash, as many as a person compares.
fn short(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

/// The diff on a terminal: coloured, and without what would steer it. In a pipe it is the bytes that patch needs.
fn shown(style: &Style, diff: &str) -> String {
    if style.width.is_none() {
        return diff.to_owned();
    }
    let mut text = String::new();
    for line in diff.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix("\r\n") {
            Some(body) => (body, "\r\n"),
            None => (line.strip_suffix('\n').unwrap_or(line), if line.ends_with('\n') { "\n" } else { "" }),
        };
        let body = plain(body);
        let painted = match body.as_bytes().first() {
            _ if body.starts_with("+++") || body.starts_with("---") => style.strong(&body),
            Some(b'+') => style.good(&body),
            Some(b'-') => style.error(&body),
            Some(b'@') => style.note(&body),
            _ => body,
        };
        text.push_str(&painted);
        text.push_str(end);
    }
    text
}

fn what_next(style: &Style, snap: &Snapshot, plan: &Plan, next: &Next<'_>) -> String {
    let Next { options, arguments, .. } = next;
    let nothing = plan.is_empty();
    let verify = format!("vfioneer {options}verify");
    match &snap.origin {
        Origin::Host(Kind::Recorded, _) | Origin::Paste(_) if !nothing => {
            return "This is a recording: the plan is for reading only.\n".to_owned();
        }
        _ if nothing && plan.reboot => return said(style, "Nothing to change.", &format!("reboot, then {verify}")),
        _ if nothing && !next.left.is_empty() => {
            let left =
                wrap(&format!("Nothing that --repair mends. Left: {}.", next.left.join(", ")), 0, style.text_width());
            return format!("{left}Next: vfioneer {options}check\n");
        }
        _ if nothing => return "Nothing to do: this host is as it should be.\n".to_owned(),
        _ => {}
    }
    if !plan.manual.is_empty() {
        return match arguments.is_empty() {
            true => "Next: do the above by hand, then run this again.\n".to_owned(),
            false => said(style, "Do the above by hand.", &format!("vfioneer {options}plan {arguments}")),
        };
    }
    let number = count(plan.steps.len(), "step", "steps");
    let after = if plan.reboot { "a reboot after them" } else { "no reboot" };
    if arguments.is_empty() && next.file.is_none() {
        return format!("{number}, {after}.\n");
    }
    let apply = format!("vfioneer {options}apply {}", next.file.unwrap_or(arguments));
    said(style, &format!("{number}, {after}."), apply.trim_end())
}

/// A sentence and the command to type next, which is never broken.
fn said(style: &Style, sentence: &str, command: &str) -> String {
    let line = format!("{sentence} Next: {command}\n");
    if line.trim_end().width() <= style.text_width() { line } else { format!("{sentence}\nNext: {command}\n") }
}

#[cfg(test)]
mod tests;
