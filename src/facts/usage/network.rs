//! Default routes, SSH connections, and interfaces that are up, followed down to their cards.

use super::{Finder, UseKind};
use crate::facts::Evidence;
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::route::{self, Local};
use std::collections::{BTreeMap, BTreeSet};

/// Bridges over bonds over VLANs … that are followed at most.
const DEPTH: usize = 8;

pub(super) fn collect(finder: &mut Finder<'_>) {
    let names = match finder.host.entries("/sys/class/net") {
        Fact::Known(names) => names,
        Fact::Absent => return,
        Fact::Unknown(why) => return finder.note("/sys/class/net", why),
    };
    let v4_text = finder.text("/proc/net/route").unwrap_or_default();
    let v6_text = finder.text("/proc/net/ipv6_route").unwrap_or_default();
    let v4 = route::v4(&v4_text);
    let defaults =
        v4.iter().filter(|route| route.is_default()).map(|route| ("/proc/net/route", route.line, &route.interface));
    let v6 = route::v6_defaults(&v6_text);
    let v6 = v6.iter().map(|(line, interface)| ("/proc/net/ipv6_route", *line, interface));
    for (file, line, interface) in defaults.chain(v6) {
        let functions = cards(finder, &names, interface);
        let evidence = Evidence::at(file, line, format!("default via {interface}"));
        finder.add(&functions, UseKind::DefaultRoute, interface, &evidence);
    }
    ssh(finder, &names, &v4);
    let mut addressed: BTreeSet<String> = v4.into_iter().map(|route| route.interface).collect();
    addressed.extend(
        route::v6_addresses(&finder.text("/proc/net/if_inet6").unwrap_or_default()).into_iter().map(|(_, i)| i),
    );
    for name in &names {
        let dir = format!("/sys/class/net/{name}");
        let functions = finder.behind(&dir);
        if functions.is_empty() {
            continue;
        }
        let master = finder.host.link(&format!("{dir}/master")).into_known();
        let state = finder.host.value(&format!("{dir}/operstate")).into_known().unwrap_or_default();
        let evidence = match master.as_deref().and_then(|path| path.rsplit('/').next()) {
            Some(master) => Evidence::new(format!("{dir}/master"), master),
            None if state == "up" => Evidence::new(format!("{dir}/operstate"), state),
            None if addressed.contains(name) => Evidence::new(dir, "has addresses or routes"),
            None => continue,
        };
        finder.add(&functions, UseKind::Network, name, &evidence);
    }
}

/// The functions of the cards below an interface.
fn cards(finder: &Finder<'_>, names: &[String], interface: &str) -> Vec<Address> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut level = vec![interface.to_owned()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for name in std::mem::take(&mut level) {
            if name.is_empty() || name.contains('/') || !seen.insert(name.clone()) {
                continue;
            }
            let dir = format!("/sys/class/net/{name}");
            let own = finder.behind(&dir);
            if own.is_empty() {
                // net/core/dev.c `netdev_adjacent_sysfs_add` names the links lower_<interface>; bridges also have brif/.
                let entries = finder.host.entries(&dir).into_known().unwrap_or_default();
                next.extend(entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).map(str::to_owned));
                next.extend(finder.host.entries(&format!("{dir}/brif")).into_known().unwrap_or_default());
            }
            found.extend(own);
        }
        level = next;
    }
    if found.is_empty() {
        found.extend(open_vswitch(finder, names));
    }
    found.sort();
    found.dedup();
    found
}

/// Open vSwitch shows no links from its own ports to the cards; every card in it has `ovs-system` as master.
fn open_vswitch(finder: &Finder<'_>, names: &[String]) -> Vec<Address> {
    if !names.iter().any(|name| name == "ovs-system") {
        return Vec::new();
    }
    let inside = |name: &&String| {
        finder.host.link(&format!("/sys/class/net/{name}/master")).known().is_some_and(|m| m.ends_with("/ovs-system"))
    };
    names.iter().filter(inside).flat_map(|name| finder.behind(&format!("/sys/class/net/{name}"))).collect()
}

/// Established connections to SSH's port, by the interface that holds the local address.
fn ssh(finder: &mut Finder<'_>, names: &[String], v4: &[route::Route]) {
    let ports = ssh_ports(finder);
    let v6: BTreeMap<u128, String> =
        route::v6_addresses(&finder.host.text("/proc/net/if_inet6").into_known().unwrap_or_default())
            .into_iter()
            .collect();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Some(text) = finder.text(file) else { continue };
        for socket in route::tcp(&text) {
            if socket.state != ESTABLISHED || !ports.contains(&socket.port) {
                continue;
            }
            let interface = match socket.local {
                Local::V6(address) => v6.get(&address).cloned(),
                // No file gives an interface's IPv4 address: the narrowest connected network that holds it does.
                Local::V4(address) => {
                    let holds = |r: &&route::Route| !r.gateway && !r.is_default() && address & r.mask == r.destination;
                    let narrowest = v4.iter().filter(holds).max_by_key(|route| route.mask.count_ones());
                    narrowest.or(v4.iter().find(|route| route.is_default())).map(|route| route.interface.clone())
                }
            };
            let Some(interface) = interface.filter(|name| name != "lo") else { continue };
            let functions = cards(finder, names, &interface);
            let text = format!("a connection to port {} through {interface}", socket.port);
            finder.add(&functions, UseKind::SshSession, &interface, &Evidence::at(file, socket.line, text));
        }
    }
}

/// TCP states of include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// Port 22, and what sshd's configuration says.
fn ssh_ports(finder: &Finder<'_>) -> Vec<u16> {
    let text = finder.host.text("/etc/ssh/sshd_config").into_known().unwrap_or_default();
    let port = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("port"))?;
        words.next()?.parse().ok()
    };
    let mut ports: Vec<u16> = text.lines().filter_map(port).collect();
    ports.push(22);
    ports
}

/// Does something listen on SSH's port, beyond this machine? Unknown if no table of connections can be read.
pub(super) fn ssh_listens(finder: &Finder<'_>) -> Fact<bool> {
    let ports = ssh_ports(finder);
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| finder.host.text(file));
    let loopback = |local: &Local| match local {
        Local::V4(address) => address & 0xff == 127,
        Local::V6(address) => *address == 1,
    };
    let listens = |text: &String| {
        route::tcp(text).iter().any(|s| s.state == LISTEN && ports.contains(&s.port) && !loopback(&s.local))
    };
    if tables.iter().any(|table| table.known().is_some_and(listens)) {
        return Fact::Known(true);
    }
    match tables.into_iter().find(Fact::is_unknown) {
        Some(unknown) => unknown.map(|_| false),
        None => Fact::Known(false),
    }
}
