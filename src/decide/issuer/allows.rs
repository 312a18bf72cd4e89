//! Who may refer to an issuer.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt};

use crate::api::issuer::{MailIssuer, NamespacesFrom};

/// Whether a MailCertificate of the namespace `from` may use an issuer of the namespace `issuer_namespace`. An issuer's
/// own namespace always may. `labels` are those of the namespace `from`; `None` when they are not known.
///
/// # Errors
/// Says why not, and what to change.
pub fn allows(
    issuer: &MailIssuer,
    issuer_namespace: &str,
    from: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), String> {
    if issuer_namespace == from {
        return Ok(());
    }
    let name = format!("MailIssuer {issuer_namespace}/{}", issuer.metadata.name.as_deref().unwrap_or_default());
    let allowed = &issuer.spec.allowed_namespaces;
    match allowed.from {
        NamespacesFrom::All => Ok(()),
        NamespacesFrom::Same => Err(format!(
            "{name} allows its own namespace only; set spec.allowedNamespaces there, \
             or make a MailIssuer in namespace {from}"
        )),
        NamespacesFrom::Selector => {
            let selector = Selector::try_from(allowed.selector.clone().unwrap_or_default())
                .map_err(|e| format!("spec.allowedNamespaces.selector of {name} cannot be used: {e}"))?;
            let Some(labels) = labels else {
                return Err(format!(
                    "{name} allows namespaces by their labels, and the labels of namespace {from} are not known: \
                     the operator may not read Namespaces, or has not read this one yet"
                ));
            };
            if selector.matches(labels) {
                return Ok(());
            }
            Err(format!(
                "the labels of namespace {from} do not match spec.allowedNamespaces.selector of {name} ({selector})"
            ))
        }
    }
}
