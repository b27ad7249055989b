//! Configuration files that a shell sources: assignments with their positions, and what they come to.
//!
//! Goes in: one text or several, in the order in which they are sourced. Comes out: every assignment, and for each
//! variable its value and the assignments that made it. Nothing is run: a value that takes a command is unknown.

use super::shell::{Content, Dialect, Token, Word, tokens};
use std::collections::BTreeMap;
use std::ops::Range;

/// One assignment `NAME=value`, `NAME+=value`, `NAME[key]=value` or `NAME=(a b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// The key of `NAME[key]=`, quotes removed.
    pub index: Option<String>,
    /// True for `+=`, which bash knows and a POSIX shell takes for a command's name.
    pub append: bool,
    /// True for `(…)`.
    pub array: bool,
    /// The value: one word, or the words of an array. The pieces of the first word begin behind the `=`.
    pub value: Vec<Word>,
    /// The bytes of the whole assignment.
    pub range: Range<usize>,
    /// The bytes of the value, quotes or parentheses included.
    pub value_range: Range<usize>,
    /// Counted from 1.
    pub line: u32,
    /// True if it may not be reached: within `if`, a loop, a function or a subshell, or behind `&&` or `||`.
    pub conditional: bool,
    /// True if a command follows on the same line, for which alone it then holds: `A=b c` runs `c`.
    pub prefix: bool,
}

impl Assignment {
    /// What stands in the assignment itself: literals only, the words of an array joined by spaces, expansions left
    /// out.
    pub fn own_text(&self) -> String {
        let mut text = String::new();
        for (number, word) in self.value.iter().enumerate() {
            if number > 0 {
                text.push(' ');
            }
            text.push_str(&word.expand(|_| Some(String::new())));
        }
        text
    }

    /// True if the value refers to this variable.
    pub fn refers_to(&self, name: &str) -> bool {
        let is = |content: &Content| matches!(content, Content::Variable(variable) if variable == name);
        self.value.iter().flat_map(|word| &word.pieces).any(|piece| is(&piece.content))
    }
}

/// A command that is no assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its words, the name first, assignments in front left out.
    pub words: Vec<Word>,
    /// Counted from 1.
    pub line: u32,
    /// As for [`Assignment::conditional`].
    pub conditional: bool,
}

/// A file that a shell sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// In the order of the text.
    pub assignments: Vec<Assignment>,
    /// What else is there.
    pub commands: Vec<Command>,
}

/// Words that open a construct, and those that close one.
const OPEN: &[&str] = &["if", "case", "for", "while", "until", "select", "{"];
const CLOSE: &[&str] = &["fi", "esac", "done", "}"];
/// Words behind which a command begins.
const BETWEEN: &[&str] = &["then", "else", "elif", "do", "!"];
/// Commands whose arguments are assignments.
const DECLARE: &[&str] = &["export", "readonly", "declare", "typeset", "local"];

/// Finds the assignments of a text.
pub fn parse(text: &str) -> Script {
    let mut script = Script::default();
    let tokens = tokens(text, Dialect::Sh);
    let mut rest = tokens.as_slice();
    let mut depth = 0usize;
    let mut chained = false;
    while let Some((first, tail)) = rest.split_first() {
        match first {
            Token::Op(operator, _) => {
                match *operator {
                    "(" => depth += 1,
                    ")" => depth = depth.saturating_sub(1),
                    "&&" | "||" | "|" => chained = true,
                    "\n" | ";" => chained = false,
                    _ => {}
                }
                rest = tail;
            }
            Token::Word(word) if OPEN.iter().any(|keyword| word.is_bare(keyword)) => {
                depth += 1;
                rest = tail;
            }
            Token::Word(word) if CLOSE.iter().any(|keyword| word.is_bare(keyword)) => {
                depth = depth.saturating_sub(1);
                rest = tail;
            }
            Token::Word(word) if BETWEEN.iter().any(|keyword| word.is_bare(keyword)) => rest = tail,
            Token::Word(_) => rest = simple_command(text, rest, depth > 0 || chained, &mut script),
        }
    }
    script
}

/// Reads one simple command and returns the tokens behind it.
fn simple_command<'t>(text: &str, tokens: &'t [Token], conditional: bool, script: &mut Script) -> &'t [Token] {
    let first = script.assignments.len();
    let mut rest = tokens;
    let mut command = Command { words: Vec::new(), line: 0, conditional };
    let mut redirected = false;
    while let Some((token, tail)) = rest.split_first() {
        match token {
            Token::Op("<" | ">" | ">>" | "<<" | "<<-" | "<&" | ">&", _) => {
                redirected = true;
                rest = tail;
            }
            // A function's parentheses belong to the command; any other operator ends it.
            Token::Op(..) => break,
            Token::Word(_) if redirected => {
                redirected = false;
                rest = tail;
            }
            Token::Word(word) => {
                let declares = || command.words.first().is_some_and(|w| DECLARE.iter().any(|name| w.is_bare(name)));
                rest = tail;
                if (command.words.is_empty() || declares())
                    && let Some((mut assignment, behind)) = assignment(text, word, tail)
                {
                    assignment.conditional = conditional;
                    script.assignments.push(assignment);
                    rest = behind;
                } else {
                    if command.words.is_empty() {
                        command.line = word.line;
                    }
                    command.words.push(word.clone());
                }
            }
        }
    }
    if command.words.first().is_some_and(|word| !DECLARE.iter().any(|name| word.is_bare(name))) {
        for assignment in script.assignments.iter_mut().skip(first) {
            assignment.prefix = true;
        }
    }
    if !command.words.is_empty() {
        script.commands.push(command);
    }
    rest
}

/// Takes a word as an assignment, with the array that follows it.
fn assignment<'t>(text: &str, word: &Word, tail: &'t [Token]) -> Option<(Assignment, &'t [Token])> {
    let mut value = word.clone();
    let (head, offset) = {
        let piece = value.pieces.first()?;
        let Content::Literal(literal) = &piece.content else { return None };
        if piece.quote != super::shell::Quote::None {
            return None;
        }
        let equals = literal.find('=')?;
        let head = literal.get(..equals)?.to_owned();
        // An escaped or joined name makes a command's name, not an assignment.
        if text.get(word.range.start..)?.get(..equals + 1)?.strip_suffix('=')? != head {
            return None;
        }
        (head, piece.range.start + equals)
    };
    let (target, append) = match head.strip_suffix('+') {
        Some(target) => (target, true),
        None => (head.as_str(), false),
    };
    let (name, index) = match target.split_once('[') {
        Some((name, index)) => (name, Some(index.strip_suffix(']')?.to_owned())),
        None => (target, None),
    };
    let mut bytes = name.bytes();
    if !bytes.next().is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        || !bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
    {
        return None;
    }
    if let Some(piece) = value.pieces.first_mut() {
        piece.range.start = offset + 1;
        if let Content::Literal(literal) = &mut piece.content {
            literal.drain(..=head.len());
            if literal.is_empty() {
                value.pieces.remove(0);
            }
        }
    }
    value.range.start = offset + 1;
    let mut found = Assignment {
        name: name.to_owned(),
        index,
        append,
        array: false,
        range: word.range.clone(),
        value_range: value.range.clone(),
        line: word.line,
        value: Vec::new(),
        conditional: false,
        prefix: false,
    };
    if value.pieces.is_empty()
        && let Some((Token::Op("(", open), mut rest)) = tail.split_first()
        && open.start == word.range.end
    {
        found.array = true;
        let mut end = open.end;
        while let Some((token, behind)) = rest.split_first() {
            rest = behind;
            match token {
                Token::Op(")", range) => {
                    end = range.end;
                    break;
                }
                Token::Op(_, range) => end = range.end,
                Token::Word(word) => {
                    end = word.range.end;
                    found.value.push(word.clone());
                }
            }
        }
        found.range.end = end;
        found.value_range = open.start..end;
        return Some((found, rest));
    }
    found.value.push(value);
    Some((found, tail))
}

/// What a variable comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its text; the words of an array are joined by spaces.
    pub text: String,
    /// False if a command, a condition or something else takes part that only a shell finds out.
    pub certain: bool,
    /// The assignments that made it: (index of the script, index into its assignments).
    pub from: Vec<(usize, usize)>,
}

/// Sources scripts in order. `bash` says whether the shell knows `+=`.
pub fn evaluate(scripts: &[&Script], bash: bool) -> BTreeMap<String, Value> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for (number, script) in scripts.iter().enumerate() {
        for (position, assignment) in script.assignments.iter().enumerate() {
            if assignment.prefix || assignment.append && !bash {
                continue;
            }
            let name = match &assignment.index {
                Some(index) => format!("{}[{index}]", assignment.name),
                None => assignment.name.clone(),
            };
            let mut value = Value { text: String::new(), certain: true, from: vec![(number, position)] };
            let former = values.get(&name);
            if let Some(former) = former.filter(|_| assignment.append || assignment.conditional) {
                if assignment.append {
                    value.text.clone_from(&former.text);
                    if assignment.array && !value.text.is_empty() {
                        value.text.push(' ');
                    }
                }
                value.certain = former.certain;
                join(&mut value.from, &former.from);
            }
            value.certain &= !assignment.conditional;
            let mut parts = Vec::new();
            for word in &assignment.value {
                value.certain &= !word.pieces.iter().any(|piece| piece.content == Content::Opaque);
                parts.push(word.expand(|variable| {
                    let Some(other) = values.get(variable) else { return Some(String::new()) };
                    join(&mut value.from, &other.from);
                    value.certain &= other.certain;
                    Some(other.text.clone())
                }));
            }
            value.text.push_str(&parts.join(" "));
            // A file that doubles a value in each line must not fill the memory.
            if value.text.len() > 1 << 20 {
                value.text.clear();
                value.certain = false;
            }
            values.insert(name, value);
        }
    }
    values
}

fn join(into: &mut Vec<(usize, usize)>, more: &[(usize, usize)]) {
    for item in more {
        if !into.contains(item) {
            into.push(*item);
        }
    }
    into.sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str, name: &str) -> Value {
        evaluate(&[&parse(text)], true).remove(name).unwrap_or_default()
    }

    #[test]
    fn the_last_assignment_wins() {
        let text = "A=1\nA=2 # x\n";
        let found = value(text, "A");
        assert_eq!((found.text.as_str(), found.certain, found.from), ("2", true, vec![(0, 1)]));
    }

    #[test]
    fn a_reference_keeps_what_was_there() {
        let found = value("A=\"quiet splash\"\nB=x\nA=\"$A tok ${B}\"\n", "A");
        assert_eq!((found.text.as_str(), found.certain), ("quiet splash tok x", true));
        assert_eq!(found.from, [(0, 0), (0, 1), (0, 2)]);
        let found = value("A=a\nA+=\" b\"\n", "A");
        assert_eq!((found.text.as_str(), found.from.len()), ("a b", 2));
        assert_eq!(evaluate(&[&parse("A=a\nA+=\" b\"\n")], false)["A"].text, "a");
    }

    #[test]
    fn values_over_files() {
        let (one, two) = (parse("A=\"quiet\"\n"), parse("A=\"$A iommu=pt\"\n"));
        let values = evaluate(&[&one, &two], false);
        assert_eq!(values["A"].text, "quiet iommu=pt");
        assert_eq!(values["A"].from, [(0, 0), (1, 0)]);
    }

    #[test]
    fn what_only_a_shell_knows_is_not_certain() {
        for text in ["A=`x`", "A=$(x)", "A=\"${B:-c}\"", "if x; then A=1; fi", "x && A=1", "(A=1)", "f() { A=1; }"] {
            let script = parse(text);
            assert_eq!(script.assignments.len(), 1, "{text}");
            assert!(!value(text, "A").certain, "{text}");
        }
        assert!(value("if x; then y; fi\nA=1", "A").certain);
        assert!(value("x && y\nA=1", "A").certain);
    }

    #[test]
    fn a_command_takes_the_assignment_in_front_of_it() {
        let script = parse("A=quiet splash\nexport B=1 C\n");
        assert!(script.assignments[0].prefix);
        assert!(!script.assignments[1].prefix);
        assert_eq!(script.commands.len(), 2);
        assert_eq!(value("A=quiet splash", "A").from.len(), 0);
    }

    #[test]
    fn arrays_and_keys() {
        let text = "MODULES=(  vfio_pci 'vfio' \\\n vfio_iommu_type1 # why\n x)\nMODULES+=(i915)\n\
                    K[default]=\"root=a\"\nK[default]+=\" quiet\"\nE=()\n";
        let script = parse(text);
        assert_eq!(value(text, "MODULES").text, "vfio_pci vfio vfio_iommu_type1 x i915");
        assert_eq!(value(text, "K[default]").text, "root=a quiet");
        assert_eq!(value(text, "E").text, "");
        assert_eq!(&text[script.assignments[1].value_range.clone()], "(i915)");
        assert_eq!(script.assignments[1].line, 4);
        assert_eq!(&text[script.assignments[2].value_range.clone()], "\"root=a\"");
    }

    #[test]
    fn own_text_leaves_references_out() {
        let script = parse("A=\"$A tok\"'x'$B");
        assert_eq!(script.assignments[0].own_text(), " tokx");
        assert!(script.assignments[0].refers_to("A"));
    }

    #[test]
    fn doubling_ends() {
        let text = "A=aaaaaaaa\n".to_owned() + &"A=$A$A\n".repeat(200);
        assert!(!value(&text, "A").certain);
    }

    /// Compares with a real shell.
    #[test]
    #[allow(clippy::disallowed_methods)]
    fn a_shell_agrees() {
        let texts = [
            "GRUB_DEFAULT=0\nA=\"quiet splash\"\nA=\"$A iommu=pt\"\n",
            "A='it'\\''s'\"a \\\"b\\\" \\\\ \\$x\"\\ end",
            "A=a\\\nb\nB=1",
            "A=\"a\\\nb\"\r\n",
            "A=x\r\nA=$A\r",
            "# A=1\nA=2#3\n#A=4",
            "export A=\"1 2\"",
            "A=1; A=\"${A}2\"; B=$A",
            "A=\"\"'' ",
            "  A=b\tC=d\n",
            "A=\"tab\there\"",
            "A=a\"b\"'c'd\\e",
            "A=\"é ß\"",
        ];
        for text in texts {
            let ours = value(text, "A");
            let dir = tempfile::tempdir().expect("temporary directory");
            let file = dir.path().join("f");
            std::fs::write(&file, text).expect("written");
            let run = std::process::Command::new("sh")
                .args(["-c", ". \"$1\"; printf %s \"$A\"", "sh"])
                .arg(&file)
                .output()
                .expect("sh runs");
            assert_eq!(ours.text, String::from_utf8_lossy(&run.stdout), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_ranges_hold(text in "[AB=+\\[\\]()'\"$`\\\\;& \n-]{0,60}") {
            let script = parse(&text);
            for assignment in &script.assignments {
                prop_assert!(text[assignment.range.clone()].starts_with(&assignment.name));
                prop_assert!(text.get(assignment.value_range.clone()).is_some());
                prop_assert!(assignment.value_range.end <= assignment.range.end);
                assignment.own_text();
            }
            evaluate(&[&script, &script], true);
        }

        #[test]
        fn quoted_text_comes_back(text in "[ -~]{0,30}") {
            let quoted = format!("A='{}'", text.replace('\'', "'\\''"));
            prop_assert_eq!(value(&quoted, "A").text, text);
        }
    }
}
