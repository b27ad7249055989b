use super::{Next, diff, json, text};
use crate::checks::testing as t;
use crate::goal::Request;
use crate::plan::{Plan, make};
use crate::report::Style;
use crate::steps::{Action, Step};

fn plan(steps: Vec<Step>) -> Plan {
    let snap = t::healthy();
    let request = Request { devices: vec!["01:00".into()], ..Request::default() };
    Plan { steps, ..make(&snap, &request.resolve(&snap.pci).unwrap()) }
}

fn shown(plan: &Plan, width: Option<usize>) -> String {
    let text = text(&Style { width }, &t::healthy(), plan, &Next { arguments: "01:00", ..Next::default() });
    anstream::adapter::strip_str(&text).to_string()
}

fn write(before: Option<&str>, after: &str) -> Step {
    Step::write("/etc/default/grub", before, after, 0o644, "Because.".into())
}

#[test]
fn one_diff_of_all_files() {
    let steps = vec![
        write(Some("a\nb\nc\n"), "a\nB\nc\n"),
        Step::write("/etc/new", None, "x\n", 0o644, "Because.".into()),
        Step::remove("/etc/old", "y\n", "Because.".into()),
    ];
    assert_eq!(
        diff(&plan(steps), true),
        "--- a/etc/default/grub\n+++ b/etc/default/grub\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n\
         --- /dev/null\n+++ b/etc/new\n@@ -0,0 +1 @@\n+x\n\
         --- a/etc/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n"
    );
}

#[test]
fn odd_bytes_reach_a_pipe_and_not_a_terminal() {
    let plan = plan(vec![write(Some("a\x1b[31m\r\nlast"), "b\x1b[31m\r\nlast")]);
    let piped = shown(&plan, None);
    assert!(diff(&plan, true).contains("-a\x1b[31m\r\n+b\x1b[31m\r\n last\n\\ No newline at end of file\n"));
    assert!(piped.contains("last\n\\ No newline at end of file\n"));
    let terminal = text(&Style { width: Some(80) }, &t::healthy(), &plan, &Next::default());
    assert!(!terminal.contains("\x1b[31m\r") && terminal.contains("a?[31m"), "{terminal:?}");
}

#[test]
fn lines_fit_and_long_scripts_are_named() {
    let script = "# a script\n".repeat(40);
    let argv = vec!["sh".to_owned(), "-c".to_owned(), script];
    let run = Action::Run { argv, undo: Vec::new(), touches: Vec::new(), fence: None };
    let plan = plan(vec![Step { action: run, why: "Because ".repeat(30) + "it is so." }]);
    let text = shown(&plan, Some(80));
    assert!(text.contains("run sh -c (script of 40 lines)"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(json(&plan).contains("# a script\\n# a script"), "the plan itself has it whole");
}

#[test]
fn what_to_type_next() {
    let step = || vec![write(None, "x\n")];
    let recorded = plan(step());
    assert!(shown(&recorded, Some(80)).ends_with("for reading only.\n"));
    let mut snap = t::healthy();
    snap.origin = crate::facts::Origin::Host(crate::host::Kind::Live, "here".into());
    let next = |plan: &Plan, file| {
        let next = Next { arguments: "01:00 --iommu-pt", file, ..Next::default() };
        let text = text(&Style { width: Some(80) }, &snap, plan, &next);
        text.lines().last().unwrap_or_default().to_owned()
    };
    let mut live = Plan { manual: Vec::new(), reboot: false, ..plan(step()) };
    assert_eq!(next(&live, None), "1 step, no reboot. Next: vfioneer apply 01:00 --iommu-pt");
    live.reboot = true;
    assert_eq!(next(&live, Some("plan.json")), "1 step, a reboot after them. Next: vfioneer apply plan.json");
    live.steps.clear();
    assert_eq!(next(&live, None), "Nothing to change. Next: reboot, then vfioneer verify");
    live.reboot = false;
    assert_eq!(next(&live, None), "Nothing to do: this host is as it should be.");
    live.manual.push("Write this.".into());
    assert_eq!(next(&live, None), "Do the above by hand. Next: vfioneer plan 01:00 --iommu-pt");
    // Lines to be typed stay as they are.
    let typed = format!("  + two  blanks {}", "word ".repeat(30).trim_end());
    live.manual.push(typed.clone());
    assert!(shown(&live, Some(40)).contains(&format!("\n  {typed}\n")));
}

#[test]
fn what_repair_leaves_is_named() {
    let nothing = Plan { manual: Vec::new(), reboot: false, ..plan(Vec::new()) };
    let next = Next { options: "--root /mnt ", left: &["rom-shadowed", "group-shared"], ..Next::default() };
    let text = text(&Style { width: Some(80) }, &t::healthy(), &nothing, &next);
    assert!(text.ends_with("mends. Left: rom-shadowed, group-shared.\nNext: vfioneer --root /mnt check\n"), "{text}");
}

#[test]
fn own_scripts_are_named_and_shown_when_asked() {
    let script = |path| Step::write(path, None, "#!/bin/sh\nexit 0\n", 0o755, String::new());
    let plan = plan(vec![script("/etc/vfioneer/claim.sh"), script("/etc/other/script")]);
    let (short, whole) = (diff(&plan, false), diff(&plan, true));
    assert!(
        short.contains("/etc/vfioneer/claim.sh (2 lines)") && !short.contains("b/etc/vfioneer/claim.sh"),
        "{short}"
    );
    assert!(short.contains("+++ b/etc/other/script") && whole.contains("+++ b/etc/vfioneer/claim.sh"), "{whole}");
}
