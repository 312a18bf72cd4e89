use proptest::prelude::*;

use super::{super::key::MAX_KEY_FILE_BYTES, *};

const SPECS: [KeySpec; 6] =
    [KeySpec::P256, KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::ED25519, KeySpec::rsa(2048), KeySpec::rsa(3072)];

#[test]
fn every_kind_is_made_and_read_back() {
    for spec in SPECS {
        let key = PrivateKey::generate(&spec).unwrap();
        assert_eq!(key.spec(), spec);
        let pem = key.to_pkcs8_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.ends_with("-----END PRIVATE KEY-----\n"));
        let again = PrivateKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.spki_der(), key.spki_der());
        assert_eq!(*again.to_pkcs8_pem(), *pem, "{spec}");
        assert_eq!(PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()).unwrap().spki_der(), key.spki_der());
        assert!(SPECS.iter().all(|other| key.matches_spec(other) == (*other == spec)));
    }
    assert!(PrivateKey::generate(&KeySpec { algorithm: KeyAlgorithm::Ed25519, size: 0 }).unwrap().spec().is_strong());
}

#[test]
fn openssl_reads_ours_and_we_read_all_of_its_forms() {
    if without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for spec in SPECS {
        let key = PrivateKey::generate(&spec).unwrap();
        std::fs::write(dir.path().join("ours.pem"), key.to_pkcs8_pem().as_bytes()).unwrap();
        let (ok, text) = openssl(dir.path(), &["pkey", "-in", "ours.pem", "-check", "-noout"]);
        assert!(ok, "{spec}: {text}");
        let (ok, text) = openssl(dir.path(), &["pkey", "-in", "ours.pem", "-pubout", "-out", "pub.pem"]);
        assert!(ok, "{spec}: {text}");
        if spec == KeySpec::ED25519 {
            continue;
        }
        let (ok, text) = openssl(dir.path(), &["pkey", "-in", "ours.pem", "-traditional", "-out", "old.pem"]);
        assert!(ok, "{spec}: {text}");
        let old = std::fs::read(dir.path().join("old.pem")).unwrap();
        assert!(!old.starts_with(b"-----BEGIN PRIVATE"), "{spec}");
        let read = PrivateKey::from_pem(&old).unwrap();
        assert_eq!(read.spki_der(), key.spki_der());
        assert_eq!(*read.to_pkcs8_pem(), *key.to_pkcs8_pem(), "PKCS#8 whatever the input was");
    }
    let (ok, _) = openssl(dir.path(), &["ecparam", "-genkey", "-name", "prime256v1", "-out", "ec.pem"]);
    let with_parameters = std::fs::read(dir.path().join("ec.pem")).unwrap();
    assert!(ok && with_parameters.starts_with(b"-----BEGIN EC PARAMETERS"));
    assert_eq!(PrivateKey::from_pem(&with_parameters).unwrap().spec(), KeySpec::P256);
}

#[test]
fn refusals_are_precise() {
    if without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key.pem"), key().to_pkcs8_pem().as_bytes()).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for arguments in [
        "pkcs8 -topk8 -in key.pem -passout pass:secret -out encrypted.pem",
        "ec -in key.pem -aes128 -passout pass:secret -out encrypted-old.pem",
        "genpkey -algorithm ED448 -out ed448.pem",
        "genrsa -out small.pem 1024",
        "ecparam -genkey -noout -name secp256k1 -out koblitz.pem",
    ] {
        let (ok, text) = openssl(dir.path(), &arguments.split(' ').collect::<Vec<_>>());
        assert!(ok, "{arguments}: {text}");
    }
    let (none, encrypted) = (
        "there is no PEM block with a private key; it must start with -----BEGIN PRIVATE KEY-----",
        "the private key is encrypted; decrypt it first (openssl pkey -in encrypted.pem -out tls.key), or import PKCS#12 with a password",
    );
    let unsupported = "the private key is damaged or of an unsupported kind; supported are ECDSA P-256, P-384, P-521, RSA from 2048 to 8192 bits and Ed25519";
    let key = key().to_pkcs8_pem().to_string();
    for (text, wanted) in [
        (String::new(), none),
        ("hello".into(), none),
        (key.replace("PRIVATE KEY", "CERTIFICATE"), none),
        (format!("{key}{key}"), "there are 2 private keys; keep only the one that belongs to the certificate"),
        (read("encrypted.pem"), encrypted),
        (read("encrypted-old.pem"), encrypted),
        (read("ed448.pem"), unsupported),
        (read("small.pem"), unsupported),
        (read("koblitz.pem"), unsupported),
        (
            key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            "the PEM block \"OPENSSH PRIVATE KEY\" is not supported; use PKCS#8, PKCS#1 or SEC1 (openssl pkey converts)",
        ),
        (
            key.replace("-----END", "----END"),
            "the private key cannot be read: PEM block 1 (PRIVATE KEY, line 1) has no matching END line; the text was cut off or mixed up",
        ),
        (" ".repeat(MAX_KEY_FILE_BYTES + 1), "the private key's text is larger than 131072 bytes"),
    ] {
        assert_eq!(PrivateKey::from_pem(text.as_bytes()).unwrap_err().to_string(), wanted, "{text:.60}");
    }
    assert_eq!(
        PrivateKey::generate(&KeySpec::rsa(1024)).unwrap_err().to_string(),
        "there is no key of kind RSA 1024; ECDSA has the sizes 256, 384 and 521, RSA has 2048, 3072 and 4096"
    );
}

#[test]
fn debug_shows_no_key() {
    let key = key();
    assert_eq!(format!("{key:?}"), format!("PrivateKey(ECDSA P-256, spki sha256 {})", key.spki_sha256()));
}

#[test]
fn keys_and_cas_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<PrivateKey>();
    shared::<CaKeyPair>();
    shared::<Anchors>();
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PrivateKey::from_pem(&bytes);
        let _ = PrivateKey::from_pkcs8_der(&bytes);
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            prop_assert!(PrivateKey::from_pem(super::pem_blocks::encode(label, &bytes).as_bytes()).is_err());
        }
    }

    #[test]
    fn a_damaged_key_is_judged_without_panic(at in 0usize..138, bit in 0u8..8) {
        let mut der = key().to_pkcs8_der().to_vec();
        if let Some(byte) = der.get_mut(at) {
            *byte ^= 1 << bit;
        }
        let _ = PrivateKey::from_pkcs8_der(&der);
    }
}
