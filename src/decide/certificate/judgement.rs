//! What is wrong with what a source holds, for those who are to use it.

use k8s_openapi::jiff::SignedDuration;

use super::names::{self, Wanted};
use super::state::State;
use super::world::{Demand, ImportView, Lacking};
use crate::api::certificate::{Import, OnUnreachable};
use crate::api::reasons::import as words;
use crate::pki::import::{self as engine, Code, Expectation, Imported, Severity};
use crate::pki::{Anchors, Certificate, Chain, Fingerprint, PemLimits, covers};

/// What was found and put right: told, but nothing to be warned of.
pub(super) const PUT_RIGHT: &[&str] =
    &[words::CHAIN_COMPLETED, words::CHAIN_REORDERED, words::CERTIFICATES_LEFT_OUT, words::ROOT_ADDED];

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub word: &'static str,
    pub severity: Severity,
    pub about: String,
    pub message: String,
    /// Where a missing issuer can be had.
    pub issuer_urls: Vec<String>,
}

impl Found {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub fn warning(word: &'static str, about: &str, message: String) -> Self {
        Self { word, severity: Severity::Warning, about: about.to_owned(), message, issuer_urls: Vec::new() }
    }
}

impl From<&engine::Finding> for Found {
    fn from(finding: &engine::Finding) -> Self {
        let severity = finding.severity;
        let (word, about, message) = (finding.code.word(), finding.about.clone(), finding.message.clone());
        Self { word, severity, about, message, issuer_urls: finding.issuer_urls.clone() }
    }
}

impl From<Lacking> for Found {
    fn from(lacking: Lacking) -> Self {
        let Lacking { reason: word, about, message } = lacking;
        Self { word, severity: Severity::Error, about, message, issuer_urls: Vec::new() }
    }
}

/// Everything that is wrong, or was put right, with what was read.
pub(super) fn judge(
    state: &State<'_>,
    wanted: &Wanted,
    demands: &[Demand],
    imported: &Imported,
    read: &[engine::Finding],
) -> Vec<Found> {
    let Some(import) = &state.spec.import else { return Vec::new() };
    let mut allow: Vec<Code> = import.allow.iter().filter_map(|word| Code::of(word)).collect();
    if import.allow_untrusted {
        allow.extend(Code::of(words::NOT_TRUSTED));
    }
    let own = own_anchors(import).unwrap_or_default();
    let expectation = Expectation {
        external_host: None,
        // Names are judged below: it matters who needs them.
        names: Vec::new(),
        legacy: Vec::new(),
        usages: names::usages(state.spec),
        anchors: if own.is_empty() { Anchors::mozilla() } else { Anchors::own(own) },
        allow: allow.clone(),
        // The expiry watch tells when it is time.
        warn_before: vec![SignedDuration::ZERO],
    };
    let judged = engine::judge(imported, &expectation, state.world.now);
    let mut found: Vec<Found> = read.iter().chain(&judged).map(Found::from).collect();
    if let Some(chain) = &imported.chain {
        let names = Names { state, leaf: chain.leaf(), allow: &allow };
        found.extend(demands.iter().flat_map(|demand| names.of_domain(demand)));
        found.extend(names.of_spec(wanted, demands));
    }
    found
}

/// The trust anchors that the spec names.
///
/// # Errors
/// What is wrong with them.
pub fn own_anchors(import: &Import) -> Result<Vec<Certificate>, String> {
    let Some(pem) = &import.trust_anchors else { return Ok(Vec::new()) };
    let chain = Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN).map_err(|e| e.to_string())?;
    Ok(chain.iter().cloned().collect())
}

/// The errors, in one message.
pub(super) fn problem(found: &[Found]) -> String {
    let errors: Vec<&str> = found.iter().filter(|f| f.is_error()).map(|f| f.message.as_str()).collect();
    errors.join("; ")
}

/// Digest of what is expected of a source: when it changes, the source is judged anew.
pub(super) fn digest(state: &State<'_>, import: &Import, wanted: &Wanted, view: &ImportView) -> String {
    let usages: Vec<String> = names::usages(state.spec).iter().map(ToString::to_string).collect();
    let asked = serde_json::to_string(import).unwrap_or_default();
    let text = format!("{asked}\n{usages:?}\n{wanted:?}\n{:?}\n{}\n{:?}", view.demands, view.may_fetch, view.limits);
    Fingerprint::of(text.as_bytes()).to_string()
}

/// Who misses which name.
struct Names<'a> {
    state: &'a State<'a>,
    leaf: &'a Certificate,
    allow: &'a [Code],
}

impl Names<'_> {
    fn lacks(&self, name: &str) -> bool {
        !self.leaf.dns_names.iter().any(|presented| covers(presented, name))
    }

    /// A name that the active certificate lacks as well holds nothing back: to refuse the new one would help nobody.
    fn severity(&self, word: &str, name: &str) -> Severity {
        let active = self.state.active.as_ref().filter(|a| a.not_after.0 > self.state.world.now);
        let no_worse = active.is_some_and(|a| !a.dns_names.iter().any(|presented| covers(presented, name)));
        let allowed = self.allow.iter().any(|code| code.word() == word);
        if no_worse || allowed { Severity::Warning } else { Severity::Error }
    }

    fn found(&self, word: &'static str, severity: Severity, about: &str, what: &str, advice: &str) -> Found {
        let names = match self.leaf.dns_names.as_slice() {
            [] => "names nothing".to_owned(),
            few if few.len() <= 5 => format!("names {}", few.join(", ")),
            many => format!("names {} and {} more", many[..4].join(", "), many.len() - 4),
        };
        let message = format!("the certificate does not cover {what}; it {names}. {advice}");
        Found { word, severity, about: about.to_owned(), message, issuer_urls: Vec::new() }
    }

    fn of_domain(&self, demand: &Demand) -> Vec<Found> {
        let domain = &demand.domain;
        let about = |name: &str| format!("{name} of MailDomain {domain}");
        let host = demand.external_host.as_deref().filter(|host| self.lacks(host)).map(|host| {
            let word = words::EXTERNAL_URL_NOT_COVERED;
            let what = format!("{host}, the host of the external URL of MailDomain {domain}");
            let advice = "Have it issued again with that name, or correct the URL";
            self.found(word, self.severity(word, host), &about(host), &what, advice)
        });
        let is_host = |name: &String| demand.external_host.as_ref() == Some(name);
        let names = demand.names.iter().filter(|name| !is_host(name) && self.lacks(name)).map(|name| {
            let word = words::NAME_NOT_COVERED;
            let what = format!("{name}, a name of MailDomain {domain}");
            let advice = "Have it issued again with that name, or remove the name";
            self.found(word, self.severity(word, name), &about(name), &what, advice)
        });
        let legacy = demand.legacy.iter().filter(|old| self.lacks(&old.name)).filter_map(|old| {
            let what = format!("{}, a legacy name of MailDomain {domain}", old.name);
            self.legacy(&about(&old.name), &what, old.on_unreachable)
        });
        host.into_iter().chain(names).chain(legacy).collect()
    }

    /// Those that may be dropped, the MailDomain lists.
    fn legacy(&self, about: &str, what: &str, on_unreachable: OnUnreachable) -> Option<Found> {
        let advice = "Clients that still use that name will refuse the server: have it issued again with it, or remove the name \
                      when nobody uses it any more";
        let word = words::LEGACY_NAME_NOT_COVERED;
        (on_unreachable == OnUnreachable::Report).then(|| self.found(word, Severity::Warning, about, what, advice))
    }

    /// Those of the spec that no MailDomain has told already.
    fn of_spec(&self, wanted: &Wanted, demands: &[Demand]) -> Vec<Found> {
        let told = |name: &String| {
            demands.iter().any(|d| d.names.contains(name) || d.legacy.iter().any(|old| old.name == *name))
        };
        let names = wanted.required.iter().filter(|name| !told(name) && self.lacks(name)).map(|name| {
            let word = words::NAME_NOT_COVERED;
            let what = format!("{name}, one of spec.dnsNames");
            let advice = "Have it issued again with that name, or remove the name";
            self.found(word, self.severity(word, name), name, &what, advice)
        });
        let legacy = wanted.legacy.iter().filter(|(name, _)| !told(name) && self.lacks(name));
        let legacy = legacy.filter_map(|(name, on_unreachable)| {
            self.legacy(name, &format!("{name}, one of spec.legacyDNSNames"), *on_unreachable)
        });
        names.chain(legacy).collect()
    }
}
