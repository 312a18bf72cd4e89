//! What the Secret holds besides: when it is written anew, and what is said where it cannot be.

use super::bench::*;
use crate::api::certificate::{KeyEncoding, Outputs, OutputsStatus, PasswordRef, Pkcs12Output, Pkcs12Profile};

use crate::api::reasons::finding;

fn stores() -> Outputs {
    let password_secret_ref = PasswordRef { name: "store".to_owned(), key: "password".to_owned() };
    let pkcs12 = Pkcs12Output { profile: Pkcs12Profile::Modern2023, password_secret_ref, truststore: false };
    Outputs { pkcs12: Some(pkcs12), ..Outputs::default() }
}

fn with_stores() -> Bench {
    let mut bench = Bench::with_ca();
    bench.password = Some((7, "changeit".to_owned()));
    bench.edit(|s| s.options.outputs = stores());
    bench.settle();
    bench
}

fn said(bench: &Bench) -> Vec<(String, String)> {
    let skipped = bench.status().findings.into_iter().filter(|f| f.reason == finding::OUTPUT_SKIPPED);
    skipped.map(|f| (f.about, f.message)).collect()
}

#[test]
fn the_password_is_read_once_and_before_the_secret_is_written() {
    let mut bench = with_stores();
    let done = bench.take_log();
    let at = |what: &str| done.iter().position(|d| d.contains(what)).unwrap_or_else(|| panic!("{what}: {done:?}"));
    assert!(at("read the password") < at("write revision 1"), "{done:?}");
    let known = OutputsStatus { password_secret_resource_version: Some("7".to_owned()) };
    assert_eq!(bench.status().outputs, Some(known));
    assert_eq!(said(&bench), []);
    bench.assert_ready();
}

#[test]
fn another_password_has_the_stores_written_again_and_is_no_repair() {
    let mut bench = with_stores();
    bench.take_log();
    bench.take_notes();
    bench.password = Some((8, "other".to_owned()));
    bench.settle();
    let expected =
        ["read the password of the PKCS#12 stores", "read the active Secret", "write revision 1 to the active Secret"];
    assert_eq!(bench.take_log(), expected);
    assert_eq!((bench.status().repairs, bench.take_notes()), (None, Vec::new()));
    // A touch of its Secret is a look, and nothing more.
    bench.password = Some((9, "other".to_owned()));
    bench.settle();
    assert_eq!(bench.take_log(), expected[..2]);
    bench.assert_ready();
}

#[test]
fn without_a_password_the_rest_is_written_and_it_is_said() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.outputs = stores());
    bench.settle();
    bench.assert_ready();
    assert_eq!(said(&bench), [("spec.outputs.pkcs12".to_owned(), "there is no Secret store".to_owned())]);
    assert_eq!(bench.status().outputs, Some(OutputsStatus::default()));
    let told: Vec<_> = bench.take_notes().into_iter().filter(|n| n.1 == "OutputSkipped").collect();
    assert_eq!(told, [(true, "OutputSkipped".to_owned(), "there is no Secret store".to_owned())]);
    bench.take_log();
    bench.password = Some((3, "changeit".to_owned()));
    bench.settle();
    assert!(bench.take_log().contains(&"write revision 1 to the active Secret".to_owned()));
    assert_eq!(said(&bench), []);
    bench.edit(|s| s.options.outputs = Outputs::default());
    bench.settle();
    assert_eq!((bench.status().outputs, said(&bench)), (None, Vec::new()));
}

#[test]
fn a_trust_store_without_a_ca_is_said() {
    let mut bench = with_stores();
    let mut outputs = stores();
    if let Some(stores) = &mut outputs.pkcs12 {
        stores.truststore = true;
    }
    bench.edit(|s| s.options.outputs = outputs);
    bench.settle();
    let message = "truststore.p12 is not written: there is no ca.crt with this certificate. Set truststore to false, and have \
                   clients trust the public CAs, as a MailTrustBundle holds them";
    assert_eq!(said(&bench), [("spec.outputs.pkcs12".to_owned(), message.to_owned())]);
    bench.assert_ready();
}

#[test]
fn another_form_of_the_key_is_a_write_and_no_new_certificate() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.take_log();
    bench.edit(|s| s.options.outputs.der = true);
    bench.settle();
    assert_eq!(bench.take_log(), ["read the active Secret", "write revision 1 to the active Secret"]);
    bench.edit(|s| s.options.private_key.encoding = KeyEncoding::Traditional);
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.status().repairs, None);
}

#[test]
fn a_renewal_looks_first_at_what_is_there() {
    let mut bench = with_stores();
    bench.edit(|s| s.options.history.revisions = 0);
    bench.settle();
    bench.take_log();
    bench.ask_to_renew("a");
    bench.settle();
    let done = bench.take_log();
    let at = |what: &str| done.iter().position(|d| d.contains(what)).unwrap_or_else(|| panic!("{what}: {done:?}"));
    assert!(at("read the password") < at("read the active Secret"), "{done:?}");
    assert!(at("read the active Secret") < at("write revision 2"), "{done:?}");
    assert_eq!(bench.status().repairs, None);
}
