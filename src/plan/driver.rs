//! Which vfio driver a function gets.

use crate::adapters::claim::driver_of;
use crate::facts::Snapshot;
use crate::facts::kernel::InstalledKernel;
use crate::facts::pci::Function;

/// The most specific driver that matches the function and that every installed kernel has, as the kernel names it: else the
/// function would be taken by one kernel and not by the next.
pub(super) fn of(snap: &Snapshot, function: &Function) -> String {
    let variants = function.vfio_variants.known().map_or(&[][..], Vec::as_slice);
    let everywhere = |module: &&String| snap.kernel.installed.iter().all(|kernel| has(kernel, module));
    variants
        .iter()
        .find(everywhere)
        .filter(|_| !snap.kernel.installed.is_empty())
        .map_or("vfio-pci", |module| driver_of(module))
        .to_owned()
}

/// The same for the running kernel alone: what is handed over now is handed over again after the next boot.
pub(super) fn of_running(function: &Function) -> String {
    let best = function.vfio_variants.known().and_then(|variants| variants.first());
    best.map_or("vfio-pci", |module| driver_of(module)).to_owned()
}

/// What is not known of a kernel it may lack.
fn has(kernel: &InstalledKernel, module: &str) -> bool {
    [&kernel.builtin, &kernel.available].iter().any(|all| all.known().is_some_and(|all| all.contains(module)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::host::Fact;

    #[test]
    fn a_variant_only_where_every_kernel_has_it() {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| {
            f.vfio_variants = Fact::Known(vec!["nvgrace_gpu_vfio_pci".into(), "vfio_pci".into()]);
        });
        let of = |snap: &Snapshot| super::of(snap, snap.pci.get(&t::at(GPU)).unwrap());
        assert_eq!(of(&snap), "vfio-pci");
        if let Fact::Known(available) = &mut snap.kernel.installed[0].available {
            available.insert("nvgrace_gpu_vfio_pci".into());
        }
        assert_eq!(of(&snap), "nvgrace_gpu_vfio_pci");
        snap.kernel.installed.push(t::installed("6.1.0-25-amd64"));
        assert_eq!(of(&snap), "vfio-pci");
        snap.kernel.installed.clear();
        assert_eq!(of(&snap), "vfio-pci", "no kernel is known");
        t::change(&mut snap, GPU, |f| f.vfio_variants = Fact::default());
        assert_eq!(of(&snap), "vfio-pci");
    }
}
