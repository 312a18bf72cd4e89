//! The certificates of the year.

use mailcert::api::MailCertificate;
use mailcert::api::certificate::{LegacyName, OnUnreachable};
use serde_json::json;

/// Certificates of one host at a provider, all below one domain: more than the limit for a domain allows in a week.
const HOSTED: usize = 60;
/// Certificates for the very same names, such as of several clusters: more than the limit for a set allows in a week.
const SAME: usize = 6;
/// Certificates of a few subsidiaries with a domain in common.
const SUBSIDIARIES: usize = 50;
/// Certificates with an old name that clients still use.
const LEGACY: usize = 20;
/// So many of a hundred old names lead nowhere.
const DEAD_PERCENT: usize = 25;

/// A name that leads nowhere.
pub fn is_dead(name: &str) -> bool {
    name.starts_with("dead.")
}

/// The objects, as somebody has just created them. The names are never resolved.
pub fn fleet(count: usize) -> Vec<MailCertificate> {
    (0..count).map(|i| object(i, names(i), legacy(i))).collect()
}

fn names(i: usize) -> Vec<String> {
    let hosts = |hosts: &[&str], domain: &str| hosts.iter().map(|host| format!("{host}.{domain}")).collect();
    match i {
        _ if i < HOSTED => vec![format!("mail{i}.simulated-hosting.com")],
        _ if i < HOSTED + SAME => hosts(&["mail", "imap", "smtp"], "simulated-twin.com"),
        _ if i < HOSTED + SAME + SUBSIDIARIES => {
            hosts(&[&format!("mail{i}"), &format!("imap{i}")], &format!("simulated-group-{}.com", i % 5))
        }
        _ => hosts(&["mail", "imap"], &format!("simulated-{i}.com")),
    }
}

fn legacy(i: usize) -> Vec<LegacyName> {
    let first = HOSTED + SAME + SUBSIDIARIES;
    if !(first..first + LEGACY).contains(&i) {
        return Vec::new();
    }
    let state = if (i - first) * 100 < LEGACY * DEAD_PERCENT { "dead" } else { "old" };
    vec![LegacyName { name: format!("{state}.simulated-{i}.com"), on_unreachable: OnUnreachable::Report }]
}

fn object(i: usize, names: Vec<String>, legacy: Vec<LegacyName>) -> MailCertificate {
    let name = format!("cert-{i}");
    let object = json!({
        "apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate",
        "metadata": {
            "name": name, "namespace": "mail", "generation": 1,
            "uid": format!("00000000-0000-4000-8000-{i:012}"),
        },
        "spec": {
            "issuerRef": {"name": "ca"}, "secretName": format!("{name}-tls"), "dnsNames": names,
            "legacyDNSNames": legacy,
        },
    });
    serde_json::from_value(object).expect("a MailCertificate")
}
