//! `vfioneer capture FILE`: records this host, and shows what was taken.

use super::{Answer, Global};
use crate::capture::{self, Options, Report};
use crate::error::Result;
use crate::host::{Host, Tree, Why, console};
use crate::parse::scrub::Kind;
use crate::report::{Style, count, cut, plain, size};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The most lines of one list on the terminal; `--json` has all.
const SHOWN: usize = 12;

/// The most columns of such a line.
const LONGEST: usize = 160;

/// Arguments of `capture`.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// The file to write, by custom NAME.tar.zst
    file: PathBuf,
    /// Keep names and numbers of this host (secrets are left out all the same); mode 0600
    #[arg(long)]
    exact: bool,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(global: &Global, args: &CaptureArgs) -> Result<Answer> {
    let live = global.root.is_none() && global.from.is_none();
    let host: Box<dyn Host> = if live { Box::new(Tree::live().without_writing()) } else { global.host()? };
    let options = Options { path: args.file.clone(), exact: args.exact, force: args.force };
    let report = console::with_progress(&format!("recording {}", host.label()), || {
        capture::write_capture(host.as_ref(), &options)
    })?;
    Ok(Answer::yes(if global.json { document(&report, &options) } else { text(&global.style(), &report, &options) }))
}

/// One of a kind, and many.
fn kind(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Serial => ("serial number", "serial numbers"),
        Kind::Mac => ("MAC address", "MAC addresses"),
        Kind::Ip => ("IP address", "IP addresses"),
        Kind::Uuid => ("UUID", "UUIDs"),
        Kind::Host => ("host name", "host names"),
        Kind::User => ("user name", "user names"),
    }
}

fn text(style: &Style, report: &Report, options: &Options) -> String {
    let file = plain(&options.path.display().to_string());
    let quoted = super::quoted(&file);
    let mut out = format!("{} {file} ({})\n\nTaken:\n", style.strong("Wrote"), size(report.bytes));
    for (area, (files, bytes)) in &report.taken {
        out.push_str(&format!("  {area:<12} {files:>7} files {:>10}\n", size(*bytes)));
    }
    out.push_str(&format!("  and {} directories, links and paths that were looked for\n\n", report.paths));
    let replaced: Vec<String> =
        report.pseudonyms.iter().map(|(k, number)| count(*number, kind(*k).0, kind(*k).1)).collect();
    out.push_str(&match (options.exact, replaced.is_empty()) {
        (true, _) => "Names and numbers of this host are in the file: keep it to yourself.\n".to_owned(),
        (false, true) => "Nothing that names this host was found.\n".to_owned(),
        (false, false) => format!("Replaced by pseudonyms: {}.\n", replaced.join(", ")),
    });
    out.push_str(&format!("Passwords, keys and tokens removed: {}.\n", report.secrets));
    if !report.left_out.is_empty() {
        out.push_str("\nRead and not taken:\n");
        list(&mut out, report.left_out.iter().map(|(path, why)| format!("{path}: {why}")));
    }
    let root_only = report.unreadable.iter().filter(|(_, why)| *why == Why::NotPermitted).count();
    if root_only > 0 {
        let paths = count(root_only, "path was", "paths were");
        out.push_str(&format!("\n{paths} not readable; as root the recording may hold more.\n"));
    }
    let others: Vec<_> = report.unreadable.iter().filter(|(_, why)| *why != Why::NotPermitted).collect();
    if !others.is_empty() {
        out.push_str("\nCould not be read:\n");
        list(&mut out, others.iter().map(|(path, why)| format!("{path}: {why}")));
    }
    out.push_str(&format!(
        "\nLook before you share it: tar --zstd -xf {quoted} -C DIR\nUse it: vfioneer check --from {quoted}\n"
    ));
    out
}

fn list(out: &mut String, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(SHOWN);
    for line in lines.take(SHOWN) {
        out.push_str(&format!("  {}\n", cut(&plain(&line), LONGEST)));
    }
    if more > 0 {
        out.push_str(&format!("  and {more} more (--json shows all)\n"));
    }
}

fn document(report: &Report, options: &Options) -> String {
    let taken: Map<String, Value> = report
        .taken
        .iter()
        .map(|(area, (files, bytes))| (area.clone(), json!({ "files": files, "bytes": bytes })))
        .collect();
    let pseudonyms: Map<String, Value> =
        report.pseudonyms.iter().map(|(k, number)| (kind(*k).1.to_owned(), json!(number))).collect();
    let reasons = |pairs: &mut dyn Iterator<Item = (String, String)>| -> Vec<Value> {
        pairs.map(|(path, why)| json!({ "path": path, "why": why })).collect()
    };
    let document = json!({
        "schema": "vfioneer/capture/1",
        "file": options.path.display().to_string(),
        "bytes": report.bytes,
        "exact": options.exact,
        "taken": taken,
        "paths": report.paths,
        "pseudonyms": pseudonyms,
        "secrets_removed": report.secrets,
        "left_out": reasons(&mut report.left_out.iter().cloned()),
        "unreadable": reasons(&mut report.unreadable.iter().map(|(path, why)| (path.clone(), why.to_string()))),
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_lines_fit_the_terminal() {
        let report = Report {
            taken: [("/sys".to_owned(), (123_456, 7 << 20))].into(),
            pseudonyms: [(Kind::Uuid, 3), (Kind::Mac, 2)].into(),
            left_out: (0..20).map(|n| (format!("/etc/{n}"), capture::NOT_LISTED.to_owned())).collect(),
            unreadable: vec![("/a".into(), Why::NotPermitted), ("/b".into(), Why::TooLarge)],
            ..Report::default()
        };
        let options = Options { path: "host.tar.zst".into(), exact: false, force: false };
        let text = text(&Style { width: Some(80) }, &report, &options);
        assert!(text.contains("3 UUIDs") || text.contains("2 MAC addresses, 3 UUIDs"), "{text}");
        assert!(text.contains("and 8 more"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let json: Value = serde_json::from_str(&document(&report, &options)).unwrap();
        assert_eq!(json["schema"], "vfioneer/capture/1");
        assert_eq!(json["left_out"].as_array().unwrap().len(), 20);
    }
}
