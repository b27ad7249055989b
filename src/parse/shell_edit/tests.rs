#![allow(clippy::disallowed_methods)] // A shell is the judge.

use super::*;
use crate::parse::shell_vars::evaluate;
use proptest::prelude::*;

/// The last assignment to `A` that is not within a condition.
fn last(text: &str) -> Option<Assignment> {
    parse(text).assignments.into_iter().rfind(|assignment| assignment.name == "A" && !assignment.conditional)
}

fn taken(text: &str, words: &[&str]) -> Option<String> {
    without(text, &last(text)?, &owned(words))
}

fn put(text: &str, words: &[&str]) -> Option<String> {
    with(text, &last(text)?, &owned(words))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a shell makes of `A`, as kernel words.
fn by_shell(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, text).unwrap();
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", ". \"$1\"; printf %s \"$A\"", "sh"]).arg(&file).output().unwrap();
    cmdline::words(&String::from_utf8_lossy(&output.stdout))
}

fn by_us(text: &str) -> Vec<String> {
    evaluate(&[&parse(text)], false).get("A").map(|value| cmdline::words(&value.text)).unwrap_or_default()
}

#[test]
fn words_are_taken_out_with_one_space() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("A=\"quiet iommu=pt\"", &["iommu=pt"], "A=\"quiet\""),
        ("A=\"iommu=pt quiet\" # iommu=pt\n", &["iommu=pt"], "A=\"quiet\" # iommu=pt\n"),
        ("A=\"iommu=pt\"", &["iommu=pt"], "A=\"\""),
        ("A='a  iommu=pt\tb'", &["iommu=pt"], "A='a \tb'"),
        ("A=iommu=pt\n", &["iommu=pt"], "A=\n"),
        ("A=a\\ iommu=pt\\ b", &["iommu=pt"], "A=a\\ b"),
        ("A=\"a b c d\"", &["c", "b"], "A=\"a d\""),
        ("A=\"a b c\"", &["a", "b"], "A=\"c\""),
        ("A=\"a \\\n b \\\n c\"\n", &["b"], "A=\"a \\\n \\\n c\"\n"),
        ("A=\"a\nb\"\r\n", &["b"], "A=\"a\n\"\r\n"),
        ("A=\"a dyndbg=\\\"file x +p\\\" b\"", &["dyndbg=\"file x +p\""], "A=\"a b\""),
        ("A='a '\"b\"' c'", &["b"], "A='a'\"\"' c'"),
        ("A=\"vfio-pci.ids=1:2 x\"", &["vfio_pci.ids=1:2"], "A=\"x\""),
        ("A=\"$A x\"\nB=1\n", &["x"], "B=1\n"),
        ("B=1\nA=\"${A} x\"", &["x"], "B=1"),
        ("B=1\r\nA=\"$A x\"\r\n", &["x"], "B=1\r\n"),
        ("A=\"$(echo q) x $B\"", &["x"], "A=\"$(echo q) $B\""),
    ];
    for (text, words, expected) in cases {
        assert_eq!(taken(text, words).as_deref(), Some(*expected), "{text:?}");
    }
    for (text, words) in [
        ("A=\"quiet\"", &["iommu=pt"][..]),
        ("A=\"iommu=pt2 xiommu=pt\"", &["iommu=pt"]),
        ("A=\"$(x)b c\"", &["b"]),
        ("A=\"b$X\"", &["b"]),
        ("A=\"-- b\"", &["b"]),
        ("A=", &["b"]),
    ] {
        assert_eq!(taken(text, words), None, "{text:?}");
    }
}

#[test]
fn words_are_put_inside_the_last_quotes() {
    let cases: &[(&str, &str)] = &[
        ("A=\"quiet\"\n", "A=\"quiet x=1 y\"\n"),
        ("A='quiet'", "A='quiet x=1 y'"),
        ("A=\"\" # none\n", "A=\"x=1 y\" # none\n"),
        ("A=\"quiet\"\r\nB=1\r\n", "A=\"quiet x=1 y\"\r\nB=1\r\n"),
        ("A=\"\"\r\n", "A=\"x=1 y\"\r\n"),
        ("A=\"a \\\n b\"\n", "A=\"a \\\n b x=1 y\"\n"),
        ("A=\"$A $B\"\n", "A=\"$A $B x=1 y\"\n"),
        ("A=a\" b\"", "A=a\" b x=1 y\""),
        ("A=\"a\\\"\"", "A=\"a\\\" x=1 y\""),
        ("A=1\nA=\"2\"\n", "A=1\nA=\"2 x=1 y\"\n"),
    ];
    for (text, expected) in cases {
        assert_eq!(put(text, &["x=1", "y"]).as_deref(), Some(*expected), "{text:?}");
    }
    for text in ["A=quiet", "A=\"a\"b", "A=", "A=\"open", "A=\"", "A='", "A=(\"a\")"] {
        assert_eq!(put(text, &["x"]), None, "{text:?}");
    }
}

#[test]
fn a_line_at_the_end_comes_and_goes() {
    for text in ["", "B=1\n", "B=1", "A=quiet\nB=1\n", "A=quiet\n\n\n", "A=quiet"] {
        let longer = with_line(text, "A=\"$A x=1 y\"");
        assert_eq!(taken(&longer, &["y", "x=1"]).as_deref(), Some(text), "{longer:?}");
        assert_eq!(by_shell(&longer).iter().rev().take(2).collect::<Vec<_>>(), ["y", "x=1"]);
    }
    assert_eq!(with_line("B=1\r\n", "A=2"), "B=1\r\nA=2\r\n");
    assert_eq!(with_line("B=1\r\nC=2", "A=2"), "B=1\r\nC=2\r\nA=2");
}

/// A value in any quoting, of words that are none of those put in.
fn value() -> impl Strategy<Value = String> {
    let word = "[a-f]{1,3}(=[0-9a-f:,]{1,4})?";
    let double = proptest::collection::vec(
        prop_oneof![
            6 => word.prop_map(String::from),
            1 => Just("\\\"a b\\\"".to_owned()),
            1 => Just("$B".to_owned()),
            1 => Just("${A}".to_owned()),
            1 => Just("\\\n".to_owned()),
            1 => Just("\\\\".to_owned()),
        ],
        0..4,
    )
    .prop_map(|words| format!("\"{}\"", words.join(" ")));
    let single = proptest::collection::vec(word, 0..4).prop_map(|words| format!("'{}'", words.join("  ")));
    prop_oneof![
        double.clone(),
        single,
        word.prop_map(String::from),
        (word, double).prop_map(|(a, b)| format!("{a}{b}"))
    ]
}

fn file() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => value().prop_map(|value| format!("A={value}")),
        1 => value().prop_map(|value| format!("A={value} # x=1 'it")),
        1 => Just("# A=\"x=1\"".to_owned()),
        1 => Just(String::new()),
        1 => value().prop_map(|value| format!("B={value}")),
        1 => Just("  export A".to_owned()),
        1 => Just("if true; then B=1; fi".to_owned()),
    ];
    (proptest::collection::vec(line, 1..6), prop_oneof![Just("\n"), Just("\r\n")], any::<bool>()).prop_map(
        |(lines, ending, last)| {
            // A shell takes the carriage return for a part of the last word, and a keyword for none.
            let keyword = |line: &String| line.contains("export") || line.contains("if ");
            let lines = lines.into_iter().filter(|line| ending == "\n" || !keyword(line)).collect::<Vec<_>>();
            let text = lines.join("\n") + if last { "\n" } else { "" };
            text.replace('\n', ending)
        },
    )
}

proptest! {
    #[test]
    fn put_in_and_taken_out_gives_the_same_bytes(text in file(), many in any::<bool>()) {
        // A line `A="$A"` that somebody wrote goes with the last word.
        prop_assume!(last(&text).is_none_or(|line| without_empty_line(text.clone(), &line) == text));
        let words = if many { &["x=1", "vfio-pci.ids=1:2,3:4"][..] } else { &["x=1"] };
        let before = by_us(&text);
        let edited = put(&text, words).unwrap_or_else(|| with_line(&text, &format!("A=\"$A {}\"", words.join(" "))));
        let wanted: Vec<String> = before.into_iter().chain(owned(words)).collect();
        prop_assert_eq!(by_us(&edited), wanted);
        prop_assert_eq!(taken(&edited, words), Some(text.clone()));
        prop_assert_eq!(taken(&text, words), None);
    }

    #[test]
    fn taking_out_leaves_the_other_words(text in file(), number in 0usize..4) {
        let before = by_us(&text);
        let Some(assignment) = last(&text) else { return Ok(()) };
        let own = cmdline::words(&assignment.own_text());
        let Some(word) = own.get(number).filter(|word| !word.contains(['"', '\\'])) else { return Ok(()) };
        let Some(edited) = without(&text, &assignment, std::slice::from_ref(word)) else { return Ok(()) };
        if !assignment.refers_to("A") && !assignment.refers_to("B") {
            let wanted: Vec<String> = before.into_iter().filter(|other| other != word).collect();
            prop_assert_eq!(by_us(&edited), wanted);
        }
        prop_assert_eq!(taken(&edited, &[word]), None);
    }

    #[test]
    fn never_panics(text in "[A=x1 '\"$`\\\\(){}\r\n#-]{0,50}") {
        for assignment in parse(&text).assignments {
            let _ = without(&text, &assignment, &owned(&["x", "1"]));
            let _ = with(&text, &assignment, &owned(&["x"]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_shell_reads_the_same(text in file()) {
        prop_assert_eq!(by_shell(&text), by_us(&text));
        let edited = put(&text, &["x=1"]).unwrap_or_else(|| with_line(&text, "A=\"$A x=1\""));
        prop_assert_eq!(by_shell(&edited), by_us(&edited));
        prop_assert!(by_shell(&edited).contains(&"x=1".to_owned()));
    }
}
