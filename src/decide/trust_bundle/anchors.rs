//! Which anchors a bundle has: Mozilla's, the sources' own, and those that a source has dropped and that stay for the overlap.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::world::{SourceView, World};
use crate::api::certificate::{Finding, Watched, WatchedKind};
use crate::api::reasons::trust_bundle as reason;
use crate::api::trust_bundle::{AnchorCounts, OwnAnchor};
use crate::decide::expiry;
use crate::pki::{Certificate, Chain, Fingerprint, PemLimits, mozilla_certificates, removed_root};

/// Own anchors that a bundle may have: they stand in the status as well.
pub const MOST_OWN: usize = 100;
/// The text of one source: 330 KiB, each certificate 36 KiB.
pub const SOURCE: PemLimits = PemLimits { text_bytes: 330 * 1024, certificate_bytes: 36 * 1024, certificates: 500 };
/// Of a bundle with its trust store, below what a ConfigMap holds (1 MiB). A trust store is smaller than the PEM text.
const LARGEST: usize = 500 * 1024;

/// The anchors of a bundle.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// Own anchors by fingerprint, then Mozilla's roots in their order; each once.
    pub certificates: Vec<Certificate>,
    /// How many.
    pub counts: AnchorCounts,
    /// The own ones, for the status.
    pub own: Vec<OwnAnchor>,
    /// What is wrong and stops nothing, sorted.
    pub findings: Vec<Finding>,
    /// Sources that cannot be read: what they gave last is in here.
    pub unreadable: Vec<String>,
    /// When time alone changes the bundle, or what there is to say about it.
    pub wake: Option<Timestamp>,
    /// Why it cannot be used: reason and message.
    pub refused: Option<(&'static str, String)>,
}

struct Own {
    certificate: Certificate,
    sources: BTreeSet<String>,
    gone_since: Option<Timestamp>,
}

/// Puts a bundle together.
pub fn bundle(world: &World) -> Bundle {
    let mut reading = Reading { now: world.now, own: BTreeMap::new(), out: Bundle::default() };
    let kept = kept(world);
    for source in &world.sources {
        reading.source(source, &kept);
    }
    let overlap = SignedDuration::try_from(std::time::Duration::from(world.object.spec.overlap)).unwrap_or_default();
    let labels: BTreeSet<&str> = world.sources.iter().map(|s| s.label.as_str()).collect();
    reading.retain(&kept, &labels, overlap);
    reading.finish(world.object.spec.sources.iter().any(|s| s.mozilla))
}

/// The own anchors that the bundle had, as the status keeps them.
fn kept(world: &World) -> Vec<(OwnAnchor, Certificate)> {
    let own = world.object.status.iter().flat_map(|s| s.own.clone());
    own.filter_map(|anchor| {
        let der = BASE64_STANDARD.decode(&anchor.certificate).ok()?;
        let certificate = Chain::from_ders(&[der]).ok()?.leaf().clone();
        // What was changed by hand in the status is not trusted.
        (certificate.fingerprint.to_string() == anchor.fingerprint_sha256).then_some((anchor, certificate))
    })
    .collect()
}

struct Reading {
    now: Timestamp,
    own: BTreeMap<Fingerprint, Own>,
    out: Bundle,
}

impl Reading {
    fn find(&mut self, reason: &str, about: String, message: String) {
        let (reason, about) = (reason.to_owned(), about);
        self.out.findings.push(Finding { reason, about, message });
    }

    fn source(&mut self, source: &SourceView, kept: &[(OwnAnchor, Certificate)]) {
        let read = source.content.as_ref().map_err(Clone::clone);
        let chain = read.and_then(|pem| Chain::from_pem(pem, &SOURCE).map_err(|e| e.to_string()));
        let label = &source.label;
        let chain = match chain {
            Ok(chain) => chain,
            Err(why) => {
                let is_last = |(anchor, certificate): &&(OwnAnchor, Certificate)| {
                    let is_its = anchor.gone_since.is_none() && anchor.sources.contains(label);
                    is_its && self.now <= certificate.not_after
                };
                let last: Vec<_> = kept.iter().filter(is_last).collect();
                let stays = match last.len() {
                    0 => "nothing of it is in the bundle".to_owned(),
                    1 => "the certificate that it gave last stays in the bundle".to_owned(),
                    n => format!("the {n} certificates that it gave last stay in the bundle"),
                };
                let message = format!("{label}: {why}; {stays}");
                self.find(reason::SOURCE_UNREADABLE, label.clone(), message.clone());
                self.out.unreadable.push(message);
                last.into_iter().for_each(|(_, certificate)| self.take(certificate, label));
                return;
            }
        };
        for certificate in chain.iter() {
            if !certificate.is_ca {
                let message = format!(
                    "{label}: {} is no CA certificate (basicConstraints without CA:TRUE) and is left out: a bundle holds \
                     those that sign, not those of servers",
                    certificate.label()
                );
                self.find(reason::NOT_A_CA, about(certificate), message);
                continue;
            }
            self.take(certificate, label);
        }
    }

    fn take(&mut self, certificate: &Certificate, label: &str) {
        if self.now > certificate.not_after {
            let message = format!(
                "{label}: {} expired at {} and is left out: take it out of the source",
                certificate.label(),
                certificate.not_after
            );
            return self.find(reason::ANCHOR_EXPIRED, about(certificate), message);
        }
        let new = || Own { certificate: certificate.clone(), sources: BTreeSet::new(), gone_since: None };
        self.own.entry(certificate.fingerprint).or_insert_with(new).sources.insert(label.to_owned());
    }

    /// Keeps what a source that is still wanted has dropped.
    fn retain(&mut self, kept: &[(OwnAnchor, Certificate)], labels: &BTreeSet<&str>, overlap: SignedDuration) {
        for (anchor, certificate) in kept {
            let sources: BTreeSet<String> =
                anchor.sources.iter().filter(|s| labels.contains(s.as_str())).cloned().collect();
            if self.own.contains_key(&certificate.fingerprint) || sources.is_empty() || self.now > certificate.not_after
            {
                continue;
            }
            let since = anchor.gone_since.as_ref().map_or(self.now, |t| t.0);
            let until = since.checked_add(overlap).unwrap_or(Timestamp::MAX);
            if self.now >= until {
                continue;
            }
            self.wake(until);
            let from = sources.iter().cloned().collect::<Vec<_>>().join(", ");
            let message = format!(
                "{from} has dropped {} at {since}: it stays in the bundle until {}",
                certificate.label(),
                until.min(certificate.not_after)
            );
            self.find(reason::ANCHOR_RETAINED, about(certificate), message);
            let own = Own { certificate: certificate.clone(), sources, gone_since: Some(since) };
            self.own.insert(certificate.fingerprint, own);
        }
    }

    fn wake(&mut self, at: Timestamp) {
        if at > self.now {
            self.out.wake = Some(self.out.wake.map_or(at, |w| w.min(at)));
        }
    }

    fn finish(mut self, with_mozilla: bool) -> Bundle {
        let own = std::mem::take(&mut self.own);
        let mozilla: Vec<&Certificate> = if with_mozilla { self.mozilla() } else { Vec::new() };
        let roots: BTreeSet<Fingerprint> = mozilla.iter().map(|c| c.fingerprint).collect();
        for anchor in own.values() {
            self.judge(anchor);
        }
        let is_root = |fingerprint: &Fingerprint| roots.contains(fingerprint);
        let only_own: Vec<&Own> = own.iter().filter(|(f, _)| !is_root(f)).map(|(_, o)| o).collect();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut out = self.out;
        out.counts = AnchorCounts {
            total: count(only_own.len() + mozilla.len()),
            mozilla: count(mozilla.len()),
            own: count(only_own.len()),
            retained: count(only_own.iter().filter(|o| o.gone_since.is_some()).count()),
        };
        out.certificates = only_own.iter().map(|o| o.certificate.clone()).chain(mozilla.into_iter().cloned()).collect();
        out.own = own.values().map(told).collect();
        out.findings.sort();
        out.findings.dedup();
        out.refused = refused(&out);
        out
    }

    /// Mozilla's roots that have not expired.
    fn mozilla(&mut self) -> Vec<&'static Certificate> {
        let (valid, over): (Vec<_>, Vec<_>) = mozilla_certificates().iter().partition(|c| self.now <= c.not_after);
        for root in over {
            let message = format!(
                "Mozilla's root {} expired at {} and is left out: a newer release of mailcert has today's roots",
                root.label(),
                root.not_after
            );
            self.find(reason::ANCHOR_EXPIRED, about(root), message);
        }
        valid.iter().map(|root| after(root.not_after)).min().into_iter().for_each(|at| self.wake(at));
        valid
    }

    /// What there is to say about an own anchor that is in the bundle.
    fn judge(&mut self, anchor: &Own) {
        let certificate = &anchor.certificate;
        let label = certificate.label();
        let ends = certificate.not_after;
        let watched = Watched {
            kind: WatchedKind::Anchor,
            subject: certificate.subject.clone(),
            not_before: Time(certificate.not_before),
            not_after: Time(ends),
        };
        // At its end it goes.
        expiry::next(&watched, &[], self.now).filter(|at| *at < ends).into_iter().for_each(|at| self.wake(at));
        self.wake(after(ends));
        if let Some(expiring) = expiry::warning(&watched, &[], self.now) {
            let advice = "have its CA give another one, and add that to the source now";
            self.find(reason::ANCHOR_EXPIRES_SOON, about(certificate), expiry::message(&expiring, advice));
        }
        if let Some(removed) = removed_root(&certificate.fingerprint) {
            let message = format!(
                "{label} is a root that Mozilla trusted once and has removed (it is not in certifi {}): leave it out unless you \
                 know why, since others no longer trust what it signs",
                removed.absent_from
            );
            self.find(reason::REMOVED_BY_MOZILLA, about(certificate), message);
        }
    }
}

/// The first moment at which what ends then is over.
fn after(end: Timestamp) -> Timestamp {
    end.checked_add(SignedDuration::from_secs(1)).unwrap_or(end)
}

fn about(certificate: &Certificate) -> String {
    certificate.fingerprint.to_string()
}

fn told(own: &Own) -> OwnAnchor {
    OwnAnchor {
        fingerprint_sha256: own.certificate.fingerprint.to_string(),
        subject: own.certificate.subject.clone(),
        not_after: Time(own.certificate.not_after),
        sources: own.sources.iter().cloned().collect(),
        gone_since: own.gone_since.map(Time),
        certificate: BASE64_STANDARD.encode(own.certificate.der()),
    }
}

fn refused(bundle: &Bundle) -> Option<(&'static str, String)> {
    if bundle.certificates.is_empty() {
        let message = "no source gives a certificate that can be used: the ConfigMaps stay as they are".to_owned();
        return Some((reason::NO_ANCHORS, message));
    }
    if bundle.own.len() > MOST_OWN {
        let message = format!(
            "there are {} own anchors; at most {MOST_OWN} are taken: the ConfigMaps stay as they are. Split the sources over \
             several MailTrustBundles",
            bundle.own.len()
        );
        return Some((reason::TOO_LARGE, message));
    }
    let bytes: usize = bundle.certificates.iter().map(|c| c.der().len() * 4 / 3 + 60).sum();
    (bytes > LARGEST).then(|| {
        let message = format!(
            "the bundle has about {} KiB; a ConfigMap takes {} KiB with its trust store: the ConfigMaps stay as they are",
            bytes / 1024,
            LARGEST / 1024
        );
        (reason::TOO_LARGE, message)
    })
}
