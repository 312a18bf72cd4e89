//! The alerts of the chart: they are rules, and speak of metrics that there are.

use std::collections::BTreeSet;
use std::time::Duration;

use mailcert::operating::metrics::{AnchorSample, CertificateSample, EndpointSample, Expiry, Metrics};
use serde_json::Value;

use super::{helm, objects, of_kind, operator_args};

/// Names of series that the operator shows.
fn known() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let expiry = Expiry { kind: "ca", subject: "CN=CA".to_owned(), not_after: 1 };
    let sample = CertificateSample {
        issuer: String::new(),
        ready: true,
        not_after: Some(1),
        renewal: Some(1),
        overdue: true,
        watched: vec![expiry],
    };
    metrics.set_certificate("ns", "name", sample);
    let endpoint = EndpointSample { endpoint: "smtp://m:25".to_owned(), verdict: "served", served: true };
    metrics.set_endpoints("ns", "name", vec![endpoint]);
    let anchor = AnchorSample { fingerprint: "ab".to_owned(), subject: "CN=CA".to_owned(), not_after: 1 };
    metrics.set_anchors("ns", "name", vec![anchor]);
    metrics.reconciled("MailCertificate", Duration::from_millis(1), Some("api"));
    let text = metrics.render().unwrap();
    let series = text.lines().filter(|l| !l.starts_with('#'));
    series.map(|l| l.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The names of metrics in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("mailcert_")).map(str::to_owned).collect()
}

#[test]
fn alerts_speak_of_metrics_that_there_are() {
    let Some(helm) = helm::find() else { return };
    assert!(of_kind(&objects(&helm, &[]), "PrometheusRule").is_empty(), "only when asked for");
    let made =
        objects(&helm, &["--set", "metrics.prometheusRule.enabled=true", "--set", "metrics.prometheusRule.labels.a=b"]);
    let rules = of_kind(&made, "PrometheusRule");
    assert_eq!(rules[0]["metadata"]["labels"]["a"], "b");
    let rules: Vec<&Value> = rules[0]["spec"]["groups"][0]["rules"].as_array().unwrap().iter().collect();
    assert!(rules.len() >= 7, "{}", rules.len());
    let known = known();
    for rule in rules {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let names = named(expression);
        assert!(!names.is_empty() && names.is_subset(&known), "{alert}: {expression}\n{known:#?}");
        assert_eq!(expression.matches('(').count(), expression.matches(')').count(), "{alert}");
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert!(
            !summary.contains('\n') && summary.matches("{{ $labels.").count() == summary.matches("}}").count(),
            "{summary}"
        );
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{alert}");
    }
}

#[test]
fn imports_are_bounded_as_the_values_say() {
    let Some(helm) = helm::find() else { return };
    let flags = |args: &[&str]| {
        let all = operator_args(&objects(&helm, args));
        all.into_iter().filter(|a| a.starts_with("--import-")).collect::<Vec<_>>()
    };
    assert!(flags(&[]).is_empty(), "the operator's own defaults");
    let set = "import.fetchIssuers.enabled=true,import.limits.pkcs12=2048,import.limits.iterations=5000";
    assert_eq!(
        flags(&["--set", set]),
        ["--import-fetch-issuers", "--import-max-iterations=5000", "--import-max-pkcs12=2048"]
    );
}
