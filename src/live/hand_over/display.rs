//! What holds a display besides its driver: the text console, the firmware's framebuffer, a display manager.

use super::moves::Move;
use crate::facts::pci::Function;
use crate::host::{Fact, Host};

/// Drivers of the firmware's framebuffer (Linux 6.12 drivers/video/fbdev/{efifb,vesafb,simplefb}.c, drivers/gpu/drm/tiny/simpledrm.c).
const FIRMWARE: &[&str] = &["simple-framebuffer", "efi-framebuffer", "vesa-framebuffer"];

/// The moves that free these displays, in order; none if they show nothing of the kernel's.
pub(super) fn moves(host: &dyn Host, displays: &[&Function]) -> Vec<Move> {
    let names = host.entries("/sys/class/graphics").into_known().unwrap_or_default();
    let buffers: Vec<String> = names.into_iter().filter(|name| is_buffer(name)).collect();
    let device = |name: &String| host.link(&format!("/sys/class/graphics/{name}")).into_known().unwrap_or_default();
    let of_card = |path: &str| displays.iter().any(|f| path.split('/').any(|part| part == f.address.to_string()));
    let boots = displays.iter().any(|f| f.boot_display == Fact::Known(true));
    let mut firmware = Vec::new();
    for driver in FIRMWARE {
        let dir = format!("/sys/bus/platform/drivers/{driver}");
        let devices = host.entries(&dir).into_known().unwrap_or_default();
        // Besides the devices there are bind, unbind, uevent and module.
        let bound = devices.into_iter().filter(|name| name.starts_with(driver) && boots);
        firmware.extend(bound.map(|device| Move::Framebuffer { driver: (*driver).to_owned(), device }));
    }
    let ours = |name: &String| {
        let path = device(name);
        of_card(&path) || boots && path.contains("/platform/")
    };
    // Another card's framebuffer keeps its console; the kernel moves it there by itself.
    let mut moves = match !buffers.is_empty() && buffers.iter().all(ours) {
        true => consoles(host),
        false => Vec::new(),
    };
    moves.extend(firmware);
    moves
}

fn is_buffer(name: &str) -> bool {
    name.strip_prefix("fb").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The consoles that draw on framebuffers (`fbcon` registers as `frame buffer device`).
fn consoles(host: &dyn Host) -> Vec<Move> {
    let names = host.entries("/sys/class/vtconsole").into_known().unwrap_or_default();
    let draws = |name: &String| {
        let value = |attribute: &str| host.value(&format!("/sys/class/vtconsole/{name}/{attribute}"));
        value("bind") == Fact::Known("1".into()) && value("name").known().is_some_and(|n| n.contains("frame buffer"))
    };
    names.into_iter().filter(draws).map(|name| Move::Console { name }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::host::Recorded;

    fn told(boot: bool, buffers: &[(&str, &str)], firmware: bool) -> Vec<String> {
        let snap = t::healthy();
        let mut gpu = snap.pci.get(&t::at(GPU)).unwrap().clone();
        gpu.boot_display = Fact::Known(boot);
        let mut host = Recorded::builder();
        host.add_file("/sys/class/vtconsole/vtcon0/name", "(S) dummy device\n")
            .add_file("/sys/class/vtconsole/vtcon0/bind", "0\n")
            .add_file("/sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n")
            .add_file("/sys/class/vtconsole/vtcon1/bind", "1\n");
        for (name, target) in buffers {
            host.add_link(&format!("/sys/class/graphics/{name}"), target);
        }
        if firmware {
            host.add_file("/sys/bus/platform/drivers/efi-framebuffer/bind", "")
                .add_link("/sys/bus/platform/drivers/efi-framebuffer/efi-framebuffer.0", "../../../devices/x");
        }
        moves(&host.build(), &[&gpu]).iter().map(|one| one.told(super::super::Way::There)).collect()
    }

    #[test]
    fn only_what_holds_this_display() {
        let card = ("fb0", "../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/graphics/fb0");
        let other = ("fb1", "../../devices/pci0000:00/0000:00:02.0/graphics/fb1");
        let efi = ("fb0", "../../devices/platform/efi-framebuffer.0/graphics/fb0");
        let console = "the text console leaves the screen (vtcon1)";
        assert_eq!(told(true, &[card], false), [console]);
        assert_eq!(told(false, &[card], false), [console], "its console, boot display or not");
        assert!(told(true, &[card, other], false).is_empty(), "the other card takes the console");
        assert!(told(false, &[other], false).is_empty());
        assert_eq!(told(true, &[efi], true), [console, "the firmware's framebuffer is let go (efi-framebuffer.0)"]);
        assert!(told(false, &[efi], true).is_empty(), "it is another card's");
    }
}
