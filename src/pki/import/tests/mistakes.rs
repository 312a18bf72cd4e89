//! What people do to files by mistake, and what they are told. The texts are API as those in `messages`.

use super::*;

/// One line for each finding of the files.
fn told(inputs: &[(&str, &[u8])]) -> Vec<String> {
    import(inputs, None).1.iter().map(|f| format!("{} {}: {}", f.code, f.about, f.message)).collect()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes()
}

#[test]
fn text_that_was_changed_on_its_way() {
    let f = family();
    let pem = f.leaf.to_pem();
    let utf16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
        [mark, &pem.encode_utf16().flat_map(unit).collect::<Vec<u8>>()].concat()
    };
    let store = include_bytes!("../../../../fuzz/corpus/pkcs12/pbes2");
    let one_line = "its line breaks are missing: each -----BEGIN …----- and each -----END …----- takes a line of its own, so put a line \
                    break behind the one and before the other";
    let twice = "it is base64 without -----BEGIN …----- and -----END …----- around it, as a value that was encoded twice; decode it \
                 (base64 -d), or copy the file with these lines";
    let utf = "it is text in UTF-16, as Windows' Notepad and PowerShell write it; save it as UTF-8 or ASCII";
    for (bytes, wanted) in [
        (pem.replace('\n', " ").into_bytes(), one_line),
        (pem.replace('\n', "").into_bytes(), one_line),
        (
            pem.replace('\n', "\\n").into_bytes(),
            "its line breaks are the two characters \\n, as in a JSON string; put line breaks in their place",
        ),
        (utf16(b"\xff\xfe", u16::to_le_bytes), utf),
        (utf16(b"\xfe\xff", u16::to_be_bytes), utf),
        (utf16(b"", u16::to_le_bytes), utf),
        (
            base64(pem.as_bytes()),
            "it is base64 of a PEM file, as a value that was encoded twice; decode it (base64 -d), or put the text under stringData of \
             the Secret",
        ),
        (base64(store), twice),
        (base64(f.leaf.der()), twice),
        (b" \n".to_vec(), "it is empty; give the file with the certificate or the key"),
    ] {
        assert_eq!(told(&[("tls.crt", &bytes)]), [format!("Unreadable tls.crt: {wanted}")]);
    }
    // Where it must be PKCS#12 it is told as well.
    let bytes = base64(store);
    let inputs = [Input { name: "a.p12", bytes: &bytes }];
    let findings = read(&Request { format: Format::Pkcs12, ..Request::new(&inputs) }).1;
    assert_eq!(findings[0].message, twice);
    // Two files that were joined without a line break between them.
    let joined = format!("{}{}", pem.trim_end(), *f.leaf_key.to_pkcs8_pem());
    let line = pem.lines().count();
    assert_eq!(
        told(&[("both.pem", joined.as_bytes())]),
        [format!(
            "Unreadable both.pem: line {line} has two markers; put a line break between -----END CERTIFICATE----- and what follows it"
        )]
    );
}

#[test]
fn what_can_be_read_all_the_same() {
    let f = family();
    let (leaf, middle, root) = (f.leaf.to_pem(), f.middle.to_pem(), f.root.to_pem());
    let key = f.leaf_key.to_pkcs8_pem();
    let text = format!("{leaf}{middle}{root}{}", *key);
    let marks = format!("{leaf}\u{feff}{middle}\u{feff}{root}\u{feff}{}", *key);
    for bytes in [text.replace('\n', "\r"), text.replace('\n', "\r\n"), marks] {
        let (imported, findings) = import(&[("all.pem", bytes.as_bytes())], None);
        assert_eq!((codes(&findings), imported.chain.unwrap().rest().len()), (vec![], 1), "{bytes:?}");
    }
    // DER with a line break that an editor has added.
    let (der, key) = ([&f.leaf.der()[..], b"\r\n"].concat(), [&f.leaf_key.to_pkcs8_der()[..], b"\n"].concat());
    let inputs: [(&str, &[u8]); 4] =
        [("leaf.der", &der), ("leaf.key", &key), ("middle.pem", middle.as_bytes()), ("root.pem", root.as_bytes())];
    let (imported, findings) = import(&inputs, None);
    assert_eq!((codes(&findings), imported.key.is_some()), (vec![], true), "{findings:?}");
}

#[test]
fn an_issuer_is_not_taken_for_the_server() {
    let f = family();
    let key = f.leaf_key.to_pkcs8_pem();
    let damaged = [&f.leaf.der()[..], b"trailing"].concat();
    let middle = f.middle.to_pem();
    let inputs = [("leaf.der", &damaged[..]), ("leaf.key", key.as_bytes()), ("inter.pem", middle.as_bytes())];
    let only = "there are only CA certificates in what can be read (CN=Middle), and none belongs to a key; give the server's own \
                certificate too";
    assert_eq!(
        told(&inputs),
        [
            "Unreadable leaf.der: certificate 1 is damaged: it is not an X.509 certificate. Export it again".to_owned(),
            format!("NoCertificate leaf.der, leaf.key, inter.pem: {only}"),
        ]
    );
    let (imported, _) = import(&inputs, None);
    assert!(imported.chain.is_none() && imported.key.is_some());
    assert_eq!(imported.left_out, std::slice::from_ref(&f.middle));
    // One that is signed by itself may be meant: of its key more can be said.
    let root = f.root.to_pem();
    let inputs = [("tls.crt", root.as_bytes()), ("tls.key", key.as_bytes())];
    assert_eq!(codes(&import(&inputs, None).1), ["KeyMismatch"]);
}

#[test]
fn certificates_of_one_name_are_told_apart() {
    let f = family();
    let mut params = leaf_params(&["mail.example.com"]);
    let serial = |number: u8| Some(rcgen::SerialNumber::from_slice(&[number]));
    let (old_key, new_key) = (key(), key());
    params.serial_number = serial(1);
    let old = below(&params, &old_key, &f.middle, &f.middle_key);
    params.serial_number = serial(2);
    params.not_after = crate::pki::tests::ca_params("").not_after;
    let new = below(&params, &new_key, &f.middle, &f.middle_key);
    let text = format!("{}{}{}{}", old.to_pem(), new.to_pem(), f.middle.to_pem(), f.root.to_pem());
    let (was, is) = (
        "mail.example.com (serial 01, valid until 2030-12-01T00:00:00Z)",
        "mail.example.com (serial 02, valid until 2031-01-01T00:00:00Z)",
    );
    assert_eq!(
        told(&[("both.pem", text.as_bytes()), ("new.key", new_key.to_pkcs8_pem().as_bytes())]),
        [
            format!(
                "KeyMismatch mail.example.com: the private key in new.key does not belong to the first certificate, {was}, but to {is} \
                 in both.pem; remove the certificate that is not meant, or give the other key"
            ),
            format!(
                "CertificatesLeftOut mail.example.com: certificates that do not belong to the chain were left out: {was}"
            ),
        ]
    );
    let keys = format!("{}{}", *old_key.to_pkcs8_pem(), *new_key.to_pkcs8_pem());
    let found = told(&[("both.pem", text.as_bytes()), ("all.key", keys.as_bytes())]);
    let several = format!(
        "SeveralKeys both.pem: there are 2 private keys: all.key belongs to {was}; all.key belongs to {is}. Keep only the one that the \
         server shall use"
    );
    assert!(found.contains(&several), "{found:#?}");
    let found = told(&[("both.pem", text.as_bytes()), ("other.key", key().to_pkcs8_pem().as_bytes())]);
    assert!(found[0].contains(&format!("give the key that {was} was requested with")), "{found:#?}");
}

#[test]
fn a_current_issuer_is_taken_in_place_of_an_expired_one() {
    let f = family();
    let (root_key, middle_key) = (key(), key());
    let root = root(&ca_params("Root"), &root_key);
    let current = below(&ca_params("Middle"), &middle_key, &root, &root_key);
    let mut params = ca_params("Middle");
    params.not_after = time::OffsetDateTime::from_unix_timestamp(at("2030-02-01T00:00:00Z").as_second()).unwrap();
    let expired = below(&params, &middle_key, &root, &root_key);
    let leaf = below(&leaf_params(&["mail.example.com"]), &f.leaf_key, &current, &middle_key);
    let (text, key) = (format!("{}{}", leaf.to_pem(), expired.to_pem()), f.leaf_key.to_pkcs8_pem());
    let inputs = [Input { name: "tls.crt", bytes: text.as_bytes() }, Input { name: "tls.key", bytes: key.as_bytes() }];
    let extra = [current.clone(), root];
    let (imported, findings) = read(&Request { extra_issuers: &extra, ..Request::new(&inputs) });
    assert_eq!(imported.chain.unwrap().rest(), [current]);
    assert_eq!(codes(&findings), ["ChainCompleted", "CertificatesLeftOut"]);
    assert_eq!(imported.left_out, [expired]);
}

/// As `openssl` makes what this library refuses to make.
#[test]
fn what_openssl_makes_and_clients_refuse() {
    if crate::pki::tests::without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| openssl(dir.path(), arguments);
    let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    for (arguments, kind) in
        [("RSA-PSS -pkeyopt rsa_keygen_bits:2048", "RSASSA-PSS"), ("RSA -pkeyopt rsa_keygen_bits:1024", "RSA")]
    {
        openssl(&format!("genpkey -algorithm {arguments} -out k.pem"));
        openssl("pkcs8 -topk8 -nocrypt -in k.pem -outform DER -out k.der");
        for name in ["k.pem", "k.der"] {
            assert_eq!(
                told(&[("tls.key", &bytes(name))]),
                [format!(
                    "KeyUnusable tls.key: its private key ({kind}) is damaged, or of a kind or size that is not supported; use ECDSA \
                     P-256, P-384 or P-521, RSA from 2048 to 8192 bits or Ed25519"
                )]
            );
        }
    }
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let judged = |inputs: &[(&str, &[u8])], anchors: Option<&str>| {
        let (imported, mut findings) = import(inputs, None);
        let at = imported.chain.as_ref().unwrap().leaf().not_before;
        let anchors = anchors.map_or(crate::pki::Anchors::mozilla(), |name| {
            let bundle = Chain::from_pem(&bytes(name), &crate::pki::PemLimits::BUNDLE).unwrap();
            crate::pki::Anchors::own(bundle.iter().cloned())
        });
        findings.extend(judge(&imported, &Expectation { anchors, ..Expectation::default() }, at));
        findings.iter().map(|f| format!("{} {}: {}", f.code, f.about, f.message)).collect::<Vec<_>>()
    };
    // The defaults of `openssl req -x509`.
    openssl(&format!(
        "req -x509 {ec} -days 365 -subj /CN=mail.example.com -addext subjectAltName=DNS:mail.example.com -keyout s.key -out s.pem"
    ));
    assert_eq!(
        judged(&[("s.pem", &bytes("s.pem")), ("s.key", &bytes("s.key"))], Some("s.pem")),
        [
            "LeafIsCA CN=mail.example.com: the only certificate is a CA certificate (basicConstraints CA:TRUE), as `openssl req -x509` \
          makes it unless it is told otherwise; have it made with basicConstraints=CA:FALSE (-addext \
          basicConstraints=critical,CA:FALSE)"
        ]
    );
    // A root of version 1, as `openssl x509 -req` makes it without extensions.
    openssl(&format!("req {ec} -subj /CN=Old -keyout v1.key -out v1.csr"));
    openssl("x509 -req -in v1.csr -signkey v1.key -days 365 -out v1.pem");
    openssl(&format!("req {ec} -subj / -keyout l.key -out l.csr"));
    std::fs::write(dir.path().join("ext"), "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl("x509 -req -in l.csr -CA v1.pem -CAkey v1.key -CAcreateserial -extfile ext -days 365 -out l.pem");
    assert_eq!(
        judged(&[("l.pem", &bytes("l.pem")), ("l.key", &bytes("l.key")), ("v1.pem", &bytes("v1.pem"))], Some("v1.pem")),
        [
            "ChainIncomplete mail.example.com: the issuer of mail.example.com, CN=Old, is in the file, but clients do not take it as a CA: \
          it is of X.509 version 1, or lacks basicConstraints with CA:TRUE. Give the certificate that this CA has for clients, or have \
          the server's issued by another CA (the certificate does not say where it can be had; ask the CA for it)"
        ]
    );
    // PKCS#12 with a MAC alone: nothing in it is encrypted.
    openssl("pkcs12 -export -in s.pem -inkey s.key -keypbe NONE -certpbe NONE -passout pass:secret -out m.p12");
    assert_eq!(
        told(&[("m.p12", &bytes("m.p12"))]),
        [
            "PasswordMissing m.p12: it takes a password, and there is none; give it (passwordSecretRef, or --password-file)"
        ]
    );
}
