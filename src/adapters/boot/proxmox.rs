//! proxmox-boot-tool: words from the first line of `/etc/kernel/cmdline` (systemd-boot) and from GRUB's files, copied with
//! kernels and images onto boot partitions that are mounted only meanwhile.
//!
//! The tool copies in place (Proxmox `zz-proxmox-boot`: `cp`, `cat >`, `sed -i` on loader.conf), so a power cut there could leave
//! half an image behind the default entry. The script in `files/refresh-esps.sh` runs it behind an entry of its own, on every
//! partition, for a host with a mirror may start from any. What is left: where GRUB starts the partition, `grub-mkconfig` fills grub.cfg in
//! place, and between its being emptied and written on the disk (one file of some KiB) nothing else can be in front.

use super::super::Work;
use super::edits::{Edits, words_file};
use super::{Menu, WordChange, escape_typed, grub, has_word, why};
use crate::facts::boot::{Boot, Chain, is_apart, normal_entries};
use crate::facts::{Snapshot, TextFile};
use crate::parse::cmdline::Cmdline;
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};
use std::sync::Arc;

const CMDLINE: &str = "/etc/kernel/cmdline";
/// Brings the partitions up to date.
const SCRIPT: &str = "/etc/vfioneer/refresh-esps.sh";
const SCRIPT_TEXT: &str = include_str!("files/refresh-esps.sh");

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let boot = &snap.boot;
    let by_grub = boot.chain() == Some(Chain::ProxmoxGrub);
    let mut work = Work::default();
    let line = match file(boot) {
        Some(file) => cmdline_file(file, change),
        None if by_grub => Ok(Vec::new()),
        None => from_running(snap, change),
    };
    let line = match line {
        Ok(steps) => steps,
        // GRUB does not read it.
        Err(_) if by_grub => Vec::new(),
        Err(manual) => {
            work.manual.push(manual);
            return work;
        }
    };
    // GRUB's generator names the root file system itself.
    let names_root = |word: &String| ["root", "rootflags", "boot"].iter().any(|name| Cmdline::parse(word).has(name));
    let add = change.add.iter().filter(|word| !names_root(word)).cloned().collect();
    let of_grub = WordChange { escape: change.escape && by_grub, add, ..change.clone() };
    let grub = if boot.grub.files.is_empty() { Work::default() } else { grub::sources(snap, &of_grub) };
    let needed = if by_grub { !grub.is_empty() } else { !line.is_empty() };
    if change.escape && !by_grub {
        work.notes.push(escape_typed(Menu::SystemdBoot, change.ids));
    }
    if !needed && !change.images {
        work.notes.extend(unseen(snap, change).filter(|_| !by_grub));
        return work;
    }
    if needed {
        // The other loader's words, too: which of them starts a partition can change with Secure Boot.
        work.files.extend(line);
        work.extend(grub);
    }
    if work.manual.is_empty() {
        let present = snap.own.text(SCRIPT);
        if present != Some(SCRIPT_TEXT) {
            work.files.push(Step::write(SCRIPT, present, SCRIPT_TEXT, 0o755, reason("pve-script", &[])));
        }
        work.commands.push(refresh(&change.add));
    } else {
        work.manual.push(reason("then-run", &[("command", "proxmox-boot-tool refresh")]));
        work.files.clear();
    }
    work
}

/// Words that stand in the file, and the running kernel did not get: the partitions are not mounted, so nobody can see whether they have them.
fn unseen(snap: &Snapshot, change: &WordChange) -> Option<String> {
    let running = Cmdline::parse(snap.kernel.cmdline.known()?.text.as_str());
    let entries = normal_entries(&snap.boot);
    let is_unseen = |word: &&String| !running.has_word(word) && !entries.iter().any(|entry| entry.has(word));
    let words: Vec<String> = change.add.iter().filter(is_unseen).cloned().collect();
    (!words.is_empty()).then(|| reason("pve-unseen", &[("words", &words.join(" "))]))
}

/// Brings the partitions up to date, and again where that is undone: the script's own file is gone by then.
fn refresh(words: &[String]) -> Step {
    let command = |script: &[&str], words: &[String]| {
        let front = ["unshare", "--mount", "--propagation", "private", "sh"];
        let all = front.iter().chain(script).map(|word| (*word).to_owned());
        all.chain(words.iter().cloned()).collect::<Vec<_>>()
    };
    let (argv, undo) = (command(&[SCRIPT], words), command(&["-c", SCRIPT_TEXT, SCRIPT], &[]));
    Step { action: Action::Run { argv, undo, touches: Vec::new(), fence: None }, why: reason("pve-refresh", &[]) }
}

fn file(boot: &Boot) -> Option<&Arc<TextFile>> {
    boot.places.iter().map(|place| &place.file).find(|file| file.path == CMDLINE)
}

/// Edits the first line; says what is wrong if that line cannot boot: proxmox-boot-tool refuses it, too.
fn cmdline_file(file: &Arc<TextFile>, change: &WordChange) -> Result<Vec<Step>, String> {
    let after = words_file(&file.text, true, &change.add, &change.remove);
    if !Cmdline::parse(after.lines().next().unwrap_or_default()).has("root") {
        return Err(reason("pve-no-root", &[]));
    }
    let mut edits = Edits::default();
    edits.text(file, |_| after);
    Ok(edits.steps(|_| why("pve-cmdline", &change.add, &change.remove)))
}

/// Without the file, the tool freezes the running command line (`zz-proxmox-boot`): the same, with the words.
fn from_running(snap: &Snapshot, change: &WordChange) -> Result<Vec<Step>, String> {
    let running = snap.kernel.cmdline.known().map(|file| file.text.as_str()).unwrap_or_default();
    let line = Cmdline::parse(running);
    if change.add.iter().all(|word| line.has_word(word)) && !change.remove.iter().any(|word| line.has_word(word)) {
        return Ok(Vec::new());
    }
    if !line.has("root") {
        return Err(reason("pve-no-cmdline", &[]));
    }
    // What one boot was given at the menu is not for all to come.
    let once = |text: &str| is_apart(text) || Cmdline::parse(text).has_word("module_blacklist=vfio_pci");
    let kept = line.words.iter().filter(|word| !word.is("initrd") && !word.is("BOOT_IMAGE") && !once(word.text));
    let mut words: Vec<String> = kept.map(|word| word.text.to_owned()).collect();
    words.retain(|word| !has_word(&change.remove, word));
    let missing = change.add.iter().filter(|word| !line.has_word(word));
    words.extend(missing.cloned());
    let text = format!("{}\n", words.join(" "));
    Ok(vec![Step::write(CMDLINE, None, text, 0o644, reason("pve-cmdline-made", &[]))])
}
