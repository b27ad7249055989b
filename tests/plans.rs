//! What is planned on every constructed host for the goals that it names is on record
//! (`UPDATE_EXPECT=1 cargo test --test plans` rewrites the record).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;

use serde_json::Value;
use std::collections::BTreeMap;
use vfioneer::facts::{self, Needs, Snapshot};
use vfioneer::goal::Request;
use vfioneer::plan::{self, Plan};
use vfioneer::report::plan::Next;
use vfioneer::report::{self, Style};
use vfioneer::steps::{Action, Content, sha256};

/// Every host with every goal that it names.
fn all(mut each: impl FnMut(&str, &str, &Snapshot, &Plan)) {
    let wanted = std::env::var("HOSTS").unwrap_or_default();
    for name in hosts::names().iter().filter(|name| name.contains(&wanted)) {
        let file = hosts::load(name);
        if file.plans.is_empty() {
            continue;
        }
        let tree = hosts::tree(&file);
        let snap = facts::collect(&hosts::recorded::recorded(name, &file, &tree), Needs::PLAN);
        for (goal, request) in &file.plans {
            let plan = plan::make(&snap, &request.clone().resolve(&snap.pci).unwrap());
            each(name, goal, &snap, &plan);
        }
    }
}

/// Texts longer than this are the same on every host; they have tests of their own.
const LONG: usize = 12;

/// The plan without the bytes of scripts, so that the record changes with the plan alone.
fn shortened(plan: &Plan) -> (Plan, String) {
    let mut plan = plan.clone();
    let mut names = BTreeMap::new();
    for step in &mut plan.steps {
        if let Action::WriteFile { path, after, before: None, .. } = &mut step.action
            && after.text().is_none_or(|text| text.lines().count() > LONG)
        {
            names.insert(sha256(after.as_bytes()), format!("sha256 of {path}"));
            *after = Content::Text(format!("… {path} …\n"));
        }
        if let Action::Run { argv, undo, .. } = &mut step.action {
            let scripts = argv.iter_mut().chain(undo).filter(|word| word.lines().count() > LONG);
            scripts.for_each(|word| *word = "# script\n# …\n".to_owned());
        }
    }
    let mut json: Value = serde_json::from_str(&report::plan::json(&plan)).unwrap();
    json["version"] = "…".into();
    let mut text = format!("{json:#}\n");
    for (hash, name) in names {
        text = text.replace(&hash, &name);
    }
    (plan, text)
}

#[test]
fn what_is_planned_is_on_record() {
    let style = Style { width: Some(80) };
    let mut changed = Vec::new();
    all(|name, goal, snap, plan| {
        let (short, json) = shortened(plan);
        let text = report::plan::text(&style, snap, &short, &Next::default());
        let text = anstream::adapter::strip_str(&text).to_string();
        for (file, text) in [(format!("plan-{goal}.txt"), text), (format!("plan-{goal}.json"), json)] {
            let path = hosts::dir().join(name).join("expected").join(&file);
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(path, text).unwrap();
            } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
                changed.push(format!("{name}/{file}"));
            }
        }
    });
    assert!(changed.is_empty(), "not as on record (UPDATE_EXPECT=1 rewrites it): {changed:#?}");
}

/// No plan is made for a recording, and the same goal gives the same plan.
#[test]
fn plans_are_documents_that_give_themselves_again() {
    all(|name, goal, snap, plan| {
        assert!(!plan.applicable && plan.host.is_none(), "{name} {goal}");
        assert!(plan.refused.is_empty() || plan.steps.is_empty(), "{name} {goal}");
        let document: Value = serde_json::from_str(&report::plan::json(plan)).unwrap();
        assert_eq!(document["schema"], "vfioneer/plan/1");
        for step in document["steps"].as_array().unwrap() {
            assert!(step["kind"].is_string() && step["why"].as_str().unwrap().ends_with(['.', ':']), "{name}: {step}");
        }
        let again = Request::from_json(&document["goal"]).unwrap().resolve(&snap.pci).unwrap();
        let again = plan::make(snap, &again);
        assert_eq!(report::plan::json(&again), report::plan::json(plan), "{name} {goal}");
    });
}

/// `patch -p1` on the files as they were gives the files as they are to be.
#[test]
fn the_diff_is_one_that_patch_takes() {
    let mut number = 0;
    all(|name, goal, snap, plan| {
        let mut files = Vec::new();
        let dir = tempfile::tempdir().unwrap();
        for step in &plan.steps {
            let (path, before, after) = match &step.action {
                Action::WriteFile { path, before, after, .. } => {
                    (path, before.clone(), after.text().map(str::to_owned))
                }
                Action::RemoveFile { path, before, .. } => (path, Some(before.clone()), None),
                _ => continue,
            };
            let there = dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(there.parent().unwrap()).unwrap();
            if let Some(before) = before {
                std::fs::write(&there, before).unwrap();
            }
            files.push((there, after));
        }
        if files.is_empty() {
            return;
        }
        number += 1;
        // All that the command prints in a pipe: patch looks for the diff in it.
        let text = report::plan::text(&Style { width: None }, snap, plan, &Next { whole: true, ..Next::default() });
        let text = anstream::adapter::strip_str(&text).to_string();
        let input = dir.path().join("plan.txt");
        std::fs::write(&input, text).unwrap();
        let out = std::process::Command::new("patch")
            .args(["-p1", "-E", "--no-backup-if-mismatch", "-i"])
            .arg(&input)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{name} {goal}: {}", String::from_utf8_lossy(&out.stdout));
        for (path, after) in files {
            assert_eq!(std::fs::read_to_string(&path).ok(), after, "{name} {goal}: {}", path.display());
        }
    });
    assert!(number > 0 || std::env::var_os("HOSTS").is_some());
}
