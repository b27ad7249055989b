//! Unified kernel images by ukify (kernel-install with `layout=uki`) or mkinitcpio.
//!
//! Kernel, image and words are one file, so it is made anew as a whole, under another name first. kernel-install would write it in
//! place (`90-uki-copy.install`, systemd 257), as mkinitcpio would; what they call is called here.

use super::super::Work;
use super::super::initramfs::{is_right, kernel, mkinitcpio};
use super::edits::words_file;
use super::{Menu, WordChange, escape_typed, has_word, instructions, kernel_install, todo};
use crate::facts::boot::{Boot, Entry, normal_entries};
use crate::facts::{Snapshot, TextFile};
use crate::host::Fact;
use crate::parse::{cmdline, shell_vars};
use crate::steps::reasons::reason;
use crate::steps::{Action, Product, Step};
use std::collections::BTreeSet;

/// Runs the plugin of kernel-install.
const UKIFY: &str = include_str!("files/ukify.sh");
const INSTALL_CONF: &str = "/etc/kernel/install.conf";
const CMDLINE: &str = "/etc/kernel/cmdline";
/// Read after it by mkinitcpio (mkinitcpio(8)).
const DROP_INS: &str = "/etc/cmdline.d/";
const OWN: &str = "/etc/cmdline.d/vfioneer.conf";

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = Work::default();
    if change.escape && snap.system.secure_boot.known() != Some(&true) {
        work.notes.push(escape_typed(Menu::SystemdBoot, change.ids));
    }
    let entries = normal_entries(&snap.boot);
    if entries.is_empty() {
        return Work { manual: vec![reason("entries-unread", &[])], ..work };
    }
    let stale = |entry: &&Entry<'_>| {
        change.add.iter().any(|word| !entry.has(word))
            || change.remove.iter().any(|word| entry.has(word))
            || change.images && !holds(snap, entry, change)
    };
    let stale: Vec<&Entry<'_>> = entries.iter().filter(stale).collect();
    if stale.is_empty() && todo(&snap.boot, change).is_empty() {
        return work;
    }
    let made = if by_kernel_install(snap) {
        work.files.extend(source(&snap.boot, change));
        stale.iter().map(|entry| by_ukify(snap, entry, change)).collect()
    } else {
        by_mkinitcpio(snap, &stale, change, &mut work)
    };
    let Some(made) = made.filter(|_| signs(snap)) else {
        let mut by_hand = instructions::work(snap, change);
        if !signs(snap) {
            by_hand.manual.insert(0, reason("uki-signed", &[]));
        }
        return Work { notes: work.notes, ..by_hand };
    };
    work.commands.extend(made);
    work
}

/// True if an image holds what it should.
fn holds(snap: &Snapshot, entry: &Entry<'_>, change: &WordChange) -> bool {
    let Some(path) = path(entry) else { return false };
    snap.initramfs.images.iter().any(|image| image.path == path && is_right(snap, image, &change.contents))
}

fn path<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    entry.places.first().map(|place| place.file.path.as_str())
}

/// True if a new image boots: Secure Boot is off, or ukify has a key to sign with (`SecureBootPrivateKey=` in uki.conf, ukify(1)).
fn signs(snap: &Snapshot) -> bool {
    match &snap.system.secure_boot {
        Fact::Known(false) | Fact::Absent => true,
        Fact::Known(true) | Fact::Unknown(_) => {
            let key = |line: &str| line.trim_start().starts_with("SecureBootPrivateKey=");
            snap.boot.uki_conf.as_ref().is_some_and(|file| file.text.lines().any(key))
        }
    }
}

/// True if kernel-install makes the images, by ukify.
fn by_kernel_install(snap: &Snapshot) -> bool {
    let Some(conf) = snap.initramfs.config.iter().find(|file| file.path == INSTALL_CONF) else { return false };
    let values = shell_vars::evaluate(&[&shell_vars::parse(&conf.text)], false);
    let value = |name: &str| values.get(name).map_or("", |value| value.text.as_str());
    value("layout") == "uki" && matches!(value("uki_generator"), "" | "ukify") && snap.boot.ukify
}

/// The step that makes one image; `None` if what it is made from is not known.
fn by_ukify(snap: &Snapshot, entry: &Entry<'_>, change: &WordChange) -> Option<Step> {
    let (output, release) = (path(entry)?, entry.release()?);
    let stem = output.rsplit('/').next()?.strip_suffix(".efi")?;
    // Boot counting: `TOKEN-RELEASE+3-1.efi`.
    let stem =
        stem.strip_suffix(release).map_or_else(|| stem.rsplit_once('+').map(|(stem, _)| stem), |_| Some(stem))?;
    let token = stem.strip_suffix(release)?.strip_suffix('-')?;
    let image = snap.kernel.installed.iter().find(|kernel| kernel.release == release)?.image.known()?;
    let in_boot = |path: &str| path.strip_prefix("/boot/").is_some_and(|name| !name.contains('/'));
    let initramfs = snap.initramfs.of(release).find(|image| !image.unified && in_boot(&image.path))?;
    let argv = ["sh", "-c", UKIFY, "vfioneer-ukify", token, release, image, &initramfs.path, "{out}"];
    Some(Step {
        action: Action::Generate {
            argv: argv.map(str::to_owned).to_vec(),
            output: output.to_owned(),
            product: Product::Unified {
                release: release.to_owned(),
                modules: change.contents.modules_for(kernel(snap, release)),
                files: change.contents.files.clone(),
                words: change.add.clone(),
            },
        },
        why: reason("uki", &[("release", release)]),
    })
}

/// The files that mkinitcpio takes words from, and the steps that make the images that are not right.
fn by_mkinitcpio(snap: &Snapshot, stale: &[&Entry<'_>], change: &WordChange, work: &mut Work) -> Option<Vec<Step>> {
    let boot = &snap.boot;
    let builds: Vec<mkinitcpio::Build> = mkinitcpio::builds(snap).into_iter().filter(|build| build.unified).collect();
    let is_built = |entry: &&Entry<'_>| builds.iter().any(|build| Some(build.output.as_str()) == path(entry));
    if !stale.is_empty() && !stale.iter().any(is_built) {
        return None;
    }
    for path in stale.iter().filter(|entry| !is_built(entry)).filter_map(|entry| path(entry)) {
        work.manual.push(reason("image-without-preset", &[("path", path)]));
    }
    // A file that a preset names stands alone; else all of the usual ones count together (mkinitcpio(8) `--cmdline`).
    let option = |build: &mkinitcpio::Build| {
        build.argv.iter().position(|word| word == "--cmdline").and_then(|at| build.argv.get(at + 1).cloned())
    };
    let named: BTreeSet<Option<String>> = builds.iter().map(option).collect();
    for source in named {
        match source.filter(|path| path != CMDLINE) {
            Some(path) => {
                let file = sources(boot).find(|file| file.path == path)?;
                work.files.extend(edit(file, &change.add, &change.remove));
            }
            None => work.files.extend(usual(boot, change)),
        }
    }
    let outputs: Vec<&str> = stale.iter().filter_map(|entry| path(entry)).collect();
    let steps = mkinitcpio::unified(snap, &change.contents, &change.add);
    let wanted =
        |step: &Step| matches!(&step.action, Action::Generate { output, .. } if outputs.contains(&output.as_str()));
    Some(steps.into_iter().filter(wanted).collect())
}

/// `/etc/kernel/cmdline`, where it is all that gives words.
fn source(boot: &Boot, change: &WordChange) -> Option<Step> {
    kernel_install::source(boot, change).map(|step| Step { why: reason("uki-words", &[]), ..step })
}

/// The files that give words.
fn sources(boot: &Boot) -> impl Iterator<Item = &TextFile> {
    let mut seen = BTreeSet::new();
    let places = boot.places.iter().filter(|place| place.effective && !place.generated && place.key.is_empty());
    places.map(|place| &*place.file).filter(move |file| seen.insert(&file.path))
}

fn edit(file: &TextFile, add: &[String], remove: &[String]) -> Option<Step> {
    let after = words_file(&file.text, false, add, remove);
    (after != file.text).then(|| Step::write(&file.path, Some(&file.text), after, 0o644, reason("uki-words", &[])))
}

/// `/etc/kernel/cmdline` and the files of `/etc/cmdline.d`: new words go to a file of vfioneer's own where there are such files.
fn usual(boot: &Boot, change: &WordChange) -> Vec<Step> {
    let usual = |file: &&TextFile| file.path.ends_with("/kernel/cmdline") || file.path.starts_with(DROP_INS);
    let files: Vec<&TextFile> = sources(boot).filter(usual).collect();
    if !files.iter().any(|file| file.path.starts_with(DROP_INS)) {
        return source(boot, change).into_iter().collect();
    }
    let given: Vec<String> = files.iter().flat_map(|file| cmdline::words(&file.text)).collect();
    let missing: Vec<String> = change.add.iter().filter(|word| !has_word(&given, word)).cloned().collect();
    let mut steps = Vec::new();
    for file in &files {
        let own = file.path == OWN;
        let step = edit(file, if own { &missing } else { &[] }, &change.remove);
        let is_empty = |step: &Step| step.text().is_some_and(|text| cmdline::words(text).is_empty());
        steps.extend(step.map(|step| match own && is_empty(&step) {
            true => Step::remove(OWN, &file.text, step.why),
            false => step,
        }));
    }
    if !missing.is_empty() && !files.iter().any(|file| file.path == OWN) {
        steps.push(Step::write(OWN, None, missing.join(" ") + "\n", 0o644, reason("uki-words", &[])));
    }
    steps
}

#[cfg(test)]
mod tests;
