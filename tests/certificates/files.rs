//! Certificates as files: imported, active, exported, from the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as File;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{Authority, Path, Stage, cluster, data, wait_for_object, wait_ready};

/// Runs `mailcert` in the stage's namespace: exit status, and both outputs.
fn mailcert(stage: &Stage, folder: &File, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailcert"));
    command.args(arguments).args(["--namespace", &stage.ns]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cluster().exec(command).unwrap().wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
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
