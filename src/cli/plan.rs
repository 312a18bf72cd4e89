//! `mailcert plan`: what the operator would do about a MailCertificate, or about a change that has not been applied yet, and
//! why. Nothing is done.

use std::path::PathBuf;

use clap::Args;
use kube::ResourceExt;

use super::cluster::{self, ClusterArgs};
use super::{Failure, proposed, say};
use crate::api::certificate::Revision;
use crate::controller::plan::{self, Plan};
use crate::decide::certificate::preview;
use crate::operating::settings::OperatorSettings;

/// What to look at.
#[derive(Args, Clone, Debug)]
pub struct PlanCommand {
    /// The MailCertificate
    #[arg(required_unless_present = "filename")]
    name: Option<String>,
    /// Show what applying these manifests of MailCertificates or MailDomains would do (-: standard input)
    #[arg(long, short, value_name = "FILE", conflicts_with = "name")]
    filename: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints the plan.
pub fn run(command: &PlanCommand) -> Result<(), Failure> {
    command.cluster.run(async |client, namespace| {
        let settings = OperatorSettings::defaults();
        let objects = match (&command.name, &command.filename) {
            (_, Some(file)) => proposed::certificates(&client, &namespace, file).await?,
            (Some(name), None) => vec![cluster::certificate(&client, &namespace, name).await?],
            (None, None) => Vec::new(),
        };
        for object in objects {
            let plan = plan::plan(client.clone(), &settings, object).await?;
            lines(&plan).iter().for_each(|line| say(line));
        }
        Ok(())
    })
}

/// The plan, line by line.
fn lines(plan: &Plan) -> Vec<String> {
    let world = &plan.world;
    let object = &world.object;
    let status = object.status.clone().unwrap_or_default();
    let mut lines = vec![format!("MailCertificate {}/{}", object.namespace().unwrap_or_default(), object.name_any())];
    lines.push(match &status.active {
        Some(active) => format!("active: {}", described(active)),
        None => "active: none yet".to_owned(),
    });
    lines.extend(preview::served_difference(world).into_iter().map(|line| format!("served: {line}")));
    if let Some(staged) = status.staged.first() {
        let why = staged.reason.as_deref().unwrap_or_default();
        lines.push(format!("staged: {} ({why})", described(staged)));
        lines.extend(preview::staged_difference(world).into_iter().map(|line| format!("  it {line}")));
    }
    if let Some(next) = &status.next_key {
        lines.push(format!("next key: {}, SPKI {}", next.key, next.spki_sha256));
    }
    let differences = preview::differences(world);
    if differences.is_empty() {
        lines.push("wanted: what is active".to_owned());
    }
    lines.extend(differences.into_iter().map(|(reason, message)| format!("wanted: {reason}: {message}")));
    let gates = preview::gates_ahead(world);
    lines.extend(gates.iter().map(|gate| format!("gate: {}: {}", gate.type_, gate.message)));
    if plan.actions.is_empty() {
        lines.push("next: nothing".to_owned());
    }
    lines.extend(plan.actions.iter().map(|action| format!("next: {action}")));
    let conditions = plan.status.conditions.iter();
    lines.extend(conditions.map(|c| format!("says: {} {} ({}): {}", c.type_, c.status, c.reason, c.message)));
    lines.extend(plan.status.findings.iter().map(|f| format!("found: {}: {}", f.reason, f.message)));
    lines
}

fn described(revision: &Revision) -> String {
    format!(
        "revision {}: {}; {}; valid until {}; fingerprint {}",
        revision.revision,
        revision.dns_names.join(", "),
        revision.key,
        revision.not_after.0,
        revision.fingerprint_sha256
    )
}
