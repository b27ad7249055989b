//! What a host's disk is made of: release, boot loader, initramfs generator and layout. Images are made on demand and kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What starts the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    GrubBios,
    GrubUefi,
    /// systemd-boot with kernel-install.
    SystemdBoot,
    /// systemd-boot with kernel-install and ukify: one file per kernel. Debian 13 and later.
    Uki,
}

/// What makes the initramfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// initramfs-tools with `MODULES=dep`.
    Tools,
    /// dracut with `hostonly=yes`.
    Dracut,
    /// dracut with `hostonly=no`.
    DracutAny,
}

/// Where the root file system and `/boot` lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One ext4.
    Plain,
    /// `/boot` on a partition of its own.
    Boot,
    /// ext4 on a logical volume.
    Lvm,
    /// A subvolume of btrfs.
    Btrfs,
    /// `/boot` on a partition of its own with XFS, as EL and Fedora have it.
    Xfs,
}

/// One kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    pub debian: u8,
    pub loader: Loader,
    pub generator: Generator,
    pub layout: Layout,
}

impl Variant {
    /// GRUB, BIOS, initramfs-tools, one ext4: what the cells that change nothing boot.
    pub const fn usual(debian: u8) -> Variant {
        Variant { debian, loader: Loader::GrubBios, generator: Generator::Tools, layout: Layout::Plain }
    }

    /// The name by which it is chosen, without the release.
    pub fn name(self) -> String {
        let [loader, generator, layout] = self.words();
        if self.layout == Layout::Plain {
            format!("{loader}-{generator}")
        } else {
            format!("{loader}-{generator}-{layout}")
        }
    }

    fn words(self) -> [&'static str; 3] {
        let loader = match self.loader {
            Loader::GrubBios => "grub-bios",
            Loader::GrubUefi => "grub-uefi",
            Loader::SystemdBoot => "sdboot",
            Loader::Uki => "uki",
        };
        let generator = match self.generator {
            Generator::Tools => "tools",
            Generator::Dracut => "dracut",
            Generator::DracutAny => "dracut-any",
        };
        let layout = match self.layout {
            Layout::Plain => "plain",
            Layout::Boot => "boot",
            Layout::Lvm => "lvm",
            Layout::Btrfs => "btrfs",
            Layout::Xfs => "xfs",
        };
        [loader, generator, layout]
    }

    /// The Debian release's own name.
    pub fn suite(self) -> &'static str {
        suite(self.debian)
    }

    /// Whether the firmware is UEFI.
    pub fn uefi(self) -> bool {
        self.loader != Loader::GrubBios
    }

    /// What the program calls this boot chain.
    pub fn chain(self) -> &'static str {
        match self.loader {
            Loader::GrubBios | Loader::GrubUefi => "GRUB",
            Loader::SystemdBoot => "systemd-boot with kernel-install",
            Loader::Uki => "a unified kernel image",
        }
    }

    /// Its image; made if it isn't there, with progress on stderr. A UEFI firmware's variables lie beside it, as `.vars`.
    pub fn image(self) -> Result<PathBuf, String> {
        let [loader, generator, layout] = self.words();
        script("image.sh", &[self.suite(), loader, generator, layout])
    }

    /// The package of another kernel of its release.
    pub fn second_kernel(self) -> Result<PathBuf, String> {
        script("kernel.sh", &[self.suite()])
    }
}

/// A Debian release's own name.
pub fn suite(debian: u8) -> &'static str {
    match debian {
        12 => "bookworm",
        _ => "trixie",
    }
}

/// The folder of the lab's own files.
pub fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

/// Runs one of the lab's own scripts, which prints a path.
pub fn script(name: &str, arguments: &[&str]) -> Result<PathBuf, String> {
    let output = Command::new("sh")
        .arg(lab().join(name))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{name}: {e}"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        Ok(path.into())
    } else {
        Err(format!("{name} {} failed: {}", arguments.join(" "), output.status))
    }
}
