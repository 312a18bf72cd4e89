//! Files that no password opens, and that take as many rounds as the limit allows to find that out.

use der::asn1::{Any, ObjectIdentifier, OctetString};
use der::{Encode, Tag};

const PBES2: &str = "1.2.840.113549.1.5.13";
const PBKDF2: &str = "1.2.840.113549.1.5.12";
const SCRYPT: &str = "1.3.6.1.4.1.11591.4.11";
const PBMAC1: &str = "1.2.840.113549.1.5.14";
const HMAC_SHA1: &str = "1.2.840.113549.2.7";
const HMAC_SHA256: &str = "1.2.840.113549.2.9";
const HMAC_SHA512: &str = "1.2.840.113549.2.11";
const AES_256: &str = "2.16.840.1.101.3.4.1.42";
const SHA1: &str = "1.3.14.3.2.26";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";
const TRIPLE_DES: &str = "1.2.840.113549.1.12.1.3";
const DATA: &str = "1.2.840.113549.1.7.1";

/// Each with what it asks for.
pub fn files(rounds: u32) -> Vec<(String, Vec<u8>)> {
    let key = |prf: &str, rounds| encrypted(PBES2, &sequence(&[pbkdf2(prf, rounds, None), cipher()]));
    // Each unit of scrypt's N times r counts as a round, and so does each of its p lanes.
    let scrypt = |p: u32| {
        let parameters = sequence(&[octets(&[7; 8]), integer(16384), integer(8), integer(p)]);
        encrypted(PBES2, &sequence(&[sequence(&[oid(SCRYPT), parameters]), cipher()]))
    };
    let with = |what: &str, rounds: u32| format!("{what}, {rounds} rounds");
    let four: String = (0..4).map(|_| pem(&key(HMAC_SHA512, rounds))).collect();
    vec![
        (with("PBES2 with SHA-1", rounds), key(HMAC_SHA1, rounds)),
        (with("PBES2 with SHA-256", rounds), key(HMAC_SHA256, rounds)),
        (with("PBES2 with SHA-512", rounds), key(HMAC_SHA512, rounds)),
        (with("3DES of PKCS#12", rounds), encrypted(TRIPLE_DES, &sequence(&[octets(&[7; 8]), integer(rounds)]))),
        (with("MAC with SHA-1", rounds), store(mac(SHA1, 20, rounds))),
        (with("MAC with SHA-256", rounds), store(mac(SHA256, 32, rounds))),
        (with("MAC with SHA-512", rounds), store(mac(SHA512, 64, rounds))),
        (with("PBMAC1 with SHA-512", rounds), store(pbmac1(rounds))),
        ("scrypt, N 16384, r 8, p 1 (OpenSSL's)".to_owned(), scrypt(1)),
        ("scrypt, N 16384, r 8, p 30 (the most)".to_owned(), scrypt(30)),
        (format!("the most of one import, 4 times {rounds} rounds"), four.into_bytes()),
    ]
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{text}\n-----END ENCRYPTED PRIVATE KEY-----\n")
}

fn tagged(tag: Tag, content: Vec<u8>) -> Vec<u8> {
    Any::new(tag, content).unwrap().to_der().unwrap()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(Tag::Sequence, parts.concat())
}

fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new(text).unwrap().to_der().unwrap()
}

fn integer(value: u32) -> Vec<u8> {
    value.to_der().unwrap()
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    OctetString::new(bytes).unwrap().to_der().unwrap()
}

fn algorithm(name: &str) -> Vec<u8> {
    sequence(&[oid(name), tagged(Tag::Null, Vec::new())])
}

fn cipher() -> Vec<u8> {
    sequence(&[oid(AES_256), octets(&[7; 16])])
}

fn pbkdf2(prf: &str, rounds: u32, length: Option<u32>) -> Vec<u8> {
    let length = length.map(integer).unwrap_or_default();
    let parameters = sequence(&[octets(&[7; 8]), integer(rounds), length, algorithm(prf)]);
    sequence(&[oid(PBKDF2), parameters])
}

/// An encrypted PKCS#8 key.
fn encrypted(scheme: &str, parameters: &[u8]) -> Vec<u8> {
    sequence(&[sequence(&[oid(scheme), parameters.to_vec()]), octets(&[7; 48])])
}

fn mac(hash: &str, bytes: usize, rounds: u32) -> Vec<u8> {
    let digest = sequence(&[algorithm(hash), octets(&vec![7; bytes])]);
    sequence(&[digest, octets(&[7; 8]), integer(rounds)])
}

fn pbmac1(rounds: u32) -> Vec<u8> {
    let parameters = sequence(&[pbkdf2(HMAC_SHA512, rounds, Some(64)), algorithm(HMAC_SHA512)]);
    let digest = sequence(&[sequence(&[oid(PBMAC1), parameters]), octets(&[7; 64])]);
    sequence(&[digest, octets(&[7; 8]), integer(1)])
}

/// A PKCS#12 file with nothing in it and that MAC.
fn store(mac: Vec<u8>) -> Vec<u8> {
    let nothing = octets(&sequence(&[]));
    let explicit = [&[0xa0, u8::try_from(nothing.len()).unwrap()][..], &nothing].concat();
    sequence(&[integer(3), sequence(&[oid(DATA), explicit]), mac])
}
