//! What is wrong with a certificate for a mail server.

use k8s_openapi::jiff::SignedDuration;
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints};

use super::*;
use crate::pki::tests::now;
use crate::pki::{Anchors, Usage};

fn imported(f: &Family, roots: &[&Certificate]) -> Imported {
    Imported {
        key: None,
        chain: Some(Chain::new(f.leaf.clone(), vec![f.middle.clone()])),
        ca: roots.iter().map(|c| (*c).clone()).collect(),
        left_out: Vec::new(),
    }
}

fn trusting(f: &Family) -> Expectation {
    Expectation { anchors: Anchors::own([f.root.clone()]), ..Expectation::default() }
}

fn judged(f: &Family, change: impl FnOnce(&mut Expectation)) -> Vec<Finding> {
    let mut expectation = trusting(f);
    change(&mut expectation);
    judge(&imported(f, &[&f.root]), &expectation, now())
}

#[test]
fn a_good_certificate_has_no_findings() {
    let f = family();
    let findings = judged(&f, |e| {
        e.external_host = Some("MAIL.example.com".into());
        e.names = vec!["mail.example.com".into()];
    });
    assert_eq!(findings, []);
}

#[test]
fn names_that_are_not_covered() {
    let f = family();
    let findings = judged(&f, |e| {
        e.external_host = Some("webmail.example.com".into());
        e.names = vec!["webmail.example.com".into(), "smtp.example.com".into()];
        e.legacy = vec!["old.example.com".into()];
    });
    assert_eq!(codes(&findings), ["ExternalURLNotCovered", "NameNotCovered", "LegacyNameNotCovered"]);
    let severities: Vec<_> = findings.iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Error, Severity::Warning]);
    assert!(findings[0].message.contains("it names mail.example.com. Have it issued again"), "{}", findings[0].message);
}

#[test]
fn dates() {
    let f = family();
    let at = |time: &str, before: i64| {
        let mut expectation = trusting(&f);
        expectation.warn_before = vec![SignedDuration::from_hours(before * 24), SignedDuration::from_hours(24)];
        codes(&judge(&imported(&f, &[&f.root]), &expectation, time.parse().unwrap()))
    };
    assert_eq!(at("2030-11-20T00:00:00Z", 7), [""; 0]);
    assert_eq!(at("2030-11-20T00:00:00Z", 30), ["ExpiresSoon"]);
    // The leaf is over, and the CAs end soon.
    assert_eq!(at("2030-12-20T00:00:00Z", 30), ["Expired", "ExpiresSoon", "ExpiresSoon"]);
    assert_eq!(at("2031-02-01T00:00:00Z", 30), ["Expired", "Expired", "Expired"]);
    assert_eq!(at("2029-12-01T00:00:00Z", 30), ["NotYetValid", "NotYetValid"]);
}

#[test]
fn trust() {
    let f = family();
    let untrusted = |roots: &[&Certificate], allow: &[&str]| {
        let allow = allow.iter().filter_map(|w| Code::of(w)).collect();
        judge(&imported(&f, roots), &Expectation { allow, ..Expectation::default() }, now())
    };
    let findings = untrusted(&[&f.root], &[]);
    assert_eq!(codes(&findings), ["NotTrusted"]);
    assert!(findings[0].message.contains("name its root as trust anchor"), "{}", findings[0].message);
    let findings = untrusted(&[&f.root], &["NotTrusted"]);
    assert_eq!((codes(&findings), findings[0].severity), (vec!["NotTrusted"], Severity::Warning));
    assert_eq!(codes(&untrusted(&[], &[])), ["NotTrusted", "RootMissing"]);
    let trusted = judge(&imported(&f, &[]), &trusting(&f), now());
    assert_eq!((codes(&trusted), trusted[0].severity), (vec!["RootMissing"], Severity::Warning));
}

#[test]
fn a_missing_issuer_is_named_with_its_address() {
    let mut params = leaf_params(&["mail.example.com"]);
    // id-pe-authorityInfoAccess with one caIssuers URI.
    let url = b"http://ca.example.com/middle.cer";
    let mut value = vec![0x30, 0x30 - 2, 0x30, 0x2c, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 0x20];
    value.extend(url);
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], value)];
    let f = family_of(ca_params("Middle"), params);
    let alone = Imported { chain: Some(Chain::new(f.leaf.clone(), Vec::new())), ..Imported::default() };
    let findings = judge(&alone, &trusting(&f), now());
    assert_eq!(codes(&findings), ["ChainIncomplete"]);
    assert_eq!(findings[0].issuer_urls, ["http://ca.example.com/middle.cer"]);
    assert!(
        findings[0].message.contains("CN=Middle, is missing")
            && findings[0].message.contains("http://ca.example.com/middle.cer")
    );
}

#[test]
fn purposes_and_kinds() {
    let f = family_of(ca_params("Middle"), {
        let mut p = leaf_params(&["mail.example.com"]);
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        p
    });
    assert_eq!(codes(&judged(&f, |_| ())), ["UsageMissing"]);
    assert_eq!(
        codes(&judged(&f, |e| e.usages = vec![Usage::ServerAuth, Usage::EmailProtection])),
        ["UsageMissing", "UsageMissing"]
    );

    let f = family_of(ca_params("Middle"), {
        let mut p = leaf_params(&["mail.example.com"]);
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        p.custom_extensions = vec![extension];
        p
    });
    let findings = judged(&f, |_| ());
    assert_eq!(codes(&findings), ["UnknownCriticalExtension"]);
    assert!(findings[0].message.contains("1.3.6.1.4.1.99999.1"));

    let f = family_of(ca_params("Middle"), ca_params("Not a leaf"));
    assert!(codes(&judged(&f, |_| ())).contains(&"LeafIsCA"));

    let f = family_of(ca_params("Middle"), {
        let mut p = leaf_params(&["mail.example.com"]);
        p.distinguished_name.push(rcgen::DnType::CommonName, "other.example.com");
        p
    });
    assert_eq!(codes(&judged(&f, |_| ())), ["CommonNameNotInSANs"]);
}

#[test]
fn name_constraints() {
    let mut middle = ca_params("Middle");
    let only = vec![GeneralSubtree::DnsName("example.org".into())];
    middle.name_constraints = Some(NameConstraints { permitted_subtrees: only, excluded_subtrees: Vec::new() });
    let f = family_of(middle, leaf_params(&["mail.example.com"]));
    assert_eq!(codes(&judged(&f, |_| ())), ["NameConstraints"]);
    // They are told also when the CA is not trusted.
    let untrusted = judge(&imported(&f, &[&f.root]), &Expectation::default(), now());
    assert_eq!(codes(&untrusted), ["NotTrusted", "NameConstraints"]);
}

#[test]
fn links_that_do_not_hold() {
    let (f, other) = (family(), family());
    let broken = Imported {
        chain: Some(Chain::new(f.leaf.clone(), vec![other.middle.clone()])),
        ca: vec![f.root.clone()],
        ..Imported::default()
    };
    assert_eq!(codes(&judge(&broken, &trusting(&f), now())), ["ChainBroken"]);
}

#[test]
fn every_code_is_a_documented_word() {
    for word in crate::api::reasons::import::ALL {
        assert_eq!(Code::of(word).unwrap().word(), *word);
    }
    assert_eq!(Code::of("Nonsense"), None);
    // The page says which of them can be allowed.
    let page = include_str!("../../../../docs/import-formats.md");
    let words = |codes: &[&str]| codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let row = format!("| error that can be allowed | {} |", words(crate::api::reasons::ALLOWABLE));
    assert!(page.contains(&row), "{row}");
}
