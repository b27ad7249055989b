//! The short answer: can this host, and this device, be passed through?
//!
//! Goes in: a snapshot, a goal and what the checks found. Comes out: one word, and what it hangs on.

use super::device::{companions, is_endpoint, stands_aside};
use super::{Finding, Severity, Subject, pages};
use crate::facts::pci::Function;
use crate::facts::usage::UseKind;
use crate::facts::{Origin, Snapshot};
use crate::goal::Goal;
use crate::host::{Fact, Why};
use crate::parse::address::Address;

/// The answer for the whole host, or for the devices of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is in the way; with a goal: its devices are on vfio-pci.
    Ready,
    /// What is in the way can be changed in configuration files.
    Fixable,
    /// Something is in the way that needs the firmware, other hardware or a decision.
    Blocked,
    /// Too little is known.
    Unknown,
}

impl Verdict {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ready => "ready",
            Verdict::Fixable => "fixable",
            Verdict::Blocked => "blocked",
            Verdict::Unknown => "unknown",
        }
    }

    /// The word in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Verdict::Ready => "Nothing stands in the way.",
            Verdict::Fixable => "What stands in the way can be changed in this host's configuration.",
            Verdict::Blocked => {
                "Something stands in the way that configuration alone does not remove: firmware, hardware, or a decision of yours."
            }
            Verdict::Unknown => "Too little could be seen to say.",
        }
    }
}

/// What is not known of a device and would be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Whether an IOMMU is running.
    Iommu(Why),
    /// The IOMMU group.
    Group(Why),
    /// The driver.
    Driver(Why),
}

/// The answer for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceVerdict {
    /// It is on vfio-pci, and its group is viable.
    Ready,
    /// It can go to vfio-pci now, without a reboot.
    HandOver,
    /// A change of configuration and one reboot away; with the id of what has to change, where a finding says so.
    Reboot(Option<&'static str>),
    /// By the finding with this id.
    Blocked(&'static str),
    /// Something is not known.
    Unknown(Missing),
}

impl DeviceVerdict {
    /// The word in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            DeviceVerdict::Ready => "ready",
            DeviceVerdict::HandOver => "hand-over",
            DeviceVerdict::Reboot(_) => "reboot",
            DeviceVerdict::Blocked(_) => "blocked",
            DeviceVerdict::Unknown(_) => "unknown",
        }
    }

    /// The finding, or what is not known; `None` if there is no such thing.
    pub fn because(&self) -> Option<String> {
        match self {
            DeviceVerdict::Ready | DeviceVerdict::HandOver | DeviceVerdict::Reboot(None) => None,
            DeviceVerdict::Reboot(Some(id)) | DeviceVerdict::Blocked(id) => Some((*id).to_owned()),
            DeviceVerdict::Unknown(missing) => Some(match missing {
                Missing::Iommu(why) => format!("the state of the IOMMU is {why}"),
                Missing::Group(why) => format!("its IOMMU group is {why}"),
                Missing::Driver(why) => format!("its driver is {why}"),
            }),
        }
    }

    /// One short line.
    pub fn text(&self) -> String {
        let because = self.because();
        match (self, because) {
            (DeviceVerdict::Ready, _) => "ready: on vfio-pci, and its group is viable".to_owned(),
            (DeviceVerdict::HandOver, _) => "can be handed over now".to_owned(),
            (DeviceVerdict::Reboot(_), Some(id)) => format!("one reboot away: {id}"),
            (DeviceVerdict::Reboot(_), None) => "one reboot away: in use by this host".to_owned(),
            (DeviceVerdict::Blocked(_), because) => format!("blocked by {}", because.unwrap_or_default()),
            (DeviceVerdict::Unknown(_), because) => format!("unknown: {}", because.unwrap_or_default()),
        }
    }
}

/// Judges the host, or the devices of the goal, by what the checks found.
pub fn verdict(snap: &Snapshot, goal: &Goal, findings: &[Finding]) -> Verdict {
    let concerned = |finding: &&Finding| {
        goal.devices.is_empty() || goal.devices.iter().any(|device| concerns(snap, finding, device))
    };
    let mut worst = None;
    for finding in findings.iter().filter(|f| f.severity == Severity::Error).filter(concerned) {
        let fixable = pages::fix_kind(finding) == "plan";
        worst = Some(worst.unwrap_or(true) && fixable);
    }
    match worst {
        Some(true) => return Verdict::Fixable,
        Some(false) => return Verdict::Blocked,
        None => {}
    }
    // A paste shows a part; that nothing is wrong in it does not make a host ready.
    if goal.devices.is_empty() && matches!(snap.origin, Origin::Paste(_)) {
        return Verdict::Unknown;
    }
    match snap.iommu.running() {
        Fact::Known(true) => {}
        // Off, and no finding says why: the reason could not be seen.
        _ => return Verdict::Unknown,
    }
    let devices: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    if devices.iter().any(|f| f.driver.is_unknown() || f.group.is_unknown()) {
        return Verdict::Unknown;
    }
    if devices.iter().all(|f| f.on_vfio()) { Verdict::Ready } else { Verdict::Fixable }
}

/// Faults of a mere candidate that become errors as soon as somebody asks for it.
const IN_THE_WAY: &[&str] =
    &["no-iommu-group", "group-shared", "rmrr-locked", "host-critical", "device-denylisted", "iommu-off-for-igpu"];

/// Judges one device: the functions that go to a VM together with the one at this address.
pub fn device_verdict(snap: &Snapshot, findings: &[Finding], address: &Address) -> DeviceVerdict {
    let Some(function) = snap.pci.get(address) else {
        return DeviceVerdict::Unknown(Missing::Driver(Why::NotRecorded));
    };
    let mut parts = vec![function];
    if function.is_display() {
        parts.extend(companions(&snap.pci, function));
    }
    let about: Vec<&Finding> = findings.iter().filter(|finding| concerns(snap, finding, address)).collect();
    let in_the_way = |finding: &&&Finding| finding.severity == Severity::Error || IN_THE_WAY.contains(&finding.id);
    if let Some(finding) = about.iter().filter(in_the_way).find(|f| pages::fix_kind(f) != "plan") {
        return DeviceVerdict::Blocked(finding.id);
    }
    let used = |kinds: &[UseKind]| {
        parts.iter().flat_map(|f| snap.usage.of(&f.address)).any(|found| kinds.contains(&found.kind))
    };
    if used(&[UseKind::RootStorage, UseKind::DefaultRoute, UseKind::SshSession]) {
        return DeviceVerdict::Blocked("host-critical");
    }
    if let Some(why) = snap.iommu.running().why() {
        return DeviceVerdict::Unknown(Missing::Iommu(why.clone()));
    }
    if let Some(finding) = about.iter().find(in_the_way) {
        return DeviceVerdict::Reboot(Some(finding.id));
    }
    if snap.iommu.running() != Fact::Known(true) {
        return DeviceVerdict::Unknown(Missing::Iommu(Why::NotRecorded));
    }
    if function.group.is_absent() {
        return DeviceVerdict::Blocked("no-iommu-group");
    }
    if let Some(why) = function.group.why() {
        return DeviceVerdict::Unknown(Missing::Group(why.clone()));
    }
    if let Some(why) = function.driver.why() {
        return DeviceVerdict::Unknown(Missing::Driver(why.clone()));
    }
    let viable = function.group.known().is_none_or(|group| {
        snap.pci.group(*group).filter(|f| is_endpoint(f) == Some(true)).all(|f| stands_aside(f) != Some(false))
    });
    if function.on_vfio() && viable {
        return DeviceVerdict::Ready;
    }
    let taken = used(&[
        UseKind::Storage,
        UseKind::Network,
        UseKind::Display,
        UseKind::Process,
        UseKind::Container,
        UseKind::VirtualFunctions,
        UseKind::Mdev,
        UseKind::OnlyConsole,
    ]);
    // Whether processes have it open is seen by root only; the boot display is in use as far as anybody knows.
    let shows = function.boot_display == Fact::Known(true);
    if taken || shows { DeviceVerdict::Reboot(None) } else { DeviceVerdict::HandOver }
}

/// Is a finding about the host, or about this device: its function, its companions, or its group?
fn concerns(snap: &Snapshot, finding: &Finding, device: &Address) -> bool {
    let Some(function) = snap.pci.get(device) else { return finding.subject == Subject::Host };
    match &finding.subject {
        Subject::Host => true,
        Subject::Function(address) => {
            address == device
                || function.is_display() && companions(&snap.pci, function).iter().any(|f| f.address == *address)
        }
        Subject::Group(group) => function.group == Fact::Known(*group),
        Subject::Line(..) | Subject::File(_) | Subject::Vm(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};

    fn of(snap: &Snapshot, address: &str) -> DeviceVerdict {
        device_verdict(snap, &t::check(snap), &t::at(address))
    }

    #[test]
    fn a_device_is_ready_or_says_what_it_waits_for() {
        assert_eq!(of(&t::passthrough(), GPU), DeviceVerdict::Ready);
        let healthy = t::healthy();
        assert_eq!(of(&healthy, GPU), DeviceVerdict::HandOver);
        assert_eq!(of(&healthy, t::IGPU), DeviceVerdict::Reboot(None));
        assert_eq!(of(&healthy, t::DISK), DeviceVerdict::Blocked("host-critical"));
        let mut off = t::healthy();
        off.iommu.groups.clear();
        off.iommu.units = Fact::Known(Vec::new());
        assert_eq!(of(&off, GPU), DeviceVerdict::Reboot(Some("iommu-off-in-kernel")));
        let mut unseen = t::healthy();
        unseen.iommu.groups.clear();
        unseen.iommu.units = Fact::Unknown(Why::NotRecorded);
        assert_eq!(of(&unseen, GPU).word(), "unknown");
        let mut alone = t::healthy();
        t::change(&mut alone, GPU, |f| f.group = Fact::Absent);
        assert_eq!(of(&alone, GPU), DeviceVerdict::Blocked("no-iommu-group"));
    }

    #[test]
    fn a_host_is_judged_by_its_worst_error() {
        let judge = |snap: &Snapshot, devices: &[&str]| {
            let goal = Goal { devices: devices.iter().map(|a| t::at(a)).collect(), ..Goal::default() };
            verdict(snap, &goal, &super::super::run(snap, &goal))
        };
        assert_eq!(judge(&t::healthy(), &[]), Verdict::Ready);
        assert_eq!(judge(&t::passthrough(), &[GPU]), Verdict::Ready);
        assert_eq!(judge(&t::healthy(), &[GPU]), Verdict::Fixable);
        assert_eq!(judge(&t::healthy(), &[t::DISK]), Verdict::Blocked);
        assert_eq!(judge(&t::unknown(), &[]), Verdict::Unknown);
        let mut paste = t::healthy();
        paste.origin = Origin::Paste("paste".into());
        assert_eq!(judge(&paste, &[]), Verdict::Unknown, "a paste shows a part");
    }
}
