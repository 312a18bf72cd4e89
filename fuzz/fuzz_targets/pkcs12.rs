//! PKCS#12 with the right password, a wrong one, and none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailcert_fuzz::pki::import::{Format, Input, Limits, Request, read};

fuzz_target!(|data: &[u8]| {
    let inputs = [Input { name: "f", bytes: data }];
    let limits = Limits { iterations: 100, ..Limits::default() };
    for password in [Some(b"password".as_slice()), None] {
        let _ = read(&Request { format: Format::Pkcs12, password, limits, ..Request::new(&inputs) });
    }
});
