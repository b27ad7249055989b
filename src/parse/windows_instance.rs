//! A device's instance path in Windows: `PCI\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\4&1F2E3D4C&0&0008`.
//!
//! Device Manager shows it under Details, "Device instance path"; the last part is the guest's own
//! (<https://learn.microsoft.com/windows-hardware/drivers/install/instance-ids>). No distinction of case.

/// The longest device instance id, in characters (`MAX_DEVICE_ID_LEN`, Windows SDK cfgmgr32.h).
const LONGEST: usize = 200;

/// One device in one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowsInstance {
    /// The device id without the bus, in capitals.
    pub id: String,
    /// What the guest calls this one.
    pub instance: String,
}

/// Parses a path of a PCI device; none for anything else.
pub fn parse(text: &str) -> Option<WindowsInstance> {
    let mut parts = text.trim().split('\\');
    let (bus, id, instance) = (parts.next()?, parts.next()?, parts.next()?);
    // Fewer than Windows allows, and all that its own PCI driver uses.
    let allowed =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "&_.-{}#".contains(c));
    let is_path = parts.next().is_none() && bus.eq_ignore_ascii_case("PCI") && text.len() <= LONGEST;
    (is_path && allowed(id) && allowed(instance))
        .then(|| WindowsInstance { id: id.to_ascii_uppercase(), instance: instance.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_others() {
        let path = parse(r"pci\ven_10de&DEV_2684&SUBSYS_889D1043&REV_A1\4&1F2E3D4C&0&0008 ").unwrap();
        assert_eq!(path.id, "VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1");
        assert_eq!(path.instance, "4&1F2E3D4C&0&0008");
        let long = format!(r"PCI\VEN_10DE\{}", "0".repeat(LONGEST));
        for wrong in [
            "",
            r"PCI\VEN_10DE",
            r"USB\VEN_10DE\1",
            r"PCI\VEN_10DE\",
            r"PCI\VEN_10DE\1\2",
            r"PCI\A]\1",
            "PCI\\A\\1\n[x",
            &long,
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
