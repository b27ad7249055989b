//! initramfs generators: what goes into every image, how each image is built, and what must then be in it.
//!
//! Goes in: a snapshot and [`Wanted`]. Comes out: [`Work`]. The generator's own tools make every image anew, under another name first; what they
//! made is looked into before it takes the old one's place. Rescue images are left as they are.

mod dracut;
mod faults;
mod initramfs_tools;
pub mod mkinitcpio;
mod rpm_ostree;

pub use faults::{Fault, faults};

use super::Work;
use super::claim::{SCRIPT, Wanted};
use crate::facts::Snapshot;
use crate::facts::initramfs::{Generator, Image};
use crate::facts::kernel::InstalledKernel;
use crate::facts::own;
use crate::parse::claims;
use crate::parse::modprobe::module_name;
use crate::steps::reasons::reason;
use crate::steps::{Action, Expectation, Product, Step, sha256};

/// The line of modprobe.d that names the ids, and the softdeps.
const MODPROBE: &str = "/etc/modprobe.d/vfioneer.conf";

/// A file that vfioneer owns: path, text, permission bits, the id of its reason.
struct OwnFile<'a>(&'a str, String, u32, &'a str);

/// What must be in every image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Modules, names with `_`; in the image of a kernel that has one built in, it is not.
    pub modules: Vec<String>,
    /// Path in the image without a slash in front, and SHA-256 of the text.
    pub files: Vec<(String, String)>,
    /// Do files change that images hold copies of? Then every image is made anew, whatever is in it.
    pub outdated: bool,
}

impl Contents {
    /// What images need for this.
    pub fn of(snap: &Snapshot, wanted: &Wanted) -> Contents {
        let mut modules = vec!["vfio".to_owned(), "vfio_iommu_type1".to_owned()];
        modules.extend(wanted.drivers().iter().map(|driver| module_name(driver)));
        let files = match wanted {
            Wanted::Identity(_) => identity_files(wanted),
            Wanted::Ids(_) => modprobe_file(snap, wanted),
        };
        let files = files.iter().map(|file| (file.0.trim_start_matches('/').to_owned(), sha256(file.1.as_bytes())));
        Contents { modules, files: files.collect(), outdated: false }
    }

    /// The modules that must be in an image of this kernel.
    pub fn modules_for(&self, kernel: Option<&InstalledKernel>) -> Vec<String> {
        self.modules.iter().filter(|name| !faults::is_builtin(kernel, name)).cloned().collect()
    }

    /// What a generated image of a kernel must be.
    pub fn product(&self, snap: &Snapshot, release: &str) -> Product {
        let modules = self.modules_for(kernel(snap, release));
        Product::Image { release: release.to_owned(), modules, files: self.files.clone() }
    }
}

/// What the generator of this host needs done.
pub fn work(snap: &Snapshot, wanted: &Wanted) -> Work {
    let contents = Contents::of(snap, wanted);
    let mut work = match snap.initramfs.generator.known() {
        Some(Generator::InitramfsTools) => initramfs_tools::work(snap, wanted, &contents),
        Some(Generator::Dracut) => dracut::work(snap, wanted, &contents),
        Some(Generator::Mkinitcpio) => mkinitcpio::work(snap, wanted, &contents),
        Some(Generator::RpmOstree) => rpm_ostree::work(snap, wanted, &contents),
        Some(Generator::Booster | Generator::NixOs) | None => by_hand(snap, wanted),
    };
    let Contents { modules, files, .. } = contents;
    work.expect.push(Expectation::Images { method: wanted.method(), modules, files });
    work
}

/// Has the generator of this host make every image of its own anew; those that are packed or copied are the boot chain's matter.
pub fn again(snap: &Snapshot, contents: &Contents) -> Work {
    let contents = Contents { outdated: true, ..contents.clone() };
    let mut work = Work::default();
    match snap.initramfs.generator.known() {
        Some(Generator::InitramfsTools) => initramfs_tools::images(snap, &contents, &mut work),
        Some(Generator::Dracut) => generate(snap, &contents, dracut::ARGV, &mut work),
        Some(Generator::Mkinitcpio) => mkinitcpio::images(snap, &contents, &mut work),
        // Its images hold no file of modprobe.d unless they were told to.
        Some(Generator::RpmOstree) => {}
        Some(Generator::Booster | Generator::NixOs) | None => {
            let command = crate::checks::words::rebuild(snap);
            work.manual.push(reason("then-run", &[("command", command)]));
        }
    }
    work
}

/// True if some image of an installed kernel, wherever it lies, lacks something of what is wanted, or was not opened.
pub fn is_stale(snap: &Snapshot, contents: &Contents) -> bool {
    snap.initramfs.images.iter().any(|image| !is_right(snap, image, contents))
}

/// Words that the kernel's command line needs for the images' sake.
pub fn words(snap: &Snapshot) -> Vec<String> {
    let ostree = snap.initramfs.generator.known() == Some(&Generator::RpmOstree);
    ostree.then(|| "rd.driver.pre=vfio-pci".to_owned()).into_iter().collect()
}

/// Images that the generator makes in `/boot`; those elsewhere are copies or packed, and the boot chain's matter.
fn in_boot(snap: &Snapshot) -> impl Iterator<Item = &Image> {
    let own = |image: &&Image| !image.unified && image.path.rsplit_once('/').is_some_and(|(dir, _)| dir == "/boot");
    snap.initramfs.images.iter().filter(own)
}

/// True if an image is known to hold all that is wanted.
pub(super) fn is_right(snap: &Snapshot, image: &Image, contents: &Contents) -> bool {
    let kernel = kernel(snap, &image.release);
    !contents.outdated
        && image
            .content
            .known()
            .is_some_and(|content| faults(content, kernel, &contents.modules, &contents.files).is_empty())
}

pub(super) fn kernel<'a>(snap: &'a Snapshot, release: &str) -> Option<&'a InstalledKernel> {
    snap.kernel.installed.iter().find(|kernel| kernel.release == release)
}

/// Steps that generate the images of `/boot` that are not right: `argv` with `{out}` and `{release}`.
fn generate(snap: &Snapshot, contents: &Contents, argv: &[&str], work: &mut Work) {
    let mut any = false;
    for image in in_boot(snap) {
        any = true;
        if !is_right(snap, image, contents) {
            let argv = argv.iter().map(|word| word.replace("{release}", &image.release)).collect();
            work.commands.push(image_step(snap, contents, argv, &image.path, &image.release));
        }
    }
    // kernel-install and unified images keep theirs elsewhere, and the boot chain makes them.
    if !any && snap.initramfs.images.is_empty() {
        work.manual.push(reason("images-not-found", &[]));
    }
}

fn image_step(snap: &Snapshot, contents: &Contents, argv: Vec<String>, output: &str, release: &str) -> Step {
    let product = contents.product(snap, release);
    let action = Action::Generate { argv, output: output.to_owned(), product };
    Step { action, why: reason("image", &[("release", release)]) }
}

/// The table of claims and the script: what every generator's hook copies into the image.
fn identity_files(wanted: &Wanted) -> Vec<OwnFile<'static>> {
    let Wanted::Identity(claims) = wanted else { return Vec::new() };
    vec![
        OwnFile(own::CLAIMS, claims::write(claims), 0o644, "claims"),
        OwnFile(own::SCRIPT, SCRIPT.to_owned(), 0o755, "claim-script"),
    ]
}

/// modprobe's options for vfio-pci, and vfio-pci before each native driver; none where it is built into every kernel.
fn modprobe_file(snap: &Snapshot, wanted: &Wanted) -> Vec<OwnFile<'static>> {
    let Wanted::Ids(ids) = wanted else { return Vec::new() };
    let loadable = |kernel: &InstalledKernel| kernel.builtin.known().is_none_or(|all| !all.contains("vfio_pci"));
    if !snap.kernel.installed.is_empty() && !snap.kernel.installed.iter().any(loadable) {
        return Vec::new();
    }
    let mut text = format!("# Written by vfioneer.\noptions vfio-pci ids={}\n", ids.ids.join(","));
    for native in &ids.natives {
        text.push_str(&format!("softdep {native} pre: vfio-pci\n"));
    }
    vec![OwnFile(MODPROBE, text, 0o644, "ids")]
}

/// Steps that make vfioneer's files what they should be, and remove those of another method.
fn own_files(snap: &Snapshot, files: &[OwnFile<'_>], work: &mut Work) {
    for OwnFile(path, text, mode, why) in files {
        let before = snap.own.text(path);
        if before != Some(text.as_str()) {
            work.files.push(Step::write(path, before, text.as_str(), *mode, reason(why, &[])));
        }
    }
    for path in MANAGED.iter().filter(|path| !files.iter().any(|file| file.0 == **path)) {
        if let Some(before) = snap.own.text(path) {
            work.files.push(Step::remove(path, before, reason("own-file-gone", &[])));
        }
    }
}

/// The files of vfioneer's that these adapters write: each is written or removed by every plan.
const MANAGED: &[&str] = &[
    own::CLAIMS,
    own::SCRIPT,
    MODPROBE,
    initramfs_tools::HOOK,
    initramfs_tools::BOOT_SCRIPT,
    initramfs_tools::MODULES,
    dracut::MODULE_SETUP,
    dracut::CLAIM_HOOK,
    dracut::CONF,
    mkinitcpio::INSTALL,
    mkinitcpio::HOOK,
];

/// A generator that vfioneer does not drive: what has to be in every image.
fn by_hand(snap: &Snapshot, wanted: &Wanted) -> Work {
    let mut work = Work::default();
    let mut files = identity_files(wanted);
    files.extend(modprobe_file(snap, wanted));
    let contents = Contents::of(snap, wanted);
    if !snap.initramfs.images.is_empty() && snap.initramfs.images.iter().all(|image| is_right(snap, image, &contents)) {
        return work;
    }
    own_files(snap, &files, &mut work);
    let paths: Vec<&str> = files.iter().map(|file| file.0).collect();
    work.manual
        .push(reason("generator-by-hand", &[("modules", &contents.modules.join(" ")), ("files", &paths.join(" "))]));
    if matches!(wanted, Wanted::Identity(_)) {
        work.manual.push(reason("generator-by-hand-order", &[("script", own::SCRIPT)]));
    }
    work
}

#[cfg(test)]
mod tests;
