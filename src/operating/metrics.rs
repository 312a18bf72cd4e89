//! Metrics, in OpenMetrics text. Every name begins with `mailcert_`, except the process' own.
//!
//! Series that belong to an object live in one map per kind and go when the object goes: a certificate that was
//! deleted must not look as if it were about to expire.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::Registry,
};

use super::process::ProcessCollector;
use crate::api::certificate::Watched;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Distinct pairs of verb and resource that are told apart; further resources count as `other`.
const MAX_REQUEST_SERIES: usize = 200;
/// From a pass that finds nothing to do (about a millisecond) to the default reconcile timeout.
const RECONCILE_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// All metrics of one operator.
pub struct Metrics {
    registry: Registry,
    objects: Arc<Objects>,
    reconcile_duration: Family<KindLabel, Histogram, fn() -> Histogram>,
    reconcile_errors: Family<ErrorLabels, Counter>,
    issuance_attempts: Family<IssuanceLabels, Counter>,
    probes: Family<ProbeLabels, Counter>,
    api_requests: Family<RequestLabels, Counter>,
    api_request_series: AtomicUsize,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    class: &'static str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IssuanceLabels {
    issuer_kind: &'static str,
    outcome: &'static str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProbeLabels {
    protocol: &'static str,
    verdict: &'static str,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
}
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// What is shown of one MailCertificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSample {
    /// The issuer, `namespace/name`; empty for an imported certificate.
    pub issuer: String,
    /// Whether `Ready` is `True`.
    pub ready: bool,
    /// End of the active revision's validity, Unix seconds; `None` before the first.
    pub not_after: Option<i64>,
    /// When the renewal is due, Unix seconds.
    pub renewal: Option<i64>,
    /// Whether `RenewalOverdue` is `True`.
    pub overdue: bool,
    /// The certificates that are not renewed here.
    pub watched: Vec<Expiry>,
}

/// A certificate that is not renewed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `imported`, `ca` or `anchor`.
    pub kind: &'static str,
    /// Its subject.
    pub subject: String,
    /// End of its validity, Unix seconds.
    pub not_after: i64,
}

impl From<&Watched> for Expiry {
    fn from(watched: &Watched) -> Self {
        let (kind, subject) = (watched.kind.label(), watched.subject.clone());
        Self { kind, subject, not_after: watched.not_after.0.as_second() }
    }
}

/// What is shown of one endpoint of a MailDomain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSample {
    /// The endpoint, `protocol://host:port`.
    pub endpoint: String,
    /// The verdict, one of a closed set (RFC 8460's result words where one fits).
    pub verdict: &'static str,
    /// Whether the active certificate is served there.
    pub served: bool,
}

/// What is shown of one own anchor of a MailTrustBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorSample {
    /// SHA-256 over its DER, in lower-case hex.
    pub fingerprint: String,
    /// Its subject.
    pub subject: String,
    /// End of its validity, Unix seconds.
    pub not_after: i64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric in it.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let own = registry.sub_registry_with_prefix("mailcert");
        let objects = Arc::new(Objects::default());
        own.register_collector(Box::new(objects.clone()));
        own.register("build", "The release that runs", Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }));
        let histogram: fn() -> Histogram = || Histogram::new(RECONCILE_BUCKETS);
        let reconcile_duration = Family::new_with_constructor(histogram);
        own.register("reconcile_duration_seconds", "Time of one reconcile", reconcile_duration.clone());
        Self {
            reconcile_errors: family(own, "reconcile_errors", "Reconciles that failed, by class of error"),
            issuance_attempts: family(own, "issuance_attempts", "Certificates asked of an issuer, by outcome"),
            probes: family(own, "probe", "Endpoint probes, by verdict"),
            api_requests: family(own, "api_requests", "Requests to the Kubernetes API"),
            api_request_series: AtomicUsize::new(0),
            leader: {
                let leader = Gauge::default();
                own.register("leader", "1 while this replica leads", leader.clone());
                leader
            },
            reconcile_duration,
            objects,
            registry,
        }
    }

    /// Counts one reconcile of `kind`; `error` is the class of its error, of a closed set.
    pub fn reconciled(&self, kind: &'static str, took: Duration, error: Option<&'static str>) {
        self.reconcile_duration.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
        if let Some(class) = error {
            self.reconcile_errors.get_or_create(&ErrorLabels { kind, class }).inc();
        }
    }

    /// Counts one attempt to have a certificate issued.
    pub fn issuance(&self, issuer_kind: &'static str, outcome: &'static str) {
        self.issuance_attempts.get_or_create(&IssuanceLabels { issuer_kind, outcome }).inc();
    }

    /// Counts one probe.
    pub fn probe(&self, protocol: &'static str, verdict: &'static str) {
        self.probes.get_or_create(&ProbeLabels { protocol, verdict }).inc();
    }

    /// Counts one request to the Kubernetes API; `resource` as RBAC names it.
    pub fn api_request(&self, verb: &'static str, resource: &str) {
        let mut labels = RequestLabels { verb, resource: resource.to_owned() };
        if let Some(known) = self.api_requests.get(&labels) {
            known.inc();
            return;
        }
        if self.api_request_series.fetch_add(1, Ordering::Relaxed) >= MAX_REQUEST_SERIES {
            labels.resource = "other".to_owned();
        }
        self.api_requests.get_or_create(&labels).inc();
    }

    /// Says whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets the series of a MailCertificate in place of those it had.
    pub fn set_certificate(&self, namespace: &str, name: &str, sample: CertificateSample) {
        put(&self.objects.certificates, namespace, name, sample);
    }

    /// Removes the series of a deleted MailCertificate.
    pub fn remove_certificate(&self, namespace: &str, name: &str) {
        remove(&self.objects.certificates, namespace, name);
    }

    /// Sets the CA certificates of a MailIssuer in place of those it had.
    pub fn set_issuer(&self, namespace: &str, name: &str, watched: Vec<Expiry>) {
        put(&self.objects.issuers, namespace, name, watched);
    }

    /// Removes the CA certificates of a deleted MailIssuer.
    pub fn remove_issuer(&self, namespace: &str, name: &str) {
        remove(&self.objects.issuers, namespace, name);
    }

    /// Sets the endpoints of a MailDomain in place of those it had.
    pub fn set_endpoints(&self, namespace: &str, name: &str, endpoints: Vec<EndpointSample>) {
        put(&self.objects.endpoints, namespace, name, endpoints);
    }

    /// Removes the endpoints of a deleted MailDomain.
    pub fn remove_endpoints(&self, namespace: &str, name: &str) {
        remove(&self.objects.endpoints, namespace, name);
    }

    /// Sets the own anchors of a MailTrustBundle in place of those it had.
    pub fn set_anchors(&self, namespace: &str, name: &str, anchors: Vec<AnchorSample>) {
        put(&self.objects.anchors, namespace, name, anchors);
    }

    /// Removes the anchors of a deleted MailTrustBundle.
    pub fn remove_anchors(&self, namespace: &str, name: &str) {
        remove(&self.objects.anchors, namespace, name);
    }

    /// The metrics as text of type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A label or a value cannot be written.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn family<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// Samples by namespace and name.
type Samples<T> = RwLock<HashMap<Box<str>, BTreeMap<Box<str>, T>>>;

fn put<T>(samples: &Samples<T>, namespace: &str, name: &str, sample: T) {
    let mut samples = samples.write().unwrap_or_else(PoisonError::into_inner);
    samples.entry(namespace.into()).or_default().insert(name.into(), sample);
}

fn remove<T>(samples: &Samples<T>, namespace: &str, name: &str) {
    let mut samples = samples.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(names) = samples.get_mut(namespace) {
        names.remove(name);
        if names.is_empty() {
            samples.remove(namespace);
        }
    }
}

/// Series that come and go with objects; written at the scrape, so that each object is stored once.
#[derive(Debug, Default)]
struct Objects {
    certificates: Samples<CertificateSample>,
    issuers: Samples<Vec<Expiry>>,
    endpoints: Samples<Vec<EndpointSample>>,
    anchors: Samples<Vec<AnchorSample>>,
}

/// Writes one gauge of every object; `None` leaves an object out.
fn gauges<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (L, Option<i64>)> + 'a,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        if let Some(value) = value {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        let all =
            || certificates.iter().flat_map(|(ns, names)| names.iter().map(|(n, s)| (ns.as_ref(), n.as_ref(), s)));
        gauges(
            &mut encoder,
            "certificate_not_after_timestamp_seconds",
            "End of the active certificate's validity, Unix time",
            all().map(|(ns, n, s)| ([("namespace", ns), ("name", n), ("issuer", s.issuer.as_str())], s.not_after)),
        )?;
        gauges(
            &mut encoder,
            "certificate_ready",
            "1 while the MailCertificate is Ready",
            all().map(|(ns, n, s)| ([("namespace", ns), ("name", n)], Some(i64::from(s.ready)))),
        )?;
        gauges(
            &mut encoder,
            "certificate_renewal_timestamp_seconds",
            "When the next renewal is due, Unix time",
            all().map(|(ns, n, s)| ([("namespace", ns), ("name", n)], s.renewal)),
        )?;
        let anchors = self.anchors.read().unwrap_or_else(PoisonError::into_inner);
        let bundles =
            anchors.iter().flat_map(|(ns, names)| names.iter().map(move |(n, a)| (ns.as_ref(), n.as_ref(), a)));
        gauges(
            &mut encoder,
            "trust_anchor_not_after_timestamp_seconds",
            "End of the validity of an own anchor of a MailTrustBundle, Unix time",
            bundles.flat_map(|(ns, n, list)| {
                list.iter().map(move |a| {
                    let fingerprint = a.fingerprint.as_str();
                    let labels =
                        [("namespace", ns), ("name", n), ("subject", &a.subject), ("fingerprint", fingerprint)];
                    (labels, Some(a.not_after))
                })
            }),
        )?;
        gauges(
            &mut encoder,
            "certificate_renewal_overdue",
            "1 while the certificate, or one that it needs, ends soon and has not been replaced",
            all().map(|(ns, n, s)| ([("namespace", ns), ("name", n)], Some(i64::from(s.overdue)))),
        )?;
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        let of_issuers = issuers
            .iter()
            .flat_map(|(ns, names)| names.iter().map(|(n, list)| ("MailIssuer", ns.as_ref(), n.as_ref(), list)));
        let watched = all().map(|(ns, n, s)| ("MailCertificate", ns, n, &s.watched)).chain(of_issuers);
        gauges(
            &mut encoder,
            "certificate_expiry_timestamp_seconds",
            "End of validity of a certificate that is not renewed here: imported, ca or anchor, Unix time",
            watched.flat_map(|(object, ns, n, list)| {
                list.iter().map(move |e| {
                    let labels = [
                        ("object", object),
                        ("namespace", ns),
                        ("name", n),
                        ("kind", e.kind),
                        ("subject", e.subject.as_str()),
                    ];
                    (labels, Some(e.not_after))
                })
            }),
        )?;
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let domains =
            endpoints.iter().flat_map(|(ns, names)| names.iter().map(move |(n, e)| (ns.as_ref(), n.as_ref(), e)));
        gauges(
            &mut encoder,
            "endpoint_served",
            "1 while the endpoint serves the active certificate",
            domains.flat_map(|(ns, n, list)| {
                list.iter().map(move |e| {
                    let place =
                        [("namespace", ns), ("name", n), ("endpoint", e.endpoint.as_str()), ("verdict", e.verdict)];
                    (place, Some(i64::from(e.served)))
                })
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(issuer: &str) -> CertificateSample {
        CertificateSample {
            issuer: issuer.into(),
            ready: true,
            not_after: Some(1_800_000_000),
            renewal: None,
            overdue: false,
            watched: Vec::new(),
        }
    }

    fn lines(metrics: &Metrics, prefix: &str) -> Vec<String> {
        let text = metrics.render().unwrap();
        text.lines().filter(|l| l.starts_with(prefix)).map(str::to_owned).collect()
    }

    #[test]
    fn a_certificates_series_are_replaced_and_removed() {
        let metrics = Metrics::new();
        metrics.set_certificate("mail", "web", sample("mail/old"));
        metrics.set_certificate("mail", "web", sample("mail/new"));
        assert_eq!(
            lines(&metrics, "mailcert_certificate"),
            [
                r#"mailcert_certificate_not_after_timestamp_seconds{namespace="mail",name="web",issuer="mail/new"} 1800000000"#,
                r#"mailcert_certificate_ready{namespace="mail",name="web"} 1"#,
                r#"mailcert_certificate_renewal_overdue{namespace="mail",name="web"} 0"#,
            ]
        );
        metrics.remove_certificate("mail", "web");
        metrics.remove_certificate("mail", "web");
        assert_eq!(lines(&metrics, "mailcert_certificate"), Vec::<String>::new());
    }

    #[test]
    fn what_nobody_renews_is_shown_with_its_end() {
        let metrics = Metrics::new();
        let expiry = |kind, subject: &str| Expiry { kind, subject: subject.into(), not_after: 1_800_000_000 };
        let watched = vec![expiry("imported", "DNS:mail.example"), expiry("anchor", "CN=Root")];
        metrics.set_certificate("mail", "web", CertificateSample { watched, ..sample("") });
        metrics.set_issuer("mail", "ca", vec![expiry("ca", "CN=Own")]);
        let name = "mailcert_certificate_expiry_timestamp_seconds";
        let line = |labels: &str| format!("{name}{{{labels}}} 1800000000");
        let wanted = [
            line(r#"object="MailCertificate",namespace="mail",name="web",kind="imported",subject="DNS:mail.example""#),
            line(r#"object="MailCertificate",namespace="mail",name="web",kind="anchor",subject="CN=Root""#),
            line(r#"object="MailIssuer",namespace="mail",name="ca",kind="ca",subject="CN=Own""#),
        ];
        assert_eq!(lines(&metrics, name), wanted);
        metrics.remove_issuer("mail", "ca");
        metrics.remove_certificate("mail", "web");
        assert_eq!(lines(&metrics, name), Vec::<String>::new());
    }

    #[test]
    fn an_endpoint_has_one_verdict_at_a_time() {
        let metrics = Metrics::new();
        let seen = |verdict, served| vec![EndpointSample { endpoint: "imaps://m.example:993".into(), verdict, served }];
        metrics.set_endpoints("mail", "example", seen("certificate-expired", false));
        metrics.set_endpoints("mail", "example", seen("ok", true));
        let labels = r#"namespace="mail",name="example",endpoint="imaps://m.example:993",verdict="ok""#;
        assert_eq!(lines(&metrics, "mailcert_endpoint"), [format!("mailcert_endpoint_served{{{labels}}} 1")]);
        metrics.remove_endpoints("mail", "example");
        assert_eq!(lines(&metrics, "mailcert_endpoint"), Vec::<String>::new());
    }

    #[test]
    fn counters_have_the_documented_names() {
        let metrics = Metrics::new();
        metrics.reconciled("MailCertificate", Duration::from_millis(3), Some("conflict"));
        metrics.issuance("acme", "issued");
        metrics.probe("SMTP", "ok");
        metrics.set_leader(true);
        let text = metrics.render().unwrap();
        for line in [
            r#"mailcert_reconcile_duration_seconds_bucket{le="0.005",kind="MailCertificate"} 1"#,
            r#"mailcert_reconcile_errors_total{kind="MailCertificate",class="conflict"} 1"#,
            r#"mailcert_issuance_attempts_total{issuer_kind="acme",outcome="issued"} 1"#,
            r#"mailcert_probe_total{protocol="SMTP",verdict="ok"} 1"#,
            "mailcert_leader 1",
            concat!("mailcert_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::new();
        for name in ["process_resident_memory_bytes ", "process_cpu_seconds_total "] {
            let found = lines(&metrics, name);
            let value: f64 = found[0].rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0 && (name.contains("cpu") || value > 1e6), "{found:?}");
        }
    }

    #[test]
    fn resources_are_bounded() {
        let metrics = Metrics::new();
        for i in 0..MAX_REQUEST_SERIES + 50 {
            metrics.api_request("get", &format!("kind{i}"));
        }
        assert_eq!(lines(&metrics, "mailcert_api_requests_total").len(), MAX_REQUEST_SERIES + 1);
        assert!(lines(&metrics, "mailcert_api_requests_total").iter().any(|l| l.contains(r#""other"} 50"#)));
    }
}
