//! How the pods of a workload load a certificate: what `reload` and its presets come to.

use std::time::Duration;

use crate::api::domain::reload::{AuthorizationRef, HttpMethod, HttpScheme, Preset, Reload};

use super::pods::{PodView, Reading, SecretUse};
use super::sharing::Member;

/// What is done in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run a command in a container.
    Exec {
        /// The container.
        container: String,
        /// Command and arguments.
        command: Vec<String>,
        /// How long it may take.
        timeout: Duration,
    },
    /// Send a request to the pod.
    Http(Box<Call>),
}

/// An HTTP request to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// GET, POST or PUT.
    pub method: HttpMethod,
    /// With TLS or without.
    pub scheme: HttpScheme,
    /// The port in the pod.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// The body, JSON.
    pub body: Option<String>,
    /// An answer with this text is a failure.
    pub failure_text: Option<String>,
    /// Where the Authorization header's value is.
    pub authorization: Option<AuthorizationRef>,
    /// How long it may take.
    pub timeout: Duration,
}

/// How the pods of a workload load a certificate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Method<'a> {
    /// They are replaced; the text says why, where something else was asked for.
    Restart(Option<String>),
    /// They notice by themselves.
    Alone,
    /// In place, in these ways.
    InPlace(Vec<&'a Reload>),
}

const PRESET_TIMEOUT: Duration = Duration::from_secs(20);

impl<'a> Method<'a> {
    /// Restarts win over reloads, and what is done over what is left alone.
    pub fn of(reloads: &'a [Reload], members: &[Member], uses: &[SecretUse]) -> Self {
        let restarts = |r: &Reload| r.restart.is_some() || r.preset == Some(Preset::Haraka);
        if reloads.is_empty() || reloads.iter().any(restarts) {
            return Self::Restart(None);
        }
        let ours = |u: &&SecretUse| members.iter().any(|m| m.secrets().any(|secret| secret == u.secret));
        let fixed = uses.iter().filter(ours).find_map(|u| match &u.how {
            Reading::Fixed(how) => Some(format!(
                "it is restarted, since container {} {how}: Secret {} never changes there while the pod runs; mount \
                 the whole folder to have it reloaded in place",
                u.container, u.secret
            )),
            Reading::Folder(_) => None,
        });
        if let Some(why) = fixed {
            return Self::Restart(Some(why));
        }
        let alone = |r: &&Reload| {
            r.none.is_some() || matches!(r.preset, Some(Preset::DockerMailserver | Preset::Mailu | Preset::Exim))
        };
        let active: Vec<&Reload> = reloads.iter().filter(|r| !alone(r)).collect();
        if active.is_empty() { Self::Alone } else { Self::InPlace(active) }
    }
}

/// Whether pods have to be known to reload them so.
pub fn looks_into_pods(reloads: &[Reload]) -> bool {
    matches!(Method::of(reloads, &[], &[]), Method::InPlace(_))
}

/// What is to be done in a pod.
///
/// # Errors
/// What cannot be told from the pod, and what to set.
pub(super) fn steps(reloads: &[&Reload], pod: &PodView, members: &[Member]) -> Result<Vec<Step>, String> {
    reloads.iter().map(|reload| step(reload, pod, members)).collect()
}

fn step(reload: &Reload, pod: &PodView, members: &[Member]) -> Result<Step, String> {
    if let Some(exec) = &reload.exec {
        return Ok(Step::Exec {
            container: container(exec.container.as_deref(), None, "reload.exec.container", pod, members)?,
            command: exec.command.clone(),
            timeout: exec.timeout.into(),
        });
    }
    if let Some(http) = &reload.http {
        return Ok(Step::Http(Box::new(Call {
            method: http.method,
            scheme: http.scheme,
            port: u16::try_from(http.port).map_err(|_| format!("reload.http.port {} is not a port", http.port))?,
            path: http.path.clone(),
            body: http.body.clone(),
            failure_text: http.failure_text.clone(),
            authorization: http.authorization_secret_ref.clone(),
            timeout: http.timeout.into(),
        })));
    }
    preset(reload, pod, members)
}

fn preset(reload: &Reload, pod: &PodView, members: &[Member]) -> Result<Step, String> {
    let exec = |name: &str, command: &[&str]| {
        let given = reload.container.as_deref();
        Ok(Step::Exec {
            container: container(given, Some(name), "reload.container", pod, members)?,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: PRESET_TIMEOUT,
        })
    };
    let http = |port, path: &str, body: Option<&str>, failure_text: Option<&str>| {
        Ok(Step::Http(Box::new(Call {
            method: HttpMethod::Post,
            scheme: HttpScheme::Http,
            port,
            path: path.to_owned(),
            body: body.map(str::to_owned),
            failure_text: failure_text.map(str::to_owned),
            authorization: reload.authorization_secret_ref.clone(),
            timeout: PRESET_TIMEOUT,
        })))
    };
    match reload.preset {
        Some(Preset::Postfix) => exec("postfix", &["postfix", "reload"]),
        Some(Preset::Dovecot) => exec("dovecot", &["doveadm", "reload"]),
        // The master process, by its file where it is not the container's first.
        Some(Preset::Cyrus) => exec(
            "cyrus",
            &[
                "/bin/sh",
                "-c",
                "kill -HUP \"$(cat /run/cyrus-master.pid /var/run/cyrus-master.pid 2>/dev/null | head -n 1 | grep . || echo 1)\"",
            ],
        ),
        // An action that is refused is answered with 200 as well (RFC 8620, section 5.3).
        Some(Preset::Stalwart) => http(
            8080,
            "/api",
            Some(
                r#"{"using":["urn:ietf:params:jmap:core","urn:stalwart:jmap"],"methodCalls":[["x:Action/set",{"create":{"reload":{"@type":"ReloadTlsCertificates"}}},"c0"]]}"#,
            ),
            Some("\"notCreated\":{\"reload\""),
        ),
        Some(Preset::James) => http(8000, "/servers?reload-certificate", None, None),
        Some(Preset::DockerMailserver | Preset::Mailu | Preset::Haraka | Preset::Exim) | None => {
            Err("it is told to do nothing in the pod".to_owned())
        }
    }
}

/// The container that is named, else the one that mounts the Secret, else the one with the preset's name among those.
fn container(
    given: Option<&str>,
    preset: Option<&str>,
    field: &str,
    pod: &PodView,
    members: &[Member],
) -> Result<String, String> {
    if let Some(given) = given {
        return match pod.containers.iter().any(|c| c == given) {
            true => Ok(given.to_owned()),
            false => Err(format!("it has no container \"{given}\"; correct {field}")),
        };
    }
    let mut mounting: Vec<&str> = mounts(pod, members).map(|m| m.container).collect();
    mounting.dedup();
    match (&mounting[..], preset) {
        ([one], _) => Ok((*one).to_owned()),
        (several, Some(name)) if several.contains(&name) => Ok(name.to_owned()),
        _ => Err(format!("several of its containers mount the Secret ({}); name one in {field}", mounting.join(", "))),
    }
}

/// A file in which a container has a wanted certificate.
pub(super) struct Mounted<'a> {
    pub container: &'a str,
    pub secret: &'a str,
    pub member: &'a Member,
    pub path: String,
}

/// Where a pod mounts the wanted certificates.
pub(super) fn mounts<'a>(pod: &'a PodView, members: &'a [Member]) -> impl Iterator<Item = Mounted<'a>> {
    pod.uses.iter().flat_map(move |used| {
        let (container, secret) = (used.container.as_str(), used.secret.as_str());
        members.iter().filter_map(move |member| match &used.how {
            Reading::Folder(mount) => Some(Mounted { container, secret, member, path: member.file(secret, mount)? }),
            Reading::Fixed(_) => None,
        })
    })
}
