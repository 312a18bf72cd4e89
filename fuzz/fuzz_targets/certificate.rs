//! One certificate in DER, and everything that is asked of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailcert_fuzz::pki::import::{Expectation, Imported, judge};
use mailcert_fuzz::pki::{Certificate, Chain, ari_id, covers};

fuzz_target!(|data: &[u8]| {
    let Ok(certificate) = Certificate::parse_der(data) else { return };
    assert_eq!(certificate.der().as_ref(), data);
    let _ = (certificate.label(), certificate.is_self_signed(), ari_id(&certificate));
    for name in &certificate.dns_names {
        let _ = covers(name, "mail.example.com");
    }
    let again = Chain::from_ders(&[data, data]).unwrap();
    let imported = Imported::of_served(again);
    let _ = judge(&imported, &Expectation::default(), certificate.not_before);
});
