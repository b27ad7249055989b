//! What the images of the installed kernels hold is not what the files on disk say.

use super::words::{self, builtin};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::initramfs::{Content, Image};
use crate::facts::modules::{List, Modules};
use crate::facts::{Evidence, Snapshot, TextFile};
use crate::parse::modprobe::{self, module_name};
use std::collections::BTreeMap;

pub(super) const CHECK: Check = Check { ids: &["initramfs-stale"], run };

/// The drivers whose lines matter for who gets a device.
const DRIVERS: &[&str] =
    &["amdgpu", "drm", "i915", "nouveau", "nvidia", "nvidia_drm", "nvidiafb", "radeon", "snd_hda_intel", "xe"];

/// What is wrong with one file in images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Differs,
    Missing,
    NothingCopied,
    LeftOver,
    ModuleMissing,
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let mut faults: BTreeMap<(Fault, String), Vec<&Image>> = BTreeMap::new();
    for image in &snap.initramfs.images {
        let Some(content) = image.content.known() else { continue };
        for (fault, what) in of_image(snap, image, content) {
            faults.entry((fault, what)).or_default().push(image);
        }
    }
    faults.into_iter().map(|((fault, what), images)| finding(snap, fault, &what, &images)).collect()
}

fn of_image(snap: &Snapshot, image: &Image, content: &Content) -> Vec<(Fault, String)> {
    let mut found = Vec::new();
    let copies: BTreeMap<&str, &String> =
        content.files.iter().map(|(path, text)| (path.trim_start_matches('/'), text)).collect();
    let any_copy = copies.keys().any(|path| path.starts_with("etc/modprobe.d/"));
    for (index, file) in snap.modules.files.iter().enumerate() {
        if !file.path.starts_with("/etc/modprobe.d/") || !file.path.ends_with(".conf") || !matters(&snap.modules, index)
        {
            continue;
        }
        match copies.get(file.path.trim_start_matches('/')) {
            Some(copy) if same(copy, &file.text) => {}
            Some(_) => found.push((Fault::Differs, file.path.clone())),
            // Without any of the modules in it, the image does not need the file.
            None if !concerns(snap, index, content) => {}
            None if any_copy => found.push((Fault::Missing, file.path.clone())),
            None => found.push((Fault::NothingCopied, file.path.clone())),
        }
    }
    for (path, text) in &copies {
        let on_disk = snap.modules.files.iter().any(|file| file.path.trim_start_matches('/') == *path);
        let about_vfio = || modprobe::parse(text).iter().any(|d| d.module_name().contains("vfio"));
        if path.starts_with("etc/modprobe.d/") && !on_disk && !snap.modules.files.is_empty() && about_vfio() {
            found.push((Fault::LeftOver, format!("/{path}")));
        }
    }
    let early =
        snap.modules.load.iter().find(|entry| {
            entry.effective && entry.list != List::ModulesLoad && module_name(&entry.module) == "vfio_pci"
        });
    let has_module = snap.kernel.installed.iter().filter(|kernel| kernel.release == image.release).any(|kernel| {
        kernel.available.known().is_some_and(|all| all.contains("vfio_pci"))
            && kernel.builtin.known().is_none_or(|all| !all.contains("vfio_pci"))
    });
    if let Some(entry) = early.filter(|_| has_module && !content.modules.contains("vfio_pci")) {
        found.push((Fault::ModuleMissing, words::entry_evidence(snap, entry).source));
    }
    found
}

/// Copies may end in more or fewer line breaks.
fn same(a: &str, b: &str) -> bool {
    a.trim_end() == b.trim_end()
}

/// True if a file of modprobe.d says something about vfio or about drivers that compete with it.
fn matters(modules: &Modules, index: usize) -> bool {
    modules.directives.iter().filter(|d| d.file == index).any(|directive| {
        let module = module_name(&directive.module);
        module.contains("vfio")
            || module_name(&directive.rest).contains("vfio")
            || DRIVERS.iter().any(|driver| words::matches_module(&module, driver))
    })
}

/// True if the image holds a module that the file is about.
fn concerns(snap: &Snapshot, index: usize, content: &Content) -> bool {
    let pattern = |module: &str| content.modules.iter().any(|held| words::matches_module(module, held));
    snap.modules.directives.iter().filter(|d| d.file == index).any(|directive| pattern(&directive.module))
        || (content.modules.contains("vfio_pci") && builtin(snap, "vfio_pci") != Some(true))
}

fn finding(snap: &Snapshot, fault: Fault, what: &str, images: &[&Image]) -> Finding {
    let names: Vec<&str> = images.iter().map(|image| image.path.as_str()).collect();
    let shown = match names.as_slice() {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
        all => all.join(", "),
    };
    let mut finding = Finding::new("initramfs-stale", Severity::Warning, Subject::Host)
        .variant(match fault {
            Fault::Differs => "",
            Fault::Missing => "missing",
            Fault::NothingCopied => "not-copied",
            Fault::LeftOver => "left-over",
            Fault::ModuleMissing => "module-missing",
        })
        .value("file", what)
        .value("rebuild", words::rebuild(snap))
        .value("images", shown);
    if let Some(file) = snap.modules.files.iter().find(|file| file.path == what) {
        finding = finding.evidence(first_difference(file, images));
    }
    for image in images.iter().take(3) {
        let evidence = match fault {
            Fault::Differs | Fault::LeftOver => {
                let copy = image.content.known().and_then(|content| {
                    content.files.iter().find(|(path, _)| path.trim_start_matches('/') == what.trim_start_matches('/'))
                });
                let other = snap.modules.files.iter().find(|file| file.path == what).map_or("", |f| f.text.as_str());
                let (line, text) = copy.map_or((1, ""), |(_, text)| differing_line(text, other));
                Evidence::at(format!("{}:{what}", image.path), line, text)
            }
            Fault::Missing | Fault::NothingCopied => Evidence::new(image.path.clone(), format!("no {what}")),
            Fault::ModuleMissing => Evidence::new(image.path.clone(), "no module vfio_pci"),
        };
        finding = finding.evidence(evidence);
    }
    finding
}

fn first_difference(file: &TextFile, images: &[&Image]) -> Evidence {
    let copies = images.iter().filter_map(|image| image.content.known()).flat_map(|content| &content.files);
    let copy = copies.into_iter().find(|(path, _)| path.trim_start_matches('/') == file.path.trim_start_matches('/'));
    let (line, text) = differing_line(&file.text, copy.map_or("", |(_, text)| text.as_str()));
    Evidence::at(file.path.clone(), line, text)
}

/// The first line of a text that the other does not have at this place.
fn differing_line<'a>(text: &'a str, other: &str) -> (u32, &'a str) {
    let others = other.lines().map(Some).chain(std::iter::repeat(None));
    let differing = (1u32..).zip(text.lines().zip(others)).find(|(_, (line, other))| Some(*line) != *other);
    differing.map_or((1, text.lines().next().unwrap_or_default()), |(number, (line, _))| (number, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::host::Fact;

    fn found(snap: &Snapshot) -> Vec<String> {
        let findings = check(snap);
        only(&findings, "initramfs-stale").iter().map(|f| format!("{} {}", f.variant, f.values[0].1)).collect()
    }

    #[test]
    fn an_image_that_was_not_built_again() {
        let mut snap = passthrough();
        assert!(found(&snap).is_empty());
        let old = "options vfio-pci ids=10de:1b80\n";
        in_images(&mut snap, "etc/modprobe.d/vfio.conf", old);
        if let Fact::Known(content) = &mut snap.initramfs.images[0].content {
            content.files.remove("/etc/modprobe.d/vfio.conf");
        }
        assert_eq!(found(&snap), [" /etc/modprobe.d/vfio.conf"]);
        let findings = check(&snap);
        let evidence = &only(&findings, "initramfs-stale")[0].evidence;
        assert_eq!(evidence[0].text, "options vfio-pci ids=10de:2684,10de:22ba");
        assert_eq!(evidence[1].text, old.trim());
    }

    #[test]
    fn a_file_that_is_not_in_the_image() {
        let mut snap = passthrough();
        if let Fact::Known(content) = &mut snap.initramfs.images[0].content {
            content.files.clear();
        }
        assert_eq!(found(&snap), ["not-copied /etc/modprobe.d/vfio.conf"]);
        in_images(&mut snap, "etc/modprobe.d/other.conf", "blacklist floppy\n");
        assert_eq!(found(&snap), ["missing /etc/modprobe.d/vfio.conf"]);
        in_images(&mut snap, "etc/modprobe.d/old.conf", "options vfio-pci ids=1:2\n");
        let text = snap.modules.files[0].text.clone();
        in_images(&mut snap, "etc/modprobe.d/vfio.conf", &text);
        assert_eq!(found(&snap), ["left-over /etc/modprobe.d/old.conf"]);
    }

    #[test]
    fn an_image_that_needs_none_of_it() {
        // A host whose driver is loaded later from the root file system: the copy does not matter.
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/b.conf", "blacklist nouveau\n");
        modprobe(&mut snap, "/etc/modprobe.d/c.conf", "options thinkpad_acpi fan_control=1\n");
        assert!(found(&snap).is_empty());
    }

    #[test]
    fn one_of_many_kernels_was_forgotten() {
        let mut snap = passthrough();
        let mut second = snap.initramfs.images[0].clone();
        second.path = "/boot/initrd.img-6.5.13-6-pve".into();
        second.release = "6.5.13-6-pve".into();
        second.content = Fact::Known(Content { modules: set(&["ahci"]), ..Content::default() });
        snap.initramfs.images.push(second);
        snap.kernel.installed.push(installed("6.5.13-6-pve"));
        assert_eq!(found(&snap), ["module-missing /etc/initramfs-tools/modules"]);
        snap.initramfs.images[1].content = Fact::default();
        assert!(found(&snap).is_empty());
    }
}
