//! The TXT record of DNS-PERSIST-01 (draft-ietf-acme-dns-persist): it is set once, by a person, and stays.

use k8s_openapi::jiff::Timestamp;

use super::super::world::{AcmeView, How};
use crate::api::certificate::TxtRecord;

/// The label below which the record stands.
const LABEL: &str = "_validation-persist";

/// The record that grants an account a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    base: &'a str,
    wildcard: bool,
    issuers: &'a [String],
    account_uri: &'a str,
    until: Option<Timestamp>,
}

impl<'a> Wanted<'a> {
    /// For a name, where the CA's domain and the account are known.
    pub fn of(acme: &'a AcmeView, name: &'a str, how: &How) -> Option<Self> {
        let How::DnsPersist01 { until } = how else { return None };
        let base = name.strip_prefix("*.");
        let account_uri = acme.account_uri.as_deref()?;
        (!acme.caa_identities.is_empty()).then_some(Self {
            base: base.unwrap_or(name),
            wildcard: base.is_some(),
            issuers: &acme.caa_identities,
            account_uri,
            until: *until,
        })
    }

    /// The record to set.
    pub fn record(&self) -> TxtRecord {
        let mut value = self.issuers.first().cloned().unwrap_or_default();
        value.push_str(&format!("; accounturi={}", self.account_uri));
        if self.wildcard {
            value.push_str("; policy=wildcard");
        }
        if let Some(until) = self.until {
            value.push_str(&format!("; persistUntil={}", until.as_second()));
        }
        TxtRecord { name: format!("{LABEL}.{}", self.base), value, zone: None }
    }

    /// Why none of the records that were found grants the name, if none does.
    pub fn problem(&self, found: &[String], now: Timestamp) -> Option<String> {
        let mut objections = Vec::new();
        for value in found {
            let (issuer, parameters) = value.split_once(';').unwrap_or((value, ""));
            let issuer = issuer.trim().trim_end_matches('.');
            if !self.issuers.iter().any(|i| i.eq_ignore_ascii_case(issuer)) {
                continue;
            }
            objections.push(self.objection(parameters, now)?);
        }
        let at = format!("{LABEL}.{}", self.base);
        Some(match objections.first() {
            None => format!("there is no TXT record for {} at {at}", self.issuers.join(" or ")),
            Some(objection) => format!("the TXT record at {at} does not count: {objection}"),
        })
    }

    /// What is wrong with the parameters of a record.
    fn objection(&self, parameters: &str, now: Timestamp) -> Option<String> {
        let parameter = |name: &str| {
            let pairs = parameters.split(';').filter_map(|p| p.split_once('='));
            pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
        };
        match parameter("accounturi") {
            None => return Some("it lacks accounturi".to_owned()),
            Some(uri) if uri != self.account_uri => {
                return Some(format!("it is for another account than {}", self.account_uri));
            }
            Some(_) => {}
        }
        if self.wildcard && !parameter("policy").is_some_and(|p| p.eq_ignore_ascii_case("wildcard")) {
            return Some("it lacks policy=wildcard".to_owned());
        }
        match parameter("persistUntil").map(|text| text.parse::<i64>()) {
            None => None,
            Some(Ok(until)) if until >= now.as_second() => None,
            Some(Ok(_)) => Some("its persistUntil is over".to_owned()),
            Some(Err(_)) => Some("its persistUntil is not a time in seconds since 1970".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> AcmeView {
        AcmeView {
            account_uri: Some("https://ca.test/acct/1".to_owned()),
            caa_identities: vec!["ca.test".to_owned()],
            ..AcmeView::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_record_says_who_may_do_what_until_when() {
        let acme = issuer();
        let record = |name: &str, until| {
            let how = How::DnsPersist01 { until };
            let record = Wanted::of(&acme, name, &how).unwrap().record();
            (record.name, record.value)
        };
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            record("mail.example.com", None),
            own("_validation-persist.mail.example.com", "ca.test; accounturi=https://ca.test/acct/1")
        );
        assert_eq!(
            record("*.example.com", Some(at(1_900_000_000))),
            own(
                "_validation-persist.example.com",
                "ca.test; accounturi=https://ca.test/acct/1; policy=wildcard; persistUntil=1900000000"
            )
        );
    }

    #[test]
    fn one_record_that_counts_is_enough() {
        let acme = issuer();
        let how = How::DnsPersist01 { until: None };
        let problem = |name: &str, found: &[&str]| {
            let found: Vec<String> = found.iter().map(|f| (*f).to_owned()).collect();
            Wanted::of(&acme, name, &how).unwrap().problem(&found, at(1_800_000_000))
        };
        let good = "CA.test.;accounturi=https://ca.test/acct/1";
        assert_eq!(problem("a.example", &["other.test; accounturi=x", good]), None);
        assert_eq!(problem("a.example", &["ca.test; accounturi=https://ca.test/acct/2", good]), None);
        let says = |found: &[&str], words: &str| {
            let problem = problem("a.example", found).unwrap();
            assert!(problem.contains(words), "{problem}");
        };
        says(&[], "there is no TXT record for ca.test at _validation-persist.a.example");
        says(&["ca.test"], "it lacks accounturi");
        says(&["ca.test; accounturi=https://ca.test/acct/2"], "another account than https://ca.test/acct/1");
        says(&[&format!("{good}; persistUntil=1700000000")], "its persistUntil is over");
        says(&[&format!("{good}; persistUntil=soon")], "not a time");
        assert!(problem("*.a.example", &[good]).unwrap().contains("it lacks policy=wildcard"));
        assert_eq!(problem("*.a.example", &[&format!("{good}; policy=Wildcard")]), None);
    }
}
