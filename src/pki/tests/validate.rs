use rcgen::{IsCa, KeyUsagePurpose, SanType};

use super::*;

fn texts(defects: &[Defect]) -> Vec<String> {
    defects.iter().map(ToString::to_string).collect()
}

#[test]
fn every_defect_is_told_at_once() {
    let ca = simple_ca();
    let mut spec = leaf_spec(&["mail.example.com", "extra.example.com"]);
    spec.subject.common_name = Some("Mail server".into());
    spec.usages = vec![Usage::ClientAuth];
    let chain = ca.sign(key().spki_der(), &spec).unwrap();
    let mut wanted = expected(&["mail.example.com", "imap.example.com", "smtp.example.com"]);
    wanted.emails = vec!["post@example.com".into()];
    let nobody = Anchors::own([]);
    let found = validate_issued(&chain, &key(), &wanted, Some(&nobody), at("2030-08-01T00:00:00Z"));
    assert_eq!(
        texts(&found),
        [
            "the private key does not belong to the certificate; use the key that the certificate was requested with",
            "the certificate does not cover imap.example.com, smtp.example.com; have it issued again with every name",
            "the certificate lacks the e-mail addresses post@example.com; have it issued again with every address",
            "the certificate holds names that were not asked for: extra.example.com; check what the CA adds",
            "the common name \"Mail server\" is not among the certificate's alternative names; leave the common name out or add the name",
            "certificate 1 (CN=Mail server) expired at 2030-07-15T12:00:00Z; renew it",
            "the certificate's extended key usage lacks serverAuth; have it issued with that usage",
        ]
    );
}

#[test]
fn a_common_name_may_be_missing_or_stand_among_the_names() {
    let ca = simple_ca();
    let key = key();
    for name in [None, Some("mail.example.com"), Some("Bücher.example")] {
        let mut spec = leaf_spec(&["mail.example.com", "bücher.example"]);
        spec.subject.common_name = name.map(str::to_owned);
        let chain = ca.sign(key.spki_der(), &spec).unwrap();
        let mut wanted = expected(&["bücher.example", "mail.example.com"]);
        wanted.common_name = name.map(str::to_owned);
        assert_eq!(validate_issued(&chain, &key, &wanted, None, now()), [], "{name:?}");
    }
}

#[test]
fn an_imported_certificate_may_hold_more_and_cover_by_wildcard() {
    let ca = simple_ca();
    let key = key();
    let chain = ca.sign(key.spki_der(), &leaf_spec(&["*.example.com", "old.example.net"])).unwrap();
    let mut wanted = expected(&["mail.example.com"]);
    assert_eq!(
        validate_issued(&chain, &key, &wanted, None, now()),
        [Defect::UnexpectedNames(vec!["*.example.com".into(), "old.example.net".into()])]
    );
    wanted.allow_extra_names = true;
    assert_eq!(validate_issued(&chain, &key, &wanted, None, now()), []);
}

#[test]
fn kinds_of_names_usages_and_ca_leaves() {
    let key = key();
    let mut params = ca_params("Mail CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![
        SanType::DnsName("mail.example.com".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::URI("spiffe://x".try_into().unwrap()),
    ];
    let chain = Chain::new(root(&params, &key), vec![]);
    let found = validate_issued(&chain, &key, &expected(&["mail.example.com"]), None, at("2029-01-01T00:00:00Z"));
    assert_eq!(
        texts(&found),
        [
            "the certificate holds names that were not asked for: 192.0.2.1; check what the CA adds",
            "the certificate holds names of kinds that were not asked for: URI; check the CA's template",
            "the common name \"Mail CA\" is not among the certificate's alternative names; leave the common name out or add the name",
            "certificate 1 (CN=Mail CA) is not valid before 2030-01-01T00:00:00Z; wait until then, or check the clocks",
            "the first certificate is a CA certificate; put the server's own certificate first",
            "the certificate's key usage lacks digitalSignature, without which TLS 1.3 cannot use it",
        ]
    );
}

#[test]
fn broken_chains_name_the_place() {
    let (root_key, ca_key, leaf_key) = (key(), key(), key());
    let top = root(&ca_params("Root"), &root_key);
    let issuing = below(&ca_params("Issuing"), &ca_key, &top, &root_key);
    let signed =
        load(&[&issuing, &top], &ca_key, now()).unwrap().sign(leaf_key.spki_der(), &leaf_spec(&["a.example.com"]));
    let leaf = signed.unwrap().leaf().clone();
    let judge = |rest: Vec<Certificate>, anchors: Option<&Anchors>| {
        texts(&validate_issued(
            &Chain::new(leaf.clone(), rest),
            &leaf_key,
            &expected(&["a.example.com"]),
            anchors,
            now(),
        ))
    };
    let anchors = Anchors::own([top.clone()]);
    assert!(judge(vec![issuing.clone(), top.clone()], Some(&anchors)).is_empty());
    assert_eq!(
        judge(vec![top.clone(), issuing.clone()], None),
        [
            "certificate 1 (a.example.com) is not signed by certificate 2 (CN=Root): its issuer name is not the next one's subject; put the leaf first, then each issuer in turn",
            "certificate 2 (CN=Root) is not signed by certificate 3 (CN=Issuing): its issuer name is not the next one's subject; put the leaf first, then each issuer in turn",
        ]
    );
    assert_eq!(
        judge(vec![], Some(&anchors)),
        [
            "the certificate is not trusted: its issuer CN=Issuing is no trust anchor and the server sends no intermediate certificate"
        ]
    );
    let mut no_ca = ca_params("Issuing");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let fake = below(&no_ca, &ca_key, &top, &root_key);
    assert_eq!(
        judge(vec![fake], None),
        [
            "certificate 1 (a.example.com) is not signed by certificate 2 (CN=Issuing): the next one is not a CA, or must not sign certificates; put the leaf first, then each issuer in turn"
        ]
    );
}

#[test]
fn weak_keys_and_signatures_of_openssl() {
    if without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let common = "req -x509 -nodes -days 2 -subj /CN=a.example.com -addext subjectAltName=DNS:a.example.com \
                  -addext basicConstraints=critical,CA:FALSE -keyout k.pem";
    for (extra, wanted) in [
        (
            "-newkey rsa:1024 -sha256 -out weak.pem",
            "certificate 1 (CN=a.example.com) has a key that clients refuse (RSA 1024); use RSA from 2048 bits on, ECDSA or Ed25519",
        ),
        (
            "-newkey rsa:2048 -sha1 -out weak.pem",
            "certificate 1 (CN=a.example.com) is signed with an algorithm that clients refuse, such as SHA-1; have it issued again with SHA-256",
        ),
    ] {
        let arguments = format!("{common} {extra}");
        let (ok, text) = openssl(dir.path(), &arguments.split_whitespace().collect::<Vec<_>>());
        assert!(ok, "{text}");
        let chain = Chain::from_pem(&std::fs::read(dir.path().join("weak.pem")).unwrap(), &PemLimits::CHAIN).unwrap();
        let now = chain.leaf().not_before;
        let found = texts(&validate_issued(&chain, &key(), &expected(&["a.example.com"]), None, now));
        assert_eq!(found[1..], [wanted.to_owned()], "{found:?}");
    }
}

#[test]
fn a_signature_of_another_kind_of_key_is_no_link() {
    let (rsa, leaf_key) = (PrivateKey::generate(&KeySpec::rsa(2048)).unwrap(), key());
    let (real_key, params) = (key(), ca_params("Issuing"));
    let leaf = load(&[&root(&params, &real_key)], &real_key, now()).unwrap();
    let leaf = leaf.sign(leaf_key.spki_der(), &leaf_spec(&["a.example.com"])).unwrap().leaf().clone();
    let chain = Chain::new(leaf, vec![root(&params, &rsa)]);
    let found = validate_issued(&chain, &leaf_key, &expected(&["a.example.com"]), None, now());
    assert!(matches!(found[..], [Defect::ChainBroken { number: 1, reason: LinkError::Algorithm, .. }]), "{found:?}");
}
