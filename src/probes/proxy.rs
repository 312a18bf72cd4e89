//! The PROXY protocol's header (HAProxy, proxy-protocol.txt): a listener that expects it reads nothing else first. It
//! tells our own addresses, as those of a client that connects directly.

use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::error::{LookError, Step};
use super::line::Deadline;
use crate::api::domain::ProxyProtocol;

/// Section 2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Sends the header.
pub(super) async fn send(stream: &mut TcpStream, version: ProxyProtocol, deadline: &Deadline) -> Result<(), LookError> {
    let send = async {
        let (own, peer) = (stream.local_addr()?, stream.peer_addr()?);
        stream.write_all(&header(version, own, peer)).await
    };
    deadline.within(Step::Banner, send).await?.map_err(|error| LookError::connection_lost(Step::Banner, &error))
}

fn header(version: ProxyProtocol, own: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let addresses = match (own.ip().to_canonical(), peer.ip().to_canonical()) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => Addresses::Inet(own.octets(), peer.octets()),
        (own, peer) => Addresses::Inet6(six(own), six(peer)),
    };
    match version {
        ProxyProtocol::V1 => {
            let (family, own_ip, peer_ip) = match addresses {
                Addresses::Inet(own, peer) => ("TCP4", IpAddr::from(own), IpAddr::from(peer)),
                Addresses::Inet6(own, peer) => ("TCP6", IpAddr::from(own), IpAddr::from(peer)),
            };
            format!("PROXY {family} {own_ip} {peer_ip} {} {}\r\n", own.port(), peer.port()).into_bytes()
        }
        ProxyProtocol::V2 => {
            // Version 2, command PROXY; then the family with TCP, and the length of what follows.
            let mut header = SIGNATURE.to_vec();
            header.push(0x21);
            match addresses {
                Addresses::Inet(own, peer) => {
                    header.extend([0x11, 0, 12]);
                    header.extend(own.iter().chain(&peer));
                }
                Addresses::Inet6(own, peer) => {
                    header.extend([0x21, 0, 36]);
                    header.extend(own.iter().chain(&peer));
                }
            }
            header.extend(own.port().to_be_bytes());
            header.extend(peer.port().to_be_bytes());
            header
        }
    }
}

enum Addresses {
    Inet([u8; 4], [u8; 4]),
    Inet6([u8; 16], [u8; 16]),
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_versions_and_families() {
        let (own, peer) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:25".parse().unwrap());
        assert_eq!(header(ProxyProtocol::V1, own, peer), b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n");
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x9c\x40\0\x19";
        assert_eq!(header(ProxyProtocol::V2, own, peer), expected);
        let (own, peer) = ("[2001:db8::1]:40000".parse().unwrap(), "[2001:db8::2]:25".parse().unwrap());
        assert_eq!(header(ProxyProtocol::V1, own, peer), b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n");
        let six = header(ProxyProtocol::V2, own, peer);
        assert_eq!((six.len(), &six[13..16]), (52, &[0x21, 0, 36][..]));
        // An IPv4 address in IPv6 clothing is IPv4: a listener would refuse a mixed pair.
        let mapped = "[::ffff:192.0.2.1]:40000".parse().unwrap();
        let peer = "192.0.2.2:25".parse().unwrap();
        assert!(header(ProxyProtocol::V1, mapped, peer).starts_with(b"PROXY TCP4 192.0.2.1 "));
    }
}
