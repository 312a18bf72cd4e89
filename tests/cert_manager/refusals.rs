//! Requests that come to nothing: the words are on the object, what works stays, and it is tried again later.

use serde_json::{Value, json};

use crate::common::{condition, version, wait_for, wait_for_object, wait_ready};
use crate::signer::{Fate, requests, stage};

/// The message and the time of the next try, once that is what it says.
fn refused(object: &Value, reason: &str) -> Option<String> {
    let failure = &object["status"]["attempt"]["lastFailure"];
    (failure["reason"] == reason).then(|| failure["message"].as_str().unwrap().to_owned())
}

fn says(fate: Fate, reason: &str, words: &str) {
    let (stage, signer) = stage("cm-refused", fate);
    let at = stage.certificate("mail", "vault", json!({}));
    let object = wait_for_object(&stage.kube, &at, reason, |o| refused(o, reason).is_some());
    let said = refused(&object, reason).unwrap();
    assert!(said.contains(words), "{said}");
    let (status, shown, message) = condition(&object, "Ready").unwrap();
    assert_eq!((status, shown), ("False", reason));
    assert!(message.contains(words) && message.contains("(next try at "), "{message}");
    assert_eq!(object["status"]["attempt"]["failures"], 1);
    assert!(object["status"]["attempt"]["request"].is_null());
    wait_for("the request to be deleted", || requests(&stage).is_empty().then_some(()));
    assert!(stage.kube.get(&crate::common::Path::secret(&stage.ns, "mail-tls")).is_none());
    assert_eq!(signer.seen().len(), 1, "one request, and then a pause");

    // Somebody puts it right and does not want to wait.
    signer.let_it(Fate::Sign);
    stage.kube.annotate(&at, "mailcert.dev/renew", "now");
    wait_ready(&stage.kube, &at);
    assert_eq!(signer.seen().len(), 2);
}

#[test]
fn a_denial_is_said_in_the_approvers_words() {
    says(Fate::Deny, "RequestRefused", " was denied: no policy lets this namespace have this name");
}

#[test]
fn a_failure_is_said_in_the_issuers_words() {
    says(Fate::Fail, "RequestRefused", " has failed: Vault says: the role does not exist");
}

#[test]
fn an_invalid_request_is_said_so() {
    says(Fate::Invalidate, "RequestRefused", " is invalid, says its issuer: at most 10 names are signed");
}

#[test]
fn a_certificate_for_another_key_is_not_used() {
    says(Fate::WrongKey, "IssuedInvalid", "what was issued is not what was asked for, and is not used: ");
}

#[test]
fn what_works_stays_while_renewals_are_refused() {
    let (stage, signer) = stage("cm-stays", Fate::Sign);
    let (at, secret) = stage.issued("mail", "vault", json!({}));
    for (fate, reason) in [(Fate::Deny, "RequestRefused"), (Fate::WrongKey, "IssuedInvalid")] {
        signer.let_it(fate);
        stage.kube.annotate(&at, "mailcert.dev/renew", reason);
        let object = wait_for_object(&stage.kube, &at, reason, |o| refused(o, reason).is_some());
        assert_eq!(condition(&object, "Ready").unwrap().0, "True", "{:#}", object["status"]);
        assert_eq!(version(&stage.secret("mail-tls")), version(&secret));
    }
}
