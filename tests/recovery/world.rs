//! A constructed host with everything that a plan can have a step for, and a judge who says whether it boots.

use super::gates::Shared;
use super::tools::{Faults, Tools};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use vfioneer::apply::Session;
use vfioneer::error::Result;
use vfioneer::goal::Goal;
use vfioneer::host::change::{Gate, Open};
use vfioneer::host::{Caller, Host, TreeMut};
use vfioneer::plan::{self, Plan};
use vfioneer::steps::{Action, Fence, Product, Step, sha256};

pub const KERNELS: &[&str] = &["6.1.0-1-amd64", "6.1.0-2-amd64"];
pub const CLAIMS: &str = "# vfioneer claims 1\n0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no\n";
const WORD: &str = "intel_iommu=on";
const GPU: &str = "0000:01:00.0";
const NIC: &str = "0000:02:00.0";

/// One thing in the tree: mode and content, or where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Dir(u32),
    File(u32, Vec<u8>),
    Link(String),
}

pub type State = BTreeMap<String, Node>;

pub struct World {
    dir: tempfile::TempDir,
    pub faults: Faults,
}

impl World {
    pub fn new() -> World {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let world = World { dir, faults: Rc::default() };
        world.write("/etc/default/grub", "WORDS=\"quiet\"\n", 0o644);
        world.write("/etc/modprobe.d/old.conf", "options vfio-pci ids=10de:2684\n", 0o640);
        world.write("/etc/kernel/cmdline", "root=/dev/sda1 quiet\n", 0o644);
        world.write("/boot/grub/grub.cfg", &grub_cfg("quiet"), 0o444);
        for release in KERNELS {
            world.write(&format!("/lib/modules/{release}/modules.dep"), "", 0o644);
            world.put(&format!("/boot/vmlinuz-{release}"), &kernel(release), 0o600);
            world.put(&format!("/boot/initrd.img-{release}"), &image(release, None), 0o644);
            world.put(&format!("/efi/EFI/x/{release}/vmlinuz"), &kernel(release), 0o755);
            world.put(&format!("/efi/EFI/x/{release}/initrd"), &image(release, None), 0o755);
            let text = entry("x", release, "root=/dev/sda1 quiet");
            world.write(&format!("/efi/loader/entries/x-{release}.conf"), &text, 0o755);
            let text = format!(
                "title {release}\nlinux /vmlinuz-{release}\ninitrd /initrd.img-{release}\noptions root=/dev/sda1 quiet\n"
            );
            world.write(&format!("/boot/loader/entries/{release}.conf"), &text, 0o644);
        }
        world.write("/efi/loader/loader.conf", &format!("default x-{}.conf\n", KERNELS[1]), 0o755);
        world.write(&format!("/sys/bus/pci/devices/{GPU}/driver_override"), "(null)\n", 0o644);
        world.write(&format!("/sys/bus/pci/devices/{NIC}/sriov_numvfs"), "0\n", 0o644);
        world.write(&format!("/sys/bus/pci/devices/{NIC}/sriov_drivers_autoprobe"), "1\n", 0o644);
        symlink("../../drivers/other", world.at(&format!("/sys/bus/pci/devices/{NIC}/driver"))).unwrap();
        for driver in ["nouveau", "other"] {
            world.write(&format!("/sys/bus/pci/drivers/{driver}/bind"), "", 0o200);
        }
        symlink("../../drivers/nouveau", world.at(&format!("/sys/bus/pci/devices/{GPU}/driver"))).unwrap();
        world.write("/proc/sys/kernel/random/boot_id", "first\n", 0o444);
        world.write("/var/lib/x", "", 0o644);
        world
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, text: &str, mode: u32) {
        self.put(path, text.as_bytes(), mode);
    }

    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.at(path)).unwrap_or_default()).into_owned()
    }

    pub fn reboot(&self) {
        std::fs::remove_file(self.at("/proc/sys/kernel/random/boot_id")).unwrap();
        self.write("/proc/sys/kernel/random/boot_id", "second\n", 0o444);
    }

    /// The host through a gate.
    pub fn host(&self, gate: Rc<dyn Gate>) -> TreeMut {
        let gate = Shared(gate);
        let tools = Tools {
            root: self.dir.path().to_owned(),
            gate: gate.clone(),
            faults: Rc::clone(&self.faults),
            runs: Default::default(),
        };
        TreeMut::mounted(self.dir.path()).unwrap().running().with_runner(Box::new(tools)).with_gate(Box::new(gate))
    }

    pub fn open(&self) -> TreeMut {
        self.host(Rc::new(Open))
    }

    /// All that vfioneer may have changed, but for its own records.
    pub fn state(&self) -> State {
        let mut state = State::new();
        walk(self.dir.path(), "", &mut state);
        // A module that was loaded stays loaded.
        let other = ["/var/lib/vfioneer", "/proc", "/sys/bus/pci/drivers/vfio-pci"];
        state.retain(|path, _| !other.iter().any(|other| path.starts_with(other)));
        state
    }

    pub fn plan(&self) -> Plan {
        let why = || String::new();
        let step = |action| Step { action, why: String::new() };
        let before = self.read("/etc/default/grub");
        let old = self.read("/etc/modprobe.d/old.conf");
        let mut steps = vec![
            Step::write("/etc/vfioneer/claims", None, CLAIMS, 0o644, why()),
            Step::write("/etc/new/deep/hook", None, "#!/bin/sh\n", 0o755, why()),
            Step::write("/etc/default/grub", Some(&before), format!("WORDS=\"quiet {WORD}\"\n"), 0o644, why()),
            Step::write(
                "/etc/kernel/cmdline",
                Some(&self.read("/etc/kernel/cmdline")),
                format!("root=/dev/sda1 quiet {WORD}\n"),
                0o644,
                why(),
            ),
            Step::remove("/etc/modprobe.d/old.conf", &old, why()),
        ];
        for release in KERNELS {
            steps.push(step(Action::Generate {
                argv: words(&["mkimage", "-o", "{out}", release]),
                output: format!("/boot/initrd.img-{release}"),
                product: Product::Image {
                    release: (*release).to_owned(),
                    modules: vec!["vfio_pci".to_owned()],
                    files: vec![("etc/vfioneer/claims".to_owned(), sha256(CLAIMS.as_bytes()))],
                },
            }));
        }
        steps.push(step(Action::Generate {
            argv: words(&["mkgrub", "-o", "{out}"]),
            output: "/boot/grub/grub.cfg".to_owned(),
            product: Product::GrubConfig { words: vec![WORD.to_owned()] },
        }));
        steps.push(step(Action::Run {
            argv: words(&["kargs", "--add", WORD]),
            undo: words(&["kargs", "--remove", WORD]),
            touches: vec!["/boot/loader/entries".to_owned()],
            fence: None,
        }));
        let newest = KERNELS[1];
        steps.push(step(Action::Run {
            argv: words(&["refresh"]),
            undo: words(&["refresh"]),
            touches: vec!["/etc/kernel/cmdline".to_owned(), "/efi/loader/entries".to_owned()],
            fence: Some(Fence {
                copies: vec![
                    (format!("/efi/EFI/x/{newest}/vmlinuz"), format!("/efi/EFI/fence/{newest}/vmlinuz")),
                    (format!("/efi/EFI/x/{newest}/initrd"), format!("/efi/EFI/fence/{newest}/initrd")),
                ],
                writes: vec![
                    ("/efi/loader/entries/fence.conf".to_owned(), entry("fence", newest, "root=/dev/sda1 quiet")),
                    ("/efi/loader/loader.conf".to_owned(), "default fence.conf\n".to_owned()),
                ],
            }),
        }));
        steps.push(step(Action::Bind {
            address: vfioneer::parse::address::Address::parse(GPU).unwrap(),
            driver: "vfio-pci".to_owned(),
            former: Some("nouveau".to_owned()),
        }));
        steps.push(step(Action::VirtualFunctions {
            address: vfioneer::parse::address::Address::parse(NIC).unwrap(),
            former: 0,
            count: 2,
        }));
        Plan { steps, reboot: true, applicable: true, ..empty() }
    }

    /// Does every kernel boot that GRUB offers, and does what the ESP's default leads to?
    pub fn boots(&self) -> std::result::Result<(), String> {
        let whole_image =
            |bytes: &[u8], release: &str| bytes == image(release, None) || bytes == image(release, Some(CLAIMS));
        let read = |path: &str| std::fs::read(self.at(path)).map_err(|error| format!("{path}: {error}"));
        let menu = String::from_utf8(read("/boot/grub/grub.cfg")?).unwrap();
        if menu != grub_cfg("quiet") && menu != grub_cfg(&format!("quiet {WORD}")) {
            return Err("grub.cfg is neither the old nor the new one".to_owned());
        }
        for release in KERNELS {
            if read(&format!("/boot/vmlinuz-{release}"))? != kernel(release) {
                return Err(format!("the kernel {release} is torn"));
            }
            if !whole_image(&read(&format!("/boot/initrd.img-{release}"))?, release) {
                return Err(format!("the image of {release} is torn"));
            }
            let text = String::from_utf8(read(&format!("/boot/loader/entries/{release}.conf"))?).unwrap();
            if !text.contains(&format!("initrd /initrd.img-{release}\noptions root=/dev/sda1 quiet")) {
                return Err(format!("the BLS entry of {release} is torn: {text}"));
            }
        }
        let default = String::from_utf8(read("/efi/loader/loader.conf")?).unwrap();
        let name = default.strip_prefix("default ").and_then(|rest| rest.strip_suffix(".conf\n"));
        let name = name.ok_or_else(|| format!("loader.conf is torn: {default:?}"))?;
        let text = String::from_utf8(read(&format!("/efi/loader/entries/{name}.conf"))?).unwrap();
        let (prefix, release) = if name == "fence" { ("fence", KERNELS[1]) } else { name.split_once('-').unwrap() };
        if ["", &format!(" {WORD}")]
            .iter()
            .all(|word| text != entry(prefix, release, &format!("root=/dev/sda1 quiet{word}")))
        {
            return Err(format!("the default entry {name} is torn: {text:?}"));
        }
        if read(&format!("/efi/EFI/{prefix}/{release}/vmlinuz"))? != kernel(release)
            || !whole_image(&read(&format!("/efi/EFI/{prefix}/{release}/initrd"))?, release)
        {
            return Err(format!("what the default entry {name} boots is torn"));
        }
        Ok(())
    }
}

/// Applies the plan.
pub fn apply(host: &TreeMut, plan: &Plan) -> Result<u32> {
    let session = session(host)?;
    session.recover(&mut |_| ())?;
    session.apply(plan, &mut |_| ()).map(|applied| applied.id)
}

/// What every verb that changes the host does first.
pub fn recover(host: &TreeMut) -> Result<Vec<u32>> {
    Ok(session(host)?.recover(&mut |_| ())?.iter().map(|one| one.done.id).collect())
}

/// The lock, once nobody has it: a test beside this one starts a process, and until that runs its program it holds every lock of this
/// process, one that was given back included.
pub fn session(host: &TreeMut) -> Result<Session<'_>> {
    if let Ok(file) = std::fs::File::open(format!("{}{LOCK}", host.label())) {
        flock(&file, FlockOperation::LockExclusive).unwrap();
        // Not by closing: a process that starts now has this file, too.
        flock(&file, FlockOperation::Unlock).unwrap();
    }
    open_session(host)
}

/// The lock now, or not at all.
pub fn open_session(host: &TreeMut) -> Result<Session<'_>> {
    let argv = words(&["vfioneer", "apply"]);
    Session::open(host, Caller { uid: 0, user: Some("anna".to_owned()), when: "2026-01-02T03:04:05Z".to_owned(), argv })
}

const LOCK: &str = "/var/lib/vfioneer/lock";

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A plan of which only the steps matter.
fn empty() -> Plan {
    let host = vfioneer::host::Recorded::builder().build();
    let snap = vfioneer::facts::collect(&host, vfioneer::facts::Needs::LIST);
    plan::make(&snap, &Goal::default())
}

pub fn kernel(release: &str) -> Vec<u8> {
    format!("kernel {release} ").repeat(20).into_bytes()
}

/// An image as a cpio archive.
pub fn image(release: &str, claims: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    member(&mut bytes, "etc/release", release.as_bytes());
    if let Some(claims) = claims {
        member(&mut bytes, "etc/vfioneer/claims", claims.as_bytes());
        member(&mut bytes, "lib/modules/vfio-pci.ko", b"module");
    }
    member(&mut bytes, "TRAILER!!!", b"");
    bytes
}

fn member(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mode = if name == "TRAILER!!!" { 0 } else { 0o100_644 };
    out.extend(b"070701");
    for field in [0, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0] {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

pub fn grub_cfg(words: &str) -> String {
    let one = |release: &&str| {
        format!(
            "menuentry 'Linux {release}' {{\n\tlinux /vmlinuz-{release} root=/dev/sda1 ro {words}\n\tinitrd /initrd.img-{release}\n}}\n\
             menuentry 'Linux {release} (recovery)' {{\n\tlinux /vmlinuz-{release} root=/dev/sda1 ro single\n\tinitrd /initrd.img-{release}\n}}\n"
        )
    };
    KERNELS.iter().map(one).collect()
}

pub fn entry(prefix: &str, release: &str, words: &str) -> String {
    format!(
        "title {prefix} {release}\nlinux /EFI/{prefix}/{release}/vmlinuz\ninitrd /EFI/{prefix}/{release}/initrd\noptions {words}\n"
    )
}

fn walk(root: &Path, path: &str, state: &mut State) {
    for entry in std::fs::read_dir(root.join(path.trim_start_matches('/'))).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
        let meta = std::fs::symlink_metadata(entry.path()).unwrap();
        let mode = meta.mode() & 0o7777;
        let node = if meta.is_symlink() {
            Node::Link(std::fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned())
        } else if meta.is_dir() {
            walk(root, &path, state);
            Node::Dir(mode)
        } else {
            Node::File(mode, std::fs::read(entry.path()).unwrap())
        };
        state.insert(path, node);
    }
}

/// What differs between two states, for messages.
pub fn differences(a: &State, b: &State) -> Vec<String> {
    let paths: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let show = |node: Option<&Node>| match node {
        Some(Node::File(mode, bytes)) => format!("{mode:o} {:.60}", String::from_utf8_lossy(bytes)),
        other => format!("{other:?}"),
    };
    let differ = paths.into_iter().filter(|path| a.get(*path) != b.get(*path));
    differ.map(|path| format!("{path}: {} | {}", show(a.get(path)), show(b.get(path)))).collect()
}
