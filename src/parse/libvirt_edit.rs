//! Devices and QEMU arguments put into a libvirt domain's XML and taken out, every other byte kept. Pure.
//!
//! Format: <https://libvirt.org/formatdomain.html>. The error of each function says what is wrong with the text and where.

use super::address::Address;
use super::libvirt_xml::{self, QEMU};
use roxmltree::{Document, Node};
use std::collections::BTreeSet;
use std::ops::Range;

/// A slot of the guest's: bus and device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestSlot {
    /// Of a root port, or 0 where the guest has conventional PCI.
    pub bus: u8,
    /// The device number.
    pub slot: u8,
}

/// The text with elements put in as the last ones of `<devices>`. Each has its lines without indentation in front.
pub fn add_devices(text: &str, elements: &[String]) -> Result<String, String> {
    let body = Body::of(text)?;
    let devices = body.devices()?;
    let Some(last) = devices.children().rfind(Node::is_element) else {
        return Err("<devices> is empty".into());
    };
    let indent = body.indent(last);
    let mut new = String::new();
    for element in elements {
        for line in element.lines() {
            new.push_str(&format!("{}{indent}{line}", body.line_end()));
        }
    }
    let at = body.range(last).end;
    Ok(body.spliced(vec![(at..at, new)]))
}

/// The text without the `<hostdev>` elements of these functions, and how many there were.
pub fn remove_devices(text: &str, functions: &[Address]) -> Result<(String, usize), String> {
    let body = Body::of(text)?;
    let is = |node: &Node<'_, '_>| libvirt_xml::source_of(*node).is_some_and(|address| functions.contains(&address));
    let found: Vec<_> =
        body.devices()?.children().filter(is).map(|node| (body.with_its_line(node), String::new())).collect();
    let count = found.len();
    Ok((body.spliced(found), count))
}

/// The text with an argument and its value given to QEMU beside what libvirt gives it.
pub fn add_argument(text: &str, argument: &str, value: &str) -> Result<String, String> {
    let body = Body::of(text)?;
    let end = body.line_end();
    let arg = |indent: &str, value: &str| format!("{end}{indent}<qemu:arg value='{value}'/>");
    let (at, new) = match body.arguments().last() {
        Some(last) => {
            let indent = body.indent(*last);
            // Whatever prefix the document has for the namespace, its arguments have it.
            let name = body.text.get(body.range(*last)).unwrap_or_default();
            let prefix = name.trim_start_matches('<').split(':').next().unwrap_or("qemu");
            let arg = |value: &str| format!("{end}{indent}<{prefix}:arg value='{value}'/>");
            (body.range(*last).end, arg(argument) + &arg(value))
        }
        None => {
            let devices = body.devices()?;
            let indent = body.indent(devices);
            let inner = format!("{indent}{}", if indent.is_empty() { "  " } else { &indent });
            let open = format!("{end}{indent}<qemu:commandline xmlns:qemu='{QEMU}'>");
            let close = format!("{end}{indent}</qemu:commandline>");
            (body.range(devices).end, format!("{open}{}{}{close}", arg(&inner, argument), arg(&inner, value)))
        }
    };
    Ok(body.spliced(vec![(at..at, new)]))
}

/// The text without an argument and its value; the element around them goes with the last of them.
pub fn remove_argument(text: &str, argument: &str, value: &str) -> Result<String, String> {
    let body = Body::of(text)?;
    let all = body.arguments();
    let value_of = |node: &Node<'_, '_>| node.attribute("value").unwrap_or_default().to_owned();
    let pair = all.windows(2).find(|pair| pair.iter().map(value_of).eq([argument, value]));
    let Some([first, second]) = pair else { return Ok(text.to_owned()) };
    let gone = match first.parent() {
        Some(around) if all.len() == 2 => vec![around],
        _ => vec![*first, *second],
    };
    Ok(body.spliced(gone.into_iter().map(|node| (body.with_its_line(node), String::new())).collect()))
}

/// Free slots of the guest's, as many as are asked for: root ports that nothing is behind, then such as libvirt adds by itself
/// (src/conf/domain_addr.c `virDomainPCIAddressSetGrow`); on conventional PCI device numbers of bus 0.
pub fn free_slots(text: &str, pcie: bool, count: usize) -> Result<Vec<GuestSlot>, String> {
    let body = Body::of(text)?;
    let devices = body.devices()?;
    let number = |node: &Node<'_, '_>, name: &str| libvirt_xml::integer(node.attribute(name)?);
    let own = devices.children().filter(Node::is_element).flat_map(|device| device.children());
    let used: Vec<(u32, u32)> = own
        .filter(|node| node.has_tag_name("address") && node.attribute("type") == Some("pci"))
        .map(|node| (number(&node, "bus").unwrap_or(0), number(&node, "slot").unwrap_or(0)))
        .collect();
    let slots = |found: Vec<u32>, slot: fn(u32) -> GuestSlot| match found.len() < count {
        true => Err("the guest has no free PCI slot".to_owned()),
        false => Ok(found.into_iter().map(slot).collect()),
    };
    if !pcie {
        // 1 and 2 are the chipset's and the display's by habit; libvirt gives numbers from 3 on.
        let free = (3..=0x1e).rev().filter(|slot| !used.iter().any(|(bus, taken)| *bus == 0 && taken == slot));
        return slots(free.take(count).collect(), |slot| GuestSlot { bus: 0, slot: slot as u8 });
    }
    let controllers: Vec<Node<'_, '_>> = devices
        .children()
        .filter(|node| node.has_tag_name("controller") && node.attribute("type") == Some("pci"))
        .collect();
    let index = |node: &Node<'_, '_>| number(node, "index");
    let ports: BTreeSet<u32> =
        controllers.iter().filter(|n| n.attribute("model") == Some("pcie-root-port")).filter_map(index).collect();
    let last = controllers.iter().filter_map(index).chain(used.iter().map(|(bus, _)| *bus)).max().unwrap_or(0);
    let free = ports.into_iter().filter(|port| !used.iter().any(|(bus, _)| bus == port));
    let new = (last.saturating_add(1)..=0xff).take(count);
    slots(free.chain(new).take(count).collect(), |bus| GuestSlot { bus: bus as u8, slot: 0 })
}

/// A domain's text with its tree.
struct Body<'a> {
    text: &'a str,
    /// Bytes in front of the tree's text.
    skipped: usize,
    document: Document<'a>,
}

impl<'a> Body<'a> {
    fn of(text: &'a str) -> Result<Body<'a>, String> {
        let (document, skipped) = libvirt_xml::document(text)?;
        Ok(Body { text, skipped, document })
    }

    fn devices(&self) -> Result<Node<'_, 'a>, String> {
        let root = self.document.root_element();
        let domain = Some(root).filter(|root| root.has_tag_name("domain"));
        domain
            .and_then(|domain| libvirt_xml::child(domain, "devices"))
            .ok_or_else(|| "no <domain> with <devices>".into())
    }

    fn arguments(&self) -> Vec<Node<'_, 'a>> {
        let around = self.document.root_element().children().filter(|node| node.has_tag_name((QEMU, "commandline")));
        around.flat_map(|node| node.children()).filter(|node| node.has_tag_name((QEMU, "arg"))).collect()
    }

    /// A node's bytes in the whole text.
    fn range(&self, node: Node<'_, '_>) -> Range<usize> {
        let range = node.range();
        range.start + self.skipped..range.end + self.skipped
    }

    /// The white space in front of a node in its line; none where something else is there.
    fn indent(&self, node: Node<'_, '_>) -> String {
        let before = self.text.get(..self.range(node).start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        if line.trim_matches([' ', '\t']).is_empty() { line.to_owned() } else { String::new() }
    }

    fn line_end(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// A node's bytes, with the line end and white space in front of them.
    fn with_its_line(&self, node: Node<'_, '_>) -> Range<usize> {
        let range = self.range(node);
        let before = self.text.get(..range.start).unwrap_or_default();
        let line = before.trim_end_matches([' ', '\t']);
        let start = line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')).map_or(range.start, str::len);
        start..range.end
    }

    /// The text with ranges replaced, which are in order and apart from each other.
    fn spliced(&self, changes: Vec<(Range<usize>, String)>) -> String {
        let mut text = self.text.to_owned();
        for (range, new) in changes.into_iter().rev() {
            if text.get(range.clone()).is_some() {
                text.replace_range(range, &new);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "\n<!-- x -->\n<domain type='kvm'>\n  <name>a</name>\n  <devices>\n    <emulator>/q</emulator>\n\
        \x20   <controller type='pci' index='0' model='pcie-root'/>\n\
        \x20   <controller type='pci' index='1' model='pcie-root-port'/>\n\
        \x20   <controller type='pci' index='2' model='pcie-root-port'/>\n\
        \x20   <interface type='network'><address type='pci' bus='0x01' slot='0x00'/></interface>\n\
        \x20 </devices>\n</domain>\n";
    const HOSTDEV: &str = "<hostdev mode='subsystem' type='pci'>\n  <source>\n\
        \x20   <address domain='0x0000' bus='0x06' slot='0x00' function='0x1'/>\n  </source>\n</hostdev>";

    fn at(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn a_device_put_in_and_taken_out_again() {
        let one_line = DOMAIN.replace(['\n'], "");
        for text in [DOMAIN, &DOMAIN.replace('\n', "\r\n"), &one_line, DOMAIN.trim_start()] {
            let edited = add_devices(text, &[HOSTDEV.into()]).unwrap();
            let found = libvirt_xml::parse(&edited).unwrap();
            assert_eq!(found.devices[0].address, Ok(at("06:00.1")), "{edited}");
            assert_eq!(remove_devices(&edited, &[at("06:00.1")]).unwrap(), (text.to_owned(), 1));
            assert_eq!(remove_devices(&edited, &[at("06:00.0")]).unwrap(), (edited, 0));
        }
        let edited = add_devices(DOMAIN, &[HOSTDEV.into()]).unwrap();
        assert!(
            edited.contains("\n    <hostdev mode='subsystem' type='pci'>\n      <source>\n        <address"),
            "{edited}"
        );
    }

    #[test]
    fn an_argument_put_in_and_taken_out_again() {
        let other = DOMAIN
            .replace("<domain type='kvm'>", &format!("<domain type='kvm' xmlns:q='{QEMU}'>"))
            .replace("</devices>\n", "</devices>\n  <q:commandline>\n    <q:arg value='-S'/>\n  </q:commandline>\n");
        for text in [DOMAIN, &other] {
            let edited = add_argument(text, "-fw_cfg", "name=x,string=1").unwrap();
            let found = libvirt_xml::parse(&edited).unwrap().shape.arguments;
            assert!(found.ends_with(&["-fw_cfg".to_owned(), "name=x,string=1".to_owned()]), "{edited}");
            assert_eq!(remove_argument(&edited, "-fw_cfg", "name=x,string=1").unwrap(), text);
            assert_eq!(remove_argument(&edited, "-fw_cfg", "name=y").unwrap(), edited);
        }
    }

    #[test]
    fn slots_that_are_free() {
        let slot = |bus, slot| GuestSlot { bus, slot };
        assert_eq!(free_slots(DOMAIN, true, 2).unwrap(), [slot(2, 0), slot(3, 0)]);
        assert_eq!(free_slots(DOMAIN, false, 2).unwrap(), [slot(0, 0x1e), slot(0, 0x1d)]);
        assert!(free_slots(DOMAIN, false, 29).is_err());
    }

    #[test]
    fn what_is_no_domain() {
        for text in ["", "<domain/>", "<domain><devices/></domain>", "<network><devices><a/></devices></network>", "<a"]
        {
            assert!(add_devices(text, &[HOSTDEV.into()]).is_err(), "{text}");
        }
    }
}
