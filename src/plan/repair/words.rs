//! Words of the kernel's command line that do nothing, that grew together, or whose ids are not read as they were meant.

use super::{all_at_least, at_lines, by_identity, directives, every_kernel, ids, value, why};
use crate::checks::cmdline_words::does_nothing;
use crate::checks::{Ctx, Finding, words};
use crate::facts::boot::Place;
use crate::facts::kernel::numbers;
use crate::parse::cmdline::{self, Cmdline};
use crate::parse::vfio_ids;
use crate::plan::case::Case;
use crate::plan::words::Word;
use std::collections::BTreeSet;

/// The words to take out, and what is put in their place.
pub(super) fn mended(case: &Case<'_>) -> Vec<Word> {
    let mut found = Words::default();
    for finding in &case.findings {
        match finding.id {
            "cmdline-word-without-effect" => dead(case, finding, &mut found),
            "cmdline-words-glued" => {
                found.remove(value(finding, "word"), finding);
                for part in ["before", "after"].map(|name| value(finding, name)) {
                    found.add(
                        &[part.to_owned()].into_iter().filter(|w| is_useful(case, w)).collect::<Vec<_>>(),
                        finding,
                    );
                }
            }
            // They are written where the loader's files are made from, and never got there.
            "cmdline-not-in-effect" if finding.variant == "not-refreshed" => {
                let words = cmdline::words(value(finding, "words"));
                found.add(&words.into_iter().filter(|word| may_take_effect(case, word)).collect::<Vec<_>>(), finding);
            }
            "blacklist-too-wide" if by_identity(case) => blacklist(case, finding, &mut found),
            _ => {}
        }
    }
    of_ids(case, &mut found);
    found.words
}

/// True if nothing says of a word that it does nothing on this host.
pub(super) fn is_useful(case: &Case<'_>, word: &str) -> bool {
    !word.is_empty() && !does_nothing(&Ctx::new(case.snap, case.goal), word)
}

/// Words that are put in effect by nobody who did not ask for them by name: they loosen isolation, or keep drivers from the
/// whole host.
const NEVER: &[&str] = &[
    "pcie_acs_override",
    "vfio_iommu_type1.allow_unsafe_interrupts",
    "iommufd.allow_unsafe_interrupts",
    "modprobe.blacklist",
    "module_blacklist",
    "rd.driver.blacklist",
    "blacklist",
    "vfioneer",
];

/// True if a word that was written, and is not in effect, may be put in effect.
pub(super) fn may_take_effect(case: &Case<'_>, word: &str) -> bool {
    let line = Cmdline::parse(word);
    let never = line.words.iter().any(|word| NEVER.iter().any(|name| word.is(name)));
    let risky = |f: &Finding| f.id == "cmdline-word-risky" && value(f, "word") == word;
    is_useful(case, word) && !never && !case.findings.iter().any(risky)
}

#[derive(Default)]
struct Words {
    words: Vec<Word>,
}

impl Words {
    fn push(&mut self, word: &str, present: bool, finding: &Finding) {
        if !self.words.iter().any(|known| known.word == word) {
            self.words.push(Word { word: word.to_owned(), present, done: false, why: why(finding) });
        }
    }

    fn remove(&mut self, word: &str, finding: &Finding) {
        self.push(word, false, finding);
    }

    fn add(&mut self, words: &[String], finding: &Finding) {
        for word in words {
            self.push(word, true, finding);
        }
    }
}

/// Words that are left alone although a finding names them: what is meant is not certain, or they do a little.
const LEFT: &[&str] = &["acs-override-maybe", "disable-vga", "isolation-overridden"];

fn dead(case: &Case<'_>, finding: &Finding, found: &mut Words) {
    let text = value(finding, "word");
    if text.is_empty() || LEFT.contains(&finding.variant) || !same_for_all(case, finding.variant) {
        return;
    }
    let line = Cmdline::parse(text);
    let Some(word) = line.words.first() else { return };
    let items: Vec<&str> = word.list().filter(|item| !item.is_empty()).collect();
    let name = text.split('=').next().unwrap_or_default();
    let whole = ["kernel-says", "misspelt"].contains(&finding.variant) || items.is_empty();
    let useful = |item: &&&str| !whole && is_useful(case, &format!("{name}={item}"));
    let kept: Vec<&str> = items.iter().filter(useful).copied().collect();
    if finding.variant == "video-joined" {
        found.remove(text, finding);
        found.add(&kept.iter().map(|item| format!("{name}={item}")).collect::<Vec<_>>(), finding);
    } else if kept.len() < items.len() || whole {
        found.remove(text, finding);
        if !kept.is_empty() {
            found.add(&[format!("{name}={}", kept.join(","))], finding);
        }
    }
}

/// True if what the finding says of the running kernel holds for every kernel that can boot.
fn same_for_all(case: &Case<'_>, variant: &str) -> bool {
    match variant {
        "framebuffer-evicted" => all_at_least(case, (6, 0)),
        "virqfd" => all_at_least(case, (6, 2)),
        "acs-override" | "relax-rmrr" => every_kernel(case, |kernel| !kernel.release.ends_with("-pve")),
        "framebuffer-simple" | "kernel-says" => {
            let releases = case.snap.kernel.installed.iter().map(|kernel| numbers(&kernel.release));
            releases.collect::<BTreeSet<_>>().len() == 1
        }
        _ => true,
    }
}

/// Blacklists of native drivers on the command line.
fn blacklist(case: &Case<'_>, finding: &Finding, found: &mut Words) {
    let module = value(finding, "module");
    for word in words::all(case.snap) {
        let lists = matches!(word.name.as_str(), "modprobe.blacklist" | "module_blacklist" | "rd.driver.blacklist");
        let is = |item: &str| crate::parse::modprobe::module_name(item) == module;
        if lists && word.items().any(is) {
            let kept: Vec<&str> = word.items().filter(|item| !is(item)).collect();
            let name = word.text.split('=').next().unwrap_or_default();
            found.remove(&word.text, finding);
            if !kept.is_empty() {
                found.add(&[format!("{name}={}", kept.join(","))], finding);
            }
        }
    }
}

/// `vfio-pci.ids=`: written as it was meant, and only once.
fn of_ids(case: &Case<'_>, found: &mut Words) {
    let about = ["ids-malformed", "ids-take-too-much", "config-line-duplicated"];
    let findings = |place: &Place| {
        let path = place.file.path.clone();
        let here = move |at: &str, line: u32| at == path && line == place.line.max(1);
        let all = about.iter().flat_map(|id| at_lines(case, id));
        let mine = all.filter(move |(_, at, line)| here(at, *line)).map(|(finding, ..)| finding);
        mine.filter(|f| f.id != "config-line-duplicated" || f.variant == "ids").collect::<Vec<_>>()
    };
    let too_much = directives::too_much(case);
    for place in case.snap.boot.places.iter().filter(|place| place.effective && !place.generated) {
        let findings = findings(place);
        let Some(first) = findings.first() else { continue };
        let lists = lists(&place.words);
        let Some((last, lost)) = lists.split_last() else { continue };
        for words in lost.iter().filter(|words| **words != *last) {
            words.iter().for_each(|word| found.remove(word, first));
        }
        let given: Vec<&str> = last.iter().map(|word| word.split_once('=').map_or(word.as_str(), |(_, v)| v)).collect();
        let given = given.join(",").replace(",,", ",");
        let mended = ids::mended(&given, &case.snap.pci, |id| too_much.contains(&id));
        if last.len() == 1 && mended.as_deref() == Some(given.as_str()) {
            continue;
        }
        last.iter().for_each(|word| found.remove(word, first));
        found.add(&mended.map(|ids| format!("vfio-pci.ids={ids}")).into_iter().collect::<Vec<_>>(), first);
    }
}

/// Each `vfio-pci.ids=` of a list of words, with the ids that stand behind it as words of their own.
fn lists(words: &[String]) -> Vec<Vec<String>> {
    let mut lists: Vec<Vec<String>> = Vec::new();
    let mut open = false;
    for text in words {
        let line = Cmdline::parse(text);
        let Some(word) = line.words.first() else { continue };
        let is_id = || vfio_ids::parse(text).iter().any(|item| item.spec.is_some());
        if word.is("vfio_pci.ids") {
            lists.push(vec![text.clone()]);
            open = true;
        } else if open && word.value.is_none() && is_id() {
            lists.last_mut().into_iter().for_each(|list| list.push(text.clone()));
        } else {
            open = false;
        }
    }
    lists
}
