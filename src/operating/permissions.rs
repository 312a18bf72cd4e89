//! Asks the API server at start what the operator may do, so that a missing permission is one clear line in the log
//! and not a failed renewal weeks later.

use std::fmt;

use futures::{StreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};

/// Reviews under way at once.
const CONCURRENCY: usize = 8;

/// A permission that a feature needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Needed {
    /// Verb, as RBAC names it.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, plural.
    pub resource: &'static str,
    /// Subresource; empty for the resource itself.
    pub subresource: &'static str,
    /// The one object of the resource; `None` for all of them.
    pub name: Option<String>,
    /// Namespace; `None` for all of them (or for a resource that has none).
    pub namespace: Option<String>,
    /// What does not work without it, for people: `reload by exec`.
    pub feature: &'static str,
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, " ({})", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " named {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in the namespace {namespace}"),
            None => write!(f, " in all namespaces"),
        }
    }
}

impl Needed {
    /// The RBAC rule that grants it and where it belongs.
    pub fn grant(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let name = self.name.iter().map(|name| format!(", resourceNames: [{name:?}]")).collect::<String>();
        let rule = format!(
            "{{apiGroups: [{:?}], resources: [\"{}{slash}{}\"]{name}, verbs: [{:?}]}}",
            self.group, self.resource, self.subresource, self.verb
        );
        match &self.namespace {
            Some(namespace) => format!("{rule} in a Role bound in {namespace}"),
            None => format!("{rule} in a ClusterRole bound with a ClusterRoleBinding"),
        }
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        let attributes = ResourceAttributes {
            verb: Some(self.verb.to_owned()),
            group: some(self.group),
            resource: Some(self.resource.to_owned()),
            subresource: some(self.subresource),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        SelfSubjectAccessReview { spec, ..Default::default() }
    }
}

/// What the API server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Permissions that are missing, in the order asked.
    pub missing: Vec<Needed>,
    /// Why some could not be asked about; `None` when all were. Those count as granted: the operator then learns of a
    /// missing one when it needs it.
    pub unknown: Option<String>,
}

/// Asks whether each of `needed` is granted.
pub async fn review(client: &Client, needed: &[Needed]) -> Review {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answers: Vec<_> = stream::iter(needed.iter().cloned())
        .map(|need| {
            let api = api.clone();
            async move {
                let answer = api.create(&PostParams::default(), &need.review()).await;
                (need, answer)
            }
        })
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut review = Review::default();
    for (need, answer) in answers {
        match answer {
            Ok(answer) if answer.status.as_ref().is_some_and(|s| s.allowed) => {}
            Ok(_) => review.missing.push(need),
            Err(error) => review.unknown = Some(error.to_string()),
        }
    }
    review
}

/// Logs one line per missing permission: which, what suffers, what to grant.
pub fn report_missing(review: &Review) {
    for need in &review.missing {
        tracing::warn!(permission = %need, feature = need.feature, grant = need.grant(), "a permission is missing");
    }
    if let Some(reason) = &review.unknown {
        tracing::warn!(
            reason,
            "the API server does not say which permissions the operator has; a missing one shows when it is needed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(group: &'static str, resource: &'static str, subresource: &'static str, namespace: Option<&str>) -> Needed {
        Needed {
            verb: "create",
            group,
            resource,
            subresource,
            name: None,
            namespace: namespace.map(str::to_owned),
            feature: "reload by exec",
        }
    }

    #[test]
    fn a_permission_reads_as_a_sentence_and_as_a_rule() {
        let exec = need("", "pods", "exec", Some("mail"));
        assert_eq!(exec.to_string(), "create pods/exec in the namespace mail");
        assert_eq!(
            exec.grant(),
            r#"{apiGroups: [""], resources: ["pods/exec"], verbs: ["create"]} in a Role bound in mail"#
        );
        let lease = Needed { name: Some("mailcert".into()), ..need("coordination.k8s.io", "leases", "", Some("ops")) };
        assert_eq!(lease.to_string(), "create leases (coordination.k8s.io) named mailcert in the namespace ops");
        assert_eq!(
            lease.grant(),
            r#"{apiGroups: ["coordination.k8s.io"], resources: ["leases"], resourceNames: ["mailcert"], verbs: ["create"]} in a Role bound in ops"#
        );
        assert_eq!(lease.review().spec.resource_attributes.unwrap().name.as_deref(), Some("mailcert"));
        let requests = need("cert-manager.io", "certificaterequests", "", None);
        assert_eq!(requests.to_string(), "create certificaterequests (cert-manager.io) in all namespaces");
        assert_eq!(
            requests.grant(),
            r#"{apiGroups: ["cert-manager.io"], resources: ["certificaterequests"], verbs: ["create"]} in a ClusterRole bound with a ClusterRoleBinding"#
        );
    }

    #[test]
    fn a_review_asks_for_exactly_the_permission() {
        let asked = need("", "pods", "exec", Some("mail")).review().spec.resource_attributes.unwrap();
        assert_eq!((asked.group, asked.subresource.as_deref()), (None, Some("exec")));
        assert_eq!((asked.verb.as_deref(), asked.namespace.as_deref()), (Some("create"), Some("mail")));
    }
}
