//! Is a plan file what this host gives today?

use super::Plan;
use serde_json::Value;

/// What decides about what is done. Notes and reasons may be those of another version.
const FIELDS: &[&str] = &["schema", "host", "goal", "devices", "steps", "reboot", "expect", "refused", "manual"];

/// The first difference between a plan file and a plan, as half a sentence; `None` if they do the same.
pub fn difference(document: &Value, plan: &Plan) -> Option<String> {
    let today = serde_json::to_value(plan).unwrap_or_default();
    for field in FIELDS {
        let (then, now) = (document.get(field).unwrap_or(&Value::Null), today.get(field).unwrap_or(&Value::Null));
        if let Some(what) = differ(field, then, now) {
            return Some(what);
        }
    }
    None
}

fn differ(field: &str, then: &Value, now: &Value) -> Option<String> {
    if then == now {
        return None;
    }
    match field {
        "host" => Some("it was made for another host".to_owned()),
        "steps" => steps(then, now),
        _ => Some(format!("{field} differs")),
    }
}

fn steps(then: &Value, now: &Value) -> Option<String> {
    let empty = Vec::new();
    let (then, now) = (then.as_array().unwrap_or(&empty), now.as_array().unwrap_or(&empty));
    for (number, (then, now)) in (1..).zip(then.iter().zip(now)) {
        let (then, now) = (without_reason(then), without_reason(now));
        if then == now {
            continue;
        }
        let path = now.get("path").or(now.get("output")).and_then(Value::as_str).unwrap_or("a command");
        let same = |key: &str| then.get(key) == now.get(key);
        let what = if same("kind") && same("path") && !same("before_sha256") {
            "the file was changed since"
        } else {
            "it would be done differently"
        };
        return Some(format!("step {number} ({path}): {what}"));
    }
    let (then, now) = (then.len(), now.len());
    (then != now).then(|| format!("it has {then} steps, today's has {now}"))
}

fn without_reason(step: &Value) -> Value {
    let mut step = step.clone();
    if let Some(object) = step.as_object_mut() {
        object.remove("why");
    }
    step
}
