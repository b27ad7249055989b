//! `/proc/cpuinfo` to the few values that matter here. Pure.

/// What `/proc/cpuinfo` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInfo {
    /// x86 `vendor_id`, e.g. `GenuineIntel`.
    pub vendor_id: Option<String>,
    /// x86 `model name`; POWER `cpu`; s390 and others: none.
    pub model: Option<String>,
    /// ARM `CPU implementer`, e.g. `0x41`.
    pub implementer: Option<String>,
    /// x86 `flags` of the first processor (`arch/x86/kernel/cpu/proc.c` `show_cpuinfo`); none on other architectures.
    pub flags: Option<Vec<String>>,
    /// How many `processor` lines.
    pub processors: u32,
}

impl CpuInfo {
    /// Is a flag there? None where the architecture prints no x86 flags.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.flags.as_ref().map(|flags| flags.iter().any(|flag| flag == name))
    }
}

/// Parses `/proc/cpuinfo`.
pub fn parse(text: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let slot = match key.trim() {
            // s390 prints `processor 0: version = …`: its own processors, but not this key.
            "processor" => {
                info.processors += 1;
                continue;
            }
            "flags" => {
                if info.flags.is_none() {
                    info.flags = Some(value.split_ascii_whitespace().map(str::to_owned).collect());
                }
                continue;
            }
            "vendor_id" => &mut info.vendor_id,
            "model name" | "cpu" => &mut info.model,
            "CPU implementer" => &mut info.implementer,
            _ => continue,
        };
        if slot.is_none() && !value.is_empty() {
            *slot = Some(value.to_owned());
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn x86() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i7-9700K CPU @ 3.60GHz\n\
                    flags\t\t: fpu vme vmx ept\n\nprocessor\t: 1\nvendor_id\t: GenuineIntel\nflags\t\t: fpu\n";
        let info = parse(text);
        assert_eq!(info.vendor_id.as_deref(), Some("GenuineIntel"));
        assert_eq!(info.processors, 2);
        assert_eq!(info.flag("vmx"), Some(true));
        assert_eq!(info.flag("hypervisor"), Some(false));
    }

    #[test]
    fn arm_has_no_flags() {
        let info = parse("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n");
        assert_eq!(info.implementer.as_deref(), Some("0x41"));
        assert_eq!(info.flag("vmx"), None);
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in ["", "\0\0\0", ":::\n: : :\n", "processor"] {
            assert_eq!(parse(text).processors, 0, "{text:?}");
        }
    }
}
