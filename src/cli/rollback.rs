//! `mailcert rollback NAME [--to N]`: makes an earlier revision of a MailCertificate active again.

use clap::Args;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::cluster::ClusterArgs;
use super::{Failure, say};
use crate::api::certificate::RevisionState;
use crate::api::{MailCertificate, keys};

/// What to take back.
#[derive(Args, Clone, Debug)]
pub struct RollbackCommand {
    /// The MailCertificate
    name: String,
    /// The revision that is to be active again [default: the last one that was active and worked]
    #[arg(long, value_name = "N")]
    to: Option<i64>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Asks the operator for it.
pub fn run(command: &RollbackCommand) -> Result<(), Failure> {
    command.cluster.run(async |client, namespace| {
        let api: Api<MailCertificate> = Api::namespaced(client, &namespace);
        let object = api.get(&command.name).await?;
        let target = target(&object, command.to)?;
        // With the time, so that asking once more is another value.
        let value = format!("{target}/{}", Timestamp::now());
        let patch = json!({"metadata": {"uid": object.uid(), "annotations": {keys::ROLLBACK: value}}});
        api.patch(&command.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        say(&format!("MailCertificate {namespace}/{} goes back to revision {target}", command.name));
        Ok(())
    })
}

/// The revision to go back to. What else there is to be said about it, the operator says.
fn target(object: &MailCertificate, asked: Option<i64>) -> Result<i64, Failure> {
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    if let (Some(asked), Some(active)) = (asked, &status.active)
        && asked == active.revision
    {
        return Err(format!("revision {asked} of MailCertificate {name} is active already").into());
    }
    let mut kept = status.previous.iter();
    let found = match asked {
        Some(asked) => kept.find(|r| r.revision == asked),
        None => kept.find(|r| r.state != Some(RevisionState::Failed)),
    };
    let found = found.map(|r| r.revision);
    found.ok_or_else(|| {
        let listed: Vec<String> = status.previous.iter().map(|r| r.revision.to_string()).collect();
        let kept = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        match asked {
            Some(asked) => format!("MailCertificate {name} keeps no revision {asked}; kept: {kept}").into(),
            None => format!("MailCertificate {name} has no earlier revision that worked; kept: {kept}").into(),
        }
    })
}
