use super::*;
use crate::checks::testing as t;
use crate::facts::pci::Ids;
use crate::host::Fact;
use crate::parse::windows_instance;

const GPU: &str = "0000:01:00.0";
const SOUND: &str = "0000:01:00.1";

fn made(system: &System, addresses: &[&str]) -> Vec<GuestFile> {
    let mut snap = t::healthy();
    for (address, device, sub) in [(GPU, 0x2684, 0x889d), (SOUND, 0x22ba, 0x889e)] {
        t::change(&mut snap, address, |f| {
            f.ids = Fact::Known(Ids { vendor: 0x10de, device });
            f.subsystem = Fact::Known(Ids { vendor: 0x1043, device: sub });
            f.revision = Fact::Known(0xa1);
        });
    }
    let functions: Vec<&Function> = addresses.iter().map(|a| snap.pci.get(&t::at(a)).unwrap()).collect();
    let hardware: Vec<Hardware> = functions.iter().map(|f| Hardware::of(f).unwrap()).collect();
    files(system, &functions, &hardware)
}

fn text<'a>(files: &'a [GuestFile], name: &str) -> &'a str {
    std::str::from_utf8(&files.iter().find(|file| file.name == name).unwrap().bytes).unwrap()
}

/// The keys of a .reg file with their values, as regedit reads it.
fn registry(bytes: &[u8]) -> Vec<(String, String)> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).unwrap();
    let text = text.strip_prefix("\u{feff}Windows Registry Editor Version 5.00\r\n\r\n").unwrap();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    let mut keys = Vec::new();
    let mut key = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(path) => key = Some(path.to_owned()),
            None => keys.push((key.clone().expect("a key before its value"), line.to_owned())),
        }
    }
    keys
}

#[test]
fn registry_files() {
    let instances: Vec<WindowsInstance> = [
        r"PCI\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\4&1F2E3D4C&0&0008",
        r"PCI\VEN_10DE&DEV_22BA&SUBSYS_889E1043&REV_A1\4&1F2E3D4C&0&0108",
    ]
    .map(|path| windows_instance::parse(path).unwrap())
    .into();
    let files = made(&System::Windows(instances), &[GPU, SOUND]);
    let enum_ = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Enum\PCI";
    let below = r"Device Parameters\Interrupt Management\MessageSignaledInterruptProperties";
    let wanted: Vec<(String, String)> = [
        r"VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\4&1F2E3D4C&0&0008",
        r"VEN_10DE&DEV_22BA&SUBSYS_889E1043&REV_A1\4&1F2E3D4C&0&0108",
    ]
    .map(|path| (format!(r"{enum_}\{path}\{below}"), "\"MSISupported\"=dword:00000001".to_owned()))
    .into();
    let file = files.iter().find(|file| file.name == "msi.reg").unwrap();
    assert_eq!(registry(&file.bytes), wanted);
    assert!(text(&files, "README.txt").contains("msi.reg does the same"));
    let without = made(&System::Windows(Vec::new()), &[GPU, SOUND]);
    assert!(without.iter().all(|file| file.name != "msi.reg"));
    assert!(text(&without, "README.txt").contains("There is no msi.reg here"));
}

/// As much as can be said of PowerShell without one: ends of lines, byte order mark, brackets and quotes that pair, and no value that ends
/// a string.
#[test]
fn the_script_for_windows() {
    let files = made(&System::Windows(Vec::new()), &[GPU, SOUND, GPU]);
    let script = text(&files, "msi.ps1").strip_prefix('\u{feff}').unwrap();
    assert!(script.is_ascii() && script.lines().count() == script.matches("\r\n").count(), "{script}");
    assert!(!script.replace("\r\n", "").contains(['\r', '\n']));
    let functions = script.split("$Functions = @(\r\n").nth(1).unwrap().split("\r\n)").next().unwrap();
    assert_eq!(
        functions,
        "    'VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1',\r\n    'VEN_10DE&DEV_22BA&SUBSYS_889E1043&REV_A1'"
    );
    let mut open = Vec::new();
    for line in script.lines().filter(|line| !line.starts_with('#')) {
        let mut quote = None;
        for c in line.split(" # ").next().unwrap().chars() {
            match (quote, c) {
                (Some(end), c) if c == end => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, '(' | '[' | '{') => open.push(c),
                (None, ')' | ']' | '}') => {
                    assert!(matches!((open.pop(), c), (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')), "{line}")
                }
                _ => {}
            }
        }
        assert_eq!(quote, None, "{line}");
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!script.contains("MessageNumberLimit") && !script.contains("{{"), "{script}");
}

#[test]
fn pages_say_what_applies() {
    for system in [System::Windows(Vec::new()), System::Linux] {
        let files = made(&system, &[GPU, SOUND]);
        let page = text(&files, "README.txt");
        for line in page.trim_start_matches('\u{feff}').lines() {
            let free = line.contains('[') || line.contains("PCI\\");
            assert!(line.is_ascii() && (free || line.len() <= 80) && line.trim_end() == line, "{line:?}");
        }
        assert!(!page.contains("{{") && !page.contains("%%") && !page.contains("NVME DRIVE"), "{page}");
        assert!(page.contains("HDMI AND DISPLAYPORT SOUND") && page.contains("NVIDIA"), "{page}");
        let alone = made(&system, &[SOUND]);
        let page = text(&alone, "README.txt");
        for gpu in ["NVIDIA'", "CODE 43", "DDU", "nomodeset", "HDMI AND"] {
            assert!(!page.contains(gpu), "{gpu}: {page}");
        }
    }
}
