//! What GRUB and its generator read: `/etc/default/grub`, grub.cfg, grubenv.

use super::found::{Found, place};
use super::{BY_HAND, Chain, GrubConfig, Place};
use crate::facts::{Evidence, TextFile, dropin};
use crate::host::{Fact, Host, Why};
use crate::parse::grub_default::GrubDefault;
use crate::parse::{cmdline, grub_cfg};
use std::sync::Arc;

/// grub-mkconfig under its two names.
const MKCONFIG: &[&str] =
    &["/usr/sbin/grub-mkconfig", "/usr/sbin/grub2-mkconfig", "/usr/bin/grub-mkconfig", "/usr/bin/grub2-mkconfig"];
/// Directories where an ESP is mounted.
pub(super) const ESPS: &[&str] = &["/boot/efi", "/efi", "/boot"];
/// The most entries taken from one grub.cfg.
const MAX_ENTRIES: usize = 1000;
/// The largest grub.cfg that is parsed, in bytes.
const MAX_CONFIG: usize = 4 << 20;

/// What GRUB's generator does on this host, as its script says itself, and what it reads.
#[derive(Clone, Debug, Default)]
pub struct Generator {
    /// The program's name, `grub-mkconfig` or `grub2-mkconfig`; none if it was not found.
    pub program: Option<&'static str>,
    /// It sources `/etc/default/grub.d/*.cfg` (Debian's patch).
    pub drop_ins: bool,
    /// Its shell knows `+=`.
    pub bash: bool,
    /// It leaves the options of BLS entries alone unless told otherwise (`--update-bls-cmdline`, EL 9.3 and later).
    pub keeps_bls: bool,
    /// The root file system is read-only and changed by transactional-update(8) alone (openSUSE MicroOS).
    pub transactional: bool,
    /// The files that it sources, in order.
    pub files: Vec<Arc<TextFile>>,
}

impl Generator {
    fn find(host: &dyn Host) -> Generator {
        let found = MKCONFIG.iter().find_map(|path| Some((*path, host.text(path).into_known()?)));
        let program = found.as_ref().and_then(|(path, _)| path.rsplit('/').next());
        let script = found.map(|(_, text)| text);
        let drop_ins = match &script {
            Some(text) => text.contains("default/grub.d"),
            None => host.exists("/usr/sbin/update-grub") == Fact::Known(true),
        };
        let shell = host.link("/bin/sh").known().or(host.link("/usr/bin/sh").known()).cloned();
        let bash = match (script.as_deref().and_then(|text| text.lines().next()), shell) {
            (Some(first), _) if first.contains("bash") => true,
            (_, Some(shell)) => shell.ends_with("bash"),
            (_, None) => !drop_ins,
        };
        let keeps_bls = script.is_some_and(|text| text.contains("update-bls-cmdline"));
        let transactional =
            host.exists("/usr/sbin/transactional-update") == Fact::Known(true) && is_root_read_only(host);
        Generator { program, drop_ins, bash, keeps_bls, transactional, files: Vec::new() }
    }
}

fn is_root_read_only(host: &dyn Host) -> bool {
    let mounts = host.text("/proc/self/mountinfo").into_known().unwrap_or_default();
    let mut root = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        (fields.next() == Some("/")).then(|| fields.next())?
    });
    root.next_back().is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// Reads all of it.
pub(super) fn collect(host: &dyn Host, found: &mut Found) {
    defaults(host, found);
    for path in ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"] {
        config(host, found, path, false);
    }
    for esp in ESPS {
        // `/efi` is a link to `/boot/efi` on some hosts.
        if host.link(esp).known().is_some() {
            continue;
        }
        let dir = format!("{esp}/EFI");
        for name in found.list(host, &dir) {
            config(host, found, &format!("{dir}/{name}/grub.cfg"), true);
        }
    }
    environment(host, found);
}

fn defaults(host: &dyn Host, found: &mut Found) {
    let mut files: Vec<Arc<TextFile>> = found.text(host, "/etc/default/grub").into_iter().collect();
    if let Some(first) = files.first() {
        found.signs.grub = Some(Evidence::new(first.path.clone(), "present"));
    }
    let (paths, unread) = dropin::files(host, &["/etc/default/grub.d"], ".cfg");
    for (path, why) in unread {
        found.missing(&path, why);
    }
    files.extend(paths.iter().filter_map(|path| found.text(host, path)));
    let mut generator = Generator::find(host);
    let is_drop_in = |file: &TextFile| file.path.starts_with("/etc/default/grub.d/");
    let (read, ignored): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| generator.drop_ins || !is_drop_in(file));
    let bls_chain = if generator.keeps_bls { &[][..] } else { &[Chain::GrubBls] };
    let chains = [&[Chain::Grub, Chain::ProxmoxGrub], bls_chain].concat();
    for (group, is_read) in [(read, true), (ignored, false)] {
        let texts: Vec<&str> = group.iter().map(|file| file.text.as_str()).collect();
        let defaults = GrubDefault::read(&texts, generator.bash);
        for setting in defaults.settings() {
            let (Some(file), assignment) = (group.get(setting.file), setting.assignment) else { continue };
            let range = assignment.value_range.clone();
            let place = place(file, assignment.line, range, &assignment.name, setting.words);
            let readers = if setting.counts && is_read { chains.as_slice() } else { &[] };
            found.add(Place { chain: Chain::Grub, ..place }, readers);
        }
        if is_read {
            bls_enabled(&defaults, &group, found);
            generator.files = group;
        }
    }
    found.grub = generator;
}

/// What `GRUB_ENABLE_BLSCFG` says.
fn bls_enabled(defaults: &GrubDefault, files: &[Arc<TextFile>], found: &mut Found) {
    let Some(value) = defaults.values.get("GRUB_ENABLE_BLSCFG") else { return };
    let Some((number, position)) = value.from.last() else { return };
    let (Some(script), Some(file)) = (defaults.scripts.get(*number), files.get(*number)) else { return };
    let Some(assignment) = script.assignments.get(*position) else { return };
    let text = file.text.get(assignment.range.clone()).unwrap_or_default();
    let evidence = Some(Evidence::at(file.path.clone(), assignment.line, text));
    if value.text == "true" {
        found.signs.grub_bls = evidence;
    } else {
        found.signs.grub_bls_off = evidence;
    }
}

fn config(host: &dyn Host, found: &mut Found, path: &str, esp: bool) {
    let Some(file) = found.text(host, path) else { return };
    if file.text.len() > MAX_CONFIG {
        found.missing(path, Why::TooLarge);
        return;
    }
    let config = grub_cfg::parse(&file.text);
    let stub = config.is_stub();
    if !stub && (config.blscfg || !config.entries.is_empty()) {
        found.signs.grub.get_or_insert_with(|| Evidence::new(path, "present"));
    }
    if config.blscfg && !esp {
        let line = file.text.lines().zip(1u32..).find(|(line, _)| line.trim() == "blscfg");
        let evidence = line.map_or_else(|| Evidence::new(path, "blscfg"), |(_, at)| Evidence::at(path, at, "blscfg"));
        found.signs.grub_bls.get_or_insert(evidence);
    }
    for entry in config.entries.iter().take(MAX_ENTRIES) {
        let key = if entry.by_hand { BY_HAND } else { "linux" };
        let place = place(&file, entry.line, entry.range.clone(), key, entry.words.clone());
        let place = Place {
            chain: Chain::Grub,
            generated: true,
            release: found.release_of(&entry.image),
            title: Some(entry.titles.join(">")),
            ..place
        };
        // GRUB of the Fedora family and of EL 8 has its full configuration on the ESP where that is no stub.
        found.add(place, &[Chain::Grub, Chain::GrubBls]);
    }
    found.grub_configs.push(GrubConfig { blscfg: config.blscfg, variables: config.variables, stub, esp, file });
}

fn environment(host: &dyn Host, found: &mut Found) {
    for path in ["/boot/grub2/grubenv", "/boot/grub/grubenv"] {
        let Some(file) = found.text(host, path) else { continue };
        for (line, name, value) in grub_cfg::parse_env(&file.text) {
            match name.as_str() {
                "saved_entry" => found.saved_entry = Some(Evidence::at(path, line, format!("saved_entry={value}"))),
                "kernelopts" | "tuned_params" => {
                    let start = file.text.lines().take(line as usize - 1).map(|l| l.len() + 1).sum::<usize>();
                    let start = start + name.len() + 1;
                    let range = start..(start + value.len()).min(file.text.len());
                    let place = place(&file, line, range, &name, cmdline::words(&value));
                    found.add(Place { chain: Chain::GrubBls, generated: true, ..place }, &[Chain::GrubBls]);
                }
                _ => {}
            }
        }
        return;
    }
}
