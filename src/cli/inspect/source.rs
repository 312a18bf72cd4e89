//! Where the bytes to inspect come from.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use zeroize::Zeroizing;

use super::{Inspect, endpoint};
use crate::cli::Failure;
use crate::cli::judging::{Named, read_files};
use crate::pki::import::conventional;
use crate::probes::{Limits, Sighting, Target, look};

/// What is meant by the arguments.
pub(super) enum Source {
    Files(Vec<String>),
    Secret(String),
    Endpoint(Box<Target>),
}

/// What was found there.
pub(super) enum Taken {
    Inputs(Vec<Named>),
    Served(Sighting),
}

impl Source {
    /// A file that exists is a file; then `secret/NAME`; then `HOST:PORT`.
    ///
    /// # Errors
    /// The endpoint makes no sense, or an option does not go with what is inspected.
    pub fn of(arguments: &Inspect) -> Result<Self, Failure> {
        let source = Self::named(arguments)?;
        let judging = &arguments.judging;
        let misplaced = match source {
            Self::Endpoint(_) if judging.fetch_issuers => {
                "--fetch-issuers goes with files and Secrets: a server has to send its issuers itself, and one that it does not \
                 send is a finding"
            }
            Self::Endpoint(_) if judging.password_file.is_some() => {
                "--password-file goes with files and Secrets: what a server serves is not encrypted"
            }
            Self::Files(_) | Self::Secret(_) if arguments.protocol.is_some() => {
                "--protocol goes with HOST:PORT, which is none of the arguments; a file of that name would be taken first"
            }
            source => return Ok(source),
        };
        Err(misplaced.into())
    }

    fn named(arguments: &Inspect) -> Result<Self, Failure> {
        if let Some(name) = &arguments.secret {
            return Ok(Self::Secret(name.clone()));
        }
        if let [one] = &arguments.input[..]
            && !Path::new(one).exists()
        {
            if let Some(name) = one.strip_prefix("secret/") {
                return Ok(Self::Secret(name.to_owned()));
            }
            if let Some(target) = endpoint::target(one, arguments.protocol)? {
                return Ok(Self::Endpoint(Box::new(target)));
            }
        }
        Ok(Self::Files(arguments.input.clone()))
    }

    /// How the report calls it.
    pub fn label(&self) -> String {
        match self {
            Self::Files(files) => files.join(", "),
            Self::Secret(name) => format!("secret/{name}"),
            Self::Endpoint(target) => format!("{}:{}", target.host, target.port),
        }
    }

    /// The host of an endpoint.
    pub fn host(&self) -> &str {
        match self {
            Self::Endpoint(target) => &target.host,
            Self::Files(_) | Self::Secret(_) => "",
        }
    }

    pub async fn take(&self, arguments: &Inspect) -> Result<Taken, Failure> {
        match self {
            Self::Files(files) => Ok(Taken::Inputs(read_files(files)?)),
            Self::Secret(name) => Ok(Taken::Inputs(secret(name, arguments).await?)),
            Self::Endpoint(target) => {
                let sighting = look(target, &Limits::default()).await;
                Ok(Taken::Served(sighting.map_err(|error| format!("{}: {error}", self.label()))?))
            }
        }
    }
}

async fn secret(name: &str, arguments: &Inspect) -> Result<Vec<Named>, Failure> {
    let (client, namespace) = arguments.cluster.connect().await?;
    let secret = Api::<Secret>::namespaced(client, &namespace).get_opt(name).await?;
    let secret = secret.ok_or_else(|| format!("there is no Secret {name} in the namespace {namespace}"))?;
    let mut data = secret.data.unwrap_or_default();
    let wanted: Vec<String> = conventional(data.keys().map(String::as_str)).into_iter().map(str::to_owned).collect();
    if wanted.is_empty() {
        let keys: Vec<String> = data.into_keys().collect();
        return Err(format!(
            "no key of the Secret {name} has the name of a certificate or a key (tls.crt, tls.key, *.p12, …); it has {}",
            if keys.is_empty() { "none at all".to_owned() } else { keys.join(", ") }
        )
        .into());
    }
    Ok(wanted.into_iter().filter_map(|key| Some((key.clone(), Zeroizing::new(data.remove(&key)?.0)))).collect())
}
