//! Inputs that take as long as inputs of their size can, and the corpus of the fuzzers: for the test that they do no harm and
//! for the benchmark that says how long they take.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use mailcert::pki::import::{Expectation, Format, Input, Limits, Request, judge, read};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P521_SHA512};

/// What separates the inputs in a file of the corpus.
const SEPARATOR: &[u8] = b"\0--next--\0";

/// Inputs that belong together, by the names that they would have in a Secret.
pub type Inputs = Vec<(&'static str, Vec<u8>)>;

/// How long this thread was on a processor: what else the machine does, does not count.
pub fn worked() -> Duration {
    let nanoseconds = |text: String| Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?));
    let read = fs::read_to_string("/proc/thread-self/schedstat").ok().and_then(nanoseconds);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    read.unwrap_or_else(|| START.elapsed())
}

/// Reads and judges as an import does, with few rounds of key derivation: how long those take is bounded by their number.
pub fn import(inputs: &[(&str, Vec<u8>)], format: Format) {
    let inputs: Vec<Input<'_>> = inputs.iter().map(|(name, bytes)| Input { name, bytes }).collect();
    let expectation = Expectation { external_host: Some("mail.example.com".into()), ..Expectation::default() };
    let limits = Limits { iterations: 100, ..Limits::default() };
    let request = Request { format, password: Some(b"password"), limits, ..Request::new(&inputs) };
    let (imported, _) = read(&request);
    let _ = judge(&imported, &expectation, "2026-01-01T00:00:00Z".parse().unwrap());
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Every file of the corpus.
pub fn corpus() -> Vec<(String, Inputs)> {
    let names = ["tls.crt", "tls.key", "ca.crt", "mail.p12"];
    let mut found = Vec::new();
    for target in fs::read_dir(folder()).unwrap() {
        for file in fs::read_dir(target.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let mut parts = Vec::new();
            let mut rest = bytes.as_slice();
            while let Some(at) = rest.windows(SEPARATOR.len()).position(|w| w == SEPARATOR) {
                parts.push(rest[..at].to_vec());
                rest = &rest[at + SEPARATOR.len()..];
            }
            parts.push(rest.to_vec());
            let name = path.strip_prefix(folder()).unwrap().display().to_string();
            found.push((name, names.into_iter().zip(parts).collect()));
        }
    }
    found.sort();
    found
}

/// A TLV with a long form of its length.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag, 0x83];
    out.extend(&u32::try_from(content.len()).unwrap().to_be_bytes()[1..]);
    out.extend(content);
    out
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// As many blocks as a bundle may hold.
fn bundle(mut block: impl FnMut(u32) -> String) -> Vec<u8> {
    let mut text = String::new();
    for number in 0.. {
        let next = block(number);
        if text.len() + next.len() > Limits::default().bundle {
            break;
        }
        text.push_str(&next);
    }
    text.into_bytes()
}

/// CA certificates of one name with keys of their own on P-521, whose signatures take the longest: each may be the issuer of
/// each, and none is. Roots, or signed by a CA of that name.
fn of_one_name(roots: bool) -> impl FnMut(u32) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = !roots;
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
    let by = Issuer::new(params.clone(), key());
    move |_| match roots {
        true => params.self_signed(&key()).unwrap().pem(),
        false => params.signed_by(&key(), &by).unwrap().pem(),
    }
}

/// The most that the limits let through, of every kind.
pub fn cases() -> Vec<(&'static str, Inputs)> {
    let limits = Limits::default();
    let certificate = fs::read(folder().join("certificate/ca")).unwrap();
    // All different, and of one name.
    let same_name = bundle(|number| {
        let mut der = certificate.clone();
        let end = der.len();
        der[end - 4..].copy_from_slice(&number.to_be_bytes());
        pem(&der)
    });
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
    let one = |bytes: Vec<u8>| vec![("tls.crt", bytes)];
    let mut above = of_one_name(false);
    let leaf = above(0);
    vec![
        ("BEGIN lines", one("-----BEGIN CERTIFICATE-----\n".repeat(limits.bundle / 28).into_bytes())),
        ("empty PEM blocks", one("-----BEGIN A-----\n-----END A-----\n".repeat(limits.bundle / 34).into_bytes())),
        ("dashes", one(vec![b'-'; limits.bundle])),
        ("certificates of one name (P-256)", one(same_name)),
        ("CAs of one name (P-521)", one(bundle(of_one_name(false)))),
        ("roots of one name (P-521)", vec![("tls.crt", leaf.into_bytes()), ("ca.crt", bundle(of_one_name(true)))]),
        ("nested indefinite lengths", one([0x30, 0x80].repeat(limits.pkcs12 / 2))),
        ("nested definite lengths", one([0x30, 0x83, 0x0f, 0xff, 0xf0].repeat(limits.pkcs12 / 5))),
        ("small elements", one(tlv(0x30, &many(&[5, 0], limits.pkcs12 - 8)))),
        (
            "indefinite siblings",
            one([&[0x30, 0x80][..], &many(&[0x30, 0x80, 0, 0], limits.pkcs12 - 8), &[0, 0]].concat()),
        ),
        ("pieces of a string", one([&[0x24, 0x80][..], &many(&[4, 1, 0], limits.pkcs12 - 8), &[0, 0]].concat())),
        ("PKCS#12 bags", one(pfx(&tlv(0x30, &many(&bag, room))))),
        ("PKCS#12 attributes", one(pfx(&tlv(0x30, &unsorted)))),
        ("a certificate with a long name", one(tlv(0x30, &many(&[0x31, 0], limits.certificate - 8)))),
    ]
}
