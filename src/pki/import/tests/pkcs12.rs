//! PKCS#12 files that the library p12-keystore writes, and how they are refused.

use p12_keystore::{
    Certificate as StoreCertificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm,
    PrivateKey as StoreKey, PrivateKeyChain,
};

use super::*;

fn store(f: &Family, password: &str, algorithm: EncryptionAlgorithm, mac: MacAlgorithm, iterations: u32) -> Vec<u8> {
    let der = |c: &Certificate| StoreCertificate::from_der(c.der()).unwrap();
    let key = StoreKey::from_der(&f.leaf_key.to_pkcs8_der()).unwrap();
    let mut store = KeyStore::new();
    let chain = PrivateKeyChain::new(vec![1u8], key, [der(&f.leaf), der(&f.middle), der(&f.root)]);
    store.add_entry("mail", KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_algorithm(algorithm).mac_algorithm(mac);
    writer.encryption_iterations(iterations).mac_iterations(iterations).write().unwrap()
}

const ALGORITHMS: [(EncryptionAlgorithm, MacAlgorithm); 3] = [
    (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256),
    (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
    (EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc, MacAlgorithm::HmacSha512),
];

#[test]
fn every_algorithm_is_read() {
    let f = family();
    for (algorithm, mac) in ALGORITHMS {
        for password in ["secret", "pässwörd 密码", ""] {
            let bytes = store(&f, password, algorithm, mac, 10);
            let (imported, findings) = import(&[("mail.p12", &bytes)], Some(password));
            assert_eq!(codes(&findings), [""; 0], "{findings:?}");
            assert_eq!(labels(&imported.chain.unwrap()), [f.leaf.label(), f.middle.label()]);
            assert_eq!(imported.ca, std::slice::from_ref(&f.root));
            assert_eq!(imported.key.unwrap().spki_der(), f.leaf_key.spki_der());
        }
    }
}

#[test]
fn a_missing_password_is_told_from_a_wrong_one() {
    let f = family();
    for (algorithm, mac) in ALGORITHMS {
        let bytes = store(&f, "secret", algorithm, mac, 10);
        for (password, wanted, words) in [
            (None, "PasswordMissing", "give it (passwordSecretRef, or --password-file)"),
            (Some("wrong"), "PasswordWrong", "which one the file was made with"),
            (Some("secret\n"), "PasswordWrong", "ends with a line break"),
            (Some(""), "PasswordWrong", "is empty"),
        ] {
            let (imported, findings) = import(&[("mail.p12", &bytes)], password);
            assert_eq!(codes(&findings), [wanted]);
            assert!(findings[0].message.contains(words), "{}", findings[0].message);
            assert!(!findings[0].message.contains("secret") && imported.key.is_none());
        }
        let empty = store(&f, "", algorithm, mac, 10);
        assert_eq!(codes(&import(&[("mail.p12", &empty)], None).1), [""; 0], "an empty password is tried");
    }
}

#[test]
fn rounds_are_counted_before_they_are_made() {
    let f = family();
    let bytes = store(&f, "secret", ALGORITHMS[0].0, ALGORITHMS[0].1, 1000);
    let inputs = [Input { name: "mail.p12", bytes: &bytes }];
    let with = |iterations| {
        let limits = Limits { iterations, ..Limits::default() };
        codes(&read(&Request { limits, password: Some(b"secret"), ..Request::new(&inputs) }).1)
    };
    assert_eq!(with(999), ["TooManyIterations"]);
    assert_eq!(with(1000), [""; 0]);
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let f = family();
    let bytes = store(&f, "secret", ALGORITHMS[1].0, ALGORITHMS[1].1, 1);
    for index in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x15;
        let (_, findings) = import(&[("mail.p12", &damaged)], Some("secret"));
        assert!(findings.iter().any(Finding::is_error), "byte {index} of {} is not covered", bytes.len());
        let (_, findings) = import(&[("mail.p12", &bytes[..index])], Some("secret"));
        assert!(findings.iter().any(Finding::is_error));
    }
}
