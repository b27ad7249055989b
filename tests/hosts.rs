//! Every constructed host says what it must, and nothing that it must not; and what it says in full is on record
//! (`UPDATE_EXPECT=1 cargo test --test hosts` rewrites the record).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;

use hosts::HostFile;
use std::sync::LazyLock;
use vfioneer::checks::verdict::{device_verdict, verdict};
use vfioneer::checks::{self, Finding, Severity};
use vfioneer::facts::{self, Needs, Snapshot};
use vfioneer::goal::{Goal, select};
use vfioneer::report::{self, Style};

struct Looked {
    name: String,
    file: HostFile,
    snap: Snapshot,
    findings: Vec<Finding>,
}

fn look(name: &str) -> Looked {
    let file = hosts::load(name);
    let tree = hosts::tree(&file);
    let host = hosts::recorded::recorded(name, &file, &tree);
    let snap = facts::collect(&host, Needs::ALL);
    let findings = checks::run(&snap, &Goal::default());
    Looked { name: name.to_owned(), file, snap, findings }
}

/// All hosts, or those whose names contain `HOSTS`; looked at once.
fn all() -> &'static [Looked] {
    static ALL: LazyLock<Vec<Looked>> = LazyLock::new(|| {
        let wanted = std::env::var("HOSTS").unwrap_or_default();
        hosts::names().iter().filter(|name| name.contains(&wanted)).map(|name| look(name)).collect()
    });
    &ALL
}

/// `[severity:]id[@subject]` against a finding.
fn fits(wanted: &str, finding: &Finding) -> bool {
    let (severity, rest) = match wanted.split_once(':') {
        Some(("error", rest)) => (Some(Severity::Error), rest),
        Some(("warning", rest)) => (Some(Severity::Warning), rest),
        Some(("info", rest)) => (Some(Severity::Info), rest),
        _ => (None, wanted),
    };
    let (id, subject) = rest.split_once('@').map_or((rest, None), |(id, subject)| (id, Some(subject)));
    finding.id == id
        && severity.is_none_or(|severity| severity == finding.severity)
        && subject.is_none_or(|subject| subject == finding.subject.to_string())
}

fn said(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("\n    {:?} {}@{}", f.severity, f.id, f.subject)).collect()
}

#[test]
fn every_host_says_what_it_must() {
    let mut faults = String::new();
    for host in all() {
        let expect = &host.file.expect;
        for wanted in &expect.must {
            if !host.findings.iter().any(|finding| fits(wanted, finding)) {
                faults += &format!("\n{}: no {wanted}; said:{}", host.name, said(&host.findings));
            }
        }
        for unwanted in &expect.must_not {
            if let Some(finding) = host.findings.iter().find(|finding| fits(unwanted, finding)) {
                faults += &format!("\n{}: must not say {unwanted}: {}", host.name, checks::pages::message(finding));
            }
        }
        if expect.healthy {
            for finding in host.findings.iter().filter(|finding| finding.severity < Severity::Info) {
                let message = checks::pages::message(finding);
                faults += &format!("\n{}: is healthy, but: {} {message}", host.name, finding.id);
            }
        }
        for (selector, word) in &expect.verdict {
            let address = select(selector, &host.snap.pci).unwrap()[0].address;
            let verdict = device_verdict(&host.snap, &host.findings, &address);
            if verdict.word() != word {
                faults += &format!("\n{}: {selector} is {verdict:?}, not {word}", host.name);
            }
        }
        if let Some(chain) = &expect.chain {
            let found = host.snap.boot.chain().map_or_else(
                || format!("none of {:?}", host.snap.boot.candidates.iter().map(|c| c.chain).collect::<Vec<_>>()),
                |chain| format!("{chain:?}"),
            );
            if &found != chain {
                faults += &format!("\n{}: boots by {found}, not {chain}", host.name);
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn every_host_says_where_it_comes_from() {
    for name in hosts::names() {
        let HostFile { source, about, .. } = hosts::load(&name);
        assert!(source.starts_with("constructed from ") || source.starts_with("recorded "), "{name}: {source}");
        assert!(about.len() > 20, "{name}: {about}");
    }
}

#[test]
fn what_every_host_says_is_on_record() {
    let style = Style { width: Some(80) };
    let mut changed = Vec::new();
    for host in all() {
        let verdict = verdict(&host.snap, &Goal::default(), &host.findings);
        let all: Vec<_> = host.snap.pci.functions.iter().collect();
        let texts = [
            ("overview.txt", report::overview::text(&style, &host.snap, &host.findings, "")),
            ("list.txt", report::list::table(&style, &host.snap, &all)),
            ("check.txt", report::check::findings(&style, &host.snap, &Goal::default(), verdict, &host.findings, true)),
            ("list.json", report::json::list(&host.snap, &all)),
        ];
        let dir = hosts::dir().join(&host.name).join("expected");
        if !dir.is_dir() && std::env::var_os("UPDATE_EXPECT").is_none() {
            changed.push(format!("{}: nothing is on record", host.name));
            continue;
        }
        for (file, text) in texts {
            let text = anstream::adapter::strip_str(&text).to_string();
            let path = dir.join(file);
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::create_dir_all(&dir).unwrap();
                std::fs::write(path, text).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
                changed.push(format!("{}/{file}", host.name));
            }
        }
    }
    assert!(changed.is_empty(), "not as on record (UPDATE_EXPECT=1 rewrites it): {changed:#?}");
}

#[test]
fn a_written_tree_answers_like_the_one_in_memory() {
    for name in hosts::names() {
        let file = hosts::load(&name);
        let tree = hosts::tree(&file);
        let dir = tempfile::tempdir().unwrap();
        hosts::write(&tree, dir.path()).unwrap();
        let mounted = vfioneer::host::Tree::mounted(dir.path()).unwrap();
        let memory = hosts::recorded::recorded(&name, &file, &tree);
        let [one, other] = [&mounted as &dyn vfioneer::host::Host, &memory].map(|host| {
            let snap = facts::collect(host, Needs::ALL);
            let all: Vec<_> = snap.pci.functions.iter().collect();
            report::json::list(&snap, &all)
        });
        assert_eq!(one, other, "{name}");
    }
}

/// Recordings of emulated machines with real kernels (`tests/hosts/captures/README.md`).
#[test]
fn what_the_labs_recordings_say_is_on_record() {
    let style = Style { width: Some(80) };
    let mut changed = Vec::new();
    let mut number = 0;
    for entry in std::fs::read_dir(hosts::dir().join("captures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "zst") {
            continue;
        }
        number += 1;
        let host = vfioneer::host::archive::load(&path).unwrap();
        let snap = facts::collect(&host, Needs::ALL);
        let findings = checks::run(&snap, &Goal::default());
        let verdict = verdict(&snap, &Goal::default(), &findings);
        let all: Vec<_> = snap.pci.functions.iter().collect();
        let text = report::list::table(&style, &snap, &all)
            + "\n"
            + &report::check::findings(&style, &snap, &Goal::default(), verdict, &findings, true);
        let text = anstream::adapter::strip_str(&text).to_string();
        let record = path.with_extension("").with_extension("txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(record, text).unwrap();
        } else if std::fs::read_to_string(&record).unwrap_or_default() != text {
            changed.push(record);
        }
    }
    assert!(number > 0, "there are no recordings");
    assert!(changed.is_empty(), "not as on record (UPDATE_EXPECT=1 rewrites it): {changed:#?}");
}
