//! What is read out of PEM and DER, and how it is arranged.

use super::*;

fn pem(certificates: &[&Certificate]) -> String {
    certificates.iter().map(|c| format!("subject={}\n\n{}", c.label(), c.to_pem())).collect()
}

#[test]
fn a_pair_in_any_order_and_any_files() {
    let f = family();
    let key = f.leaf_key.to_pkcs8_pem();
    let (leaf, middle, root) = (f.leaf.to_pem(), f.middle.to_pem(), f.root.to_pem());
    let all = format!("{root}{}{middle}{leaf}", *key);
    for (inputs, wanted) in [
        (vec![("tls.crt", pem(&[&f.leaf, &f.middle])), ("tls.key", key.to_string()), ("ca.crt", root.clone())], vec![]),
        (vec![("tls.crt", pem(&[&f.leaf, &f.middle, &f.root])), ("tls.key", key.to_string())], vec![]),
        (vec![("bluemind.pem", all)], vec!["ChainReordered"]),
        (vec![("a", middle.clone()), ("b", root.clone()), ("c", leaf.clone()), ("d", key.to_string())], vec![]),
        (
            vec![("tls.crt", format!("\u{feff}{middle}{leaf}")), ("k", key.to_string()), ("c", root.clone())],
            vec!["ChainReordered"],
        ),
    ] {
        let inputs: Vec<_> = inputs.iter().map(|(n, t)| (*n, t.as_bytes())).collect();
        let (imported, findings) = import(&inputs, None);
        assert_eq!(codes(&findings), wanted, "{findings:?}");
        assert_eq!(labels(imported.chain.as_ref().unwrap()), [f.leaf.label(), f.middle.label()]);
        assert_eq!(imported.ca, std::slice::from_ref(&f.root));
        assert_eq!(imported.key.unwrap().spki_der(), f.leaf_key.spki_der());
        assert!(imported.left_out.is_empty());
    }
}

#[test]
fn der_is_recognised() {
    let f = family();
    let key = f.leaf_key.to_pkcs8_der();
    let (imported, findings) = import(
        &[("leaf.der", f.leaf.der()), ("middle.cer", f.middle.der()), ("root.cer", f.root.der()), ("key.der", &key)],
        None,
    );
    assert_eq!(codes(&findings), [""; 0]);
    assert_eq!(labels(&imported.chain.unwrap()), [f.leaf.label(), f.middle.label()]);
    assert!(imported.key.is_some());
}

#[test]
fn what_is_not_read_says_what_it_is() {
    let f = family();
    let key = f.leaf_key.to_pkcs8_pem();
    let old = key
        .replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,00\n\nM")
        .replace("PRIVATE", "RSA PRIVATE");
    let cut = &f.leaf.to_pem()[..200];
    for (bytes, code, words) in [
        (&b""[..], "Unreadable", "it is empty; give the file"),
        (b"hello", "Unreadable", "neither PEM nor"),
        (&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2], "Unsupported", "keytool -importkeystore"),
        (b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----", "Unsupported", "openssl pkcs7"),
        (&[0x30, 11, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 2], "Unsupported", "PKCS#7"),
        (old.as_bytes(), "Unsupported", "openssl pkcs8 -topk8"),
        (cut.as_bytes(), "Unreadable", "no matching END line"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "Unreadable", "certificate 1 is damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "KeyUnusable", "supported are ECDSA"),
        (b"-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----", "KeyUnusable", "DSA PRIVATE KEY"),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----", "Unreadable", "damaged"),
        (&[b'\n'; 400_000], "Unreadable", "it is empty"),
        (&[b"-----BEGIN A-----\n".as_slice(), &[b'\n'; 400_000]].concat(), "TooLarge", "400018 bytes"),
        (&[0x30, 0x82, 0xff, 0xff].repeat(300_000), "Unreadable", "neither"),
    ] {
        let (imported, findings) = import(&[("f", bytes)], None);
        assert_eq!(codes(&findings), [code], "{findings:?}");
        assert!(findings[0].message.contains(words), "{}", findings[0].message);
        assert!(findings[0].is_error() && imported.chain.is_none());
    }
}

#[test]
fn what_is_missing_is_said() {
    let f = family();
    let (imported, findings) = import(&[("tls.crt", pem(&[&f.leaf, &f.middle, &f.root]).as_bytes())], None);
    assert_eq!(codes(&findings), ["NoKey"]);
    assert!(imported.chain.is_some());
    let (imported, findings) = import(&[("tls.key", f.leaf_key.to_pkcs8_pem().as_bytes())], None);
    assert_eq!(codes(&findings), ["NoCertificate"]);
    assert!(imported.key.is_some());
    assert_eq!(codes(&import(&[], None).1), ["NoCertificate", "NoKey"]);
}

#[test]
fn a_key_of_another_certificate() {
    let f = family();
    let other = key();
    let chain = pem(&[&f.leaf, &f.middle, &f.root]);
    let (_, findings) = import(&[("tls.crt", chain.as_bytes()), ("tls.key", other.to_pkcs8_pem().as_bytes())], None);
    assert_eq!(codes(&findings), ["KeyMismatch"]);
    let message = &findings[0].message;
    assert!(message.contains(&f.leaf.spki_sha256.to_string()) && message.contains(&other.spki_sha256().to_string()));

    // The second server certificate of the file is the key's: which one it is, is said.
    let second = below(&leaf_params(&["old.example.com"]), &other, &f.middle, &f.middle_key);
    let mixed = pem(&[&f.leaf, &second, &f.middle, &f.root]);
    let (imported, findings) =
        import(&[("tls.crt", mixed.as_bytes()), ("tls.key", other.to_pkcs8_pem().as_bytes())], None);
    assert_eq!(codes(&findings), ["KeyMismatch", "CertificatesLeftOut"]);
    assert!(findings[0].message.contains("but to old.example.com in tls.crt"), "{}", findings[0].message);
    assert_eq!(labels(&imported.chain.unwrap())[0], "old.example.com");
}

#[test]
fn several_keys() {
    let f = family();
    let (chain, own, other) = (pem(&[&f.leaf, &f.middle, &f.root]), f.leaf_key.to_pkcs8_pem(), key().to_pkcs8_pem());
    let inputs = [("tls.crt", chain.as_bytes()), ("a.key", other.as_bytes()), ("b.key", own.as_bytes())];
    let (imported, findings) = import(&inputs, None);
    assert_eq!((codes(&findings), findings[0].severity), (vec!["SeveralKeys"], Severity::Warning));
    assert!(findings[0].message.contains("a.key belongs to no certificate here; b.key belongs to mail.example.com"));
    assert_eq!(imported.key.unwrap().spki_der(), f.leaf_key.spki_der());
    // The same key twice is one.
    let inputs = [("tls.crt", chain.as_bytes()), ("tls.key", own.as_bytes()), ("tls-combined.pem", own.as_bytes())];
    assert_eq!(codes(&import(&inputs, None).1), [""; 0]);
    let second_key = key();
    let second = below(&leaf_params(&["b.example.com"]), &second_key, &f.middle, &f.middle_key);
    let all = format!("{chain}{}{}{}", second.to_pem(), *own, *second_key.to_pkcs8_pem());
    let (_, findings) = import(&[("all.pem", all.as_bytes())], None);
    assert!(findings.iter().any(|f| f.code == "SeveralKeys" && f.is_error()), "{findings:?}");
}

#[test]
fn what_does_not_belong_is_left_out() {
    let (f, other) = (family(), family());
    let text = pem(&[&f.leaf, &other.middle, &f.middle, &f.root, &other.root]);
    let (imported, findings) =
        import(&[("tls.crt", text.as_bytes()), ("tls.key", f.leaf_key.to_pkcs8_pem().as_bytes())], None);
    assert_eq!(codes(&findings), ["CertificatesLeftOut"]);
    assert_eq!((findings[0].severity, imported.left_out.len()), (Severity::Info, 2));
    // A second root in ca.crt is there for clients, and stays.
    let roots = pem(&[&f.root, &other.root]);
    let chain = pem(&[&f.leaf, &f.middle]);
    let key = f.leaf_key.to_pkcs8_pem();
    let inputs = [("tls.crt", chain.as_bytes()), ("tls.key", key.as_bytes()), ("ca.crt", roots.as_bytes())];
    let (imported, findings) = import(&inputs, None);
    assert_eq!((codes(&findings), imported.ca.len()), (vec![], 2));
}

#[test]
fn issuers_that_were_fetched_complete_the_chain() {
    let f = family();
    let (leaf, key) = (f.leaf.to_pem(), f.leaf_key.to_pkcs8_pem());
    let inputs = [Input { name: "tls.crt", bytes: leaf.as_bytes() }, Input { name: "tls.key", bytes: key.as_bytes() }];
    let extra = [f.root.clone(), f.middle.clone()];
    let (imported, findings) = read(&Request { extra_issuers: &extra, ..Request::new(&inputs) });
    assert_eq!(codes(&findings), ["ChainCompleted"]);
    assert_eq!(labels(&imported.chain.unwrap()), [f.leaf.label(), f.middle.label()]);
    assert_eq!(imported.ca, [f.root]);
}

#[test]
fn limits_hold_before_parsing() {
    let f = family();
    let (chain, key) = (pem(&[&f.leaf, &f.middle]), f.leaf_key.to_pkcs8_pem());
    let inputs = [Input { name: "tls.crt", bytes: chain.as_bytes() }, Input { name: "tls.key", bytes: key.as_bytes() }];
    for limits in [
        Limits { certificate: 100, ..Limits::default() },
        Limits { key: 100, ..Limits::default() },
        Limits { chain: 100, ..Limits::default() },
        Limits { bundle: 300, ..Limits::default() },
    ] {
        let (_, findings) = read(&Request { limits, ..Request::new(&inputs) });
        assert!(findings.iter().any(|f| f.code == "TooLarge" && f.is_error()), "{limits:?}: {findings:?}");
    }
}

#[test]
fn key_derivations_are_bounded_over_all_inputs() {
    let key = include_bytes!("../../../../fuzz/corpus/pkcs8/pbes2-aes");
    let pem = crate::pki::pem_blocks::encode("ENCRYPTED PRIVATE KEY", key);
    let many = pem.repeat(10);
    let inputs = [Input { name: "a.pem", bytes: many.as_bytes() }, Input { name: "b.der", bytes: key }];
    let tries = |iterations| {
        let limits = Limits { iterations, ..Limits::default() };
        let (_, findings) = read(&Request { limits, password: Some(b"wrong"), ..Request::new(&inputs) });
        let count = |word: &str| findings.iter().filter(|f| f.code == word).count();
        (count("PasswordWrong"), count("TooManyIterations"))
    };
    let rounds = (1..).find(|limit| tries(*limit).0 > 0).unwrap();
    assert_eq!(tries(rounds), (4, 7), "four derivations with as many rounds as one may have");
    assert_eq!(tries(3 * rounds), (11, 0));
    let wide = include_bytes!("../../../../fuzz/corpus/pkcs8/scrypt-wide");
    let (_, findings) = import(&[("k", wide)], Some("password"));
    assert_eq!(codes(&findings), ["TooManyIterations"]);
    assert!(findings[0].message.contains("takes 256512000 bytes of memory; at most 33554432"), "{findings:?}");
}

#[test]
fn parameters_that_the_library_would_panic_at_are_refused() {
    let short = &include_bytes!("../../../../fuzz/corpus/pkcs8/pbes2-3des-short-iv")[..];
    let free = &include_bytes!("../../../../fuzz/corpus/pkcs8/scrypt-no-cost")[..];
    for hostile in [short, free] {
        let (imported, findings) = import(&[("k", hostile)], Some("password"));
        assert_eq!((codes(&findings), imported.key.is_none()), (vec!["Unreadable"], true));
        assert_eq!(findings[0].message, "it is damaged: the parameters of the encryption do not fit. Export it again");
    }
}

#[test]
fn a_key_under_another_label_is_read() {
    let f = family();
    for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        let key = f.leaf_key.to_pkcs8_pem().replace("PRIVATE KEY", label);
        let (imported, findings) = import(&[("tls.key", key.as_bytes())], None);
        assert_eq!(codes(&findings), ["NoCertificate"], "{label}");
        assert_eq!(imported.key.unwrap().spki_der(), f.leaf_key.spki_der());
    }
}

#[test]
fn a_ca_that_changes_its_key_is_followed_to_its_root() {
    // The new key's certificate, signed with the old key: issuer and subject are the same, and it is no root.
    let (old_key, new_key, leaf_key) = (key(), key(), key());
    let params = ca_params("Root");
    let old = root(&params, &old_key);
    let link = below(&params, &new_key, &old, &old_key);
    assert!(link.self_issued && !link.is_root() && old.is_root());
    let leaf = below(&leaf_params(&["mail.example.com"]), &leaf_key, &link, &new_key);
    let text = pem(&[&old, &link, &leaf]);
    let (imported, _) = import(&[("tls.crt", text.as_bytes()), ("tls.key", leaf_key.to_pkcs8_pem().as_bytes())], None);
    let chain = imported.chain.unwrap();
    assert_eq!((chain.rest(), imported.ca.as_slice()), (&[link.clone()][..], &[old.clone()][..]));
    let expectation = Expectation { anchors: crate::pki::Anchors::own([old.clone()]), ..Expectation::default() };
    let served = Imported::of_served(Chain::new(leaf, vec![link.clone()]));
    assert_eq!(served.chain.as_ref().unwrap().rest(), [link]);
    assert_eq!(codes(&judge(&served, &expectation, crate::pki::tests::now())), ["RootMissing"], "a path leads to it");
}

#[test]
fn a_cross_signed_loop_ends() {
    let f = family();
    // Each of two CAs vouches for the other.
    let (a_key, b_key) = (key(), key());
    let (a, b) = (root(&ca_params("A"), &a_key), root(&ca_params("B"), &b_key));
    let a_by_b = below(&ca_params("A"), &a_key, &b, &b_key);
    let b_by_a = below(&ca_params("B"), &b_key, &a, &a_key);
    let leaf = below(&leaf_params(&["mail.example.com"]), &f.leaf_key, &a, &a_key);
    let text = pem(&[&leaf, &a_by_b, &b_by_a]);
    let (imported, _) =
        import(&[("tls.crt", text.as_bytes()), ("tls.key", f.leaf_key.to_pkcs8_pem().as_bytes())], None);
    assert_eq!(imported.chain.unwrap().rest().len(), 2);
}

#[test]
fn conventional_names() {
    for (names, wanted) in [
        (vec!["ca.crt", "keystore.p12", "tls.crt", "tls.key", "truststore.p12"], vec!["tls.crt", "tls.key", "ca.crt"]),
        (
            vec!["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"],
            vec!["fullchain.pem", "cert.pem", "privkey.pem", "chain.pem"],
        ),
        (vec!["mail.PFX", "ca.crt"], vec!["mail.PFX", "ca.crt"]),
        (vec!["bluemind.pem"], vec!["bluemind.pem"]),
        (vec!["TLS.CRT", "TLS.KEY"], vec!["TLS.CRT", "TLS.KEY"]),
        (vec!["tls.crt"], vec!["tls.crt"]),
        // What has a name of its own is read where nothing else is whole.
        (vec!["mail.key", "mail.crt", "notes.txt"], vec!["mail.crt", "mail.key"]),
        (vec!["ca.crt", "mail.KEY", "tls.crt"], vec!["tls.crt", "ca.crt", "mail.KEY"]),
        (vec!["ca.crt", "old.pem", "tls-combined.pem", "tls.crt", "tls.key"], vec!["tls.crt", "tls.key", "ca.crt"]),
        (vec!["mail.p12", "mail.pem"], vec!["mail.p12"]),
        (vec!["truststore.p12", "password"], vec![]),
    ] {
        assert_eq!(conventional(names), wanted);
    }
}
