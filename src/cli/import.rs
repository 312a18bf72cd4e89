//! `mailcert import FILE…`: a certificate that others made becomes a Secret and a MailCertificate.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::cluster::ClusterArgs;
use super::crds::yaml;
use super::inspect::{Report, UNREADABLE};
use super::judging::{Judging, most, read_file};
use super::{Failure, say};
use crate::api::{MailCertificate, keys};
use crate::pki::import::{Code, Imported, Input, Request};
use crate::pki::{PrivateKey, SecretBundle};

/// Label on the Secrets that this command makes: it writes no others.
const LABEL: &str = "mailcert.dev/imported";

/// What to import, and as what.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// Files that belong together: PEM, DER or PKCS#12
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Name of the MailCertificate
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The Secret that pods will mount [default: NAME-tls]
    #[arg(long, value_name = "NAME")]
    secret_name: Option<String>,
    /// The Secret to keep the import in [default: NAME-import]
    #[arg(long, value_name = "NAME")]
    source_name: Option<String>,
    /// DNS name that the certificate must cover; may be given several times
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// A finding that shall not stop it, by its code; may be given several times
    #[arg(long, value_name = "CODE", value_parser = code)]
    allow: Vec<Code>,
    #[command(flatten)]
    judging: Judging,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the objects, with the private key, in place of words
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
    Code::of(word).ok_or_else(|| "it is no code of a finding, such as NotTrusted".to_owned())
}

/// Imports, and tells by the exit status: 0 done, 1 refused, 2 the input cannot be read.
pub fn run(command: &Import) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let judged = runtime.block_on(command.judge(Timestamp::now()));
    let (report, objects) = match judged {
        Ok(judged) => judged,
        Err(error) => {
            super::complain(&*error);
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    // A manifest is for programs, and has nothing else around it.
    if command.output.is_none() || report.status() != 0 {
        report.print(false)?;
    }
    let Some((secret, object)) = objects.filter(|_| report.status() == 0) else {
        say("It is not imported: nothing was written.");
        return Ok(ExitCode::from(report.status().max(1)));
    };
    if command.output == Some(Form::Yaml) {
        say(&format!("{}---\n{}", yaml(&secret)?, yaml(&object)?));
    }
    if command.dry_run {
        if command.output.is_none() {
            let (from, to) = (secret.name_any(), object.name_any());
            say(&format!("It would be imported: Secret {from}, MailCertificate {to}."));
        }
        return Ok(ExitCode::SUCCESS);
    }
    // A runtime of its own: the first one ends here.
    drop(runtime);
    command.cluster.run(async |client, namespace| put(client, &namespace, secret, object).await)?;
    Ok(ExitCode::SUCCESS)
}

impl Import {
    /// What was found, and what to make of it where that is possible.
    async fn judge(&self, now: Timestamp) -> Result<(Report, Option<(Secret, MailCertificate)>), Failure> {
        let read = |name: &String| Ok((name.clone(), read_file(Path::new(name), most())?));
        let files = self.files.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        let inputs: Vec<Input<'_>> =
            files.iter().map(|(name, bytes)| Input { name, bytes: bytes.as_slice() }).collect();
        let (password, extra) = (self.judging.password()?, self.judging.anchors()?);
        let mut expectation = self.judging.expectation(&self.dns_names)?;
        expectation.allow.clone_from(&self.allow);
        let request = Request {
            password: password.as_ref().map(|p| p.as_slice()),
            extra_issuers: &extra,
            ..Request::new(&inputs)
        };
        let (imported, findings) = self.judging.look(&request, &expectation, now).await;
        let objects = self.objects(&imported)?;
        Ok((Report::new(self.files.join(", "), imported, findings, now), objects))
    }

    /// The Secret, in PEM and without a password whatever it came in, and the MailCertificate that takes it in.
    fn objects(&self, imported: &Imported) -> Result<Option<(Secret, MailCertificate)>, Failure> {
        let (Some(chain), Some(key)) = (&imported.chain, &imported.key) else { return Ok(None) };
        let key: &PrivateKey = key;
        let mut data = SecretBundle::new(chain, key, &imported.ca).to_data();
        data.remove(keys::TLS_COMBINED);
        let source = self.source_name.clone().unwrap_or_else(|| format!("{}-import", self.name));
        let secret = source_secret(&source, self.cluster.namespace.as_deref(), data)?;
        let mut import = json!({"secretRef": {"name": source}});
        if !self.allow.is_empty() {
            import["allow"] = json!(self.allow.iter().map(Code::word).collect::<Vec<_>>());
        }
        let anchors: String = self.judging.anchors()?.iter().map(|c| c.to_pem()).collect();
        if !anchors.is_empty() {
            import["trustAnchors"] = json!(anchors);
        }
        let mut dns_names = self.dns_names.clone();
        dns_names.extend(self.judging.external_host()?.filter(|host| !dns_names.contains(host)));
        let object = json!({
            "apiVersion": "mailcert.dev/v1alpha1",
            "kind": "MailCertificate",
            "metadata": {"name": self.name, "namespace": self.cluster.namespace},
            "spec": {
                "import": import,
                "secretName": self.secret_name.clone().unwrap_or_else(|| format!("{}-tls", self.name)),
                "dnsNames": dns_names,
            },
        });
        Ok(Some((secret, serde_json::from_value(object)?)))
    }
}

fn source_secret(name: &str, namespace: Option<&str>, data: BTreeMap<String, ByteString>) -> Result<Secret, Failure> {
    let metadata = json!({"name": name, "namespace": namespace, "labels": {LABEL: "true"}});
    let metadata = serde_json::from_value(metadata)?;
    Ok(Secret { metadata, type_: Some("kubernetes.io/tls".to_owned()), data: Some(data), ..Secret::default() })
}

/// Makes both, or replaces what an earlier import made: the operator sees the new content, and makes a revision of it.
async fn put(client: Client, namespace: &str, secret: Secret, object: MailCertificate) -> Result<(), Failure> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let objects: Api<MailCertificate> = Api::namespaced(client, namespace);
    let (source, name) = (secret.name_any(), object.name_any());
    let (present, known) = (secrets.get_opt(&source).await?, objects.get_opt(&name).await?);
    refusal(present.as_ref(), known.as_ref(), &source)?;
    match present {
        Some(present) => {
            // What the earlier one had and this one lacks goes.
            let stale = present.data.iter().flatten().map(|(key, _)| (key.clone(), json!(null)));
            let mut data: serde_json::Map<_, _> = stale.collect();
            data.extend(secret.data.iter().flatten().map(|(key, value)| (key.clone(), json!(value))));
            let metadata = json!({"resourceVersion": present.resource_version()});
            let patch = json!({"metadata": metadata, "data": data});
            secrets.patch(&source, &PatchParams::default(), &Patch::Merge(patch)).await?;
            say(&format!("Secret {namespace}/{source} has the new certificate"));
        }
        None => {
            secrets.create(&PostParams::default(), &secret).await?;
            say(&format!("Secret {namespace}/{source} created"));
        }
    }
    match known {
        Some(_) => say(&format!("MailCertificate {namespace}/{name} takes it in")),
        None => {
            objects.create(&PostParams::default(), &object).await?;
            say(&format!("MailCertificate {namespace}/{name} created"));
        }
    }
    Ok(())
}

/// Why what is there must not be written.
fn refusal(secret: Option<&Secret>, object: Option<&MailCertificate>, source: &str) -> Result<(), Failure> {
    if secret.is_some_and(|s| !s.labels().contains_key(LABEL)) {
        return Err(format!(
            "the Secret {source} exists and was not made by an import: choose another with --source-name"
        )
        .into());
    }
    let takes_it = |o: &MailCertificate| o.spec.import.as_ref().is_some_and(|i| i.secret_ref.name == source);
    match object.filter(|o| !takes_it(o)) {
        Some(other) => Err(format!(
            "MailCertificate {} exists and does not import from the Secret {source}: choose another --name",
            other.name_any()
        )
        .into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::pki::{KeySpec, LeafSpec, SubjectSpec, Usage, self_signed};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        import: Import,
    }

    fn command(arguments: &[&str]) -> Import {
        Line::try_parse_from([&["import"], arguments].concat()).unwrap().import
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A self-signed certificate and its key in a PEM file.
    fn file(dir: &Path) -> String {
        let key = PrivateKey::generate(&KeySpec::P256).unwrap();
        let subject = SubjectSpec { dns_names: vec!["mail.example.com".to_owned()], ..SubjectSpec::default() };
        let (not_before, not_after) = (at("2030-01-01T00:00:00Z"), at("2030-04-01T00:00:00Z"));
        let spec = LeafSpec { subject, usages: vec![Usage::ServerAuth], not_before, not_after, serial: None };
        let bundle = SecretBundle::new(&self_signed(&key, &spec).unwrap(), &key, &[]);
        let path = dir.join("all.pem");
        std::fs::write(&path, bundle.tls_combined.as_bytes()).unwrap();
        path.display().to_string()
    }

    fn judge(command: &Import) -> (Report, Option<(Secret, MailCertificate)>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(command.judge(at("2030-01-15T00:00:00Z"))).unwrap()
    }

    #[test]
    fn what_would_not_become_active_is_refused_unless_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        let (report, _) = judge(&command(&[&file, "--name", "mail"]));
        assert_eq!(report.status(), 1, "nobody trusts it");
        let url = "--external-url=https://mail.example.com/";
        let (report, objects) = judge(&command(&[&file, "--name", "mail", url, "--allow", "NotTrusted"]));
        assert_eq!(report.status(), 0);
        let (secret, object) = objects.unwrap();
        assert_eq!(secret.name_any(), "mail-import");
        assert_eq!(
            secret.data.unwrap().into_keys().take(3).filter(|k| k != "ca.crt").collect::<Vec<_>>(),
            ["tls.crt", "tls.key"]
        );
        let import = object.spec.import.clone().unwrap();
        assert_eq!((import.secret_ref.name.as_str(), import.allow), ("mail-import", vec!["NotTrusted".to_owned()]));
        assert_eq!(
            (object.spec.secret_name.as_str(), object.spec.dns_names),
            ("mail-tls", vec!["mail.example.com".to_owned()])
        );
        let other = "--external-url=https://imap.example.com/";
        assert_eq!(judge(&command(&[&file, "--name", "mail", other, "--allow", "NotTrusted"])).0.status(), 1);
    }

    #[test]
    fn what_is_no_certificate_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noise");
        std::fs::write(&path, "noise").unwrap();
        let (report, objects) = judge(&command(&[&path.display().to_string(), "--name", "mail"]));
        assert_eq!((report.status(), objects.is_none()), (2, true));
    }

    #[test]
    fn what_others_made_is_left_alone() {
        let secret = |labels: serde_json::Value| -> Secret {
            serde_json::from_value(json!({"metadata": {"name": "mail-import", "labels": labels}})).unwrap()
        };
        let object = |spec: serde_json::Value| -> MailCertificate {
            let mut spec = spec;
            spec["secretName"] = json!("mail-tls");
            serde_json::from_value(json!({"apiVersion": "mailcert.dev/v1alpha1", "kind": "MailCertificate",
                "metadata": {"name": "mail"}, "spec": spec}))
            .unwrap()
        };
        let error = |secret: Option<&Secret>, object: Option<&MailCertificate>| {
            refusal(secret, object, "mail-import").map_err(|e| e.to_string())
        };
        let (foreign, ours) = (secret(json!({})), secret(json!({LABEL: "true"})));
        let issued = object(json!({"issuerRef": {"name": "ca"}, "dnsNames": ["mail.example.com"]}));
        let imported = object(json!({"import": {"secretRef": {"name": "mail-import"}}}));
        assert_eq!(
            error(Some(&foreign), None).unwrap_err(),
            "the Secret mail-import exists and was not made by an import: choose another with --source-name"
        );
        assert_eq!(
            error(Some(&ours), Some(&issued)).unwrap_err(),
            "MailCertificate mail exists and does not import from the Secret mail-import: choose another --name"
        );
        assert_eq!(error(None, None), Ok(()));
        assert_eq!(error(Some(&ours), Some(&imported)), Ok(()));
    }
}
