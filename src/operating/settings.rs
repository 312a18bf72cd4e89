//! The operator's settings. Each is a flag and an environment variable; the flag wins.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, value_parser};
use k8s_openapi::jiff::SignedDuration;

use super::{import_settings::ImportSettings, lease::LeaseTimes, logging::LogFormat};
use crate::dns::parse_resolver;

/// Which cluster to talk to: the same rules as kubectl.
#[derive(Args, Clone, Debug, Default)]
pub struct KubeSettings {
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config, then the Pod's service account]
    #[arg(long, env = "MAILCERT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, env = "MAILCERT_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Longest time that one Kubernetes API request may take (watches are exempt once they have begun)
    #[arg(long, env = "MAILCERT_API_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub api_timeout: Duration,
}

/// Everything that `mailcert operator` can be told.
#[derive(Args, Clone, Debug)]
pub struct OperatorSettings {
    /// The cluster.
    #[command(flatten)]
    pub kube: KubeSettings,

    /// Namespaces to serve, separated by commas [default: all]
    #[arg(long, env = "MAILCERT_NAMESPACES", value_name = "NAME,…", value_delimiter = ',', value_parser = label)]
    pub namespaces: Vec<String>,
    /// Namespace of the operator: its lease, its challenge Service and what exposes it
    /// [default: $POD_NAMESPACE, then the kubeconfig's namespace]
    #[arg(long, env = "MAILCERT_OPERATOR_NAMESPACE", value_name = "NAME", value_parser = label)]
    pub operator_namespace: Option<String>,
    /// Mail domain whose no-reply address is the contact of ACME accounts that name none [default: the MailDomain's own]
    #[arg(long, env = "MAILCERT_DEFAULT_DOMAIN", value_name = "DOMAIN", value_parser = domain)]
    pub default_domain: Option<String>,
    /// Namespaces whose MailTrustBundles may write ConfigMaps into other namespaces, separated by commas; those of the
    /// operator's own namespace always may
    #[arg(long, env = "MAILCERT_TRUST_BUNDLES_FROM", value_name = "NAME,…", value_delimiter = ',', value_parser = label)]
    pub trust_bundles_from: Vec<String>,

    /// Service in the operator's namespace that leads to --challenge-listen
    #[arg(long, env = "MAILCERT_CHALLENGE_SERVICE", value_name = "NAME", default_value = "mailcert-challenges", value_parser = label)]
    pub challenge_service: String,
    /// Address that answers HTTP-01 challenges
    #[arg(long, env = "MAILCERT_CHALLENGE_LISTEN", value_name = "ADDRESS", default_value = "[::]:8089")]
    pub challenge_listen: SocketAddr,
    /// Address that answers TLS-ALPN-01 challenges
    #[arg(long, env = "MAILCERT_CHALLENGE_TLS_LISTEN", value_name = "ADDRESS", default_value = "[::]:8443")]
    pub challenge_tls_listen: SocketAddr,
    /// DNS resolvers for checks before a CA is asked, as IP addresses with an optional port, separated by commas; a
    /// MailIssuer's own come first [default: those of /etc/resolv.conf]
    #[arg(long, env = "MAILCERT_DNS_RESOLVERS", value_name = "ADDRESS,…", value_delimiter = ',', value_parser = parse_resolver)]
    pub dns_resolvers: Vec<SocketAddr>,
    /// Ask only resolvers about DNS-01 records, where the authoritative servers cannot be reached from here
    #[arg(long, env = "MAILCERT_DNS_RECURSIVE_ONLY")]
    pub dns_recursive_only: bool,
    /// DNSKEY records, one a line as in a zone file, that DNSSEC begins at besides the root's: for zones of your own that
    /// no signed parent leads to
    #[arg(long, env = "MAILCERT_DNSSEC_TRUST_ANCHORS", value_name = "RECORDS")]
    pub dnssec_trust_anchors: Option<crate::dns::Anchors>,
    /// Address of /livez and /readyz
    #[arg(long, env = "MAILCERT_HEALTH_LISTEN", value_name = "ADDRESS", default_value = "[::]:8081")]
    pub health_listen: SocketAddr,
    /// Address of /metrics
    #[arg(long, env = "MAILCERT_METRICS_LISTEN", value_name = "ADDRESS", default_value = "[::]:9402")]
    pub metrics_listen: SocketAddr,

    /// Elect one leader among the replicas; false only where there is exactly one replica
    #[arg(long, env = "MAILCERT_LEADER_ELECT", value_name = "BOOL", default_value_t = true, default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub leader_elect: bool,
    /// Name of the Lease
    #[arg(long, env = "MAILCERT_LEASE_NAME", value_name = "NAME", default_value = "mailcert", value_parser = label)]
    pub lease_name: String,
    /// How long the others wait for a leader that does not renew
    #[arg(long, env = "MAILCERT_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long a leader that cannot renew still leads
    #[arg(long, env = "MAILCERT_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub renew_deadline: Duration,
    /// Time between two looks at the lease
    #[arg(long, env = "MAILCERT_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub retry_period: Duration,

    /// Objects of one kind that are reconciled at once
    #[arg(long, env = "MAILCERT_CONCURRENCY", value_name = "N", default_value_t = 32, value_parser = value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Endpoints that are probed at once
    #[arg(long, env = "MAILCERT_PROBE_CONCURRENCY", value_name = "N", default_value_t = 32, value_parser = value_parser!(u16).range(1..=1024))]
    pub probe_concurrency: u16,
    /// Longest time of one probe
    #[arg(long, env = "MAILCERT_PROBE_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub probe_timeout: Duration,
    /// Longest time of one reconcile
    #[arg(long, env = "MAILCERT_RECONCILE_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub reconcile_timeout: Duration,

    /// Imports.
    #[command(flatten)]
    pub imports: ImportSettings,
    /// Let the HTTP calls of a MailCertificate's activation go to loopback and link-local addresses: for an operator that
    /// does not run in a pod
    #[arg(long, env = "MAILCERT_LOOPBACK_CALLS")]
    pub loopback_calls: bool,

    /// Form of the log lines
    #[arg(long, env = "MAILCERT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What to log: a level, or target=level pairs separated by commas
    #[arg(long, env = "MAILCERT_LOG_FILTER", value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SettingsError(String);

impl OperatorSettings {
    /// Those that count when no flag is given.
    pub fn defaults() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            settings: OperatorSettings,
        }
        Alone::parse_from(["mailcert"]).settings
    }

    /// Checks what one setting alone cannot show, and removes repeated namespaces.
    ///
    /// # Errors
    /// One message that names the flags that contradict each other and what would be right.
    pub fn validated(mut self) -> Result<Self, SettingsError> {
        self.namespaces.sort();
        self.namespaces.dedup();
        self.lease_times().check().map_err(SettingsError)?;
        if self.probe_timeout >= self.reconcile_timeout {
            return Err(SettingsError(format!(
                "--probe-timeout ({:?}) must be shorter than --reconcile-timeout ({:?}), or no probe could ever finish",
                self.probe_timeout, self.reconcile_timeout
            )));
        }
        self.check_listeners()?;
        super::logging::check_filter(&self.log_filter).map_err(|e| SettingsError(e.to_string()))?;
        Ok(self)
    }

    fn check_listeners(&self) -> Result<(), SettingsError> {
        let listeners = [
            ("--challenge-listen", self.challenge_listen),
            ("--challenge-tls-listen", self.challenge_tls_listen),
            ("--health-listen", self.health_listen),
            ("--metrics-listen", self.metrics_listen),
        ];
        for (i, (flag, address)) in listeners.iter().enumerate() {
            for (other, taken) in &listeners[..i] {
                if address == taken && address.port() != 0 {
                    return Err(SettingsError(format!(
                        "{other} and {flag} are both {address}: give each its own port"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The three durations of leader election.
    pub fn lease_times(&self) -> LeaseTimes {
        LeaseTimes {
            duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
        }
    }

    /// The operator's namespace: the flag, else `POD_NAMESPACE`, else the client's default namespace.
    pub fn operator_namespace_or(&self, client_default: &str) -> String {
        self.resolve_namespace(std::env::var("POD_NAMESPACE").ok(), client_default)
    }

    fn resolve_namespace(&self, pod: Option<String>, client_default: &str) -> String {
        let pod = pod.filter(|p| !p.is_empty());
        self.operator_namespace.clone().or(pod).unwrap_or_else(|| client_default.to_owned())
    }
}

/// Parses `10s`, `1m`, `1m 30s`: a positive duration with units.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is not a duration; write a number and a unit, such as 10s or 1m");
    let parsed: SignedDuration = text.trim().parse().map_err(|_| wanted())?;
    match Duration::try_from(parsed) {
        Ok(d) if !d.is_zero() => Ok(d),
        _ => Err(format!("{text:?} must be longer than zero")),
    }
}

/// Parses a DNS label (RFC 1123), the form of namespace and Service names.
fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 63 || !text.chars().all(inner) || text.starts_with('-') || text.ends_with('-') {
        return Err(format!("{text:?} is not a name: at most 63 of a-z, 0-9 and -, no - at either end"));
    }
    Ok(text.to_owned())
}

/// Parses a mail domain; the answer is its ASCII form (RFC 5891).
fn domain(text: &str) -> Result<String, String> {
    let wanted = || format!("{text:?} is not a mail domain; write one such as example.com");
    let ascii = idna::domain_to_ascii_strict(text.trim().trim_end_matches('.')).map_err(|_| wanted())?;
    if ascii.contains('.') { Ok(ascii) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser, Debug)]
    struct Program {
        #[command(flatten)]
        settings: OperatorSettings,
    }

    fn parse(flags: &[&str]) -> Result<OperatorSettings, String> {
        let flags = std::iter::once(&"mailcert").chain(flags);
        let program = Program::try_parse_from(flags).map_err(|e| e.to_string())?;
        program.settings.validated().map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_valid_and_documented() {
        let s = parse(&[]).unwrap();
        assert_eq!((s.lease_duration, s.renew_deadline), (Duration::from_secs(15), Duration::from_secs(10)));
        assert_eq!((s.retry_period, s.reconcile_timeout), (Duration::from_secs(2), Duration::from_secs(60)));
        assert_eq!((s.concurrency, s.probe_concurrency, s.leader_elect), (32, 32, true));
        assert_eq!(s.metrics_listen.to_string(), "[::]:9402");
        assert!(s.namespaces.is_empty());
    }

    #[test]
    fn every_flag_has_its_environment_variable_and_help() {
        let command = Program::command();
        let flags: Vec<_> = command.get_arguments().filter(|a| a.get_id() != "help").collect();
        assert!(flags.len() >= 20);
        for flag in flags {
            let long = flag.get_long().unwrap();
            let variable = format!("MAILCERT_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(flag.get_env().and_then(|e| e.to_str()), Some(variable.as_str()), "--{long}");
            assert!(flag.get_help().is_some(), "--{long} has no help");
        }
    }

    #[test]
    fn values_are_read() {
        let s = parse(&[
            "--namespaces",
            "mail,web,mail",
            "--leader-elect=false",
            "--retry-period",
            "1s 500ms",
            "--default-domain",
            "Bücher.example",
        ])
        .unwrap();
        assert_eq!(s.namespaces, ["mail", "web"]);
        assert!(!s.leader_elect);
        assert_eq!(s.retry_period, Duration::from_millis(1500));
        assert_eq!(s.default_domain.as_deref(), Some("xn--bcher-kva.example"));
    }

    #[test]
    fn contradictions_are_explained() {
        let cases: &[(&[&str], &str)] = &[
            (&["--renew-deadline", "15s"], "--renew-deadline (15s) must be shorter than --lease-duration (15s)"),
            (&["--retry-period", "9s"], "--retry-period (9s) must be at most half of --renew-deadline (10s)"),
            (&["--lease-duration", "15500ms"], "--lease-duration (15.5s) must be whole seconds"),
            (&["--probe-timeout", "1m"], "--probe-timeout (60s) must be shorter than --reconcile-timeout (60s)"),
            (&["--health-listen", "[::]:9402"], "--health-listen and --metrics-listen are both [::]:9402"),
            (&["--retry-period", "2"], "\"2\" is not a duration; write a number and a unit"),
            (&["--probe-timeout=-3s"], "\"-3s\" must be longer than zero"),
            (&["--concurrency", "0"], "0 is not in 1..=1024"),
            (&["--namespaces", "Mail"], "\"Mail\" is not a name"),
            (&["--default-domain", "localhost"], "\"localhost\" is not a mail domain"),
            (&["--log-filter", "mailcert=loud"], "is not a log filter"),
        ];
        for (flags, message) in cases {
            let error = parse(flags).unwrap_err();
            assert!(error.contains(message), "{flags:?}: {error}");
        }
    }

    #[test]
    fn operator_namespace_falls_back_in_order() {
        let flagged = parse(&["--operator-namespace", "ops"]).unwrap();
        let plain = parse(&[]).unwrap();
        assert_eq!(flagged.resolve_namespace(Some("pod".into()), "kubeconfig"), "ops");
        assert_eq!(plain.resolve_namespace(Some("pod".into()), "kubeconfig"), "pod");
        assert_eq!(plain.resolve_namespace(Some(String::new()), "kubeconfig"), "kubeconfig");
        assert_eq!(plain.resolve_namespace(None, "kubeconfig"), "kubeconfig");
    }
}
