use super::{
    super::bundle::{CA_CRT, TLS_COMBINED, TLS_CRT, TLS_KEY},
    *,
};

fn sample() -> (Chain, PrivateKey, Vec<Certificate>) {
    let (root_key, ca_key, key) = (key(), key(), key());
    let top = root(&ca_params("Root"), &root_key);
    let issuing = below(&ca_params("Issuing"), &ca_key, &top, &root_key);
    let ca = load(&[&issuing, &top], &ca_key, now()).unwrap();
    (ca.sign(key.spki_der(), &leaf_spec(&["mail.example.com"])).unwrap(), key, vec![top])
}

#[test]
fn values_have_the_order_that_servers_want() {
    let (chain, key, ca) = sample();
    let bundle = SecretBundle::new(&chain, &key, &ca);
    assert_eq!(bundle.tls_crt, format!("{}{}", chain.leaf().to_pem(), chain.rest()[0].to_pem()));
    assert_eq!(bundle.ca_crt, ca[0].to_pem());
    assert_eq!(*bundle.tls_combined, format!("{}{}", *key.to_pkcs8_pem(), bundle.tls_crt));
    let data = bundle.to_data();
    assert_eq!(data.keys().collect::<Vec<_>>(), [CA_CRT, TLS_COMBINED, TLS_CRT, TLS_KEY]);
    assert!(data.values().all(|v| v.0.ends_with(b"-----\n")));
    assert!(!format!("{bundle:?}").contains("PRIVATE"));
    assert!(!SecretBundle::new(&chain, &key, &[]).to_data().contains_key(CA_CRT));
}

#[test]
fn the_way_back() {
    let (chain, key, ca) = sample();
    let mut data = SecretBundle::new(&chain, &key, &ca).to_data();
    let parsed = SecretBundle::parse(&data).unwrap();
    assert_eq!((&parsed.chain, &parsed.ca), (&chain, &ca));
    assert!(parsed.key_matches && parsed.canonical);
    assert_eq!(parsed.key.spki_der(), key.spki_der());

    data.remove(TLS_COMBINED);
    assert!(!SecretBundle::parse(&data).unwrap().canonical);
    let foreign = super::key().to_pkcs8_pem();
    data.insert(TLS_KEY.into(), k8s_openapi::ByteString(foreign.as_bytes().to_vec()));
    assert!(!SecretBundle::parse(&data).unwrap().key_matches);
    let error = |data: &_| SecretBundle::parse(data).unwrap_err().to_string();
    data.insert(CA_CRT.into(), k8s_openapi::ByteString(b"x".to_vec()));
    assert_eq!(
        error(&data),
        "ca.crt: there is no PEM block with a certificate; it must start with -----BEGIN CERTIFICATE-----"
    );
    data.insert(TLS_KEY.into(), k8s_openapi::ByteString(vec![]));
    assert_eq!(error(&data), "the Secret has no tls.key");
    data.remove(TLS_CRT);
    assert_eq!(error(&data), "the Secret has no tls.crt");
}
