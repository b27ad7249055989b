//! Config space bytes of a constructed function (PCI Local Bus 3.0 chapter 6, PCIe Base chapter 7).

use super::sysfs::Function;

/// 4096 bytes for PCIe functions, 256 for conventional ones.
pub fn bytes(function: &Function, multifunction: bool) -> Vec<u8> {
    let pcie = function.port != "pci";
    let mut space = vec![0u8; if pcie { 4096 } else { 256 }];
    let (vendor, device) = function.ids();
    // Virtual functions have no ids of their own there (PCIe Base 9.3.4.1.1).
    let virtual_function = function.physfn.is_some();
    put16(&mut space, 0x00, if virtual_function { 0xffff } else { vendor });
    put16(&mut space, 0x02, if virtual_function { 0xffff } else { device });
    put16(&mut space, 0x04, 0x0406); // memory and bus master on, INTx off
    put16(&mut space, 0x06, 0x0010); // has a capability list
    space[0x08] = function.revision;
    let class = function.class_code();
    space[0x09] = class as u8;
    space[0x0a] = (class >> 8) as u8;
    space[0x0b] = (class >> 16) as u8;
    space[0x0e] = u8::from(function.is_bridge()) | if multifunction { 0x80 } else { 0 };
    if let (false, Some((subvendor, subdevice))) = (function.is_bridge(), function.subsystem_ids()) {
        put16(&mut space, 0x2c, subvendor);
        put16(&mut space, 0x2e, subdevice);
    }
    space[0x34] = 0x40;
    space[0x40] = 0x01; // power management
    put16(&mut space, 0x42, 0x0003);
    if pcie {
        space[0x41] = 0x60;
        express(function, &mut space);
        extended(function, &mut space);
    }
    space
}

fn express(function: &Function, space: &mut [u8]) {
    space[0x60] = 0x10;
    let port: u16 = match function.port.as_str() {
        "endpoint" => 0,
        "legacy" => 1,
        "root" => 4,
        "upstream" => 5,
        "downstream" => 6,
        "to-pci" => 7,
        "integrated" => 9,
        other => panic!("unknown port type {other}"),
    };
    put16(space, 0x62, 0x0002 | port << 4);
    if function.flr {
        put32(space, 0x64, 1 << 28);
    }
}

fn extended(function: &Function, space: &mut [u8]) {
    let mut capabilities: Vec<(u16, Vec<u8>)> = Vec::new();
    if let Some([capable, enabled]) = function.acs {
        capabilities.push((0x000d, [capable.to_le_bytes(), enabled.to_le_bytes()].concat()));
    }
    if let Some(serial) = &function.serial {
        let mut value: Vec<u8> = serial.split('-').map(|b| u8::from_str_radix(b, 16).expect("serial")).collect();
        value.reverse();
        capabilities.push((0x0003, value));
    }
    if let Some([active, total]) = function.sriov {
        let mut body = vec![0u8; 0x3c];
        put16(&mut body, 0x08, total as u16);
        put16(&mut body, 0x0a, total as u16);
        put16(&mut body, 0x0c, active as u16);
        capabilities.push((0x0010, body));
    }
    let mut at = 0x100;
    for (number, (id, body)) in capabilities.iter().enumerate() {
        let size = (4 + body.len()).next_multiple_of(4);
        let next = if number + 1 < capabilities.len() { at + size } else { 0 };
        put32(space, at, u32::from(*id) | 1 << 16 | (next as u32) << 20);
        space[at + 4..at + 4 + body.len()].copy_from_slice(body);
        at += size;
    }
}

fn put16(space: &mut [u8], at: usize, value: u16) {
    space[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(space: &mut [u8], at: usize, value: u32) {
    space[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
