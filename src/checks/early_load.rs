//! vfio-pci is told which devices to take, and nothing makes sure that it is there before their drivers.

use super::blacklist_too_wide::blacklisted;
use super::intent::Claim;
use super::native_driver_won::sensible_claims;
use super::words::{self, builtin};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::initramfs::Generator;
use crate::facts::modules::List;
use crate::facts::pci::{Function, is_vfio_driver};
use crate::facts::{Evidence, Snapshot};
use crate::host::Fact;
use crate::parse::modprobe::module_name;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check = Check { ids: &["early-load-missing"], run };

/// Why a function is not safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    /// Nothing loads vfio-pci at all.
    NeverLoaded,
    /// The native driver is built into the kernel.
    NativeBuiltin,
    /// The native driver can be loaded before vfio-pci.
    Race,
    /// initramfs-tools loads both in the initramfs, in an order that nobody fixes.
    RaceInImage,
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let claims = sensible_claims(ctx);
    if claims.is_empty() || builtin(snap, "vfio_pci") == Some(true) {
        return Vec::new(); // Built in, it is there before every module; cmdline or ids are judged elsewhere.
    }
    let order = Order::of(ctx);
    let mut gaps: BTreeMap<(bool, Gap), Gathered> = BTreeMap::new();
    for function in snap.pci.functions.iter().filter(|f| !f.is_bridge()) {
        let Some(claim) = claims.iter().find(|claim| claim.takes(function) == Some(true)) else { continue };
        for (gap, native) in order.gaps(snap, function) {
            let gathered = gaps.entry((function.on_vfio(), gap)).or_default();
            gathered.add(function, &native, claim);
        }
    }
    gaps.into_iter().map(|((by_luck, gap), gathered)| gathered.finding(by_luck, gap)).collect()
}

#[derive(Default)]
struct Gathered {
    devices: BTreeSet<String>,
    drivers: BTreeSet<String>,
    evidence: Vec<Evidence>,
}

impl Gathered {
    fn add(&mut self, function: &Function, native: &str, claim: &Claim) {
        self.devices.insert(function.address.to_string());
        if !native.is_empty() {
            self.drivers.insert(native.to_owned());
        }
        if !self.evidence.contains(&claim.evidence) {
            self.evidence.push(claim.evidence.clone());
        }
    }

    fn finding(self, by_luck: bool, gap: Gap) -> Finding {
        let join = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let severity = if by_luck { Severity::Info } else { Severity::Warning };
        let subject = self.evidence.first().map_or(super::Subject::Host, words::subject);
        let softdeps: Vec<String> =
            self.drivers.iter().map(|driver| format!("softdep {driver} pre: vfio-pci")).collect();
        let mut finding = Finding::new("early-load-missing", severity, subject)
            .variant(match gap {
                Gap::NeverLoaded => "never-loaded",
                Gap::NativeBuiltin => "native-builtin",
                Gap::Race if by_luck => "by-luck",
                Gap::Race => "",
                Gap::RaceInImage => "in-image",
            })
            .value("devices", join(&self.devices))
            .value("drivers", join(&self.drivers))
            .value("softdeps", softdeps.join(", "));
        finding.evidence = self.evidence;
        finding
    }
}

/// What is known of the order in which modules are loaded at boot.
struct Order {
    /// vfio-pci is loaded before udev's coldplug, whatever else is in the image.
    before_udev: bool,
    /// vfio-pci is loaded in the initramfs, but beside udev's coldplug.
    beside_udev: bool,
    /// Something loads vfio-pci after the root file system is mounted.
    late: bool,
    blacklisted: BTreeSet<String>,
    /// Patterns of modules before which vfio-pci is loaded.
    softdeps: Vec<String>,
}

impl Order {
    fn of(ctx: &Ctx<'_>) -> Order {
        let snap = ctx.snap;
        let loads = |list: fn(&List) -> bool| {
            let is = |name: &str| matches!(module_name(name).as_str(), "vfio_pci" | "vfio_pci_core");
            snap.modules.load.iter().any(|entry| entry.effective && list(&entry.list) && is(&entry.module))
        };
        let dracut = [Generator::Dracut, Generator::RpmOstree]
            .iter()
            .any(|generator| words::generator_is(snap, *generator) == Some(true));
        let driver_pre = words::all(snap)
            .iter()
            .any(|word| word.name == "rd.driver.pre" && word.items().any(|module| module_name(module) == "vfio_pci"));
        let softdeps = snap.modules.directives.iter().filter(|directive| {
            let tokens: Vec<&str> = directive.rest.split_whitespace().collect();
            let post = tokens.iter().position(|token| *token == "post:").unwrap_or(tokens.len());
            let pre = tokens.iter().position(|token| *token == "pre:");
            let named = |from: usize| {
                tokens.get(from..post.max(from)).unwrap_or_default().iter().any(|t| module_name(t) == "vfio_pci")
            };
            directive.word == "softdep" && pre.is_some_and(named)
        });
        Order {
            before_udev: loads(|list| matches!(list, List::DracutForce | List::Mkinitcpio)) || (dracut && driver_pre),
            beside_udev: loads(|list| *list == List::InitramfsTools),
            late: loads(|list| *list == List::ModulesLoad),
            softdeps: softdeps.map(|directive| directive.module.clone()).collect(),
            blacklisted: blacklisted(ctx).into_keys().collect(),
        }
    }

    fn gaps(&self, snap: &Snapshot, function: &Function) -> Vec<(Gap, String)> {
        let natives = natives(function);
        let Some(natives) = natives else { return Vec::new() };
        let mut gaps = Vec::new();
        let softdep = |native: &str| self.softdeps.iter().any(|pattern| words::matches_module(pattern, native));
        for native in &natives {
            if builtin(snap, native) == Some(true) {
                if !function.on_vfio() {
                    gaps.push((Gap::NativeBuiltin, native.clone()));
                }
            } else if self.before_udev || self.blacklisted.contains(native) || softdep(native) {
                // vfio-pci comes first, or the other does not come by itself.
            } else if words::generator_is(snap, Generator::NixOs) == Some(true) {
                // Its list for the initramfs is in no file that can be read here.
            } else if self.beside_udev {
                if in_an_image(snap, native) {
                    gaps.push((Gap::RaceInImage, native.clone()));
                }
            } else {
                gaps.push((Gap::Race, native.clone()));
            }
        }
        let loaded = snap.kernel.loaded.known().map(|loaded| loaded.contains("vfio_pci"));
        let some_softdep = natives.iter().any(|native| softdep(native));
        let asked_for = self.before_udev || self.beside_udev || self.late || some_softdep;
        if loaded == Some(false) && !asked_for && !snap.modules.files.is_empty() {
            return vec![(Gap::NeverLoaded, natives.join(", "))];
        }
        gaps
    }
}

/// The modules that would take the function; unknown if that was not looked up and it has no other driver.
fn natives(function: &Function) -> Option<Vec<String>> {
    let other = |name: &&String| !is_vfio_driver(name) && !name.contains("vfio");
    match (&function.candidates, &function.driver) {
        (Fact::Known(all), _) => Some(all.iter().filter(other).map(|name| module_name(name)).collect()),
        (_, Fact::Known(driver)) => Some([driver].into_iter().filter(other).map(|name| module_name(name)).collect()),
        _ => None,
    }
}

fn in_an_image(snap: &Snapshot, module: &str) -> bool {
    snap.initramfs.images.iter().filter_map(|i| i.content.known()).any(|content| content.modules.contains(module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    fn asked(lines: &str) -> Snapshot {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/v.conf", &format!("options vfio-pci ids=10de:2684\n{lines}"));
        snap
    }

    fn found(snap: &Snapshot) -> Vec<String> {
        let findings = check(snap);
        only(&findings, "early-load-missing").iter().map(|f| format!("{:?} {}", f.severity, f.variant)).collect()
    }

    #[test]
    fn orders() {
        type Change = fn(&mut Snapshot);
        let cases: [(&str, Change, &[&str]); 10] = [
            ("", |_| (), &["Warning never-loaded"]),
            ("", |s| load(s, "/etc/modules", "vfio-pci", false), &["Warning "]),
            ("blacklist nouveau\nblacklist nvidiafb", |s| load(s, "/etc/modules", "vfio_pci", false), &[]),
            ("softdep nouveau pre: vfio-pci\nsoftdep nvidia* pre: vfio-pci", |_| (), &[]),
            ("softdep nouveau pre:vfio-pci", |s| load(s, "/etc/modules", "vfio_pci", false), &["Warning "]),
            ("", |s| load(s, "/etc/initramfs-tools/modules", "vfio_pci", true), &[]),
            (
                "",
                |s| {
                    load(s, "/etc/initramfs-tools/modules", "vfio_pci", true);
                    if let Fact::Known(content) = &mut s.initramfs.images[0].content {
                        content.modules.insert("nouveau".into());
                    }
                },
                &["Warning in-image"],
            ),
            ("", |s| load(s, "/etc/dracut.conf.d/v.conf", "vfio_pci", true), &[]),
            (
                "",
                |s| {
                    load(s, "/etc/modules", "vfio_pci", false);
                    change(s, GPU, |f| f.driver = Fact::Known("vfio-pci".into()));
                },
                &["Info by-luck"],
            ),
            (
                "softdep nouveau pre: vfio-pci",
                |s| {
                    let Fact::Known(builtin) = &mut s.kernel.installed[0].builtin else { return };
                    builtin.insert("nvidiafb".into());
                },
                &["Warning native-builtin"],
            ),
        ];
        for (index, (lines, change, expected)) in cases.into_iter().enumerate() {
            let mut snap = asked(lines);
            change(&mut snap);
            assert_eq!(found(&snap), expected, "case {index}");
        }
    }

    #[test]
    fn nothing_where_nothing_is_asked_or_known() {
        let mut builtin = asked("");
        if let Fact::Known(all) = &mut builtin.kernel.installed[0].builtin {
            all.insert("vfio_pci".into());
        }
        let mut blind = asked("");
        change(&mut blind, GPU, |f| {
            f.candidates = Fact::default();
            f.driver = Fact::Absent;
        });
        for snap in [healthy(), passthrough(), builtin, blind] {
            assert!(found(&snap).is_empty());
        }
    }
}
