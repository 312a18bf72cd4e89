//! What the active Secret holds besides certificate, key and CA in PEM.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::context::Context;
use super::pass::PassError;
use crate::api::MailCertificate;
use crate::api::certificate::PasswordRef;
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::Pace;
use crate::decide::certificate::World;
use crate::decide::certificate::outputs::{listed, pair, wanted};
use crate::decide::certificate::world::{KeyPair, PasswordView, StepFailure};
use crate::pki::{Password, Written};

/// What the watch of Secrets says of the password.
pub fn password_view(context: &Context, object: &MailCertificate, namespace: &str) -> PasswordView {
    let stores = object.spec.options.outputs.pkcs12.as_ref();
    let seen = stores.and_then(|p| context.relations.secrets.get(namespace, &p.password_secret_ref.name));
    crate::decide::certificate::outputs::password_view(object, seen.map(|s| s.version))
}

/// Reads the password of the PKCS#12 stores.
pub async fn read_password(context: &Context, object: &MailCertificate) -> Result<PasswordView, PassError> {
    let Some(stores) = &object.spec.options.outputs.pkcs12 else { return Ok(PasswordView::NotWanted) };
    let (namespace, at) = (object.namespace().unwrap_or_default(), &stores.password_secret_ref);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let doing = PassError::api(format!("reading Secret {}", at.name));
    let found = api.get_opt(&at.name).await.map_err(doing)?;
    let version = found.as_ref().and_then(|s| s.resource_version());
    let password = password(at, &namespace, found.as_ref())
        .map_err(|why| format!("the PKCS#12 stores are not written, and those that there are stay as they are: {why}"));
    Ok(PasswordView::Read { version, password })
}

/// The password in a Secret, or why it cannot be had and what to do.
pub fn password(at: &PasswordRef, namespace: &str, found: Option<&Secret>) -> Result<Password, String> {
    let PasswordRef { name, key } = at;
    let Some(secret) = found else {
        return Err(format!(
            "there is no Secret {name} with their password: kubectl --namespace {namespace} create secret generic {name} \
             --from-literal={key}=…"
        ));
    };
    let data = secret.data.as_ref();
    let Some(value) = data.and_then(|d| d.get(key)) else {
        let keys: Vec<&str> = data.into_iter().flat_map(BTreeMap::keys).take(5).map(String::as_str).collect();
        let has = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        return Err(format!(
            "the Secret {name} has no key {key} (it has {has}): correct passwordSecretRef, or add the key"
        ));
    };
    Password::new(&value.0).map_err(|e| format!("the password in the Secret {name}, key {key}, cannot be used: {e}"))
}

/// What to write for a pair. The password's derivation takes much CPU.
pub async fn render(world: &World, of: &KeyPair) -> Result<Written, StepFailure> {
    let (wanted, listed, of) = (wanted(world, Some(of)), listed(&world.secret), of.clone());
    let made = tokio::task::spawn_blocking(move || wanted.write(&pair(&of), &listed)).await;
    let message = match made {
        Ok(Ok(written)) => return Ok(written),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "writing PKCS#12 stores was interrupted".to_owned(),
    };
    Err(StepFailure {
        pace: Pace::Person,
        reason: reason::SIGNING_FAILED,
        message,
        retry_after: None,
        order_lost: false,
    })
}

/// Whether the Secret holds what would be written for its pair now.
pub async fn is_current(world: &World, secret: Arc<Secret>, of: &KeyPair) -> bool {
    let (wanted, of) = (wanted(world, Some(of)), of.clone());
    let look = move || {
        let data = secret.data.as_ref().cloned().unwrap_or_default();
        wanted.is_current(&pair(&of), &data, secret.annotations())
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn said(found: Option<&[(&str, &str)]>) -> String {
        let at = PasswordRef { name: "store".to_owned(), key: "password".to_owned() };
        let data = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect()
        };
        let secret = found.map(|pairs| Secret { data: Some(data(pairs)), ..Secret::default() });
        password(&at, "post", secret.as_ref()).map_or_else(|e| e, |p| format!("{p:?}"))
    }

    #[test]
    fn a_password_is_taken_or_it_says_what_to_do() {
        assert_eq!(said(Some(&[("password", "changeit")])), "Password(..)");
        assert_eq!(
            said(None),
            "there is no Secret store with their password: kubectl --namespace post create secret generic store \
             --from-literal=password=…"
        );
        assert_eq!(
            said(Some(&[("pass", "x"), ("user", "y")])),
            "the Secret store has no key password (it has pass, user): correct passwordSecretRef, or add the key"
        );
        assert_eq!(
            said(Some(&[])),
            "the Secret store has no key password (it has nothing): correct passwordSecretRef, or add the key"
        );
        let cannot = "the password in the Secret store, key password, cannot be used: ";
        assert_eq!(said(Some(&[("password", "")])), format!("{cannot}it is empty"));
        assert_eq!(
            said(Some(&[("password", "pässwörd")])),
            format!(
                "{cannot}it has characters other than letters, digits, punctuation and spaces of ASCII, which Java cannot read"
            )
        );
        assert_eq!(
            said(Some(&[("password", "changeit\n")])),
            format!(
                "{cannot}it ends with a line end: write it without one (kubectl create secret --from-literal, or printf \
                 instead of echo)"
            )
        );
    }
}
