use super::super::{PemLimits, ari_id};
use super::*;

/// RFC 9773, appendix A.
const EXAMPLE: &str = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
";

#[test]
fn the_example_of_the_rfc_has_its_identifier() {
    let chain = Chain::from_pem(EXAMPLE.as_bytes(), &PemLimits::CHAIN).unwrap();
    assert_eq!(ari_id(chain.leaf()).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
}

#[test]
fn a_certificate_without_authority_key_identifier_has_none() {
    let key = key();
    assert_eq!(ari_id(&root(&ca_params("Mail CA"), &key)), None);
    let ca = root(&ca_params("Mail CA"), &key);
    let leaf = below(&CertificateParams::new(vec!["a.example".to_owned()]).unwrap(), &key, &ca, &key);
    assert!(ari_id(&leaf).unwrap().contains('.'));
}
