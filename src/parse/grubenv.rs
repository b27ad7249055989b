//! GRUB's environment block: `name=value` lines behind a first comment, filled up with `#` to a fixed size.
//!
//! Goes in: the text of a grubenv. Comes out: the text with kernel words put into or taken out of a variable, just as long.
//!
//! Rules: GRUB `grub-core/lib/envblk.c` (the block begins with `# GRUB Environment Block` and a line end; in a value a backslash
//! quotes a backslash or a line end; `grub-editenv` makes 1024 bytes, and GRUB itself writes only within the size that is there).

use super::lines::lines;
use super::word_edit;
use std::ops::Range;

/// Edits the kernel words of a variable. `None` if the text is no environment block, the variable is not in it, its value has a
/// backslash, or there is no room.
pub fn edit(text: &str, name: &str, add: &[String], remove: &[String]) -> Option<String> {
    let range = value(text, name)?;
    let without = word_edit::without(text, range.clone(), remove);
    let range = range.start..range.end - (text.len() - without.len());
    fill(&word_edit::with(&without, range, add), text.len())
}

/// What every block begins with.
const SIGNATURE: &str = "# GRUB Environment Block\n";

/// The bytes of a variable's value.
fn value(text: &str, name: &str) -> Option<Range<usize>> {
    if !text.starts_with(SIGNATURE) {
        return None;
    }
    let start = format!("{name}=");
    let line = lines(text).find(|line| line.text.starts_with(&start))?;
    let range = line.start + start.len()..line.range().end;
    (!line.text.contains('\\') && !line.ending.is_empty()).then_some(range)
}

/// Gives a block its size again by the `#` at its end.
fn fill(text: &str, size: usize) -> Option<String> {
    let variables = text.trim_end_matches('#');
    if !variables.ends_with('\n') || variables.len() > size {
        return None;
    }
    Some(format!("{variables}{}", "#".repeat(size - variables.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(variables: &str) -> String {
        let text = format!("{SIGNATURE}{variables}");
        format!("{text}{}", "#".repeat(1024 - text.len()))
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_of_a_variable() {
        let before = block("saved_entry=1-4.18\nkernelopts=root=/dev/sda1 ro quiet \nboot_success=0\n");
        let after = block("saved_entry=1-4.18\nkernelopts=root=/dev/sda1 ro intel_iommu=on \nboot_success=0\n");
        assert_eq!(edit(&before, "kernelopts", &words("intel_iommu=on"), &words("quiet")), Some(after));
        assert_eq!(edit(&before, "tuned_params", &words("a"), &[]), None);
        assert_eq!(edit("kernelopts=a\n", "kernelopts", &words("a"), &[]), None);
        let full = block(&format!("kernelopts={}\n", "x".repeat(980)));
        assert_eq!(edit(&full, "kernelopts", &words("intel_iommu=on"), &[]), None);
        assert_eq!(edit(&block("kernelopts=a\\\\b\n"), "kernelopts", &words("a"), &[]), None);
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(
            front in "([a-f]{1,3}=[a-z0-9 #]{0,12}\n){0,3}", value in "([a-e]{1,3}(=[0-9]{1,2})? ){0,6}", back in "([g-k]{1,3}=[#a-z]{0,9}\n){0,3}",
            more in prop::collection::vec("[v-z]{2}(=[0-9])?", 0..4),
        ) {
            let text = block(&format!("{front}kernelopts={value}\n{back}"));
            let edited = edit(&text, "kernelopts", &more, &[]).unwrap();
            prop_assert_eq!(edited.len(), 1024);
            prop_assert_eq!(edit(&edited, "kernelopts", &[], &more).unwrap(), text);
        }
    }
}
