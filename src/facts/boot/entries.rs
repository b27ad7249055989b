//! Boot Loader Specification entries and unified kernel images, wherever an ESP or XBOOTLDR partition is mounted.

use super::found::{Found, place};
use super::grub::ESPS;
use super::{Chain, Place};
use crate::facts::{Evidence, TextFile};
use crate::host::{Digest, Fact, Host};
use crate::parse::lines::line_at;
use crate::parse::{bls, cmdline, pe};
use std::io::{self, Read};
use std::sync::Arc;

/// The chains whose loader reads entries.
const READERS: &[Chain] = &[
    Chain::SystemdBoot,
    Chain::SystemdBootEntries,
    Chain::GrubBls,
    Chain::Kernelstub,
    Chain::Sdbootutil,
    Chain::Ostree,
    Chain::Bootc,
    Chain::NixOs,
];

/// Reads entries and images.
pub(super) fn collect(host: &dyn Host, found: &mut Found) {
    for esp in ESPS {
        if host.link(esp).known().is_some() {
            continue;
        }
        entries(host, found, &format!("{esp}/loader"));
        images(host, found, &format!("{esp}/EFI/Linux"));
        // `/boot` is not always an ESP, but then nothing of this is there.
        for binary in ["systemd/systemd-bootx64.efi", "systemd/systemd-bootaa64.efi"] {
            if found.signs.systemd_boot.is_none() {
                found.signs.systemd_boot = found.there(host, &format!("{esp}/EFI/{binary}"));
            }
        }
    }
}

fn entries(host: &dyn Host, found: &mut Found, loader: &str) {
    if let Some(file) = found.text(host, &format!("{loader}/loader.conf")) {
        found.signs.systemd_boot.get_or_insert_with(|| Evidence::new(file.path.clone(), "present"));
        found.loader_configs.push(file);
    }
    let dir = format!("{loader}/entries");
    for name in found.list(host, &dir) {
        if !name.ends_with(".conf") {
            continue;
        }
        let Some(file) = found.text(host, &format!("{dir}/{name}")) else { continue };
        let entry = bls::parse(&file.text);
        if !is_linux(&entry) {
            continue;
        }
        sign(found, &file, &entry, &name);
        let release = entry.release().or_else(|| found.release_of(entry.value("linux")?));
        let readers = if name.starts_with("proxmox-") { &[Chain::ProxmoxSystemdBoot] } else { READERS };
        let mut lines: Vec<_> = entry.all("options").map(|field| (field.line, field.range.clone())).collect();
        if lines.is_empty() {
            // Its words would be a line at the end: where the root is found by the type of its partition, an entry needs none.
            lines.push((line_at(&file.text, file.text.len()), file.text.len()..file.text.len()));
        }
        for (line, range) in lines {
            let words = cmdline::words(file.text.get(range.clone()).unwrap_or_default());
            let place = place(&file, line, range, "options", resolve(found, words));
            let place = Place {
                chain: readers.first().copied().unwrap_or_default(),
                generated: true,
                release: release.clone(),
                title: Some(entry.value("title").unwrap_or(&name).to_owned()),
                ..place
            };
            found.add(place, readers);
        }
    }
}

/// True if an entry starts Linux, and no other system or tool: `linux`, or with `efi` a kernel that starts itself as an EFI program.
fn is_linux(entry: &bls::Entry) -> bool {
    let has = |key: &str| entry.value(key).is_some();
    has("linux") || has("efi") && (has("initrd") || entry.words().iter().any(|word| word.starts_with("root=")))
}

/// What an entry tells about who made it.
fn sign(found: &mut Found, file: &TextFile, entry: &bls::Entry, name: &str) {
    let evidence = || Some(Evidence::new(file.path.clone(), entry.value("title").unwrap_or("present")));
    let signs = &mut found.signs;
    let slot = if made_by_kernel_install(&file.text, entry, name) {
        &mut signs.installed_entries
    } else if entry.words().iter().any(|word| word.starts_with("ostree=")) {
        &mut signs.ostree
    } else {
        &mut signs.other_entries
    };
    if slot.is_none() {
        *slot = evidence();
    }
}

/// systemd's `90-loaderentry.install` names itself in a comment (since 252), calls the file `TOKEN-RELEASE.conf` and puts the
/// kernel at `/TOKEN/RELEASE/linux`.
fn made_by_kernel_install(text: &str, entry: &bls::Entry, name: &str) -> bool {
    let by_comment =
        text.lines().any(|line| line.starts_with('#') && line.contains("kernel/install.d/90-loaderentry.install"));
    by_comment
        || entry.value("linux").is_some_and(|image| {
            let parts: Vec<&str> = image.trim_start_matches('/').split('/').collect();
            matches!(parts.as_slice(), [token, release, "linux"]
                if name.strip_prefix(token).is_some_and(|rest| rest.trim_start_matches('-').starts_with(release)))
        })
}

/// Replaces the variables of GRUB that entries use (EL 8's `$kernelopts`, tuned's `$tuned_params`) by their words;
/// what GRUB sets nowhere stays.
fn resolve(found: &Found, words: Vec<String>) -> Vec<String> {
    let lookup = |name: &str| {
        let set = found.sources.iter().find(|source| source.place.key == name).map(|source| source.place.words.clone());
        let in_config = |name: &str| found.grub_configs.iter().find_map(|config| config.variables.get(name));
        set.or_else(|| {
            in_config(name).or_else(|| in_config(&format!("default_{name}"))).map(|text| cmdline::words(text))
        })
    };
    let mut resolved = Vec::new();
    for word in words {
        match word.strip_prefix('$').map(|name| name.trim_matches(['{', '}'])).and_then(lookup) {
            Some(more) => resolved.extend(more),
            None => resolved.push(word),
        }
    }
    resolved
}

/// The computation over a unified kernel image: its command line and release.
const UKI: Digest = Digest { name: "uki-1", compute: read_uki };

fn read_uki(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    serde_json::to_vec(&pe::read_uki(reader)?).map_err(io::Error::other)
}

/// Reads the command line and release of a unified kernel image.
pub fn read_unified(host: &dyn Host, path: &str) -> Fact<pe::Uki> {
    host.digest(path, &UKI).and_then(|bytes| Fact::from(serde_json::from_slice::<pe::Uki>(&bytes)))
}

fn images(host: &dyn Host, found: &mut Found, dir: &str) {
    for name in found.list(host, dir) {
        if !name.ends_with(".efi") {
            continue;
        }
        let path = format!("{dir}/{name}");
        let uki = match read_unified(host, &path) {
            Fact::Known(uki) => uki,
            Fact::Absent => continue,
            Fact::Unknown(why) => {
                found.missing(&path, why);
                continue;
            }
        };
        found.signs.uki.get_or_insert_with(|| Evidence::new(path.clone(), "present"));
        let text = uki.cmdline.unwrap_or_default();
        let words = cmdline::words(&text);
        let place = place(&Arc::new(TextFile { path, text }), 1, 0..0, ".cmdline", words);
        let place =
            Place { chain: Chain::Uki, generated: true, release: uki.release, title: Some(name.clone()), ..place };
        found.add(place, &[Chain::Uki, Chain::NixOs, Chain::Sdbootutil, Chain::Bootc]);
    }
}
