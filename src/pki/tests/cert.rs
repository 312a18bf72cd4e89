use proptest::prelude::*;
use rcgen::{DnType, SanType};

use super::*;

#[test]
fn the_facts_of_a_leaf() {
    let ca = simple_ca();
    let key = key();
    let mut spec = leaf_spec(&["Mail.Example.com", "bücher.example", "mail.example.com"]);
    spec.subject.common_name = Some("mail.example.com".into());
    spec.subject.subject.organization = Some("Example".into());
    spec.subject.subject.country = Some("de".into());
    spec.subject.emails = vec!["Post@Example.com".into()];
    spec.serial = Some([0xff; 16]);
    let chain = ca.sign(key.spki_der(), &spec).unwrap();
    let leaf = chain.leaf();
    assert_eq!(leaf.serial, "7fffffffffffffffffffffffffffffff");
    assert_eq!(leaf.subject, "C=DE, O=Example, CN=mail.example.com");
    assert_eq!(leaf.issuer, "CN=Mail CA");
    assert_eq!(leaf.common_names, ["mail.example.com"]);
    assert_eq!(leaf.dns_names, ["mail.example.com", "xn--bcher-kva.example"]);
    assert_eq!(leaf.emails, ["Post@example.com"]);
    assert_eq!(leaf.not_before, at("2030-06-15T11:55:00Z"));
    assert_eq!(leaf.not_after, at("2030-07-15T12:00:00Z"));
    assert_eq!((leaf.is_ca, leaf.path_len, leaf.self_issued), (false, None, false));
    let usage = leaf.key_usage.unwrap();
    assert!(usage.digital_signature && !usage.key_encipherment && !usage.key_cert_sign);
    assert_eq!(leaf.extended_usages, Some(ExtendedUsages { usages: vec![Usage::ServerAuth], any: false, others: 0 }));
    assert_eq!(leaf.aki, ca.certificate().ski);
    assert!(leaf.ski.is_some() && leaf.aki.is_some());
    assert_eq!(leaf.public_key, Some(KeySpec::P256));
    assert!(leaf.signature_accepted);
    assert_eq!(leaf.spki_sha256, key.spki_sha256());
    assert_eq!(leaf.fingerprint, Fingerprint::of(leaf.der()));
    assert!(ca.certificate().is_ca && ca.certificate().is_self_signed() && !leaf.is_self_signed());
}

#[test]
fn every_name_is_seen() {
    let key = key();
    let mut params = ca_params("x");
    params.distinguished_name.push(DnType::CommonName, "a\nb".repeat(200));
    params.subject_alt_names = vec![
        SanType::DnsName("mail.example.com".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::URI("spiffe://x".try_into().unwrap()),
        SanType::OtherName((vec![1, 2, 3], rcgen::OtherNameValue::Utf8String("x".into()))),
    ];
    let cert = root(&params, &key);
    assert_eq!(cert.ip_addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    assert_eq!(cert.other_names, ["URI", "otherName"]);
    assert_eq!(cert.common_names, ["a\nb".repeat(200)]);
    assert!(cert.subject.chars().count() == 256 && !cert.subject.contains('\n'));
}

#[test]
fn chains_are_bounded_and_errors_name_the_certificate() {
    let ca = simple_ca();
    let pem = ca.sign(key().spki_der(), &leaf_spec(&["mail.example.com"])).unwrap().to_pem();
    let read = |text: &str| Chain::from_pem(text.as_bytes(), &PemLimits::CHAIN).map(|c| c.iter().count());
    let broken = super::pem_blocks::encode("CERTIFICATE", b"not a certificate").to_string();
    let large = super::pem_blocks::encode("CERTIFICATE", &[0; 30_000]).to_string();
    assert_eq!(read(&format!("text\n{pem}more\r\n{pem}")), Ok(2));
    assert_eq!(read(&format!("{}{pem}", *key().to_pkcs8_pem())), Ok(1), "a key in the same file is skipped");
    let none = "there is no PEM block with a certificate; it must start with -----BEGIN CERTIFICATE-----";
    for (text, wanted) in [
        (String::new(), none),
        (key().to_pkcs8_pem().to_string(), none),
        (pem.repeat(11), "there are 11 certificates; at most 10 are read"),
        (" ".repeat(97_281), "the certificates' text has 97281 bytes; at most 97280 are read"),
        (format!("{pem}{broken}"), "certificate 2 is damaged: it is not an X.509 certificate"),
        (format!("{pem}{large}"), "certificate 2 has 40678 bytes of PEM; at most 36864 are read"),
    ] {
        assert_eq!(read(&text).unwrap_err().to_string(), wanted);
    }
    let trailing = [ca.certificate().der().as_ref(), b"x"].concat();
    assert!(Certificate::parse_der(&trailing).is_err(), "bytes behind the certificate");
}

#[test]
fn links_are_checked_by_name_flag_and_signature() {
    let (key, other) = (key(), key());
    let ca = root(&ca_params("One"), &key);
    let leaf = below(&ca_params("Leaf"), &other, &ca, &key);
    assert_eq!(leaf.signed_by(&ca), Ok(()));
    assert_eq!(leaf.signed_by(&root(&ca_params("Two"), &key)), Err(LinkError::Name));
    assert_eq!(leaf.signed_by(&root(&ca_params("One"), &other)), Err(LinkError::Signature));
    let mut no_ca = ca_params("One");
    no_ca.is_ca = rcgen::IsCa::ExplicitNoCa;
    assert_eq!(leaf.signed_by(&root(&no_ca, &key)), Err(LinkError::NotCa));
}

#[test]
fn the_mozilla_roots_are_all_read() {
    let roots = mozilla_roots();
    assert!(roots.len() > 100);
    for root in roots {
        let cert = Certificate::parse_der(root).unwrap();
        assert!(cert.self_issued && cert.is_ca && cert.public_key.is_some(), "{}", cert.subject);
        // Some roots are old enough to be signed with SHA-1, which nobody checks.
        assert_eq!(cert.is_self_signed(), cert.signature_accepted, "{}", cert.subject);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Certificate::parse_der(&bytes).is_err());
        let _ = Chain::from_pem(&bytes, &PemLimits::CHAIN);
        prop_assert!(Chain::from_ders(&[&bytes]).is_err());
    }

    #[test]
    fn a_damaged_certificate_is_judged_without_panic(root in 0usize..100, at in 0usize..1500, byte in any::<u8>()) {
        let mut der = mozilla_roots()[root].to_vec();
        if let Some(old) = der.get_mut(at) {
            *old = byte;
        }
        if let Ok(cert) = Certificate::parse_der(&der) {
            let _ = cert.signed_by(&cert);
            let _ = judge_chain(&[cert.der()], &Anchors::mozilla(), "mail.example.com", now());
        }
    }
}
