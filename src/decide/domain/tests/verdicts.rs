use k8s_openapi::jiff::SignedDuration;

use super::fixtures::*;
use crate::api::domain::EndpointVerdict;
use crate::decide::domain::verdict::{Expected, Judgement, judge};
use crate::decide::domain::world::{LookFailure, Sighting, anchors};
use crate::pki::{Anchors, Chain};

fn look(chain: &Chain, host: &str, anchors: &Anchors, after: SignedDuration) -> Judgement {
    let (active, previous) = (revision(2, &SECOND), [revision(1, &FIRST)]);
    let expected = Expected {
        certificate: "example-com",
        secret: "example-com-tls",
        active: &active,
        former: previous.iter().collect(),
    };
    let chain = chain.ders().iter().map(|d| d.to_vec()).collect();
    let found = Sighting::Chain { address: "192.0.2.1:993".to_owned(), chain };
    judge(&found, &expected, anchors, host, NOW + after)
}

fn ours() -> Anchors {
    anchors(Some(OURS.pem.as_bytes()))
}

#[test]
fn the_active_leaf_with_a_good_chain_is_served() {
    let judged = look(&SECOND, HOST, &ours(), hours(0));
    assert_eq!(judged.verdict, EndpointVerdict::Served);
    assert_eq!((judged.reason.as_str(), judged.message), ("served", None));
    assert_eq!(judged.served, Some(print(&SECOND)));
}

#[test]
fn problems_are_named_with_what_to_do() {
    let theirs = THEIRS.leaf(&[HOST], hours(48));
    let wrong_name = OURS.leaf(&["www.example.net"], hours(48));
    let stale = "192.0.2.1:993 serves revision 1, a previous one that expires at 2026-06-02T00:00:00Z, in place of \
                 revision 2: it has not loaded Secret example-com-tls since; reload or restart it, or name its workload \
                 in spec.workloads";
    let foreign = |issuer: &str| {
        format!(
            "192.0.2.1:993 serves a certificate that is not of MailCertificate example-com (issued by CN={issuer}, \
             expires at 2026-06-02T23:00:00Z): let the server read Secret example-com-tls, or correct the endpoint's \
             host, address or port"
        )
    };
    let other_host = "192.0.2.1:993 serves the active revision 2, but the certificate does not cover pop.example.com; \
                      it names mail.example.com, imap.example.com; add the name to the certificate, or correct the \
                      endpoint's host";
    for (chain, host, reason, message) in [
        (&*FIRST, HOST, "certificate-stale", stale.to_owned()),
        (&*SECOND, "pop.example.com", "certificate-host-mismatch", other_host.to_owned()),
        (&wrong_name, HOST, "certificate-host-mismatch", {
            let more = "; besides, the certificate does not cover mail.example.com; it names www.example.net";
            foreign("Our CA") + more
        }),
        (&OURS.leaf(&[HOST], hours(48)), HOST, "certificate-stale", foreign("Our CA")),
    ] {
        let judged = look(chain, host, &ours(), hours(0));
        assert_eq!(judged.verdict, EndpointVerdict::Problem, "{message}");
        assert_eq!((judged.reason.as_str(), judged.message), (reason, Some(message)));
    }
    let judged = look(&theirs, HOST, &ours(), hours(0));
    assert_eq!(judged.reason, "certificate-not-trusted");
    assert!(
        judged.message.unwrap().starts_with(&(foreign("Their CA") + "; besides, the certificate is not trusted: "))
    );
}

#[test]
fn an_untrusted_chain_of_the_active_leaf_is_no_success() {
    let judged = look(&SECOND, HOST, &Anchors::mozilla(), hours(0));
    assert_eq!(judged.reason, "certificate-not-trusted");
    let message = judged.message.unwrap();
    assert!(message.starts_with("192.0.2.1:993 serves the active revision 2, but the certificate is not trusted: "));
    assert!(message.ends_with("; let the server send all of tls.crt, not only its first certificate"), "{message}");
}

#[test]
fn time_alone_turns_a_verdict() {
    let judged = look(&FIRST, HOST, &ours(), hours(25));
    assert_eq!(judged.reason, "certificate-expired");
    let message = judged.message.unwrap();
    assert!(message.contains("a previous one that expired at 2026-06-02T00:00:00Z, in place"), "{message}");
    assert!(message.ends_with("in spec.workloads"), "{message}");
    let judged = look(&SECOND, HOST, &ours(), hours(2160));
    assert_eq!((judged.verdict, judged.reason.as_str()), (EndpointVerdict::Problem, "certificate-expired"));
}

#[test]
fn a_failed_look_keeps_its_word() {
    let (active, previous) = (revision(2, &SECOND), []);
    let expected = Expected { certificate: "c", secret: "s", active: &active, former: previous.iter().collect() };
    let failure = LookFailure { word: "timeout".to_owned(), message: "no banner within 10 s".to_owned() };
    let judged = judge(&Sighting::Failure(failure), &expected, &ours(), HOST, NOW);
    assert_eq!((judged.reason.as_str(), judged.message.as_deref()), ("timeout", Some("no banner within 10 s")));
    let damaged = Sighting::Chain { address: "a".to_owned(), chain: vec![vec![1, 2, 3]].into() };
    let judged = judge(&damaged, &expected, &ours(), HOST, NOW);
    assert_eq!((judged.reason.as_str(), judged.served), ("validation-failure", None));
}
