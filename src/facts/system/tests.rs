use super::{Lockdown, guest, lockdown, memory, package_version};
use crate::host::Fact;

#[test]
fn guest_rows_parse_and_have_sources() {
    assert!(guest::rows().len() >= 15, "data/guests.toml does not parse");
    let table: toml::Table = toml::from_str(include_str!("../../../data/guests.toml")).unwrap();
    let keys = ["name", "vendor", "product", "bios", "not_product_suffix", "source"];
    for row in table["guest"].as_array().unwrap() {
        let row = row.as_table().unwrap();
        assert!(row.keys().all(|key| keys.contains(&key.as_str())), "{row:?}");
        let source = row["source"].as_str().unwrap();
        assert!(source.starts_with("https://") || source.starts_with("linux "), "{row:?}");
    }
}

#[test]
fn lockdown_states() {
    for (text, state) in [
        ("[none] integrity confidentiality\n", Fact::Known(Lockdown::None)),
        ("none [integrity] confidentiality\n", Fact::Known(Lockdown::Integrity)),
        ("none integrity [confidentiality]\n", Fact::Known(Lockdown::Confidentiality)),
    ] {
        assert_eq!(lockdown(text), state);
    }
    assert!(lockdown("").is_unknown());
    assert!(lockdown("[").is_unknown());
}

#[test]
fn memory_in_bytes() {
    assert_eq!(memory("MemTotal:       65803308 kB\nMemFree: 1 kB\n"), Fact::Known(65803308 * 1024));
    assert!(memory("MemTotal: 99999999999999999999 kB").is_unknown());
}

#[test]
fn dpkg_status() {
    let status = "Package: pve-manager-x\nStatus: install ok installed\nVersion: 1\n\nPackage: pve-manager\n\
                  Status: install ok installed\nArchitecture: all\nVersion: 8.2.4\n\nPackage: gone\n\
                  Status: deinstall ok config-files\nVersion: 3\n";
    assert_eq!(package_version(status, "pve-manager").as_deref(), Some("8.2.4"));
    assert_eq!(package_version(status, "gone"), None);
    assert_eq!(package_version(status, "absent"), None);
}
