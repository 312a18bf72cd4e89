//! `mailcert rollback NAME [--to N]`: makes an earlier revision of a MailCertificate active again.

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::cluster::{self, ClusterArgs};
use super::{Failure, say};
use crate::api::certificate::{Revision, RevisionState};
use crate::api::{MailCertificate, keys};
use crate::decide::certificate::is_way_back;

/// What to take back.
#[derive(Args, Clone, Debug)]
pub struct RollbackCommand {
    /// The MailCertificate
    name: String,
    /// The revision that is to be active again; the active one gives up a way back that still waits
    /// [default: the last valid one that worked]
    #[arg(long, value_name = "N")]
    to: Option<i64>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Asks the operator for it.
pub fn run(command: &RollbackCommand) -> Result<(), Failure> {
    command.cluster.run(async |client, namespace| {
        let object = cluster::certificate(&client, &namespace, &command.name).await?;
        let target = target(&object, command.to, Timestamp::now())?;
        // With the time, so that asking once more is another value.
        let value = format!("{target}/{}", Timestamp::now());
        cluster::annotate(client, &object, json!({keys::ROLLBACK: value}), "roll back").await?;
        let is_active = object.status.and_then(|s| s.active).is_some_and(|r| r.revision == target);
        say(&match is_active {
            true => format!("MailCertificate {namespace}/{} stays at revision {target}", command.name),
            false => format!("MailCertificate {namespace}/{} goes back to revision {target}", command.name),
        });
        Ok(())
    })
}

/// The revision to go back to. What else there is to be said about it, the operator says.
fn target(object: &MailCertificate, asked: Option<i64>, now: Timestamp) -> Result<i64, Failure> {
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    let way_back = status.staged.first().filter(|r| is_way_back(r));
    if let (Some(asked), Some(active)) = (asked, &status.active)
        && asked == active.revision
    {
        // That gives up a way back which still waits.
        let active = format!("revision {asked} of MailCertificate {name} is active already");
        return way_back.map(|_| asked).ok_or(active.into());
    }
    let is_over = |r: &Revision| now >= r.not_after.0;
    let works = |r: &&Revision| r.state != Some(RevisionState::Failed) && !is_over(r);
    let found = match asked {
        Some(asked) => status.former().find(|r| r.revision == asked),
        None => way_back.or_else(|| status.previous.iter().find(works)),
    };
    let listed: Vec<String> = status.former().map(|r| kept(r, is_over(r))).collect();
    let listed = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
    match (found, asked) {
        (Some(found), _) if is_over(found) => Err(format!(
            "revision {} of MailCertificate {name} expired at {}, so it does not become active again; kept: {listed}",
            found.revision, found.not_after.0
        )
        .into()),
        (Some(found), _) => Ok(found.revision),
        (None, Some(asked)) => Err(format!("MailCertificate {name} keeps no revision {asked}; kept: {listed}").into()),
        (None, None) => {
            Err(format!("MailCertificate {name} has no valid earlier revision that worked; kept: {listed}").into())
        }
    }
}

/// A revision and why nobody goes back to it unasked.
fn kept(revision: &Revision, is_over: bool) -> String {
    match (is_over, revision.state) {
        (true, _) => format!("{} (expired)", revision.revision),
        (_, Some(RevisionState::Failed)) => format!("{} (failed)", revision.revision),
        _ => revision.revision.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(staged: &[(i64, &str)], previous: &[(i64, &str, &str)]) -> MailCertificate {
        let revision = |n: i64, until: &str, more: serde_json::Value| {
            let mut revision = json!({"revision": n, "serial": "01", "fingerprintSHA256": "aa", "spkiSHA256": "bb",
                "notBefore": "2030-01-01T00:00:00Z", "notAfter": until, "issuer": "CN=Root",
                "dnsNames": ["mail.example.com"], "issuerRef": {"name": "ca"}, "key": "ECDSA P-256"});
            revision.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            revision
        };
        let late = "2030-04-01T00:00:00Z";
        let staged = staged.iter().map(|(n, reason)| {
            revision(*n, late, json!({"reason": reason, "state": "Staged", "keySince": "2030-01-01T00:00:00Z"}))
        });
        let previous = previous.iter().map(|(n, state, until)| revision(*n, until, json!({"state": state})));
        let object = json!({
            "apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate", "metadata": {"name": "mail"},
            "spec": {"issuerRef": {"name": "ca"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]},
            "status": {"active": revision(5, late, json!({})), "staged": staged.collect::<Vec<_>>(),
                "previous": previous.collect::<Vec<_>>()},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_can_be_gone_back_to_is_found_and_the_rest_is_explained() {
        let now = "2030-03-01T00:00:00Z".parse().unwrap();
        let (late, over) = ("2030-04-01T00:00:00Z", "2030-02-01T00:00:00Z");
        let kept = object(&[], &[(4, "Failed", late), (3, "Previous", over), (2, "Previous", late)]);
        assert_eq!(target(&kept, None, now).unwrap(), 2, "the last one that worked and is valid");
        assert_eq!(target(&kept, Some(4), now).unwrap(), 4, "asked for by its number");
        let error = |object: &MailCertificate, asked| target(object, asked, now).unwrap_err().to_string();
        let listed = "kept: 4 (failed), 3 (expired), 2";
        assert_eq!(error(&kept, Some(5)), "revision 5 of MailCertificate mail is active already");
        assert_eq!(error(&kept, Some(9)), format!("MailCertificate mail keeps no revision 9; {listed}"));
        assert_eq!(
            error(&kept, Some(3)),
            format!(
                "revision 3 of MailCertificate mail expired at {over}, so it does not become active again; {listed}"
            )
        );
        let none = object(&[], &[(4, "Failed", late), (3, "Previous", over)]);
        assert_eq!(
            error(&none, None),
            "MailCertificate mail has no valid earlier revision that worked; kept: 4 (failed), 3 (expired)"
        );
        assert_eq!(
            error(&object(&[], &[]), None),
            "MailCertificate mail has no valid earlier revision that worked; kept: none"
        );
        // One that is under way is what was meant, and the active one gives it up.
        let under_way = object(&[(2, "RollbackRequested")], &[(4, "Previous", late)]);
        assert_eq!(
            [None, Some(2), Some(4), Some(5)].map(|asked| target(&under_way, asked, now).unwrap()),
            [2, 2, 4, 5]
        );
    }
}
