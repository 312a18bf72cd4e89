use rcgen::{BasicConstraints, DnType, IsCa, KeyUsagePurpose};

use super::*;

const NAMES: [&str; 2] = ["mail.example.com", "*.mx.example.com"];
const SPECS: [KeySpec; 5] =
    [KeySpec::P256, KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::ED25519, KeySpec::rsa(2048)];

#[test]
fn what_is_signed_has_no_defect_for_every_pair_of_keys() {
    for ca_spec in SPECS {
        let ca_key = PrivateKey::generate(&ca_spec).unwrap();
        let ca = load(&[&root(&ca_params("Mail CA"), &ca_key)], &ca_key, now()).unwrap();
        let anchors = Anchors::own(ca.roots().iter().cloned());
        for spec in SPECS {
            let key = PrivateKey::generate(&spec).unwrap();
            let chain = ca.sign(key.spki_der(), &leaf_spec(&NAMES)).unwrap();
            let again = Chain::from_pem(chain.to_pem().as_bytes(), &PemLimits::CHAIN).unwrap();
            assert_eq!(again, chain);
            let defects = validate_issued(&chain, &key, &expected(&NAMES), Some(&anchors), now());
            assert_eq!(defects, [], "{spec} under {ca_spec}");
            assert_eq!(chain.leaf().key_usage.unwrap().key_encipherment, spec.algorithm == KeyAlgorithm::Rsa);
            for name in ["mail.example.com", "a.mx.example.com"] {
                assert_eq!(judge_chain(&chain.ders(), &anchors, name, now()), Ok(()));
            }
        }
    }
}

#[test]
fn self_signed_leaves_verify_when_pinned() {
    for spec in SPECS {
        let key = PrivateKey::generate(&spec).unwrap();
        let chain = self_signed(&key, &leaf_spec(&NAMES)).unwrap();
        assert!(chain.leaf().is_self_signed() && !chain.leaf().is_ca);
        assert_eq!(chain.leaf().subject, "CN=mail.example.com");
        assert_eq!(chain.leaf().aki, chain.leaf().ski);
        let pinned = Anchors::own([chain.leaf().clone()]);
        assert_eq!(validate_issued(&chain, &key, &expected(&NAMES), Some(&pinned), now()), []);
    }
}

#[test]
fn chains_hold_what_clients_lack_and_no_root() {
    let (root_key, ca_key) = (key(), key());
    let top = root(&ca_params("Root"), &root_key);
    let mut params = ca_params("Issuing");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuing = below(&params, &ca_key, &top, &root_key);
    let leaf = |ca: &CaKeyPair| ca.sign(key().spki_der(), &leaf_spec(&NAMES)).unwrap();

    let whole = load(&[&issuing, &top], &ca_key, now()).unwrap();
    assert_eq!(leaf(&whole).rest(), std::slice::from_ref(&issuing));
    assert_eq!(whole.roots(), std::slice::from_ref(&top));
    let anchors = Anchors::own(whole.roots().iter().cloned());
    assert_eq!(judge_chain(&leaf(&whole).ders(), &anchors, NAMES[0], now()), Ok(()));

    let alone = load(&[&issuing], &ca_key, now()).unwrap();
    assert_eq!(leaf(&alone).rest(), std::slice::from_ref(&issuing));
    assert_eq!(alone.roots(), std::slice::from_ref(&issuing));

    let key_pem = ca_key.to_pkcs8_pem();
    let (crt, ca_crt) = (issuing.to_pem(), top.to_pem());
    let given = CaKeyPair::from_pem(crt.as_bytes(), key_pem.as_bytes(), Some(ca_crt.as_bytes()), now()).unwrap();
    assert_eq!(given.roots(), [top]);
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let key = key();
    let top = root(&ca_params("Mail CA"), &key);
    let ca = load(&[&top], &key, now()).unwrap();
    let mut spec = leaf_spec(&NAMES);
    spec.not_after = at("2040-01-01T00:00:00Z");
    assert_eq!(ca.sign(key.spki_der(), &spec).unwrap().leaf().not_after, top.not_after);
    spec.not_before = at("2030-01-01T00:02:00Z");
    assert_eq!(ca.sign(key.spki_der(), &spec).unwrap().leaf().not_before, top.not_before);
    spec.not_before = at("2031-01-01T00:00:00Z");
    assert_eq!(
        ca.sign(key.spki_der(), &spec).unwrap_err().to_string(),
        "the certificate would end at 2031-01-01T00:00:00Z, which is not after its start at 2031-01-01T00:00:00Z"
    );
}

#[test]
fn serial_numbers_are_random_and_positive() {
    let ca = simple_ca();
    let key = key();
    let serial = || ca.sign(key.spki_der(), &leaf_spec(&NAMES)).unwrap().leaf().serial.clone();
    let seen: std::collections::BTreeSet<String> = (0..20).map(|_| serial()).collect();
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|s| s.len() == 32 && s.starts_with(['4', '5', '6', '7'])), "{seen:?}");
}

#[test]
fn unusable_cas_are_refused_precisely() {
    let (key, other) = (key(), key());
    let good = root(&ca_params("Mail CA"), &key);
    let mut leaf = ca_params("Mail CA");
    leaf.is_ca = IsCa::ExplicitNoCa;
    let mut no_sign = ca_params("Mail CA");
    no_sign.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let unrelated = root(&ca_params("Other"), &other);
    let early = at("2029-12-31T00:00:00Z");
    for (result, wanted) in [
        (load(&[&good], &other, now()), "tls.key does not belong to the first certificate of tls.crt (CN=Mail CA)"),
        (
            load(&[&root(&leaf, &key)], &key, now()),
            "the first certificate of tls.crt (CN=Mail CA) is not a CA: its basic constraints do not say CA:TRUE",
        ),
        (
            load(&[&root(&no_sign, &key)], &key, now()),
            "the CA certificate (CN=Mail CA) must not sign certificates: its key usage lacks keyCertSign",
        ),
        (
            load(&[&good], &key, at("2031-02-01T00:00:00Z")),
            "the CA certificate (CN=Mail CA) expired at 2031-01-01T00:00:00Z; renew the CA",
        ),
        (
            load(&[&good], &key, early),
            "the CA certificate (CN=Mail CA) is not valid before 2030-01-01T00:00:00Z; check its dates and the clock",
        ),
        (
            load(&[&good, &unrelated], &key, now()),
            "certificate 1 of tls.crt of the CA is not signed by the one behind it: its issuer name is not the next one's subject",
        ),
        (
            CaKeyPair::from_pem(b"x", b"y", None, now()),
            "tls.crt of the CA: there is no PEM block with a certificate; it must start with -----BEGIN CERTIFICATE-----",
        ),
        (
            CaKeyPair::from_pem(good.to_pem().as_bytes(), b"y", None, now()),
            "tls.key of the CA: there is no PEM block with a private key; it must start with -----BEGIN PRIVATE KEY-----",
        ),
    ] {
        assert_eq!(result.unwrap_err().to_string(), wanted);
    }
}

#[test]
fn a_ca_whose_name_cannot_be_written_is_refused() {
    if without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (ok, text) = openssl(
        dir.path(),
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "k.pem",
            "-out",
            "c.pem",
            "-subj",
            "/O=Example/OU=Mail/OU=Security/CN=CA",
            "-days",
            "2",
        ],
    );
    assert!(ok, "{text}");
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let cert = Chain::from_pem(&read("c.pem"), &PemLimits::CHAIN).unwrap();
    let now = cert.leaf().not_before;
    let ca = CaKeyPair::from_pem(&read("c.pem"), &read("k.pem"), None, now).unwrap();
    let mut spec = leaf_spec(&NAMES);
    (spec.not_before, spec.not_after) = (now, cert.leaf().not_after);
    assert!(
        matches!(ca.sign(key().spki_der(), &spec), Err(SignError::IssuerName(name)) if name.contains("OU=Security"))
    );
}

#[test]
fn unfit_requests_are_refused_precisely() {
    let ca = simple_ca();
    let key = key();
    let refuse = |change: fn(&mut SubjectSpec)| {
        let mut spec = leaf_spec(&NAMES);
        change(&mut spec.subject);
        let signed = ca.sign(key.spki_der(), &spec).unwrap_err().to_string();
        assert_eq!(csr(&key, &spec.subject, &spec.usages).unwrap_err().to_string(), signed);
        signed
    };
    for (change, wanted) in [
        (
            (|s| s.dns_names.clear()) as fn(&mut SubjectSpec),
            "there is no DNS name and no e-mail address to put into the certificate; name at least one",
        ),
        (
            |s| s.dns_names = vec!["a.example.com".into(); 101],
            "there are 101 names; a certificate may hold at most 100",
        ),
        (
            |s| s.dns_names.push("localhost".into()),
            "\"localhost\" has only one label; give the full DNS name, such as localhost.example.com",
        ),
        (
            |s| s.common_name = Some("x".repeat(65)),
            "the subject's common name has 65 characters; at most 64 are allowed",
        ),
        (
            |s| s.subject.organization = Some(" ".into()),
            "the subject's organization is empty or has control characters; remove or correct it",
        ),
        (
            |s| s.subject.country = Some("Germany".into()),
            "the subject's country \"Germany\" is not a code of two letters, such as DE",
        ),
    ] {
        assert_eq!(refuse(change), wanted);
    }
    assert_eq!(ca.sign(b"no key", &leaf_spec(&NAMES)), Err(SignError::PublicKey));
}

#[test]
fn openssl_verifies_leaf_chain_and_request() {
    if without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let time = now().as_second().to_string();
    for spec in SPECS {
        let (root_key, ca_key, key) =
            (key(), PrivateKey::generate(&spec).unwrap(), PrivateKey::generate(&spec).unwrap());
        let mut params = ca_params("Root");
        params.distinguished_name.push(DnType::OrganizationName, "Bücher");
        let top = root(&params, &root_key);
        let issuing = below(&ca_params("Issuing"), &ca_key, &top, &root_key);
        let ca = load(&[&issuing, &top], &ca_key, now()).unwrap();
        let mut leaf = leaf_spec(&NAMES);
        leaf.subject.emails = vec!["post@example.com".into()];
        let chain = ca.sign(key.spki_der(), &leaf).unwrap();
        write("root.pem", &ca.roots()[0].to_pem());
        write("chain.pem", &chain.to_pem());
        write("req.pem", &csr_pem(&csr(&key, &leaf.subject, &leaf.usages).unwrap()));
        let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &time, "-verify_hostname"];
        let files = ["-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"];
        let (ok, text) = openssl(dir.path(), &[&verify[..], &["a.mx.example.com"], &files].concat());
        assert!(ok && text == "chain.pem: OK\n", "{spec}: {text}");
        let (ok, text) = openssl(dir.path(), &[&verify[..], &["other.example.com"], &files].concat());
        assert!(!ok && text.contains("hostname mismatch"), "{spec}: {text}");
        let (ok, text) = openssl(dir.path(), &["x509", "-in", "chain.pem", "-noout", "-text"]);
        assert!(ok);
        for wanted in [
            "X509v3 Subject Alternative Name: critical",
            "DNS:mail.example.com, DNS:*.mx.example.com, email:post@example.com",
            "CA:FALSE",
            "TLS Web Server Authentication",
            "X509v3 Authority Key Identifier",
            "X509v3 Subject Key Identifier",
            "X509v3 Key Usage: critical",
        ] {
            assert!(text.contains(wanted), "{spec}: no {wanted} in {text}");
        }
        let (ok, text) = openssl(dir.path(), &["req", "-in", "req.pem", "-verify", "-noout", "-text"]);
        assert!(ok && text.contains("DNS:mail.example.com, DNS:*.mx.example.com, email:post@example.com"), "{text}");

        let own = self_signed(&key, &leaf_spec(&NAMES)).unwrap();
        write("own.pem", &own.to_pem());
        let (ok, text) = openssl(dir.path(), &["verify", "-attime", &time, "-CAfile", "own.pem", "own.pem"]);
        assert!(ok, "{spec}: {text}");
    }
}
