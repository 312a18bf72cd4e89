//! Pebble starts, its DNS server answers what it was told and nothing else.

use mailcert_testenv::{Pebble, PebbleOptions};
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

/// Asks for one record type (1: A, 28: AAAA) and returns the number of answers.
fn answers(server: SocketAddr, name: &str, record_type: u8) -> u16 {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, record_type, 0, 1]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&query, server).unwrap();
    let mut answer = [0; 512];
    socket.recv(&mut answer).unwrap();
    u16::from_be_bytes([answer[6], answer[7]])
}

#[test]
fn dns_knows_only_what_it_was_told() {
    let pebble = Pebble::start(&PebbleOptions { alternate_roots: 1, ..PebbleOptions::default() }).unwrap();
    assert!(pebble.root_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(pebble.alternate_root_pem(1).unwrap(), pebble.root_pem());
    assert!(pebble.alternate_root_pem(2).is_err());
    assert!(pebble.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));

    let dns = pebble.dns_address();
    assert_eq!(answers(dns, "mail.example.com", 1), 0);
    pebble.set_a("mail.example.com", Ipv4Addr::LOCALHOST).unwrap();
    pebble.set_a("mail.example.com", Ipv4Addr::new(127, 0, 0, 2)).unwrap();
    assert_eq!(answers(dns, "mail.example.com", 1), 1);
    assert_eq!(answers(dns, "mail.example.com", 28), 0);
    pebble.dns().add_txt("_acme-challenge.example.com", "token").unwrap();
    assert_eq!(answers(dns, "_acme-challenge.example.com", 16), 1);
    pebble.dns().clear_txt("_acme-challenge.example.com").unwrap();
    assert_eq!(answers(dns, "_acme-challenge.example.com", 16), 0);
    pebble.dns().set_default(Some(Ipv4Addr::LOCALHOST)).unwrap();
    assert_eq!(answers(dns, "unknown.example.com", 1), 1);
    pebble.dns().set_default(None).unwrap();
    assert_eq!(answers(dns, "unknown.example.com", 1), 0);
    pebble.dns().call("no-such-call", &serde_json::json!({})).expect_err("an unknown call is refused");
}
