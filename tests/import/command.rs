//! The command `mailcert import` without a cluster: what is for people and for programs, and exit statuses.

use crate::ground::without;
use crate::inspect::Files;

const GOOD: &str = "import mail.pem mail.key ca.pem --name mail --trust-anchors ca.pem";

#[test]
fn what_would_be_made_is_shown() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    let (status, out, err) = files.mailcert(&format!("{GOOD} --dry-run"));
    assert!(status == 0 && err.is_empty(), "{out}{err}");
    assert!(
        out.ends_with("No problem found.\nIt would be imported: Secret mail-import, MailCertificate mail.\n"),
        "{out}"
    );
    let more = "--dry-run -o yaml --secret-name pods --legacy-name old.example.com";
    let (status, out, err) = files.mailcert(&format!("{GOOD} {more}"));
    assert_eq!(status, 0, "{err}");
    let documents: Vec<&str> = out.split("\n---\n").collect();
    assert!(documents.len() == 2 && out.starts_with("apiVersion: v1\n"), "{out}");
    for (document, words) in [
        (0, "kind: Secret\n"),
        (0, "tls.key: "),
        (1, "kind: MailCertificate\n"),
        (1, "secretName: pods\n"),
        (1, "old.example.com"),
    ] {
        assert!(documents[document].contains(words), "{words}: {out}");
    }
    assert!(err.contains("WARNING LegacyNameNotCovered") && err.contains("It would be imported: "), "{err}");
}

#[test]
fn exit_statuses() {
    if without("openssl") {
        return;
    }
    let files = Files::new();
    for (status, arguments, words) in [
        (1, "import mail.pem mail.key ca.pem --name mail --dry-run", "NotTrusted"),
        (1, "import mail.pem mail.key ca.pem --name mail --dry-run -o yaml", "NotTrusted"),
        (2, GOOD, "no-such-kubeconfig"),
        (2, &format!("{GOOD} --dry-run --secret-name mail-import"), "cannot be both the source"),
        (2, "import mail.pem --name BAD_x --dry-run", "no object can have that name"),
        (2, "import mail.pem --name mail --allow KeyMismatch --dry-run", "it is no finding that can be allowed"),
        (2, "import no-such-file --name mail --dry-run", "no-such-file: No such file"),
        (2, "import mail.p12 --name mail --password-file no-such-file --dry-run", "no-such-file"),
    ] {
        let (found, out, err) = files.mailcert(arguments);
        assert_eq!(found, status, "{arguments}: {out}{err}");
        assert!(out.contains(words) || err.contains(words), "{arguments}: {out}{err}");
        assert!(!arguments.contains("yaml") || out.is_empty(), "{arguments}: {out}");
    }
}
