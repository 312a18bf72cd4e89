//! The end of a pass: the status if it has changed, and an Event for each thing that is new.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::context::Context;
use super::news::News;
use super::pass::{PassError, Subject};
use crate::api::keys;
use crate::decide::conditions;
use crate::decide::events::Note;

/// Writes the status if it has changed, and tells what is new.
///
/// # Errors
/// When the status cannot be written.
pub async fn report<S: Subject>(context: &Context, object: &S::Object, status: &S::Status) -> Result<(), PassError> {
    let old = S::status(object).cloned().unwrap_or_default();
    if S::status(object) == Some(status) {
        return Ok(());
    }
    context.leader.ensure()?;
    let Some(written) = write_status::<S>(context, object, status).await? else { return Ok(()) };
    context.kinds.remember(&written);
    for note in S::notes(&old, status) {
        tell::<S>(context, object, note).await;
    }
    Ok(())
}

/// The whole status at once, on the object with this UID only. `None`: the object is gone.
///
/// Other controllers may set conditions of their own in it (gates), so it is written over the version that it was made
/// from; where that is old, what others have set meanwhile is carried over first.
async fn write_status<S: Subject>(
    context: &Context,
    object: &S::Object,
    status: &S::Status,
) -> Result<Option<S::Object>, PassError> {
    let api: Api<S::Object> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let doing = || format!("writing the status of {} {name}", S::KIND);
    let broken = |e| PassError::api(doing())(kube::Error::SerdeError(e));
    let mut version = object.resource_version();
    let mut status = serde_json::to_value(status).map_err(broken)?;
    let params = PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    for _ in 0..TRIES {
        let operations = json!([
            {"op": "test", "path": "/metadata/uid", "value": object.uid()},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]);
        let patch = serde_json::from_value(operations).map_err(broken)?;
        let refused = match api.patch_status(&name, &params, &Patch::Json::<()>(patch)).await {
            Ok(written) => return Ok(Some(written)),
            Err(kube::Error::Api(refused)) => refused,
            Err(e) => return Err(PassError::api(doing())(e)),
        };
        match refused.code {
            // Deleted, or deleted and made anew.
            404 => return Ok(None),
            422 if refused.message.contains("/metadata/uid") => return Ok(None),
            422 if refused.message.contains("/metadata/resourceVersion") => {}
            409 => {}
            _ => return Err(PassError::api(doing())(kube::Error::Api(refused))),
        }
        let Some(live) = api.get_opt(&name).await.map_err(PassError::api(doing()))? else { return Ok(None) };
        if live.uid() != object.uid() {
            return Ok(None);
        }
        version = live.resource_version();
        let live = serde_json::to_value(&live).map_err(broken)?;
        carry_over(&mut status, &live["status"]);
    }
    Err(PassError::Busy)
}

/// Times that a status is written over a newer version before the pass is tried again as a whole.
const TRIES: usize = 5;

/// Takes the conditions that other controllers set from what is there now.
fn carry_over(status: &mut Value, live: &Value) {
    let foreign = |c: &Value| c["type"].as_str().is_some_and(conditions::is_foreign);
    let theirs: Vec<Value> =
        live["conditions"].as_array().into_iter().flatten().filter(|c| foreign(c)).cloned().collect();
    let own = status["conditions"].as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = own.into_iter().filter(|c| !foreign(c)).chain(theirs).collect();
    if let Some(status) = status.as_object_mut() {
        match all.is_empty() {
            true => drop(status.remove("conditions")),
            false => drop(status.insert("conditions".to_owned(), Value::Array(all))),
        }
    }
}

async fn tell<S: Subject>(context: &Context, object: &S::Object, note: Note) {
    let text = &note.message;
    match note.warning {
        true => tracing::warn!(kind = S::KIND, name = object.name_any(), reason = note.reason, "{text}"),
        false => tracing::info!(kind = S::KIND, name = object.name_any(), reason = note.reason, "{text}"),
    }
    // The receiver ends only with the operator.
    let _ = context.news.send(News { about: object.object_ref(&()), note }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_others_are_carried_over_as_they_are_now() {
        let mut status = json!({"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "example.com/Reviewed", "status": "False"}]});
        let live = json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "example.com/Reviewed", "status": "True"},
            {"type": "Checked", "status": "True"}]});
        carry_over(&mut status, &live);
        let expected = json!({"conditions": [{"type": "Ready", "status": "True"},
            {"type": "example.com/Reviewed", "status": "True"}, {"type": "Checked", "status": "True"}]});
        assert_eq!(status, expected);
        let mut empty = json!({});
        carry_over(&mut empty, &Value::Null);
        assert_eq!(empty, json!({}));
    }
}
