//! Which chain boots: first what the running boot itself shows, then what the files allow.

use super::firmware::Firmware;
use super::found::Found;
use super::{Candidate, Chain};
use crate::facts::Evidence;
use crate::parse::cmdline::Cmdline;

/// What loaded the kernel, by the traces that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    /// GRUB names the image in `BOOT_IMAGE=` (GRUB `grub-core/loader/i386/linux.c`).
    Grub,
    /// systemd-boot says so in `LoaderInfo`.
    SystemdBoot,
    /// The stub of a unified kernel image sets `StubInfo`.
    Stub,
    /// rEFInd or Limine, by `LoaderInfo` or the firmware's entry.
    Refind,
    Limine,
    /// An EFI loader that passes `initrd=\…`: systemd-boot, rEFInd or the firmware itself.
    Efi,
}

/// What is known of the running boot.
pub(super) struct Running<'a> {
    /// Its command line.
    pub cmdline: Option<&'a str>,
    /// Its EFI variables.
    pub firmware: &'a Firmware,
}

/// The chains that may boot, the most likely first.
pub(super) fn candidates(found: &Found, running: &Running<'_>) -> Vec<Candidate> {
    if let Some((loader, evidence)) = loader(running) {
        let (chain, why) = chain_of(loader, found, running);
        let evidence = evidence.into_iter().chain(why).collect();
        return vec![Candidate { chain, evidence, proven: true }];
    }
    let mut candidates = by_files(found);
    // The kernel was loaded by something that leaves no trace (a direct boot of a VM, kexec, extlinux): then no file
    // proves anything.
    if let Some(text) = running.cmdline.filter(|_| !candidates.is_empty()) {
        let image_based = [Chain::Ostree, Chain::Bootc, Chain::NixOs];
        let words = Cmdline::parse(text);
        if candidates.iter().all(|candidate| !image_based.contains(&candidate.chain)) && !words.has("placeholder") {
            candidates.push(Candidate {
                chain: Chain::Unknown,
                evidence: vec![Evidence::at("/proc/cmdline", 1, text.trim())],
                proven: false,
            });
        }
    }
    candidates
}

/// The loader of the running boot, and what shows it.
fn loader(running: &Running<'_>) -> Option<(Loader, Vec<Evidence>)> {
    let firmware = running.firmware;
    let line = Cmdline::parse(running.cmdline.unwrap_or_default());
    let word = |text: &str| Evidence::at("/proc/cmdline", 1, text);
    let mut evidence = Vec::new();
    let named = firmware.loader.known().map(|info| {
        evidence.push(Firmware::loader_evidence("LoaderInfo", info));
        info.to_ascii_lowercase()
    });
    let efi_initrd = line.all("initrd").find(|word| word.value.is_some_and(|value| value.contains('\\')));
    // SYSLINUX sets it, too, but adds `initrd=`.
    let grub_image = line
        .find("BOOT_IMAGE")
        .filter(|word| word.value.is_some_and(|v| v.starts_with(['/', '('])) && !line.has("initrd"));
    let mut loader = None;
    if let Some(stub) = firmware.stub.known() {
        evidence.insert(0, Firmware::loader_evidence("StubInfo", stub));
        loader = Some(Loader::Stub);
    } else if let Some(image) = grub_image {
        evidence.insert(0, word(image.text));
        loader = Some(Loader::Grub);
    } else if let Some(info) = named {
        let known = [
            ("systemd-boot", Loader::SystemdBoot),
            ("grub", Loader::Grub),
            ("refind", Loader::Refind),
            ("limine", Loader::Limine),
        ];
        loader = known.iter().find(|(name, _)| info.contains(name)).map(|(_, loader)| *loader);
    }
    if let Some(initrd) = efi_initrd {
        evidence.push(word(initrd.text));
        loader = loader.or(Some(Loader::Efi));
    }
    if let Some(entry) = firmware.entry_evidence() {
        let path = firmware.entry.known().map(|entry| entry.path.to_ascii_lowercase()).unwrap_or_default();
        let known = [
            ("systemd-boot", Loader::SystemdBoot),
            ("\\efi\\linux\\", Loader::Stub),
            ("refind", Loader::Refind),
            ("limine", Loader::Limine),
            ("grub", Loader::Grub),
        ];
        let by_path = known.iter().find(|(part, _)| path.contains(part)).map(|(_, loader)| *loader);
        // Where the firmware started a loader under a neutral name, the traces above stand.
        if by_path.is_some() && matches!(loader, None | Some(Loader::Efi)) {
            loader = by_path;
        }
        evidence.push(entry);
    }
    if let Some(selected) = firmware.selected.known() {
        evidence.push(Firmware::loader_evidence("LoaderEntrySelected", selected));
    }
    loader.map(|loader| (loader, evidence))
}

/// The chain that feeds a loader on this host, and the files that show it.
fn chain_of(loader: Loader, found: &Found, running: &Running<'_>) -> (Chain, Vec<Evidence>) {
    let signs = &found.signs;
    let is = |chain, evidence: &Evidence| (chain, vec![evidence.clone()]);
    let words = Cmdline::parse(running.cmdline.unwrap_or_default());
    if let Some(evidence) = &signs.nixos {
        return is(Chain::NixOs, evidence);
    }
    if let Some(evidence) = &signs.ostree {
        let chain = if signs.bootc.is_some() { Chain::Bootc } else { Chain::Ostree };
        return is(chain, evidence);
    }
    match loader {
        Loader::Grub => {
            let image = words.value("BOOT_IMAGE").unwrap_or_default();
            // On a managed ESP the kernels lie at the top; GRUB on another file system names a directory or dataset.
            let on_esp = image.is_empty() || image.matches('/').count() == 1 && !image.contains('@');
            if let Some(evidence) = signs.proxmox.as_ref().filter(|_| on_esp) {
                return is(Chain::ProxmoxGrub, evidence);
            }
            if let Some(evidence) = &signs.sdbootutil {
                return is(Chain::Sdbootutil, evidence);
            }
            let by_entry = image.starts_with('(');
            match (&signs.grub_bls, &signs.grub_bls_off) {
                (Some(evidence), None) => is(Chain::GrubBls, evidence),
                // `GRUB_ENABLE_BLSCFG=false` counts only once grub.cfg was made again: the image's name tells.
                (_, Some(_)) if by_entry => (Chain::GrubBls, signs.grub_bls.iter().cloned().collect()),
                (Some(_), Some(evidence)) => is(Chain::Grub, evidence),
                (None, _) if by_entry && signs.installed_or_other().is_some() => {
                    (Chain::GrubBls, signs.installed_or_other().into_iter().cloned().collect())
                }
                (None, _) => match &signs.grub {
                    Some(evidence) => is(Chain::Grub, evidence),
                    None => (Chain::Unknown, Vec::new()),
                },
            }
        }
        Loader::SystemdBoot | Loader::Efi => {
            let proxmox_initrd = words.all("initrd").any(|w| w.value.is_some_and(|v| v.contains("\\EFI\\proxmox\\")));
            let proxmox_entry = running.firmware.selected.known().is_some_and(|id| id.starts_with("proxmox-"));
            if let Some(evidence) = &signs.proxmox {
                return is(Chain::ProxmoxSystemdBoot, evidence);
            }
            if proxmox_initrd || proxmox_entry {
                return (Chain::ProxmoxSystemdBoot, Vec::new());
            }
            for (chain, sign) in [(Chain::Kernelstub, &signs.kernelstub), (Chain::Sdbootutil, &signs.sdbootutil)] {
                if let Some(evidence) = sign {
                    return is(chain, evidence);
                }
            }
            if loader == Loader::Efi && signs.installed_or_other().is_none() && signs.systemd_boot.is_none() {
                return (Chain::Unknown, Vec::new());
            }
            systemd_boot_chain(found, running)
        }
        Loader::Stub => match &signs.sdbootutil {
            Some(evidence) => is(Chain::Sdbootutil, evidence),
            None => (Chain::Uki, signs.uki.iter().cloned().collect()),
        },
        Loader::Refind => (Chain::Refind, signs.refind.iter().cloned().collect()),
        Loader::Limine => (Chain::Limine, signs.limine.iter().cloned().collect()),
    }
}

/// kernel-install's entries or others: by the entry that booted, else by which there are, else by the initrd's name.
fn systemd_boot_chain(found: &Found, running: &Running<'_>) -> (Chain, Vec<Evidence>) {
    let signs = &found.signs;
    let selected = running.firmware.selected.known();
    let is_selected =
        |evidence: &&Evidence| selected.is_some_and(|name| evidence.source.ends_with(&format!("/{name}")));
    if let Some(evidence) = signs.other_entries.as_ref().filter(is_selected) {
        return (Chain::SystemdBootEntries, vec![evidence.clone()]);
    }
    match (&signs.installed_entries, &signs.other_entries) {
        (Some(evidence), _) => (Chain::SystemdBoot, vec![evidence.clone()]),
        (None, Some(evidence)) => (Chain::SystemdBootEntries, vec![evidence.clone()]),
        (None, None) => {
            // `initrd=\TOKEN\RELEASE\initrd…` is kernel-install's; the entries could not be read.
            let words = Cmdline::parse(running.cmdline.unwrap_or_default());
            let deep = words.all("initrd").any(|word| word.value.is_some_and(|v| v.matches('\\').count() == 3));
            match &signs.kernel_cmdline {
                Some(evidence) => (Chain::SystemdBoot, vec![evidence.clone()]),
                None if deep => (Chain::SystemdBoot, Vec::new()),
                None => (Chain::SystemdBootEntries, Vec::new()),
            }
        }
    }
}

/// The chains that the files allow. An image-based system has no other; managed Proxmox ESPs exclude plain GRUB.
fn by_files(found: &Found) -> Vec<Candidate> {
    let signs = &found.signs;
    let candidate = |chain, evidence: &[&Evidence]| Candidate {
        chain,
        evidence: evidence.iter().map(|e| (*e).clone()).collect(),
        proven: false,
    };
    if let Some(evidence) = &signs.nixos {
        return vec![candidate(Chain::NixOs, &[evidence])];
    }
    if let Some(evidence) = &signs.ostree {
        let chain = if signs.bootc.is_some() { Chain::Bootc } else { Chain::Ostree };
        return vec![candidate(chain, &[evidence])];
    }
    if let Some(evidence) = &signs.proxmox {
        // Which of the two loaders an ESP has is seen only on the ESP.
        let mut both = vec![candidate(Chain::ProxmoxGrub, &[evidence])];
        match &signs.kernel_cmdline {
            Some(cmdline) => both.insert(0, candidate(Chain::ProxmoxSystemdBoot, &[evidence, cmdline])),
            None => both.push(candidate(Chain::ProxmoxSystemdBoot, &[evidence])),
        }
        return both;
    }
    let mut all = Vec::new();
    let mut add = |chain, sign: &Option<Evidence>| {
        if let Some(evidence) = sign {
            all.push(candidate(chain, &[evidence]));
        }
    };
    add(Chain::Kernelstub, &signs.kernelstub);
    add(Chain::Sdbootutil, &signs.sdbootutil);
    add(Chain::Limine, &signs.limine);
    add(Chain::Refind, &signs.refind);
    add(Chain::Uki, &signs.uki);
    let own_loader = signs.kernelstub.is_some() || signs.sdbootutil.is_some();
    // Entries alone are GRUB's where GRUB reads them; systemd-boot leaves its loader.conf or binary.
    if !own_loader && signs.systemd_boot.is_some() {
        match (&signs.installed_entries, &signs.other_entries) {
            (Some(_), _) => add(Chain::SystemdBoot, &signs.installed_entries),
            (None, Some(_)) if signs.grub_bls.is_none() => add(Chain::SystemdBootEntries, &signs.other_entries),
            _ => {}
        }
    }
    if !own_loader {
        match (&signs.grub_bls, &signs.grub_bls_off) {
            (Some(_), None) => add(Chain::GrubBls, &signs.grub_bls),
            _ => add(Chain::Grub, &signs.grub),
        }
    }
    all
}
