//! Hosts of each chain, put together from the files that matter.

use super::*;
use crate::host::Recorded;
use crate::parse::{efi, pe};

/// A host: files, and what runs on it.
struct Case {
    files: Vec<(String, Vec<u8>)>,
    kind: Kind,
    denied: Vec<&'static str>,
}

fn host(files: &[(&str, &str)]) -> Case {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Case { files, kind: Kind::Live, denied: Vec::new() }
}

impl Case {
    fn cmdline(self, text: &str) -> Self {
        self.file("/proc/cmdline", format!("{text}\n").into_bytes())
    }

    fn file(mut self, path: &str, content: Vec<u8>) -> Self {
        self.files.push((path.to_owned(), content));
        self
    }

    fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn deny(mut self, path: &'static str) -> Self {
        self.denied.push(path);
        self
    }

    fn loader(self, name: &str, text: &str) -> Self {
        self.file(&format!("/sys/firmware/efi/efivars/{name}-{}", efi::LOADER), variable(&utf16(text)))
    }

    fn entry(self, description: &str, path: &str) -> Self {
        let node = utf16(path);
        let mut option = vec![1, 0, 0, 0];
        option.extend((node.len() as u16 + 4).to_le_bytes());
        option.extend(utf16(description));
        option.extend([4, 4]);
        option.extend((node.len() as u16 + 4).to_le_bytes());
        option.extend(node);
        self.file(&format!("/sys/firmware/efi/efivars/BootCurrent-{}", efi::GLOBAL), variable(&[0x1a, 0]))
            .file(&format!("/sys/firmware/efi/efivars/Boot001A-{}", efi::GLOBAL), variable(&option))
    }

    fn boot(&self) -> Boot {
        let mut builder = Recorded::builder();
        builder.kind(self.kind);
        for (path, content) in &self.files {
            builder.add_file(path, content);
            if path.ends_with(".efi") && content.starts_with(b"MZ") {
                let uki = pe::read_uki(&mut content.as_slice()).expect("an image");
                builder.digest(path, "uki-1", serde_json::to_vec(&uki).expect("written"));
            }
        }
        for path in &self.denied {
            builder.deny(path);
        }
        let recorded = builder.build();
        let kernel = crate::facts::kernel::collect(&recorded, crate::facts::Needs::LIST);
        collect(&recorded, &kernel)
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn variable(value: &[u8]) -> Vec<u8> {
    [&[6, 0, 0, 0], value].concat()
}

/// `path:line +words` of effective places, `-` of others, `=` for what the loader reads itself.
fn show(boot: &Boot) -> Vec<String> {
    boot.places
        .iter()
        .map(|place| {
            let mark = match (place.effective, place.generated) {
                (true, true) => "=",
                (true, false) => "+",
                (false, _) => "-",
            };
            format!("{}:{} {mark}{}", place.file.path, place.line, place.words.join(" "))
        })
        .collect()
}

#[track_caller]
fn proven(boot: &Boot, chain: Chain) {
    assert_eq!(boot.chain(), Some(chain), "{:?}", boot.candidates);
    assert!(boot.candidates[0].proven && !boot.candidates[0].evidence.is_empty());
}

const GRUB_CFG: &str =
    "menuentry 'PVE' --id a {\n linux /boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro quiet\n}\n";
const MKCONFIG_DEBIAN: &str = "#!/bin/sh\nfor x in ${sysconfdir}/default/grub.d/*.cfg ; do\n  . \"${x}\"\ndone\n";
const MKCONFIG_EL9: &str = "#!/usr/bin/sh\n  --update-bls-cmdline  overwrite BLS cmdline args\n";

#[test]
fn debian_and_proxmox_with_plain_grub() {
    let boot = host(&[
        ("/usr/sbin/grub-mkconfig", MKCONFIG_DEBIAN),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n"),
        ("/etc/default/grub.d/99-vfio.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"\n"),
        ("/boot/grub/grub.cfg", GRUB_CFG),
        ("/etc/kernel/cmdline", "intel_iommu=on\n"),
    ])
    .cmdline("BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro quiet")
    .entry("proxmox", "\\EFI\\proxmox\\shimx64.efi")
    .boot();
    proven(&boot, Chain::Grub);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/grub:1 +quiet",
            "/etc/default/grub:2 +",
            "/etc/default/grub.d/99-vfio.cfg:1 +iommu=pt",
            "/boot/grub/grub.cfg:2 =root=/dev/mapper/pve-root ro quiet",
            "/etc/kernel/cmdline:1 -intel_iommu=on",
        ]
    );
    assert_eq!(boot.places[3].release.as_deref(), Some("6.8.12-4-pve"));
    assert_eq!(boot.efi_entry, Fact::Known("proxmox \\EFI\\proxmox\\shimx64.efi".into()));
    let found = configured_words(&boot, "root=/dev/mapper/pve-root ro quiet", Some("6.8.12-4-pve"));
    let reach: Vec<_> = found.iter().map(|c| (c.word, c.reach)).collect();
    let expected = [("quiet", Reach::Running), ("iommu=pt", Reach::NotGenerated), ("intel_iommu=on", Reach::NotRead)];
    assert_eq!(reach, expected);
}

#[test]
fn a_word_that_waits_for_a_boot() {
    let boot = host(&[("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"quiet\"\n"), ("/boot/grub/grub.cfg", GRUB_CFG)])
        .cmdline("BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro")
        .boot();
    let found = configured_words(&boot, "root=/dev/mapper/pve-root ro", Some("6.8.12-4-pve"));
    assert_eq!(found.iter().map(|c| c.reach).collect::<Vec<_>>(), [Reach::NotBooted]);
    assert!(releases_without(&boot, "iommu=pt").contains("6.8.12-4-pve"));
}

#[test]
fn proxmox_with_systemd_boot() {
    let case = host(&[
        ("/etc/kernel/proxmox-boot-uuids", "5F3A-1B2C\n5F3B-77AA\n"),
        ("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\nintel_iommu=on\n"),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
        ("/boot/grub/grub.cfg", GRUB_CFG),
    ]);
    let boot = case
        .cmdline("initrd=\\EFI\\proxmox\\6.8.12-4-pve\\initrd.img-6.8.12-4-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs")
        .loader("LoaderInfo", "systemd-boot 252.12-1~deb12u1")
        .loader("LoaderEntrySelected", "proxmox-6.8.12-4-pve.conf")
        .entry("Linux Boot Manager", "\\EFI\\systemd\\systemd-bootx64.efi")
        .boot();
    proven(&boot, Chain::ProxmoxSystemdBoot);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/grub:1 -quiet",
            "/boot/grub/grub.cfg:2 -root=/dev/mapper/pve-root ro quiet",
            "/etc/kernel/cmdline:1 +root=ZFS=rpool/ROOT/pve-1 boot=zfs",
            "/etc/kernel/cmdline:2 -intel_iommu=on",
        ]
    );
    assert_eq!(boot.unread.len(), 2, "unmounted ESPs are named");
    assert_eq!(boot.loader_info.known().map(String::as_str), Some("systemd-boot 252.12-1~deb12u1"));
    let found = configured_words(&boot, "root=ZFS=rpool/ROOT/pve-1 boot=zfs", Some("6.8.12-4-pve"));
    assert_eq!(found.last().map(|c| (c.word, c.reach)), Some(("intel_iommu=on", Reach::NotRead)));
}

#[test]
fn proxmox_with_grub_on_managed_esps() {
    let files = [
        ("/usr/sbin/grub-mkconfig", MKCONFIG_DEBIAN),
        ("/etc/kernel/proxmox-boot-uuids", "5F3A-1B2C\n"),
        ("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n"),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
        ("/boot/grub/grub.cfg", GRUB_CFG),
    ];
    let boot =
        host(&files).cmdline("BOOT_IMAGE=/vmlinuz-6.8.12-4-pve root=ZFS=/ROOT/pve-1 ro root=ZFS=rpool boot=zfs").boot();
    proven(&boot, Chain::ProxmoxGrub);
    assert_eq!(show(&boot)[0], "/etc/default/grub:1 +quiet");
    assert!(boot.places.iter().all(|place| !place.generated || !place.effective));
    // The same host from a rescue system: either loader may be on the ESP.
    let boot = host(&files).kind(Kind::Mounted).boot();
    assert_eq!(boot.chain(), None);
    let chains: Vec<_> = boot.candidates.iter().map(|c| (c.chain, c.proven)).collect();
    assert_eq!(chains, [(Chain::ProxmoxSystemdBoot, false), (Chain::ProxmoxGrub, false)]);
    assert!(boot.places.iter().filter(|place| !place.generated).all(|place| place.effective));
}

#[test]
fn el8_with_kernelopts() {
    let boot = host(&[
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"rhgb quiet\"\nGRUB_ENABLE_BLSCFG=true\n"),
        ("/usr/sbin/grub2-mkconfig", "#!/usr/bin/sh\n"),
        ("/boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n"),
        ("/boot/grub2/grubenv", "# GRUB Environment Block\nsaved_entry=0a1b-4.18.0-553.el8_10.x86_64\nkernelopts=root=/dev/mapper/rl-root ro rhgb quiet\n#####"),
        ("/boot/loader/entries/0a1b-4.18.0-553.el8_10.x86_64.conf", "title Rocky Linux (4.18.0-553.el8_10.x86_64) 8.10\nversion 4.18.0-553.el8_10.x86_64\nlinux /vmlinuz-4.18.0-553.el8_10.x86_64\noptions $kernelopts $tuned_params\n"),
    ])
    .cmdline("BOOT_IMAGE=(hd0,gpt2)/vmlinuz-4.18.0-553.el8_10.x86_64 root=/dev/mapper/rl-root ro rhgb quiet")
    .boot();
    proven(&boot, Chain::GrubBls);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/grub:1 +rhgb quiet",
            "/boot/grub2/grubenv:3 =root=/dev/mapper/rl-root ro rhgb quiet",
            "/boot/loader/entries/0a1b-4.18.0-553.el8_10.x86_64.conf:4 =root=/dev/mapper/rl-root ro rhgb quiet $tuned_params",
        ]
    );
    let place = &boot.places[1];
    assert_eq!(&place.file.text[place.range.clone()], "root=/dev/mapper/rl-root ro rhgb quiet");
    assert!(boot.saved_entry.is_some());
}

#[test]
fn el9_leaves_default_grub_alone() {
    let entry = "title Rocky Linux (5.14.0-503.el9.x86_64) 9.5\nversion 5.14.0-503.el9.x86_64\nlinux /vmlinuz-5.14.0-503.el9.x86_64\noptions root=/dev/mapper/rl-root ro\n";
    let case = host(&[
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"intel_iommu=on\"\nGRUB_ENABLE_BLSCFG=true\n"),
        ("/etc/default/grub.d/x.cfg", "GRUB_CMDLINE_LINUX=\"iommu=pt\"\n"),
        ("/usr/sbin/grub2-mkconfig", MKCONFIG_EL9),
        ("/boot/loader/entries/0a-5.14.0-503.el9.x86_64.conf", entry),
        (
            "/boot/efi/EFI/rocky/grub.cfg",
            "search --no-floppy --fs-uuid --set=dev 1\nset prefix=($dev)/grub2\nexport $prefix\nconfigfile $prefix/grub.cfg\n",
        ),
        ("/boot/grub2/grub.cfg", "blscfg\n"),
    ]);
    let boot = case.cmdline("BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14.0-503.el9.x86_64 root=/dev/mapper/rl-root ro").boot();
    proven(&boot, Chain::GrubBls);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/grub:1 -intel_iommu=on",
            "/etc/default/grub.d/x.cfg:1 -iommu=pt",
            "/boot/loader/entries/0a-5.14.0-503.el9.x86_64.conf:4 =root=/dev/mapper/rl-root ro",
        ]
    );
    let stubs: Vec<_> = boot.grub_configs.iter().map(|c| (c.file.path.as_str(), c.stub, c.esp)).collect();
    assert_eq!(stubs, [("/boot/grub2/grub.cfg", false, false), ("/boot/efi/EFI/rocky/grub.cfg", true, true)]);
}

#[test]
fn fedora_without_root() {
    let boot = host(&[("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"rhgb quiet\"\nGRUB_ENABLE_BLSCFG=true\n")])
        .cmdline("BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.17.4-200.fc42.x86_64 root=UUID=1 ro rootflags=subvol=root rhgb quiet")
        .deny("/boot/loader/entries")
        .deny("/boot/grub2/grub.cfg")
        .deny("/boot/efi/EFI")
        .boot();
    proven(&boot, Chain::GrubBls);
    let unread: Vec<_> = boot.unread.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(unread, ["/boot/grub2/grub.cfg", "/boot/efi/EFI", "/boot/loader/entries"]);
    let found = configured_words(&boot, "root=UUID=1 ro rhgb", Some("6.17.4-200.fc42.x86_64"));
    assert_eq!(found.last().map(|c| (c.word, c.reach)), Some(("quiet", Reach::Unclear)));
}

#[test]
fn bls_switched_off() {
    // Some provisioning systems switch it off and write a full grub.cfg where the stub was.
    let full = "menuentry 'Rocky' { linuxefi /vmlinuz-5.14.0-503.el9.x86_64 root=UUID=1 ro\n}\n";
    let boot = host(&[
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"ro\"\nGRUB_ENABLE_BLSCFG=false\n"),
        ("/boot/efi/EFI/rocky/grub.cfg", full),
        ("/boot/loader/entries/0a-5.14.0-503.el9.x86_64.conf", "linux /vmlinuz-5.14.0-503.el9.x86_64\noptions x\n"),
    ])
    .cmdline("BOOT_IMAGE=/vmlinuz-5.14.0-503.el9.x86_64 root=UUID=1 ro")
    .boot();
    proven(&boot, Chain::Grub);
    assert_eq!(boot.grub_configs.iter().map(|c| (c.stub, c.esp)).collect::<Vec<_>>(), [(false, true)]);
    assert_eq!(show(&boot)[2], "/boot/loader/entries/0a-5.14.0-503.el9.x86_64.conf:2 -x");
}

#[test]
fn debian_with_systemd_boot() {
    let entry = "# Boot Loader Specification type#1 entry\n# File created by /usr/lib/kernel/install.d/90-loaderentry.install (systemd 257)\ntitle Debian\nversion 6.12.41+deb13-amd64\noptions root=UUID=1 ro quiet systemd.machine_id=0123\nlinux /0123/6.12.41+deb13-amd64/linux\n";
    let files = [
        ("/etc/kernel/cmdline", "# words for all kernels\nroot=UUID=1 ro\nquiet\n"),
        ("/boot/efi/loader/loader.conf", "timeout 3\n"),
        ("/boot/efi/loader/entries/0123-6.12.41+deb13-amd64.conf", entry),
    ];
    let line = "initrd=\\0123\\6.12.41+deb13-amd64\\initrd.img-6.12.41+deb13-amd64 root=UUID=1 ro quiet";
    let boot = host(&files)
        .cmdline(line)
        .loader("LoaderInfo", "systemd-boot 257.7-1")
        .loader("LoaderEntrySelected", "0123-6.12.41+deb13-amd64.conf")
        .boot();
    proven(&boot, Chain::SystemdBoot);
    assert_eq!(
        show(&boot),
        [
            "/boot/efi/loader/entries/0123-6.12.41+deb13-amd64.conf:5 =root=UUID=1 ro quiet systemd.machine_id=0123",
            "/etc/kernel/cmdline:2 +root=UUID=1 ro",
            "/etc/kernel/cmdline:3 +quiet",
        ]
    );
    // Without efivars (not mounted) the initrd word still shows it; from a rescue system the files do.
    proven(&host(&files).cmdline(line).boot(), Chain::SystemdBoot);
    let mounted = host(&files).kind(Kind::Mounted).boot();
    assert_eq!(mounted.chain(), Some(Chain::SystemdBoot));
    assert!(!mounted.candidates[0].proven);
}

#[test]
fn arch_with_entries_by_hand() {
    let boot = host(&[
        ("/boot/loader/loader.conf", "default arch.conf\n"),
        ("/boot/loader/entries/arch.conf", "title Arch Linux\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\noptions root=UUID=1 rw\noptions iommu=pt\n"),
        ("/boot/loader/entries/arch-fallback.conf", "title Arch (fallback)\nlinux /vmlinuz-linux\noptions root=UUID=1 rw\n"),
        ("/usr/lib/modules/6.17.1-arch1-1/pkgbase", "linux\n"),
    ])
    .cmdline("initrd=\\initramfs-linux.img root=UUID=1 rw")
    .loader("LoaderInfo", "systemd-boot 258-1-arch")
    .loader("LoaderEntrySelected", "arch.conf")
    .boot();
    proven(&boot, Chain::SystemdBootEntries);
    assert!(boot.places.iter().all(|place| place.generated && place.effective));
    assert_eq!(boot.places[0].release.as_deref(), Some("6.17.1-arch1-1"));
    let found = configured_words(&boot, "root=UUID=1 rw", Some("6.17.1-arch1-1"));
    let waiting: Vec<_> = found.iter().filter(|c| c.reach != Reach::Running).map(|c| (c.word, c.reach)).collect();
    assert_eq!(waiting, [("iommu=pt", Reach::NotBooted)]);
}

#[test]
fn unified_images() {
    let image =
        pe::tests::build(&[(".linux", b"x"), (".cmdline", b"root=UUID=1 rw quiet"), (".uname", b"6.17.1-arch1-1")]);
    let boot = host(&[
        ("/etc/kernel/cmdline", "root=UUID=1 rw\nquiet\n"),
        ("/etc/cmdline.d/vfio.conf", "# for the GPU\niommu=pt\n"),
    ])
    .cmdline("root=UUID=1 rw quiet")
    .file("/efi/EFI/Linux/arch-linux.efi", image)
    .loader("LoaderInfo", "systemd-boot 258-1-arch")
    .loader("StubInfo", "systemd-stub 258-1-arch")
    .entry("Linux Boot Manager", "\\EFI\\systemd\\systemd-bootx64.efi")
    .boot();
    proven(&boot, Chain::Uki);
    assert_eq!(
        show(&boot),
        [
            "/efi/EFI/Linux/arch-linux.efi:1 =root=UUID=1 rw quiet",
            "/etc/kernel/cmdline:1 +root=UUID=1 rw",
            "/etc/kernel/cmdline:2 +quiet",
            "/etc/cmdline.d/vfio.conf:2 +iommu=pt",
        ]
    );
    let found = configured_words(&boot, "root=UUID=1 rw quiet", Some("6.17.1-arch1-1"));
    assert_eq!(found.last().map(|c| (c.word, c.reach)), Some(("iommu=pt", Reach::NotGenerated)));
}

#[test]
fn image_based_systems() {
    let entry = "title Fedora Linux 42 (Silverblue) (ostree:0)\nversion 1\noptions root=UUID=1 rw ostree=/ostree/boot.1/fedora/a/0 quiet\nlinux /ostree/fedora-a/vmlinuz-6.17.4-200.fc42.x86_64\n";
    let line = "BOOT_IMAGE=(hd0,gpt2)/ostree/fedora-a/vmlinuz-6.17.4-200.fc42.x86_64 root=UUID=1 rw ostree=/ostree/boot.1/fedora/a/0 quiet";
    let silverblue = [
        ("/run/ostree-booted", ""),
        ("/usr/bin/rpm-ostree", ""),
        ("/usr/bin/bootc", ""),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"x\"\nGRUB_ENABLE_BLSCFG=true\n"),
        ("/boot/loader/entries/ostree-1.conf", entry),
    ];
    let boot = host(&silverblue).cmdline(line).boot();
    proven(&boot, Chain::Ostree);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/grub:1 -x",
            "/boot/loader/entries/ostree-1.conf:3 =root=UUID=1 rw ostree=/ostree/boot.1/fedora/a/0 quiet",
        ]
    );
    assert_eq!(boot.places[1].release.as_deref(), Some("6.17.4-200.fc42.x86_64"));
    let bootc = [
        ("/run/ostree-booted", ""),
        ("/usr/bin/bootc", ""),
        ("/usr/lib/bootc/kargs.d/10-vfio.toml", "# GPU\nkargs = [\"iommu=pt\", \"rd.driver.pre=vfio-pci\"]\n"),
        ("/boot/loader/entries/ostree-1.conf", entry),
    ];
    let boot = host(&bootc).cmdline(line).boot();
    proven(&boot, Chain::Bootc);
    assert_eq!(show(&boot)[1], "/usr/lib/bootc/kargs.d/10-vfio.toml:2 +iommu=pt rd.driver.pre=vfio-pci");
    let nixos = [
        ("/etc/NIXOS", ""),
        (
            "/boot/loader/entries/nixos-generation-4.conf",
            "title NixOS\nversion Generation 4\nlinux /EFI/nixos/a-linux-6.12.40-bzImage.efi\noptions init=/nix/store/a/init loglevel=4\n",
        ),
    ];
    let boot = host(&nixos).cmdline("initrd=\\EFI\\nixos\\a-initrd.efi init=/nix/store/a/init loglevel=4").boot();
    proven(&boot, Chain::NixOs);
    assert_eq!(host(&nixos).kind(Kind::Mounted).boot().chain(), Some(Chain::NixOs));
}

#[test]
fn pop_os_with_kernelstub() {
    let config = "{\n  \"default\": {\n    \"kernel_options\": [\n      \"quiet\",\n      \"splash\"\n    ],\n    \"esp_path\": \"/boot/efi\"\n  },\n  \"user\": {\n    \"kernel_options\": [\n      \"quiet\",\n      \"iommu=pt\"\n    ],\n    \"config_rev\": 3\n  }\n}\n";
    let boot = host(&[
        ("/etc/kernelstub/configuration", config),
        ("/boot/efi/loader/loader.conf", "default Pop_OS-current\n"),
        ("/boot/efi/loader/entries/Pop_OS-current.conf", "title Pop!_OS\nlinux /EFI/Pop_OS-1/vmlinuz.efi\ninitrd /EFI/Pop_OS-1/initrd.img\noptions root=UUID=1 ro quiet\n"),
    ])
    .cmdline("initrd=\\EFI\\Pop_OS-1\\initrd.img root=UUID=1 ro quiet")
    .loader("LoaderInfo", "systemd-boot 249.11")
    .boot();
    proven(&boot, Chain::Kernelstub);
    let place = boot.places.iter().find(|place| place.key == "kernel_options").expect("there");
    assert_eq!((place.line, place.words.join(" ").as_str(), place.effective), (10, "quiet iommu=pt", true));
    let text = &place.file.text[place.range.clone()];
    assert!(text.starts_with('[') && text.ends_with(']') && text.contains("iommu=pt"), "{text}");
}

#[test]
fn opensuse() {
    let sdboot = [
        ("/etc/sysconfig/bootloader", "# Type: list\nLOADER_TYPE=\"grub2-bls\"\n"),
        ("/etc/kernel/cmdline", "root=UUID=1 quiet\n"),
        (
            "/boot/efi/loader/entries/opensuse-tumbleweed-6.17.1-1-default-5.conf",
            "title openSUSE\nversion 5@6.17.1-1-default\nlinux /opensuse-tumbleweed/6.17.1-1-default/linux-a\noptions root=UUID=1 quiet\n",
        ),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n"),
    ];
    let boot = host(&sdboot).cmdline("root=UUID=1 quiet").loader("LoaderInfo", "GRUB 2.12").boot();
    proven(&boot, Chain::Sdbootutil);
    assert_eq!(show(&boot).iter().filter(|line| line.contains(" -")).count(), 1);
    let grub = [
        ("/etc/sysconfig/bootloader", "LOADER_TYPE=\"grub2-efi\"\n"),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
        (
            "/boot/grub2/grub.cfg",
            "menuentry 'openSUSE' { linux /boot/vmlinuz-6.4.0-150600.23-default root=UUID=1 quiet\n}\n",
        ),
    ];
    let boot = host(&grub).cmdline("BOOT_IMAGE=/boot/vmlinuz-6.4.0-150600.23-default root=UUID=1 quiet").boot();
    proven(&boot, Chain::Grub);
}

#[test]
fn limine_and_refind() {
    let boot = host(&[
        ("/etc/default/limine", "KERNEL_CMDLINE[default]=\"root=UUID=1 rw\"\nKERNEL_CMDLINE[default]+=\" quiet\"\n"),
        ("/boot/limine.conf", "timeout: 3\n\n/CachyOS\n    protocol: linux\n    path: boot():/vmlinuz-linux-cachyos\n    cmdline: root=UUID=1 rw quiet\n"),
    ])
    .cmdline("root=UUID=1 rw quiet")
    .entry("Limine", "\\EFI\\limine\\limine_x64.efi")
    .boot();
    proven(&boot, Chain::Limine);
    assert_eq!(
        show(&boot),
        [
            "/etc/default/limine:1 +root=UUID=1 rw",
            "/etc/default/limine:2 +quiet",
            "/boot/limine.conf:6 =root=UUID=1 rw quiet",
        ]
    );
    let place = &boot.places[2];
    assert_eq!(&place.file.text[place.range.clone()], "root=UUID=1 rw quiet");
    let boot = host(&[(
        "/boot/refind_linux.conf",
        "# made by mkrlconf\n\"Boot with standard options\"  \"root=UUID=1 ro quiet\"\n\"Single user\" \"root=UUID=1 ro single\"\n",
    )])
    .cmdline("initrd=\\boot\\initrd.img-6.12.41 root=UUID=1 ro quiet")
    .entry("rEFInd Boot Manager", "\\EFI\\refind\\refind_x64.efi")
    .boot();
    proven(&boot, Chain::Refind);
    assert_eq!(show(&boot)[0], "/boot/refind_linux.conf:2 =root=UUID=1 ro quiet");
    let place = &boot.places[0];
    assert_eq!(&place.file.text[place.range.clone()], "root=UUID=1 ro quiet");
}

#[test]
fn nothing_known() {
    let boot = host(&[]).cmdline("console=ttyS0 root=/dev/vda rw").boot();
    assert!(boot.candidates.is_empty() && boot.places.is_empty());
    // In a container of a host that GRUB booted.
    let boot = host(&[]).cmdline("BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro").boot();
    proven(&boot, Chain::Unknown);
    // A VM's kernel that was loaded directly: GRUB's files prove nothing.
    let grub = [("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"a\"\n"), ("/boot/grub/grub.cfg", GRUB_CFG)];
    let boot = host(&grub).cmdline("console=ttyS0 root=/dev/vda rw").boot();
    assert_eq!(boot.chain(), None);
    let found = configured_words(&boot, "console=ttyS0", None);
    assert_eq!(found.iter().map(|c| c.reach).collect::<Vec<_>>(), [Reach::Unclear]);
    // The same tree from outside.
    assert_eq!(host(&grub).kind(Kind::Mounted).boot().chain(), Some(Chain::Grub));
}

#[test]
fn a_first_line_without_words() {
    for text in ["", "\nroot=ZFS=rpool/ROOT/pve-1 boot=zfs\n"] {
        let boot = host(&[("/etc/kernel/proxmox-boot-uuids", "5F3A-1B2C\n"), ("/etc/kernel/cmdline", text)])
            .cmdline("initrd=\\EFI\\proxmox\\6.8.12-4-pve\\initrd.img-6.8.12-4-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs")
            .boot();
        proven(&boot, Chain::ProxmoxSystemdBoot);
        let effective: Vec<_> = boot.places.iter().filter(|place| place.effective).collect();
        assert_eq!(effective.iter().map(|place| (place.line, place.words.len())).collect::<Vec<_>>(), [(1, 0)]);
    }
}

#[test]
fn other_loaders() {
    let grub = [("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"a\"\n")];
    let syslinux = host(&grub).cmdline("BOOT_IMAGE=/live/vmlinuz initrd=/live/initrd.img boot=live").boot();
    assert_eq!(syslinux.chain(), None);
    let xen = host(&grub).cmdline("placeholder root=UUID=1 ro").boot();
    assert_eq!(xen.chain(), Some(Chain::Grub));
    let layout = [("/etc/kernel/install.conf", "layout=uki\n"), ("/etc/kernel/cmdline", "root=UUID=1\n")];
    assert_eq!(host(&layout).kind(Kind::Mounted).boot().chain(), Some(Chain::Uki));
}

#[test]
fn malformed_files() {
    let boot = host(&[
        ("/etc/kernelstub/configuration", "{\"user\": "),
        ("/usr/lib/bootc/kargs.d/x.toml", "kargs = ["),
        ("/etc/kernel/proxmox-boot-uuids", "\n\n"),
        ("/etc/kernel/cmdline", ""),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"unclosed\nGRUB_DEFAULT=0\n"),
        ("/boot/grub/grub.cfg", "menuentry 'x' {\nlinux\n}}}}{\nlinux /a"),
        ("/boot/loader/entries/x.conf", "\0\0\n\noptions\n"),
        ("/boot/limine.conf", ":::::\ncmdline:\n="),
        ("/boot/refind_linux.conf", "\"\n\"a\" \"\n"),
    ])
    .file("/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", vec![1, 2])
    .boot();
    assert!(boot.loader_info.is_unknown());
    for place in &boot.places {
        assert!(place.file.text.get(place.range.clone()).is_some(), "{place:?}");
    }
}
