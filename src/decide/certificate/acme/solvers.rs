//! Which solver answers for a name.

use super::super::world::{AcmeView, AuthorizationView, ChallengeView, How, SolverView};

/// How closely a solver's selector fits a name: bigger is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It has no selector.
    All,
    /// A zone of this many labels.
    Zone(usize),
    /// It lists the name.
    Name,
}

fn fit(solver: &SolverView, name: &str) -> Option<Fit> {
    if solver.dns_names.is_empty() && solver.dns_zones.is_empty() {
        return Some(Fit::All);
    }
    if solver.dns_names.iter().any(|n| n == name) {
        return Some(Fit::Name);
    }
    let base = name.strip_prefix("*.").unwrap_or(name);
    let within = |zone: &&String| base == zone.as_str() || base.ends_with(&format!(".{zone}"));
    solver.dns_zones.iter().filter(within).map(|z| Fit::Zone(z.split('.').count())).max()
}

/// Whether the type of challenge can validate the name: a wildcard needs DNS (RFC 8555, section 8.3; RFC 8737, section 3).
fn grants(how: &How, name: &str) -> bool {
    !name.starts_with("*.") || matches!(how, How::Dns01 | How::DnsPersist01 { .. })
}

/// The solvers that can answer for a name, the closest first; of equals the first.
pub fn ranked<'a>(acme: &'a AcmeView, name: &str) -> Vec<&'a SolverView> {
    let mut fitting: Vec<(Fit, &SolverView)> =
        acme.solvers.iter().filter(|s| grants(&s.how, name)).filter_map(|s| Some((fit(s, name)?, s))).collect();
    // Stable, so that the spec's order decides between equals.
    fitting.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
    fitting.into_iter().map(|(_, solver)| solver).collect()
}

/// The solver that answers for a name, before the CA has said what it offers.
pub fn best<'a>(acme: &'a AcmeView, name: &str) -> Option<&'a SolverView> {
    ranked(acme, name).into_iter().next()
}

/// The solver that answers for an authorization, and the challenge: the closest one that the CA offers.
pub fn chosen<'a, 'v>(
    acme: &'a AcmeView,
    authorization: &'v AuthorizationView,
) -> Option<(&'a SolverView, &'v ChallengeView)> {
    let ranked = ranked(acme, &authorization.name);
    ranked.into_iter().find_map(|solver| Some((solver, authorization.challenge(solver.how.kind())?)))
}

/// Why no solver can answer for a name, if none can.
pub fn problem(acme: &AcmeView, name: &str) -> Option<String> {
    if best(acme, name).is_some() {
        return None;
    }
    let fits = acme.solvers.iter().any(|solver| fit(solver, name).is_some());
    Some(if fits {
        format!(
            "only dns01 and dnsPersist01 can validate the wildcard {name}, and no such solver of the issuer is for it: \
             add one to the MailIssuer, list the host names instead, or use a ca issuer"
        )
    } else {
        format!("no solver of the issuer is for {name}: add one to the MailIssuer, or widen a selector")
    })
}

/// Why none of the challenges that the CA offers can be answered.
pub fn not_offered(acme: &AcmeView, authorization: &AuthorizationView) -> String {
    let wanted: Vec<&str> = ranked(acme, &authorization.name).iter().map(|s| s.how.kind().as_str()).collect();
    let known = authorization.challenges.iter().map(|c| c.kind.as_str());
    let offered: Vec<&str> = known.chain(authorization.unknown.iter().map(String::as_str)).collect();
    let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
    format!(
        "the CA offers {offered} for {}, and the issuer's solvers can answer {}",
        authorization.name,
        wanted.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solver(index: usize, how: How, names: &[&str], zones: &[&str]) -> SolverView {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        SolverView { index, how, dns_names: owned(names), dns_zones: owned(zones), self_check: true }
    }

    fn issuer() -> AcmeView {
        AcmeView {
            solvers: vec![
                solver(0, How::Http01 { exposes: false }, &[], &[]),
                solver(1, How::Dns01, &[], &["example.com"]),
                solver(2, How::TlsAlpn01, &[], &["eu.example.com"]),
                solver(3, How::DnsPersist01 { until: None }, &["mail.eu.example.com"], &[]),
                solver(4, How::Dns01, &[], &["example.com"]),
            ],
            ..AcmeView::default()
        }
    }

    #[test]
    fn the_closest_selector_wins() {
        let issuer = issuer();
        let index = |name: &str| best(&issuer, name).map(|s| s.index);
        assert_eq!(index("mail.example.net"), Some(0));
        assert_eq!(index("mail.example.com"), Some(1));
        assert_eq!(index("example.com"), Some(1));
        assert_eq!(index("notexample.com"), Some(0), "a zone ends at a dot");
        assert_eq!(index("imap.eu.example.com"), Some(2), "the longer zone");
        assert_eq!(index("mail.eu.example.com"), Some(3), "the name itself");
    }

    #[test]
    fn wildcards_go_to_dns() {
        let issuer = issuer();
        assert_eq!(best(&issuer, "*.eu.example.com").map(|s| s.index), Some(1));
        assert_eq!(best(&issuer, "*.example.net"), None);
        assert!(problem(&issuer, "*.example.net").is_some_and(|p| p.contains("only dns01 and dnsPersist01")));
        let narrow = AcmeView { solvers: vec![solver(0, How::Dns01, &[], &["example.com"])], ..AcmeView::default() };
        assert_eq!(
            problem(&narrow, "mail.example.net").as_deref(),
            Some("no solver of the issuer is for mail.example.net: add one to the MailIssuer, or widen a selector")
        );
    }

    #[test]
    fn what_the_ca_does_not_offer_is_passed_over() {
        let challenge = |kind| ChallengeView {
            kind,
            token: "t".to_owned(),
            key_authorization: "t.k".to_owned(),
            dns_value: None,
            pending: true,
            error: None,
        };
        use crate::api::certificate::ChallengeType::{Dns01, Http01};
        let mut authorization = AuthorizationView {
            name: "imap.eu.example.com".to_owned(),
            valid: false,
            failed: false,
            challenges: vec![challenge(Http01), challenge(Dns01)],
            unknown: vec!["device-attest-01".to_owned()],
            error: None,
        };
        assert_eq!(chosen(&issuer(), &authorization).map(|(s, c)| (s.index, c.kind)), Some((1, Dns01)));
        authorization.challenges.clear();
        assert!(chosen(&issuer(), &authorization).is_none());
        assert_eq!(
            not_offered(&issuer(), &authorization),
            "the CA offers device-attest-01 for imap.eu.example.com, and the issuer's solvers can answer tls-alpn-01, \
             dns-01, dns-01, http-01"
        );
    }
}
