//! `mailcert history NAME`: the revisions of a MailCertificate.

use clap::Args;
use kube::ResourceExt;

use super::cluster::{self, ClusterArgs};
use super::{Failure, say};
use crate::api::MailCertificate;
use crate::api::certificate::{Revision, RevisionState};

/// Whose history to show.
#[derive(Args, Clone, Debug)]
pub struct History {
    /// The MailCertificate
    name: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints it.
pub fn run(command: &History) -> Result<(), Failure> {
    command.cluster.run(async |client, namespace| {
        let object = cluster::certificate(&client, &namespace, &command.name).await?;
        table(&object).iter().for_each(|line| say(line));
        Ok(())
    })
}

const HEADER: [&str; 7] = ["REVISION", "STATE", "REASON", "VALID UNTIL", "KEY", "FINGERPRINT", "NAMES"];

/// The revisions, newest first, in columns.
fn table(object: &MailCertificate) -> Vec<String> {
    let status = object.status.clone().unwrap_or_default();
    let mut rows: Vec<(i64, [String; 7], Option<String>)> = Vec::new();
    if let Some(attempt) = &status.attempt {
        let row = [attempt.revision.to_string(), "New".to_owned(), attempt.reason.clone()];
        let [number, state, reason] = row;
        let none = || "-".to_owned();
        let failure = attempt.last_failure.as_ref().map(|f| f.message.clone());
        rows.push((attempt.revision, [number, state, reason, none(), none(), none(), none()], failure));
    }
    let listed = status.staged.iter().map(|r| (r, RevisionState::Staged));
    let listed = listed.chain(status.active.iter().map(|r| (r, RevisionState::Active)));
    let listed = listed.chain(status.previous.iter().map(|r| (r, r.state.unwrap_or(RevisionState::Previous))));
    rows.extend(listed.map(|(r, state)| (r.revision, row(r, state), r.message.clone())));
    rows.sort_by_key(|row| std::cmp::Reverse(row.0));
    if rows.is_empty() {
        return vec![format!("MailCertificate {} has no revision yet", object.name_any())];
    }
    let header = HEADER.map(str::to_owned);
    let width = |i: usize| rows.iter().map(|(_, r, _)| r[i].len()).chain([header[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |cells: &[String; 7]| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let told = |message: &Option<String>| message.as_ref().map(|m| format!("  {m}"));
    let body = rows.iter().flat_map(|(_, cells, message)| [Some(line(cells)), told(message)].into_iter().flatten());
    [line(&header)].into_iter().chain(body).collect()
}

fn row(revision: &Revision, state: RevisionState) -> [String; 7] {
    let names = match revision.dns_names.as_slice() {
        [first, rest @ ..] if rest.len() > 2 => format!("{first} and {} more", rest.len()),
        names => names.join(","),
    };
    [
        revision.revision.to_string(),
        format!("{state:?}"),
        revision.reason.clone().unwrap_or_else(|| "-".to_owned()),
        revision.not_after.0.to_string(),
        revision.key.clone(),
        revision.fingerprint_sha256.chars().take(16).collect(),
        names,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn revisions_are_listed_newest_first_with_what_was_wrong() {
        let revision = |number: i64, more: serde_json::Value| {
            let mut revision = json!({"revision": number, "serial": "01", "fingerprintSHA256": format!("{number:064}"),
                "spkiSHA256": "bb", "notBefore": "2030-01-01T00:00:00Z", "notAfter": "2030-04-01T00:00:00Z",
                "issuer": "CN=Root", "dnsNames": ["mail.example.com"], "key": "ECDSA P-256"});
            revision.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            revision
        };
        let object = json!({
            "apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate", "metadata": {"name": "mail"},
            "spec": {"issuerRef": {"name": "ca"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]},
            "status": {
                "active": revision(1, json!({"reason": "FirstIssuance"})),
                "previous": [revision(2, json!({"reason": "RenewalDue", "state": "Failed", "message": "not served"}))],
                "staged": [revision(3, json!({"reason": "NamesChanged"}))],
                "attempt": {"revision": 4, "reason": "RenewalRequested", "startedAt": "2030-01-01T00:00:00Z", "failures": 0},
            },
        });
        let lines = table(&serde_json::from_value(object).unwrap());
        let expected = [
            "REVISION  STATE   REASON            VALID UNTIL           KEY          FINGERPRINT       NAMES",
            "4         New     RenewalRequested  -                     -            -                 -",
            "3         Staged  NamesChanged      2030-04-01T00:00:00Z  ECDSA P-256  0000000000000000  mail.example.com",
            "2         Failed  RenewalDue        2030-04-01T00:00:00Z  ECDSA P-256  0000000000000000  mail.example.com",
            "  not served",
            "1         Active  FirstIssuance     2030-04-01T00:00:00Z  ECDSA P-256  0000000000000000  mail.example.com",
        ];
        assert_eq!(lines, expected);
    }
}
