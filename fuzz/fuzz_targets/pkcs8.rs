//! Private keys, plain and encrypted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailcert_fuzz::pki::PrivateKey;
use mailcert_fuzz::pki::import::{Input, Limits, Request, read};

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PrivateKey::from_pkcs8_der(data) {
        let again = PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()).unwrap();
        assert_eq!(key.spki_der(), again.spki_der());
    }
    let inputs = [Input { name: "f", bytes: data }];
    // Few rounds, so that time goes into parsing.
    let limits = Limits { iterations: 100, ..Limits::default() };
    let _ = read(&Request { password: Some(b"password"), limits, ..Request::new(&inputs) });
});
