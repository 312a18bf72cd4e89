//! Several inputs of any kind, read and judged as an import is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailcert_fuzz::pki::import::{Expectation, Input, Limits, Request, judge, read};

/// What separates the inputs.
const SEPARATOR: &[u8] = b"\0--next--\0";

fuzz_target!(|data: &[u8]| {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|w| w == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    let names = ["tls.crt", "tls.key", "ca.crt", "mail.p12"];
    let inputs: Vec<Input<'_>> = parts.iter().zip(names).map(|(bytes, name)| Input { name, bytes }).collect();
    let limits = Limits { iterations: 100, ..Limits::default() };
    let (imported, _) = read(&Request { password: Some(b"password"), limits, ..Request::new(&inputs) });
    let expectation = Expectation { external_host: Some("mail.example.com".into()), ..Expectation::default() };

    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let _ = judge(&imported, &expectation, now);
});
