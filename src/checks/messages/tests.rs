use super::*;
use crate::checks::pages;
use crate::checks::testing::unknown;
use crate::goal::Goal;
use crate::host::{Fact, Kind};

fn paste(text: &str) -> Vec<Finding> {
    let mut snap = unknown();
    snap.log = Fact::Known(TextFile { path: "paste".into(), text: text.into() });
    run(&Ctx::new(&snap, &Goal::default()))
}

fn ids(findings: &[Finding]) -> Vec<(&str, String, usize)> {
    findings.iter().map(|f| (f.id, f.subject.to_string(), f.evidence.len())).collect()
}

#[test]
fn one_finding_per_device_and_fault() {
    let text = "vfio 0000:01:00.0: group 15 is not viable\r\n\
        Please ensure all devices within the iommu_group are bound to their vfio bus driver.\n\
        internal error: qemu unexpectedly closed the monitor\n";
    let findings = paste(text);
    assert_eq!(ids(&findings), [("group-not-viable", "0000:01:00.0".into(), 2)]);
    assert_eq!(findings[0].evidence[1].line, Some(2));
}

#[test]
fn remapping_in_xapic_mode_is_no_fault() {
    let on = "x2apic: IRQ remapping doesn't support X2APIC mode\nDMAR-IR: Enabled IRQ remapping in xapic mode\n";
    assert!(paste(on).iter().all(|f| f.id == "message-benign"));
    let off = "x2apic: IRQ remapping doesn't support X2APIC mode\nx2apic disabled\n";
    assert_eq!(ids(&paste(off))[0].0, "interrupt-remapping-off");
}

#[test]
fn an_assignment_that_worked_later_is_no_fault() {
    let text = "pci 0000:02:00.0: BAR 1 [mem size 0x400000000 64bit pref]: can't assign; no space\n";
    assert_eq!(ids(&paste(text)), [("bridge-window-too-small", "0000:02:00.0".into(), 1)]);
    let fixed = format!("{text}pci 0000:02:00.0: BAR 1 [mem 0x8000000000-0x83ffffffff 64bit pref]: assigned\n");
    assert_eq!(ids(&paste(&fixed)), []);
    let other = format!("{text}pci 0000:02:00.0: BAR 3 [mem 0x8000000000-0x83ffffffff 64bit pref]: assigned\n");
    assert_eq!(ids(&paste(&other)).len(), 1);
}

#[test]
fn benign_messages_are_said_to_be_benign() {
    let findings = paste("vfio-pci 0000:0b:00.0: vfio_ecap_init: hiding ecap 0x19@0x270\n".repeat(9).as_str());
    assert_eq!(ids(&findings), [("message-benign", "host".into(), 3)]);
    assert_eq!(findings[0].variant, "hidden-capability");
    assert_eq!(findings[0].values, [("count", "9".to_owned())]);
}

#[test]
fn what_is_not_known_is_said_to_be_unknown() {
    let findings = paste("vfio-pci 0000:01:00.0: the flux capacitor failed\nhello\n");
    assert_eq!(ids(&findings), [("message-unknown", "host".into(), 1)]);
    assert_eq!(ids(&paste("hello world\n")), [("nothing-recognised", "host".into(), 0)]);
    assert_eq!(ids(&paste("")), [("nothing-recognised", "host".into(), 0)]);
}

#[test]
fn on_a_host_facts_win_over_old_lines() {
    let mut snap = crate::checks::testing::healthy();
    snap.origin = Origin::Host(Kind::Live, "this host".into());
    snap.log = Fact::Known(TextFile {
        path: "dmesg".into(),
        text: "DMAR-IR: Failed to enable irq remapping. You are vulnerable to irq-injection attacks.\n\
            DMAR: IOMMU enabled\nvfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up\n"
            .into(),
    });
    let findings = run(&Ctx::new(&snap, &Goal::default()));
    assert_eq!(ids(&findings), [("reset-failed", "0000:01:00.0".into(), 1)]);
}

#[test]
fn every_row_has_its_words() {
    for message in &table().unwrap().messages {
        let id = message.row.finding.as_deref().unwrap_or("message-benign");
        assert!(IDS.contains(&id), "{id} is not declared");
        let finding = Finding::new(IDS.iter().find(|known| **known == id).unwrap(), message.severity, Subject::Host)
            .variant(message.row.variant.as_str());
        let mut finding = finding.value("count", 1);
        for name in message.template_names() {
            finding = finding.value(name, "VALUE");
        }
        let text = format!("{} {}", pages::message(&finding), pages::remedy(&finding));
        assert!(pages::message(&finding).len() > 10, "{id} ({}) has no sentence", message.row.variant);
        assert!(!text.contains('{'), "{id} ({}): {text}", message.row.variant);
        assert!(matches!(pages::fix_kind(&finding), "plan" | "firmware" | "manual" | "none"), "{id}");
    }
}

#[test]
fn the_vm_whose_guest_it_was() {
    let text = "kvm [2345]: vcpu0, guest rIP: 0xfffff8027b4a4a5c unhandled rdmsr: 0x140\n\
        kvm_intel: kvm [2346]: vcpu0, guest rIP: 0x1 Unhandled WRMSR(0x1a4) = 0x0\n";
    let mut snap = unknown();
    snap.log = Fact::Known(TextFile { path: "dmesg".into(), text: text.into() });
    snap.hypervisor.processes.insert(2345, "105".into());
    let findings = run(&Ctx::new(&snap, &Goal::default()));
    // The other's process has ended.
    assert_eq!(ids(&findings), [("vm-msr-unhandled", "vm 105".into(), 1), ("vm-msr-unhandled", "host".into(), 1)]);
}
