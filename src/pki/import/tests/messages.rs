//! The words of every finding that an import can have about a pair: what is wrong, where, and what to do. They are API for
//! those who read them, and nobody should have to look them up.

use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints};

use super::*;
use crate::pki::Anchors;
use crate::pki::tests::now;

/// What `read` and `judge` tell of a pair for `https://mail.example.com`, one line for each finding.
fn told(f: &Family, inputs: &[(&str, String)], change: impl FnOnce(&mut Expectation)) -> Vec<String> {
    let inputs: Vec<Input<'_>> = inputs.iter().map(|(name, text)| Input { name, bytes: text.as_bytes() }).collect();
    let (imported, mut findings) = read(&Request::new(&inputs));
    let mut expectation = Expectation {
        external_host: Some("mail.example.com".to_owned()),
        anchors: Anchors::own([f.root.clone()]),
        ..Expectation::default()
    };
    change(&mut expectation);
    findings.extend(judge(&imported, &expectation, now()));
    lines(&findings)
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|f| format!("{} {} {}: {}", f.severity, f.code, f.about, f.message)).collect()
}

fn pem(certificates: &[&Certificate]) -> String {
    certificates.iter().map(|c| c.to_pem()).collect()
}

/// The usual three files.
fn files(f: &Family) -> Vec<(&'static str, String)> {
    let key = f.leaf_key.to_pkcs8_pem().to_string();
    vec![("tls.crt", pem(&[&f.leaf, &f.middle])), ("tls.key", key), ("ca.crt", f.root.to_pem())]
}

/// What is told of a leaf that was changed.
fn of_leaf(change: impl FnOnce(&mut CertificateParams)) -> Vec<String> {
    let mut params = leaf_params(&["mail.example.com"]);
    change(&mut params);
    let f = family_of(ca_params("Middle"), params);
    told(&f, &files(&f), |_| ())
}

#[test]
fn of_keys() {
    let f = family();
    let other = key();
    let second = below(&leaf_params(&["old.example.com"]), &other, &f.middle, &f.middle_key);
    let mut inputs = files(&f);
    inputs[1].1 = other.to_pkcs8_pem().to_string();
    assert_eq!(
        told(&f, &inputs, |_| ()),
        [format!(
            "Error KeyMismatch mail.example.com: the private key in tls.key belongs to none of the 3 certificates; give the key that \
             mail.example.com was requested with (its public key has the SHA-256 {}), or the certificate of this key ({})",
            f.leaf.spki_sha256,
            other.spki_sha256()
        )]
    );
    // Another certificate of the file is the key's.
    inputs[0].1 = pem(&[&f.leaf, &f.middle, &second]);
    assert_eq!(
        told(&f, &inputs, |e| e.external_host = None),
        [
            "Error KeyMismatch mail.example.com: the private key in tls.key does not belong to the first certificate, \
             mail.example.com, but to old.example.com in tls.crt; remove the certificate that is not meant, or give the other key",
            "Info ChainReordered tls.crt: the certificates were not in the order in which a server sends them, each followed by its \
             issuer; they have been put in order",
            "Info CertificatesLeftOut old.example.com: certificates that do not belong to the chain were left out: mail.example.com",
        ]
    );
    // A key that is in no certificate, beside the one that is.
    let mut inputs = files(&f);
    inputs.push(("old.key", other.to_pkcs8_pem().to_string()));
    assert_eq!(
        told(&f, &inputs, |_| ()),
        [
            "Warning SeveralKeys tls.crt: there are 2 private keys: tls.key belongs to mail.example.com; old.key belongs to no \
          certificate here. The one with a certificate is taken; remove the others"
        ]
    );
    let rsa = |bits: &str| {
        let encrypted = format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {bits}\n\nMAA=\n");
        encrypted + "-----END RSA PRIVATE KEY-----\n"
    };
    let mut inputs = files(&f);
    inputs[1].1 = rsa("AES-256-CBC,00");
    assert_eq!(
        told(&f, &inputs, |_| ()),
        [
            "Error Unsupported tls.key: its private key is encrypted in OpenSSL's old format (Proc-Type: 4,ENCRYPTED), which is too \
          weak to be supported; convert it (openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out new.pem)"
        ]
    );
}

#[test]
fn of_passwords() {
    let store = include_bytes!("../../../../fuzz/corpus/pkcs12/pbes2");
    let of = |name: &str, bytes: &[u8], password: Option<&str>| lines(&import(&[(name, bytes)], password).1);
    let key = include_bytes!("../../../../fuzz/corpus/pkcs8/pbes2-aes");
    for (name, bytes) in [("mail.p12", &store[..]), ("mail.key", &key[..])] {
        assert_eq!(
            of(name, bytes, None),
            [format!(
                "Error PasswordMissing {name}: it takes a password, and there is none; give it (passwordSecretRef, or --password-file)"
            )]
        );
        for (password, hint) in [
            ("wrong", ""),
            ("password\n", " (the one that was given ends with a line break, which is most likely not part of it)"),
            ("", " (the one that was given is empty)"),
        ] {
            let message = "the password is wrong; check which one the file was made with";
            assert_eq!(of(name, bytes, Some(password)), [format!("Error PasswordWrong {name}: {message}{hint}")]);
        }
    }
}

#[test]
fn of_chains() {
    let f = family();
    let mut inputs = files(&f);
    inputs[0].1 = f.leaf.to_pem();
    assert_eq!(
        told(&f, &inputs, |_| ()),
        [
            "Error ChainIncomplete mail.example.com: the issuer of mail.example.com, CN=Middle, is missing, and clients do not look \
             for it; add its certificate to the file (the certificate does not say where it can be had; ask the CA for it)",
        ]
    );
    let mut inputs = files(&f);
    inputs[0].1 = pem(&[&f.middle, &f.leaf]);
    assert_eq!(
        told(&f, &inputs, |_| ()),
        [
            "Info ChainReordered tls.crt: the certificates were not in the order in which a server sends them, each followed by its \
          issuer; they have been put in order"
        ]
    );
    let inputs = &files(&f)[..2];
    assert_eq!(
        told(&f, inputs, |_| ()),
        [
            "Warning RootMissing CN=Middle: the issuer CN=Root that signed CN=Middle is neither in the file nor among the Mozilla \
          roots, so ca.crt will not have it; add its certificate, and those above it, for clients that verify with ca.crt"
        ]
    );
    assert_eq!(
        told(&f, &files(&f), |e| e.anchors = Anchors::mozilla()),
        [
            "Error NotTrusted mail.example.com: the certificate is not trusted: the chain ends at the issuer CN=Root, which is no trust \
          anchor, or a link in it is missing. When this CA is meant to be trusted, name its root as trust anchor, or allow untrusted \
          certificates"
        ]
    );
    let middle = family().middle;
    let imported = Imported { chain: Some(Chain::new(f.leaf.clone(), vec![middle])), ..Imported::default() };
    let found = judge(&imported, &Expectation::default(), now());
    assert_eq!(
        lines(&found),
        [
            "Error ChainBroken mail.example.com: certificate 1 (mail.example.com) is not signed by certificate 2 (CN=Middle): its \
          signature was not made with the next one's key; put the leaf first, then each issuer in turn"
        ]
    );
}

/// A chain whose root is one of Mozilla's: an intermediate CA of Google Trust Services.
#[test]
fn of_a_root_of_mozilla() {
    let file = include_str!("gts-ca-1c3.pem");
    let (imported, findings) = import(&[("tls.crt", file.as_bytes())], None);
    let root = "C=US, O=Google Trust Services LLC, CN=GTS Root R1";
    assert_eq!(
        lines(&findings),
        [
            "Error NoKey tls.crt: there is no private key in it; give the file with -----BEGIN PRIVATE KEY----- too"
                .to_owned(),
            format!("Info RootAdded {root}: the root {root} was added for ca.crt from the Mozilla roots"),
        ]
    );
    assert_eq!(imported.ca.iter().map(Certificate::label).collect::<Vec<_>>(), [root]);
}

#[test]
fn of_dates() {
    let f = family();
    let at = |time: &str| {
        let (imported, _) = read(&Request::new(&[]));
        let imported = Imported {
            chain: Some(Chain::new(f.leaf.clone(), vec![f.middle.clone()])),
            ca: vec![f.root.clone()],
            ..imported
        };
        let anchors = Anchors::own([f.root.clone()]);
        let found = judge(&imported, &Expectation { anchors, ..Expectation::default() }, at(time));
        lines(&found)
    };
    assert_eq!(
        at("2030-11-10T00:00:00Z"),
        [
            "Warning ExpiresSoon mail.example.com: mail.example.com expires at 2030-12-01T00:00:00Z, in 21 days; have it renewed and \
          import the new one"
        ]
    );
    assert_eq!(
        at("2030-12-01T00:00:01Z")[0],
        "Error Expired mail.example.com: certificate 1 (mail.example.com) expired at 2030-12-01T00:00:00Z; renew it"
    );
    assert_eq!(
        at("2029-12-01T00:00:00Z"),
        [
            "Error NotYetValid mail.example.com: certificate 1 (mail.example.com) is not valid before 2030-01-01T00:00:00Z; wait \
             until then, or check the clocks",
            "Error NotYetValid CN=Middle: certificate 2 (CN=Middle) is not valid before 2030-01-01T00:00:00Z; wait until then, or \
             check the clocks",
        ]
    );
    assert!(at("2031-01-02T00:00:00Z").contains(
        &"Error Expired CN=Middle: certificate 2 (CN=Middle) expired at 2031-01-01T00:00:00Z; replace it by the CA's current one"
            .to_owned()
    ));
    assert!(
        at("2031-01-02T00:00:00Z").contains(
            &"Error Expired CN=Root: the trust anchor CN=Root expired at 2031-01-01T00:00:00Z; name the current root of that CA as trust \
              anchor"
                .to_owned()
        )
    );
    // One that only stands in `ca.crt`.
    let imported = Imported {
        chain: Some(Chain::new(f.leaf.clone(), vec![f.middle.clone()])),
        ca: vec![f.root.clone()],
        ..Imported::default()
    };
    let found = judge(&imported, &Expectation::default(), crate::pki::tests::at("2031-01-02T00:00:00Z"));
    assert!(lines(&found).contains(
        &"Warning Expired CN=Root: the root CN=Root expired at 2031-01-01T00:00:00Z; replace it in ca.crt".to_owned()
    ));
}

#[test]
fn of_names() {
    let f = family();
    let found = told(&f, &files(&f), |e| {
        e.external_host = Some("webmail.example.com".to_owned());
        e.names = vec!["imap.example.com".to_owned()];
        e.legacy = vec!["old.example.com".to_owned()];
    });
    assert_eq!(
        found,
        [
            "Error ExternalURLNotCovered mail.example.com: the certificate does not cover webmail.example.com, the host of the external \
             URL; it names mail.example.com. Have it issued again with that name, or correct the URL",
            "Error NameNotCovered mail.example.com: the certificate does not cover imap.example.com; it names mail.example.com. Have it \
             issued again with that name, or remove the name",
            "Warning LegacyNameNotCovered mail.example.com: the certificate does not cover the legacy name old.example.com; clients that \
             still use it will refuse the server. Have it issued again with that name, or remove the name when nobody uses it any more",
        ]
    );
    assert_eq!(
        of_leaf(|p| p.distinguished_name.push(rcgen::DnType::CommonName, "other.example.com")),
        [
            "Error CommonNameNotInSANs CN=other.example.com: the common name \"other.example.com\" is not among the certificate's \
          alternative names; leave the common name out or add the name"
        ]
    );
    let mut middle = ca_params("Middle");
    let only = vec![GeneralSubtree::DnsName("example.org".into())];
    middle.name_constraints = Some(NameConstraints { permitted_subtrees: only, excluded_subtrees: Vec::new() });
    let f = family_of(middle, leaf_params(&["mail.example.com"]));
    assert_eq!(
        told(&f, &files(&f), |_| ()),
        [
            "Error NameConstraints mail.example.com: the certificate is not trusted: a CA above it must not vouch for its names (name \
          constraints); have the certificate issued by a CA that may vouch for these names"
        ]
    );
}

#[test]
fn of_purposes() {
    assert_eq!(
        of_leaf(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        [
            "Error UsageMissing mail.example.com: the certificate's extended key usage lacks serverAuth; have it issued with that usage"
        ]
    );
    assert_eq!(
        of_leaf(|p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions = vec![extension];
        }),
        [
            "Error UnknownCriticalExtension mail.example.com: mail.example.com has critical extensions that clients do not know and \
          therefore refuse: 1.3.6.1.4.1.99999.1; have it issued without them"
        ]
    );
    let f = family_of(ca_params("Middle"), ca_params("mail.example.com"));
    assert_eq!(
        told(&f, &files(&f), |e| e.external_host = None),
        [
            "Error CommonNameNotInSANs CN=mail.example.com: the common name \"mail.example.com\" is not among the certificate's \
             alternative names; leave the common name out or add the name",
            "Error LeafIsCA CN=mail.example.com: the first certificate is a CA certificate; put the server's own certificate first",
            "Error UsageMissing CN=mail.example.com: the certificate's key usage lacks digitalSignature, without which TLS 1.3 cannot \
             use it",
        ]
    );
}

/// As `openssl` makes what this library refuses to make.
#[test]
fn of_weak_keys_and_signatures() {
    if crate::pki::tests::without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| openssl(dir.path(), arguments);
    let rest = "-nodes -x509 -days 3650 -subj /CN=weak.example.com -addext subjectAltName=DNS:weak.example.com -keyout k.pem -out c.pem";
    let of = |make: &str, wanted: &str| {
        openssl(&format!("req {make} {rest}"));
        let read_file = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let (imported, mut findings) = import(&[("tls.crt", &read_file("c.pem"))], None);
        let at = imported.chain.as_ref().unwrap().leaf().not_before;
        findings.extend(judge(&imported, &Expectation::default(), at));
        assert!(lines(&findings).iter().any(|line| line == wanted), "{wanted}\n{:#?}", lines(&findings));
    };
    of(
        "-newkey rsa:1024",
        "Error WeakKey CN=weak.example.com: certificate 1 (CN=weak.example.com) has a key that clients refuse (RSA 1024); use RSA from \
         2048 bits on, ECDSA or Ed25519",
    );
    of(
        "-newkey rsa:2048 -sha1",
        "Error WeakSignature CN=weak.example.com: certificate 1 (CN=weak.example.com) is signed with an algorithm that clients refuse, \
         such as SHA-1; have it issued again with SHA-256",
    );
}

#[test]
fn of_files() {
    let f = family();
    let of = |name: &str, bytes: &[u8]| lines(&import(&[(name, bytes)], None).1);
    assert_eq!(
        of("notes.txt", b"hello"),
        [
            "Error Unreadable notes.txt: it is neither PEM nor a DER certificate, key or PKCS#12 file; check that it is the right file"
        ]
    );
    assert_eq!(
        of("tls.key", f.leaf_key.to_pkcs8_pem().as_bytes()),
        [
            "Error NoCertificate tls.key: there is no certificate in it; give the file with -----BEGIN CERTIFICATE----- too"
        ]
    );
    assert_eq!(
        of("big.pem", &[b"-----BEGIN CERTIFICATE-----\n".as_slice(), &[b'A'; 400_000]].concat()),
        ["Error TooLarge big.pem: it has 400028 bytes; of a PEM file at most 337920 are read"]
    );
    assert_eq!(
        of("mail.jks", &[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]),
        [
            "Error Unsupported mail.jks: it is a Java keystore of the old kind (JKS); convert it (keytool -importkeystore -srckeystore \
          old.jks -destkeystore new.p12 -deststoretype pkcs12)"
        ]
    );
    assert_eq!(
        of("tls.key", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----"),
        [
            "Error KeyUnusable tls.key: the private key is damaged or of an unsupported kind; supported are ECDSA P-256, P-384, P-521, \
          RSA from 2048 to 8192 bits and Ed25519"
        ]
    );
    let store = include_bytes!("../../../../fuzz/corpus/pkcs12/pbes2");
    let inputs = [Input { name: "mail.p12", bytes: store }];
    let limits = Limits { iterations: 0, ..Limits::default() };
    let found = read(&Request { limits, password: Some(b"password"), ..Request::new(&inputs) }).1;
    assert_eq!(
        lines(&found),
        [
            "Error TooManyIterations mail.p12: its key derivation takes 1 rounds; at most 0 are made. Export it again with fewer"
        ]
    );
}
