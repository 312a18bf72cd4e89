use super::*;

struct Pki {
    top: Certificate,
    issuing: Certificate,
    chain: Chain,
}

fn pki() -> Pki {
    let (root_key, ca_key) = (key(), key());
    let mut params = ca_params("Root");
    params.not_after = super::time(at("2030-09-01T00:00:00Z"));
    let top = root(&params, &root_key);
    let issuing = below(&ca_params("Issuing"), &ca_key, &top, &root_key);
    let ca = load(&[&issuing], &ca_key, now()).unwrap();
    let mut spec = leaf_spec(&["mail.example.com", "*.mx.example.com"]);
    spec.not_after = at("2030-12-01T00:00:00Z");
    Pki { chain: ca.sign(key().spki_der(), &spec).unwrap(), top, issuing }
}

fn verdict(chain: &[Certificate], anchors: &Anchors, name: &str, now: &str) -> (&'static str, String) {
    let ders: Vec<_> = chain.iter().map(|c| c.der().clone()).collect();
    let verdict = judge_chain(&ders, anchors, name, at(now)).unwrap_err();
    (verdict.result_type(), verdict.to_string())
}

#[test]
fn roots_intermediates_and_pinned_leaves_are_anchors() {
    let Pki { top, issuing, chain } = pki();
    let (leaf, ders) = (chain.leaf().clone(), chain.ders());
    for anchor in [top.clone(), issuing.clone(), leaf.clone()] {
        let own = Anchors::own([anchor]);
        assert_eq!(judge_chain(&ders, &own, "mail.example.com", now()), Ok(()));
        assert_eq!(judge_chain(&ders, &own, "a.MX.example.com.", now()), Ok(()));
    }
    let both = Anchors::mozilla().with([top.clone()]);
    assert_eq!(judge_chain(&ders, &both, "mail.example.com", now()), Ok(()));
    // The order behind the leaf and needless certificates do no harm.
    let mixed = [leaf.der(), top.der(), issuing.der()];
    assert_eq!(judge_chain(&mixed, &Anchors::own([top.clone()]), "mail.example.com", now()), Ok(()));
}

#[test]
fn a_pinned_leaf_vouches_for_itself_only() {
    let key = key();
    let pinned = self_signed(&key, &leaf_spec(&["mail.example.com"])).unwrap();
    let other = self_signed(&key, &leaf_spec(&["mail.example.com"])).unwrap();
    let anchors = Anchors::own([pinned.leaf().clone()]);
    assert_eq!(judge_chain(&pinned.ders(), &anchors, "mail.example.com", now()), Ok(()));
    assert_eq!(
        verdict(&[other.leaf().clone()], &anchors, "mail.example.com", "2030-06-15T12:00:00Z"),
        (
            "certificate-not-trusted",
            "the certificate is not trusted: it is self-signed; clients trust it only when it is pinned itself".into()
        )
    );
}

#[test]
fn verdicts_are_precise() {
    let Pki { top, issuing, chain } = pki();
    let leaf = chain.leaf().clone();
    let (mail, then) = ("mail.example.com", "2030-06-15T12:00:00Z");
    let (whole, own) = ([leaf.clone(), issuing.clone()], Anchors::own([top.clone()]));
    let not_trusted = |text: &str| ("certificate-not-trusted", format!("the certificate is not trusted: {text}"));
    assert_eq!(
        verdict(&whole, &own, "imap.example.com", then),
        (
            "certificate-host-mismatch",
            "the certificate does not cover imap.example.com; it names mail.example.com, *.mx.example.com".into()
        )
    );
    assert_eq!(
        verdict(&whole, &own, mail, "2030-12-02T00:00:00Z"),
        (
            "certificate-expired",
            "the certificate mail.example.com expired at 2030-12-01T00:00:00Z; renew it, or make the server load the new one".into()
        )
    );
    assert_eq!(
        verdict(&whole, &own, mail, "2030-06-15T00:00:00Z"),
        (
            "certificate-not-trusted",
            "the certificate mail.example.com is not valid before 2030-06-15T11:55:00Z; check the server's certificate and the clocks"
                .into()
        )
    );
    assert_eq!(
        verdict(&whole, &own, mail, "2030-10-01T00:00:00Z"),
        (
            "certificate-expired",
            "the certificate CN=Root expired at 2030-09-01T00:00:00Z; renew it, or make the server load the new one"
                .into()
        )
    );
    assert_eq!(
        verdict(&whole, &Anchors::mozilla(), mail, then),
        not_trusted("the chain ends at the issuer CN=Root, which is no trust anchor, or a link in it is missing")
    );
    assert_eq!(
        verdict(&whole[..1], &own, mail, then),
        not_trusted("its issuer CN=Issuing is no trust anchor and the server sends no intermediate certificate")
    );
    assert_eq!(
        verdict(&[issuing], &own, mail, then),
        not_trusted("CN=Issuing is a CA certificate; a server needs a leaf certificate (CA:FALSE)")
    );
    assert_eq!(
        judge_chain::<&[u8]>(&[], &own, mail, now()).unwrap_err().to_string(),
        not_trusted("there is no certificate at all").1
    );
}

#[test]
fn a_client_certificate_and_foreign_names_are_not_trusted() {
    let ca_key = key();
    let mut params = ca_params("Narrow");
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".into())],
        excluded_subtrees: vec![],
    });
    let narrow = load(&[&root(&params, &ca_key)], &ca_key, now()).unwrap();
    let chain = narrow.sign(key().spki_der(), &leaf_spec(&["mail.example.com"])).unwrap();
    let judge = |chain: &Chain, ca: &CaKeyPair| {
        judge_chain(&chain.ders(), &Anchors::own(ca.roots().to_vec()), "mail.example.com", now())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        judge(&chain, &narrow),
        "the certificate is not trusted: a CA above it must not vouch for its names (name constraints)"
    );
    let ca = simple_ca();
    let mut spec = leaf_spec(&["mail.example.com"]);
    spec.usages = vec![Usage::ClientAuth];
    assert_eq!(
        judge(&ca.sign(key().spki_der(), &spec).unwrap(), &ca),
        "the certificate is not trusted: its extended key usage, or that of a CA above it, lacks serverAuth"
    );
}
