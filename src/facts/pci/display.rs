//! Which function is the boot display: decided for the host as a whole, because only one is.

use super::Function;
use super::collect::DEVICES;
use crate::facts::{Evidence, attribute::understood};
use crate::host::{Fact, Host};
use crate::parse::sysfs;

/// Evidence in this order: `boot_display` of the function or of its DRM card (Linux 6.18), `boot_vga`
/// (`drivers/pci/vgaarb.c`), and the firmware's framebuffer in one of its regions (`/proc/iomem`).
pub(super) fn find_boot_display(host: &dyn Host, functions: &mut [Function]) {
    let Some(first) = functions.iter().position(Function::is_display) else {
        return no_display(functions);
    };
    let cards = cards(host);
    let mut chosen: Option<(usize, Evidence)> = None;
    let mut said_no: Vec<(usize, Evidence)> = Vec::new();
    let mut vga: Option<(usize, Evidence)> = None;
    for (index, function) in functions.iter().enumerate().skip(first).filter(|(_, function)| function.is_display()) {
        let mut paths = vec![format!("{DEVICES}/{}/boot_display", function.address)];
        paths.extend(cards.iter().filter(|(_, at)| *at == function.address).map(|(path, _)| path.clone()));
        for path in paths {
            match understood(host.value(&path), sysfs::switch) {
                Fact::Known(true) => chosen = chosen.or(Some((index, Evidence::new(path, "1")))),
                Fact::Known(false) => said_no.push((index, Evidence::new(path, "0"))),
                _ => {}
            }
        }
        let path = format!("{DEVICES}/{}/boot_vga", function.address);
        match understood(host.value(&path), sysfs::switch) {
            Fact::Known(true) => vga = vga.or(Some((index, Evidence::new(path, "1")))),
            Fact::Known(false) => said_no.push((index, Evidence::new(path, "0"))),
            _ => {}
        }
    }
    let chosen = chosen.or(vga).or_else(|| {
        let iomem = host.text("/proc/iomem").into_known()?;
        let (address, line, text) = sysfs::framebuffer(&iomem)?;
        let index = functions.iter().position(|f| f.address == address)?;
        Some((index, Evidence::at("/proc/iomem", line, text)))
    });
    for (index, function) in functions.iter_mut().enumerate() {
        let own = said_no.iter().find(|(at, _)| *at == index).map(|(_, evidence)| evidence.clone());
        (function.boot_display, function.boot_display_evidence) = match &chosen {
            Some((at, evidence)) if *at == index => (Fact::Known(true), Some(evidence.clone())),
            _ if function.class.is_unknown() => continue,
            _ if !function.is_display() => (Fact::Absent, None),
            Some((_, evidence)) => (Fact::Known(false), Some(own.unwrap_or_else(|| evidence.clone()))),
            None if own.is_some() => (Fact::Known(false), own),
            None => continue,
        };
    }
}

fn no_display(functions: &mut [Function]) {
    for function in functions.iter_mut().filter(|function| !function.class.is_unknown()) {
        function.boot_display = Fact::Absent;
    }
}

/// `boot_display` of each DRM card, and the function that the card belongs to.
fn cards(host: &dyn Host) -> Vec<(String, crate::parse::address::Address)> {
    let entries = host.entries("/sys/class/drm").into_known().unwrap_or_default();
    entries
        .iter()
        .filter(|name| {
            name.strip_prefix("card").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
        .filter_map(|name| {
            let target = host.link(&format!("/sys/class/drm/{name}")).into_known()?;
            Some((format!("/sys/class/drm/{name}/boot_display"), *sysfs::functions_in(&target).last()?))
        })
        .collect()
}
