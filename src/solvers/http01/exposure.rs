//! Builds the objects that bring a CA's request for a challenge to the operator's Service. Pure.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    ServiceBackendPort,
};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ObjectMeta};
use serde_json::{Value, json};

use super::PATH_PREFIX;

/// The label with the certificate's name is shortened by [`label_value`] where it has to be.
pub use crate::api::keys::{MANAGED_BY, OWNER as CERTIFICATE_NAME, OWNER_NAMESPACE as CERTIFICATE_NAMESPACE};
/// The annotation with the certificate's `namespace/name` in full.
pub const CERTIFICATE: &str = "mailcert.dev/certificate";

/// One challenge to expose and where it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The MailCertificate's namespace.
    pub certificate_namespace: String,
    /// The MailCertificate's name.
    pub certificate_name: String,
    /// The name the CA asks.
    pub host: String,
    /// The challenge's token.
    pub token: String,
    /// The operator's namespace: a backend cannot be in another one than the object.
    pub namespace: String,
    /// The operator's Service.
    pub service_name: String,
    /// The port of that Service, 1 to 65535.
    pub service_port: u16,
}

/// A Gateway (or one listener of it) that an HTTPRoute attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// The Gateway's namespace; the route's own when absent.
    pub namespace: Option<String>,
    /// The Gateway's name.
    pub name: String,
    /// The listener; every one that allows the route when absent.
    pub section_name: Option<String>,
}

/// The Ingress for a challenge. `annotations` are the solver's, for settings of the ingress controller.
pub fn ingress(exposure: &Exposure, class_name: Option<&str>, annotations: &BTreeMap<String, String>) -> Ingress {
    let backend = IngressServiceBackend {
        name: exposure.service_name.clone(),
        port: Some(ServiceBackendPort { number: Some(exposure.service_port.into()), name: None }),
    };
    let path = HTTPIngressPath {
        path: Some(exposure.path()),
        path_type: "Exact".into(),
        backend: IngressBackend { service: Some(backend), resource: None },
    };
    let rule =
        IngressRule { host: Some(exposure.host.clone()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) };
    let mut metadata = exposure.metadata();
    metadata.annotations.get_or_insert_default().extend(annotations.clone());
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: class_name.map(String::from),
            rules: Some(vec![rule]),
            ..IngressSpec::default()
        }),
        status: None,
    }
}

/// The API of HTTPRoute, `gateway.networking.k8s.io/v1`.
pub fn http_route_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"))
}

/// The HTTPRoute for a challenge, attached to `parents`.
pub fn http_route(exposure: &Exposure, parents: &[ParentRef]) -> DynamicObject {
    let parents: Vec<Value> = parents.iter().map(parent_ref).collect();
    let mut route = DynamicObject::new(&exposure.object_name(), &http_route_resource());
    route.metadata = exposure.metadata();
    route.data = json!({"spec": {
        "parentRefs": parents,
        "hostnames": [exposure.host],
        "rules": [{
            "matches": [{"path": {"type": "Exact", "value": exposure.path()}}],
            "backendRefs": [{"name": exposure.service_name, "port": exposure.service_port}],
        }],
    }});
    route
}

fn parent_ref(parent: &ParentRef) -> Value {
    let mut value = json!({"name": parent.name});
    if let Some(namespace) = &parent.namespace {
        value["namespace"] = json!(namespace);
    }
    if let Some(section) = &parent.section_name {
        value["sectionName"] = json!(section);
    }
    value
}

impl Exposure {
    /// The object's name: the same for the same certificate and host, whatever the token.
    pub fn object_name(&self) -> String {
        let parts = [&self.certificate_namespace, &self.certificate_name, &self.host];
        format!("mailcert-http01-{}", short_hash(&parts.map(String::as_str)))
    }

    fn path(&self) -> String {
        format!("{PATH_PREFIX}{}", self.token)
    }

    fn metadata(&self) -> ObjectMeta {
        let certificate = format!("{}/{}", self.certificate_namespace, self.certificate_name);
        ObjectMeta {
            name: Some(self.object_name()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels(&self.certificate_namespace, &self.certificate_name)),
            annotations: Some(BTreeMap::from([(CERTIFICATE.into(), certificate)])),
            ..ObjectMeta::default()
        }
    }
}

/// The labels by which every object made for a certificate's challenges is found.
pub fn labels(certificate_namespace: &str, certificate_name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.into(), "mailcert".into()),
        (CERTIFICATE_NAMESPACE.into(), label_value(certificate_namespace)),
        (CERTIFICATE_NAME.into(), label_value(certificate_name)),
    ])
}

/// `name` as a label's value, which has at most 63 characters: a longer one is cut and a hash of the whole is added.
pub fn label_value(name: &str) -> String {
    if name.len() <= 63 {
        return name.into();
    }
    let head: String = name.chars().take(42).collect();
    format!("{}-{}", head.trim_end_matches(['.', '-', '_']), short_hash(&[name]))
}

/// 20 hexadecimal digits (80 bits) of SHA-256 over the parts, each closed by a zero byte.
fn short_hash(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context.finish().as_ref().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposure() -> Exposure {
        Exposure {
            certificate_namespace: "mail".into(),
            certificate_name: "mx".into(),
            host: "mx.example.com".into(),
            token: "tok-en_1".into(),
            namespace: "mailcert-system".into(),
            service_name: "mailcert-http01".into(),
            service_port: 8089,
        }
    }

    #[test]
    fn an_ingress_routes_one_path_of_one_host() {
        let annotations = BTreeMap::from([("nginx/ssl-redirect".to_string(), "false".to_string())]);
        let built = serde_json::to_value(ingress(&exposure(), Some("nginx"), &annotations)).unwrap();
        let name = exposure().object_name();
        assert_eq!(
            built,
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {
                    "name": name, "namespace": "mailcert-system",
                    "annotations": {"mailcert.dev/certificate": "mail/mx", "nginx/ssl-redirect": "false"},
                    "labels": {
                        "app.kubernetes.io/managed-by": "mailcert",
                        "mailcert.dev/certificate-name": "mx", "mailcert.dev/certificate-namespace": "mail",
                    },
                },
                "spec": {"ingressClassName": "nginx", "rules": [{"host": "mx.example.com", "http": {"paths": [{
                    "path": "/.well-known/acme-challenge/tok-en_1", "pathType": "Exact",
                    "backend": {"service": {"name": "mailcert-http01", "port": {"number": 8089}}},
                }]}}]},
            })
        );
    }

    #[test]
    fn a_route_attaches_to_its_gateways() {
        let parents = [
            ParentRef { namespace: Some("infra".into()), name: "gw".into(), section_name: Some("http".into()) },
            ParentRef { namespace: None, name: "own".into(), section_name: None },
        ];
        let built = serde_json::to_value(http_route(&exposure(), &parents)).unwrap();
        assert_eq!(built["apiVersion"], "gateway.networking.k8s.io/v1");
        assert_eq!(built["kind"], "HTTPRoute");
        assert_eq!(built["metadata"]["namespace"], "mailcert-system");
        assert_eq!(
            built["spec"],
            json!({
                "parentRefs": [{"name": "gw", "namespace": "infra", "sectionName": "http"}, {"name": "own"}],
                "hostnames": ["mx.example.com"],
                "rules": [{
                    "matches": [{"path": {"type": "Exact", "value": "/.well-known/acme-challenge/tok-en_1"}}],
                    "backendRefs": [{"name": "mailcert-http01", "port": 8089}],
                }],
            })
        );
    }

    #[test]
    fn names_are_short_and_depend_on_certificate_and_host_only() {
        let one = exposure();
        assert!(one.object_name().len() <= 63);
        assert_eq!(one.object_name(), Exposure { token: "other".into(), ..exposure() }.object_name());
        for other in [
            Exposure { host: "b.example".into(), ..exposure() },
            Exposure { certificate_name: "b".into(), ..exposure() },
            Exposure { certificate_namespace: "mailm".into(), certificate_name: "x".into(), ..exposure() },
        ] {
            assert_ne!(one.object_name(), other.object_name());
        }
    }

    #[test]
    fn long_names_become_distinct_label_values() {
        let (a, b) = (label_value(&"a.".repeat(100)), label_value(&"a.".repeat(99)));
        assert!(a.len() <= 63 && b.len() <= 63 && a != b, "{a} {b}");
        assert_eq!(label_value("short"), "short");
    }
}
