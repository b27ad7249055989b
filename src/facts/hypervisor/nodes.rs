//! Device nodes by which programs, and containers, use a graphics card while the host's driver has it.
//!
//! Names and numbers: Linux 6.12 Documentation/admin-guide/devices.txt (226 DRM, 261 accel), drivers/gpu/drm/amd/amdkfd/kfd_chardev.c;
//! NVIDIA's driver README, "Device nodes" (195: 0 and up the cards, 254 modeset, 255 nvidiactl), whose other numbers are in `/proc/devices`.

use crate::host::Host;
use crate::parse::address::Address;

/// NVIDIA's major number.
const NVIDIA: u32 = 195;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `/dev/dri/renderD128`.
    pub path: String,
    /// The function that it stands for; none: it belongs to all cards of a driver.
    pub function: Option<Address>,
    /// The driver whose cards it belongs to, where that is not one function: `amdgpu`, `nvidia`.
    pub driver: Option<&'static str>,
    /// Major number.
    pub major: u32,
    /// Minor number; none: any of that major number.
    pub minor: Option<u32>,
}

/// All of them, in order.
pub(super) fn collect(host: &dyn Host) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (class, dir, starts) in [("drm", "dri", &["card", "renderD"][..]), ("accel", "accel", &["accel"])] {
        for name in host.entries(&format!("/sys/class/{class}")).into_known().unwrap_or_default() {
            let numbered = |start: &&str| {
                name.strip_prefix(*start).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            };
            if starts.iter().any(numbered) {
                nodes.extend(of_class(host, &format!("/sys/class/{class}/{name}"), format!("/dev/{dir}/{name}")));
            }
        }
    }
    if let Some((major, minor)) = number(host, "/sys/class/kfd/kfd/dev") {
        nodes.push(shared("/dev/kfd", "amdgpu", major, Some(minor)));
    }
    nvidia(host, &mut nodes);
    nodes
}

fn of_class(host: &dyn Host, link: &str, path: String) -> Option<Node> {
    let target = host.link(link).into_known()?;
    let function = target.split('/').filter_map(Address::parse).next_back()?;
    let (major, minor) = number(host, &format!("{link}/dev"))?;
    Some(Node { path, function: Some(function), driver: None, major, minor: Some(minor) })
}

fn number(host: &dyn Host, path: &str) -> Option<(u32, u32)> {
    let text = host.value(path).into_known()?;
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn shared(path: &str, driver: &'static str, major: u32, minor: Option<u32>) -> Node {
    Node { path: path.to_owned(), function: None, driver: Some(driver), major, minor }
}

/// The NVIDIA driver's minor numbers: `/proc/driver/nvidia/gpus/<address>/information`, `Device Minor: 0`.
pub(in crate::facts) fn nvidia_cards(host: &dyn Host) -> Vec<(u32, Address)> {
    let names = host.entries("/proc/driver/nvidia/gpus").into_known().unwrap_or_default();
    let card = |name: &String| {
        let text = host.text(&format!("/proc/driver/nvidia/gpus/{name}/information")).into_known()?;
        let minor = text.lines().find_map(|line| line.strip_prefix("Device Minor:")?.trim().parse().ok())?;
        Some((minor, Address::parse(name)?))
    };
    names.iter().filter_map(card).collect()
}

fn nvidia(host: &dyn Host, nodes: &mut Vec<Node>) {
    let cards = nvidia_cards(host);
    for (minor, function) in &cards {
        let path = format!("/dev/nvidia{minor}");
        nodes.push(Node { path, function: Some(*function), driver: None, major: NVIDIA, minor: Some(*minor) });
    }
    if cards.is_empty() {
        return;
    }
    nodes.push(shared("/dev/nvidiactl", "nvidia", NVIDIA, Some(255)));
    nodes.push(shared("/dev/nvidia-modeset", "nvidia", NVIDIA, Some(254)));
    let devices = host.text("/proc/devices").into_known().unwrap_or_default();
    let major = |name: &str| {
        let mut lines = devices.lines().filter_map(|line| line.trim().split_once(' '));
        lines.find(|(_, of)| *of == name).and_then(|(major, _)| major.parse::<u32>().ok())
    };
    if let Some(major) = major("nvidia-uvm") {
        nodes.push(shared("/dev/nvidia-uvm", "nvidia", major, Some(0)));
        nodes.push(shared("/dev/nvidia-uvm-tools", "nvidia", major, Some(1)));
    }
    if let Some(major) = major("nvidia-caps") {
        // One for each capability; which number is which is not fixed.
        for name in host.entries("/dev/nvidia-caps").into_known().unwrap_or_default() {
            nodes.push(shared(&format!("/dev/nvidia-caps/{name}"), "nvidia", major, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Recorded;

    #[test]
    fn drm_and_nvidia() {
        let mut host = Recorded::builder();
        let device = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
        for (name, number) in [("card1", "226:1"), ("renderD128", "226:128"), ("card1-DP-1", "0:0")] {
            host.add_file(&format!("{device}/drm/{name}/dev"), format!("{number}\n"));
        }
        host.add_file("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: x\nDevice Minor: \t 2\n");
        host.add_file("/proc/devices", "Character devices:\n195 nvidia\n511 nvidia-uvm\n510 nvidia-caps\n");
        host.add_file("/dev/nvidia-caps/nvidia-cap1", "");
        for name in ["card1", "renderD128", "card1-DP-1"] {
            host.add_link(&format!("/sys/class/drm/{name}"), &format!("../..{}/drm/{name}", &device[4..]));
        }
        let shown: Vec<String> = collect(&host.build())
            .iter()
            .map(|node| format!("{} {} {:?} {}", node.path, node.major, node.minor, node.function.is_some()))
            .collect();
        assert_eq!(
            shown,
            [
                "/dev/dri/card1 226 Some(1) true",
                "/dev/dri/renderD128 226 Some(128) true",
                "/dev/nvidia2 195 Some(2) true",
                "/dev/nvidiactl 195 Some(255) false",
                "/dev/nvidia-modeset 195 Some(254) false",
                "/dev/nvidia-uvm 511 Some(0) false",
                "/dev/nvidia-uvm-tools 511 Some(1) false",
                "/dev/nvidia-caps/nvidia-cap1 510 None false",
            ]
        );
    }
}
