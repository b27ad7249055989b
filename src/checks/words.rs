//! The kernel words and module options of a host, each with where it stands, for the checks that look at words.
//!
//! Goes in: a snapshot. Comes out: words and options in the order in which they are shown. Nothing is judged here.

use super::Subject;
use crate::facts::boot::Place;
use crate::facts::initramfs::Generator;
use crate::facts::kernel::numbers;
use crate::facts::modules::{Directive, LoadEntry};
use crate::facts::{Evidence, Snapshot};
use crate::host::Fact;
use crate::parse::cmdline::Cmdline;
use crate::parse::modprobe::module_name;
use std::collections::BTreeMap;

/// The most lines of evidence that one finding shows for the same word.
const SHOWN: usize = 4;

/// One kernel word, with every place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The name, with `_` for `-`.
    pub name: String,
    /// What follows `=`; empty if nothing does.
    pub value: String,
    /// As written.
    pub text: String,
    /// True if it is on the running kernel's command line.
    pub running: bool,
    /// Sources first, then the running command line, then what a generator wrote.
    pub evidence: Vec<Evidence>,
}

impl Word {
    /// The line to change: the first place where it stands.
    pub fn subject(&self) -> Subject {
        self.evidence.first().map_or(Subject::Host, subject)
    }

    /// The items of its comma list.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.value.split(',').filter(|item| !item.is_empty())
    }
}

/// The line that a piece of evidence shows.
pub fn subject(evidence: &Evidence) -> Subject {
    evidence.line.map_or(Subject::Host, |line| Subject::Line(evidence.source.clone(), line))
}

/// The evidence for a place: its line as it stands in the file.
pub fn place_evidence(place: &Place) -> Evidence {
    let index = usize::try_from(place.line).unwrap_or(0).saturating_sub(1);
    let line = place.file.text.lines().nth(index).map_or_else(|| place.words.join(" "), |line| line.trim().to_owned());
    Evidence::at(place.file.path.clone(), place.line.max(1), line)
}

/// The running kernel's command line as evidence.
pub fn running_evidence(snap: &Snapshot) -> Option<Evidence> {
    let file = snap.kernel.cmdline.known()?;
    Some(Evidence::at(file.path.clone(), 1, file.text.lines().next().unwrap_or_default().trim()))
}

/// The running kernel's words; empty if they are not known.
pub fn running(snap: &Snapshot) -> Cmdline<'_> {
    Cmdline::parse(snap.kernel.cmdline.known().map_or("", |file| file.text.as_str()))
}

/// Every different word that the running kernel got or that the boot chain will give to the next.
pub fn all(snap: &Snapshot) -> Vec<Word> {
    let mut seen: Vec<(bool, String, Evidence)> = Vec::new();
    let places = |generated: bool| snap.boot.places.iter().filter(move |p| p.effective && p.generated == generated);
    let of = |place: &Place| {
        let evidence = place_evidence(place);
        place.words.iter().map(|word| (false, word.clone(), evidence.clone())).collect::<Vec<_>>()
    };
    seen.extend(places(false).flat_map(of));
    if let Some(evidence) = running_evidence(snap) {
        seen.extend(running(snap).words.iter().map(|word| (true, word.text.to_owned(), evidence.clone())));
    }
    seen.extend(places(true).flat_map(of));

    let mut order: Vec<Word> = Vec::new();
    let mut index: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (is_running, text, evidence) in seen {
        let line = Cmdline::parse(&text);
        let Some(word) = line.words.first() else { continue };
        let key = (word.name.clone(), word.value.unwrap_or_default().to_owned());
        let at = *index.entry(key.clone()).or_insert_with(|| {
            order.push(Word { name: key.0, value: key.1, text: text.clone(), running: false, evidence: Vec::new() });
            order.len() - 1
        });
        if let Some(word) = order.get_mut(at) {
            word.running |= is_running;
            if word.evidence.len() < SHOWN && !word.evidence.contains(&evidence) {
                word.evidence.push(evidence);
            }
        }
    }
    order
}

/// The text of a directive's line as evidence.
pub fn directive_evidence(snap: &Snapshot, directive: &Directive) -> Evidence {
    let path = snap.modules.files.get(directive.file).map_or("", |file| file.path.as_str());
    let text = format!("{} {} {}", directive.word, directive.module, directive.rest);
    Evidence::at(path, directive.line, text.trim())
}

/// The text of a list's line as evidence.
pub fn entry_evidence(snap: &Snapshot, entry: &LoadEntry) -> Evidence {
    let file = snap.modules.files.get(entry.file);
    let index = usize::try_from(entry.line).unwrap_or(0).saturating_sub(1);
    let text = file.and_then(|file| file.text.lines().nth(index)).unwrap_or(&entry.module).trim();
    Evidence::at(file.map_or("", |file| file.path.as_str()), entry.line, text)
}

/// Where a directive stands.
pub fn directive_path<'a>(snap: &'a Snapshot, directive: &Directive) -> &'a str {
    snap.modules.files.get(directive.file).map_or("", |file| file.path.as_str())
}

/// One option of a module, wherever it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleOption {
    /// The module, with `_`.
    pub module: String,
    /// The option, with `_`.
    pub name: String,
    /// Its value; empty if none was written.
    pub value: String,
    /// Where it stands.
    pub evidence: Evidence,
    /// True if it stands on a kernel command line, which a built-in module reads too.
    pub on_cmdline: bool,
}

impl ModuleOption {
    /// True if the kernel takes the value as "on" (Linux `lib/kstrtox.c` `kstrtobool`; none means on).
    pub fn is_on(&self) -> bool {
        self.value.is_empty() || is_on(&self.value)
    }
}

/// True if the kernel takes this text as "on" (Linux `lib/kstrtox.c` `kstrtobool`).
pub fn is_on(value: &str) -> bool {
    let mut letters = value.chars().map(|c| c.to_ascii_lowercase());
    match letters.next() {
        Some('1' | 'y' | 't') => true,
        Some('o') => letters.next() == Some('n'),
        _ => false,
    }
}

/// All options given to a module: in modprobe.d, in lists with arguments, on the command line.
pub fn options(snap: &Snapshot, module: &str) -> Vec<ModuleOption> {
    let mut found = Vec::new();
    let mut add = |text: &str, evidence: &Evidence| {
        for word in Cmdline::parse(text).words {
            found.push(ModuleOption {
                module: module.to_owned(),
                name: word.name,
                value: word.value.unwrap_or_default().to_owned(),
                evidence: evidence.clone(),
                on_cmdline: false,
            });
        }
    };
    for directive in &snap.modules.directives {
        if directive.word == "options" && matches_module(&directive.module, module) {
            add(&directive.rest, &directive_evidence(snap, directive));
        }
    }
    for entry in &snap.modules.load {
        if entry.effective && module_name(&entry.module) == module && !entry.arguments.is_empty() {
            add(&entry.arguments, &entry_evidence(snap, entry));
        }
    }
    let prefix = format!("{module}.");
    for word in all(snap) {
        let Some(name) = word.name.strip_prefix(&prefix) else { continue };
        for evidence in &word.evidence {
            found.push(ModuleOption {
                module: module.to_owned(),
                name: name.to_owned(),
                value: word.value.clone(),
                evidence: evidence.clone(),
                on_cmdline: true,
            });
        }
    }
    found
}

/// True if a name or pattern of modprobe.d means this module, given with `_`
/// (kmod compares with fnmatch(3) after turning `-` into `_`).
pub fn matches_module(pattern: &str, module: &str) -> bool {
    let pattern: Vec<char> = module_name(pattern).chars().collect();
    let name: Vec<char> = module.chars().collect();
    glob(&pattern, &name)
}

/// fnmatch(3) without flags, for `*`, `?` and `[…]`; linear but for one step back per `*`.
fn glob(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (None, None) => return true,
            (Some('*'), _) => {
                back = Some((p, n));
                p += 1;
                continue;
            }
            (Some(wanted), Some(is)) => {
                if let Some(length) = one(pattern.get(p..).unwrap_or_default(), *wanted, *is) {
                    p += length;
                    n += 1;
                    continue;
                }
            }
            _ => {}
        }
        match back {
            Some((star, at)) if at < name.len() => {
                back = Some((star, at + 1));
                p = star + 1;
                n = at + 1;
            }
            _ => return false,
        }
    }
}

/// How many characters of the pattern match this one character, if they do.
fn one(pattern: &[char], first: char, is: char) -> Option<usize> {
    match first {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let set = pattern.get(1..end)?;
            let (negated, set) = match set.split_first() {
                Some(('!' | '^', rest)) => (true, rest),
                _ => (false, set),
            };
            let mut inside = false;
            let mut at = 0;
            while let Some(from) = set.get(at) {
                match (set.get(at + 1), set.get(at + 2)) {
                    (Some('-'), Some(to)) => {
                        inside |= (*from..=*to).contains(&is);
                        at += 3;
                    }
                    _ => {
                        inside |= *from == is;
                        at += 1;
                    }
                }
            }
            (inside != negated).then_some(end + 1)
        }
        other => (other == is).then_some(1),
    }
}

/// Whether the kernels that count are at least this version: the running one, else all that are installed.
pub fn kernel_at_least(snap: &Snapshot, least: (u32, u32)) -> Option<bool> {
    if let Some(running) = snap.kernel.numbers() {
        return Some(running >= least);
    }
    let installed: Vec<_> = snap.kernel.installed.iter().filter_map(|kernel| numbers(&kernel.release)).collect();
    let newer = installed.iter().filter(|n| **n >= least).count();
    match () {
        () if installed.is_empty() => None,
        () if newer == installed.len() => Some(true),
        () if newer == 0 => Some(false),
        () => None,
    }
}

/// Whether a configuration option of the running kernel (else of all installed ones) has this value.
/// `n` also stands for an option that is not there.
pub fn config_is(snap: &Snapshot, name: &str, wanted: &str) -> Option<bool> {
    let value = |config: &BTreeMap<String, String>| config.get(name).map_or("n", String::as_str) == wanted;
    if snap.kernel.release.known().is_some() {
        return snap.kernel.running()?.config.known().map(value);
    }
    let all: Vec<bool> = snap.kernel.installed.iter().filter_map(|k| k.config.known()).map(value).collect();
    let first = *all.first()?;
    all.iter().all(|one| *one == first).then_some(first)
}

/// Whether a module is built into the running kernel, or into all installed ones where none runs.
pub fn builtin(snap: &Snapshot, module: &str) -> Option<bool> {
    if snap.kernel.release.known().is_some() {
        return snap.kernel.running()?.builtin.known().map(|all| all.contains(module));
    }
    let all: Vec<bool> =
        snap.kernel.installed.iter().filter_map(|k| k.builtin.known()).map(|all| all.contains(module)).collect();
    let first = *all.first()?;
    all.iter().all(|one| *one == first).then_some(first)
}

/// Whether this program builds the initramfs.
pub fn generator_is(snap: &Snapshot, wanted: Generator) -> Option<bool> {
    match &snap.initramfs.generator {
        Fact::Known(generator) => Some(*generator == wanted),
        Fact::Absent => Some(false),
        Fact::Unknown(_) => None,
    }
}

/// The command that builds the images of all kernels anew; several where it is not known who builds them.
pub fn rebuild(snap: &Snapshot) -> &'static str {
    match snap.initramfs.generator.known() {
        Some(Generator::InitramfsTools) => "update-initramfs -u -k all",
        Some(Generator::Dracut) => "dracut -f --regenerate-all",
        Some(Generator::Mkinitcpio) => "mkinitcpio -P",
        // It is made on the distribution's servers unless this was asked for once (rpm-ostree(1)).
        Some(Generator::RpmOstree) => "rpm-ostree initramfs --enable",
        Some(Generator::Booster) => "/usr/lib/booster/regenerate_images",
        Some(Generator::NixOs) => "nixos-rebuild boot",
        None => "update-initramfs -u -k all, dracut -f --regenerate-all, or mkinitcpio -P",
    }
}

/// The lines of the kernel log that hold a text, as evidence, at most `most`.
pub fn log_lines(snap: &Snapshot, text: &str, most: usize) -> Vec<Evidence> {
    let Some(log) = snap.log.known() else { return Vec::new() };
    let lines = (1u32..).zip(log.text.lines()).filter(|(_, line)| line.contains(text)).take(most);
    lines.map(|(number, line)| Evidence::at(log.path.clone(), number, line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{cmdline, healthy, modprobe, unknown};

    #[test]
    fn patterns_of_modprobe() {
        for (pattern, module, same) in [
            ("vfio-pci", "vfio_pci", true),
            ("vfio_pci", "vfio_pci", true),
            ("nvidia*", "nvidia_drm", true),
            ("nvidia*", "nouveau", false),
            ("*", "", true),
            ("n?uveau", "nouveau", true),
            ("snd_[a-h]da*", "snd_hda_intel", true),
            ("snd_[!h]da*", "snd_hda_intel", false),
            ("[", "[", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*d", "xxaxxbxxc", false),
        ] {
            assert_eq!(matches_module(pattern, module), same, "{pattern} {module}");
        }
    }

    #[test]
    fn words_of_all_places_are_joined() {
        let mut snap = healthy();
        cmdline(&mut snap, "quiet intel_iommu=on");
        let found = all(&snap);
        let quiet: Vec<_> = found.iter().filter(|word| word.name == "quiet").collect();
        assert_eq!(quiet.len(), 1);
        let sources: Vec<_> = quiet[0].evidence.iter().map(|e| e.source.as_str()).collect();
        assert_eq!(sources, ["/etc/default/grub", "/proc/cmdline"]);
        assert!(quiet[0].running);
    }

    #[test]
    fn options_of_all_kinds() {
        let mut snap = unknown();
        modprobe(&mut snap, "/etc/modprobe.d/a.conf", "options vfio* ids=1:2 x=\"a b\"\noptions kvm y=1\n");
        cmdline(&mut snap, "vfio-pci.ids=3:4");
        let found: Vec<_> = options(&snap, "vfio_pci").into_iter().map(|o| (o.name, o.value, o.on_cmdline)).collect();
        let expected = [("ids", "1:2", false), ("x", "a b", false), ("ids", "3:4", true)];
        assert_eq!(found, expected.map(|(n, v, c)| (n.to_owned(), v.to_owned(), c)));
        assert!(["1", "Y", "on", "true"].iter().all(|v| is_on(v)));
        assert!(!["0", "N", "off", ""].iter().any(|v| is_on(v)));
    }
}
