//! `mailcert approve NAME`: lets the staged revision of a MailCertificate become active.

use clap::Args;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::cluster::{self, ClusterArgs};
use super::{Failure, say};
use crate::api::certificate::RevisionState;
use crate::api::{MailCertificate, keys};

/// What to approve.
#[derive(Args, Clone, Debug)]
pub struct Approve {
    /// The MailCertificate
    name: String,
    /// The revision, if it must be this one [default: the one that is staged]
    #[arg(long, value_name = "N")]
    revision: Option<i64>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Approves.
pub fn run(command: &Approve) -> Result<(), Failure> {
    command.cluster.run(async |client, namespace| {
        let object = cluster::certificate(&client, &namespace, &command.name).await?;
        let revision = waiting(&object, command.revision)?;
        let who = who(&client).await;
        // Only while it stages this revision for the one who has just looked at it.
        let value = format!("{revision}/{}", Timestamp::now());
        let annotations = json!({keys::APPROVE: value, keys::APPROVED_BY: who});
        cluster::annotate(client, &object, annotations, "approve revisions of").await?;
        say(&format!("revision {revision} of MailCertificate {namespace}/{} is approved", command.name));
        Ok(())
    })
}

/// The revision that waits, or one that was taken back and is to be tried again.
fn waiting(object: &MailCertificate, asked: Option<i64>) -> Result<i64, Failure> {
    let name = object.name_any();
    let staged = object.status.as_ref().and_then(|s| s.staged.first()).map(|r| r.revision);
    let previous = object.status.iter().flat_map(|s| &s.previous);
    let failed = |n: &i64| previous.clone().any(|r| r.revision == *n && r.state == Some(RevisionState::Failed));
    match (staged, asked) {
        (_, Some(asked)) if failed(&asked) => Ok(asked),
        (Some(staged), Some(asked)) if staged != asked => {
            Err(format!("MailCertificate {name} has revision {staged} staged, not {asked}").into())
        }
        (Some(staged), _) => Ok(staged),
        (None, _) => {
            let active = object.status.as_ref().and_then(|s| s.active.as_ref());
            let active = active.map_or_else(String::new, |r| format!("; revision {} is active", r.revision));
            Err(format!("MailCertificate {name} has no revision that waits to become active{active}").into())
        }
    }
}

/// Who the API server says is asking. Informative: whoever may annotate may write another name.
async fn who(client: &Client) -> Option<String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await.ok()?;
    review.status?.user_info?.username
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(staged: &[i64]) -> MailCertificate {
        let revision = |n: &i64| {
            json!({"revision": n, "serial": "01", "fingerprintSHA256": "aa", "spkiSHA256": "bb",
                "notBefore": "2030-01-01T00:00:00Z", "notAfter": "2030-04-01T00:00:00Z", "issuer": "CN=Root",
                "dnsNames": ["mail.example.com"], "issuerRef": {"name": "ca"}, "key": "ECDSA P-256"})
        };
        let staged: Vec<_> = staged.iter().map(revision).collect();
        let object = json!({
            "apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate", "metadata": {"name": "mail"},
            "spec": {"issuerRef": {"name": "ca"}, "secretName": "mail-tls", "dnsNames": ["mail.example.com"]},
            "status": {"staged": staged},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_what_waits_can_be_approved() {
        let error = |staged: &[i64], asked| waiting(&object(staged), asked).unwrap_err().to_string();
        assert_eq!(error(&[], None), "MailCertificate mail has no revision that waits to become active");
        assert_eq!(error(&[], Some(3)), "MailCertificate mail has no revision that waits to become active");
        assert_eq!(waiting(&object(&[4]), None).unwrap(), 4);
        assert_eq!(waiting(&object(&[4]), Some(4)).unwrap(), 4);
        assert_eq!(error(&[4], Some(3)), "MailCertificate mail has revision 4 staged, not 3");
    }
}
