//! The kernel's tables of routes, addresses and connections below `/proc/net`. Pure.
//!
//! Formats: Linux 6.12 net/ipv4/fib_trie.c `fib_route_seq_show`, net/ipv6/route.c `rt6_info_dump`,
//! net/ipv6/addrconf.c `if6_seq_show`, net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c `get_tcp*_sock`.

/// One IPv4 route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Counted from 1.
    pub line: u32,
    /// The interface.
    pub interface: String,
    /// The destination, in the machine's byte order as the kernel prints it.
    pub destination: u32,
    /// Its mask, the same.
    pub mask: u32,
    /// True for a route through a gateway.
    pub gateway: bool,
}

impl Route {
    /// Is it a default route?
    pub fn is_default(&self) -> bool {
        self.destination == 0 && self.mask == 0
    }
}

/// Parses `/proc/net/route`; routes that are not up or that reject (flags RTF_UP 1, RTF_REJECT 200h) are left out.
pub fn v4(text: &str) -> Vec<Route> {
    let route = |(line, text): (u32, &str)| {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|f| u32::from_str_radix(f, 16).ok());
        let flags = number(3)?;
        (flags & 0x201 == 1).then_some(())?;
        Some(Route {
            line,
            interface: (*fields.first()?).to_owned(),
            destination: number(1)?,
            mask: number(7)?,
            gateway: number(2)? != 0,
        })
    };
    (1u32..).zip(text.lines()).skip(1).filter_map(route).collect()
}

/// The interfaces of IPv6 default routes in `/proc/net/ipv6_route`, with their lines.
pub fn v6_defaults(text: &str) -> Vec<(u32, String)> {
    let route = |(line, text): (u32, &str)| {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let any = fields.first()?.bytes().all(|b| b == b'0') && *fields.get(1)? == "00";
        let interface = *fields.get(9)?;
        (any && flags & 0x201 == 1 && interface != "lo").then(|| (line, interface.to_owned()))
    };
    (1u32..).zip(text.lines()).filter_map(route).collect()
}

/// IPv6 addresses in `/proc/net/if_inet6`: 32 hex digits in network order, and the interface.
pub fn v6_addresses(text: &str) -> Vec<(u128, String)> {
    let address = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        Some((address, fields.nth(4)?.to_owned()))
    };
    text.lines().filter_map(address).collect()
}

/// A local address of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// As `/proc/net/route` prints it.
    V4(u32),
    /// In network order.
    V6(u128),
}

/// One TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Counted from 1.
    pub line: u32,
    /// The local address.
    pub local: Local,
    /// The local port.
    pub port: u16,
    /// 1: established, 0Ah: listening (include/net/tcp_states.h).
    pub state: u8,
}

/// Parses `/proc/net/tcp` and `/proc/net/tcp6` of a little-endian machine (all that this program knows).
pub fn tcp(text: &str) -> Vec<Socket> {
    let socket = |(line, text): (u32, &str)| {
        let mut fields = text.split_ascii_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        let local = match address.len() {
            8 => Local::V4(u32::from_str_radix(address, 16).ok()?),
            32 => v6_local(address)?,
            _ => return None,
        };
        Some(Socket { line, local, port: u16::from_str_radix(port, 16).ok()?, state })
    };
    (1u32..).zip(text.lines()).skip(1).filter_map(socket).collect()
}

/// Four words in the machine's byte order; `::ffff:a.b.c.d` is the IPv4 address.
fn v6_local(digits: &str) -> Option<Local> {
    let mut address = 0u128;
    let mut last = 0;
    for at in [0, 8, 16, 24] {
        last = u32::from_str_radix(digits.get(at..at + 8)?, 16).ok()?;
        address = (address << 32) | u128::from(last.swap_bytes());
    }
    Some(if address >> 32 == 0xffff { Local::V4(last) } else { Local::V6(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn routes() {
        let text = format!(
            "{HEAD}vmbr0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             vmbr0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nx\t00000000\t00000000\t0200\t0\t0\t0\t00000000\n\
             short\t00\n\n"
        );
        let routes = v4(&text);
        let got: Vec<(u32, bool, bool)> = routes.iter().map(|r| (r.line, r.is_default(), r.gateway)).collect();
        assert_eq!(got, [(2, true, true), (3, false, false)]);
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 {zero} 00000400 00000002 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n\
             fe80{} 40 {zero} 00 {zero} 00000100 00000002 00000000 00000001     eth0\n",
            "0".repeat(28)
        );
        assert_eq!(v6_defaults(&v6), [(1, "eth0".to_owned())]);
    }

    #[test]
    fn sockets_and_addresses() {
        let text = "  sl  local_address rem_address   st tx_queue\n   0: 00000000:0016 00000000:0000 0A 0:0\n\
                    \x20  1: 020200C0:0016 010200C0:CAFE 01 0:0\n junk\n";
        let sockets = tcp(text);
        assert_eq!(sockets.len(), 2);
        assert_eq!((sockets[1].local, sockets[1].port, sockets[1].state), (Local::V4(0x0202_00C0), 22, 1));
        let mapped = "h\n 0: 0000000000000000FFFF0000020200C0:0016 0:0 01 x\n 1: 000000FD000000000000000002000000:0016 0:0 01 x\n";
        let sockets = tcp(mapped);
        assert_eq!(sockets[0].local, Local::V4(0x0202_00C0));
        let addresses = v6_addresses("fd000000000000000000000000000002 04 40 00 82     eth0\n\nzz 1 2 3 4 e\n");
        assert_eq!(addresses, [(0xfd00_0000_0000_0000_0000_0000_0000_0002, "eth0".to_owned())]);
        assert_eq!(sockets[1].local, Local::V6(addresses[0].0));
    }
}
