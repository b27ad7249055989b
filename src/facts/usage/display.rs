//! Displays, consoles, and whether one display is the only way to see this host.

use super::{Finder, UseKind, network};
use crate::facts::Evidence;
use crate::facts::pci::{Function, Ids};
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;

/// Graphics of management controllers, which show the host's screen over the network: ASPEED, and Matrox G200 for
/// servers (Linux 6.12 drivers/gpu/drm/ast/ast_drv.c, drivers/gpu/drm/mgag200/mgag200_drv.c).
const BMC: &[(u16, u16)] = &[
    (0x1a03, 0x2000),
    (0x1a03, 0x2010),
    (0x102b, 0x0522),
    (0x102b, 0x0524),
    (0x102b, 0x0530),
    (0x102b, 0x0532),
    (0x102b, 0x0533),
    (0x102b, 0x0534),
    (0x102b, 0x0536),
    (0x102b, 0x0538),
];

pub(super) fn collect(finder: &mut Finder<'_>) {
    framebuffer_console(finder);
    for card in finder.host.entries("/sys/class/drm").into_known().unwrap_or_default() {
        if card.strip_prefix("card").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            let mut functions = finder.behind(&format!("/sys/class/drm/{card}"));
            // Who draws there says more than that something is drawn.
            functions.retain(|a| !finder.usage.of(a).any(|found| found.kind == UseKind::Display));
            for connector in lit(finder, &card) {
                let evidence = Evidence::new(format!("/sys/class/drm/{connector}/enabled"), "enabled");
                let name = connector.strip_prefix(&card).unwrap_or(&connector).trim_start_matches('-');
                finder.add(&functions, UseKind::Display, &format!("display {name}"), &evidence);
            }
        }
    }
    finder.usage.consoles = consoles(finder);
    finder.usage.serial_ports = serial_ports(finder.host);
    only_console(finder);
}

/// The connectors of a card that have a screen and show something: `card0-HDMI-A-1`.
pub(super) fn lit(finder: &Finder<'_>, card: &str) -> Vec<String> {
    let names = finder.host.entries("/sys/class/drm").into_known().unwrap_or_default();
    let own = names.into_iter().filter(|name| name.strip_prefix(card).is_some_and(|rest| rest.starts_with('-')));
    let is = |name: &str, file: &str, word: &str| {
        finder.host.value(&format!("/sys/class/drm/{name}/{file}")).known().is_some_and(|value| value == word)
    };
    own.filter(|name| is(name, "status", "connected") && is(name, "enabled", "enabled")).collect()
}

/// The console on a framebuffer, where it is bound: the framebuffer's own function, else the boot display.
fn framebuffer_console(finder: &mut Finder<'_>) {
    for console in finder.host.entries("/sys/class/vtconsole").into_known().unwrap_or_default() {
        let dir = format!("/sys/class/vtconsole/{console}");
        // drivers/tty/vt/vt.c `show_name`: `(M) frame buffer device`, `(S) VGA+`, `(S) dummy device`.
        let name = finder.host.value(&format!("{dir}/name")).into_known().unwrap_or_default();
        let on = finder.host.value(&format!("{dir}/bind")).known().is_some_and(|bind| bind == "1");
        let framebuffer = name.contains("frame buffer");
        if !on || !framebuffer && !name.contains("VGA") {
            continue;
        }
        let mut functions = Vec::new();
        if framebuffer {
            // fbcon takes the boot display's framebuffer, whichever came first, else the first one, unless `fbcon=map:` says
            // more (Linux 6.12 drivers/video/fbdev/core/fbcon.c `fbcon_select_primary`, with
            // FRAMEBUFFER_CONSOLE_DETECT_PRIMARY, which distributions set).
            let names = finder.host.entries("/sys/class/graphics").into_known().unwrap_or_default();
            let names = names.iter().filter(|name| name.starts_with("fb") && *name != "fbcon");
            let behind: Vec<_> = names.map(|name| finder.behind(&format!("/sys/class/graphics/{name}"))).collect();
            let primary =
                |address| finder.pci.get(address).is_some_and(|function| function.boot_display == Fact::Known(true));
            let primary = behind.iter().find(|functions| functions.iter().any(primary));
            functions = primary.or(behind.first()).cloned().unwrap_or_default();
        }
        if functions.is_empty() {
            let boot = finder.pci.functions.iter().filter(|f| f.boot_display == Fact::Known(true));
            functions = boot.filter(|f| !f.on_vfio()).map(|f| f.address).collect();
        }
        finder.add(&functions, UseKind::Display, "console", &Evidence::new(format!("{dir}/bind"), name));
    }
}

fn is_bmc(function: &Function) -> bool {
    function.ids.known().is_some_and(|Ids { vendor, device }| BMC.contains(&(*vendor, *device)))
}

/// Serial consoles, a management controller, SSH. What cannot be known makes an empty answer unknown.
fn consoles(finder: &mut Finder<'_>) -> Fact<Vec<String>> {
    let mut found = Vec::new();
    let mut unknown: Option<Why> = None;
    let listed = match finder.host.text("/proc/consoles") {
        Fact::Known(text) => Fact::Known(text.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect()),
        _ => finder.host.text("/proc/cmdline").map(|text| {
            let words = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("console="));
            words.filter_map(|word| word.split(',').next().map(str::to_owned)).collect::<Vec<_>>()
        }),
    };
    match listed {
        // tty0 and ttyN are the display; netconsole and pstore only write.
        Fact::Known(names) => found.extend(names.into_iter().filter(|name| serial(name))),
        Fact::Absent => {}
        Fact::Unknown(why) => unknown = Some(why),
    }
    let ipmi = finder.host.exists("/dev/ipmi0") == Fact::Known(true);
    if ipmi || finder.pci.functions.iter().any(is_bmc) {
        found.push("bmc".to_owned());
    }
    match network::ssh_listens(finder) {
        Fact::Known(true) => found.push("ssh".to_owned()),
        Fact::Unknown(why) => unknown = Some(why),
        _ => {}
    }
    match unknown {
        Some(why) if found.is_empty() => Fact::Unknown(why),
        _ => Fact::Known(found),
    }
}

/// The kernel has `ttyS0` to `ttyS3` whether there is such a port or not; one that is not there has type 0, which root alone can see
/// (Linux 6.12 drivers/tty/serial/serial_core.c `type_show`, include/uapi/linux/serial_core.h `PORT_UNKNOWN`).
fn serial_ports(host: &dyn Host) -> Fact<Vec<String>> {
    host.entries("/sys/class/tty").and_then(|mut names| {
        names.retain(|name| serial(name));
        let mut found = Vec::new();
        for name in names {
            match host.value(&format!("/sys/class/tty/{name}/type")) {
                Fact::Known(kind) if kind == "0" => {}
                Fact::Unknown(why) => return Fact::Unknown(why),
                _ => found.push(name),
            }
        }
        Fact::Known(found)
    })
}

fn serial(name: &str) -> bool {
    name.strip_prefix("tty").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        || name.starts_with("hvc")
}

/// One display, nothing else to see the host by.
fn only_console(finder: &mut Finder<'_>) {
    if finder.usage.consoles != Fact::Known(Vec::new()) {
        return;
    }
    let shown: Vec<(Address, Evidence)> = {
        let uses = finder.usage.uses.iter().filter(|found| found.kind == UseKind::Display);
        uses.map(|found| (found.address, found.evidence.clone())).collect()
    };
    let mut displays = finder.pci.functions.iter().filter(|f| f.is_display() && !f.on_vfio());
    let (Some(only), None) = (displays.next(), displays.next()) else { return };
    if let Some((address, evidence)) = shown.iter().find(|(address, _)| *address == only.address) {
        finder.add(&[*address], UseKind::OnlyConsole, "console", evidence);
    }
}
