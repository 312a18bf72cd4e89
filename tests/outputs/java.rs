//! Java opens the stores, and serves with them.

use mailcert::pki::{KeySpec, Profile};
use mailcert_testenv::packages;

use crate::{Signed, say, stores, without};

#[test]
fn keytool_and_a_java_server_use_the_stores() {
    if without(&packages::JAVA) {
        return;
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outputs/Store.java");
    for (profile, key) in [(Profile::Modern2023, KeySpec::P256), (Profile::LegacyDes, KeySpec::rsa(2048))] {
        let signed = Signed::new(&["mail.example.com"], &key);
        let dir = tempfile::tempdir().unwrap();
        signed.write(dir.path(), &stores(profile));
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (keystore, truststore) = (file("keystore.p12"), file("truststore.p12"));
        let list = |store: &str| {
            say("keytool", &["-list", "-storetype", "PKCS12", "-keystore", store, "-storepass", "changeit"])
        };
        let listed = list(&keystore);
        assert!(listed.contains("contains 1 entry") && listed.contains("PrivateKeyEntry"), "{listed}");
        let listed = list(&truststore);
        assert!(listed.contains("contains 1 entry") && listed.contains("trustedCertEntry"), "{listed}");
        let seen = say("java", &[program, &keystore, &truststore, "changeit", "mail.example.com"]);
        let served = format!("served + {}", signed.serial());
        let expected = ["key true certificate 1", "trusted true ca", served.as_str()];
        assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    }
}
