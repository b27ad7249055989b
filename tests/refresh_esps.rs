//! The script that runs `proxmox-boot-tool refresh` behind an entry of its own: whenever the power goes, every boot partition boots a
//! kernel with a whole image and its words, and running it again finishes. With scripts in place of the tools
//! (`tests/support/tools`); what a FAT driver does to the disk within one rename is not tried here.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/scripted.rs"]
mod scripted;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vfioneer::host::change::Done;
use vfioneer::parse::{bls, grub_cfg};

const WORD: &str = "intel_iommu=on";

/// A Proxmox host whose partitions are up to date, and then the words and images in `/boot` become others.
struct Pve {
    dir: tempfile::TempDir,
    uuids: Vec<String>,
    /// The bytes that kernels and images may have: before and after.
    whole: Vec<Vec<u8>>,
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

impl Pve {
    fn new(name: &str) -> Pve {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("var/tmp")).unwrap();
        let uuids = std::fs::read_to_string(at("etc/kernel/proxmox-boot-uuids")).unwrap();
        let uuids = uuids.lines().map(str::to_owned).collect();
        let mut whole = Vec::new();
        let mut write = |path: PathBuf, text: String| {
            std::fs::write(path, &text).unwrap();
            whole.push(text.into_bytes());
        };
        let mut releases = Vec::new();
        for entry in std::fs::read_dir(at("boot")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if let Some(release) = name.strip_prefix("vmlinuz-") {
                write(path.clone(), format!("kernel {release} ").repeat(40));
                releases.push(release.to_owned());
            }
        }
        for release in &releases {
            write(at(&format!("boot/initrd.img-{release}")), format!("image of {release} before ").repeat(40));
        }
        let done = scripted::run(dir.path(), &words(&["proxmox-boot-tool", "refresh"]), &[]).unwrap();
        assert!(done.success(), "{}", done.text());
        for release in &releases {
            write(at(&format!("boot/initrd.img-{release}")), format!("image of {release} after ").repeat(50));
        }
        let pve = Pve { uuids, whole, dir };
        if !pve.at("etc/kernel/cmdline").is_file() {
            std::fs::write(pve.at("etc/kernel/cmdline"), "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n").unwrap();
        }
        for (path, from, to) in [
            ("etc/kernel/cmdline", "boot=zfs", "boot=zfs intel_iommu=on"),
            ("etc/default/grub", "\"quiet\"", "\"quiet intel_iommu=on\""),
        ] {
            if let Ok(text) = std::fs::read_to_string(pve.at(path)) {
                std::fs::write(pve.at(path), text.replace(from, to)).unwrap();
            }
        }
        pve
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn refresh(&self, more: &[(&str, String)]) -> Done {
        let script = include_str!("../src/adapters/boot/files/refresh-esps.sh");
        let argv = words(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "x", WORD]);
        let more: Vec<_> = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let done = scripted::run(self.dir.path(), &argv, &more).unwrap();
        // What was mounted went with the power; the directories and copies are still there.
        for uuid in &self.uuids {
            let mounted = self.at("var/tmp/vfioneer-esps").join(uuid);
            if mounted.is_symlink() {
                std::fs::remove_file(&mounted).unwrap();
                std::fs::create_dir(&mounted).unwrap();
            }
        }
        if self.at("etc/kernel.covered").exists() {
            std::fs::remove_file(self.at("etc/kernel")).unwrap();
            std::fs::rename(self.at("etc/kernel.covered"), self.at("etc/kernel")).unwrap();
        }
        done
    }

    fn esps(&self) -> impl Iterator<Item = PathBuf> {
        self.uuids.iter().map(|uuid| self.at("dev/disk/by-uuid").join(uuid))
    }

    /// What each partition boots: the kernel's words; or what is not whole of it.
    fn boots(&self) -> Result<Vec<String>, String> {
        let boot = |esp: PathBuf| {
            let grub = esp.join("EFI/proxmox/grubx64.efi").is_file();
            let (kernel, image, words) = if grub { by_grub(&esp) } else { by_systemd_boot(&esp) };
            for file in [kernel, image] {
                let bytes = std::fs::read(esp.join(file.trim_start_matches('/'))).unwrap_or_default();
                if !self.whole.contains(&bytes) {
                    return Err(format!("{file} is not whole: {} bytes", bytes.len()));
                }
            }
            if words.contains("root=") { Ok(words) } else { Err(format!("no root=: {words}")) }
        };
        self.esps().map(boot).collect()
    }

    fn booted(&self, when: &str) -> Vec<String> {
        self.boots().unwrap_or_else(|why| panic!("{when}: {why}"))
    }

    /// Every file of the partitions but kernels and images.
    fn texts(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for esp in self.esps() {
            let mut dirs = vec![esp];
            while let Some(dir) = dirs.pop() {
                for entry in std::fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        dirs.push(path);
                    } else if path.extension().is_some_and(|end| end == "conf" || end == "cfg") {
                        let text = std::fs::read_to_string(&path).unwrap();
                        found.insert(path, text);
                    }
                }
            }
        }
        found
    }
}

/// What systemd-boot 251 and later starts: the first entry that the default's pattern fits, else the first. Entries with a sort-key come
/// before the others, which are sorted by name, the newest version first (systemd `src/boot/efi/boot.c` `boot_entry_compare`).
fn by_systemd_boot(esp: &Path) -> (String, String, String) {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(esp.join("loader/entries")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "conf") {
            let parsed = bls::parse(&std::fs::read_to_string(&path).unwrap());
            entries.push((path.file_name().unwrap().to_string_lossy().into_owned(), parsed));
        }
    }
    entries.sort_by(|(name, entry), (other_name, other)| {
        let by_key = other.value("sort-key").is_some().cmp(&entry.value("sort-key").is_some());
        by_key.then_with(|| other_name.cmp(name))
    });
    let conf = std::fs::read_to_string(esp.join("loader/loader.conf")).unwrap_or_default();
    let conf = bls::parse(&conf);
    let fits = |name: &str| match conf.value("default").and_then(|pattern| pattern.split_once('*')) {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => conf.value("default") == Some(name),
    };
    let chosen = entries.iter().find(|(name, _)| fits(name)).or(entries.first()).unwrap();
    let value = |key: &str| chosen.1.value(key).unwrap_or_else(|| panic!("{}: no {key}", chosen.0)).to_owned();
    (value("linux"), value("initrd"), value("options"))
}

/// What GRUB starts: the entry of custom.cfg where that names a default, else its first.
fn by_grub(esp: &Path) -> (String, String, String) {
    let read = |name: &str| std::fs::read_to_string(esp.join("grub").join(name)).unwrap_or_default();
    let custom = read("custom.cfg");
    let text = if custom.contains("set default=") { custom } else { read("grub.cfg") };
    let config = grub_cfg::parse(&text);
    let entry = config.entries.first().unwrap();
    (entry.image.clone(), entry.initrds[0].clone(), entry.words.join(" "))
}

#[test]
fn a_refresh_leaves_nothing_behind_but_the_new_state() {
    for name in ["pve7-intel-sdboot-zfs-mirror", "pve7-intel-sdboot-zfs-no-cmdline", "pve7-intel-grub-esp-migrated"] {
        let pve = Pve::new(name);
        let before = pve.texts();
        let done = pve.refresh(&[]);
        assert!(done.success(), "{name}: {}", done.text());
        assert!(pve.booted(name).iter().all(|words| words.contains(WORD)), "{name}: {:?}", pve.booted(name));
        let after = pve.texts();
        assert!(before.keys().eq(after.keys()), "{name}: {:?}", after.keys());
        let default = |texts: &BTreeMap<PathBuf, String>| -> Vec<String> {
            texts
                .iter()
                .filter(|(path, _)| path.ends_with("loader/loader.conf"))
                .map(|(_, text)| text.clone())
                .collect()
        };
        assert_eq!(default(&before), default(&after), "{name}");
        assert!(pve.esps().all(|esp| !esp.join("EFI/vfioneer").exists() && !esp.join("vfioneer").exists()));
    }
}

#[test]
fn the_power_may_go_at_every_call() {
    // Two partitions with a pinned kernel: some of the calls; one partition: every one.
    let hosts = [
        ("pve7-intel-sdboot-zfs-mirror", 7),
        ("pve7-intel-sdboot-zfs-no-cmdline", 1),
        ("pve7-intel-grub-esp-migrated", 1),
    ];
    for (name, every) in hosts {
        let mut at = 0;
        let calls = loop {
            at += every;
            let pve = Pve::new(name);
            let done = pve.refresh(&[("DIE_AT", at.to_string())]);
            let when = format!("{name}, power gone at call {at}");
            pve.booted(&when);
            if done.success() {
                break at;
            }
            let again = pve.refresh(&[]);
            assert!(again.success(), "{when}: {}", again.text());
            assert!(pve.booted(&when).iter().all(|words| words.contains(WORD)), "{when}");
            assert!(
                pve.esps().all(|esp| !esp.join("EFI/vfioneer").exists() && !esp.join("vfioneer").exists()),
                "{when}"
            );
        };
        assert!(calls > 15, "{name}: only {calls} calls");
    }
}

/// A run that was killed left its copy of `/etc/kernel`, as that was then.
#[test]
fn an_old_copy_of_the_configuration_is_not_used() {
    let pve = Pve::new("pve7-intel-sdboot-zfs-mirror");
    let old = pve.at("var/tmp/vfioneer-esps/kernel");
    std::fs::create_dir_all(&old).unwrap();
    for entry in std::fs::read_dir(pve.at("etc/kernel")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
        }
    }
    std::fs::write(old.join("cmdline"), "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n").unwrap();
    let done = pve.refresh(&[]);
    assert!(done.success(), "{}", done.text());
    assert!(pve.booted("with an old copy").iter().all(|words| words.contains(WORD)));
    assert!(!old.exists());
}

#[test]
fn a_tool_that_fails_leaves_the_entry_in_front() {
    let pve = Pve::new("pve7-intel-sdboot-zfs-mirror");
    let done = pve.refresh(&[("FAULT", "1".to_owned())]);
    assert!(!done.success());
    assert!(pve.booted("after a failure").iter().all(|words| !words.contains(WORD)));
    assert!(pve.refresh(&[]).success());
    assert!(pve.booted("afterwards").iter().all(|words| words.contains(WORD)));
}

#[test]
fn a_default_in_the_firmware_is_refused_before_anything_changes() {
    let pve = Pve::new("pve7-intel-sdboot-zfs-mirror");
    let vars = pve.at("sys/firmware/efi/efivars");
    std::fs::create_dir_all(&vars).unwrap();
    std::fs::write(vars.join("LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), "x").unwrap();
    let before = pve.texts();
    let done = pve.refresh(&[]);
    assert!(!done.success() && done.text().contains("bootctl set-default ''"), "{}", done.text());
    assert_eq!(pve.texts(), before);
}

/// That these tests see what they are there for: the tool alone leaves moments in which nothing whole boots.
#[test]
fn the_tool_alone_is_not_safe() {
    for name in ["pve7-intel-sdboot-zfs-no-cmdline", "pve7-intel-grub-esp-migrated"] {
        let broken = (1..10).any(|at| {
            let pve = Pve::new(name);
            let tool = words(&["proxmox-boot-tool", "refresh"]);
            let _ = scripted::run(pve.dir.path(), &tool, &[("DIE_AT".to_owned(), at.to_string())]);
            pve.boots().is_err()
        });
        assert!(broken, "{name}");
    }
}
