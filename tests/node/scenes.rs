//! What happens, one after the other.

use crate::ground::{Ground, MAIL, SYSTEM, condition, text};
use serde_json::{Value, json};

pub const PORTS: [(&str, u16); 8] = [
    ("SMTP", 25),
    ("Submission", 587),
    ("Submissions", 465),
    ("IMAP", 143),
    ("IMAPS", 993),
    ("POP3", 110),
    ("POP3S", 995),
    ("Sieve", 4190),
];

/// The first certificate comes by HTTP-01, with the operator's own look first, and every port proves to serve it.
pub fn issued_and_served(ground: &Ground) {
    let fingerprint = ground.wait("a certificate", || Some(ground.fingerprint()).filter(|f| !f.is_empty()));
    let issuer = ground.get(MAIL, &["mailissuer/letsencrypt"]);
    assert_eq!(issuer["spec"]["acme"]["solvers"], json!([{"http01": {"selfCheck": "Required", "service": {}}}]));
    assert!(text(&issuer, "/status/acme/accountUri").starts_with("https://10.200.0.1:14000/my-account/"), "{issuer:#}");
    let domain = ground.wait_served(&fingerprint);
    let endpoints = domain["status"]["endpoints"].as_array().unwrap();
    let shown: Vec<String> = endpoints.iter().map(|one| text(one, "/endpoint")).collect();
    assert_eq!(shown, PORTS.map(|(protocol, port)| format!("{protocol} mail.example.com:{port}")));
    for one in endpoints {
        assert_eq!((text(one, "/verdict").as_str(), &text(one, "/servedFingerprint")), ("Served", &fingerprint));
    }
    all_ports_serve(ground, &fingerprint);
    let secret = ground.get(MAIL, &["secret/mail-tls"]);
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "tls-combined.pem", "tls.crt", "tls.key"]);
}

pub fn all_ports_serve(ground: &Ground, fingerprint: &str) {
    for (protocol, port) in PORTS {
        assert_eq!(ground.served(protocol, port), fingerprint, "{protocol} on port {port}");
    }
}

/// A renewal that is asked for replaces the pods, and the new certificate is served everywhere.
pub fn renewed_and_served(ground: &Ground) {
    let (before, pods) = (ground.fingerprint(), ground.mail_pods());
    ground.kubectl(&["annotate", "-n", MAIL, "mailcertificate/mail", "mailcert.dev/renew=once"]);
    let after = ground.wait("another certificate", || Some(ground.fingerprint()).filter(|f| *f != before));
    ground.wait_served(&after);
    all_ports_serve(ground, &after);
    let replaced = ground.mail_pods();
    assert!(replaced.is_disjoint(&pods) && !replaced.is_empty(), "{pods:?} → {replaced:?}");
    let certificate = ground.get(MAIL, &["mailcertificate/mail"]);
    assert_eq!(text(&certificate, "/status/lastRenewRequest"), "once");
    assert_eq!(text(&certificate, "/status/previous/0/fingerprintSHA256"), before);
}

/// resourceVersions of mailcert's objects and of the Secret, and the Deployment's generation: what a write changes.
fn versions(ground: &Ground) -> Value {
    let version = |name| text(&ground.get(MAIL, &[name]), "/metadata/resourceVersion");
    let own = ["mailissuer/letsencrypt", "mailcertificate/mail", "maildomain/mail", "secret/mail-tls"].map(version);
    json!({
        "own": own,
        "deployment": ground.get(MAIL, &["deployment/mail"])["metadata"]["generation"],
        "pods": ground.mail_pods(),
    })
}

/// A new operator pod reads everything, looks at every endpoint again, and writes nothing.
pub fn a_restarted_operator_changes_nothing(ground: &Ground) {
    let before = versions(ground);
    let old = text(&ground.operator().unwrap(), "/metadata/uid");
    let pod = text(&ground.operator().unwrap(), "/metadata/name");
    ground.kubectl(&["delete", "-n", SYSTEM, "pod", &pod, "--wait=false"]);
    let metrics = ground.wait("the new operator to have looked at everything", || {
        ground.operator().filter(|pod| text(pod, "/metadata/uid") != old)?;
        let metrics = ground.metrics();
        let looked =
            metrics.lines().filter(|line| line.starts_with("mailcert_probe_total{")).filter(|l| !l.ends_with(" 0"));
        (metrics.contains("mailcert_leader 1") && looked.count() == PORTS.len()).then_some(metrics)
    });
    // The pass that looked at the endpoints is over once the next pass of the MailDomain is scheduled.
    let metrics = ground.wait("the end of the pass", || {
        let kinds = ["MailIssuer", "MailCertificate", "MailDomain"];
        let passed = |kind: &&str| {
            let count = format!("mailcert_reconcile_duration_seconds_count{{kind=\"{kind}\"}} ");
            metrics.contains(&count) || ground.metrics().contains(&count)
        };
        kinds.iter().all(passed).then(|| ground.metrics())
    });
    assert_eq!(versions(ground), before, "a restart wrote something");
    let writes = |line: &&str| {
        line.starts_with("mailcert_api_requests_total")
            && ["create", "patch", "update", "delete"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
            && !line.contains("leases")
            && !line.contains("selfsubjectaccessreviews")
    };
    assert_eq!(metrics.lines().filter(writes).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A port where nothing listens and a server with another certificate are named; without them all is well again.
pub fn a_wrong_endpoint_is_named_and_recovers(ground: &Ground) {
    let fingerprint = ground.fingerprint();
    let good = ground.domain()["spec"]["endpoints"].clone();
    let mut bad = good.as_array().unwrap().clone();
    bad.push(json!({"protocol": "IMAPS", "port": 9993, "address": "10.200.0.1"}));
    // The API server has a certificate of its own.
    bad.push(json!({"protocol": "HTTPS", "port": 6443, "address": "10.200.0.1"}));
    let set = |endpoints: &Value| {
        let patch = json!({"spec": {"endpoints": endpoints}}).to_string();
        ground.kubectl(&["patch", "-n", MAIL, "maildomain/mail", "--type=merge", "-p", &patch]);
    };
    set(&Value::Array(bad));
    let domain = ground.wait("Served to be False", || {
        let domain = ground.domain();
        (condition(&domain, "Served").0 == "False").then_some(domain)
    });
    let (_, reason, message) = condition(&domain, "Served");
    assert_eq!(reason, "EndpointProblem");
    assert!(message.contains("IMAPS mail.example.com:9993") && message.contains("connection refused"), "{message}");
    assert!(message.contains("HTTPS mail.example.com:6443"), "{message}");
    assert_eq!(text(&domain, "/status/endpointProblems"), "2/10");
    let endpoints = domain["status"]["endpoints"].as_array().unwrap();
    let reason = |start: &str| {
        let found = endpoints.iter().find(|one| text(one, "/endpoint").starts_with(start)).unwrap();
        text(found, "/reason")
    };
    assert_eq!(reason("IMAPS mail.example.com:9993"), "connection-failed");
    assert_eq!(reason("HTTPS mail.example.com:6443"), "certificate-host-mismatch");
    assert_eq!(reason("SMTP mail.example.com:25"), "served");
    set(&good);
    let domain = ground.wait_served(&fingerprint);
    assert_eq!(domain["status"]["endpoints"].as_array().unwrap().len(), PORTS.len());
}

/// Its namespace enforces the restricted Pod Security level, and it runs there.
pub fn the_pod_is_restricted(ground: &Ground) {
    let pod = ground.operator().unwrap();
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(text(&pod, "/spec/serviceAccountName"), "mailcert");
    let privileged = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "refused", "namespace": SYSTEM},
        "spec": {"containers": [{"name": "one", "image": "localhost/mail:1"}]}});
    let refused = ground.cluster.apply(&privileged.to_string()).unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
}
