//! CA key pairs of `ca` issuers, read once for each resourceVersion of their Secret.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;

use super::context::{Context, Memory};
use super::index::Key;
use super::pass::PassError;
use crate::api::keys;
use crate::pki::CaKeyPair;

/// Parsed CA key pairs with the resourceVersion that they were read at.
pub type Authorities = Memory<(String, Arc<CaKeyPair>)>;

/// The CA key pair in a Secret.
///
/// # Errors
/// The outer error: it could not be read. The inner one: what is wrong with it.
pub async fn authority(
    context: &Context,
    secret: &Key,
    now: Timestamp,
) -> Result<Result<Arc<CaKeyPair>, String>, PassError> {
    let version = context.relations.secrets.get(&secret.0, &secret.1).map(|m| m.version);
    let cached = context.authorities.get(secret).filter(|(at, _)| Some(at) == version.as_ref());
    let ca = match cached {
        Some((_, ca)) => ca,
        None => match read(context, secret, now).await? {
            Ok((version, ca)) => {
                context.authorities.set(secret.clone(), (version, ca.clone()));
                ca
            }
            Err(why) => {
                context.authorities.forget(secret);
                return Ok(Err(why));
            }
        },
    };
    let until = ca.certificate().not_after;
    Ok(if until <= now { Err(format!("the CA certificate expired at {until}")) } else { Ok(ca) })
}

async fn read(
    context: &Context,
    key: &Key,
    now: Timestamp,
) -> Result<Result<(String, Arc<CaKeyPair>), String>, PassError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &key.0);
    let doing = format!("reading Secret {}/{}", key.0, key.1);
    let Some(secret) = api.get_opt(&key.1).await.map_err(PassError::api(doing))? else {
        return Ok(Err(format!("the Secret {} does not exist", key.1)));
    };
    let data = secret.data.unwrap_or_default();
    let value = |name: &str| data.get(name).map(|v| v.0.as_slice());
    let (Some(certificate), Some(private)) = (value(keys::TLS_CRT), value(keys::TLS_KEY)) else {
        return Ok(Err(format!("the Secret {} lacks tls.crt or tls.key", key.1)));
    };
    let version = secret.metadata.resource_version.unwrap_or_default();
    Ok(CaKeyPair::from_pem(certificate, private, value(keys::CA_CRT), now)
        .map(|ca| (version, Arc::new(ca)))
        .map_err(|e| format!("the Secret {}: {e}", key.1)))
}
