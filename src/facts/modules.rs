//! modprobe configuration and the lists of modules to load at boot.
//!
//! Goes in: a host. Comes out: every directive and list entry with its line. What of it has an effect is not asked
//! here, except which of two files of one name counts, and whether anybody reads a list.

use super::initramfs::{Generator, find_generator};
use super::{TextFile, dropin};
use crate::host::{Host, Why};
use crate::parse::{modprobe, shell_vars};

/// One directive of modprobe.d(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directive {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// The first line of it, counted from 1.
    pub line: u32,
    /// Its bytes in the file's text, continuation lines included.
    pub range: std::ops::Range<usize>,
    /// `options`, `blacklist`, `softdep`, `install`, `remove`, `alias`, `weakdep`, or the word that stands there if unknown.
    pub word: String,
    /// The module or pattern named.
    pub module: String,
    /// All that follows, continuation lines joined.
    pub rest: String,
}

/// A list of modules to load, by who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// `/etc/modules` and modules-load.d: after the root file system is mounted.
    #[default]
    ModulesLoad,
    /// `/etc/initramfs-tools/modules` and its modules.d directories.
    InitramfsTools,
    /// dracut's `force_drivers`: in the image and loaded before udev.
    DracutForce,
    /// dracut's `add_drivers`: in the image, not loaded by itself.
    DracutAdd,
    /// mkinitcpio's `MODULES`.
    Mkinitcpio,
}

impl List {
    /// True if the modules of the list are loaded in the initramfs.
    pub fn early(self) -> bool {
        matches!(self, List::InitramfsTools | List::DracutForce | List::Mkinitcpio)
    }
}

/// One entry of a list of modules to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadEntry {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// Counted from 1.
    pub line: u32,
    /// The module as written.
    pub module: String,
    /// What follows it on the line (initramfs-tools takes arguments).
    pub arguments: String,
    /// True if the module is loaded in the initramfs, false if after the root file system is mounted or never.
    pub early: bool,
    /// Which list it is.
    pub list: List,
    /// False if nothing on this host reads the list: the lists of a generator that does not build the images.
    pub effective: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Every file read: modprobe.d in order of effect, /etc/modules, modules-load.d, initramfs lists, driverctl's
    /// files (one per device, holding a driver's name), and files of `/etc/modprobe.d` whose name has no ending.
    pub files: Vec<TextFile>,
    /// modprobe.d directives in order of effect.
    pub directives: Vec<Directive>,
    /// Modules asked for at boot.
    pub load: Vec<LoadEntry>,
    /// What could not be read.
    pub unread: Vec<(String, Why)>,
}

/// Where modprobe looks, the first directory winning (kmod 34 `libkmod/libkmod.c` `default_config_paths`).
const MODPROBE_DIRS: &[&str] =
    &["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

/// Where systemd-modules-load looks (modules-load.d(5)).
const LOAD_DIRS: &[&str] =
    &["/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d"];

/// Reads modprobe.d and the module lists.
pub fn collect(host: &dyn Host) -> Modules {
    let mut modules = Modules::default();
    let (paths, unread) = dropin::files(host, MODPROBE_DIRS, ".conf");
    modules.unread = unread;
    for file in dropin::read(host, &paths, &mut modules.unread) {
        let index = modules.files.len();
        modules.directives.extend(modprobe::parse(&file.text).into_iter().map(|found| Directive {
            file: index,
            line: found.line,
            range: found.range,
            word: found.word,
            module: found.module,
            rest: found.rest,
        }));
        modules.files.push(file);
    }
    // Files without an ending are not read by modprobe, but meant for it: kept as text, without directives.
    let (paths, _) = dropin::files(host, &["/etc/modprobe.d"], "");
    let unended: Vec<String> =
        paths.into_iter().filter(|path| !path.trim_start_matches("/etc/modprobe.d/").contains('.')).collect();
    let files = dropin::read(host, &unended, &mut modules.unread);
    modules.files.extend(files);
    let generator = find_generator(host).0;
    // Where the generator is not known, its list may be read.
    let read_by = |builders: &[Generator]| generator.known().is_none_or(|found| builders.contains(found));
    modules_load(host, &mut modules);
    initramfs_tools(host, &mut modules, read_by(&[Generator::InitramfsTools]));
    dracut(host, &mut modules, read_by(&[Generator::Dracut, Generator::RpmOstree]));
    mkinitcpio(host, &mut modules, read_by(&[Generator::Mkinitcpio]));
    let (paths, unread) = dropin::files(host, &["/etc/driverctl.d"], "");
    modules.unread.extend(unread);
    let files = dropin::read(host, &paths, &mut modules.unread);
    modules.files.extend(files);
    modules
}

impl Modules {
    /// Adds a list of one module a line.
    fn add_list(&mut self, file: TextFile, list: List, effective: bool) {
        let index = self.files.len();
        self.load.extend(modprobe::parse_list(&file.text).into_iter().map(|entry| LoadEntry {
            file: index,
            line: entry.line,
            module: entry.module,
            arguments: entry.arguments,
            early: list.early(),
            list,
            effective,
        }));
        self.files.push(file);
    }

    /// Adds the modules that dracut's configuration names, files in the order in which they are sourced.
    pub(super) fn add_dracut(&mut self, files: Vec<TextFile>, effective: bool) {
        self.add_variables(files, &[("force_drivers", List::DracutForce), ("add_drivers", List::DracutAdd)], effective);
    }

    /// Adds the modules that mkinitcpio's configuration names, files in the order in which they are sourced.
    pub(super) fn add_mkinitcpio(&mut self, files: Vec<TextFile>, effective: bool) {
        self.add_variables(files, &[("MODULES", List::Mkinitcpio)], effective);
    }

    /// Adds what variables of sourced files hold. An assignment that a later one replaces is left out.
    fn add_variables(&mut self, files: Vec<TextFile>, variables: &[(&str, List)], effective: bool) {
        let scripts: Vec<_> = files.iter().map(|file| shell_vars::parse(&file.text)).collect();
        let values = shell_vars::evaluate(&scripts.iter().collect::<Vec<_>>(), true);
        let first = self.files.len();
        for (number, script) in scripts.iter().enumerate() {
            for (position, assignment) in script.assignments.iter().enumerate() {
                let Some((name, list)) = variables.iter().find(|(name, _)| *name == assignment.name) else { continue };
                if !values.get(*name).is_some_and(|value| value.from.contains(&(number, position))) {
                    continue;
                }
                for word in &assignment.value {
                    let text = word.expand(|_| Some(String::new()));
                    self.load.extend(text.split_ascii_whitespace().map(|module| LoadEntry {
                        file: first + number,
                        line: if assignment.array { word.line } else { assignment.line },
                        module: module.to_owned(),
                        arguments: String::new(),
                        early: list.early(),
                        list: *list,
                        effective,
                    }));
                }
            }
        }
        self.files.extend(files);
    }
}

fn modules_load(host: &dyn Host, modules: &mut Modules) {
    if let Some(file) = dropin::text(host, "/etc/modules", &mut modules.unread) {
        modules.add_list(file, List::ModulesLoad, true);
    }
    let (paths, unread) = dropin::files(host, LOAD_DIRS, ".conf");
    modules.unread.extend(unread);
    // Debian's modules-load.d/modules.conf is a link to /etc/modules, which is read already.
    let is_etc_modules = |path: &str| {
        host.link(path).known().is_some_and(|target| matches!(target.as_str(), "../modules" | "/etc/modules"))
    };
    let paths: Vec<String> = paths.into_iter().filter(|path| !is_etc_modules(path)).collect();
    for file in dropin::read(host, &paths, &mut modules.unread) {
        modules.add_list(file, List::ModulesLoad, true);
    }
}

/// initramfs-tools 0.148 `mkinitramfs`: its own list, and those that packages bring.
fn initramfs_tools(host: &dyn Host, modules: &mut Modules, effective: bool) {
    let (more, unread) = dropin::files(host, &["/usr/share/initramfs-tools/modules.d"], "");
    modules.unread.extend(unread);
    let mut paths = vec!["/etc/initramfs-tools/modules".to_owned()];
    paths.extend(more);
    for file in dropin::read(host, &paths, &mut modules.unread) {
        modules.add_list(file, List::InitramfsTools, effective);
    }
}

fn dracut(host: &dyn Host, modules: &mut Modules, effective: bool) {
    let paths = dracut_files(host, &mut modules.unread);
    let files = dropin::read(host, &paths, &mut modules.unread);
    modules.add_dracut(files, effective);
}

/// dracut's configuration in the order in which it is sourced (dracut.conf(5)).
pub(super) fn dracut_files(host: &dyn Host, unread: &mut Vec<(String, Why)>) -> Vec<String> {
    let dirs = ["/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d"];
    let (more, missing) = dropin::files(host, &dirs, ".conf");
    unread.extend(missing);
    let mut paths = vec!["/etc/dracut.conf".to_owned()];
    paths.extend(more);
    paths
}

fn mkinitcpio(host: &dyn Host, modules: &mut Modules, effective: bool) {
    let paths = mkinitcpio_files(host, &mut modules.unread);
    let files = dropin::read(host, &paths, &mut modules.unread);
    modules.add_mkinitcpio(files, effective);
}

/// mkinitcpio's configuration in the order in which it is sourced (mkinitcpio.conf(5)).
pub(super) fn mkinitcpio_files(host: &dyn Host, unread: &mut Vec<(String, Why)>) -> Vec<String> {
    let (more, missing) = dropin::files(host, &["/etc/mkinitcpio.conf.d"], ".conf");
    unread.extend(missing);
    let mut paths = vec!["/etc/mkinitcpio.conf".to_owned()];
    paths.extend(more);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Recorded;

    fn collected(files: &[(&str, &str)]) -> Modules {
        let mut builder = Recorded::builder();
        for (path, text) in files {
            builder.add_file(path, text);
        }
        collect(&builder.build())
    }

    fn loads(modules: &Modules) -> Vec<(&str, u32, &str, bool, bool)> {
        let show = |entry: &'_ LoadEntry| (entry.file, entry.line, entry.early, entry.effective);
        modules
            .load
            .iter()
            .map(|entry| {
                let (file, line, early, effective) = show(entry);
                (modules.files[file].path.as_str(), line, entry.module.as_str(), early, effective)
            })
            .collect()
    }

    #[test]
    fn one_name_counts_once_and_names_order_the_files() {
        let modules = collected(&[
            ("/lib/modprobe.d/aliases.conf", "alias a b\n"),
            ("/usr/lib/modprobe.d/nvidia.conf", "blacklist nouveau\n"),
            ("/etc/modprobe.d/nvidia.conf", ""),
            ("/etc/modprobe.d/vfio.conf", "# passthrough\noptions vfio-pci ids=10de:2684\n"),
            ("/run/modprobe.d/vfio.conf", "options vfio-pci ids=ffff:ffff\n"),
            ("/etc/modprobe.d/README", "blacklist x\n"),
            ("/etc/modprobe.d/x.conf.dpkg-old", "blacklist y\n"),
        ]);
        let paths: Vec<_> = modules.files.iter().map(|file| file.path.as_str()).collect();
        let expected = [
            "/lib/modprobe.d/aliases.conf",
            "/etc/modprobe.d/nvidia.conf",
            "/etc/modprobe.d/vfio.conf",
            "/etc/modprobe.d/README",
        ];
        assert_eq!(paths, expected);
        let found: Vec<_> = modules.directives.iter().map(|d| (d.file, d.line, d.rest.as_str())).collect();
        assert_eq!(found, [(0, 1, "b"), (2, 2, "ids=10de:2684")]);
        assert!(modules.unread.is_empty());
    }

    #[test]
    fn a_mask_hides_a_file_and_an_unreadable_one_is_named() {
        let mut builder = Recorded::builder();
        builder.add_file("/usr/lib/modprobe.d/x.conf", "blacklist a\n").add_link("/etc/modprobe.d/x.conf", "/dev/null");
        builder.add_device("/dev/null", 1, 3).deny("/etc/modprobe.d/secret.conf");
        let modules = collect(&builder.build());
        assert!(modules.directives.is_empty());
        assert_eq!(modules.unread, [("/etc/modprobe.d/secret.conf".to_owned(), Why::NotPermitted)]);
    }

    #[test]
    fn debian_lists() {
        let mut builder = Recorded::builder();
        builder
            .add_file("/etc/modules", "# /etc/modules\nvfio\nvfio_pci\n")
            .add_link("/etc/modules-load.d/modules.conf", "../modules")
            .add_file("/usr/lib/modules-load.d/x.conf", "loop")
            .add_file("/usr/sbin/mkinitramfs", "")
            .add_file("/etc/initramfs-tools/modules", "vfio-pci ids=10de:2684\n")
            .add_file("/usr/share/initramfs-tools/modules.d/simplefb", "simplefb\n")
            .add_file("/etc/dracut.conf.d/v.conf", "force_drivers+=\" vfio_pci \"\n");
        let modules = collect(&builder.build());
        let expected = [
            ("/etc/modules", 2, "vfio", false, true),
            ("/etc/modules", 3, "vfio_pci", false, true),
            ("/usr/lib/modules-load.d/x.conf", 1, "loop", false, true),
            ("/etc/initramfs-tools/modules", 1, "vfio-pci", true, true),
            ("/usr/share/initramfs-tools/modules.d/simplefb", 1, "simplefb", true, true),
            ("/etc/dracut.conf.d/v.conf", 1, "vfio_pci", true, false),
        ];
        assert_eq!(loads(&modules), expected);
        assert_eq!(modules.load[3].arguments, "ids=10de:2684");
    }

    #[test]
    fn dracut_lists() {
        let modules = collected(&[
            ("/usr/bin/dracut", ""),
            ("/etc/dracut.conf", "add_drivers=\"x\"\n"),
            ("/usr/lib/dracut/dracut.conf.d/01-dist.conf", "hostonly=\"yes\"\nadd_drivers=\"\"\n"),
            ("/etc/dracut.conf.d/vfio.conf", "force_drivers+=\" vfio_pci vfio \"\nadd_drivers+=\" y \"\n"),
            ("/etc/initramfs-tools/modules", "z\n"),
        ]);
        let expected = [
            ("/etc/initramfs-tools/modules", 1, "z", true, false),
            ("/etc/dracut.conf.d/vfio.conf", 1, "vfio_pci", true, true),
            ("/etc/dracut.conf.d/vfio.conf", 1, "vfio", true, true),
            ("/etc/dracut.conf.d/vfio.conf", 2, "y", false, true),
        ];
        assert_eq!(loads(&modules), expected);
    }

    #[test]
    fn mkinitcpio_lists() {
        let modules = collected(&[
            ("/usr/bin/mkinitcpio", ""),
            ("/etc/mkinitcpio.conf", "MODULES=(\n  vfio_pci\n  vfio # type1 follows\n)\nHOOKS=(base udev)\n"),
            ("/etc/mkinitcpio.conf.d/x.conf", "MODULES+=(i915)\n"),
        ]);
        let expected = [
            ("/etc/mkinitcpio.conf", 2, "vfio_pci", true, true),
            ("/etc/mkinitcpio.conf", 3, "vfio", true, true),
            ("/etc/mkinitcpio.conf.d/x.conf", 1, "i915", true, true),
        ];
        assert_eq!(loads(&modules), expected);
        let old = collected(&[("/etc/mkinitcpio.conf", "MODULES=\"vfio vfio_pci\"\n")]);
        assert_eq!(old.load.iter().map(|e| e.module.as_str()).collect::<Vec<_>>(), ["vfio", "vfio_pci"]);
    }
}
