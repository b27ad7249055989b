//! Several changes of one file as one step.
//!
//! Each part of a plan makes its steps from what the host has now. Where two change the same file, both changes are made if
//! they touch different lines.

use super::texts::said;
use crate::steps::{Action, Content, Step};
use similar::{DiffTag, TextDiff};
use std::ops::Range;

/// Steps of which no two write the same file, in the order of the first of each. Where two changes meet, the first is made, and
/// the sentence that says so is added to `notes`.
pub(super) fn same_files(steps: Vec<Step>, notes: &mut Vec<String>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        let known = merged.iter_mut().find(|known| known.path().is_some() && known.path() == step.path());
        match known {
            None => merged.push(step),
            Some(known) => {
                if !join(known, &step) {
                    notes.push(said("changes-meet", &[("path", step.path().unwrap_or_default())]));
                }
            }
        }
    }
    merged
}

fn join(known: &mut Step, other: &Step) -> bool {
    let Action::WriteFile { before, after: ours, .. } = &mut known.action else { return false };
    let Action::WriteFile { after: theirs, .. } = &other.action else { return false };
    if ours == theirs {
        return true;
    }
    let (Some(base), Content::Text(ours), Some(theirs)) = (before, ours, theirs.text()) else { return false };
    let Some(both) = merge(base, ours, theirs) else { return false };
    *ours = both;
    if !known.why.contains(&other.why) {
        known.why = format!("{} {}", known.why, other.why);
    }
    true
}

/// Lines of a text that become others.
struct Hunk<'a> {
    lines: Range<usize>,
    now: Vec<&'a str>,
}

/// Both changes of a text; `None` if they touch the same lines.
fn merge(base: &str, ours: &str, theirs: &str) -> Option<String> {
    let mut hunks = hunks(base, ours);
    for hunk in self::hunks(base, theirs) {
        let meets = |known: &Hunk<'_>| {
            let both_insert = known.lines.is_empty() && hunk.lines.is_empty() && known.lines.start == hunk.lines.start;
            both_insert || known.lines.start < hunk.lines.end && hunk.lines.start < known.lines.end
        };
        if hunks.iter().any(meets) {
            return None;
        }
        hunks.push(hunk);
    }
    hunks.sort_by_key(|hunk| (hunk.lines.start, hunk.lines.end));
    let lines: Vec<&str> = base.split_inclusive('\n').collect();
    let mut text = String::new();
    let mut at = 0;
    for hunk in hunks {
        text.extend(lines.get(at..hunk.lines.start)?.iter().copied());
        text.extend(hunk.now);
        at = hunk.lines.end;
    }
    text.extend(lines.get(at..)?.iter().copied());
    Some(text)
}

fn hunks<'a>(base: &str, now: &'a str) -> Vec<Hunk<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (base.split_inclusive('\n').collect(), now.split_inclusive('\n').collect());
    let diff = TextDiff::from_slices(&old, &new);
    let changed = diff.ops().iter().filter(|op| op.tag() != DiffTag::Equal);
    let hunk = |op: &similar::DiffOp| Hunk {
        lines: op.old_range(),
        now: new.get(op.new_range()).unwrap_or_default().to_vec(),
    };
    changed.map(hunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn changes_of_different_lines_are_both_made() {
        let base = "root=x quiet\nintel_iommu=on\n# end\n";
        for (ours, theirs, both) in [
            (
                "root=x quiet iommu=pt\nintel_iommu=on\n# end\n",
                "root=x quiet\n# end\n",
                Some("root=x quiet iommu=pt\n# end\n"),
            ),
            ("root=x\nintel_iommu=on\n# end\n", "root=y\nintel_iommu=on\n# end\n", None),
            (base, "x\n", Some("x\n")),
            ("a\nroot=x quiet\nintel_iommu=on\n# end\n", "b\nroot=x quiet\nintel_iommu=on\n# end\n", None),
        ] {
            assert_eq!(merge(base, ours, theirs).as_deref(), both, "{ours} {theirs}");
            assert_eq!(merge(base, theirs, ours).as_deref(), both, "{theirs} {ours}");
        }
    }

    #[test]
    fn steps_of_one_file_become_one() {
        let step = |after: &str, why: &str| Step::write("/etc/x", Some("a\nb\n"), after, 0o644, why.into());
        let mut notes = Vec::new();
        let steps = same_files(vec![step("a\nc\n", "C."), step("b\n", "A."), step("d\nb\n", "D.")], &mut notes);
        let [Step { action: Action::WriteFile { after, .. }, why }] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!((after.text(), why.as_str(), notes.len()), (Some("c\n"), "C. A.", 1));
    }

    proptest! {
        #[test]
        fn one_change_alone_is_made_whole(base in "([ab]\n){0,6}[ab]?", now in "([abc]\n){0,6}[abc]?") {
            prop_assert_eq!(merge(&base, &now, &base), Some(now.clone()));
            prop_assert_eq!(merge(&base, &base, &now), Some(now));
        }
    }
}
