//! Input that was made to do harm: nothing panics, and nothing takes long.

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mailcert::pki::import::{Expectation, Format, Input, Limits, Request, judge, read};

use crate::ground::root;

/// What one input may take of this thread's time on a processor. An unoptimised build gets more.
const MOST: Duration = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_millis(100) };

/// How long this thread was on a processor: what else the machine does, does not count.
fn worked() -> Duration {
    let nanoseconds = |text: String| Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?));
    let read = fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(nanoseconds);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    read.unwrap_or_else(|| START.elapsed())
}

/// Reads and judges, with few rounds of key derivation: how long those take is bounded by their number.
fn take(what: &str, inputs: &[&[u8]]) {
    let names = ["tls.crt", "tls.key", "ca.crt", "mail.p12"];
    let inputs: Vec<Input<'_>> = inputs.iter().zip(names).map(|(bytes, name)| Input { name, bytes }).collect();
    let expectation = Expectation { external_host: Some("mail.example.com".into()), ..Expectation::default() };
    let limits = Limits { iterations: 100, ..Limits::default() };
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let start = worked();
        for format in [Format::Auto, Format::Pem, Format::Pkcs12] {
            let request = Request { format, password: Some(b"password"), limits, ..Request::new(&inputs) };
            let (imported, _) = read(&request);
            let _ = judge(&imported, &expectation, "2026-01-01T00:00:00Z".parse().unwrap());
        }
        fastest = fastest.min(worked() - start);
        if fastest < MOST {
            return;
        }
    }
    panic!("{what} takes {fastest:?}; at most {MOST:?} is allowed");
}

#[test]
fn the_corpus_of_the_fuzzers_does_no_harm() {
    const SEPARATOR: &[u8] = b"\0--next--\0";
    let mut seen = 0;
    for target in fs::read_dir(root().join("fuzz/corpus")).unwrap() {
        let target = target.unwrap().path();
        for file in fs::read_dir(&target).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let mut parts = Vec::new();
            let mut rest = bytes.as_slice();
            while let Some(at) = rest.windows(SEPARATOR.len()).position(|w| w == SEPARATOR) {
                parts.push(&rest[..at]);
                rest = &rest[at + SEPARATOR.len()..];
            }
            parts.push(rest);
            take(&path.display().to_string(), &parts);
            // And what a transfer makes of it: cut off, and with a bit turned.
            for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                take("a part", &[&bytes[..cut]]);
                let mut turned = bytes.clone();
                turned[cut] ^= 0x20;
                take("a damaged file", &[&turned]);
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} files in fuzz/corpus");
}

/// A TLV with a long form of its length.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, 0x83];
    out.extend(&u32::try_from(content.len()).unwrap().to_be_bytes()[1..]);
    out.extend(content);
    out
}

#[test]
fn the_largest_inputs_take_no_longer() {
    let limits = Limits::default();
    let certificate = fs::read(root().join("fuzz/corpus/certificate/ca")).unwrap();
    let pem = |der: &[u8]| {
        use base64::Engine;
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    // As many certificates of one name as fit, all different: each may be the issuer of each.
    let mut same_name = String::new();
    for number in 0u32.. {
        let mut der = certificate.clone();
        let end = der.len();
        der[end - 4..].copy_from_slice(&number.to_be_bytes());
        let block = pem(&der);
        if same_name.len() + block.len() > limits.bundle {
            break;
        }
        same_name.push_str(&block);
    }
    let pfx = |safes: &[u8]| {
        let data = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
        let content = |inner: &[u8]| [data.as_slice(), &tlv(0xa0, &tlv(4, inner))].concat();
        let bags = tlv(0x30, &tlv(0x30, &content(safes)));
        tlv(0x30, &[&[2, 1, 3], tlv(0x30, &content(&bags)).as_slice()].concat())
    };
    let oid = [0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
    let attribute = tlv(0x30, &[&[0x06, 1, 42], tlv(0x31, &[]).as_slice()].concat());
    let many = |bytes: &[u8], room: usize| bytes.repeat(room / bytes.len());
    let room = limits.pkcs12 - 400;
    let unsorted =
        tlv(0x30, &[&oid, tlv(0xa0, &[5, 0]).as_slice(), &tlv(0x31, &many(&attribute, room - 100))].concat());
    let bag = tlv(0x30, &[&oid, tlv(0xa0, &[5, 0]).as_slice()].concat());
    let cases: [(&str, Vec<u8>); 12] = [
        ("BEGIN lines", "-----BEGIN CERTIFICATE-----\n".repeat(limits.bundle / 28).into_bytes()),
        ("empty blocks", "-----BEGIN A-----\n-----END A-----\n".repeat(limits.bundle / 34).into_bytes()),
        ("certificates of one name", same_name.into_bytes()),
        ("dashes", vec![b'-'; limits.bundle]),
        ("nested indefinite lengths", [0x30, 0x80].repeat(limits.pkcs12 / 2)),
        ("nested definite lengths", [0x30, 0x83, 0x0f, 0xff, 0xf0].repeat(limits.pkcs12 / 5)),
        ("small elements", tlv(0x30, &many(&[5, 0], limits.pkcs12 - 8))),
        ("indefinite siblings", [&[0x30, 0x80][..], &many(&[0x30, 0x80, 0, 0], limits.pkcs12 - 8), &[0, 0]].concat()),
        ("pieces of a string", [&[0x24, 0x80][..], &many(&[4, 1, 0], limits.pkcs12 - 8), &[0, 0]].concat()),
        ("bags", pfx(&tlv(0x30, &many(&bag, room)))),
        ("attributes", pfx(&tlv(0x30, &unsorted))),
        ("a certificate with a long name", tlv(0x30, &many(&[0x31, 0], limits.certificate - 8))),
    ];
    for (what, bytes) in &cases {
        assert!(bytes.len() <= limits.pkcs12, "{what} has {} bytes", bytes.len());
        take(what, &[bytes]);
    }
}
