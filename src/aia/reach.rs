//! Which addresses may be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a fetch may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses, port 80: all that an operator may ever be given.
    Public,
    /// This address and port alone, whatever the URL says: a server of a test's own.
    Only(SocketAddr),
}

impl Reach {
    /// The address to connect to for one that a name resolved to, or `None` when it must not be asked.
    pub(super) fn allows(&self, address: IpAddr, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Public => (port == 80 && is_public(address)).then(|| SocketAddr::new(address, port)),
            Self::Only(own) => (own.ip() == address && own.port() == port).then_some(*own),
        }
    }
}

/// Whether an address is one of the public internet: not of a private network, this machine, this link, a cloud's
/// metadata service, or a range that is reserved, documentation, multicast or a translation into one of these
/// (IANA's registries of special-purpose addresses).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    const METADATA_OF_AZURE: [u8; 4] = [168, 63, 129, 16];
    let octets = address.octets();
    let special = matches!(
        octets,
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 31, 196, _]
            | [192, 52, 193, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [192, 175, 48, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    );
    !special && octets != METADATA_OF_AZURE
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Only 2000::/3 is in use for the public internet; of it, some is not.
    let global = segments[0] & 0xe000 == 0x2000;
    let special =
        matches!(segments, [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..]);
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached() {
        for (address, public) in [
            ("93.184.215.14", true),
            ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", true),
            ("127.0.0.1", false),
            ("10.96.0.1", false),
            ("172.20.1.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.100.100.200", false),
            ("168.63.129.16", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("198.51.100.7", false),
            ("::", false),
            ("::1", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:93.184.215.14", true),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
            ("2001::1", false),
            ("2001:db8::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::Public.allows(address, 80).is_some(), public, "{address}");
            assert_eq!(Reach::Public.allows(address, 8080), None);
        }
        let own: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        assert_eq!(Reach::Only(own).allows(own.ip(), 4711), Some(own));
        assert_eq!(Reach::Only(own).allows(own.ip(), 80), None);
        assert_eq!(Reach::Only(own).allows("127.0.0.2".parse().unwrap(), 4711), None);
    }
}
