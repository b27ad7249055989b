//! Which modules of the running kernel would match each function.

use super::{Function, Pci};
use crate::facts::kernel::Kernel;
use crate::host::{Fact, Host, Why};
use crate::parse::modules_alias::{Aliases, Device};
use std::collections::{BTreeSet, HashMap};

/// Where the modules of a kernel are: everywhere but on NixOS the first; `/lib` may be no link to `/usr/lib` in a
/// mounted tree.
const PLACES: [&str; 4] = [
    "/lib/modules",
    "/usr/lib/modules",
    "/run/booted-system/kernel-modules/lib/modules",
    "/run/current-system/kernel-modules/lib/modules",
];

/// Adds the modules that would match each function, those built into the kernel last.
pub fn add_candidates(host: &dyn Host, kernel: &Kernel, pci: &mut Pci) {
    let release = match &kernel.release {
        Fact::Known(release) => release,
        other => {
            let why = other.why().cloned().unwrap_or_else(|| Why::Io("no running kernel".into()));
            return nothing(pci, &why);
        }
    };
    let vendors: BTreeSet<u16> = pci.functions.iter().filter_map(|f| f.ids.known()).map(|ids| ids.vendor).collect();
    let mut aliases = Aliases::default();
    match place(host, release) {
        Fact::Known((dir, text)) => {
            aliases.add_alias_file(&text, &vendors);
            if let Fact::Known(modinfo) = host.read(&format!("{dir}/modules.builtin.modinfo")) {
                aliases.add_builtin_modinfo(&modinfo, &vendors);
            }
        }
        Fact::Absent => return nothing(pci, &Why::Io(format!("no /lib/modules/{release}/modules.alias"))),
        Fact::Unknown(why) => return nothing(pci, &why),
    }
    let mut known: HashMap<Device, (Vec<String>, Vec<String>)> = HashMap::new();
    for function in &mut pci.functions {
        let device = match device(function) {
            Fact::Known(device) => device,
            other => {
                let why = other.why().cloned().unwrap_or(Why::NotRead);
                function.candidates = Fact::Unknown(why.clone());
                function.vfio_variants = Fact::Unknown(why);
                continue;
            }
        };
        let (modules, variants) =
            known.entry(device).or_insert_with(|| (aliases.modules(&device), aliases.vfio_variants(&device)));
        function.candidates = Fact::Known(modules.clone());
        function.vfio_variants = Fact::Known(variants.clone());
    }
}

fn place(host: &dyn Host, release: &str) -> Fact<(String, Vec<u8>)> {
    for place in PLACES {
        let dir = format!("{place}/{release}");
        match host.read(&format!("{dir}/modules.alias")) {
            Fact::Absent => {}
            found => return found.map(|text| (dir, text)),
        }
    }
    Fact::Absent
}

fn device(function: &Function) -> Fact<Device> {
    function.ids.as_ref().and_then(|ids| {
        function.class.as_ref().map(|class| Device {
            vendor: ids.vendor,
            device: ids.device,
            subsystem: function.subsystem.known().map_or((0, 0), |sub| (sub.vendor, sub.device)),
            class: *class,
        })
    })
}

fn nothing(pci: &mut Pci, why: &Why) {
    for function in &mut pci.functions {
        function.candidates = Fact::Unknown(why.clone());
        function.vfio_variants = Fact::Unknown(why.clone());
    }
}
