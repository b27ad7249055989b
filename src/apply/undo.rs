//! The way back. The order is that of the plan, for the same reason: configuration first, which nothing boots by itself, then what is
//! made from it. Only what was done to functions of the running host is undone before.

use super::execute::{Did, Failure, Work};
use super::files::parent;
use super::journal::{Journal, Left, Record};
use super::store::Stored;
use super::{Event, bind, command, files, generate, sriov};
use crate::facts::{self, Needs, initramfs, kernel};
use crate::host::Fact;
use crate::steps::{Action, Expectation, Product, Step};
use std::collections::BTreeSet;

/// What kernel-install makes the entries of later kernels from.
const CMDLINE: &str = "/etc/kernel/cmdline";
/// Where entries are, on whatever holds them.
const ENTRIES: &str = "/loader/entries/";

/// When what is undone.
fn phase(action: &Action) -> u8 {
    match action {
        Action::Bind { .. } | Action::VirtualFunctions { .. } => 0,
        Action::WriteFile { .. } | Action::RemoveFile { .. } => 1,
        Action::Generate { .. } => 2,
        Action::Run { .. } => 3,
    }
}

/// The steps in the order in which they are undone.
fn order(plan: &Stored) -> Vec<(usize, &Step)> {
    let mut steps: Vec<(usize, &Step)> = plan.steps.iter().enumerate().collect();
    steps.sort_by_key(|(number, step)| {
        let phase = phase(&step.action);
        let number = i64::try_from(*number).unwrap_or(i64::MAX);
        (phase, if phase < 2 { -number } else { number })
    });
    steps
}

impl Work<'_> {
    /// Undoes what began and is not undone yet. `same_boot`: nothing was booted since. Fails with the step and why.
    pub(super) fn undo(&mut self, journal: &Journal, same_boot: bool) -> Result<Vec<Left>, (usize, Failure)> {
        let mut left: Vec<Left> =
            journal.steps.values().flat_map(|step| step.undone.iter().flatten()).cloned().collect();
        // Room for what follows, where the disk is full.
        let _ = self.host.remove(&self.reserve());
        let mut newer = journal.steps.iter().any(|(number, progress)| {
            let generates = self.plan.steps.get(*number).is_some_and(|step| phase(&step.action) == 2);
            generates && progress.before.is_some()
        });
        for (number, step) in order(self.plan) {
            // Commands copy images to where they boot from: these are right by then.
            if phase(&step.action) > 2 && std::mem::take(&mut newer) {
                left.extend(self.newer_images());
            }
            let Some(progress) = journal.steps.get(&number) else { continue };
            if progress.before.is_none() || progress.undone.is_some() {
                continue;
            }
            if same_boot || phase(&step.action) > 0 {
                (self.listen)(Event::Undo(&step.action));
            }
            // Best effort: undoing again what is undone changes nothing.
            let _ = self.note(&Record::UndoIntent { step: number });
            let here = self.back(number, &step.action, journal, same_boot, &left).map_err(|f| (number, f))?;
            let _ = self.note(&Record::Undone { step: number, left: here.clone() });
            left.extend(here);
        }
        if newer {
            left.extend(self.newer_images());
        }
        if journal.applied {
            left.extend(self.newer_entries());
        }
        Ok(left)
    }

    fn back(
        &mut self,
        step: usize,
        action: &Action,
        journal: &Journal,
        same_boot: bool,
        left: &[Left],
    ) -> Did<Vec<Left>> {
        let Some(progress) = journal.steps.get(&step) else { return Ok(Vec::new()) };
        match action {
            Action::WriteFile { path, after, .. } => {
                let later = command::later(self.plan, journal, step, path);
                files::restore(self, path, Some(after.as_bytes()), progress, &later)
            }
            Action::RemoveFile { path, .. } => {
                let later = command::later(self.plan, journal, step, path);
                files::restore(self, path, None, progress, &later)
            }
            Action::Generate { argv, output, product } if journal.applied => {
                generate::back_again(self, argv, output, product, progress)
            }
            Action::Generate { argv, output, product } => generate::put_back(self, argv, output, product, progress),
            Action::Run { undo, touches, fence, .. } => {
                let undo = if self.is_for_removed(undo) { &[] } else { undo.as_slice() };
                let undo = command::Undo { argv: undo, touches, fence: fence.as_ref(), left };
                command::undo(self, step, &undo, progress)
            }
            Action::Bind { .. } if same_boot => bind::give_back(self, progress),
            Action::VirtualFunctions { .. } if same_boot => sriov::take_back(self, step, progress),
            Action::Bind { .. } | Action::VirtualFunctions { .. } => Ok(Vec::new()),
        }
    }

    /// True if a command is about an image that is gone, with its kernel.
    fn is_for_removed(&self, argv: &[String]) -> bool {
        self.plan.steps.iter().any(|step| {
            let Action::Generate { output, .. } = &step.action else { return false };
            argv.contains(output) && self.host.stat(output).is_absent()
        })
    }

    /// A file that only takes room, so that there is some when the disk is full.
    pub(super) fn reserve(&self) -> String {
        format!("{}/reserve", self.dir)
    }

    /// Kernels that were installed since have images that were made with vfioneer's files. They are made again without.
    fn newer_images(&mut self) -> Vec<Left> {
        let needs = Needs { kernel: true, boot: true, ..Needs::LIST };
        let kernel = kernel::collect(self.host, needs);
        let mut images = initramfs::collect(self.host, needs, &kernel).images;
        // Those elsewhere and unified ones may be made of those in `/boot`.
        images.sort_by_key(|image| (image.unified, parent(&image.path) != "/boot"));
        let plan = self.plan;
        let mut left = Vec::new();
        for image in &images {
            let known = |step: &&Step| matches!(&step.action, Action::Generate { output, .. } if *output == image.path);
            if plan.steps.iter().any(|step| known(&step)) || !is_ours(self, &image.path) {
                continue;
            }
            let Some((argv, product)) = plan.steps.iter().find_map(|step| like(step, image)) else { continue };
            if let Err(failure) = generate::again(self, &argv, &image.path, &product) {
                let reason = format!("still claims devices when it boots: {}; make it again by hand", failure.why);
                left.push(Left { path: image.path.clone(), reason, matters: true });
            }
        }
        left
    }

    /// Entries that were made since, of kernels that were installed then, have the words that were in effect.
    fn newer_entries(&self) -> Vec<Left> {
        let words = added_words(self);
        let Fact::Known(plan) = self.host.stat(&format!("{}/plan.json", self.dir)) else { return Vec::new() };
        if words.is_empty() {
            return Vec::new();
        }
        let snap = facts::collect(self.host, Needs { images: false, ..Needs::NEXT_BOOT });
        let mut left = Vec::new();
        for place in snap.boot.places.iter().filter(|place| place.key == "options") {
            let path = &place.file.path;
            let known = self.plan.steps.iter().any(|step| step.path() == Some(path));
            let newer = self.host.stat(path).known().is_some_and(|stat| stat.mtime >= plan.mtime);
            let has: Vec<&str> = words.iter().filter(|word| place.words.contains(word)).map(String::as_str).collect();
            if path.contains(ENTRIES) && !known && newer && !has.is_empty() {
                let has = has.join(" ");
                let reason = format!("was made since and still has {has}: take that out of its line `options`");
                left.push(Left { path: path.clone(), reason, matters: true });
            }
        }
        left
    }
}

/// The words that steps added to the entries of this host, or to the file that later entries are made from.
fn added_words(work: &Work<'_>) -> Vec<String> {
    let mut added = Vec::new();
    for (number, step) in work.plan.steps.iter().enumerate() {
        let Action::WriteFile { path, before_sha256: Some(_), after, .. } = &step.action else { continue };
        let Some(after) = after.text() else { continue };
        if path != CMDLINE && !path.contains(ENTRIES) {
            continue;
        }
        let Fact::Known(before) = work.host.text(&work.copy(&number.to_string())) else { continue };
        let before: BTreeSet<&str> = before.split_whitespace().collect();
        added.extend(after.split_whitespace().filter(|word| !before.contains(word)).map(str::to_owned));
    }
    added.retain(|word| work.plan.expect.iter().any(|one| is_wanted(one, word)));
    added.sort();
    added.dedup();
    added
}

fn is_wanted(expect: &Expectation, wanted: &str) -> bool {
    matches!(expect, Expectation::Entries { word, present: true } if word == wanted)
}

/// True if an image has anything of vfioneer's.
fn is_ours(work: &Work<'_>, path: &str) -> bool {
    match initramfs::read_image(work.host, path) {
        Fact::Known(content) => content.files.keys().chain(&content.scripts).any(|path| path.contains("vfioneer")),
        _ => false,
    }
}

/// A step's command for another kernel's image.
fn like(step: &Step, image: &initramfs::Image) -> Option<(Vec<String>, Product)> {
    let Action::Generate { argv, product, .. } = &step.action else { return None };
    let release = match product {
        Product::Image { release, .. } if !image.unified => release,
        Product::Unified { release, .. } if image.unified => release,
        _ => return None,
    };
    let named =
        !release.is_empty() && !image.release.is_empty() && argv.iter().any(|word| word.contains(release.as_str()));
    named.then(|| (argv.iter().map(|word| word.replace(release.as_str(), &image.release)).collect(), product.clone()))
}
