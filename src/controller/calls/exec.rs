//! Commands in pods that a MailCertificate names.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::Selector;
use kube::{Api, ResourceExt};

use crate::api::MailCertificate;
use crate::api::certificate::activation::ExecCall;
use crate::controller::context::Context;
use crate::controller::exec::{self, Command, ExecError};
use crate::controller::pass::PassError;
use crate::decide::domain::world::RELOAD_VALUE;

/// How long one command may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much it may print. What it prints says nothing here.
const MOST_PRINTED: usize = 64 << 10;
/// As many pods are asked. Where there are more, nothing is known of all.
const MOST_PODS: u32 = 20;
/// Pods that have ended, as a Job's, have nothing queued and take no command.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Runs the command in every pod that the selector names; each must succeed.
pub async fn call(
    context: &Context,
    object: &MailCertificate,
    call: &ExecCall,
) -> Result<Result<bool, String>, PassError> {
    let namespace = object.namespace().unwrap_or_default();
    let Ok(selector) = Selector::try_from(call.selector.clone()) else {
        return Ok(Err("activation.drained.exec.selector cannot be used: see its operators and values".to_owned()));
    };
    let text = selector.to_string();
    if text.is_empty() {
        return Ok(Err("activation.drained.exec.selector is empty: name labels of the pods to ask".to_owned()));
    }
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let listed = api.list(&ListParams::default().labels(&text).fields(RUNNING).limit(MOST_PODS)).await;
    let pods = match listed {
        Ok(list) if list.metadata.continue_.as_ref().is_some_and(|more| !more.is_empty()) => {
            return Ok(Err(format!(
                "more than {MOST_PODS} pods have {text}, and no more than that are asked: name labels that fewer have, or \
                 ask by HTTP or a Job"
            )));
        }
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Err(forbidden(&namespace))),
        Err(e) => return Err(PassError::api(format!("listing pods in namespace {namespace}"))(e)),
    };
    if pods.is_empty() {
        return Ok(Err(format!("there is no pod with {text} to be asked")));
    }
    for pod in &pods {
        let first = || pod.spec.as_ref().and_then(|s| s.containers.first()).map(|c| c.name.clone());
        let Some(container) = call.container.clone().or_else(first) else { continue };
        let name = pod.name_any();
        let command = Command {
            namespace: &namespace,
            pod: &name,
            container: &container,
            command: &call.command,
            timeout: TIMEOUT,
            output: MOST_PRINTED,
        };
        match exec::run(&context.client, command).await {
            Ok(_) => {}
            Err(ExecError::Forbidden(_)) => return Ok(Err(forbidden(&namespace))),
            Err(error) => return Ok(Err(format!("pod {name}: {error}"))),
        }
    }
    Ok(Ok(true))
}

fn forbidden(namespace: &str) -> String {
    format!(
        "the operator may not run commands in pods of namespace {namespace}: set the chart's value {RELOAD_VALUE} to true"
    )
}
