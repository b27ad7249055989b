//! Lines of modprobe.d and of module lists that do nothing, or not what they are meant for.

use super::words::{self, builtin, config_is, kernel_at_least};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::modules::{Directive, List, LoadEntry};
use crate::facts::{Evidence, Snapshot};
use crate::parse::cmdline::Cmdline;
use crate::parse::modprobe::{KNOWN, module_name};
use serde::Deserialize;
use std::sync::LazyLock;

pub(super) const CHECK: Check = Check { ids: &["modprobe-line-ignored"], run };

#[derive(Deserialize)]
struct ModuleRow {
    name: String,
    options: Vec<String>,
    removed: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    module: Vec<ModuleRow>,
}

static MODULES: LazyLock<Vec<ModuleRow>> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../data/module_options.toml"));
    table.map(|table| table.module).unwrap_or_default()
});

/// True if a file is the administrator's: what packages ship below /usr and /lib is not judged.
pub(crate) fn is_admins(path: &str) -> bool {
    !["/usr/", "/lib/", "/run/"].iter().any(|dir| path.starts_with(dir))
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let mut findings = Vec::new();
    for directive in &snap.modules.directives {
        if is_admins(words::directive_path(snap, directive)) {
            let evidence = words::directive_evidence(snap, directive);
            findings.extend(judge(snap, directive).into_iter().map(|made| made.finish(&evidence)));
        }
    }
    for entry in &snap.modules.load {
        if entry.effective {
            findings.extend(entry_finding(snap, entry));
        }
    }
    for file in &snap.modules.files {
        let name = file.path.strip_prefix("/etc/modprobe.d/").unwrap_or_default();
        // A README is no mistake: only what begins with a word of modprobe.d was meant for it.
        let mut lines = (1u32..).zip(file.text.lines());
        let said = lines.find(|(_, line)| line.split_whitespace().next().is_some_and(|word| KNOWN.contains(&word)));
        if let Some((number, line)) = said.filter(|_| !name.is_empty() && !name.contains(['.', '/'])) {
            let evidence = Evidence::at(file.path.clone(), number, line.trim());
            findings.push(Made::new(Severity::Warning, "no-conf-suffix").finish(&evidence));
        }
    }
    findings
}

/// A finding in the making.
struct Made {
    severity: Severity,
    variant: &'static str,
    values: Vec<(&'static str, String)>,
    more: Vec<Evidence>,
}

impl Made {
    fn new(severity: Severity, variant: &'static str) -> Made {
        Made { severity, variant, values: Vec::new(), more: Vec::new() }
    }

    fn value(mut self, name: &'static str, value: impl ToString) -> Made {
        self.values.push((name, value.to_string()));
        self
    }

    fn finish(self, evidence: &Evidence) -> Finding {
        let mut finding = Finding::new("modprobe-line-ignored", self.severity, words::subject(evidence))
            .variant(self.variant)
            .value("line", &evidence.text)
            .evidence(evidence.clone());
        finding.values.extend(self.values);
        finding.evidence.extend(self.more);
        finding
    }
}

fn judge(snap: &Snapshot, directive: &Directive) -> Vec<Made> {
    let module = module_name(&directive.module);
    match directive.word.as_str() {
        "blacklist" if module.contains(['*', '?', '[']) => {
            vec![Made::new(Severity::Warning, "blacklist-wildcard").value("pattern", &directive.module)]
        }
        // libkmod/libkmod-config.c takes one name and does not look at the rest of the line.
        "blacklist" if !directive.rest.trim().is_empty() && !directive.rest.trim().starts_with('#') => {
            let rest = directive.rest.split_whitespace().collect::<Vec<_>>().join(" ");
            vec![Made::new(Severity::Warning, "blacklist-more").value("module", &directive.module).value("rest", rest)]
        }
        "options" => options(snap, directive, &module),
        "softdep" => softdep(snap, directive, &module).into_iter().collect(),
        word if !KNOWN.contains(&word) => {
            vec![Made::new(Severity::Warning, "no-directive").value("word", word)]
        }
        _ => Vec::new(),
    }
}

fn options(snap: &Snapshot, directive: &Directive, module: &str) -> Vec<Made> {
    let Some(row) = MODULES.iter().find(|row| row.name == module) else { return Vec::new() };
    let mut found = Vec::new();
    if module.starts_with("vfio") && builtin(snap, module) == Some(true) {
        found.push(Made::new(Severity::Warning, "builtin").value("module", module.replace('_', "-")));
    }
    for word in Cmdline::parse(&directive.rest).words {
        let looks_like_ids = word.name.contains(':');
        if row.removed.contains(&word.name) {
            found.push(Made::new(Severity::Warning, "removed").value("option", &word.name));
        } else if !row.options.is_empty() && !row.options.contains(&word.name) && !looks_like_ids {
            let made = Made::new(Severity::Warning, "unknown-option").value("option", &word.name);
            found.push(made.value("module", module.replace('_', "-")).value("options", row.options.join(", ")));
        } else if word.name == "disable_vga" && word.value.is_none_or(words::is_on) {
            let missing = config_is(snap, "VFIO_PCI_VGA", "n") == Some(true);
            found.push(Made::new(Severity::Info, if missing { "disable-vga-missing" } else { "disable-vga" }));
        }
    }
    found
}

fn softdep(snap: &Snapshot, directive: &Directive, module: &str) -> Option<Made> {
    let tokens: Vec<&str> = directive.rest.split_whitespace().collect();
    let about_vfio = tokens.iter().any(|token| module_name(token).contains("vfio"));
    if !about_vfio {
        return None;
    }
    // kmod takes only a whole word `pre:` or `post:` (libkmod/libkmod-config.c kmod_config_add_softdep).
    if !tokens.iter().any(|token| matches!(*token, "pre:" | "post:")) {
        let glued = tokens.iter().any(|token| token.starts_with("pre:") || token.starts_with("post:"));
        let variant = if glued { "softdep-no-blank" } else { "softdep-no-pre" };
        return Some(Made::new(Severity::Warning, variant).value("module", &directive.module));
    }
    let is_drm = module == "drm" && config_is(snap, "DRM", "y") == Some(true);
    if is_drm || builtin(snap, module) == Some(true) {
        let mut made = Made::new(Severity::Warning, "softdep-builtin").value("module", &directive.module);
        if let Some(kernel) = snap.kernel.running() {
            let (path, text) = if is_drm {
                (kernel.config_path.clone(), "CONFIG_DRM=y".to_owned())
            } else {
                (format!("/lib/modules/{}/modules.builtin", kernel.release), module.to_owned())
            };
            made.more.push(Evidence::new(path, text));
        }
        return Some(made);
    }
    None
}

fn entry_finding(snap: &Snapshot, entry: &LoadEntry) -> Option<Finding> {
    let made = match module_name(&entry.module).as_str() {
        // Since 6.2 a part of vfio (Linux commit e2d55709398e).
        "vfio_virqfd" => {
            let new = kernel_at_least(snap, (6, 2));
            if new == Some(false) || still_a_module(snap) {
                return None;
            }
            match entry.list {
                List::DracutForce | List::DracutAdd => {
                    let severity = if new == Some(true) { Severity::Error } else { Severity::Warning };
                    Made::new(severity, "virqfd-dracut")
                }
                List::Mkinitcpio => Made::new(Severity::Warning, "virqfd-mkinitcpio"),
                _ => Made::new(Severity::Info, "virqfd"),
            }
        }
        // Its table of devices holds AMD graphics only (gnif/vendor-reset src/device-db.h).
        "vendor_reset" => {
            let functions = &snap.pci.functions;
            let unknown = functions.is_empty() || functions.iter().any(|f| f.ids.known().is_none());
            let amd = |vendor: u16| matches!(vendor, 0x1002 | 0x1022);
            let any_amd = functions.iter().any(|f| f.is_display() && f.ids.known().is_some_and(|i| amd(i.vendor)));
            if unknown || any_amd {
                return None;
            }
            Made::new(Severity::Info, "vendor-reset")
        }
        _ => return None,
    };
    Some(made.finish(&words::entry_evidence(snap, entry)))
}

/// True if an installed kernel still has vfio_virqfd as a module.
fn still_a_module(snap: &Snapshot) -> bool {
    let has = |all: &std::collections::BTreeSet<String>| all.contains("vfio_virqfd");
    snap.kernel.installed.iter().any(|kernel| kernel.available.known().is_some_and(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::host::Fact;

    fn found(snap: &Snapshot) -> Vec<String> {
        let findings = check(snap);
        only(&findings, "modprobe-line-ignored").iter().map(|f| format!("{:?} {}", f.severity, f.variant)).collect()
    }

    #[test]
    fn lines_of_modprobe() {
        for (line, expected) in [
            ("options vfio-pci ids=10de:2684", vec![]),
            ("options vfio_pci ids=10de:2684 disable_idle_d3=1", vec![]),
            ("options vfio-pci id=10de:2684", vec!["Warning unknown-option"]),
            ("options vfio allow_unsafe_interrupts=1", vec!["Warning unknown-option"]),
            ("options vfio-pci ids=10de:2684 disable_vga=1", vec!["Info disable-vga"]),
            ("options vfio-pci ids=10de:2684 disable_vga=0", vec![]),
            ("options kvm allow_unsafe_assigned_interrupts=1", vec!["Warning removed"]),
            ("options kvm nested=1 something=2", vec![]),
            ("options nvidia NVreg_Anything=1", vec![]),
            ("blacklist nvidia*", vec!["Warning blacklist-wildcard"]),
            ("blacklist nvidia", vec![]),
            ("blacklist nvidia # not this one", vec![]),
            ("blacklist nouveau nvidia", vec!["Warning blacklist-more"]),
            ("softdep nvidia* pre: vfio-pci", vec![]),
            ("softdep nouveau pre: vfio-pci", vec![]),
            ("softdep nouveau pre:vfio-pci", vec!["Warning softdep-no-blank"]),
            ("softdep nouveau vfio-pci", vec!["Warning softdep-no-pre"]),
            ("softdep drm pre: vfio-pci", vec!["Warning softdep-builtin"]),
            ("softdep foo pre: bar", vec![]),
            ("force_drivers+=\" vfio_pci \"", vec!["Warning no-directive"]),
            ("vfio-pci", vec!["Warning no-directive"]),
            ("install snd_hda_intel /bin/true", vec![]),
            ("# blacklist nvidia*", vec![]),
        ] {
            let mut snap = healthy();
            modprobe(&mut snap, "/etc/modprobe.d/vfio.conf", line);
            assert_eq!(found(&snap), expected, "{line}");
            let mut vendor = healthy();
            modprobe(&mut vendor, "/usr/lib/modprobe.d/x.conf", line);
            assert!(found(&vendor).is_empty(), "{line}");
        }
    }

    #[test]
    fn what_hangs_on_the_kernel() {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/a.conf", "options vfio-pci ids=10de:2684 disable_vga=1");
        if let Fact::Known(all) = &mut snap.kernel.installed[0].builtin {
            all.insert("vfio_pci".into());
        }
        assert_eq!(found(&snap), ["Warning builtin", "Info disable-vga"]);
        config(&mut snap, "VFIO_PCI_VGA", None);
        assert_eq!(found(&snap), ["Warning builtin", "Info disable-vga-missing"]);

        let mut debian = healthy();
        config(&mut debian, "DRM", Some("m"));
        if let Fact::Known(all) = &mut debian.kernel.installed[0].builtin {
            all.clear();
        }
        modprobe(&mut debian, "/etc/modprobe.d/a.conf", "softdep drm pre: vfio-pci");
        assert!(found(&debian).is_empty());

        let mut paste = unknown();
        modprobe(&mut paste, "paste", "softdep drm pre: vfio-pci\noptions vfio-pci ids=1:2\nblacklist nvidia*");
        assert_eq!(found(&paste), ["Warning blacklist-wildcard"]);
    }

    #[test]
    fn lists() {
        for (path, early, expected) in [
            ("/etc/modules", false, "Info virqfd"),
            ("/etc/initramfs-tools/modules", true, "Info virqfd"),
            ("/etc/dracut.conf.d/vfio.conf", true, "Error virqfd-dracut"),
            ("/etc/mkinitcpio.conf", true, "Warning virqfd-mkinitcpio"),
        ] {
            let mut snap = healthy();
            load(&mut snap, path, "vfio\nvfio_iommu_type1\nvfio_pci\nvfio_virqfd\n", early);
            assert_eq!(found(&snap), [expected], "{path}");
            release(&mut snap, "6.1.0-30-amd64");
            assert!(found(&snap).is_empty(), "{path}");
            snap.modules.load.iter_mut().for_each(|entry| entry.effective = false);
            release(&mut snap, "6.8.0-50-generic");
            assert!(found(&snap).is_empty(), "{path}");
        }
        let mut paste = unknown();
        load(&mut paste, "/etc/dracut.conf.d/vfio.conf", "vfio_virqfd\n", true);
        assert_eq!(found(&paste), ["Warning virqfd-dracut"], "the kernel is not known");
        let mut snap = healthy();
        load(&mut snap, "/etc/modules", "vendor-reset\n", false);
        assert_eq!(found(&snap), ["Info vendor-reset"]);
        add(&mut snap, function("0000:02:00.0", "1002:731f", 0x03_0000));
        assert!(found(&snap).is_empty());
    }

    #[test]
    fn a_file_that_modprobe_does_not_read() {
        let mut snap = healthy();
        snap.modules.files.push(file("/etc/modprobe.d/vfio", "# x\noptions vfio-pci ids=10de:2684\n"));
        snap.modules.files.push(file("/etc/modprobe.d/vfio.conf.bak", "blacklist nvidia*\n"));
        let findings = check(&snap);
        assert_eq!(found(&snap), ["Warning no-conf-suffix"]);
        assert_eq!(only(&findings, "modprobe-line-ignored")[0].subject.to_string(), "/etc/modprobe.d/vfio:2");
    }

    #[test]
    fn the_table_is_sorted_and_sourced() {
        assert_eq!(MODULES.len(), 5);
        assert!(MODULES.iter().all(|row| row.source.starts_with("linux ")));
        assert!(MODULES.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
