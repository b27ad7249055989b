//! GRUB with grub-mkconfig: `/etc/default/grub`, its drop-ins, grub.cfg.
//!
//! Where the generator sources drop-ins (Debian's patch to grub-mkconfig), words go into a file of vfioneer's own; elsewhere
//! the last line that sets `GRUB_CMDLINE_LINUX_DEFAULT` is edited. grub-mkconfig itself fills its output in place
//! (`cat grub.cfg.new > grub.cfg`, GRUB 2.06 and 2.12), so it is given a temporary name.

use super::super::Work;
use super::{Todo, WordChange, has_word, todo};
use crate::facts::boot::{BY_HAND, Boot, Generator, Place};
use crate::facts::{Snapshot, TextFile};
use crate::parse::cmdline;
use crate::parse::grub_default::{CMDLINE, GrubDefault};
use crate::parse::shell_edit::{with, with_line, without};
use crate::steps::reasons::reason;
use crate::steps::{Action, Product, Step};

/// The variable whose words normal entries get, and recovery entries don't.
const DEFAULT: &str = "GRUB_CMDLINE_LINUX_DEFAULT";
/// The file of vfioneer's own.
const OWN: &str = "/etc/default/grub.d/99-vfioneer.cfg";
const OWN_HEAD: &str = "# Written by vfioneer; `vfioneer rollback` takes it away again.\n";
/// Makes the entry "without passthrough". Scripts run in the order of their names: no entry of another moves.
const ESCAPE: &str = "/etc/grub.d/99_vfioneer";
const ESCAPE_SCRIPT: &str = include_str!("files/99_vfioneer");

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = sources(snap, change);
    let boot = &snap.boot;
    work.notes.extend(by_hand_entries(boot, change));
    let fresh = !change.escape || boot.grub_configs.iter().any(|config| config.file.text.contains(ESCAPE));
    if work.manual.is_empty() && work.files.is_empty() && todo(boot, change).is_empty() && fresh {
        return work;
    }
    let Some((program, output)) = generator(boot) else {
        if work.manual.is_empty() {
            work.manual = to_do(&todo(boot, change), &change.add);
        }
        work.manual.push(reason("grub-no-config", &[]));
        return Work { files: Vec::new(), ..work };
    };
    if work.manual.is_empty() && boot.grub.transactional {
        work.manual = by_hand("grub-by-hand", &todo(boot, change), &change.add);
        work.manual.push(reason("then-run", &[("command", "transactional-update grub.cfg")]));
        return Work { files: Vec::new(), ..work };
    }
    if !work.manual.is_empty() {
        work.manual.push(reason("then-run", &[("command", &format!("{program} -o {output}"))]));
        return Work { files: Vec::new(), ..work };
    }
    work.commands.push(Step {
        action: Action::Generate {
            argv: [program, "-o", "{out}"].map(str::to_owned).to_vec(),
            output: output.to_owned(),
            product: Product::GrubConfig { words: change.add.clone() },
        },
        why: reason("grub-config", &[]),
    });
    work
}

/// Entries that a person wrote get no words from the generator: which of them lack one.
fn by_hand_entries(boot: &Boot, change: &WordChange) -> Option<String> {
    let lacks = |place: &&Place| change.add.iter().any(|word| !has_word(&place.words, word));
    let places = boot.places.iter().filter(|place| place.effective && place.key == BY_HAND);
    let titles: Vec<&str> = places.filter(lacks).filter_map(|place| place.title.as_deref()).collect();
    let values = [("titles", titles.join(", ")), ("words", change.add.join(" "))];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    (!titles.is_empty()).then(|| reason("grub-by-hand-entries", &values))
}

/// The files from which GRUB's generator takes words and entries: only their part of the work.
pub(super) fn sources(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = Work::default();
    let todo = Todo { add: change.add.clone(), remove: change.remove.clone() };
    match Sources::of(&snap.boot.grub).change(&todo) {
        Ok(steps) => work.files.extend(steps),
        Err(manual) => work.manual.extend(manual),
    }
    let escape = snap.own.text(ESCAPE);
    if change.escape && escape != Some(ESCAPE_SCRIPT) {
        work.files.push(Step::write(ESCAPE, escape, ESCAPE_SCRIPT, 0o755, reason("grub-escape", &[])));
    }
    work
}

/// The generator's name and what it writes, by what the host has.
fn generator(boot: &Boot) -> Option<(&'static str, &'static str)> {
    const KNOWN: &[(&str, &str)] =
        &[("grub-mkconfig", "/boot/grub/grub.cfg"), ("grub2-mkconfig", "/boot/grub2/grub.cfg")];
    let there = |path: &str| {
        boot.grub_configs.iter().any(|config| !config.stub && config.file.path == path)
            || boot.unread.iter().any(|(unread, _)| unread == path)
    };
    let found = |wanted: Option<&str>| {
        KNOWN.iter().find(|(name, path)| wanted.is_none_or(|wanted| wanted == *name) && there(path)).copied()
    };
    found(boot.grub.program).or_else(|| found(None))
}

/// One file that the generator sources.
struct Source {
    path: String,
    before: Option<String>,
    text: String,
}

/// All of them, in order.
struct Sources {
    files: Vec<Source>,
    bash: bool,
    drop_ins: bool,
}

impl Sources {
    fn of(generator: &Generator) -> Sources {
        let source = |file: &std::sync::Arc<TextFile>| Source {
            path: file.path.clone(),
            before: Some(file.text.clone()),
            text: file.text.clone(),
        };
        let files = generator.files.iter().map(source).collect();
        Sources { files, bash: generator.bash, drop_ins: generator.drop_ins }
    }

    fn read(&self) -> GrubDefault {
        let texts: Vec<&str> = self.files.iter().map(|file| file.text.as_str()).collect();
        GrubDefault::read(&texts, self.bash)
    }

    /// The words that normal entries get.
    fn words(&self) -> Vec<String> {
        let read = self.read();
        CMDLINE.iter().filter_map(|name| read.values.get(*name)).flat_map(|value| cmdline::words(&value.text)).collect()
    }

    /// Those of them that no condition decides about.
    fn certain_words(&self) -> Vec<String> {
        let read = self.read();
        let certain = |name: &str| read.values.get(name).is_none_or(|value| value.certain);
        let settings = read.settings().into_iter().filter(|setting| setting.counts && !setting.assignment.conditional);
        let mut words: Vec<String> =
            settings.filter(|setting| !certain(&setting.assignment.name)).flat_map(|setting| setting.words).collect();
        words.extend(CMDLINE.iter().filter_map(|name| read.value(name)).flat_map(cmdline::words));
        words
    }

    /// The steps, or what a person has to do.
    fn change(mut self, todo: &Todo) -> Result<Vec<Step>, Vec<String>> {
        let (before, certain) = (self.words(), self.certain_words());
        let others = self.others();
        self.take_out(&todo.remove);
        let missing: Vec<String> = todo.add.iter().filter(|word| !has_word(&certain, word)).cloned().collect();
        let mut wanted: Vec<String> = before;
        wanted.retain(|word| !has_word(&todo.remove, word));
        wanted.extend(missing.iter().cloned());
        if !missing.is_empty() && missing.iter().all(|word| is_plain(word)) {
            self.put_in(&missing, &wanted);
        }
        // Read back: the words as wanted, and nothing else is another.
        if sorted(self.words()) != sorted(wanted) || self.others() != others || self.unreadable() {
            let why = match () {
                () if self.files.iter().all(|file| file.before.is_none()) => "grub-no-defaults",
                () if self.unreadable() => "grub-unreadable",
                () => "grub-by-hand",
            };
            return Err(by_hand(why, todo, &missing));
        }
        Ok(self.steps(todo, &missing))
    }

    /// The other variables' values.
    fn others(&self) -> Vec<(String, String)> {
        let values = self.read().values.into_iter();
        values.filter(|(name, _)| !CMDLINE.contains(&name.as_str())).map(|(name, value)| (name, value.text)).collect()
    }

    /// True if a changed file holds bytes that are no UTF-8: they could not be kept.
    fn unreadable(&self) -> bool {
        let changed = |file: &&Source| file.before.as_ref() != Some(&file.text);
        self.files.iter().filter(changed).any(|file| file.text.contains(char::REPLACEMENT_CHARACTER))
    }

    fn take_out(&mut self, words: &[String]) {
        let read = self.read();
        // From the end, so that what stands in front keeps its place.
        for setting in read.settings().iter().rev().filter(|setting| setting.counts) {
            if let Some(file) = self.files.get_mut(setting.file)
                && let Some(text) = without(&file.text, setting.assignment, words)
            {
                file.text = text;
            }
        }
    }

    /// Into the own file; where there is none, or a later file replaces it, into the last line that counts.
    fn put_in(&mut self, words: &[String], wanted: &[String]) {
        if self.drop_ins {
            let present = self.files.iter().position(|file| file.path == OWN);
            let at = present.unwrap_or_else(|| {
                let after = |file: &Source| file.path.as_str() > OWN && file.path.starts_with("/etc/default/grub.d/");
                let at = self.files.iter().position(after).unwrap_or(self.files.len());
                self.files.insert(at, Source { path: OWN.into(), before: None, text: OWN_HEAD.into() });
                at
            });
            let former = self.files.get(at).map(|file| file.text.clone());
            self.put_into(at, words);
            if sorted(self.words()) == sorted(wanted.to_vec()) {
                return;
            }
            match (present, former) {
                (Some(_), Some(former)) => {
                    if let Some(file) = self.files.get_mut(at) {
                        file.text = former;
                    }
                }
                _ => {
                    self.files.remove(at);
                }
            }
        }
        let read = self.read();
        let last = read.settings().into_iter().rfind(|setting| setting.assignment.name == DEFAULT && setting.counts);
        let at = last.map_or(self.files.len().saturating_sub(1), |setting| setting.file);
        self.put_into(at, words);
    }

    /// Into the last assignment of a file, or a line of its own.
    fn put_into(&mut self, at: usize, words: &[String]) {
        let read = self.read();
        let Some(file) = self.files.get_mut(at) else { return };
        let last = read.settings().into_iter().rfind(|setting| {
            let assignment = setting.assignment;
            setting.file == at && assignment.name == DEFAULT && setting.counts && !assignment.conditional
        });
        let edited = last.and_then(|setting| with(&file.text, setting.assignment, words));
        file.text =
            edited.unwrap_or_else(|| with_line(&file.text, &format!("{DEFAULT}=\"${DEFAULT} {}\"", words.join(" "))));
    }

    fn steps(&self, todo: &Todo, missing: &[String]) -> Vec<Step> {
        let mut steps = Vec::new();
        for file in self.files.iter().filter(|file| file.before.as_ref() != Some(&file.text)) {
            let before = file.before.as_deref();
            let gone: Vec<String> = todo.remove.iter().filter(|word| had(before, &file.text, word)).cloned().collect();
            let came: Vec<String> = missing.iter().filter(|word| file.text.contains(word.as_str())).cloned().collect();
            let mut why = Vec::new();
            if !came.is_empty() {
                let id = if file.path == OWN { "grub-words-own" } else { "grub-words" };
                why.push(reason(id, &[("words", &came.join(" "))]));
            }
            if !gone.is_empty() {
                why.push(reason("words-gone", &[("words", &gone.join(" "))]));
            }
            let why = why.join(" ");
            let empty = file.path == OWN && file.text.lines().all(|line| line.is_empty() || line.starts_with('#'));
            steps.push(match before.filter(|_| empty) {
                Some(before) => Step::remove(OWN, before, why),
                None => Step::write(&file.path, before, file.text.clone(), 0o644, why),
            });
        }
        steps
    }
}

/// True if a word stood in a text more often than it does now.
fn had(before: Option<&str>, now: &str, word: &str) -> bool {
    before.is_some_and(|before| before.matches(word).count() > now.matches(word).count())
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

/// True if neither the shell nor GRUB's scripts give any character of a word a meaning of its own.
fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.,:=+@%/^-".contains(&byte))
}

fn by_hand(why: &str, todo: &Todo, missing: &[String]) -> Vec<String> {
    std::iter::once(reason(why, &[])).chain(to_do(todo, missing)).collect()
}

fn to_do(todo: &Todo, missing: &[String]) -> Vec<String> {
    let mut manual = Vec::new();
    if !missing.is_empty() {
        manual.push(reason("add-by-hand-to", &[("words", &missing.join(" ")), ("place", DEFAULT)]));
    }
    if !todo.remove.is_empty() {
        manual.push(reason("remove-by-hand", &[("words", &todo.remove.join(" "))]));
    }
    manual
}

#[cfg(test)]
mod tests;
