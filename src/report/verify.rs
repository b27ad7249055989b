//! What became of a transaction's expectations, as text and as JSON.

use super::{Style, count, plain, wrap};
use crate::facts::Evidence;
use crate::verify::{Outcome, State};
use serde_json::json;

/// Which transaction, and what was asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its number.
    pub id: u32,
    /// Was it asked about the next boot alone?
    pub next_boot: bool,
}

/// True if there is an outcome in this state.
pub fn any(outcomes: &[Outcome], state: State) -> bool {
    outcomes.iter().any(|outcome| outcome.state == state)
}

/// `verify --json`: `vfioneer/verify/1`.
pub fn json(asked: Asked, outcomes: &[Outcome]) -> String {
    let answer = match () {
        () if any(outcomes, State::Fails) => State::Fails,
        () if any(outcomes, State::Unknown) => State::Unknown,
        () => State::Holds,
    };
    let one = |outcome: &Outcome| {
        json!({
            "expect": outcome.expect,
            "about": outcome.about,
            "state": outcome.state,
            "reason": (!outcome.reason.is_empty()).then_some(outcome.reason),
            "text": outcome.text,
            "evidence": outcome.evidence,
        })
    };
    let document = json!({
        "schema": "vfioneer/verify/1",
        "transaction": asked.id,
        "next_boot": asked.next_boot,
        "answer": answer,
        "outcomes": outcomes.iter().map(one).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

/// For a person: each expectation, of what is not true the reason and where it can be seen, and a summary. `quiet` shows
/// only what is not true, and nothing at all if there is none.
pub fn text(style: &Style, asked: Asked, outcomes: &[Outcome], quiet: bool) -> String {
    let shown = |outcome: &&Outcome| !quiet || outcome.state == State::Fails;
    let mut text: String = outcomes.iter().filter(shown).map(|outcome| one(style, outcome)).collect();
    if !(quiet && text.is_empty()) {
        text.push_str(&summary(style, asked, outcomes));
    }
    text
}

fn one(style: &Style, outcome: &Outcome) -> String {
    let width = style.text_width();
    let label = match outcome.state {
        State::Holds => style.good("yes"),
        State::Fails => style.error("no"),
        State::Unknown => style.warning("?"),
    };
    let room = if outcome.state == State::Holds {
        ""
    } else if outcome.state == State::Fails {
        " "
    } else {
        "  "
    };
    let mut text = format!("{label}{room}  {}", wrap(&plain(&outcome.about), 5, width).trim_start());
    text.push_str(&if outcome.text.is_empty() { String::new() } else { wrap(&plain(&outcome.text), 7, width) });
    if outcome.state == State::Fails {
        for evidence in &outcome.evidence {
            text.push_str(&style.faint(wrap(&proof(evidence), 7, width).trim_end()));
            text.push('\n');
        }
    }
    text
}

fn proof(evidence: &Evidence) -> String {
    let line = evidence.line.map_or_else(String::new, |line| format!(":{line}"));
    plain(&format!("{}{line}: {}", evidence.source, evidence.text.trim()))
}

fn summary(style: &Style, asked: Asked, outcomes: &[Outcome]) -> String {
    let number = |state| outcomes.iter().filter(|outcome| outcome.state == state).count();
    let (wrong, open, all) = (number(State::Fails), number(State::Unknown), outcomes.len());
    let expected = count(all, "expectation", "expectations");
    let of = format!("of {expected} of transaction {}", asked.id);
    let line = match (wrong, open) {
        (0, 0) if all == 0 => format!("Transaction {} expects nothing that could be looked at.", asked.id),
        (0, 0) if asked.next_boot => "What boots next claims what was chosen.".to_owned(),
        (0, 0) => format!("All true: {expected} of transaction {}.", asked.id),
        (0, open) => format!("{open} {of} cannot be known; nothing is known to be wrong."),
        (wrong, _) if asked.next_boot => {
            let head = style.error("What boots next will not do what was applied");
            format!("{head}: {wrong} {of} would not be true.")
        }
        (wrong, _) => format!("{wrong} {of} {} not true.", if wrong == 1 { "is" } else { "are" }),
    };
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::Expectation;

    fn outcome(state: State) -> Outcome {
        Outcome {
            expect: (state != State::Unknown).then_some(Expectation::IommuOn),
            about: "An IOMMU runs.".into(),
            state,
            reason: if state == State::Holds { "" } else { "why" },
            text: if state == State::Holds { String::new() } else { "Because \x1b[31mred.".into() },
            evidence: vec![Evidence::at("/proc/cmdline", 1, "quiet")],
        }
    }

    fn plain_text(outcomes: &[Outcome], next_boot: bool, quiet: bool) -> String {
        let text = text(&Style { width: Some(80) }, Asked { id: 3, next_boot }, outcomes, quiet);
        assert!(!text.contains("\x1b[31mred"), "{text}");
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn what_a_person_reads() {
        let good = [outcome(State::Holds)];
        assert_eq!(plain_text(&good, false, false), "yes  An IOMMU runs.\nAll true: 1 expectation of transaction 3.\n");
        let mixed = [outcome(State::Holds), outcome(State::Fails), outcome(State::Unknown)];
        assert_eq!(
            plain_text(&mixed, false, false),
            "yes  An IOMMU runs.\nno   An IOMMU runs.\n       Because ?[31mred.\n       /proc/cmdline:1: quiet\n\
             ?    An IOMMU runs.\n       Because ?[31mred.\n1 of 3 expectations of transaction 3 is not true.\n"
        );
        assert!(plain_text(&mixed[2..], false, false).contains("cannot be known"));
        assert!(plain_text(&[], false, false).contains("expects nothing"));
    }

    #[test]
    fn a_hook_says_only_what_is_wrong() {
        assert_eq!(plain_text(&[outcome(State::Holds), outcome(State::Unknown)], true, true), "");
        let text = plain_text(&[outcome(State::Holds), outcome(State::Fails)], true, true);
        assert!(text.starts_with("no ") && text.contains("will not do what was applied"), "{text}");
    }

    #[test]
    fn what_a_program_reads() {
        let answer = |outcomes: &[Outcome]| {
            let text = json(Asked { id: 3, next_boot: true }, outcomes);
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["schema"], "vfioneer/verify/1");
            assert_eq!(value["outcomes"].as_array().map(Vec::len), Some(outcomes.len()));
            value["answer"].as_str().map(str::to_owned)
        };
        let all = [outcome(State::Holds), outcome(State::Unknown), outcome(State::Fails)];
        assert_eq!(answer(&all[..1]).as_deref(), Some("holds"));
        assert_eq!(answer(&all[..2]).as_deref(), Some("unknown"));
        assert_eq!(answer(&all).as_deref(), Some("fails"));
    }
}
