//! What a message is about: the device, the group, and who else is in it.
//!
//! Goes in: a line and the values that its row took from it. Comes out: a [`Subject`], more values, and the
//! shell's command where its error stands on the next line. Never guesses a device that no text names.

use crate::checks::device::{is_chipset, is_endpoint, list, named, stands_aside};
use crate::checks::{Finding, Subject};
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::address::Address;
use std::borrow::Cow;

/// The longest command that is remembered.
const COMMAND: usize = 400;

/// Puts a command that writes below `/sys` in front of the shell's complaint on the next line.
pub(super) fn with_command<'l>(command: &mut String, line: Cow<'l, str>) -> Cow<'l, str> {
    let complaint = line.contains("write error: ");
    if complaint && !command.is_empty() && !line.contains("/sys/") {
        return Cow::Owned(format!("{}: {}", std::mem::take(command), line.trim()));
    }
    if line.contains("> /sys/") || line.contains(">/sys/") || line.contains("tee /sys/") {
        *command = line.chars().take(COMMAND).collect();
    } else if !line.trim().is_empty() {
        command.clear();
    }
    line
}

/// Harvester names a device by its node, domain, bus, device and function: `node-000901000` is 0009:01:00.0.
fn harvester(name: &str) -> Option<Address> {
    let (_, digits) = name.rsplit_once('-')?;
    let part = |from: usize, to: usize| digits.get(from..to);
    if digits.len() != 9 {
        return None;
    }
    Address::parse(&format!("{}:{}:{}.{}", part(0, 4)?, part(4, 6)?, part(6, 8)?, part(8, 9)?))
}

/// What stands in front of the address of the device that a line of QEMU, Proxmox or the shell is about.
const MARKS: &[&str] = &["vfio-pci,host=", "\"host\":\"", "/sys/bus/pci/devices/", ": vfio ", "PCI device '"];

/// The one device that QEMU's option, the path or the message in this line names.
fn device_in(line: &str) -> Option<Address> {
    let after = |mark: &&str| {
        let (_, rest) = line.split_once(*mark)?;
        let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.').unwrap_or(rest.len());
        Address::parse(rest.get(..end)?.trim_end_matches([':', '.']))
    };
    // `/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/…`: the last address of the path.
    let path = || {
        let (_, rest) = line.split_once("/sys/devices/pci")?;
        rest.split_whitespace().next()?.split('/').filter_map(Address::parse).next_back()
    };
    MARKS.iter().find_map(after).or_else(path)
}

/// The VM whose process KVM names in front of what it says of a guest: `kvm [2345]: vcpu0, …` (Linux include/linux/kvm_host.h,
/// `kvm_pr_unimpl`).
pub(super) fn vm_in(line: &str, snap: &Snapshot) -> Option<Subject> {
    let (_, rest) = line.split_once("kvm [")?;
    let process = rest.split_once(']')?.0.parse().ok()?;
    snap.hypervisor.processes.get(&process).map(|vm| Subject::Vm(vm.clone()))
}

/// What a message is about: the device or group that it names.
pub(super) fn subject(values: &[(&str, &str)], line: &str) -> Subject {
    let value = |wanted: &str| values.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    if let Some(address) = value("bdf").and_then(Address::parse) {
        return Subject::Function(address);
    }
    if let Some(address) = value("device").and_then(harvester) {
        return Subject::Function(address);
    }
    if let Some(address) = device_in(line) {
        return Subject::Function(address);
    }
    if let Some(group) = value("group").and_then(|group| group.parse().ok()) {
        return Subject::Group(group);
    }
    Subject::Host
}

/// Names who else is in the group that was not viable, as far as the text shows it.
pub(super) fn with_members(finding: Finding, snap: &Snapshot) -> Finding {
    let said = finding.values.iter().find(|(name, _)| *name == "group").and_then(|(_, group)| group.parse().ok());
    let address = match finding.subject {
        Subject::Function(address) => Some(address),
        _ => None,
    };
    let seen = address.and_then(|address| snap.pci.get(&address)).and_then(|function| function.group.known().copied());
    let group = said.or(match finding.subject {
        Subject::Group(group) => Some(group),
        _ => seen,
    });
    let other = |f: &&Function| {
        Some(f.address) != address && is_endpoint(f) == Some(true) && !is_chipset(f) && stands_aside(f) != Some(true)
    };
    let in_group = |f: &&Function| group.is_some() && f.group.known().copied() == group;
    let members: Vec<&Function> = snap.pci.functions.iter().filter(in_group).filter(other).collect();
    if !members.is_empty() {
        return finding.variant("members").value("others", list(members.into_iter().map(named)));
    }
    let Some(address) = address else { return finding };
    // Functions of one card mostly share a group: said only of those that a driver of the host has.
    let driven = |f: &&Function| matches!(&f.driver, Fact::Known(_)) && stands_aside(f) == Some(false);
    let siblings: Vec<&Function> =
        snap.pci.slot(&address).filter(|f| f.address != address && f.group.is_unknown()).filter(driven).collect();
    if siblings.is_empty() {
        return finding;
    }
    finding.variant("siblings").value("others", list(siblings.into_iter().map(named)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Severity, testing as t};

    #[test]
    fn subjects() {
        for (values, line, subject) in [
            (vec![("bdf", "01:00.0")], "", "0000:01:00.0"),
            (vec![("device", "node1-000901000")], "", "0009:01:00.0"),
            (vec![("group", "7")], "", "group 7"),
            (vec![("group", "7")], "-device vfio-pci,host=0a:00.1,id=x: vfio", "0000:0a:00.1"),
            (vec![], "-device {\"driver\":\"vfio-pci\",\"host\":\"0000:35:00.0\",\"id\":1}: failed", "0000:35:00.0"),
            (vec![], "echo 8 > /sys/bus/pci/devices/0000:00:02.0/sriov_numvfs: write error", "0000:00:02.0"),
            (vec![], "echo 1 > /sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/rom", "0000:01:00.0"),
            (vec![], "host=localhost", "host"),
            (vec![], "vfio-pci,host=", "host"),
        ] {
            assert_eq!(super::subject(&values, line).to_string(), subject, "{line}");
        }
    }

    #[test]
    fn a_command_and_the_error_on_the_next_line() {
        let mut command = String::new();
        let mut next = |line: &'static str| with_command(&mut command, Cow::Borrowed(line)).into_owned();
        assert_eq!(next("# echo 8 > /sys/x/sriov_numvfs"), "# echo 8 > /sys/x/sriov_numvfs");
        assert_eq!(
            next("-bash: echo: write error: Bad"),
            "# echo 8 > /sys/x/sriov_numvfs: -bash: echo: write error: Bad"
        );
        assert_eq!(next("-bash: echo: write error: Bad"), "-bash: echo: write error: Bad");
        next("# echo 8 > /sys/x/sriov_numvfs");
        next("something else");
        assert_eq!(next("-bash: echo: write error: Bad"), "-bash: echo: write error: Bad");
    }

    #[test]
    fn members_of_the_group() {
        let finding = |subject: Subject| Finding::new("group-not-viable", Severity::Error, subject).variant("logged");
        let mut snap = t::healthy();
        t::change(&mut snap, "0000:00:1f.3", |f| f.group = Fact::Known(14));
        let gpu = Subject::Function(t::at(t::GPU));
        for subject in [gpu.clone(), Subject::Group(14)] {
            let found = with_members(finding(subject), &snap);
            assert_eq!(found.variant, "members");
            assert!(found.values[0].1.contains("0000:00:1f.3"), "{found:?}");
        }
        for function in &mut snap.pci.functions {
            function.group = Fact::default();
        }
        let found = with_members(finding(gpu.clone()), &snap);
        assert_eq!((found.variant, found.values[0].1.contains("0000:01:00.1")), ("siblings", true));
        assert_eq!(with_members(finding(gpu), &t::unknown()).variant, "logged");
    }
}
