//! The end of a pass: the status if it has changed, and an Event for each thing that is new.

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::context::Context;
use super::news::News;
use super::pass::{PassError, Subject};
use crate::api::keys;
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
async fn write_status<S: Subject>(
    context: &Context,
    object: &S::Object,
    status: &S::Status,
) -> Result<Option<S::Object>, PassError> {
    let api: Api<S::Object> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let operations = json!([
        {"op": "test", "path": "/metadata/uid", "value": object.uid()},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let doing = || format!("writing the status of {} {}", S::KIND, object.name_any());
    let patch = serde_json::from_value(operations).map_err(|e| PassError::api(doing())(kube::Error::SerdeError(e)))?;
    let params = PatchParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&object.name_any(), &params, &Patch::Json::<()>(patch)).await {
        Ok(written) => Ok(Some(written)),
        // Deleted, or deleted and made anew.
        Err(kube::Error::Api(status))
            if status.code == 404 || status.code == 422 && status.message.contains("/metadata/uid") =>
        {
            Ok(None)
        }
        Err(e) => Err(PassError::api(doing())(e)),
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
