use super::{collect, has_acs_override};
use crate::facts::Needs;
use crate::host::{Builder, Fact, Recorded, Why};
use std::io::Read;

/// Gives one byte at a time, so that the word is cut at every place.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(into.len()).min(7);
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn finds_the_override_symbol() {
    let with = b"0000000000000000 t pcie_acs_overri\n0000000000000000 t pcie_acs_override_setup\n0 t x\n";
    assert_eq!(has_acs_override(&mut Slow(with)).unwrap(), b"1");
    assert_eq!(has_acs_override(&mut &with[..]).unwrap(), b"1");
    assert_eq!(has_acs_override(&mut Slow(b"0 t pcie_acs_enable\n")).unwrap(), b"0");
    assert_eq!(has_acs_override(&mut Slow(b"")).unwrap(), b"?");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn running() -> Builder {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_values("/proc/sys/kernel", &[("osrelease", "6.8.12-4-pve"), ("version", "#1 SMP")])
        .add_file("/proc/cmdline", "root=ZFS=rpool/ROOT/pve-1 quiet\n");
    host
}

#[test]
fn installed_kernels() {
    let mut host = running();
    host.add_file("/boot/vmlinuz-6.8.12-4-pve", "")
        .add_file("/boot/config-6.8.12-4-pve", "CONFIG_VFIO_PCI=m\n# CONFIG_DRM_SIMPLEDRM is not set\n")
        .add_file("/lib/modules/6.8.12-4-pve/modules.dep", "kernel/drivers/vfio/pci/vfio-pci.ko: \n")
        .add_file("/lib/modules/6.8.12-4-pve/modules.builtin", "kernel/drivers/usb/host/xhci-pci.ko\n")
        // Arch's names.
        .add_file("/boot/vmlinuz-linux-lts", "")
        .add_file("/lib/modules/6.12.1-1-lts/pkgbase", "linux-lts\n")
        .add_file("/lib/modules/6.12.1-1-lts/modules.dep", "")
        .add_file("/lib/modules/6.12.1-1-lts/build/.config", "CONFIG_VFIO=y\n")
        // Fedora's.
        .add_file("/lib/modules/6.5.0-1.fc39.x86_64/vmlinuz", "")
        .add_file("/lib/modules/6.5.0-1.fc39.x86_64/config", "CONFIG_VFIO=m\n")
        // What is no kernel.
        .add_file("/lib/modules/5.0.0-gone/updates/x.ko", "")
        .add_file("/boot/vmlinuz-0-rescue-0123456789abcdef", "")
        .add_file("/boot/vmlinuz-6.1.0.old", "")
        .add_file("/boot/config-6.8.12-4-pve.bak", "");
    let kernel = collect(&host.build(), Needs::ALL);
    let images: Vec<(&str, Option<&str>, &str)> = kernel
        .installed
        .iter()
        .map(|k| (k.release.as_str(), k.image.known().map(String::as_str), k.config_path.as_str()))
        .collect();
    let dir = "/lib/modules/6.5.0-1.fc39.x86_64";
    let (fedora, fedora_config) = (format!("{dir}/vmlinuz"), format!("{dir}/config"));
    assert_eq!(
        images,
        [
            ("6.5.0-1.fc39.x86_64", Some(fedora.as_str()), fedora_config.as_str()),
            ("6.8.12-4-pve", Some("/boot/vmlinuz-6.8.12-4-pve"), "/boot/config-6.8.12-4-pve"),
            ("6.12.1-1-lts", Some("/boot/vmlinuz-linux-lts"), "/lib/modules/6.12.1-1-lts/build/.config"),
        ]
    );
    let own = kernel.running().unwrap();
    assert!(own.builtin.known().unwrap().contains("xhci_pci") && own.available.known().unwrap().contains("vfio_pci"));
    assert_eq!(own.config.known().unwrap().get("DRM_SIMPLEDRM").map(String::as_str), Some("n"));
}

#[test]
fn configuration_of_the_running_kernel() {
    let mut host = running();
    host.add_file("/proc/config.gz", gzip("CONFIG_VFIO=y\n"));
    let kernel = collect(&host.build(), Needs::ALL);
    assert_eq!(kernel.running().unwrap().config.known().unwrap().len(), 1);
    assert!(kernel.running().unwrap().builtin.is_unknown());
    for broken in [&b"no gzip"[..], b"", &gzip("CONFIG_VFIO=y\n")[..12]] {
        let mut host = running();
        host.add_file("/proc/config.gz", broken);
        assert!(collect(&host.build(), Needs::ALL).running().unwrap().config.is_unknown());
    }
    // A bomb: 33 MiB of nothing in some kilobytes.
    let mut host = running();
    host.add_file("/proc/config.gz", gzip(&"\n".repeat(33 << 20)));
    let kernel = collect(&host.build(), Needs::ALL);
    assert_eq!(kernel.running().unwrap().config, Fact::Unknown(Why::TooLarge));
}

#[test]
fn the_override_is_looked_for_only_where_asked() {
    let symbols = "0000000000000000 t pcie_acs_override_setup\n";
    let mut host = running();
    host.add_file("/proc/kallsyms", symbols);
    assert!(collect(&host.build(), Needs::ALL).acs_override.is_unknown());
    let mut host = running();
    host.add_file("/proc/kallsyms", symbols).add_file("/etc/default/grub", "X=\"pcie_acs_override=downstream\"\n");
    assert_eq!(collect(&host.build(), Needs::ALL).acs_override, Fact::Known(true));
}

#[test]
fn kvm_access() {
    for (uid, mode, expected) in
        [(0, 0o600, Some(true)), (1000, 0o666, Some(true)), (1000, 0o660, None), (1000, 0o600, Some(false))]
    {
        let mut host = running();
        host.add_device("/dev/kvm", 10, 232)
            .stat("/dev/kvm", |stat| stat.mode = mode)
            .add_file("/proc/self/status", format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n"));
        let kvm = collect(&host.build(), Needs::ALL).kvm;
        assert_eq!((kvm.node, kvm.accessible.known().copied()), (Fact::Known(true), expected), "{uid} {mode:o}");
    }
    let kvm = collect(&running().build(), Needs::ALL).kvm;
    assert_eq!((kvm.node, kvm.accessible), (Fact::Known(false), Fact::Known(false)));
}

#[test]
fn a_mounted_disk_runs_nothing() {
    let mut host = Recorded::builder();
    host.complete(true).add_file("/lib/modules/6.1.0-18-amd64/modules.dep", "");
    let kernel = collect(&host.build(), Needs::ALL);
    assert!(kernel.release.is_unknown() && kernel.cmdline.is_unknown() && kernel.kvm.node.is_unknown());
    assert!(kernel.loaded.is_unknown());
    assert_eq!(kernel.installed.len(), 1);
}

#[test]
fn parameters_and_little_need() {
    let mut host = running();
    host.add_file("/sys/module/vfio_pci/parameters/disable_idle_d3", "Y\n")
        .add_file("/sys/module/kvm/parameters/ignore_msrs", "N\n")
        .add_file("/proc/modules", "vfio_pci 16384 0 - Live 0x0000000000000000\n");
    let host = host.build();
    let kernel = collect(&host, Needs::ALL);
    let get = |module: &str, name: &str| kernel.parameters.get(&(module.into(), name.into())).map(String::as_str);
    assert_eq!((get("vfio_pci", "disable_idle_d3"), get("kvm", "ignore_msrs")), (Some("Y"), Some("N")));
    assert!(kernel.loaded.known().unwrap().contains("vfio_pci"));
    let little = collect(&host, Needs::LIST);
    assert!(little.parameters.is_empty() && little.kvm.node.is_unknown() && little.cmdline.known().is_some());
}
