//! What mailcert writes is what others read: keytool, Java, Postfix and Dovecot.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers panic as the tests that call them do")]

#[path = "outputs/java.rs"]
mod java;
#[path = "outputs/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert::pki::{
    CaKeyPair, Certificate, Chain, KeySpec, LeafSpec, Outputs, Pair, Pkcs12, PrivateKey, Profile, SubjectSpec, Usage,
};
use mailcert_testenv::packages::{self, Package};

/// A CA, and what it has signed for some names.
struct Signed {
    key: PrivateKey,
    chain: Chain,
    ca: Vec<Certificate>,
}

impl Signed {
    fn new(names: &[&str], key: &KeySpec) -> Self {
        let authority = mailcert_testenv::pki::Ca::new("Test CA").unwrap();
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let ca = CaKeyPair::from_pem(authority.cert_pem.as_bytes(), authority.key_pem.as_bytes(), None, now).unwrap();
        let subject =
            SubjectSpec { dns_names: names.iter().map(|n| (*n).to_owned()).collect(), ..SubjectSpec::default() };
        let key = PrivateKey::generate(key).unwrap();
        let not_after = now + SignedDuration::from_hours(24);
        let leaf = LeafSpec { subject, usages: vec![Usage::ServerAuth], not_before: now, not_after, serial: None };
        let chain = ca.sign(key.spki_der(), &leaf).unwrap();
        Self { key, chain, ca: ca.roots().to_vec() }
    }

    /// Writes everything that a Secret would hold into a folder.
    fn write(&self, folder: &Path, outputs: &Outputs) {
        let pair = Pair { key: &self.key, chain: &self.chain, ca: &self.ca };
        for (name, value) in outputs.write(&pair, &BTreeSet::new()).unwrap().data {
            fs::write(folder.join(name), value.unwrap().0).unwrap();
        }
    }

    fn serial(&self) -> &str {
        self.chain.leaf().serial.trim_start_matches('0')
    }
}

/// Stores of this profile, encrypted with `changeit`.
fn stores(profile: Profile) -> Outputs {
    let password = mailcert::pki::Password::new(b"changeit").unwrap();
    Outputs { pkcs12: Some(Pkcs12 { profile, truststore: true, password: Some(password) }), ..Outputs::default() }
}

/// Whether a test must be left out for want of these packages; never with `CI=true`.
fn without(needed: &[Package]) -> bool {
    let missing = packages::missing(needed);
    if missing.is_empty() {
        return false;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true, and these are missing: {}", missing.join(" "));
    eprintln!("skipped, since these packages are missing: {}", missing.join(" "));
    true
}

/// What a program says, both outputs together; it must succeed.
fn say(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {}:\n{text}", arguments.join(" "));
    text
}
