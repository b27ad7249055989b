//! Arch's mkinitcpio.
//!
//! A preset (`/etc/mkinitcpio.d/*.preset`) names one image or unified image per line of `PRESETS`, and how it is built. `mkinitcpio -p` would
//! write them in place; what it would call is called here once per output, on another name (mkinitcpio 40
//! `process_preset`: `-k`, `-c` where a configuration is named, `-g` or `-U`, the options).

use super::{Contents, OwnFile, identity_files, is_right, kernel, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::initramfs::Image;
use crate::facts::{Snapshot, TextFile};
use crate::parse::modprobe::module_name;
use crate::parse::shell_edit;
use crate::parse::shell_vars::{self, Assignment};
use crate::steps::reasons::reason;
use crate::steps::{Action, Product, Step};
use std::collections::BTreeSet;

/// Runs while an image is built.
pub(super) const INSTALL: &str = "/etc/initcpio/install/vfioneer";
/// Runs in the initramfs.
pub(super) const HOOK: &str = "/etc/initcpio/hooks/vfioneer";
/// The configuration where a preset names none.
const CONFIG: &str = "/etc/mkinitcpio.conf";
/// The hook's name in HOOKS.
const NAME: &str = "vfioneer";

/// One output of a preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The file.
    pub output: String,
    /// Is it a unified kernel image?
    pub unified: bool,
    /// The command, with `{out}` for the output.
    pub argv: Vec<String>,
    /// The kernel's release; empty if the files here do not tell.
    pub release: String,
    /// The configuration, if the preset names one; files of mkinitcpio.conf.d are then not read.
    pub config: Option<String>,
}

/// What it needs done.
pub(super) fn work(snap: &Snapshot, wanted: &Wanted, contents: &Contents) -> Work {
    let mut work = Work::default();
    let mut files = identity_files(wanted);
    let edit = match wanted {
        Wanted::Identity(_) => {
            files.extend([
                OwnFile(INSTALL, include_str!("files/mkinitcpio-install").to_owned(), 0o644, "image-hook"),
                OwnFile(HOOK, include_str!("files/mkinitcpio-hook").to_owned(), 0o644, "image-script"),
            ]);
            ("HOOKS", vec![NAME.to_owned()], "mkinitcpio-hooks")
        }
        Wanted::Ids(_) => {
            files.extend(modprobe_file(snap, wanted));
            let mut modules = contents.modules.clone();
            modules.sort_by_key(|module| module != "vfio_pci");
            ("MODULES", modules, "mkinitcpio-modules")
        }
    };
    own_files(snap, &files, &mut work);
    let builds = builds(snap);
    for config in configurations(&builds) {
        if !(files.is_empty() && edit.0 == "MODULES") {
            put_first(snap, &config, &edit, &mut work);
        }
    }
    images(snap, contents, &mut work);
    work
}

/// Steps that build the images of the presets that are not right.
pub(super) fn images(snap: &Snapshot, contents: &Contents, work: &mut Work) {
    let builds = builds(snap);
    for build in builds.iter().filter(|build| !build.unified && !build_is_right(snap, build, contents)) {
        let (argv, release) = (build.argv.clone(), &build.release);
        work.commands.push(super::image_step(snap, contents, argv, &build.output, release));
    }
    if builds.is_empty() {
        work.manual.push(reason("presets-not-found", &[]));
    }
}

/// Steps that build the unified images of the presets, for the boot chain: with these words in them.
pub fn unified(snap: &Snapshot, contents: &Contents, words: &[String]) -> Vec<Step> {
    let step = |build: Build| {
        let modules = contents.modules_for(kernel(snap, &build.release));
        let (files, words, release) = (contents.files.clone(), words.to_vec(), build.release.clone());
        let product = Product::Unified { release: build.release, modules, files, words };
        let action = Action::Generate { argv: build.argv, output: build.output, product };
        Step { action, why: reason("image", &[("release", &release)]) }
    };
    builds(snap).into_iter().filter(|build| build.unified).map(step).collect()
}

fn build_is_right(snap: &Snapshot, build: &Build, contents: &Contents) -> bool {
    let image: Option<&Image> = snap.initramfs.images.iter().find(|image| image.path == build.output);
    image.is_some_and(|image| is_right(snap, image, contents))
}

/// Runs mkinitcpio with the files of a pattern: the pattern, then the command.
const MICROCODE: &str =
    r#"files=$1; shift; for file in $files; do [ ! -e "$file" ] || set -- "$@" --microcode "$file"; done; exec "$@""#;

/// What the presets build, in order.
pub fn builds(snap: &Snapshot) -> Vec<Build> {
    let is_preset = |file: &&TextFile| file.path.starts_with("/etc/mkinitcpio.d/") && file.path.ends_with(".preset");
    snap.initramfs.config.iter().filter(is_preset).flat_map(|file| of_preset(snap, &file.text)).collect()
}

fn of_preset(snap: &Snapshot, text: &str) -> Vec<Build> {
    let values = shell_vars::evaluate(&[&shell_vars::parse(text)], true);
    let value = |name: String| values.get(&name).map(|value| value.text.clone()).filter(|text| !text.is_empty());
    let names = value("PRESETS".to_owned()).unwrap_or_default();
    let mut found = Vec::new();
    for name in names.split_ascii_whitespace() {
        let own = |key: &str| value(format!("{name}_{key}")).or_else(|| value(format!("ALL_{key}")));
        let Some(kernel) = own("kver") else { continue };
        let config = own("config");
        let microcode = own("microcode").unwrap_or_default();
        // The preset is sourced by bash, which makes the names of files of a pattern.
        let patterns = microcode.contains(['*', '?', '[']);
        let mut common = Vec::new();
        if patterns {
            common.extend(["sh", "-c", MICROCODE, "vfioneer-microcode", &microcode].map(str::to_owned));
        }
        common.extend(["mkinitcpio".to_owned(), "-k".to_owned(), kernel.clone()]);
        for (option, key) in [("-c", "config"), ("--cmdline", "cmdline"), ("--osrelease", "osrelease")] {
            common.extend(own(key).map(|value| [option.to_owned(), value]).into_iter().flatten());
        }
        for file in microcode.split_ascii_whitespace().filter(|_| !patterns) {
            common.extend(["--microcode".to_owned(), file.to_owned()]);
        }
        let options = own("options").unwrap_or_default();
        let outputs = [(own("image"), "-g", false), (own("uki").or_else(|| own("efi_image")), "-U", true)];
        for (output, option, unified) in outputs {
            let Some(output) = output else { continue };
            let mut argv = common.clone();
            argv.extend([option.to_owned(), "{out}".to_owned()]);
            argv.extend(options.split_ascii_whitespace().map(str::to_owned));
            let release = release(snap, &kernel, &output);
            found.push(Build { output, unified, argv, release, config: config.clone() });
        }
    }
    found
}

/// `kver` is a release or the path of a kernel image.
fn release(snap: &Snapshot, kver: &str, output: &str) -> String {
    if !kver.starts_with('/') {
        return kver.to_owned();
    }
    let kernel = snap.kernel.installed.iter().find(|kernel| kernel.image.known().is_some_and(|image| image == kver));
    let image = || snap.initramfs.images.iter().find(|image| image.path == output).map(|image| image.release.clone());
    kernel.map(|kernel| kernel.release.clone()).or_else(image).unwrap_or_default()
}

/// The files whose assignment counts, for each configuration that the presets use: those that a preset names stand alone;
/// the usual one is followed by the files of mkinitcpio.conf.d (mkinitcpio(8) `--config`).
fn configurations(builds: &[Build]) -> BTreeSet<Option<String>> {
    builds.iter().map(|build| build.config.clone()).collect()
}

/// Puts words at the start of a list in the file that sets it last.
fn put_first(snap: &Snapshot, config: &Option<String>, edit: &(&str, Vec<String>, &str), work: &mut Work) {
    let (name, words, why) = edit;
    let read = |file: &&TextFile| match config {
        Some(path) => file.path == *path,
        None => file.path == CONFIG || file.path.starts_with("/etc/mkinitcpio.conf.d/"),
    };
    let files: Vec<&TextFile> = snap.initramfs.config.iter().filter(read).collect();
    let scripts: Vec<_> = files.iter().map(|file| shell_vars::parse(&file.text)).collect();
    // What replaces the whole list, not what adds to it.
    let sets = |a: &&Assignment| a.name == *name && !a.append && !a.conditional && !a.refers_to(name);
    let last =
        scripts.iter().zip(&files).rev().find_map(|(script, file)| {
            script.assignments.iter().rev().find(sets).map(|assignment| (*file, assignment))
        });
    let by_hand = || {
        let place = config.as_deref().unwrap_or(CONFIG);
        reason("mkinitcpio-by-hand", &[("name", name), ("words", &words.join(" ")), ("place", place)])
    };
    let is_set = scripts.iter().flat_map(|script| &script.assignments).any(|a| a.name == *name);
    let (file, edited) = match (last, files.last()) {
        (Some((file, assignment)), _) => (file, with_first(&file.text, assignment, words)),
        // Nothing sets it, so nothing is lost. HOOKS must be there.
        (None, Some(file)) if !is_set && *name == "MODULES" => {
            (*file, Edit::Text(shell_edit::with_line(&file.text, &format!("{name}=({})", words.join(" ")))))
        }
        _ => return work.manual.push(by_hand()),
    };
    match edited {
        Edit::Nothing => {}
        Edit::Impossible => work.manual.push(by_hand()),
        Edit::Text(text) => {
            let done = work
                .files
                .iter()
                .any(|step| matches!(&step.action, Action::WriteFile { path, .. } if *path == file.path));
            if !done {
                work.files.push(Step::write(&file.path, Some(&file.text), text, 0o644, reason(why, &[])));
            }
        }
    }
}

/// What became of an edit.
#[derive(Debug, PartialEq, Eq)]
enum Edit {
    /// The words are there already.
    Nothing,
    /// The value is written in a way that cannot be edited safely.
    Impossible,
    /// The new text.
    Text(String),
}

/// Puts words at the start of an array or of a quoted list; those of them that stand elsewhere in it stay there.
fn with_first(text: &str, assignment: &Assignment, words: &[String]) -> Edit {
    let own = assignment.own_text();
    let present: Vec<&str> = own.split_ascii_whitespace().collect();
    let same = |other: &str, word: &String| module_name(other) == module_name(word);
    let there = |word: &String| present.iter().any(|other| same(other, word));
    let mut leading = present.iter().take_while(|other| words.iter().any(|word| same(other, word)));
    let at_start = words.first().is_some_and(|word| leading.any(|other| same(other, word)));
    if words.iter().all(there) && at_start {
        return Edit::Nothing;
    }
    // The one that has to be first is put there even if it stands further back, too.
    let mut new: Vec<&str> = words.iter().take(1).filter(|_| !at_start).map(String::as_str).collect();
    new.extend(words.iter().skip(1).filter(|word| !there(word)).map(String::as_str));
    let at = assignment.value_range.start + 1;
    let (Some(before), Some(after)) = (text.get(..at), text.get(at..)) else { return Edit::Impossible };
    let open = before.chars().next_back();
    let close = match open {
        Some('(') if assignment.array => ')',
        Some(quote @ ('"' | '\'')) if !assignment.array => quote,
        _ => return Edit::Impossible,
    };
    let space = if after.starts_with([' ', '\t', '\n', '\r', close]) { "" } else { " " };
    Edit::Text(format!("{before}{}{space}{after}", new.join(" ")))
}

#[cfg(test)]
mod tests;
