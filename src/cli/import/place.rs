//! The cluster that an import is written to.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::LABEL;
use super::spec::{Change, Given, changes, patch};
use crate::api::MailCertificate;
use crate::api::certificate::ImportFormat;
use crate::cli::Failure;
use crate::cli::cluster::{KIND_UNKNOWN, is_kind_unknown};

/// The cluster has the last word, and it is no.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// A namespace, with what is there of an import.
pub(super) struct Place {
    client: Client,
    namespace: String,
    secret: Option<Secret>,
    object: Option<MailCertificate>,
}

impl Place {
    /// Looks at what is there.
    ///
    /// # Errors
    /// It cannot be read, or must not be written.
    pub async fn look(client: Client, namespace: String, name: &str, given: &Given) -> Result<Self, Failure> {
        let source = &given.source;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let objects: Api<MailCertificate> = Api::namespaced(client.clone(), &namespace);
        let secret = secrets.get_opt(source).await;
        let secret = secret.map_err(|e| denied(e, "read", &format!("Secret {namespace}/{source}")))?;
        let object = objects.get_opt(name).await;
        let object = object.map_err(|e| denied(e, "read", &format!("MailCertificate {namespace}/{name}")))?;
        refusal(secret.as_ref(), object.as_ref(), given)?;
        Ok(Self { client, namespace, secret, object })
    }

    /// The MailCertificate that is there.
    pub fn known(&self) -> Option<&MailCertificate> {
        self.object.as_ref()
    }

    /// Makes both, or changes what an earlier import made: the operator sees the new content, and makes a revision of it.
    /// Returns them as they are then.
    ///
    /// # Errors
    /// The API server refuses. It is asked about the MailCertificate first, so that no key is left where that cannot be.
    pub async fn put(
        self,
        secret: Secret,
        object: MailCertificate,
        words: fn(&str),
    ) -> Result<(Secret, MailCertificate), Failure> {
        let Self { client, namespace, secret: present, object: known } = self;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let objects: Api<MailCertificate> = Api::namespaced(client, &namespace);
        let (source, name) = (secret.name_any(), object.name_any());
        let (this_secret, this) =
            (format!("Secret {namespace}/{source}"), format!("MailCertificate {namespace}/{name}"));
        let write = Writing { objects: &objects, known: known.as_ref(), object: &object };
        write.run(true).await.map_err(|e| denied(e, write.doing(), &this))?;

        let written = match &present {
            Some(present) => {
                let patch = Patch::Merge(replacement(present, &secret));
                let patched = secrets.patch(&source, &PatchParams::default(), &patch).await;
                patched.map_err(|e| denied(e, "change", &this_secret))?
            }
            None => {
                let created = secrets.create(&PostParams::default(), &secret).await;
                created.map_err(|e| denied(e, "create", &this_secret))?
            }
        };
        words(&match &present {
            Some(_) => format!("{this_secret} has the new certificate"),
            None => format!("{this_secret} created"),
        });

        let taken = write.run(false).await.map_err(|error| {
            let error = denied(error, write.doing(), &this);
            Refused(format!("{error}. {}", left_behind(present.is_some(), &namespace, &source)))
        })?;
        words(&match known {
            Some(_) => format!("{this} takes it in"),
            None => format!("{this} created"),
        });
        for change in write.changes() {
            let Change { field, from, to, .. } = change;
            words(&format!("{this}: {field} was {from} and is {to} now"));
        }
        let (mut secret, mut object) = (written, taken);
        secret.metadata.managed_fields = None;
        object.metadata.managed_fields = None;
        Ok((secret, object))
    }
}

/// How the MailCertificate becomes what it shall be.
struct Writing<'a> {
    objects: &'a Api<MailCertificate>,
    known: Option<&'a MailCertificate>,
    object: &'a MailCertificate,
}

impl Writing<'_> {
    /// What differs from the one that is there.
    fn changes(&self) -> Vec<Change> {
        self.known.map(|known| changes(&known.spec, &self.object.spec)).unwrap_or_default()
    }

    /// `dry`: the API server says whether it would.
    async fn run(&self, dry_run: bool) -> Result<MailCertificate, kube::Error> {
        let Some(known) = self.known else {
            return self.objects.create(&PostParams { dry_run, ..PostParams::default() }, self.object).await;
        };
        let changes = self.changes();
        if changes.is_empty() {
            return Ok(known.clone());
        }
        let mut patch = patch(&changes);
        // That very object, not another one of its name.
        patch["metadata"] = json!({"uid": known.uid()});
        let params = PatchParams { dry_run, ..PatchParams::default() };
        self.objects.patch(&known.name_any(), &params, &Patch::Merge(patch)).await
    }

    fn doing(&self) -> &'static str {
        if self.known.is_some() { "change" } else { "create" }
    }
}

/// A merge patch of a source: what the earlier one had and this one lacks goes.
fn replacement(present: &Secret, secret: &Secret) -> Value {
    let stale = present.data.iter().flatten().map(|(key, _)| (key.clone(), Value::Null));
    let mut data: serde_json::Map<_, _> = stale.collect();
    data.extend(secret.data.iter().flatten().map(|(key, value)| (key.clone(), json!(value))));
    json!({"metadata": {"resourceVersion": present.resource_version()}, "data": data})
}

/// What stays where only half of it could be written.
fn left_behind(replaced: bool, namespace: &str, source: &str) -> String {
    match replaced {
        true => format!(
            "The Secret {namespace}/{source} has the new certificate already, and is taken in as the MailCertificate is now; import \
             again when this is mended"
        ),
        false => format!(
            "The Secret {namespace}/{source} was created before that, and stays with the private key in it: import again when this \
             is mended, or remove it (kubectl delete secret {source} --namespace {namespace})"
        ),
    }
}

/// Why what is there must not be written.
fn refusal(secret: Option<&Secret>, object: Option<&MailCertificate>, given: &Given) -> Result<(), Refused> {
    let source = &given.source;
    if secret.is_some_and(|s| !s.labels().contains_key(LABEL)) {
        return Err(Refused(format!(
            "the Secret {source} exists and was not made by an import: choose another with --source-name"
        )));
    }
    let Some(object) = object else { return Ok(()) };
    let name = object.name_any();
    let Some(import) = object.spec.import.as_ref().filter(|import| import.secret_ref.name == *source) else {
        return Err(Refused(format!(
            "MailCertificate {name} exists and does not import from the Secret {source}: choose another --name"
        )));
    };
    if import.keys.is_some() || import.format == ImportFormat::PKCS12 {
        let field = if import.keys.is_some() { "keys" } else { "format" };
        return Err(Refused(format!(
            "MailCertificate {name} has spec.import.{field}, but what this command writes is PEM in tls.crt, tls.key and ca.crt: \
             remove that field, or choose another --name"
        )));
    }
    let active = object.status.as_ref().is_some_and(|status| status.active.is_some());
    match given.secret_name.as_ref().filter(|wanted| active && **wanted != object.spec.secret_name) {
        Some(wanted) => Err(Refused(format!(
            "MailCertificate {name}: spec.secretName is {} and cannot become {wanted}, since pods mount that Secret and a certificate \
             is active in it: leave --secret-name out, or choose another --name",
            object.spec.secret_name
        ))),
        None => Ok(()),
    }
}

/// Why something could not be done, in words for the one who has asked. What the API server did not answer is no refusal.
fn denied(error: kube::Error, doing: &str, what: &str) -> Failure {
    let kube::Error::Api(answer) = error else { return error.into() };
    let said = &answer.message;
    Refused(match answer.code {
        404 if is_kind_unknown(said) => KIND_UNKNOWN.to_owned(),
        403 => format!("you may not {doing} {what}: {said}"),
        _ => format!("{what}: the API server says: {said}"),
    })
    .into()
}
