use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::*;

/// RFC 7638, section 3.1, has only the public key; its members and order are what counts.
#[test]
fn public_keys_have_the_members_of_rfc_7638_in_its_order() {
    let text = PrivateKey::generate(&KeySpec::rsa(2048)).unwrap().jwk().unwrap();
    assert!(text.starts_with(r#"{"e":"AQAB","kty":"RSA","n":""#), "{text}");
    for (size, name, bytes) in [(256, "P-256", 32), (384, "P-384", 48), (521, "P-521", 66)] {
        let text = PrivateKey::generate(&KeySpec::ecdsa(size)).unwrap().jwk().unwrap();
        assert!(text.starts_with(&format!(r#"{{"crv":"{name}","kty":"EC","x":""#)), "{text}");
        let members: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        for coordinate in ["x", "y"] {
            assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(&members[coordinate]).unwrap().len(), bytes);
        }
    }
}

#[test]
fn signatures_verify_with_the_public_key_of_their_algorithm() {
    let cases: [(KeySpec, &str, &'static dyn VerificationAlgorithm); 4] = [
        (KeySpec::P256, "ES256", &ECDSA_P256_SHA256_FIXED),
        (KeySpec::ecdsa(384), "ES384", &ECDSA_P384_SHA384_FIXED),
        (KeySpec::ecdsa(521), "ES512", &ECDSA_P521_SHA512_FIXED),
        (KeySpec::rsa(2048), "RS256", &RSA_PKCS1_2048_8192_SHA256),
    ];
    for (spec, name, algorithm) in cases {
        let key = PrivateKey::generate(&spec).unwrap();
        assert_eq!(key.jws_algorithm(), Some(name));
        let signature = key.sign_jws(b"header.payload").unwrap();
        let (_, spki) = SubjectPublicKeyInfo::from_der(key.spki_der()).unwrap();
        let public = UnparsedPublicKey::new(algorithm, &spki.subject_public_key.data);
        public.verify(b"header.payload", &signature).unwrap();
        assert!(public.verify(b"header.other", &signature).is_err());
        assert_eq!(key.jwk_thumbprint().unwrap().len(), 43);
    }
}

#[test]
fn ed25519_signs_nothing_for_acme() {
    let key = PrivateKey::generate(&KeySpec::ED25519).unwrap();
    assert_eq!(key.jws_algorithm(), None);
    assert!(key.jwk().is_err() && key.sign_jws(b"x").is_err() && key.jwk_thumbprint().is_err());
}
