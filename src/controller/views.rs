//! MailIssuers as decisions about MailCertificates see them.

use std::sync::Arc;

use crate::api::issuer::{CaaCheck, MailIssuer, SelfCheck, Solver};
use crate::decide::certificate::world::{AcmeView, How, IssuerView, SolverView};
use crate::pki::{Anchors, Chain, PemLimits, to_ascii};

/// An ACME issuer that is ready.
pub fn acme(issuer: &MailIssuer) -> IssuerView {
    let Some(spec) = &issuer.spec.acme else { return IssuerView::NotReady("it names no way to sign".to_owned()) };
    let status = issuer.status.as_ref().and_then(|s| s.acme.clone()).unwrap_or_default();
    let anchors = match spec.trust_anchors.as_deref().map(anchors).transpose() {
        Ok(anchors) => anchors,
        Err(why) => return IssuerView::NotReady(format!("spec.acme.trustAnchors: {why}")),
    };
    IssuerView::Acme(Arc::new(AcmeView {
        solvers: spec.solvers.iter().enumerate().filter_map(|(index, s)| solver(index, s)).collect(),
        account_uri: status.account_uri,
        profile: spec.profile.clone(),
        preferred_chain: spec.preferred_chain.clone(),
        trust_anchors: anchors.map(Arc::new),
        caa_identities: status.caa_identities,
        caa_required: spec.caa_check == CaaCheck::Required,
        renewal_info: status.renewal_info,
    }))
}

fn anchors(pem: &str) -> Result<Anchors, String> {
    let chain = Chain::from_pem(pem.as_bytes(), &PemLimits::BUNDLE).map_err(|e| e.to_string())?;
    Ok(Anchors::own(std::iter::once(chain.leaf()).chain(chain.rest()).cloned()))
}

fn solver(index: usize, solver: &Solver) -> Option<SolverView> {
    let (how, self_check) = if let Some(http01) = &solver.http01 {
        (How::Http01 { exposes: http01.service.is_none() }, http01.self_check)
    } else if let Some(tls_alpn01) = &solver.tls_alpn01 {
        (How::TlsAlpn01, tls_alpn01.self_check)
    } else if let Some(dns01) = &solver.dns01 {
        (How::Dns01, dns01.self_check)
    } else {
        let persist = solver.dns_persist01.as_ref()?;
        (How::DnsPersist01 { until: persist.persist_until.as_ref().map(|t| t.0) }, persist.self_check)
    };
    let selector = solver.selector.clone().unwrap_or_default();
    let names = |list: Vec<String>| list.iter().map(|name| ascii(name)).collect();
    Some(SolverView {
        index,
        dns_names: names(selector.dns_names),
        dns_zones: names(selector.dns_zones),
        how,
        self_check: self_check == SelfCheck::Required,
    })
}

/// A selector's name as names are compared. One that is none matches nothing.
fn ascii(name: &str) -> String {
    let name = name.trim_end_matches('.');
    to_ascii(name).unwrap_or_else(|_| name.to_ascii_lowercase())
}
