//! `mailcert import FILE…`: a certificate that others made becomes a Secret and a MailCertificate.

mod place;
mod spec;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use zeroize::Zeroizing;

use self::place::{Place, Refused};
use self::spec::Given;
use super::cluster::ClusterArgs;
use super::crds::yaml;
use super::inspect::{Report, UNREADABLE};
use super::judging::{Judging, Named, dns_name, read_files, trust_anchors};
use super::{Failure, complain, say, tell};
use crate::api::reasons::ALLOWABLE;
use crate::api::{MailCertificate, MailCertificateSpec, keys};
use crate::decide::certificate::import_anchors;
use crate::pki::import::{Code, Imported, Input, Request};
use crate::pki::{PemLimits, PrivateKey, SecretBundle};

/// Label on the Secrets that this command makes: it writes no others.
const LABEL: &str = "mailcert.dev/imported";
/// The longest name of a MailCertificate, and of other objects.
const LONGEST: (usize, usize) = (63, 253);
/// What is read of a file with trust anchors: as many as a MailCertificate takes, and any text around them.
const ANCHORS: PemLimits = PemLimits { text_bytes: PemLimits::BUNDLE.text_bytes, ..PemLimits::CHAIN };

/// What to import, and as what.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Files that belong together: PEM, DER or PKCS#12
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Name of the MailCertificate
    #[arg(long, value_name = "NAME", value_parser = certificate_name)]
    name: String,
    /// The Secret that pods will mount [default: NAME-tls]
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    secret_name: Option<String>,
    /// The Secret to keep the import in [default: NAME-import]
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    source_name: Option<String>,
    /// DNS name that the certificate must cover; may be given several times
    #[arg(long = "dns-name", value_name = "NAME", value_parser = dns_name)]
    dns_names: Vec<String>,
    /// A finding that shall not stop it, by its code; may be given several times
    #[arg(long, value_name = "CODE", value_parser = code)]
    allow: Vec<Code>,
    /// PEM file with the CA certificates that the chain must lead to, at most 10, in place of the Mozilla roots
    #[arg(long, value_name = "FILE")]
    trust_anchors: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    /// Say what would be done, and do nothing: the cluster is not asked
    #[arg(long)]
    dry_run: bool,
    /// Print the objects, with the private key; all words go to standard error
    #[arg(long, short, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a manifest
    Yaml,
}

fn code(word: &str) -> Result<Code, String> {
    let allowed = Code::of(word).filter(|code| ALLOWABLE.contains(&code.word()));
    allowed.ok_or_else(|| format!("it is no finding that can be allowed; those are {}", ALLOWABLE.join(", ")))
}

fn certificate_name(text: &str) -> Result<String, String> {
    named(text, LONGEST.0)
}

fn object_name(text: &str) -> Result<String, String> {
    named(text, LONGEST.1)
}

/// A name that Kubernetes gives to an object: a subdomain of RFC 1123.
fn named(text: &str, longest: usize) -> Result<String, String> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| is_inner(*b) || *b == b'-')
            && [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(|b| is_inner(*b)))
    };
    if text.len() <= longest && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "no object can have that name: it takes lower-case letters, digits, - and ., a letter or digit at both ends and beside \
         each dot, and at most {longest} characters"
    ))
}

/// What is read before anything is judged.
struct Material {
    files: Vec<Named>,
    password: Option<Zeroizing<Vec<u8>>>,
}

/// Imports, and tells by the exit status: 0 done, 1 refused, 2 the input or the cluster cannot be read.
pub fn run(command: &Import) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command.carry_out(Timestamp::now()));
    Ok(done.unwrap_or_else(|error| {
        complain(&*error);
        if error.is::<Refused>() { ExitCode::FAILURE } else { ExitCode::from(UNREADABLE) }
    }))
}

impl Import {
    async fn carry_out(&self, now: Timestamp) -> Result<ExitCode, Failure> {
        // A manifest is for programs, and has nothing else around it.
        let words = if self.output.is_some() { tell } else { say };
        let material = self.material()?;
        let given = self.given()?;
        let place = match self.dry_run {
            true => None,
            false => {
                let (client, namespace) = self.cluster.connect().await?;
                Some(Place::look(client, namespace, &self.name, &given).await?)
            }
        };
        let known = place.as_ref().and_then(Place::known);
        let object = self.object(&given, known)?;
        let (report, imported) = self.judge(&material, &object, now).await?;
        words(&report.text());
        let Some(secret) = self.secret(&given.source, &imported)?.filter(|_| report.status() == 0) else {
            words("It is not imported: nothing was written.");
            return Ok(ExitCode::from(report.status().max(1)));
        };
        let (secret, object) = match place {
            Some(place) => place.put(secret, object, words).await?,
            None => {
                let (from, to) = (secret.name_any(), object.name_any());
                words(&format!("It would be imported: Secret {from}, MailCertificate {to}."));
                (secret, object)
            }
        };
        if self.output == Some(Form::Yaml) {
            say(format!("{}---\n{}", yaml(&secret)?, yaml(&object)?).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn material(&self) -> Result<Material, Failure> {
        Ok(Material { files: read_files(&self.files)?, password: self.judging.password()? })
    }

    fn given(&self) -> Result<Given, Failure> {
        let mut allow: Vec<String> = self.allow.iter().map(|code| code.word().to_owned()).collect();
        allow.sort();
        allow.dedup();
        Ok(Given {
            source: self.source_name.clone().unwrap_or_else(|| format!("{}-import", self.name)),
            secret_name: self.secret_name.clone(),
            allow,
            anchors: trust_anchors(self.trust_anchors.as_deref(), &ANCHORS)?,
            dns_names: self.dns_names.clone(),
            host: self.judging.external_host()?,
            legacy: self.judging.legacy_names.clone(),
        })
    }

    /// The MailCertificate as it will be: the one that is there with what is given, or a new one.
    fn object(&self, given: &Given, known: Option<&MailCertificate>) -> Result<MailCertificate, Failure> {
        let mut object = match known {
            Some(known) => known.clone(),
            None => serde_json::from_value(json!({
                "apiVersion": "mailcert.dev/v1alpha1",
                "kind": "MailCertificate",
                "metadata": {"name": self.name, "namespace": self.cluster.namespace},
                "spec": {"import": {"secretRef": {"name": given.source}}, "secretName": format!("{}-tls", self.name)},
            }))?,
        };
        object.spec = given.on(&object.spec)?;
        Ok(object)
    }

    /// What the operator will find in it, for that spec.
    async fn judge(
        &self,
        material: &Material,
        object: &MailCertificate,
        now: Timestamp,
    ) -> Result<(Report, Imported), Failure> {
        let inputs: Vec<Input<'_>> =
            material.files.iter().map(|(name, bytes)| Input { name, bytes: bytes.as_slice() }).collect();
        let anchors = anchors_of(&object.spec)?;
        let request = Request {
            password: material.password.as_ref().map(|p| p.as_slice()),
            extra_issuers: &anchors,
            ..Request::new(&inputs)
        };
        let active = object.status.as_ref().and_then(|status| status.active.as_ref());
        let expectation = spec::expectation(&object.spec, &anchors, active, now)?;
        let (imported, findings) = self.judging.look(&request, &expectation, now).await;
        Ok((Report::new(self.files.join(", "), &imported, findings, now), imported))
    }

    /// The Secret, in PEM and without a password whatever it came in.
    fn secret(&self, name: &str, imported: &Imported) -> Result<Option<Secret>, Failure> {
        let (Some(chain), Some(key)) = (&imported.chain, &imported.key) else { return Ok(None) };
        let key: &PrivateKey = key;
        let mut data = SecretBundle::new(chain, key, &imported.ca).to_data();
        data.remove(keys::TLS_COMBINED);
        let metadata = json!({"name": name, "namespace": self.cluster.namespace, "labels": {LABEL: "true"}});
        let metadata = serde_json::from_value(metadata)?;
        let type_ = Some("kubernetes.io/tls".to_owned());
        Ok(Some(Secret { metadata, type_, data: Some(data), ..Secret::default() }))
    }
}

/// The trust anchors that a spec names.
fn anchors_of(spec: &MailCertificateSpec) -> Result<Vec<crate::pki::Certificate>, Failure> {
    let anchors = spec.import.as_ref().map(import_anchors).transpose();
    Ok(anchors.map_err(|error| format!("spec.import.trustAnchors: {error}"))?.unwrap_or_default())
}
