//! The files that other tools than GRUB's make boot entries from, and signs of those tools.

use super::found::{Found, place};
use super::{Chain, Place};
use crate::facts::{Evidence, TextFile, dropin};
use crate::host::{Host, Why};
use crate::parse::lines::{line_at, lines};
use crate::parse::shell::{Content, Dialect, Token, tokens};
use crate::parse::{cmdline, shell_vars};
use std::sync::Arc;

/// The chains that take the words of a whole `/etc/kernel/cmdline`, line ends being spaces.
const ALL_LINES: &[Chain] = &[Chain::SystemdBoot, Chain::Uki, Chain::Sdbootutil, Chain::GrubBls];

/// Where ukify's plugin looks for its settings; the first one counts (systemd 257 `60-ukify.install`).
const UKI_CONFS: &[&str] = &["/etc", "/run", "/usr/local/lib", "/usr/lib"];

/// Reads all of it.
pub(super) fn collect(host: &dyn Host, found: &mut Found) {
    proxmox(host, found);
    kernel_cmdline(host, found);
    unified(host, found);
    kernelstub(host, found);
    sdbootutil(host, found);
    limine(host, found);
    refind(host, found);
    image_based(host, found);
}

/// proxmox-boot-tool keeps the ESPs that it manages unmounted.
fn proxmox(host: &dyn Host, found: &mut Found) {
    let path = "/etc/kernel/proxmox-boot-uuids";
    let Some(file) = found.text(host, path) else { return };
    for line in lines(&file.text).filter(|line| !line.text.trim().is_empty()) {
        let uuid = line.text.trim();
        found.signs.proxmox.get_or_insert_with(|| Evidence::at(path, line.number, uuid));
        found.missing(&format!("/dev/disk/by-uuid/{uuid}"), Why::Io("not mounted".into()));
    }
}

fn kernel_cmdline(host: &dyn Host, found: &mut Found) {
    let Some(file) = found.text(host, "/etc/kernel/cmdline") else {
        // The vendor's file counts only if there is no other (kernel-install(8)).
        if let Some(file) = found.text(host, "/usr/lib/kernel/cmdline") {
            word_lines(found, &file, &[Chain::SystemdBoot, Chain::Uki], &[]);
        }
        return;
    };
    found.signs.kernel_cmdline = Some(Evidence::new(file.path.clone(), file.text.lines().next().unwrap_or_default()));
    // proxmox-boot-tool takes the first line and nothing else, whatever stands there.
    let first = if found.signs.proxmox.is_some() { &[Chain::ProxmoxSystemdBoot][..] } else { &[] };
    word_lines(found, &file, ALL_LINES, first);
}

/// Adds the lines of a file that holds nothing but words; `first` read only its first line.
fn word_lines(found: &mut Found, file: &Arc<TextFile>, readers: &[Chain], first: &[Chain]) {
    if let Some(chain) = first.first().filter(|_| file.text.is_empty()) {
        found.add(Place { chain: *chain, ..place(file, 1, 0..0, "", Vec::new()) }, first);
    }
    for line in lines(&file.text) {
        let comment = line.text.starts_with('#');
        let mut chains = if comment { Vec::new() } else { readers.to_vec() };
        if line.number == 1 {
            chains.splice(0..0, first.iter().copied());
        }
        let words = cmdline::words(line.text);
        // An empty first line counts where the first line is all that counts.
        if words.is_empty() && (line.number > 1 || first.is_empty()) || chains.is_empty() && comment {
            continue;
        }
        let chain = first.first().or(readers.first()).copied().unwrap_or_default();
        let place = place(file, line.number, line.range(), "", words);
        found.add(Place { chain, ..place }, &chains);
    }
}

/// What goes into unified kernel images besides `/etc/kernel/cmdline`: mkinitcpio's `/etc/cmdline.d` and the command line
/// files that a preset names (mkinitcpio(8)), dracut's `kernel_cmdline` (dracut.conf(5)).
fn unified(host: &dyn Host, found: &mut Found) {
    if let Some(file) = found.text(host, "/etc/kernel/install.conf") {
        let script = shell_vars::parse(&file.text);
        let layout = script.assignments.iter().rev().find(|assignment| assignment.name == "layout");
        if let Some(layout) = layout.filter(|layout| layout.own_text() == "uki") {
            let text = file.text.get(layout.range.clone()).unwrap_or_default();
            found.signs.uki.get_or_insert_with(|| Evidence::at(file.path.clone(), layout.line, text));
        }
    }
    found.ukify = found.there(host, "/usr/lib/kernel/install.d/60-ukify.install").is_some();
    found.uki_conf =
        UKI_CONFS.iter().map(|dir| format!("{dir}/kernel/uki.conf")).find_map(|path| found.text(host, &path));
    let (mut paths, _) = dropin::files(host, &["/etc/cmdline.d"], ".conf");
    for name in found.list(host, "/etc/mkinitcpio.d") {
        let Some(preset) = found.text(host, &format!("/etc/mkinitcpio.d/{name}")) else { continue };
        for assignment in shell_vars::parse(&preset.text).assignments {
            let text = assignment.own_text();
            let named = match assignment.name.rsplit('_').next() {
                Some("cmdline") => Some(text),
                Some("options") => {
                    text.split_whitespace().skip_while(|word| *word != "--cmdline").nth(1).map(str::to_owned)
                }
                _ => None,
            };
            paths.extend(named.filter(|path| path != "/etc/kernel/cmdline"));
        }
    }
    for path in paths {
        if let Some(file) = found.text(host, &path) {
            word_lines(found, &file, &[Chain::Uki], &[]);
        }
    }
    let (paths, _) = dropin::files(host, &["/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"], ".conf");
    for path in ["/etc/dracut.conf".to_owned()].iter().chain(&paths) {
        let Some(file) = found.text(host, path) else { continue };
        for assignment in shell_vars::parse(&file.text).assignments {
            if assignment.name == "kernel_cmdline" {
                let words = cmdline::words(&assignment.own_text());
                let place = place(&file, assignment.line, assignment.value_range, "kernel_cmdline", words);
                found.add(Place { chain: Chain::Uki, ..place }, &[Chain::Uki]);
            }
        }
    }
}

/// Pop!_OS's kernelstub: JSON with the distribution's options under `default` and the effective ones under `user`; older
/// versions hold one string, newer a list (pop-os/kernelstub `kernelstub/config.py`).
fn kernelstub(host: &dyn Host, found: &mut Found) {
    let path = "/etc/kernelstub/configuration";
    let Some(file) = found.text(host, path) else { return };
    found.signs.kernelstub = Some(Evidence::new(path, "present"));
    let parsed: serde_json::Value = match serde_json::from_str(&file.text) {
        Ok(parsed) => parsed,
        Err(error) => return found.missing(path, Why::Malformed(error.to_string())),
    };
    let Some(options) = parsed.get("user").and_then(|user| user.get("kernel_options")) else { return };
    let text = match options {
        serde_json::Value::Array(items) => {
            items.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(" ")
        }
        serde_json::Value::String(text) => text.clone(),
        _ => return found.missing(path, Why::Malformed("kernel_options is neither a list nor a text".into())),
    };
    // The value begins behind the key's colon in the part `user`, and ends with its bracket or quote.
    let start = file.text.find("\"user\"").and_then(|user| {
        let key = user + file.text.get(user..)?.find("\"kernel_options\"")?;
        let colon = key + file.text.get(key..)?.find(':')?;
        let rest = file.text.get(colon + 1..)?;
        Some(colon + 1 + rest.len() - rest.trim_start().len())
    });
    let length = |start: usize| {
        let rest = file.text.get(start..).unwrap_or_default();
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        stream.next();
        stream.byte_offset()
    };
    let range = start.map_or(0..0, |start| start..start + length(start));
    let place = place(&file, line_at(&file.text, range.start), range, "kernel_options", cmdline::words(&text));
    found.add(Place { chain: Chain::Kernelstub, ..place }, &[Chain::Kernelstub]);
}

/// openSUSE: sdbootutil makes the entries where the loader reads them itself (`LOADER_TYPE` `systemd-boot` or `grub2-bls`).
fn sdbootutil(host: &dyn Host, found: &mut Found) {
    let path = "/etc/sysconfig/bootloader";
    let Some(file) = found.text(host, path) else { return };
    let script = shell_vars::parse(&file.text);
    let Some(assignment) = script.assignments.iter().rev().find(|assignment| assignment.name == "LOADER_TYPE") else {
        return;
    };
    if matches!(assignment.own_text().as_str(), "systemd-boot" | "grub2-bls") {
        let text = file.text.get(assignment.range.clone()).unwrap_or_default();
        found.signs.sdbootutil = Some(Evidence::at(path, assignment.line, text));
    }
}

/// limine.conf (`cmdline:`; `KERNEL_CMDLINE=` in old limine.cfg), and limine-entry-tool's `/etc/default/limine`.
fn limine(host: &dyn Host, found: &mut Found) {
    if let Some(file) = found.text(host, "/etc/default/limine") {
        for assignment in shell_vars::parse(&file.text).assignments {
            if assignment.name == "KERNEL_CMDLINE" {
                let words = cmdline::words(&assignment.own_text());
                let place = place(&file, assignment.line, assignment.value_range, &assignment.name, words);
                found.add(Place { chain: Chain::Limine, ..place }, &[Chain::Limine]);
            }
        }
    }
    for esp in super::grub::ESPS {
        for name in
            ["limine.conf", "limine/limine.conf", "EFI/limine/limine.conf", "EFI/BOOT/limine.conf", "limine.cfg"]
        {
            let Some(file) = found.text(host, &format!("{esp}/{name}")) else { continue };
            found.signs.limine.get_or_insert_with(|| Evidence::new(file.path.clone(), "present"));
            let mut title = None;
            for line in lines(&file.text) {
                let text = line.text.trim_start();
                if let Some(name) = text.strip_prefix('/').or_else(|| text.strip_prefix(':')) {
                    title = Some(name.trim_start_matches(['/', ':', '+']).trim().to_owned());
                }
                let Some(at) = text.find([':', '=']) else { continue };
                let (key, value) = (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
                if !matches!(key.trim().to_ascii_lowercase().as_str(), "cmdline" | "kernel_cmdline") {
                    continue;
                }
                let start = line.start + line.text.len() - value.trim_start().len();
                let range = start..start + value.trim().len();
                let place = place(&file, line.number, range, key.trim(), cmdline::words(value));
                let place = Place { chain: Chain::Limine, generated: true, title: title.clone(), ..place };
                found.add(place, &[Chain::Limine]);
            }
        }
    }
}

/// rEFInd: each line of refind_linux.conf has a quoted title and quoted words.
fn refind(host: &dyn Host, found: &mut Found) {
    for esp in super::grub::ESPS {
        if found.signs.refind.is_none() {
            found.signs.refind = found.there(host, &format!("{esp}/EFI/refind/refind.conf"));
        }
    }
    let Some(file) = found.text(host, "/boot/refind_linux.conf") else { return };
    for line in lines(&file.text) {
        let words: Vec<_> = tokens(line.text, Dialect::Grub)
            .into_iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word),
                Token::Op(..) => None,
            })
            .collect();
        let [title, options, ..] = words.as_slice() else { continue };
        let inner = options.pieces.iter().find(|piece| matches!(piece.content, Content::Literal(_)));
        let range = inner.map_or_else(|| options.range.clone(), |piece| piece.range.clone());
        let range = line.start + range.start..line.start + range.end;
        let words = cmdline::words(&options.expand(|_| None));
        let place = place(&file, line.number, range, "", words);
        let title = Some(title.expand(|_| None));
        found.add(Place { chain: Chain::Refind, generated: true, title, ..place }, &[Chain::Refind]);
    }
}

/// rpm-ostree, bootc, NixOS.
fn image_based(host: &dyn Host, found: &mut Found) {
    found.signs.nixos = found.there(host, "/etc/NIXOS");
    for path in ["/run/ostree-booted", "/ostree/deploy"] {
        if found.signs.ostree.is_none() {
            found.signs.ostree = found.there(host, path);
        }
    }
    // Hosts with both tools keep their arguments with rpm-ostree.
    if found.there(host, "/usr/bin/rpm-ostree").is_none() {
        found.signs.bootc = found.there(host, "/usr/bin/bootc").or_else(|| found.there(host, "/usr/lib/bootc"));
    }
    let (paths, _) = dropin::files(host, &["/usr/lib/bootc/kargs.d"], ".toml");
    for path in paths {
        let Some(file) = found.text(host, &path) else { continue };
        let parsed: toml::Table = match file.text.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                found.missing(&path, Why::Malformed(error.to_string()));
                continue;
            }
        };
        let items = parsed.get("kargs").and_then(toml::Value::as_array).into_iter().flatten();
        let words: Vec<String> = items.filter_map(toml::Value::as_str).flat_map(cmdline::words).collect();
        let line = lines(&file.text).find(|line| line.text.trim_start().starts_with("kargs"));
        let (number, range) = line.map_or((1, 0..0), |line| (line.number, line.range()));
        let place = place(&file, number, range, "kargs", words);
        found.add(Place { chain: Chain::Bootc, ..place }, &[Chain::Bootc, Chain::Ostree]);
    }
}
