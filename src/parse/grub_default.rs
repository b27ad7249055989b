//! `/etc/default/grub` and the files that are sourced after it.
//!
//! Goes in: the texts in the order in which grub-mkconfig sources them. Comes out: what each variable comes to, and
//! every line that sets kernel words, with its position and whether it takes part in the result.
//!
//! Rules: GRUB manual, "Simple configuration handling". GRUB_CMDLINE_LINUX goes to every Linux entry,
//! GRUB_CMDLINE_LINUX_DEFAULT to all but the recovery entries.

use super::cmdline;
use super::shell_vars::{Assignment, Script, Value, evaluate, parse};
use std::collections::BTreeMap;

/// The variables that give words to the kernel, the one for all entries first.
pub const CMDLINE: &[&str] = &["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"];

/// All the files together.
#[derive(Clone, Debug, Default)]
pub struct GrubDefault {
    /// One per file, in order.
    pub scripts: Vec<Script>,
    /// What each variable comes to.
    pub values: BTreeMap<String, Value>,
}

/// One assignment to one of [`CMDLINE`].
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Index of the file.
    pub file: usize,
    /// The assignment.
    pub assignment: &'a Assignment,
    /// The kernel words that stand in the assignment itself.
    pub words: Vec<String>,
    /// True if the variable's value comes from it: it is not overwritten later.
    pub counts: bool,
}

impl GrubDefault {
    /// Sources the texts in order; `bash` if `/bin/sh` is bash, which knows `+=`.
    pub fn read(texts: &[&str], bash: bool) -> GrubDefault {
        let scripts: Vec<Script> = texts.iter().map(|text| parse(text)).collect();
        let values = evaluate(&scripts.iter().collect::<Vec<_>>(), bash);
        GrubDefault { scripts, values }
    }

    /// The value of a variable, if it is set and nothing that only a shell finds out takes part.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).filter(|value| value.certain).map(|value| value.text.as_str())
    }

    /// Every assignment to a variable of [`CMDLINE`], in order.
    pub fn settings(&self) -> Vec<Setting<'_>> {
        let mut found = Vec::new();
        for (file, script) in self.scripts.iter().enumerate() {
            for (position, assignment) in script.assignments.iter().enumerate() {
                if !CMDLINE.contains(&assignment.name.as_str()) {
                    continue;
                }
                let counts =
                    self.values.get(&assignment.name).is_some_and(|value| value.from.contains(&(file, position)));
                found.push(Setting { file, assignment, words: cmdline::words(&assignment.own_text()), counts });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "# If you change this file, run 'update-grub' afterwards\nGRUB_DEFAULT=0\nGRUB_TIMEOUT=5\n\
        GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`\n\
        GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n#GRUB_CMDLINE_LINUX_DEFAULT=\"quiet nomodeset\"\nGRUB_CMDLINE_LINUX=\"\"\n";

    fn counted(files: &GrubDefault) -> Vec<(usize, u32, &str, String, bool)> {
        let show = |s: &Setting<'_>| (s.file, s.assignment.line, s.words.join(" "), s.counts);
        files
            .settings()
            .iter()
            .map(|s| {
                let (file, line, words, counts) = show(s);
                (file, line, if s.assignment.name == CMDLINE[0] { "all" } else { "default" }, words, counts)
            })
            .collect()
    }

    #[test]
    fn own_file_of_a_tool_adds_to_the_value() {
        let own = "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT intel_iommu=on iommu=pt\"\n";
        let files = GrubDefault::read(&[DEBIAN, own], false);
        assert_eq!(files.value("GRUB_CMDLINE_LINUX_DEFAULT"), Some("quiet intel_iommu=on iommu=pt"));
        assert_eq!(files.value("GRUB_DISTRIBUTOR"), None);
        let expected = [
            (0, 5, "default", "quiet".to_owned(), true),
            (0, 7, "all", String::new(), true),
            (1, 1, "default", "intel_iommu=on iommu=pt".to_owned(), true),
        ];
        assert_eq!(counted(&files), expected);
    }

    #[test]
    fn a_later_file_replaces_the_value() {
        let cloud = "# Cloud Image specific Grub settings\r\nGRUB_CMDLINE_LINUX_DEFAULT='console=tty1 console=ttyS0'";
        let files = GrubDefault::read(&[DEBIAN, cloud], false);
        assert_eq!(files.value("GRUB_CMDLINE_LINUX_DEFAULT"), Some("console=tty1 console=ttyS0"));
        let settings = counted(&files);
        assert!(!settings[0].4 && settings[2].4);
    }

    #[test]
    fn repeated_lines_and_appending() {
        let text = "GRUB_CMDLINE_LINUX=\"rhgb\"\nGRUB_CMDLINE_LINUX=\"a=1 \\\n b=2\"\nGRUB_CMDLINE_LINUX+=\" c\"\n";
        let bash = GrubDefault::read(&[text], true);
        assert_eq!(counted(&bash).iter().map(|s| s.4).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(counted(&bash)[1].3, "a=1 b=2");
        assert_eq!(bash.value("GRUB_CMDLINE_LINUX").map(cmdline::words), Some(cmdline::words("a=1 b=2 c")));
        let dash = GrubDefault::read(&[text], false);
        assert_eq!(counted(&dash).iter().map(|s| s.4).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn one_variable_within_the_other() {
        let text = "GRUB_CMDLINE_LINUX_DEFAULT=quiet\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX_DEFAULT x\"\n";
        let files = GrubDefault::read(&[text], false);
        assert_eq!(files.value("GRUB_CMDLINE_LINUX"), Some("quiet x"));
    }
}
