//! The CRDs themselves: columns, short names, fields to select by, and text for every field.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    common::{Kube, Path, cluster, namespace},
    table::object,
};

#[test]
fn kubectl_shows_the_columns() {
    let kube = Kube::new(cluster());
    let ns = namespace(&kube, "columns");
    for (kind, spec) in [
        ("MailIssuer", json!({"selfSigned": {}})),
        ("MailCertificate", crate::certificate::good()),
        ("MailDomain", crate::domain::good()),
    ] {
        let mut made = object(kind, "shown", &spec);
        made["metadata"]["namespace"] = json!(ns);
        kube.create(&made).unwrap();
    }
    let header = |args: &[&str]| {
        let shown = cluster().kubectl(&[&["-n", &ns, "get"], args].concat()).unwrap();
        shown.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(header(&["maildomains"]), "NAME DOMAIN READY SERVED EXPIRES ENDPOINT PROBLEMS AGE");
    assert_eq!(header(&["mdom", "-o", "wide"]), "NAME DOMAIN READY SERVED EXPIRES ENDPOINT PROBLEMS DNS MESSAGE AGE");
    assert_eq!(header(&["mcert"]), "NAME READY SECRET ISSUER EXPIRES AGE");
    assert_eq!(
        header(&["mcert", "-o", "wide"]),
        "NAME READY SECRET ISSUER IMPORTED FROM EXPIRES RENEWS REVISION MESSAGE AGE"
    );
    assert_eq!(header(&["missuer"]), "NAME READY REASON AGE");

    let names = cluster().kubectl(&["-n", &ns, "get", "mailcert", "-o", "name"]).unwrap();
    let names: BTreeSet<&str> = names.lines().collect();
    let all = ["mailcertificate.mailcert.dev/shown", "maildomain.mailcert.dev/shown", "mailissuer.mailcert.dev/shown"];
    assert_eq!(names, all.into());

    let selected = |resource: &str, field: &str| {
        cluster().kubectl(&["-n", &ns, "get", resource, "-o", "name", "--field-selector", field]).unwrap()
    };
    for (resource, hit, miss) in [
        ("mcert", "spec.secretName=mail-tls", "spec.secretName=other"),
        ("mcert", "spec.issuerRef.name=ca", "spec.issuerRef.name=other"),
        ("mdom", "spec.domain=example.com", "spec.domain=example.org"),
    ] {
        assert!(selected(resource, hit).ends_with("/shown\n"), "{hit}");
        assert_eq!(selected(resource, miss), "", "{miss}");
    }
}

/// Collects what `kubectl explain` would show nothing readable for.
fn unexplained(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let text = field["description"].as_str().unwrap_or_default();
        let broken = text.split("\n\n").any(|paragraph| paragraph.contains('\n'));
        if text.split_whitespace().count() < 3 || broken {
            found.push(format!("{path}: {text:?}"));
        }
        unexplained(field, &path, found);
        for inner in ["items", "additionalProperties"] {
            unexplained(&field[inner], &path, found);
        }
    }
}

#[test]
fn every_field_is_explained() {
    let kube = Kube::new(cluster());
    let mut found = Vec::new();
    for plural in ["mailissuers", "mailcertificates", "maildomains"] {
        let at = Path::cluster("customresourcedefinitions.apiextensions.k8s.io", &format!("{plural}.mailcert.dev"));
        let crd = kube.get(&at).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut own = json!({"properties": {}});
        // The API server adds apiVersion, kind and metadata, with texts of its own.
        for part in ["spec", "status"] {
            own["properties"][part] = schema["properties"][part].clone();
        }
        assert!(own["properties"]["status"]["description"].is_string(), "{plural}");
        unexplained(&own, plural, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let explained = cluster().kubectl(&["explain", "maildomain.spec.endpoints.port"]).unwrap();
    assert!(explained.contains("the protocol's registered port"), "{explained}");
}
