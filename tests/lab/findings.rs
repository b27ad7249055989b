//! `check --json` compared with what the state of a lab host must give.

use serde_json::Value;

use crate::cells::Expected;

/// Every finding that is missing, and every accusation that is false.
///
/// `asked`: whether the cell's device was named.
pub fn compare(check: &Value, code: i32, expected: &Expected, asked: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if check["schema"] != "vfioneer/check/1" {
        problems.push(format!("check: schema is {}", check["schema"]));
    }
    let verdict = check["verdict"].as_str().unwrap_or_default();
    if !["ready", "fixable", "blocked", "unknown"].contains(&verdict) {
        problems.push(format!("check: verdict is {}", check["verdict"]));
    }
    let Some(findings) = check["findings"].as_array() else {
        problems.push("check: no findings".to_owned());
        return problems;
    };
    let also = if asked { expected.asked.as_slice() } else { &[] };
    for (id, subject) in expected.must.iter().chain(also) {
        let found = findings
            .iter()
            .any(|finding| finding["id"] == *id && subject.is_none_or(|subject| concerns(finding, subject)));
        if !found {
            problems
                .push(format!("check: {id} is missing{}", subject.map(|s| format!(" for {s}")).unwrap_or_default()));
        }
    }
    for finding in findings {
        problems.extend(shape(finding));
        let id = finding["id"].as_str().unwrap_or_default();
        let mut must = expected.must.iter().chain(also);
        let wanted = must.any(|(must, _)| *must == id) || expected.may.contains(&id);
        if !wanted && (finding["severity"] == "error" || finding["severity"] == "warning") {
            problems.push(format!(
                "check: {} {id} for {} is a false accusation: {}",
                finding["severity"], finding["subject"], finding["message"]
            ));
        }
    }
    let errors = findings.iter().any(|finding| finding["severity"] == "error");
    if code != i32::from(errors) {
        problems.push(format!("check: exit code {code}, with{} errors", if errors { "" } else { "out" }));
    }
    problems
}

/// Whether the finding names the device, as its subject or in its words.
fn concerns(finding: &Value, device: &str) -> bool {
    let short = device.trim_start_matches("0000:");
    finding["subject"] == device || finding.to_string().contains(short)
}

/// What every finding must have.
fn shape(finding: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let known = |value: &Value, of: &[&str]| value.as_str().is_some_and(|text| of.contains(&text));
    let complete = text(&finding["id"])
        && text(&finding["subject"])
        && text(&finding["message"])
        && known(&finding["severity"], &["error", "warning", "info"])
        && known(&finding["fix"]["kind"], &["plan", "firmware", "manual", "none"])
        && finding["evidence"].as_array().is_some_and(|all| all.iter().all(|one| text(&one["source"])));
    // An accusation needs evidence.
    let proven = finding["severity"] == "info" || finding["evidence"][0].is_object();
    (!complete || !proven).then(|| format!("check: incomplete finding {finding}"))
}
