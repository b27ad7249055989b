//! libvirt's domain XML, and the status files around it, to the passed-through devices. Pure.
//!
//! Format: <https://libvirt.org/formatdomain.html>. A document type declaration is refused, so no entity can grow.

use super::address::Address;
use roxmltree::{Document, Node, ParsingOptions};

/// The largest text that is parsed, in bytes; a domain has some kilobytes.
pub const TEXT_LIMIT: usize = 4 << 20;

/// One PCI device that a domain is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// The host's address; an error text if the attributes are no address.
    pub address: Result<Address, String>,
    /// `managed='yes'`.
    pub managed: bool,
    /// `<rom file='…'/>`.
    pub rom_file: Option<String>,
    /// The line of the source address, counted from 1.
    pub line: u32,
    /// That line, without white space around.
    pub text: String,
}

/// A value of a domain's, with the line that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As written; sizes in KiB.
    pub value: String,
    /// Counted from 1.
    pub line: u32,
    /// That line, without white space around.
    pub text: String,
}

/// How a domain is made, as far as that matters to a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `<type machine=…>`.
    pub machine: Option<Setting>,
    /// `<os firmware=…>`, or the loader's path.
    pub firmware: Option<Setting>,
    /// The loader is secure, or the feature is asked for.
    pub secure_boot: Option<Setting>,
    /// `<memory>`.
    pub memory_kib: Option<Setting>,
    /// `<currentMemory>`.
    pub current_kib: Option<Setting>,
    /// `<memtune><hard_limit>`.
    pub hard_limit_kib: Option<Setting>,
    /// `<cpu mode=…>`.
    pub cpu_mode: Option<Setting>,
    /// `<cpu><maxphysaddr>`: how wide addresses are is said.
    pub address_width: bool,
    /// `<kvm><hidden state='on'/>`.
    pub hidden: Option<Setting>,
    /// `<hyperv><vendor_id state='on' value=…>`.
    pub hv_vendor: Option<Setting>,
    /// `<iommu model=…>`.
    pub viommu: Option<Setting>,
    /// The system that libosinfo's metadata names.
    pub system: Option<Setting>,
    /// The first `<qemu:arg>`.
    pub first_argument: Option<Setting>,
    /// All of them.
    pub arguments: Vec<String>,
}

/// A domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// `<name>`.
    pub name: String,
    /// `<title>`, or nova's display name; empty if none.
    pub title: String,
    /// In order.
    pub devices: Vec<HostDevice>,
    /// How it is made.
    pub shape: Shape,
    /// True if nova made it: nova writes its XML anew at every start.
    pub of_nova: bool,
    /// The running state of a status file (`<domstatus state='running'>`).
    pub state: Option<String>,
}

/// The tree of a text, and the bytes of white space in front of it. The error says what is wrong and where.
pub(super) fn document(text: &str) -> Result<(Document<'_>, usize), String> {
    if text.len() > TEXT_LIMIT {
        return Err(format!("{} bytes are too many for a domain", text.len()));
    }
    // libvirt writes a comment in front of each file; virsh's output can be preceded by blank lines.
    let options = ParsingOptions { nodes_limit: 200_000, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text.trim_start(), options).map_err(|error| error.to_string())?;
    Ok((document, text.len() - text.trim_start().len()))
}

/// Parses a `<domain>` or `<domstatus>` document; the error says what is wrong and where.
pub fn parse(text: &str) -> Result<Domain, String> {
    let (document, skipped) = document(text)?;
    let skipped = text.get(..skipped).unwrap_or_default().matches('\n').count();
    let root = document.root_element();
    let domain = match root.tag_name().name() {
        "domain" => root,
        "domstatus" => child(root, "domain").ok_or("a <domstatus> without <domain>")?,
        other => return Err(format!("<{other}> is no domain")),
    };
    let source = Source { document: &document, skipped };
    let text_of = |name: &str| child(domain, name).and_then(|node| node.text()).unwrap_or_default().trim().to_owned();
    let metadata = child(domain, "metadata").into_iter().flat_map(|node| node.children());
    let of_nova = metadata.filter_map(|node| node.tag_name().namespace()).any(|space| space.starts_with(NOVA));
    let devices = child(domain, "devices").map(|node| node.children().collect::<Vec<_>>()).unwrap_or_default();
    Ok(Domain {
        name: text_of("name"),
        title: text_of("title"),
        state: root.attribute("state").map(str::to_owned),
        devices: devices.into_iter().filter_map(|node| device(&source, node)).collect(),
        shape: shape(&source, domain),
        of_nova,
    })
}

pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The namespace of nova's metadata (nova/virt/libvirt/config.py `NOVA_NS`), without its version.
const NOVA: &str = "http://openstack.org/xmlns/libvirt/nova";
/// <https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands>
pub(super) const QEMU: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// A text and what was cut off in front of it.
struct Source<'a, 'i> {
    document: &'a Document<'i>,
    /// Lines.
    skipped: usize,
}

impl Source<'_, '_> {
    /// The line at which a node begins, and its text.
    fn line(&self, node: Node<'_, '_>) -> (u32, String) {
        let row = self.document.text_pos_at(node.range().start).row;
        let index = usize::try_from(row).unwrap_or(0).saturating_sub(1);
        let text = self.document.input_text().lines().nth(index).unwrap_or_default();
        (row.saturating_add(u32::try_from(self.skipped).unwrap_or(0)), text.trim().chars().take(200).collect())
    }

    fn setting(&self, node: Node<'_, '_>, value: impl Into<String>) -> Setting {
        let (line, text) = self.line(node);
        Setting { value: value.into(), line, text }
    }
}

fn shape(source: &Source<'_, '_>, domain: Node<'_, '_>) -> Shape {
    let at = |path: &[&str]| path.iter().try_fold(domain, |node, name| child(node, name));
    let attribute = |path: &[&str], name: &str| {
        at(path).and_then(|node| node.attribute(name).map(|value| source.setting(node, value)))
    };
    let size = |path: &[&str]| {
        let node = at(path)?;
        let kib = kib(node.text()?.trim(), node.attribute("unit").unwrap_or("KiB"))?;
        Some(source.setting(node, kib.to_string()))
    };
    let on = |path: &[&str]| attribute(path, "state").filter(|state| state.value == "on");
    let loader = at(&["os", "loader"]).and_then(|node| node.text().map(|text| source.setting(node, text.trim())));
    let secure =
        |node: &Node<'_, '_>| node.attribute("name") == Some("secure-boot") && node.attribute("enabled") == Some("yes");
    let features = at(&["os", "firmware"]).into_iter().flat_map(|node| node.children());
    let metadata = at(&["metadata"]).into_iter().flat_map(|node| node.descendants());
    let system = metadata.filter(|node| node.tag_name().name() == "os").find_map(|node| {
        let id = node.attribute("id")?;
        Some(source.setting(node, id))
    });
    let arguments: Vec<Node<'_, '_>> =
        domain.descendants().filter(|node| node.has_tag_name((QEMU, "arg")) && node.has_attribute("value")).collect();
    let value = |node: &Node<'_, '_>| node.attribute("value").unwrap_or_default().to_owned();
    Shape {
        machine: attribute(&["os", "type"], "machine"),
        firmware: attribute(&["os"], "firmware").or(loader),
        secure_boot: attribute(&["os", "loader"], "secure").filter(|secure| secure.value == "yes").or_else(|| {
            let feature = features.into_iter().find(secure)?;
            Some(source.setting(feature, "yes"))
        }),
        memory_kib: size(&["memory"]),
        current_kib: size(&["currentMemory"]),
        hard_limit_kib: size(&["memtune", "hard_limit"]),
        cpu_mode: attribute(&["cpu"], "mode"),
        address_width: at(&["cpu", "maxphysaddr"]).is_some(),
        hidden: on(&["features", "kvm", "hidden"]),
        hv_vendor: attribute(&["features", "hyperv", "vendor_id"], "value")
            .filter(|_| on(&["features", "hyperv", "vendor_id"]).is_some()),
        viommu: attribute(&["devices", "iommu"], "model"),
        system,
        first_argument: arguments.first().map(|node| source.setting(*node, value(node))),
        arguments: arguments.iter().map(value).collect(),
    }
}

/// A size in one of libvirt's units (src/util/virutil.c `virScaleInteger`), in KiB.
fn kib(number: &str, unit: &str) -> Option<u64> {
    let number: u64 = number.parse().ok()?;
    let bytes: u64 = match unit {
        "" | "KiB" | "K" | "k" => 1 << 10,
        "b" | "bytes" => return Some(number >> 10),
        "KB" => 1000,
        "M" | "MiB" => 1 << 20,
        "MB" => 1_000_000,
        "G" | "GiB" => 1 << 30,
        "GB" => 1_000_000_000,
        "T" | "TiB" => 1 << 40,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(bytes).map(|bytes| bytes >> 10)
}

/// The element that names the host's function, of a device that takes one: `<hostdev type='pci'>`, `<interface type='hostdev'>` and
/// `<disk type='nvme'>`.
fn source_address<'a, 'i>(node: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    let source = child(node, "source");
    let takes = match (node.tag_name().name(), node.attribute("type")) {
        ("hostdev", Some("pci")) | ("interface", Some("hostdev")) => true,
        ("disk", Some("nvme")) => source.and_then(|s| s.attribute("type")) == Some("pci"),
        _ => false,
    };
    let source = source.unwrap_or(node);
    let at = child(source, "address").unwrap_or(source);
    let other = at.attribute("type").is_some_and(|kind| kind != "pci");
    (takes && !other).then_some(at)
}

/// The host's function that a device element takes.
pub(super) fn source_of(node: Node<'_, '_>) -> Option<Address> {
    address(source_address(node)?).ok()
}

fn device(text: &Source<'_, '_>, node: Node<'_, '_>) -> Option<HostDevice> {
    let at = source_address(node)?;
    let source = child(node, "source").unwrap_or(node);
    let (line, text) = text.line(at);
    Some(HostDevice {
        address: address(at),
        managed: node.attribute("managed").or_else(|| source.attribute("managed")) == Some("yes"),
        rom_file: child(node, "rom").and_then(|rom| rom.attribute("file")).map(str::to_owned),
        line,
        text,
    })
}

/// The four attributes of an `<address>`; those that are missing are 0.
fn address(node: Node<'_, '_>) -> Result<Address, String> {
    let number = |name: &str, most: u32| {
        let Some(text) = node.attribute(name) else { return Ok(0) };
        integer(text).filter(|value| *value <= most).ok_or_else(|| format!("{name}='{text}'"))
    };
    if node.tag_name().name() != "address" || node.attribute("slot").is_none() && node.attribute("bus").is_none() {
        return Err("no address".into());
    }
    let (domain, bus) = (number("domain", u32::MAX)?, number("bus", 0xff)?);
    let (slot, function) = (number("slot", 31)?, number("function", 7)?);
    Ok(Address { domain, bus: bus as u8, device: slot as u8, function: function as u8 })
}

/// A number as C's `strtoul` with base 0 reads it, which libvirt's `virXMLPropUInt` uses: `0x1f`, `037`, `31`.
pub(super) fn integer(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    (!digits.starts_with('+')).then(|| u32::from_str_radix(digits, radix).ok())?
}

#[cfg(test)]
mod tests {
    use super::{Domain, integer, parse};

    const DOMAIN: &str = "\n<!-- WARNING -->\n<domain type='kvm'>\n  <name>win11</name>\n  <devices>\n\
        <hostdev mode='subsystem' type='pci' managed='yes'>\n <source>\n\
        <address domain='0x0000' bus='0x01' slot='0x00' function='0x1'/>\n </source>\n <rom file='/a.rom'/>\n\
        <address type='pci' domain='0' bus='0x06' slot='0' function='0x0'/>\n </hostdev>\n\
        <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev>\n\
        <interface type='hostdev'><source><address type='pci' domain='0' bus='5' slot='16' function='0'/></source></interface>\n\
        <disk type='nvme' device='disk'><source type='pci' managed='no' namespace='1'>\n\
        <address domain='0x10000' bus='0xe1' slot='0x00' function='0x0'/></source></disk>\n\
        <hostdev type='pci'><source><address bus='0x1ff' slot='0'/></source></hostdev>\n\
        <hostdev type='pci'><source/></hostdev>\n</devices></domain>";

    fn addresses(domain: &Domain) -> Vec<String> {
        let show = |d: &super::HostDevice| d.address.as_ref().map_or_else(|e| format!("!{e}"), |a| a.to_string());
        domain.devices.iter().map(show).collect()
    }

    #[test]
    fn devices_of_a_domain() {
        let domain = parse(DOMAIN).unwrap();
        assert_eq!(domain.name, "win11");
        let expected = ["0000:01:00.1", "0000:05:10.0", "10000:e1:00.0", "!bus='0x1ff'", "!no address"];
        assert_eq!(addresses(&domain), expected);
        let first = &domain.devices[0];
        assert_eq!((first.line, first.managed, first.rom_file.as_deref()), (8, true, Some("/a.rom")));
        assert!(first.text.starts_with("<address domain='0x0000'"), "{}", first.text);
    }

    #[test]
    fn status_files() {
        let domain =
            parse("<domstatus state='running' reason='booted' pid='7'><domain><name>a</name></domain></domstatus>");
        assert_eq!(domain.unwrap().state.as_deref(), Some("running"));
    }

    #[test]
    fn numbers() {
        for (text, value) in [("0x1f", Some(31)), ("037", Some(31)), ("31", Some(31)), ("0", Some(0)), ("08", None)] {
            assert_eq!(integer(text), value, "{text}");
        }
        for text in ["", "0x", "-1", "+1", "0x+1", "4294967296"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_domain() {
        let bomb = "<!DOCTYPE d [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>";
        let deep = format!("<domain>{}", "<a>".repeat(150_000));
        let wide = format!("<domain>{}</domain>", "<a/>".repeat(300_000));
        for text in ["", "<", "<network/>", "<domstatus/>", "no xml", bomb, &deep, &wide, "\0"] {
            assert!(parse(text).is_err(), "{}", text.get(..20).unwrap_or(text));
        }
        let nested = format!("<domain>{}{}</domain>", "<a>".repeat(90_000), "</a>".repeat(90_000));
        assert!(parse(&nested).is_ok(), "depth alone is no fault");
    }
}
