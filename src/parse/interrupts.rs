//! Is interrupt remapping on? From `/proc/interrupts`, or from kernel messages.
//!
//! Goes in: the text. Comes out: yes or no with the line that says so; `None` if no line does.

/// A yes or no, the line that says it counted from 1, and that line (counts of interrupts left out).
pub type Answer = (bool, u32, String);

/// From the names of interrupt controllers in `/proc/interrupts`, which every user can read.
///
/// On x86 a remapped interrupt's chip is called `IR-IO-APIC`, `IR-PCI-MSI…` (`drivers/iommu/intel/irq_remapping.c`,
/// `drivers/iommu/amd/iommu.c`, `arch/x86/kernel/apic/{io_apic,msi}.c`); an IOMMU's own interrupt never is. On ARM,
/// messages that go through an ITS are isolated per device (`drivers/irqchip/irq-gic-v3-its-*.c`); other
/// controllers tell nothing.
pub fn remapping_in_interrupts(text: &str) -> Option<Answer> {
    let mut plain = None;
    for (number, line) in (1u32..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(irq) = words.next().filter(|irq| irq.trim_end_matches(':').bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let names: Vec<&str> = words.skip_while(|word| word.bytes().all(|b| b.is_ascii_digit())).collect();
        // Only the first name is the controller's: the others are chosen by devices and drivers.
        let Some(chip) = names.first() else { continue };
        let shown = || format!("{irq} … {}", names.join(" "));
        if chip.starts_with("IR-") || *chip == "ITS-MSI" || chip.starts_with("ITS-PCI-MSI") {
            return Some((true, number, shown()));
        }
        if plain.is_none() && (chip.starts_with("IO-APIC") || chip.starts_with("PCI-MSI")) {
            plain = Some((false, number, shown()));
        }
    }
    plain
}

/// From kernel messages (`drivers/iommu/intel/irq_remapping.c`, `drivers/iommu/amd/init.c`). The last one counts: a
/// driver can announce it and take it back.
pub fn remapping_in_log(log: &str) -> Option<Answer> {
    const ON: [&str; 2] = ["DMAR-IR: Enabled IRQ remapping in ", "AMD-Vi: Interrupt remapping enabled"];
    const OFF: [&str; 4] = [
        "Failed to enable irq remapping",
        "AMD-Vi: Disabling interrupt remapping",
        "interrupt remapping is being disabled",
        "DMAR-IR: Not enabling interrupt remapping",
    ];
    (1u32..)
        .zip(log.lines())
        .filter_map(|(number, line)| {
            let on = ON.iter().any(|message| line.contains(message));
            let off = OFF.iter().any(|message| line.contains(message));
            (on || off).then(|| (on, number, line.trim().to_owned()))
        })
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_tell() {
        for (text, expected) in [
            (
                "            CPU0       CPU1\n   0:         42          0  IR-IO-APIC    2-edge      timer\n",
                Some((true, 2)),
            ),
            (
                " 25:  0  0  PCI-MSI-0000:00:00.2  0-edge  AMD-Vi\n 30: 1 0 IR-PCI-MSI-0000:01:00.0 0-edge nvme\n",
                Some((true, 2)),
            ),
            (
                "  0:  18  IO-APIC   2-edge      timer\n 28:  0 PCI-MSIX-0000:00:01.0   0-edge      virtio0\n",
                Some((false, 1)),
            ),
            (" 43:  5  0  ITS-MSI 134742016 Edge      nvme0q0\n", Some((true, 1))),
            (" 43:  5  0  ITS-PCI-MSIX-0005:01:00.0   0 Edge      nvme0q0\n", Some((true, 1))),
            (" 11:  5  0  GICv3  30 Level     arch_timer\n", None),
            (" 16:  5  0  xen-pirq    -ioapic-level  IR-lamp\n", None),
            ("NMI:          0          0   Non-maskable interrupts\nERR: 0\n", None),
            ("", None),
        ] {
            let found = remapping_in_interrupts(text).map(|(on, line, _)| (on, line));
            assert_eq!(found, expected, "{text}");
        }
        let (_, _, text) = remapping_in_interrupts(" 28:  7 9 PCI-MSI  0-edge   eth0\n").unwrap();
        assert_eq!(text, "28: … PCI-MSI 0-edge eth0");
    }

    #[test]
    fn messages_tell() {
        for (log, expected) in [
            ("[    0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n", Some((true, 1))),
            ("[    0.1] x\n[    0.2] AMD-Vi: Interrupt remapping enabled\n", Some((true, 2))),
            (
                "[    0.1] Failed to enable irq remapping. You are vulnerable to irq-injection attacks.\n",
                Some((false, 1)),
            ),
            ("AMD-Vi: Interrupt remapping enabled\nAMD-Vi: Disabling interrupt remapping\n", Some((false, 2))),
            ("nothing of it\n", None),
        ] {
            assert_eq!(remapping_in_log(log).map(|(on, line, _)| (on, line)), expected, "{log}");
        }
    }
}
