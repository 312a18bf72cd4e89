//! `mailcert export NAME`: key and certificate as files, for what cannot mount a Secret.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::cluster::ClusterArgs;
use super::judging::read_password;
use super::{Failure, say};
use crate::api::MailCertificate;
use crate::pki::{ParsedBundle, Password, Profile, SecretBundle, keystore};

/// What to write, and where.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// A MailCertificate, or a Secret as secret/NAME
    #[arg(value_name = "NAME|secret/NAME")]
    what: String,
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// File with the password of the .p12; a line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How the .p12 is encrypted
    #[arg(long, value_enum, default_value = "Modern2023")]
    profile: ProfileArg,
    /// Write the private key as .key, too, without a password
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How a PKCS#12 store is encrypted.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ProfileArg {
    /// AES-256 with HMAC-SHA-256
    #[value(name = "Modern2023")]
    Modern2023,
    /// Triple DES with HMAC-SHA-1, for old programs
    #[value(name = "LegacyDES")]
    LegacyDes,
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Self {
        match arg {
            ProfileArg::Modern2023 => Self::Modern2023,
            ProfileArg::LegacyDes => Self::LegacyDes,
        }
    }
}

/// Exports.
pub fn run(command: &Export) -> Result<(), Failure> {
    // Before anything is asked of the cluster: what is wrong here is told at once.
    let password = command.password_file.as_deref().map(password).transpose()?;
    if password.is_none() && !command.key {
        return Err(
            "there is nothing secret to write: give the .p12 a password with --password-file, or ask for the key \
                    without one with --key"
                .into(),
        );
    }
    command.cluster.run(async |client, namespace| {
        let (name, bundle) = look(client, &namespace, &command.what).await?;
        if !bundle.key_matches {
            return Err(format!("the key and the certificate in {} do not belong together", command.what).into());
        }
        let password = password.as_ref().map(|p| (p, command.profile.into()));
        let files = files(&name, &bundle, password, command.key)?;
        for path in write(&command.out, &files)? {
            say(&path.display().to_string());
        }
        Ok(())
    })
}

/// The password of the stores to write.
fn password(path: &Path) -> Result<Password, Failure> {
    let bytes = read_password(path)?;
    Password::new(&bytes).map_err(|e| format!("the password in {} cannot be used: {e}", path.display()).into())
}

/// The name for the files, and what the Secret holds.
async fn look(client: Client, namespace: &str, what: &str) -> Result<(String, ParsedBundle), Failure> {
    let (name, secret) = match what.strip_prefix("secret/") {
        Some(secret) => (secret.to_owned(), secret.to_owned()),
        None => {
            let api: Api<MailCertificate> = Api::namespaced(client.clone(), namespace);
            let object = api.get_opt(what).await?;
            let object =
                object.ok_or_else(|| format!("there is no MailCertificate {what} in namespace {namespace}"))?;
            if object.status.as_ref().is_none_or(|s| s.active.is_none()) {
                return Err(format!("MailCertificate {what} has no certificate yet").into());
            }
            (what.to_owned(), object.spec.secret_name)
        }
    };
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let found = api.get_opt(&secret).await?;
    let found = found.ok_or_else(|| format!("there is no Secret {secret} in namespace {namespace}"))?;
    let bundle = SecretBundle::parse(&found.data.unwrap_or_default()).map_err(|e| format!("Secret {secret}: {e}"))?;
    Ok((name, bundle))
}

/// A file to write.
struct Output {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
    secret: bool,
}

/// Names carry the serial number, so that those of another certificate are others.
fn files(
    name: &str,
    bundle: &ParsedBundle,
    password: Option<(&Password, Profile)>,
    key: bool,
) -> Result<Vec<Output>, Failure> {
    let serial: String = bundle.chain.leaf().serial.chars().filter(char::is_ascii_hexdigit).collect();
    let output = |end: &str, bytes: Vec<u8>, secret| Output {
        name: format!("{name}-{serial}.{end}"),
        bytes: Zeroizing::new(bytes),
        secret,
    };
    let mut files = vec![output("crt", bundle.chain.to_pem().into_bytes(), false)];
    if let Some((password, profile)) = password {
        files.push(output("p12", keystore(&bundle.key, &bundle.chain, password, profile)?, true));
    }
    if key {
        files.push(output("key", bundle.key.to_pkcs8_pem().as_bytes().to_vec(), true));
    }
    Ok(files)
}

/// Writes all of them, or none. A file that exists is never touched.
fn write(folder: &Path, files: &[Output]) -> Result<Vec<PathBuf>, Failure> {
    fs::create_dir_all(folder).map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        let mode = if file.secret { 0o600 } else { 0o644 };
        let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let result = made.and_then(|mut made| {
            written.push(path.clone());
            made.write_all(&file.bytes)?;
            made.sync_all()
        });
        if let Err(e) = result {
            for path in &written {
                let _ = fs::remove_file(path);
            }
            let path = path.display();
            return Err(match e.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    format!("{path} exists, and is not written over: move it away, or choose another folder with --out")
                }
                _ => format!("cannot write {path}: {e}"),
            }
            .into());
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pki::{KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage, self_signed};

    fn bundle() -> ParsedBundle {
        let key = PrivateKey::generate(&KeySpec::P256).unwrap();
        let subject = SubjectSpec { dns_names: vec!["mail.example.com".to_owned()], ..SubjectSpec::default() };
        let (not_before, not_after) =
            ("2030-01-01T00:00:00Z".parse().unwrap(), "2030-04-01T00:00:00Z".parse().unwrap());
        let spec = LeafSpec { subject, usages: vec![Usage::ServerAuth], not_before, not_after, serial: None };
        let chain = self_signed(&key, &spec).unwrap();
        SecretBundle::parse(&SecretBundle::new(&chain, &key, &[]).to_data()).unwrap()
    }

    #[test]
    fn files_are_private_unique_and_never_written_over() {
        let (dir, bundle) = (tempfile::tempdir().unwrap(), bundle());
        let password = Password::new(b"1234").unwrap();
        let all = files("mail", &bundle, Some((&password, Profile::Modern2023)), true).unwrap();
        let out = dir.path().join("new");
        let written = write(&out, &all).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let ends: Vec<_> = written.iter().map(|p| (p.extension().unwrap().to_str().unwrap(), mode(p))).collect();
        assert_eq!(ends[1..], [("p12", 0o600), ("key", 0o600)]);
        assert_eq!(ends[0].0, "crt");
        assert!(written[1].file_name().unwrap().to_str().unwrap().contains(&bundle.chain.leaf().serial));

        // One that exists stops all of them.
        fs::remove_file(&written[0]).unwrap();
        fs::write(&written[2], "mine").unwrap();
        fs::remove_file(&written[1]).unwrap();
        let error = write(&out, &all).unwrap_err().to_string();
        let path = written[2].display();
        let told = format!("{path} exists, and is not written over: move it away, or choose another folder with --out");
        assert_eq!(error, told);
        assert_eq!(fs::read_to_string(&written[2]).unwrap(), "mine");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "nothing half done is left");
    }

    #[test]
    fn without_key_and_password_there_is_only_the_certificate() {
        let bundle = bundle();
        let names: Vec<_> = files("mail", &bundle, None, false).unwrap().into_iter().map(|f| f.name).collect();
        assert_eq!(names, [format!("mail-{}.crt", bundle.chain.leaf().serial)]);
    }

    #[test]
    fn a_password_must_be_one_that_all_can_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        fs::write(&path, "\n").unwrap();
        let error = password(&path).unwrap_err().to_string();
        assert_eq!(error, format!("the password in {} cannot be used: it is empty", path.display()));
    }
}
