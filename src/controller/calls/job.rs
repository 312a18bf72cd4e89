//! Jobs that a MailCertificate names: made once for each revision, and again after a failure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::SignedDuration;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{JOBS_CHART_VALUE, subject, word};
use crate::api::certificate::activation::JobCall;
use crate::api::{MailCertificate, keys};
use crate::controller::context::Context;
use crate::controller::pass::PassError;
use crate::controller::secrets;
use crate::decide::certificate::world::{Purpose, Told};
use crate::pki::Fingerprint;

/// A Job that has found nothing queued longer ago than this is asked again.
const FRESH: SignedDuration = SignedDuration::from_mins(5);
/// Finished Jobs go after this time, where the template does not say otherwise.
const KEPT_SECONDS: i32 = 86_400;
/// One that takes longer has failed, where the template does not say otherwise: it is told, and tried again.
const LONGEST_SECONDS: i32 = 600;

/// Makes the Job, or looks at it: `Ok(false)` while it runs.
pub async fn call(
    context: &Context,
    object: &MailCertificate,
    purpose: Purpose,
    call: &JobCall,
    told: &Told,
) -> Result<Result<bool, String>, PassError> {
    let namespace = object.namespace().unwrap_or_default();
    let name = name(object, purpose, call, told);
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let found = match api.get_opt(&name).await {
        Ok(found) => found,
        Err(e) => return refused(e, &namespace, format!("reading Job {name}")),
    };
    let wanted = || job(object, purpose, call, told, &name);
    let Some(found) = found else { return make(&api, &namespace, purpose, wanted()).await };
    if found.labels().get(keys::OWNER) != Some(&object.name_any()) {
        return Ok(Err(format!("there is a Job {name} that belongs to something else: delete or rename it")));
    }
    let outcome = outcome(&found, &name);
    let ended = found.status.as_ref().and_then(|s| s.completion_time.as_ref()).map(|t| t.0);
    let is_stale = purpose == Purpose::Drained && ended.is_some_and(|at| Context::now().duration_since(at) > FRESH);
    // One that failed is made again at the next try, and one whose answer is old at once.
    if outcome.is_err() || is_stale {
        match api.delete(&name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(s)) if s.code == 404 => {}
            Err(e) => return refused(e, &namespace, format!("deleting Job {name}")),
        }
    }
    if is_stale { make(&api, &namespace, purpose, wanted()).await } else { Ok(outcome) }
}

/// Makes the Job: it runs from then on, or another pass has made it.
async fn make(
    api: &Api<Job>,
    namespace: &str,
    purpose: Purpose,
    job: Result<Job, String>,
) -> Result<Result<bool, String>, PassError> {
    let job = match job {
        Ok(job) => job,
        Err(why) => return Ok(Err(why)),
    };
    let params = PostParams { field_manager: Some(keys::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &job).await {
        Ok(_) => Ok(Ok(false)),
        Err(kube::Error::Api(s)) if s.code == 409 => Ok(Ok(false)),
        Err(kube::Error::Api(s)) if s.code == 422 || s.code == 400 => {
            Ok(Err(format!("the API server refuses the Job of activation.{}: {}", word(purpose), s.message)))
        }
        Err(e) => refused(e, namespace, format!("making Job {}", job.name_any())),
    }
}

fn outcome(job: &Job, name: &str) -> Result<bool, String> {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let is = |type_: &str| conditions.iter().find(|c| c.type_ == type_ && c.status == "True");
    if let Some(failed) = is("Failed") {
        let why = failed.message.as_deref().or(failed.reason.as_deref()).unwrap_or("see its pods' logs");
        return Err(format!("the Job {name} failed: {why}"));
    }
    Ok(is("Complete").is_some())
}

fn refused(error: kube::Error, namespace: &str, doing: String) -> Result<Result<bool, String>, PassError> {
    match error {
        kube::Error::Api(status) if status.code == 403 => Ok(Err(format!(
            "the operator may not make Jobs in namespace {namespace}: set the chart's value {JOBS_CHART_VALUE} to true"
        ))),
        error => Err(PassError::api(doing)(error)),
    }
}

/// The same for the same question about the same certificate.
fn name(object: &MailCertificate, purpose: Purpose, call: &JobCall, told: &Told) -> String {
    let asked =
        format!("{}\n{}\n{}", object.uid().unwrap_or_default(), told.revision.fingerprint_sha256, call.template);
    let digest = Fingerprint::of(asked.as_bytes()).to_string();
    let suffix = format!("-{}-r{}-{}", word(purpose), told.revision.revision, digest.get(..8).unwrap_or_default());
    // Pods of a Job carry its name in a label, which has 63 characters.
    let base: String = object.name_any().chars().take(63usize.saturating_sub(suffix.len())).collect();
    format!("{}{suffix}", base.trim_end_matches(['.', '-'])).replace('.', "-")
}

/// The Job of the template, with the certificate in its containers' environment.
fn job(object: &MailCertificate, purpose: Purpose, call: &JobCall, told: &Told, name: &str) -> Result<Job, String> {
    let unusable = |why: &str| format!("activation.{}.job.template is no Job: {why}", word(purpose));
    let mut template = call.template.clone();
    let spec = template.get_mut("spec").and_then(Value::as_object_mut).ok_or_else(|| unusable("it has no spec"))?;
    spec.entry("ttlSecondsAfterFinished").or_insert(json!(KEPT_SECONDS));
    spec.entry("activeDeadlineSeconds").or_insert(json!(LONGEST_SECONDS));
    let pod = spec.get_mut("template").and_then(|t| t.get_mut("spec")).and_then(Value::as_object_mut);
    let pod = pod.ok_or_else(|| unusable("it has no spec.template.spec"))?;
    pod.entry("restartPolicy").or_insert(json!("Never"));
    let containers = pod.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.ok_or_else(|| unusable("it has no containers"))? {
        let Some(container) = container.as_object_mut() else { return Err(unusable("a container is no object")) };
        let environment = container.entry("env").or_insert(json!([]));
        let Some(environment) = environment.as_array_mut() else { return Err(unusable("env is no list")) };
        environment.extend(subject::environment(object, told));
    }
    let mut job: Job = serde_json::from_value(template).map_err(|e| unusable(&e.to_string()))?;
    job.metadata.name = Some(name.to_owned());
    job.metadata.namespace = None;
    job.metadata.generate_name = None;
    job.metadata.owner_references = object.controller_owner_ref(&()).map(|o| vec![o]);
    job.metadata.labels.get_or_insert_default().extend(secrets::labels(object));
    Ok(job)
}
