//! What the operator does, as it happens: from the issuer to the endpoints, and a renewal.

use super::{
    door::Door,
    kube::{Kube, condition, items, text},
    screen::{self, Step, short},
};
use mailcert_testenv::{Error, Result};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Generous: each takes seconds on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(180);

/// The objects of the quick start, and the way to its mail server.
pub struct Story<'a> {
    /// The cluster.
    pub kube: Kube<'a>,
    /// Where the quick start was applied.
    pub namespace: &'a str,
    /// None where no mail server runs.
    pub door: Option<Door<'a>>,
}

impl Story<'_> {
    /// The first certificate, up to endpoints that serve it.
    pub fn first(&self) -> Result<()> {
        self.issuer()?;
        screen::wait("the certificate is issued", LIMIT, || {
            let certificate = self.object("mailcertificate/mail")?;
            Ok(match text(&certificate, "/status/active/fingerprintSHA256") {
                "" => Step::Waiting(condition(&certificate, "Ready").1.to_owned()),
                _ => Step::Done(issued(&certificate)),
            })
        })?;
        screen::wait("the Secret is written", LIMIT, || {
            let secret = self.object("secret/mail-tls")?;
            let keys = secret["data"].as_object().map(|data| data.keys().cloned().collect::<Vec<_>>().join(", "));
            Ok(Step::Done(format!("Secret mail-tls written: {}", keys.unwrap_or_default())))
        })?;
        self.condition("the names match", "NamesMatch", "names match https://mail.example.com")?;
        if self.door.is_none() {
            return Ok(());
        }
        self.condition("the pods run with it", "RolledOut", "pods rolled")?;
        self.condition("every endpoint serves it", "Served", "every endpoint probed")?;
        self.show_endpoints()
    }

    /// A renewal that is asked for, and what a mail client sees before and after it.
    pub fn renewal(&self) -> Result<()> {
        let before = self.fingerprint()?;
        let (seen_before, pods_before) = (self.seen()?, self.pods()?);
        let request = format!("demo-{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        let annotation = format!("mailcert.dev/renew={request}");
        screen::say(&format!("\n  $ kubectl annotate -n {} mailcertificate/mail {annotation}", self.namespace));
        let args = ["annotate", "--overwrite", "-n", self.namespace, "mailcertificate/mail", &annotation];
        self.kube.run(&args)?;
        let watch = self.door.as_ref().and_then(Door::watch);
        screen::wait("the certificate is renewed", LIMIT, || {
            let certificate = self.object("mailcertificate/mail")?;
            let renewed = text(&certificate, "/status/active/fingerprintSHA256") != before
                && text(&certificate, "/status/lastRenewRequest") == request;
            Ok(match renewed {
                true => Step::Done(issued(&certificate)),
                false => Step::Waiting(condition(&certificate, "Ready").1.to_owned()),
            })
        })?;
        let after = self.fingerprint()?;
        if self.door.is_none() {
            screen::say(&format!("      {} → {}", short(&before), short(&after)));
            return Ok(());
        }
        self.renewed("the pods run with it", "RolledOut", "pods rolled", &after)?;
        self.renewed("every endpoint serves it", "Served", "every endpoint probed", &after)?;
        screen::say(&format!("      pods: {} → {}", pods_before.join(", "), self.pods()?.join(", ")));
        if let Some(watch) = watch {
            screen::say(&format!("      meanwhile: {}", watch.end()));
        }
        self.compare(&seen_before, &after)
    }

    fn issuer(&self) -> Result<()> {
        screen::wait("the issuer is ready", LIMIT, || {
            let issuer = self.object("mailissuer/letsencrypt")?;
            let (ready, message) = condition(&issuer, "Ready");
            let account = text(&issuer, "/status/acme/accountUri");
            Ok(match (ready, account) {
                (false, _) => Step::Waiting(message.to_owned()),
                (true, "") => Step::Done(format!("issuer ready: {message}")),
                (true, account) => Step::Done(format!("issuer registered: {account}")),
            })
        })
    }

    fn condition(&self, doing: &str, kind: &str, done: &str) -> Result<()> {
        self.renewed(doing, kind, done, &self.fingerprint()?)
    }

    /// Waits for a condition of the MailDomain that speaks of the certificate with `fingerprint`.
    fn renewed(&self, doing: &str, kind: &str, done: &str, fingerprint: &str) -> Result<()> {
        screen::wait(doing, LIMIT, || {
            let domain = self.object("maildomain/mail")?;
            let (holds, message) = condition(&domain, kind);
            let current = text(&domain, "/status/certificate/fingerprintSHA256") == fingerprint;
            Ok(match holds && current {
                true => Step::Done(format!("{done}: {message}")),
                false => Step::Waiting(message.to_owned()),
            })
        })
    }

    fn object(&self, name: &str) -> Result<Value> {
        self.kube.get(&["-n", self.namespace, name])
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(text(&self.object("mailcertificate/mail")?, "/status/active/fingerprintSHA256").to_owned())
    }

    fn pods(&self) -> Result<Vec<String>> {
        let pods = self.kube.get(&["-n", self.namespace, "pods", "-l", "app=mail"])?;
        let alive = items(&pods, "/items").iter().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        Ok(alive.map(|pod| text(pod, "/metadata/name").to_owned()).collect())
    }

    /// What the operator says about each endpoint, and what a client of the demo's own sees there.
    fn show_endpoints(&self) -> Result<()> {
        let (domain, seen) = (self.object("maildomain/mail")?, self.seen()?);
        let mut rows = vec![row(["endpoint", "verdict", "seen by the operator", "seen by another client"])];
        for one in items(&domain, "/status/endpoints") {
            let endpoint = text(one, "/endpoint");
            let other = seen.get(endpoint).map_or(String::new(), |fingerprint| short(fingerprint));
            let by_operator = short(text(one, "/servedFingerprint"));
            rows.push(row([endpoint, text(one, "/verdict"), &by_operator, &other]));
        }
        screen::table(&rows);
        Ok(())
    }

    /// Leaf fingerprints by endpoint, as a mail client that trusts the CA gets them.
    fn seen(&self) -> Result<BTreeMap<String, String>> {
        let Some(door) = &self.door else { return Ok(BTreeMap::new()) };
        let domain = self.object("maildomain/mail")?;
        let endpoints = items(&domain, "/status/endpoints").iter().map(|one| text(one, "/endpoint").to_owned());
        door.look(&endpoints.collect::<Vec<_>>())
    }

    fn compare(&self, before: &BTreeMap<String, String>, wanted: &str) -> Result<()> {
        let after = self.seen()?;
        let mut rows = vec![row(["endpoint", "before", "after", "(as another client sees it)"])];
        for (endpoint, old) in before {
            let new = after.get(endpoint).map_or("", String::as_str);
            rows.push(row([endpoint, &short(old), &short(new), ""]));
            if new != wanted || new == old {
                return Err(Error::new(format!("{endpoint} serves {new} and not the new certificate {wanted}")));
            }
        }
        screen::table(&rows);
        Ok(())
    }
}

fn row(cells: [&str; 4]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn issued(certificate: &Value) -> String {
    format!(
        "certificate issued: revision {}, by {}, until {}, fingerprint {}",
        certificate.pointer("/status/active/revision").unwrap_or(&Value::Null),
        text(certificate, "/status/active/issuer"),
        text(certificate, "/status/active/notAfter"),
        short(text(certificate, "/status/active/fingerprintSHA256")),
    )
}
