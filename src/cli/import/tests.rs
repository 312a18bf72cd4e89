//! What an import refuses, what it changes on a MailCertificate that is there, and what is written when.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use clap::Parser;
use http::{Request as HttpRequest, Response};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::spec::{changes, patch};
use super::*;
use crate::pki::{KeySpec, LeafSpec, SubjectSpec, Usage, self_signed};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    import: Import,
}

fn parsed(arguments: &[&str]) -> Result<Import, String> {
    let line = Line::try_parse_from([&["import"], arguments].concat());
    line.map(|line| line.import).map_err(|error| error.to_string())
}

fn command(arguments: &[&str]) -> Import {
    parsed(arguments).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A self-signed certificate for these names, and its key.
fn pair(names: &[String]) -> SecretBundle {
    let key = PrivateKey::generate(&KeySpec::P256).unwrap();
    let subject = SubjectSpec { dns_names: names.to_vec(), ..SubjectSpec::default() };
    let (not_before, not_after) = (at("2030-01-01T00:00:00Z"), at("2030-04-01T00:00:00Z"));
    let spec = LeafSpec { subject, usages: vec![Usage::ServerAuth], not_before, not_after, serial: None };
    SecretBundle::new(&self_signed(&key, &spec).unwrap(), &key, &[])
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Such a certificate for `mail.example.com` with its key in one file, and alone in another.
fn files(folder: &Path) -> (String, String) {
    let pair = pair(&["mail.example.com".to_owned()]);
    (written(folder, "all.pem", &pair.tls_combined), written(folder, "crt.pem", &pair.tls_crt))
}

/// What is reported, with the status, and what would be made.
fn judged(command: &Import, known: Option<&MailCertificate>) -> (String, u8, Option<Secret>, MailCertificate) {
    let given = command.given().unwrap();
    let object = command.object(&given, known).unwrap();
    let material = command.material().unwrap();
    let (report, imported) = block_on(command.judge(&material, &object, at("2030-01-15T00:00:00Z"))).unwrap();
    (report.text(), report.status(), command.secret(&given.source, &imported).unwrap(), object)
}

#[test]
fn what_would_not_become_active_is_refused_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = files(dir.path());
    assert_eq!(judged(&command(&[&file, "--name", "mail"]), None).1, 1, "nobody trusts it");
    let url = "--external-url=https://mail.example.com/";
    let allow = ["--allow", "NotTrusted", "--allow", "NotTrusted"];
    let (_, status, secret, object) = judged(&command(&[&[&file, "--name", "mail", url], &allow[..]].concat()), None);
    assert_eq!(status, 0);
    let secret = secret.unwrap();
    assert_eq!(secret.name_any(), "mail-import");
    let keys: Vec<_> = secret.data.unwrap().into_keys().filter(|key| key != "ca.crt").collect();
    assert_eq!(keys, ["tls.crt", "tls.key"]);
    let import = object.spec.import.clone().unwrap();
    assert_eq!((import.secret_ref.name.as_str(), import.allow), ("mail-import", vec!["NotTrusted".to_owned()]));
    assert_eq!(object.spec.secret_name, "mail-tls");
    assert_eq!(object.spec.dns_names, ["mail.example.com"]);
    // The operator sees one of dnsNames in the URL's host, and knows no other word for it.
    let other = [&file, "--name", "mail", "--external-url=https://imap.example.com/", "--allow", "NotTrusted"];
    let (text, status, ..) = judged(&command(&other), None);
    assert_eq!(status, 1);
    assert!(text.contains("ERROR   NameNotCovered"), "{text}");
    let (_, status, ..) = judged(&command(&[&other[..], &["--allow", "NameNotCovered"]].concat()), None);
    assert_eq!(status, 0);
    let legacy = [&file, "--name", "mail", "--allow", "NotTrusted", "--legacy-name", "Old.example.com"];
    let (text, status, _, object) = judged(&command(&legacy), None);
    assert_eq!(status, 0);
    assert!(text.contains("WARNING LegacyNameNotCovered"), "{text}");
    assert_eq!(object.spec.legacy_dns_names[0].name, "old.example.com");
}

#[test]
fn what_is_no_certificate_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let noise = written(dir.path(), "noise", "noise");
    let (_, status, secret, _) = judged(&command(&[&noise, "--name", "mail"]), None);
    assert_eq!((status, secret.is_none()), (2, true));
}

/// As in the operator: own trust anchors stand in place of Mozilla's roots.
#[test]
fn own_trust_anchors_alone_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let amazon = written(dir.path(), "amazon.pem", include_str!("amazon.pem"));
    let (_, own) = files(dir.path());
    let told = |arguments: &[&str]| {
        let command = command(&[&[amazon.as_str(), "--name", "mail"], arguments].concat());
        let object = command.object(&command.given().unwrap(), None).unwrap();
        let material = command.material().unwrap();
        block_on(command.judge(&material, &object, at("2026-03-01T00:00:00Z"))).unwrap().0.text()
    };
    let mozilla = told(&[]);
    assert!(!mozilla.contains("NotTrusted") && !mozilla.contains("ChainIncomplete"), "{mozilla}");
    let company = told(&["--trust-anchors", &own]);
    assert!(company.contains("ERROR   NotTrusted"), "{company}");
}

#[test]
fn names_that_no_object_can_have_are_refused() {
    let long = "a".repeat(64);
    for name in ["BAD NAME_x", "a..b", "-a", "a-", ".a", "a.", "", "Mail", "a_b", long.as_str()] {
        let error = parsed(&["mail.pem", &format!("--name={name}")]).unwrap_err();
        let words = "no object can have that name: it takes lower-case letters, digits, - and ., a letter or digit at both ends and \
                     beside each dot, and at most 63 characters";
        assert!(error.contains(words) || name.is_empty(), "{name}: {error}");
        let error = parsed(&["mail.pem", "--name=mail", &format!("--source-name={name}x y")]).unwrap_err();
        assert!(error.contains("at most 253 characters"), "{name}: {error}");
    }
    for name in ["mail", "mail.example-1.com", "0", &long[..63]] {
        assert_eq!(command(&["mail.pem", "--name", name, "--secret-name", &long]).name, name);
    }
    let error = parsed(&["mail.pem", "--name=mail", "--dns-name=localhost"]).unwrap_err();
    assert!(error.contains("\"localhost\" has only one label"), "{error}");
    let error = parsed(&["mail.pem", "--name=mail", "--legacy-name=*.example.com"]).unwrap_err();
    assert!(error.contains("it is a wildcard; give the name of a host"), "{error}");
}

#[test]
fn only_what_can_be_allowed_is_taken() {
    for word in ["SeveralKeys", "KeyMismatch", "Unreadable", "LegacyNameNotCovered", "Nothing"] {
        let error = parsed(&["mail.pem", "--name=mail", &format!("--allow={word}")]).unwrap_err();
        let all = ALLOWABLE.join(", ");
        assert!(error.contains(&format!("it is no finding that can be allowed; those are {all}")), "{word}: {error}");
    }
    for word in ALLOWABLE {
        assert_eq!(command(&["mail.pem", "--name=mail", "--allow", word]).allow[0].word(), *word);
    }
}

#[test]
fn what_a_mail_certificate_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = |arguments: &[&str]| {
        let command = command(&[&["mail.pem", "--name", "mail"], arguments].concat());
        command.given().and_then(|given| command.object(&given, None)).unwrap_err().to_string()
    };
    let both = "the Secret mail-import cannot be both the source of the import and the one that pods mount: choose another \
                --secret-name or --source-name";
    assert_eq!(error(&["--secret-name", "mail-import"]), both);
    assert_eq!(error(&["--source-name", "mail-tls"]), both.replace("mail-import", "mail-tls"));
    let one = pair(&["mail.example.com".to_owned()]).tls_crt;
    let eleven = written(dir.path(), "eleven.pem", &one.repeat(11));
    assert_eq!(
        error(&["--trust-anchors", &eleven]),
        format!("--trust-anchors {eleven}: there are 11 certificates; at most 10 are read")
    );
    let long = "a".repeat(50);
    let names: Vec<String> = (0..100).map(|n| format!("{long}-{n}.{long}.example.com")).collect();
    let large = pair(&names).tls_crt;
    let ten = written(dir.path(), "ten.pem", &large.repeat(10));
    let bytes =
        command(&["mail.pem", "--name", "mail", "--trust-anchors", &ten]).given().unwrap().anchors[0].to_pem().len();
    assert!(bytes * 10 > 65_536, "{bytes}");
    assert_eq!(
        error(&["--trust-anchors", &ten]),
        format!(
            "--trust-anchors: the certificates have {} bytes in PEM; a MailCertificate holds at most 65536",
            bytes * 10
        )
    );
}

fn certificate(spec: Value, status: Value) -> MailCertificate {
    let mut object = json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate",
        "metadata": {"name": "mail", "uid": "7"}, "spec": {"secretName": "mail-tls"}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    if !status.is_null() {
        object["status"] = json!({"active": status});
    }
    serde_json::from_value(object).unwrap()
}

fn imported(more: Value) -> MailCertificate {
    let mut spec = json!({"import": {"secretRef": {"name": "mail-import"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    certificate(spec, Value::Null)
}

fn active(dns_names: &[&str]) -> Value {
    json!({"revision": 1, "serial": "1", "fingerprintSHA256": "", "spkiSHA256": "", "notBefore": "2030-01-01T00:00:00Z",
        "notAfter": "2031-01-01T00:00:00Z", "issuer": "", "dnsNames": dns_names, "key": "ECDSA P-256"})
}

#[test]
fn what_is_given_again_changes_what_is_there_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (file, own) = files(dir.path());
    let known = imported(json!({
        "import": {"secretRef": {"name": "mail-import"}, "allow": ["WeakKey"]},
        "dnsNames": ["Mail.example.com", "imap.example.com"],
        "legacyDNSNames": [{"name": "old.example.com", "onUnreachable": "Drop"}],
        "history": {"limit": 7},
    }));
    let changed = |arguments: &[&str]| {
        let command = command(&[&[file.as_str(), "--name", "mail"], arguments].concat());
        let object = command.object(&command.given().unwrap(), Some(&known)).unwrap();
        let changes = changes(&known.spec, &object.spec);
        let lines: Vec<_> = changes.iter().map(|c| format!("{}: {} -> {}", c.field, c.from, c.to)).collect();
        (lines, patch(&changes))
    };
    assert_eq!(changed(&[]), (vec![], json!({})));
    // The same in other words, and a host that is among the names.
    let same = ["--dns-name=imap.example.com", "--dns-name=mail.example.com", "--allow=WeakKey"];
    assert_eq!(changed(&same), (vec![], json!({})));
    assert_eq!(changed(&["--external-url=https://imap.example.com"]), (vec![], json!({})));
    assert_eq!(changed(&["--legacy-name=OLD.example.com"]), (vec![], json!({})));
    let (lines, patch) = changed(&["--external-url=https://webmail.example.com", "--allow=NotTrusted"]);
    assert_eq!(
        lines,
        [
            "spec.import.allow: WeakKey -> NotTrusted",
            "spec.dnsNames: imap.example.com, mail.example.com -> imap.example.com, mail.example.com, webmail.example.com"
        ]
    );
    assert_eq!(
        patch,
        json!({"spec": {"import": {"allow": ["NotTrusted"]},
            "dnsNames": ["Mail.example.com", "imap.example.com", "webmail.example.com"]}})
    );
    let (lines, patch) = changed(&[
        "--trust-anchors",
        &own,
        "--legacy-name=older.example.com",
        "--legacy-name=old.example.com",
        "--secret-name=other",
    ]);
    assert_eq!(
        lines,
        [
            "spec.import.trustAnchors: the Mozilla roots -> CN=mail.example.com",
            "spec.legacyDNSNames: old.example.com -> old.example.com, older.example.com",
            "spec.secretName: mail-tls -> other"
        ]
    );
    assert_eq!(patch["spec"]["import"]["trustAnchors"], json!(std::fs::read_to_string(&own).unwrap()));
    assert_eq!(patch["spec"]["legacyDNSNames"][1], json!({"name": "old.example.com", "onUnreachable": "Drop"}));
    assert_eq!(patch["spec"].as_object().unwrap().len(), 3);
}

#[test]
fn what_is_there_counts_for_what_is_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let (file, own) = files(dir.path());
    let plain = command(&[&file, "--name", "mail"]);
    let anchors = std::fs::read_to_string(&own).unwrap();
    let import = json!({"secretRef": {"name": "mail-import"}, "trustAnchors": anchors});
    assert_eq!(judged(&plain, Some(&imported(json!({"import": import})))).1, 0);
    let untrusted = json!({"secretRef": {"name": "mail-import"}, "allowUntrusted": true});
    assert_eq!(judged(&plain, Some(&imported(json!({"import": untrusted})))).1, 0);
    // A name of the spec must be covered, unless the active certificate lacks it as well.
    let spec = json!({"import": import, "dnsNames": ["mail.example.com", "imap.example.com"]});
    assert_eq!(judged(&plain, Some(&certificate(spec.clone(), Value::Null))).1, 1);
    assert_eq!(judged(&plain, Some(&certificate(spec.clone(), active(&["imap.example.com"])))).1, 1);
    assert_eq!(judged(&plain, Some(&certificate(spec, active(&["mail.example.com"])))).1, 0);
}

/// An API server that answers what it is told to, in turn; `null` repeats what was sent.
#[derive(Clone, Default)]
struct FakeApi {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl tower::Service<HttpRequest<Body>> for FakeApi {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let sent = body.collect_bytes().await.unwrap();
            let kind = parts.uri.path().split('/').find(|part| ["secrets", "mailcertificates"].contains(part)).unwrap();
            let dry = if parts.uri.query().is_some_and(|query| query.contains("dryRun=All")) { " dry" } else { "" };
            api.asked.lock().unwrap().push(format!("{} {kind}{dry}", parts.method));
            let (code, answer) = api.answers.lock().unwrap().pop_front().unwrap();
            let body = if answer.is_null() { sent.to_vec() } else { serde_json::to_vec(&answer).unwrap() };
            Ok(Response::builder().status(code).body(Body::from(body)).unwrap())
        })
    }
}

fn no(code: u16, message: &str) -> (u16, Value) {
    // What is no answer of the API machinery has no reason.
    let reason = if code == 404 && !message.starts_with("404") { "NotFound" } else { "" };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message});
    (code, status)
}

fn yes(object: &impl serde::Serialize) -> (u16, Value) {
    (200, json!(object))
}

/// What was asked, and what came of it.
fn put(arguments: &[&str], answers: Vec<(u16, Value)>) -> (Vec<String>, Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = files(dir.path());
    let command = command(&[&[file.as_str(), "--name", "mail", "--allow", "NotTrusted"], arguments].concat());
    let api = FakeApi { answers: Arc::new(Mutex::new(answers.into())), ..FakeApi::default() };
    let (asked, given) = (api.asked.clone(), command.given().unwrap());
    let result = block_on(async {
        let place = Place::look(Client::new(api, "post"), "post".to_owned(), "mail", &given).await?;
        let object = command.object(&given, place.known())?;
        let (_, imported) = command.judge(&command.material()?, &object, at("2030-01-15T00:00:00Z")).await?;
        let secret = command.secret(&given.source, &imported)?.unwrap();
        place.put(secret, object, |_| ()).await.map(drop)
    });
    let asked = asked.lock().unwrap().clone();
    let result = result.map_err(|error: Failure| {
        assert!(error.is::<Refused>(), "{error}");
        error.to_string()
    });
    (asked, result)
}

const LOOKS: [&str; 2] = ["GET secrets", "GET mailcertificates"];

#[test]
fn no_key_is_left_where_the_mail_certificate_cannot_be_made() {
    let none = || vec![no(404, "not found"), no(404, "not found")];
    for (answer, words) in [
        (
            no(404, "the server could not find the requested resource"),
            "the cluster knows no MailCertificates: install mailcert there, or name another one (--context)",
        ),
        (
            no(403, "User \"jane\" cannot create"),
            "you may not create MailCertificate post/mail: User \"jane\" cannot create",
        ),
        (no(422, "spec.dnsNames is wrong"), "MailCertificate post/mail: the API server says: spec.dnsNames is wrong"),
    ] {
        let (asked, result) = put(&[], [none(), vec![answer]].concat());
        assert_eq!(asked, [&LOOKS[..], &["POST mailcertificates dry"]].concat());
        assert_eq!(result, Err(words.to_owned()));
    }
    let (asked, result) = put(&[], vec![no(404, "not found"), no(404, "404 page not found")]);
    assert_eq!(asked, LOOKS);
    assert!(result.unwrap_err().starts_with("the cluster knows no MailCertificates: "));
    let well = (201, Value::Null);
    let (asked, result) = put(&[], [none(), vec![well.clone(), no(403, "no Secrets")]].concat());
    assert_eq!(asked, [&LOOKS[..], &["POST mailcertificates dry", "POST secrets"]].concat());
    assert_eq!(result, Err("you may not create Secret post/mail-import: no Secrets".to_owned()));
    // It may fail all the same.
    let (asked, result) = put(&[], [none(), vec![well.clone(), well, no(500, "etcd is gone")]].concat());
    assert_eq!(asked, [&LOOKS[..], &["POST mailcertificates dry", "POST secrets", "POST mailcertificates"]].concat());
    assert_eq!(
        result.unwrap_err(),
        "MailCertificate post/mail: the API server says: etcd is gone. The Secret post/mail-import was created before that, and \
         stays with the private key in it: import again when this is mended, or remove it (kubectl delete secret mail-import \
         --namespace post)"
    );
}

#[test]
fn an_import_that_is_there_is_changed_only_when_all_of_it_can_be() {
    let (ours, known) = (json!({"metadata": {"name": "mail-import", "labels": {LABEL: "true"}}}), imported(json!({})));
    let there = || vec![yes(&ours), yes(&known)];
    let (asked, result) = put(&[], [there(), vec![no(403, "no")]].concat());
    assert_eq!(asked, [&LOOKS[..], &["PATCH mailcertificates dry"]].concat());
    assert_eq!(result, Err("you may not change MailCertificate post/mail: no".to_owned()));
    let writes = ["PATCH mailcertificates dry", "PATCH secrets", "PATCH mailcertificates"];
    let (asked, result) = put(&[], [there(), vec![yes(&known), yes(&ours), no(500, "gone")]].concat());
    assert_eq!(asked, [&LOOKS[..], &writes].concat());
    assert_eq!(
        result.unwrap_err(),
        "MailCertificate post/mail: the API server says: gone. The Secret post/mail-import has the new certificate already, and is \
         taken in as the MailCertificate is now; import again when this is mended"
    );
    // Where nothing differs, only the source is written.
    let same = imported(json!({"import": {"secretRef": {"name": "mail-import"}, "allow": ["NotTrusted"]}}));
    let (asked, result) = put(&[], vec![yes(&ours), yes(&same), yes(&ours)]);
    assert_eq!(
        (asked, result),
        ([&LOOKS[..], &["PATCH secrets"]].concat().iter().map(ToString::to_string).collect(), Ok(()))
    );
}

#[test]
fn what_others_made_or_cannot_change_is_left_alone() {
    let secret = |labels: Value| json!({"metadata": {"name": "mail-import", "labels": labels}});
    let (foreign, ours) = (secret(json!({})), secret(json!({LABEL: "true"})));
    let issued = certificate(json!({"issuerRef": {"name": "ca"}, "dnsNames": ["mail.example.com"]}), Value::Null);
    let error = |arguments: &[&str], secret: &Value, object: &MailCertificate| {
        let (asked, result) = put(arguments, vec![yes(secret), yes(object)]);
        assert_eq!(asked, LOOKS);
        result.unwrap_err()
    };
    assert_eq!(
        error(&[], &foreign, &imported(json!({}))),
        "the Secret mail-import exists and was not made by an import: choose another with --source-name"
    );
    assert_eq!(
        error(&[], &ours, &issued),
        "MailCertificate mail exists and does not import from the Secret mail-import: choose another --name"
    );
    let import = json!({"secretRef": {"name": "mail-import"}, "format": "PKCS12"});
    assert_eq!(
        error(&[], &ours, &imported(json!({"import": import}))),
        "MailCertificate mail has spec.import.format, but what this command writes is PEM in tls.crt, tls.key and ca.crt: remove that \
         field, or choose another --name"
    );
    let spec = json!({"import": {"secretRef": {"name": "mail-import"}}});
    assert_eq!(
        error(&["--secret-name", "other"], &ours, &certificate(spec, active(&[]))),
        "MailCertificate mail: spec.secretName is mail-tls and cannot become other, since pods mount that Secret and a certificate is \
         active in it: leave --secret-name out, or choose another --name"
    );
}
