//! A finding that is allowed lets nothing else through, and what is wrong with a certificate hides nothing of whom it leads
//! to.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    NameConstraints,
};

use super::*;
use crate::pki::Anchors;
use crate::pki::tests::now;

/// The errors that `judge` tells of a chain at [`now`], with `allow` allowed.
fn errors(chain: &Chain, ca: &[&Certificate], anchors: &Anchors, allow: &[&str]) -> Vec<&'static str> {
    let imported =
        Imported { chain: Some(chain.clone()), ca: ca.iter().map(|c| (*c).clone()).collect(), ..Imported::default() };
    let allow = allow.iter().map(|word| Code::of(word).unwrap()).collect();
    let found = judge(&imported, &Expectation { anchors: anchors.clone(), allow, ..Expectation::default() }, now());
    let mut errors = codes(&found.into_iter().filter(Finding::is_error).collect::<Vec<_>>());
    errors.sort_unstable();
    errors
}

fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = leaf_params(&["mail.example.com"]);
    change(&mut params);
    params
}

fn time_of(text: &str) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at(text).as_second()).unwrap()
}

/// Every defect of a leaf that can be made without other tools.
fn defects() -> Vec<(&'static str, CertificateParams)> {
    vec![
        ("Expired", changed(|p| p.not_after = time_of("2030-06-01T00:00:00Z"))),
        ("NotYetValid", changed(|p| p.not_before = time_of("2030-07-01T00:00:00Z"))),
        (
            "UnknownCriticalExtension",
            changed(|p| {
                let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
                extension.set_criticality(true);
                p.custom_extensions = vec![extension];
            }),
        ),
        ("UsageMissing", changed(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])),
        ("LeafIsCA", changed(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("CommonNameNotInSANs", changed(|p| p.distinguished_name.push(rcgen::DnType::CommonName, "other.example.com"))),
    ]
}

#[test]
fn what_is_allowed_is_no_reason_to_trust() {
    for (defect, params) in defects() {
        let f = family_of(ca_params("Middle"), params.clone());
        let (whole, alone) =
            (Chain::new(f.leaf.clone(), vec![f.middle.clone()]), Chain::new(f.leaf.clone(), Vec::new()));
        let (root, trusted) = ([&f.root], Anchors::own([f.root.clone()]));
        let all = |codes: &[&'static str]| {
            let mut codes: Vec<_> = codes.iter().copied().chain([defect]).collect();
            codes.sort_unstable();
            codes
        };
        // Below a root that nobody trusts, with the root in the file and without it.
        for ca in [&root[..], &[]] {
            assert_eq!(errors(&whole, ca, &Anchors::mozilla(), &[]), all(&["NotTrusted"]), "{defect}");
            assert_eq!(errors(&whole, ca, &Anchors::mozilla(), &[defect]), ["NotTrusted"], "{defect}");
            assert_eq!(errors(&whole, ca, &Anchors::mozilla(), &[defect, "NotTrusted"]), [""; 0], "{defect}");
        }
        // Without its issuer, whether or not the root is trusted.
        for anchors in [&trusted, &Anchors::mozilla()] {
            assert_eq!(errors(&alone, &[], anchors, &[]), all(&["ChainIncomplete"]), "{defect}");
            assert_eq!(errors(&alone, &[], anchors, &[defect]), ["ChainIncomplete"], "{defect}");
            assert_eq!(errors(&alone, &[], anchors, &[defect, "ChainIncomplete"]), ["NotTrusted"], "{defect}");
            assert_eq!(errors(&alone, &[], anchors, &[defect, "ChainIncomplete", "NotTrusted"]), [""; 0], "{defect}");
        }
        // Signed by itself.
        let own = root_of_itself(&params);
        let itself = Chain::new(own.clone(), Vec::new());
        assert_eq!(errors(&itself, &[&own], &Anchors::mozilla(), &[]), all(&["NotTrusted"]), "{defect}");
        assert_eq!(errors(&itself, &[&own], &trusted, &[defect]), ["NotTrusted"], "{defect}");
        // Trusted: the defect is all that is told, and allowing it is enough.
        for (chain, ca, anchors) in
            [(&whole, &root[..], &trusted), (&itself, &[&own][..], &Anchors::own([own.clone()]))]
        {
            assert_eq!(errors(chain, ca, anchors, &[]), [defect]);
            assert_eq!(errors(chain, ca, anchors, &[defect]), [""; 0], "{defect}");
        }
    }
}

fn root_of_itself(params: &CertificateParams) -> Certificate {
    let mut params = params.clone();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Itself");
    root(&params, &key())
}

#[test]
fn what_is_wrong_above_the_leaf_is_told_with_it() {
    let expired = changed(|p| p.not_after = time_of("2030-06-01T00:00:00Z"));
    let chain_of = |f: &Family| Chain::new(f.leaf.clone(), vec![f.middle.clone()]);
    let judged = |f: &Family, anchors: &Anchors, allow: &[&str]| errors(&chain_of(f), &[&f.root], anchors, allow);
    // Names that the CA must not vouch for.
    let mut middle = ca_params("Middle");
    let only = vec![GeneralSubtree::DnsName("example.org".into())];
    middle.name_constraints = Some(NameConstraints { permitted_subtrees: only, excluded_subtrees: Vec::new() });
    let f = family_of(middle, expired.clone());
    let trusted = Anchors::own([f.root.clone()]);
    assert_eq!(judged(&f, &trusted, &[]), ["Expired", "NameConstraints"]);
    assert_eq!(judged(&f, &trusted, &["Expired"]), ["NameConstraints"]);
    // A CA that is over, and nobody trusts the root.
    let mut middle = ca_params("Middle");
    middle.not_after = time_of("2030-06-01T00:00:00Z");
    let f = family_of(middle, changed(|p| p.not_before = time_of("2030-06-10T00:00:00Z")));
    let trusted = Anchors::own([f.root.clone()]);
    assert_eq!(judged(&f, &Anchors::mozilla(), &["Expired"]), ["NotTrusted"]);
    assert_eq!(judged(&f, &trusted, &["Expired"]), [""; 0], "the two were never valid at once");
    assert_eq!(judged(&f, &trusted, &[]), ["Expired"]);
    // A CA that is for something else.
    let mut middle = ca_params("Middle");
    middle.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    let f = family_of(middle, expired.clone());
    assert_eq!(judged(&f, &Anchors::own([f.root.clone()]), &["Expired"]), ["NotTrusted"]);
    // A link that does not hold, to a CA that is trusted.
    let (f, other) = (family_of(ca_params("Middle"), expired), family());
    let broken = Chain::new(f.leaf.clone(), vec![other.middle.clone()]);
    let trusted = Anchors::own([other.root.clone()]);
    assert_eq!(errors(&broken, &[&other.root], &trusted, &[]), ["ChainBroken", "Expired"]);
    assert_eq!(errors(&broken, &[&other.root], &trusted, &["Expired", "ChainBroken"]), ["NotTrusted"]);
}

/// As `openssl` makes what this library refuses to make.
#[test]
fn a_signature_that_is_not_verified_is_no_reason_to_trust() {
    if crate::pki::tests::without_openssl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| openssl(dir.path(), arguments);
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=Root -keyout root.key -out root.pem",
    );
    std::fs::write(dir.path().join("ext"), "subjectAltName=DNS:mail.example.com\nbasicConstraints=CA:FALSE\n").unwrap();
    let cert = |name: &str| {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        Chain::from_pem(&bytes, &crate::pki::PemLimits::CHAIN).unwrap().leaf().clone()
    };
    let root = cert("root.pem");
    let trusted = Anchors::own([root.clone()]);
    for (defect, request, sign, verified) in
        [("WeakSignature", "-newkey rsa:2048", "-sha1", false), ("WeakKey", "-newkey rsa:1024", "-sha256", true)]
    {
        openssl(&format!("req {request} -nodes -subj / -keyout leaf.key -out leaf.csr"));
        openssl(&format!(
            "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile ext -days 365 {sign} -out leaf.pem"
        ));
        let chain = Chain::new(cert("leaf.pem"), Vec::new());
        let at = chain.leaf().not_before.max(root.not_before);
        let judged = |anchors: &Anchors, allow: &[&str]| {
            let imported = Imported { chain: Some(chain.clone()), ca: vec![root.clone()], ..Imported::default() };
            let allow = allow.iter().map(|word| Code::of(word).unwrap()).collect();
            let found =
                judge(&imported, &Expectation { anchors: anchors.clone(), allow, ..Expectation::default() }, at);
            found.into_iter().filter(Finding::is_error).collect::<Vec<_>>()
        };
        assert_eq!(codes(&judged(&trusted, &[])), [defect]);
        assert_eq!(codes(&judged(&Anchors::mozilla(), &[])), [defect, "NotTrusted"]);
        assert_eq!(codes(&judged(&Anchors::mozilla(), &[defect])), ["NotTrusted"]);
        let allowed = judged(&trusted, &[defect]);
        if verified {
            assert_eq!(allowed, []);
            continue;
        }
        assert_eq!(codes(&allowed), ["NotTrusted"]);
        assert_eq!(
            allowed[0].message,
            "the certificate is not trusted: that mail.example.com was signed by CN=Root cannot be verified (its signature algorithm \
             is outdated, unknown, or not one for the next one's key), so nothing shows that it leads to a trust anchor. Have it \
             issued again so that clients can verify it, or allow untrusted certificates"
        );
        assert_eq!(judged(&trusted, &[defect, "NotTrusted"]), []);
    }
}
