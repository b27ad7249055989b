//! Runs one cell: its disk, its boot, and everything that its answers are compared with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cells::{Cell, State, Vendor};
use crate::recorded::{self, Pseudonyms};
use crate::{disk, findings, guest, listing, machine};

/// What a cell's host gets: the first is what it runs.
pub const SCRIPTS: [&str; 2] = ["run.sh", "dump.sh"];

/// Boots a cell; gives the folder of what it wrote.
fn boot(
    cell: &Cell,
    image: &Path,
    folder: &Path,
    binary: &Path,
    mut look: impl FnMut(Duration),
) -> Result<PathBuf, String> {
    disk::share(folder, binary, &SCRIPTS)?;
    let share = folder.join("share");
    fs::write(share.join("device"), cell.device()).map_err(|e| format!("{}: {e}", share.display()))?;
    disk::prepare(cell.state, cell.vendor, image, folder)?;
    let booted = guest::boot(&cell.machine().arguments(), folder, |elapsed, _| {
        look(elapsed);
        true
    });
    disk::discard(folder)?;
    booted.map(|()| share.join("out"))
}

/// Runs a cell; gives everything that is wrong with it.
pub fn run(cell: &Cell, image: &Path, folder: &Path, binary: &Path, look: impl FnMut(Duration)) -> Vec<String> {
    let out = match boot(cell, image, folder, binary, look) {
        Ok(out) => out,
        Err(problem) => return vec![problem],
    };
    let serial = || guest::tail(&folder.join("serial.log"), 20);
    let mut problems = match judge(cell, &out, folder, binary) {
        Ok(problems) => problems,
        Err(problem) => vec![problem],
    };
    if !problems.is_empty() {
        problems.push(format!("kept in {}; the end of its console:\n{}", folder.display(), serial()));
    }
    problems
}

fn judge(cell: &Cell, out: &Path, folder: &Path, binary: &Path) -> Result<Vec<String>, String> {
    let status = read(&out.join("status"))?;
    let code = |step: &str| -> Result<i32, String> {
        let line = status.lines().find_map(|line| line.strip_prefix(step)?.strip_prefix(' '));
        line.and_then(|code| code.parse().ok()).ok_or_else(|| format!("step {step} did not run"))
    };
    let mut problems = Vec::new();
    for step in ["sysfs.txt", "lspci.txt", "list.json", "capture", "bare", "overview"] {
        if code(step)? != 0 {
            let said = read(&out.join(format!("{step}.err")))?;
            problems.push(format!("{step}: exit code {}: {}", code(step)?, said.trim()));
        }
    }
    code("end")?;
    if !read(&out.join("bare"))?.starts_with("vfioneer ") {
        problems.push("--version in an empty root says nothing".to_owned());
    }
    let chain = format!("boots by {}", cell.variant.chain());
    if !words(&read(&out.join("overview"))?).contains(&words(&chain)) {
        problems.push(format!("the overview does not say: {chain}"));
    }
    let sysfs = listing::parse_sysfs(&read(&out.join("sysfs.txt"))?);
    problems.extend(roms(&sysfs, out, &code)?);
    let lspci = listing::parse_lspci(&read(&out.join("lspci.txt"))?);
    problems.extend(as_asked(cell, &sysfs, &read(&out.join("dmesg"))?));
    let list = json(&out.join("list.json"))?;
    problems.extend(listing::compare(&list, &lspci, &sysfs));
    let check = json(&out.join("check.json"))?;
    problems.extend(findings::compare(&check, code("check.json")?, &cell.expected(), false));
    let asked = json(&out.join("asked.json"))?;
    let about = findings::compare(&asked, code("asked.json")?, &cell.expected(), true);
    problems.extend(about.into_iter().map(|problem| format!("{} asked: {problem}", cell.device())));
    if code("capture")? == 0 {
        problems.extend(capture(&out.join("host.tar.zst"), folder, binary, (&list, &check))?);
    }
    Ok(problems)
}

/// What `rom dump` gave: the NIC's ROM as QEMU has it, unless a driver has the card; of the boot display nothing.
fn roms(sysfs: &listing::Sysfs, out: &Path, code: &dyn Fn(&str) -> Result<i32, String>) -> Result<Vec<String>, String> {
    let real = fs::read(machine::NIC_ROM).map_err(|e| format!("{}: {e}", machine::NIC_ROM))?;
    let driver = sysfs.get(crate::cells::NIC).and_then(|nic| nic.get("driver"));
    let refused = if driver.is_some_and(|driver| driver != "vfio-pci") { 3 } else { 0 };
    let mut problems = Vec::new();
    if code("rom-off")? != 0 || !read(&out.join("rom-off.err"))?.contains("Invalid argument") {
        problems.push("the ROM is still switched on".to_owned());
    }
    for (step, wanted, file) in
        [("rom-nic", refused, "nic.rom"), ("rom-nic-in-use", 0, "nic-in-use.rom"), ("rom-display", 3, "display.rom")]
    {
        let (got, said) = (code(step)?, read(&out.join(format!("{step}.err")))?);
        let written = fs::read(out.join(file)).ok();
        if got != wanted || written.is_some() != (wanted == 0) {
            problems.push(format!("{step}: exit code {got} instead of {wanted}: {}", said.trim()));
        } else if written.is_some_and(|bytes| bytes != real) {
            problems.push(format!("{step}: the ROM is not that which QEMU was given"));
        }
    }
    Ok(problems)
}

/// Whether the machine really is in the state that the cell is about, by what the kernel did.
fn as_asked(cell: &Cell, sysfs: &listing::Sysfs, dmesg: &str) -> Option<String> {
    let groups = sysfs.values().filter(|function| function.contains_key("iommu_group")).count();
    let remapping = dmesg.contains("Enabled IRQ remapping") || dmesg.contains("Interrupt remapping enabled");
    let driver = sysfs.get(crate::cells::NIC).and_then(|nic| nic.get("driver"));
    let right = match cell.state {
        State::OffInFirmware | State::OffInKernel => groups == 0,
        State::NoRemapping => groups > 0 && !remapping,
        State::NativeDriver => groups > 0 && driver.is_some_and(|driver| driver == "e1000e"),
        // An AMD IOMMU is a PCI function itself, and in no group.
        _ => groups + usize::from(cell.vendor == Vendor::Amd) == sysfs.len() && remapping,
    };
    (!right).then(|| format!("the host is not in its state: {groups} functions in groups, remapping {remapping}"))
}

fn capture(file: &Path, folder: &Path, binary: &Path, live: (&Value, &Value)) -> Result<Vec<String>, String> {
    let secrets = [machine::NIC_MAC, machine::NVME_SERIAL, machine::HOST_NAME, disk::ROOT_UUID, disk::MACHINE_ID];
    let mut problems = recorded::leaks(file, &secrets)?;
    let mut pseudonyms = Pseudonyms::default();
    for (verb, live) in [(vec!["list", "--all", "--json"], live.0), (vec!["check", "--json"], live.1)] {
        let scratch = folder.join(format!("from-{}.json", verb[0]));
        let mut command = Command::new(binary);
        command.arg("--from").arg(file).args(&verb);
        let (code, text) = guest::output(&mut command, &scratch)?;
        match serde_json::from_str(&text) {
            Ok(recorded) => problems.extend(pseudonyms.compare(live, &recorded, &secrets)),
            Err(e) => problems.push(format!("--from … {}: exit code {code}, {e}", verb[0])),
        }
    }
    Ok(problems)
}

/// The text with its lines joined: long ones were wrapped.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn read(file: &Path) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn json(file: &Path) -> Result<Value, String> {
    let text = read(file)?;
    serde_json::from_str(&text).map_err(|e| {
        let said = read(&file.with_extension("json.err")).unwrap_or_default();
        format!("{}: {e}; stderr: {}", file.display(), said.trim())
    })
}
