//! The kernels that are installed: image, configuration, modules.

use super::InstalledKernel;
use crate::host::{Fact, Host, READ_LIMIT, Why};
use crate::parse::{kconfig, modlist, version};
use flate2::read::GzDecoder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// Names of kernel images below `/boot`: `vmlinuz-R` (x86), `vmlinux-R`, `Image-R` (arm64, openSUSE), `kernel-R`.
const IMAGE_NAMES: &[&str] = &["vmlinuz-", "vmlinux-", "Image-", "kernel-"];

/// All kernels with a directory of modules or an image in `/boot`, newest last; and the running one if it tells its
/// configuration, though it is installed nowhere (a microVM's kernel).
pub(super) fn collect(host: &dyn Host, running: Option<&str>) -> Vec<InstalledKernel> {
    let boot = host.entries("/boot");
    let mut releases: BTreeSet<String> = BTreeSet::new();
    let mut dirs: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    // NixOS has only the running system's modules, below this link.
    for base in ["/lib/modules", "/usr/lib/modules", "/run/booted-system/kernel-modules/lib/modules"] {
        for release in host.entries(base).into_known().unwrap_or_default() {
            if dirs.contains_key(&release) {
                continue;
            }
            let dir = format!("{base}/{release}");
            let Fact::Known(names) = host.entries(&dir) else { continue };
            // A directory that a removed kernel or DKMS left behind has no such file.
            if names.iter().any(|name| name == "modules.dep" || name == "modules.builtin" || name == "vmlinuz") {
                releases.insert(release.clone());
                dirs.insert(release, (dir, names));
            }
        }
    }
    for name in boot.known().into_iter().flatten() {
        let release =
            IMAGE_NAMES.iter().find_map(|start| name.strip_prefix(start)).filter(|release| is_release(release));
        releases.extend(release.map(str::to_owned));
    }
    if let Some(running) = running.filter(|_| host.exists("/proc/config.gz") == Fact::Known(true)) {
        releases.insert(running.to_owned());
    }
    let mut releases: Vec<String> = releases.into_iter().collect();
    releases.sort_by(|a, b| version::compare(a, b));
    let read = |release: String| one(host, &boot, dirs.get(&release), release, running);
    releases.into_iter().map(read).collect()
}

/// `0-rescue-<machine id>` (dracut), `6.1.0.old` and `linux-lts` (a package's name) are no releases.
fn is_release(name: &str) -> bool {
    let numbers = super::numbers(name).is_some() && name.contains('.');
    numbers && !name.ends_with(".old") && !name.ends_with(".efi.signed") && !name.ends_with(".hmac")
}

fn one(
    host: &dyn Host,
    boot: &Fact<Vec<String>>,
    dir: Option<&(String, Vec<String>)>,
    release: String,
    running: Option<&str>,
) -> InstalledKernel {
    let in_dir =
        |name: &str| dir.filter(|(_, names)| names.iter().any(|n| n == name)).map(|(d, _)| format!("{d}/{name}"));
    let list = |name: &str, parse: fn(&str) -> BTreeSet<String>| match (in_dir(name), dir) {
        (Some(path), _) => host.text(&path).map(|text| parse(&text)),
        (None, Some(_)) => Fact::Absent,
        (None, None) => Fact::Unknown(Why::Io(format!("there is no /lib/modules/{release}"))),
    };
    let (config_path, config) = config(host, boot, &in_dir, &release, running);
    InstalledKernel {
        image: image(host, boot, &in_dir, &release),
        config,
        config_path,
        builtin: list("modules.builtin", modlist::builtin),
        available: list("modules.dep", modlist::dep),
        release,
    }
}

fn in_boot(boot: &Fact<Vec<String>>, name: &str) -> bool {
    boot.known().is_some_and(|names| names.iter().any(|n| n == name))
}

fn image(
    host: &dyn Host,
    boot: &Fact<Vec<String>>,
    in_dir: &dyn Fn(&str) -> Option<String>,
    release: &str,
) -> Fact<String> {
    if let Some(name) = IMAGE_NAMES.iter().map(|start| format!("{start}{release}")).find(|name| in_boot(boot, name)) {
        return Fact::Known(format!("/boot/{name}"));
    }
    // Arch names the image after the package, which the module directory gives: /boot/vmlinuz-linux-lts.
    if let Some(Fact::Known(package)) = in_dir("pkgbase").map(|path| host.value(&path)) {
        let name = format!("vmlinuz-{package}");
        if in_boot(boot, &name) {
            return Fact::Known(format!("/boot/{name}"));
        }
    }
    match (in_dir("vmlinuz").or_else(|| in_dir("Image")), boot) {
        (Some(path), _) => Fact::Known(path),
        (None, Fact::Unknown(why)) => Fact::Unknown(why.clone()),
        (None, _) => Fact::Absent,
    }
}

/// The configuration's path and its settings.
fn config(
    host: &dyn Host,
    boot: &Fact<Vec<String>>,
    in_dir: &dyn Fn(&str) -> Option<String>,
    release: &str,
    running: Option<&str>,
) -> (String, Fact<BTreeMap<String, String>>) {
    let mut paths = Vec::new();
    let name = format!("config-{release}");
    if in_boot(boot, &name) || boot.is_unknown() {
        paths.push(format!("/boot/{name}"));
    }
    paths.extend(in_dir("config"));
    paths.extend(in_dir("build").map(|build| format!("{build}/.config")));
    if running == Some(release) {
        paths.push("/proc/config.gz".into());
    }
    let mut missing = Fact::Absent;
    for path in paths {
        let text =
            if path.ends_with(".gz") { host.read(&path).and_then(|bytes| gunzip(&bytes)) } else { host.text(&path) };
        match text {
            Fact::Known(text) => return (path, Fact::Known(kconfig::parse(&text))),
            Fact::Absent => {}
            Fact::Unknown(why) => missing = Fact::Unknown(why),
        }
    }
    (String::new(), missing)
}

/// Inflates at most what would be read of a plain file.
fn gunzip(bytes: &[u8]) -> Fact<String> {
    let mut text = Vec::new();
    match GzDecoder::new(bytes).take(READ_LIMIT as u64 + 1).read_to_end(&mut text) {
        Err(error) => Fact::Unknown(Why::Malformed(error.to_string())),
        Ok(size) if size > READ_LIMIT => Fact::Unknown(Why::TooLarge),
        Ok(_) => Fact::Known(String::from_utf8_lossy(&text).into_owned()),
    }
}
