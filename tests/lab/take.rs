//! Runs one taking of a device: the boots of its disk, and what each of them must show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cells::{GPU, NIC, NVME};
use crate::listing::{self, Sysfs};
use crate::machine::{Machine, NIC_ROM};
use crate::takes::{Extra, Take};
use crate::{disk, guest, tree};

/// The GPU's place once a card is before it.
const MOVED_GPU: &str = "0000:03:00.0";
/// What the package of another kernel brings, and what it changes.
const KERNEL_FILES: [&str; 6] = ["-rt-", "var/lib/dpkg", "vmlinuz", "initrd.img", "var/lib/ucf", "boot/grub/grub.cfg"];

/// What a host gets: the first is what it runs.
pub const SCRIPTS: [&str; 3] = ["take.sh", "dump.sh", "tree.sh"];

/// What one boot left.
pub struct Answers {
    folder: PathBuf,
    status: BTreeMap<String, i32>,
}

impl Answers {
    /// A file that the host wrote.
    pub fn read(&self, name: &str) -> Result<String, String> {
        let file = self.folder.join(name);
        let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit code of a step that came to its end.
    pub fn code(&self, step: &str) -> Option<i32> {
        self.status.get(step).copied()
    }

    /// How long a step took in the host's own time, in seconds.
    pub fn took(&self, step: &str) -> Option<u64> {
        self.code(&format!("{step}.took")).and_then(|seconds| seconds.try_into().ok())
    }

    /// A problem, unless the step ended with one of `codes`.
    pub fn expect(&self, step: &str, codes: &[i32], problems: &mut Vec<String>) {
        match self.status.get(step) {
            Some(code) if codes.contains(code) => {}
            Some(code) => {
                let said = [self.read(step), self.read(&format!("{step}.err"))].map(Result::unwrap_or_default);
                problems.push(format!("{step}: exit code {code}, not one of {codes:?}\n{}", said.join("").trim()));
            }
            None => problems.push(format!("{step} did not run")),
        }
    }

    /// The driver of each function.
    pub fn drivers(&self) -> Result<BTreeMap<String, String>, String> {
        Ok(drivers(&listing::parse_sysfs(&self.read("sysfs.txt")?)))
    }
}

/// The driver of each function, none being empty.
fn drivers(sysfs: &Sysfs) -> BTreeMap<String, String> {
    let driver = |values: &BTreeMap<String, String>| values.get("driver").cloned().unwrap_or_default();
    sysfs.iter().map(|(address, values)| (address.clone(), driver(values))).collect()
}

/// The boots of one disk, one after the other.
pub struct Boots<'a> {
    pub folder: &'a Path,
    pub machine: Machine,
    number: u32,
    look: &'a mut dyn FnMut(Duration),
}

impl<'a> Boots<'a> {
    /// Prepares the disk and the share.
    pub fn new(
        take: &Take,
        image: &Path,
        folder: &'a Path,
        binary: &Path,
        look: &'a mut dyn FnMut(Duration),
    ) -> Result<Boots<'a>, String> {
        disk::share(folder, binary, &SCRIPTS)?;
        let share = folder.join("share");
        let put = |name: &str, text: &str| {
            fs::write(share.join(name), text).map_err(|e| format!("{}: {e}", share.join(name).display()))
        };
        put("device", take.device())?;
        put("options", take.options())?;
        disk::prepare(take.state(), take.vendor, image, folder)?;
        Ok(Boots { folder, machine: take.machine(), number: 0, look })
    }

    /// Boots the disk and runs `stages` there; gives what they wrote.
    pub fn run(&mut self, stages: &str) -> Result<Answers, String> {
        let answers = self.start(stages, |_| true)?;
        if answers.status.contains_key("end") {
            Ok(answers)
        } else {
            Err(format!("{stages}: did not come to its end\n{}", guest::tail(&self.folder.join("serial.log"), 20)))
        }
    }

    /// The same, with the power cut as soon as `on` gives false.
    pub fn start(&mut self, stages: &str, mut on: impl FnMut(Duration) -> bool) -> Result<Answers, String> {
        self.number += 1;
        let share = self.folder.join("share");
        let fail = |e: std::io::Error| format!("{}: {e}", share.display());
        fs::create_dir_all(share.join("out")).map_err(fail)?;
        fs::write(share.join("stage"), stages).map_err(fail)?;
        let booted = guest::boot(&self.machine.arguments(), self.folder, |elapsed, _| {
            (self.look)(elapsed);
            on(elapsed)
        });
        let kept = self.folder.join(format!("{}-{}", self.number, stages.replace(' ', "-")));
        fs::rename(share.join("out"), &kept).map_err(fail)?;
        fs::copy(self.folder.join("serial.log"), kept.join("serial.log")).map_err(fail)?;
        booted.map_err(|problem| format!("boot {} ({stages}): {problem}", self.number))?;
        let status = fs::read_to_string(kept.join("status")).unwrap_or_default();
        let status = status.lines().filter_map(|line| {
            let (step, code) = line.split_once(' ')?;
            Some((step.to_owned(), code.parse().ok()?))
        });
        Ok(Answers { status: status.collect(), folder: kept })
    }
}

/// Runs a cell; gives everything that is wrong with it.
pub fn run(take: &Take, image: &Path, folder: &Path, binary: &Path, mut look: impl FnMut(Duration)) -> Vec<String> {
    let mut problems = Vec::new();
    let ended = Boots::new(take, image, folder, binary, &mut look).and_then(|mut boots| match take.extra {
        Extra::Refused => refused(&mut boots, &mut problems),
        Extra::Cuts(_) => crate::cuts::run(take, &mut boots, &mut problems),
        Extra::Vfs => virtual_functions(&mut boots, &mut problems),
        _ => taken(take, &mut boots, &mut problems),
    });
    problems.extend(ended.err());
    if problems.is_empty() {
        problems.extend(disk::discard(folder).err());
    } else {
        problems.push(format!("kept in {}", folder.display()));
    }
    problems
}

fn refused(boots: &mut Boots<'_>, problems: &mut Vec<String>) -> Result<(), String> {
    let answers = boots.run("refused")?;
    answers.expect("plan", &[3], problems);
    answers.expect("apply", &[3], problems);
    problems.extend(tree::differences(&answers.read("before")?, &answers.read("tree")?, &[])?);
    Ok(())
}

/// Its virtual functions are there at once, and after each reboot.
fn virtual_functions(boots: &mut Boots<'_>, problems: &mut Vec<String>) -> Result<(), String> {
    let first = boots.run("take now")?;
    for step in ["plan", "apply", "now", "again"] {
        first.expect(step, &[0], problems);
    }
    if !problems.is_empty() {
        return Ok(());
    }
    let before = first.drivers()?;
    let mut wanted = before.clone();
    wanted.extend((1..=4).map(|number| (NVME.replace(".0", &format!(".{number}")), "vfio-pci".to_owned())));
    if before.get(NVME).is_none_or(|driver| driver != "nvme") {
        problems.push(format!("the host does not drive its NVMe controller: {before:?}"));
    }
    same("now", &wanted, &drivers(&listing::parse_sysfs(&first.read("now.txt")?)), problems);
    for stages in ["verify", "verify rollback"] {
        let booted = boots.run(stages)?;
        booted.expect("verify", &[0], problems);
        booted.expect("drift", &[0], problems);
        same("booted", &wanted, &booted.drivers()?, problems);
        if stages.ends_with("rollback") {
            booted.expect("rollback", &[10], problems);
        }
    }
    let after = boots.run("look")?;
    same("after rollback", &before, &after.drivers()?, problems);
    problems.extend(tree::differences(&first.read("tree")?, &after.read("tree")?, &[])?);
    Ok(())
}

fn taken(take: &Take, boots: &mut Boots<'_>, problems: &mut Vec<String>) -> Result<(), String> {
    let before = boots.run("take")?;
    before.expect("plan", &[0], problems);
    before.expect("apply", &[10, 0], problems);
    if !problems.is_empty() {
        return Ok(());
    }
    let mut ignored: &[&str] = &[];
    let last = match take.extra {
        Extra::Kernel => {
            let package = take.variant.second_kernel()?;
            let share = boots.folder.join("share/kernel.deb");
            fs::copy(package, share).map_err(|e| format!("kernel.deb: {e}"))?;
            let first = boots.run("verify kernel")?;
            verified(take, &before, &first, problems)?;
            first.expect("dpkg", &[0], problems);
            first.expect("next", &[0], problems);
            let second = boots.run("verify rollback")?;
            if second.read("release")? == first.read("release")? {
                problems.push("the new kernel did not boot".to_owned());
            }
            ignored = &KERNEL_FILES;
            second
        }
        Extra::Moved => {
            let first = boots.run("verify")?;
            verified(take, &before, &first, problems)?;
            boots.machine.moved = true;
            let moved = boots.run("look")?;
            claimed(&moved.drivers()?, MOVED_GPU, problems);
            boots.machine.moved = false;
            boots.run("verify rollback")?
        }
        Extra::Off => {
            let first = boots.run("verify off")?;
            verified(take, &before, &first, problems)?;
            first.expect("choose", &[0], problems);
            let off = boots.run("look")?;
            if !off.read("cmdline")?.split_whitespace().any(|word| word == "vfioneer=off") {
                problems.push("the entry without passthrough did not boot".to_owned());
            }
            same("without passthrough", &before.drivers()?, &off.drivers()?, problems);
            boots.run("verify rollback")?
        }
        Extra::BuiltIn => {
            let last = boots.run("verify rollback")?;
            if !last.read("claim.log")?.contains("before: serial") {
                problems.push("the built-in driver did not come first".to_owned());
            }
            last
        }
        _ => boots.run("verify rollback")?,
    };
    verified(take, &before, &last, problems)?;
    last.expect("rollback", &[10, 0], problems);
    let after = boots.run("look")?;
    if take.extra != Extra::Kernel {
        let line = |answers: &Answers| answers.read("cmdline");
        if line(&before)? != line(&after)? {
            problems.push(format!("the command line was {}, after rollback {}", line(&before)?, line(&after)?));
        }
    }
    same("after rollback", &before.drivers()?, &after.drivers()?, problems);
    problems.extend(tree::differences(&before.read("tree")?, &after.read("tree")?, ignored)?);
    Ok(())
}

/// The device is taken and nothing else is, by what the program says and by what sysfs says.
fn verified(take: &Take, before: &Answers, now: &Answers, problems: &mut Vec<String>) -> Result<(), String> {
    now.expect("verify", &[0], problems);
    now.expect("drift", &[0], problems);
    let mut wanted = before.drivers()?;
    // With the IOMMU off the bridges have drivers of their own, too: nothing else differs.
    wanted.insert(take.device().to_owned(), "vfio-pci".to_owned());
    same("taken", &wanted, &now.drivers()?, problems);
    if take.has_twin() {
        claimed(&now.drivers()?, GPU, problems);
    }
    if take.device() == NIC {
        now.expect("rom", &[0], problems);
        let real = fs::read(NIC_ROM).map_err(|e| format!("{NIC_ROM}: {e}"))?;
        if fs::read(now.folder.join("device.rom")).ok() != Some(real) {
            problems.push("the ROM that was read is not that which QEMU was given".to_owned());
        }
    }
    Ok(())
}

/// One of two identical GPUs is with vfio-pci, and the other with its own driver.
fn claimed(drivers: &BTreeMap<String, String>, gpu: &str, problems: &mut Vec<String>) {
    let with = |name: &str| -> Vec<&String> {
        drivers.iter().filter(|(_, driver)| *driver == name).map(|(address, _)| address).collect()
    };
    let own = ["bochs-drm", "bochs", "serial"].map(|driver| with(driver).len()).iter().sum::<usize>();
    let taken = with("vfio-pci");
    if taken != [gpu] || own != 1 {
        problems.push(format!("vfio-pci has {taken:?}, not only {gpu}; {own} twins have their own driver, not 1"));
    }
}

fn same(when: &str, wanted: &BTreeMap<String, String>, now: &BTreeMap<String, String>, problems: &mut Vec<String>) {
    if wanted.get(NIC).is_none_or(String::is_empty) || wanted.get(GPU).is_none_or(String::is_empty) {
        problems.push(format!("{when}: the host does not drive its own devices: {wanted:?}"));
    }
    for (address, driver) in wanted {
        let other = now.get(address);
        if other != Some(driver) {
            problems.push(format!("{when}: {address} is with {other:?}, not {driver:?}"));
        }
    }
    problems
        .extend(now.keys().filter(|address| !wanted.contains_key(*address)).map(|new| format!("{when}: {new} is new")));
}
