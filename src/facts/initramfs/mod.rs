//! The initramfs generator, its configuration, and what the images of all kernels hold.
//!
//! Goes in: a host. Comes out: an [`Initramfs`]. Images are read only if needed, as a stream, and nothing is built.

mod claiming;
mod content;
mod generator;
mod images;

pub use content::{Content, Outdated};
pub use images::read as read_image;

use super::kernel::Kernel;
use super::{Evidence, Needs, TextFile, dropin, modules};
use crate::host::{Fact, Host, Why};
use crate::parse::shell_vars;

pub(super) use generator::find as find_generator;

/// Which program builds the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// Arch's mkinitcpio.
    Mkinitcpio,
    /// rpm-ostree's server-side or client-side dracut.
    RpmOstree,
    /// booster.
    Booster,
    /// NixOS's own.
    NixOs,
}

/// One image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its path.
    pub path: String,
    /// The kernel it is for.
    pub release: String,
    /// Seconds since 1970.
    pub mtime: i64,
    /// True for a unified kernel image.
    pub unified: bool,
    /// What it holds; unknown if it was not opened.
    pub content: Fact<Content>,
}

/// initramfs of a host.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    /// Who builds the images; absent if the host has no such program.
    pub generator: Fact<Generator>,
    /// What says so.
    pub evidence: Vec<Evidence>,
    /// Configuration files of the generator.
    pub config: Vec<TextFile>,
    /// One image or more per installed kernel.
    pub images: Vec<Image>,
    /// Programs that `update-initramfs` runs after it made an image, with release and image as arguments: the executable files
    /// of `/etc/initramfs/post-update.d` that run-parts(8) takes, in order.
    pub after_update: Vec<String>,
    /// What could not be read and would have helped.
    pub unread: Vec<(String, Why)>,
}

impl Initramfs {
    /// The images of one kernel.
    pub fn of<'a>(&'a self, release: &'a str) -> impl Iterator<Item = &'a Image> {
        self.images.iter().filter(move |image| image.release == release)
    }

    /// What a variable of the generator's configuration comes to: `hostonly` of dracut, `HOOKS` of mkinitcpio, `MODULES` of
    /// initramfs-tools. None if it is not set there, or only a shell finds out.
    pub fn setting(&self, name: &str) -> Option<String> {
        let read = match self.generator.known()? {
            Generator::InitramfsTools => "/initramfs-tools/",
            Generator::Dracut | Generator::RpmOstree => "/dracut",
            Generator::Mkinitcpio => "/mkinitcpio.conf",
            Generator::Booster | Generator::NixOs => return None,
        };
        let files = self.config.iter().filter(|file| file.path.contains(read));
        let scripts: Vec<_> = files.map(|file| shell_vars::parse(&file.text)).collect();
        let mut values = shell_vars::evaluate(&scripts.iter().collect::<Vec<_>>(), true);
        values.remove(name).filter(|value| value.certain).map(|value| value.text)
    }
}

/// Where ostree keeps its deployments.
pub const ORIGINS: &str = "/ostree/deploy";

/// Reads the generator's configuration, and the images if needed.
pub fn collect(host: &dyn Host, needs: Needs, kernel: &Kernel) -> Initramfs {
    let (generator, evidence) = find_generator(host);
    let mut found = Initramfs { generator, evidence, ..Initramfs::default() };
    found.config = config(host, &mut found.unread);
    found.after_update = after_update(host);
    images::collect(host, needs.images, kernel, &mut found);
    found
}

fn after_update(host: &dyn Host) -> Vec<String> {
    let dir = "/etc/initramfs/post-update.d";
    let runs = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let names = host.entries(dir).into_known().unwrap_or_default();
    let paths = names.into_iter().filter(runs).map(|name| format!("{dir}/{name}"));
    paths.filter(|path| host.stat(path).known().is_some_and(|stat| stat.mode & 0o111 != 0)).collect()
}

/// The settings of every generator that has some on this host: those of one that builds nothing are worth showing, too.
fn config(host: &dyn Host, unread: &mut Vec<(String, Why)>) -> Vec<TextFile> {
    let mut paths = vec!["/etc/initramfs-tools/initramfs.conf".to_owned()];
    let (more, missing) = dropin::files(host, &["/etc/initramfs-tools/conf.d"], "");
    paths.extend(more);
    unread.extend(missing);
    paths.extend(modules::dracut_files(host, unread));
    paths.extend(modules::mkinitcpio_files(host, unread));
    let (presets, missing) = dropin::files(host, &["/etc/mkinitcpio.d"], ".preset");
    paths.extend(presets);
    unread.extend(missing);
    paths.extend(["/etc/booster.yaml".to_owned(), "/etc/kernel/install.conf".to_owned()]);
    paths.extend(origins(host));
    dropin::read(host, &paths, unread)
}

/// What each deployment of ostree was made from and with (rpm-ostree `rpmostree-origin.cxx`): `/ostree/deploy/OS/deploy/COMMIT.N.origin`.
fn origins(host: &dyn Host) -> Vec<String> {
    let below = |dir: &str| host.entries(dir).into_known().unwrap_or_default();
    let mut found = Vec::new();
    for system in below(ORIGINS) {
        let dir = format!("{ORIGINS}/{system}/deploy");
        let origins = below(&dir).into_iter().filter(|name| name.ends_with(".origin"));
        found.extend(origins.map(|name| format!("{dir}/{name}")));
    }
    found
}

#[cfg(test)]
mod tests;
