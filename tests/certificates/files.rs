//! Certificates as files: imported, active, exported, from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as File;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{
    Authority, Kube, Path, Stage, cluster, data, kubeconfig, namespace, version, wait_for_object, wait_ready,
};

/// Runs `mailcert` in a namespace: exit status, and both outputs apart.
fn run(ns: &str, folder: &File, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailcert"));
    command.args(arguments).args(["--namespace", ns]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cluster().exec(command).unwrap().wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), out, err)
}

/// The same in the stage's namespace, with both outputs in one.
fn mailcert(stage: &Stage, folder: &File, arguments: &[&str]) -> (i32, String) {
    let (status, out, err) = run(&stage.ns, folder, arguments);
    (status, out + &err)
}

/// `leaf.pem` and `leaf.key` for these names, signed by a CA whose certificate is `NAME.pem` then.
fn sign(folder: &File, name: &str, ca: &Authority, dns_names: &[&str]) {
    fs::write(folder.join(format!("{name}.pem")), &ca.cert_pem).unwrap();
    fs::write(folder.join("ca.key"), &ca.key_pem).unwrap();
    let names: Vec<String> = dns_names.iter().map(|name| format!("DNS:{name}")).collect();
    let usages = "extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n";
    fs::write(folder.join("san"), format!("subjectAltName={}\n{usages}", names.join(","))).unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key"];
    openssl(folder, &[&["req", "-subj", "/CN=mail.example.com", "-out", "leaf.csr"], &key[..]].concat());
    let ca = format!("{name}.pem");
    let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", &ca, "-CAkey", "ca.key", "-CAcreateserial", "-days", "60"];
    openssl(folder, &[&sign[..], &["-extfile", "san", "-out", "leaf.pem"]].concat());
}

fn openssl(folder: &File, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_is_imported_becomes_active_and_is_exported_again() {
    let (ca, stage, dir) = (Authority::new("files"), Stage::new("files"), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    fs::write(at("ca.pem"), &ca.cert_pem).unwrap();
    fs::write(at("ca.key"), &ca.key_pem).unwrap();
    fs::write(at("pin"), "12 34\n").unwrap();
    let make = |days: &str| {
        let san = "subjectAltName=DNS:mail.example.com\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n";
        fs::write(at("san"), san).unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key"];
        openssl(dir.path(), &[&["req", "-subj", "/CN=mail.example.com", "-out", "leaf.csr"], &key[..]].concat());
        let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(dir.path(), &[&sign[..], &["-days", days, "-extfile", "san", "-out", "leaf.pem"]].concat());
        let store = ["pkcs12", "-export", "-in", "leaf.pem", "-inkey", "leaf.key", "-certfile", "ca.pem"];
        openssl(dir.path(), &[&store[..], &["-passout", "pass:12 34", "-out", "mail.p12"]].concat());
    };
    make("60");
    let import = |more: &[&str]| {
        let all = ["import", "mail.p12", "--name", "mail", "--password-file", "pin", "--trust-anchors", "ca.pem"];
        mailcert(&stage, dir.path(), &[&all[..], more].concat())
    };
    // Nothing is made of what would not become active.
    let (status, text) = import(&["--external-url", "https://imap.example.com"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("ExternalURLNotCovered") || text.contains("does not cover imap.example.com"), "{text}");
    assert!(stage.kube.get(&Path::secret(&stage.ns, "mail-import")).is_none());
    let url = ["--external-url", "https://mail.example.com"];
    assert_eq!(import(&[&url[..], &["--dry-run"]].concat()).0, 0);
    assert!(stage.kube.get(&Path::secret(&stage.ns, "mail-import")).is_none());
    let (status, text) = import(&url);
    assert_eq!(status, 0, "{text}");
    let object = wait_ready(&stage.kube, &Path::certificate(&stage.ns, "mail"));
    let serial = object["status"]["active"]["serial"].as_str().unwrap().to_owned();

    // The same name again is the next revision.
    make("90");
    let (status, text) = import(&url);
    assert_eq!(status, 0, "{text}");
    let object = wait_for_object(&stage.kube, &Path::certificate(&stage.ns, "mail"), "to take it in", |o| {
        o["status"]["active"]["revision"] == 2
    });
    let next = object["status"]["active"]["serial"].as_str().unwrap();
    assert_ne!(next, serial);

    let export = ["export", "mail", "--password-file", "pin", "--out", "out"];
    let (status, text) = mailcert(&stage, dir.path(), &export);
    assert_eq!(status, 0, "{text}");
    let store = format!("out/mail-{next}.p12");
    openssl(dir.path(), &["pkcs12", "-in", &store, "-passin", "pass:12 34", "-nodes", "-out", "back.pem"]);
    openssl(dir.path(), &["verify", "-CAfile", "ca.pem", &format!("out/mail-{next}.crt")]);
    assert_eq!(fs::metadata(at(&store)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!at(&format!("out/mail-{next}.key")).exists());
    let (status, text) = mailcert(&stage, dir.path(), &export);
    assert!(status == 1 && text.contains("exists, and is not written over"), "{text}");

    // What others made is refused, and left as it is.
    stage.tls_secret("other-import", "mine", "mine");
    let other = ["import", "mail.p12", "--name", "other", "--password-file", "pin", "--trust-anchors", "ca.pem"];
    let (status, text) = mailcert(&stage, dir.path(), &other);
    assert!(status == 1 && text.contains("was not made by an import"), "{text}");
    assert_eq!(data(&stage.secret("other-import"))["tls.crt"], "mine");
    assert_eq!(json!(null), stage.kube.get(&Path::certificate(&stage.ns, "other")).unwrap_or_default());
}

#[test]
fn an_import_under_the_same_name_changes_what_is_given() {
    let (stage, dir) = (Stage::new("again"), tempfile::tempdir().unwrap());
    let at = Path::certificate(&stage.ns, "mail");
    let import = |files: &str, more: &[&str]| {
        let all = [&["import", "--name", "mail"], &files.split(' ').collect::<Vec<_>>()[..], more].concat();
        mailcert(&stage, dir.path(), &all)
    };
    sign(dir.path(), "one", &Authority::new("One"), &["mail.example.com"]);
    let first = ["import", "leaf.pem", "leaf.key", "one.pem", "--name", "mail", "--trust-anchors", "one.pem"];
    let more = ["--dns-name", "mail.example.com", "--secret-name", "mail-pods", "-o", "yaml"];
    let (status, out, err) = run(&stage.ns, dir.path(), &[&first[..], &more].concat());
    assert_eq!(status, 0, "{out}{err}");
    // What was made, and nothing around it.
    let documents: Vec<&str> = out.split("\n---\n").collect();
    assert!(documents.len() == 2 && out.starts_with("apiVersion: v1\n"), "{out}");
    assert!(documents[0].contains("kind: Secret") && documents[0].contains("uid: "), "{out}");
    assert!(documents[1].contains("kind: MailCertificate") && documents[1].contains("uid: "), "{out}");
    assert!(!out.contains("managedFields"), "{out}");
    for words in ["No problem found.", "/mail-import created\n", "/mail created\n"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    wait_ready(&stage.kube, &at);
    let pods = stage.secret("mail-pods");
    assert!(data(&pods)["tls.crt"].contains("BEGIN CERTIFICATE"));

    // Another CA, which the MailCertificate does not trust: what is not given stays as it is, and counts.
    sign(dir.path(), "two", &Authority::new("Two"), &["mail.example.com", "imap.example.com"]);
    let source = stage.secret("mail-import");
    let (status, text) = import("leaf.pem leaf.key two.pem", &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("NotTrusted") && text.contains("nothing was written"), "{text}");
    assert_eq!(version(&stage.secret("mail-import")), version(&source));
    let names = ["--dns-name", "mail.example.com", "--dns-name", "imap.example.com"];
    let legacy = ["--legacy-name", "old.example.com", "--trust-anchors", "two.pem"];
    let (status, text) = import("leaf.pem leaf.key two.pem", &[&names[..], &legacy].concat());
    assert_eq!(status, 0, "{text}");
    for words in [
        "WARNING LegacyNameNotCovered",
        "/mail-import has the new certificate\n",
        "/mail takes it in\n",
        "/mail: spec.import.trustAnchors was CN=One and is CN=Two now\n",
        "/mail: spec.dnsNames was mail.example.com and is imap.example.com, mail.example.com now\n",
        "/mail: spec.legacyDNSNames was none and is old.example.com now\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    wait_for_object(&stage.kube, &at, "to take it in", |o| o["status"]["active"]["revision"] == 2);
    wait_ready(&stage.kube, &at);

    // Nothing more to change.
    let (status, text) = import("leaf.pem leaf.key two.pem", &[]);
    assert!(status == 0 && text.contains("/mail takes it in\n") && !text.contains(" was "), "{text}");
    let (status, text) = import("leaf.pem leaf.key two.pem", &["--secret-name", "mail-other"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("spec.secretName is mail-pods and cannot become mail-other"), "{text}");

    let inspect = |more: &[&str]| {
        let all = [&["inspect", "secret/mail-pods", "--trust-anchors", "two.pem"], more].concat();
        mailcert(&stage, dir.path(), &all)
    };
    let (status, text) = inspect(&["--name", "imap.example.com"]);
    assert!(status == 0 && text.starts_with("secret/mail-pods\n") && text.ends_with("No problem found.\n"), "{text}");
    let (status, text) = inspect(&["--legacy-name", "old.example.com"]);
    assert!(status == 0 && text.contains("LegacyNameNotCovered"), "{text}");
    let (status, text) = inspect(&["--name", "smtp.example.com", "-o", "json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &json["findings"][0]["code"]), (1, &json!("NameNotCovered")), "{text}");
    let (status, text) = mailcert(&stage, dir.path(), &["inspect", "--secret", "nothing"]);
    let words = format!("there is no Secret nothing in the namespace {}", stage.ns);
    assert!(status == 2 && text.contains(&words), "{text}");
}

/// Without an operator: nothing is left of what the API server does not take.
#[test]
fn an_import_that_is_refused_leaves_no_key_behind() {
    let (kube, dir) = (Kube::new(cluster()), tempfile::tempdir().unwrap());
    let ns = namespace(&kube, "refused");
    sign(dir.path(), "one", &Authority::new("One"), &["mail.example.com"]);
    // May write Secrets, and only read MailCertificates.
    let object = |version: &str, kind: &str, more: Value| {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "half", "namespace": ns}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kube.create(&object).unwrap();
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]},
        {"apiGroups": ["mailcert.dev"], "resources": ["mailcertificates"], "verbs": ["get"]}]);
    object("v1", "ServiceAccount", json!({}));
    object(rbac, "Role", json!({"rules": rules}));
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "half"});
    let subjects = json!([{"kind": "ServiceAccount", "name": "half", "namespace": ns}]);
    object(rbac, "RoleBinding", json!({"roleRef": role, "subjects": subjects}));
    let import = ["import", "leaf.pem", "leaf.key", "one.pem", "--name", "mail", "--trust-anchors", "one.pem"];
    let gone = |words: &str, (status, out, err): (i32, String, String)| {
        assert!(status == 1 && err.contains(words), "{out}{err}");
        assert!(kube.get(&Path::secret(&ns, "mail-import")).is_none(), "{out}{err}");
    };
    let half = ["--kubeconfig", &kubeconfig(&ns, "half")];
    let words = format!("you may not create MailCertificate {ns}/mail: ");
    gone(&words, run(&ns, dir.path(), &[&import[..], &half].concat()));
    // More old names than the schema has room for.
    let names: Vec<String> = (0..51).map(|n| format!("--legacy-name=old-{n}.example.com")).collect();
    let many = [&import[..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat();
    gone("spec.legacyDNSNames", run(&ns, dir.path(), &many));
}
