//! PEM text: chains, keys, and imports of what looks like PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailcert_fuzz::pki::import::{Format, Input, Request, read};
use mailcert_fuzz::pki::{Chain, PemLimits, PrivateKey};

fuzz_target!(|data: &[u8]| {
    if let Ok(chain) = Chain::from_pem(data, &PemLimits::CHAIN) {
        // What was read is written and read again.
        assert_eq!(Chain::from_pem(chain.to_pem().as_bytes(), &PemLimits::BUNDLE), Ok(chain));
    }
    let _ = PrivateKey::from_pem(data);
    let inputs = [Input { name: "f", bytes: data }];
    let _ = read(&Request { format: Format::Pem, ..Request::new(&inputs) });
});
