//! Configuration files inside a pasted text: which lines belong to which kind of file.
//!
//! Goes in: lines, one after the other. Comes out: [`Section`]s. A path in a prompt (`cat /etc/default/grub`), in a
//! comment or alone on a line names the file; otherwise lines are known by their form.

use super::plain::command;
use regex::Regex;
use std::sync::LazyLock;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `/etc/default/grub` and its `.d`.
    Grub,
    /// `/etc/kernel/cmdline`.
    KernelCmdline,
    /// `/proc/cmdline`.
    RunningCmdline,
    /// A boot entry of the Boot Loader Specification.
    BootEntry,
    /// `/etc/modprobe.d`.
    Modprobe,
    /// A list of modules read in the initramfs.
    EarlyModules,
    /// `/etc/modules`, `modules-load.d`.
    Modules,
    /// dracut's configuration.
    Dracut,
    /// mkinitcpio's configuration.
    Mkinitcpio,
    /// A VM of Proxmox.
    ProxmoxVm,
    /// A libvirt domain.
    LibvirtXml,
    /// nova.conf.
    Nova,
    /// `/proc/iomem`.
    Iomem,
    /// A QEMU command line.
    QemuCommand,
    /// A file that is of no use here; its lines are not taken for something else.
    Other,
}

/// Lines of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What kind.
    pub kind: FileKind,
    /// The path that the text names, or a VM's id.
    pub name: Option<String>,
    /// The lines, with their numbers in the whole text, counted from 1.
    pub lines: Vec<(u32, String)>,
}

impl Section {
    /// The section's text with each line at its number in the whole text; other lines are empty.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut at = 1;
        for (number, line) in &self.lines {
            while at < *number {
                text.push('\n');
                at += 1;
            }
            text.push_str(line);
            text.push('\n');
            at += 1;
        }
        text
    }
}

/// The sections so far.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// In order.
    pub(super) all: Vec<Section>,
    hint: Option<Hint>,
    whole: Option<FileKind>,
    xml_open: bool,
}

#[derive(Debug)]
struct Hint {
    kind: FileKind,
    section: Option<usize>,
    name: String,
    blank: bool,
}

/// Sections that are kept; a text of alternating lines must not grow without end.
const LIMIT: usize = 200;

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

static PATH_ALONE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"^[#*=:;>\-\[ \t`_]*(?:(?i-u:file|contents? of|in|my|the)[: \t]+)?[`*_]*(/(?:etc|proc|boot|usr|lib|efi|run)/[A-Za-z0-9_./@+-]+)[`*_:=\-\] \t]*$",
    )
});
static MODPROBE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"^[ \t]*(?:options[ \t]+[A-Za-z0-9_-]+[ \t]+[A-Za-z0-9_]+=|blacklist[ \t]+[A-Za-z0-9_*?-]+[ \t]*(?:#.*)?$|blacklist(?:[ \t]+(?:nouveau|nvidia[a-z_]*|amdgpu|radeon|snd_hda_intel|i915|xe)){2,}[ \t]*$|softdep[ \t]+[A-Za-z0-9_*?-]+[ \t]+(?:pre|post):|install[ \t]+[A-Za-z0-9_*?-]+[ \t]+(?:/[a-z]|modprobe|true|false)|weakdep[ \t]+[a-z])",
    )
});
static VM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"^[ \t]*(?:hostpci[0-9]+|agent|args|audio0|balloon|bios|boot|bootdisk|cores|cpu|cpulimit|cpuunits|efidisk0|hookscript|hotplug|hugepages|ide[0-3]|keephugepages|kvm|machine|memory|meta|name|net[0-9]+|numa|numa[0-9]+|onboot|ostype|parent|protection|rng0|sata[0-5]|scsi[0-9]+|scsihw|serial[0-3]|smbios1|sockets|startup|tablet|tags|tpmstate0|unused[0-9]+|usb[0-9]+|vcpus|vga|virtio[0-9]+|vmgenid):[ \t]+[^ \t]",
    )
});
static IOMEM: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"^[ \t]*[0-9a-f]{8,16}-[0-9a-f]{8,16} : [^ ]"));
static KERNEL_WORDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"^(?:BOOT_IMAGE=|initrd=|root=|ro |rw |quiet |rd\.)[^\n]*"));

/// The kind of file of a path, and a name for it.
fn of_path(path: &str) -> FileKind {
    let file = path.rsplit('/').next().unwrap_or(path);
    if path.contains("/default/grub") {
        FileKind::Grub
    } else if path.ends_with("/kernel/cmdline") || path.contains("/cmdline.d/") {
        FileKind::KernelCmdline
    } else if path == "/proc/cmdline" {
        FileKind::RunningCmdline
    } else if path.contains("modprobe.d") || file == "modprobe.conf" {
        FileKind::Modprobe
    } else if path.contains("initramfs-tools/modules") {
        FileKind::EarlyModules
    } else if path == "/etc/modules" || path.contains("modules-load.d") {
        FileKind::Modules
    } else if path.contains("dracut.conf") {
        FileKind::Dracut
    } else if path.contains("mkinitcpio.conf") {
        FileKind::Mkinitcpio
    } else if path.contains("qemu-server/") && path.ends_with(".conf") {
        FileKind::ProxmoxVm
    } else if path.contains("libvirt/qemu/") && path.ends_with(".xml") {
        FileKind::LibvirtXml
    } else if file.starts_with("nova") && path.ends_with(".conf") || path.contains("/nova/") {
        FileKind::Nova
    } else if path.contains("loader/entries/") {
        FileKind::BootEntry
    } else if path == "/proc/iomem" {
        FileKind::Iomem
    } else {
        FileKind::Other
    }
}

/// The kind of a whole paste by its name, where the name tells.
fn of_name(name: &str) -> Option<FileKind> {
    let file = name.rsplit('/').next().unwrap_or(name);
    match of_path(name) {
        FileKind::Other => {}
        kind => return Some(kind),
    }
    if file == "grub" || file.ends_with(".grub") {
        Some(FileKind::Grub)
    } else if file == "cmdline" || file.ends_with(".cmdline") {
        Some(FileKind::KernelCmdline)
    } else if file.starts_with("mkinitcpio") {
        Some(FileKind::Mkinitcpio)
    } else if file.contains("initramfs-tools-modules") {
        Some(FileKind::EarlyModules)
    } else if file.starts_with("dracut") && file.ends_with(".conf") {
        Some(FileKind::Dracut)
    } else if file.contains("nova") && file.ends_with(".conf") {
        Some(FileKind::Nova)
    } else if file.ends_with(".conf") && file.bytes().take_while(u8::is_ascii_digit).count() >= 3 {
        Some(FileKind::ProxmoxVm)
    } else {
        None
    }
}

/// A line that can only be of one kind of file.
fn by_form(line: &str) -> Option<FileKind> {
    let text = line.trim();
    let is = |regex: &LazyLock<Option<Regex>>| regex.as_ref().is_some_and(|regex| regex.is_match(line));
    let assigned = text.split('=').next().unwrap_or_default().trim_end_matches('+');
    let name = assigned.strip_prefix("export ").unwrap_or(assigned);
    if text.contains('=') && name.starts_with("GRUB_") && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
        return Some(FileKind::Grub);
    }
    if text.contains('=')
        && matches!(name, "add_drivers" | "force_drivers" | "omit_drivers" | "install_items" | "add_dracutmodules")
    {
        return Some(FileKind::Dracut);
    }
    if matches!(name, "MODULES" | "HOOKS") && (text.contains("=(") || text.contains("=\"")) {
        return Some(FileKind::Mkinitcpio);
    }
    if let Some(words) = text.strip_prefix("options ") {
        let first = words.split_whitespace().next().unwrap_or_default();
        if first.contains('=') || matches!(first, "ro" | "rw" | "quiet") {
            return Some(FileKind::BootEntry);
        }
    }
    if is(&MODPROBE) {
        return Some(FileKind::Modprobe);
    }
    if matches!(text, "vfio" | "vfio_iommu_type1" | "vfio_pci" | "vfio-pci" | "vfio_virqfd" | "kvmgt") {
        return Some(FileKind::Modules);
    }
    if text.starts_with("device_spec") || text.starts_with("passthrough_whitelist") {
        return text.contains('=').then_some(FileKind::Nova);
    }
    if matches!(assigned.trim(), "enabled_filters" | "pci_in_placement" | "report_in_placement" | "[filter_scheduler]")
    {
        return Some(FileKind::Nova);
    }
    if text == "[pci]" || text.starts_with("alias") && text.contains('{') && text.contains('=') {
        return Some(FileKind::Nova);
    }
    if is(&VM) {
        return Some(FileKind::ProxmoxVm);
    }
    if is(&IOMEM) {
        return Some(FileKind::Iomem);
    }
    if text.contains("vfio-pci,") && text.contains("host=") && text.contains("-device ") {
        // An error message repeats one option; a command line has its program in front.
        let program = text.split_whitespace().next().unwrap_or_default();
        return (!program.ends_with(':') && !text.contains(": -device")).then_some(FileKind::QemuCommand);
    }
    if is(&KERNEL_WORDS) && text.split_whitespace().filter(|word| word.contains('=')).count() >= 2 {
        let running = text.starts_with("BOOT_IMAGE=") || text.starts_with("initrd=");
        return Some(if running { FileKind::RunningCmdline } else { FileKind::KernelCmdline });
    }
    None
}

impl Sections {
    /// Starts; the name of the paste may tell what it is.
    pub(super) fn named(name: &str) -> Sections {
        Sections { whole: of_name(name), ..Sections::default() }
    }

    /// Ends the file that a path announced: something else begins.
    pub(super) fn end(&mut self) {
        self.hint = None;
    }

    /// A prompt with a command, or a path that stands alone. True if the line was one.
    pub(super) fn announce(&mut self, line: &str) -> bool {
        if self.xml_open {
            return false;
        }
        if let Some(command) = command(line) {
            self.hint = announced(command).map(|(kind, name)| Hint { kind, section: None, name, blank: false });
            return true;
        }
        let path = PATH_ALONE.as_ref().and_then(|regex| regex.captures(line)).and_then(|found| found.get(1));
        if let Some(path) = path {
            let path = path.as_str().trim_end_matches('.');
            self.hint = Some(Hint { kind: of_path(path), section: None, name: path.to_owned(), blank: false });
            return true;
        }
        false
    }

    /// Takes a line into a section. True if it belongs to one.
    pub(super) fn take(&mut self, line: &str, number: u32) -> bool {
        if self.xml_open || line.contains("<domain") || line.contains("<hostdev ") {
            return self.xml(line, number);
        }
        let text = line.trim();
        if text.is_empty() {
            if let Some(hint) = &mut self.hint {
                hint.blank = true;
            }
            return false;
        }
        let form = by_form(line);
        if let Some(hint) = &self.hint {
            // After an empty line, only what looks like it still belongs to the announced file.
            let goes_on = !hint.blank
                || form == Some(hint.kind)
                || text.starts_with('#')
                || form.is_none() && list(hint.kind, text);
            let other = hint.kind == FileKind::KernelCmdline && form.is_some_and(|form| form != hint.kind);
            if goes_on && !other && !text.starts_with("```") && !text.starts_with("[/") {
                let (kind, name, section) = (hint.kind, hint.name.clone(), hint.section);
                let at = self.add(kind, Some(name), section, line, number);
                if let Some(hint) = &mut self.hint {
                    hint.section = at;
                }
                // `/proc/cmdline` is one line; another kind of line after words for the kernel is another file.
                if kind == FileKind::RunningCmdline {
                    self.hint = None;
                }
                return true;
            }
            self.hint = None;
        }
        if let Some(kind) = self.whole {
            let at = self.all.iter().position(|section| section.kind == kind);
            self.add(kind, None, at, line, number);
            return true;
        }
        let Some(kind) = form else { return false };
        // Lines of one kind belong together, unless each line is a thing of its own.
        let single = matches!(kind, FileKind::RunningCmdline | FileKind::QemuCommand | FileKind::KernelCmdline);
        let open = self.all.iter().rposition(|section| section.kind == kind && section.name.is_none() && !single);
        self.add(kind, None, open, line, number);
        true
    }

    fn add(
        &mut self,
        kind: FileKind,
        name: Option<String>,
        at: Option<usize>,
        line: &str,
        number: u32,
    ) -> Option<usize> {
        let at = match at {
            Some(at) => at,
            None if self.all.len() < LIMIT => {
                self.all.push(Section { kind, name, lines: Vec::new() });
                self.all.len() - 1
            }
            None => return None,
        };
        if let Some(section) = self.all.get_mut(at) {
            section.lines.push((number, line.to_owned()));
        }
        Some(at)
    }

    fn xml(&mut self, line: &str, number: u32) -> bool {
        if !self.xml_open {
            self.xml_open = true;
            if self.all.len() < LIMIT {
                self.all.push(Section { kind: FileKind::LibvirtXml, name: None, lines: Vec::new() });
            }
        }
        if let Some(section) = self.all.last_mut().filter(|section| section.kind == FileKind::LibvirtXml) {
            section.lines.push((number, line.to_owned()));
            let whole = section.lines.first().is_some_and(|(_, first)| first.contains("<domain"));
            let end = if whole { "</domain>" } else { "</hostdev>" };
            if line.contains(end) || section.lines.len() > 20_000 {
                self.xml_open = false;
            }
        } else {
            self.xml_open = false;
        }
        true
    }
}

/// True if a line after an empty one can still be of such a file.
fn list(kind: FileKind, text: &str) -> bool {
    match kind {
        FileKind::Modules | FileKind::EarlyModules => {
            text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) && text.contains(['_', '-'])
        }
        FileKind::LibvirtXml => text.starts_with('<'),
        _ => false,
    }
}

/// What a command shows, where that is a file or a VM.
fn announced(command: &str) -> Option<(FileKind, String)> {
    let mut words = command.split_whitespace().filter(|word| *word != "sudo");
    let program = words.next()?;
    let rest: Vec<&str> = words.collect();
    match program {
        "cat" | "less" | "more" | "head" | "tail" | "nano" | "vim" | "vi" | "grep" | "batcat" | "bat" => {
            if rest.iter().any(|word| matches!(*word, "|" | "-r" | "-R" | ">" | ">>")) {
                return Some((FileKind::Other, String::new())).filter(|_| !rest.contains(&"|"));
            }
            let path = rest.iter().rev().find(|word| word.starts_with('/'))?;
            Some((of_path(path), (*path).to_owned()))
        }
        "qm" if rest.first() == Some(&"config") => Some((FileKind::ProxmoxVm, (*rest.get(1)?).to_owned())),
        "virsh" if rest.contains(&"dumpxml") => Some((FileKind::LibvirtXml, (*rest.last()?).to_owned())),
        _ => None,
    }
}
