use super::nova::rules;
use super::{Asked, libvirt, proxmox};
use crate::facts::pci::{Function, Ids, Seen};
use crate::host::Fact;
use crate::parse::address::Address;

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn function(address: &str, vendor: u16, device: u16) -> Function {
    Function { ids: Fact::Known(Ids { vendor, device }), ..Function::unknown(at(address), Seen::Sysfs) }
}

#[test]
fn proxmox_devices() {
    let text = "name: a\nhostpci0: 0000:01:00.0;01:00.1,pcie=1,romfile=x.rom\nhostpci1: mapping=g\nhostpci2: pcie=1\n\
                hostpcix: 02:00\n[s]\nhostpci3: 03:00\n";
    let devices = proxmox::devices("qm config", text);
    let asked: Vec<_> = devices.iter().map(|d| d.asked.clone()).collect();
    assert_eq!(
        asked,
        [
            Asked::Function(at("01:00.0")),
            Asked::Function(at("01:00.1")),
            Asked::Mapping("g".into()),
            Asked::Malformed("pcie=1".into())
        ]
    );
    assert_eq!((devices[1].evidence.line, devices[1].rom_file.as_deref()), (Some(2), Some("x.rom")));
}

#[test]
fn libvirt_domain() {
    let text = "<domain><name>n</name><devices><hostdev type='pci'><source>\
                <address domain='0' bus='1' slot='0' function='0'/></source></hostdev></devices></domain>";
    let (name, devices) = libvirt::domain("virsh dumpxml", text).unwrap();
    assert_eq!((name.as_str(), &devices[0].asked), ("n", &Asked::Function(at("01:00.0"))));
    assert!(libvirt::domain("x", "<a").is_err());
}

#[test]
fn nova_rules_fit_functions() {
    let gpu = function("0000:41:00.0", 0x10de, 0x20b5);
    for (value, fits) in [
        (r#"{"vendor_id":"10de","product_id":"20B5"}"#, Some(true)),
        (r#"{"vendor_id":"10de","product_id":"20b6"}"#, Some(false)),
        (r#"{"address":"0000:41:00.0"}"#, Some(true)),
        (r#"{"address":"*:41:*"}"#, Some(true)),
        (r#"{"address":"0000:42:00.*","vendor_id":"10de"}"#, Some(false)),
        (r#"{"address":{"bus":"4[0-9]"}}"#, None),
        (r#"[{"vendor_id":"10de"}]"#, Some(true)),
        ("{}", Some(false)),
        ("nonsense", Some(false)),
    ] {
        let found = rules("/etc/nova/nova.conf", &format!("[pci]\ndevice_spec = {value}\n[x]\ndevice_spec = {{}}\n"));
        assert_eq!(found.len(), 1, "{value}");
        assert_eq!(found[0].fits(&gpu), fits, "{value}");
        assert_eq!(found[0].evidence.line, Some(2));
    }
}
