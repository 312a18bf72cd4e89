//! Authorizations and their challenges (RFC 8555 sections 7.1.4 and 8), of every type.

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{AuthorizationState, Challenge, ChallengeType, Identifier};
/// Status of an authorization and of a challenge (RFC 8555 section 7.1.6).
pub use instant_acme::{AuthorizationStatus, ChallengeStatus};

use super::failure::{AcmeFailure, printable};
use super::http::https_url;
use super::problem::problem_words;
use crate::solvers::http01::{is_host, is_token};

/// How many challenges of one authorization are kept.
const MAX_CHALLENGES: usize = 32;

/// One name's authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationView {
    /// Where it lives.
    pub url: String,
    /// The name, lower-cased; with `*.` in front for a wildcard.
    pub name: String,
    /// Whether it is a wildcard's; the records for its challenges belong to the name below the `*.`.
    pub wildcard: bool,
    /// How far it is.
    pub status: AuthorizationStatus,
    /// The challenges that the CA offers or reports on, in its order.
    pub challenges: Vec<ChallengeView>,
    /// The CA's words on why a challenge of any type failed, bounded.
    pub error: Option<String>,
}

impl AuthorizationView {
    /// The challenge of this type, when the CA offers it.
    pub fn challenge(&self, kind: &ChallengeKind) -> Option<&ChallengeView> {
        self.challenges.iter().find(|challenge| challenge.kind == *kind)
    }
}

/// A type of challenge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChallengeKind {
    /// A text at a well-known path of the name (RFC 8555 section 8.3).
    Http01,
    /// A TXT record that changes with every order (RFC 8555 section 8.4).
    Dns01,
    /// A certificate for the ALPN protocol `acme-tls/1` (RFC 8737).
    TlsAlpn01,
    /// A TXT record that stays (draft-ietf-acme-dns-persist).
    DnsPersist01,
    /// One that mailcert does not know; at most 64 printable characters.
    Other(String),
}

impl ChallengeKind {
    /// The type as CAs write it.
    pub fn parse(name: &str) -> Self {
        match name {
            "http-01" => Self::Http01,
            "dns-01" => Self::Dns01,
            "tls-alpn-01" => Self::TlsAlpn01,
            "dns-persist-01" => Self::DnsPersist01,
            other => Self::Other(printable(other, 64)),
        }
    }

    /// The type as CAs write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::DnsPersist01 => "dns-persist-01",
            Self::Other(name) => name,
        }
    }

    fn of(raw: &ChallengeType) -> Self {
        match raw {
            ChallengeType::Http01 => Self::Http01,
            ChallengeType::Dns01 => Self::Dns01,
            ChallengeType::TlsAlpn01 => Self::TlsAlpn01,
            ChallengeType::DeviceAttest01 => Self::Other("device-attest-01".to_owned()),
            ChallengeType::Unknown(name) => Self::parse(name),
            _ => Self::Other("unknown".to_owned()),
        }
    }

    /// As the library writes it.
    pub(crate) fn to_library(&self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::Dns01 => ChallengeType::Dns01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::DnsPersist01 | Self::Other(_) => ChallengeType::Unknown(self.as_str().to_owned()),
        }
    }

    fn has_token(&self) -> bool {
        matches!(self, Self::Http01 | Self::Dns01 | Self::TlsAlpn01)
    }
}

impl std::fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeView {
    /// Its type.
    pub kind: ChallengeKind,
    /// Where the CA is told to look; always https.
    pub url: String,
    /// How far it is.
    pub status: ChallengeStatus,
    /// The token of http-01, tls-alpn-01 and dns-01; base64url characters only.
    pub token: Option<String>,
    /// What http-01 answers, and whose hash tls-alpn-01 and dns-01 carry (RFC 8555 section 8.1); with a token only.
    pub key_authorization: Option<String>,
    /// The text of a dns-01 record: base64url of the key authorization's SHA-256 (RFC 8555 section 8.4).
    pub dns_value: Option<String>,
    /// The CA's words on why it failed, bounded.
    pub error: Option<String>,
}

/// Reads an authorization that the library has fetched; `thumbprint` is that of the account's key.
///
/// # Errors
/// When it is not about a DNS name, or a challenge of a known type has no https URL or a token with characters that no
/// token has.
pub(crate) fn authorization(
    url: &str,
    raw: &AuthorizationState,
    thumbprint: &str,
) -> Result<AuthorizationView, AcmeFailure> {
    let identifier = raw.identifier();
    let base = match identifier.identifier {
        Identifier::Dns(name) => Some(name.to_ascii_lowercase()).filter(|name| is_host(name)),
        _ => None,
    };
    let Some(base) = base else {
        let words = "the ACME server asks for the authorization of something that is no DNS name";
        return Err(AcmeFailure::transient(None, words));
    };
    let mut challenges = Vec::new();
    for raw in raw.challenges.iter().take(MAX_CHALLENGES) {
        challenges.extend(challenge(raw, thumbprint)?);
    }
    Ok(AuthorizationView {
        url: url.to_owned(),
        name: if raw.wildcard { format!("*.{base}") } else { base },
        wildcard: raw.wildcard,
        status: raw.status,
        error: challenges.iter().find_map(|challenge| challenge.error.clone()),
        challenges,
    })
}

fn challenge(raw: &Challenge, thumbprint: &str) -> Result<Option<ChallengeView>, AcmeFailure> {
    let kind = ChallengeKind::of(&raw.r#type);
    if https_url(&raw.url).is_err() {
        return match kind {
            ChallengeKind::Other(_) => Ok(None),
            _ => Err(AcmeFailure::transient(None, "the ACME server's challenge has no valid https URL")),
        };
    }
    let token = kind.has_token().then(|| raw.token.clone());
    if !token.as_deref().is_none_or(is_token) {
        let words = "the ACME server sent a challenge token with characters that no token has";
        return Err(AcmeFailure::transient(None, words));
    }
    let key_authorization = token.as_deref().map(|token| format!("{token}.{thumbprint}"));
    let dns_value = key_authorization.as_deref().filter(|_| kind == ChallengeKind::Dns01).map(|text| {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash)
    });
    Ok(Some(ChallengeView {
        kind,
        url: raw.url.clone(),
        status: raw.status,
        token,
        key_authorization,
        dns_value,
        error: raw.error.as_ref().map(problem_words),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(challenges: Value) -> Result<AuthorizationView, AcmeFailure> {
        let identifier = json!({"type": "dns", "value": "A.example"});
        let body = json!({"status": "pending", "identifier": identifier, "wildcard": true, "challenges": challenges});
        let raw = serde_json::from_value(body).map_err(|error| AcmeFailure::misshapen(&error))?;
        authorization("https://ca.example/authz/1", &raw, "thumb")
    }

    #[test]
    fn every_type_has_what_its_solver_needs() {
        let url = "https://ca.example/c/1";
        let view = read(json!([
            {"type": "http-01", "url": url, "status": "pending", "token": "tok"},
            {"type": "dns-01", "url": url, "status": "invalid", "token": "tok", "error": {"detail": "no record"}},
            {"type": "dns-persist-01", "url": url, "status": "pending", "issuer-domain-names": ["ca.example"]},
            {"type": "new\u{1b}-99", "url": url, "status": "pending", "token": "../../odd"},
        ]));
        let view = view.unwrap();
        assert_eq!((view.name.as_str(), view.wildcard), ("*.a.example", true));
        assert_eq!(view.error.as_deref(), Some("no record"));
        let http = view.challenge(&ChallengeKind::Http01).unwrap();
        assert_eq!((http.key_authorization.as_deref(), http.dns_value.as_deref()), (Some("tok.thumb"), None));
        // echo -n tok.thumb | openssl dgst -sha256 -binary | basenc --base64url
        let dns = view.challenge(&ChallengeKind::Dns01).unwrap();
        assert_eq!(dns.dns_value.as_deref(), Some("sYAwVrqDtVOuJZvAHurSAYPoEt5fFV_C4bdSOOW-o5Y"));
        let persist = view.challenge(&ChallengeKind::DnsPersist01).unwrap();
        assert_eq!((&persist.token, &persist.key_authorization), (&None, &None));
        assert_eq!(view.challenges[3].kind, ChallengeKind::Other("new -99".into()));
        assert_eq!(view.challenges[3].token, None);
    }

    #[test]
    fn an_unknown_type_may_be_elsewhere_and_a_known_one_may_not() {
        let url = "https://ca.example/c/1";
        let odd = json!([{"type": "new-98", "url": "http://x/", "status": "pending"}]);
        assert_eq!(read(odd).unwrap().challenges, []);
        for known in [
            json!({"type": "dns-01", "url": url, "status": "odd", "token": "t"}),
            json!({"type": "dns-01", "url": "http://ca.example/", "status": "pending", "token": "t"}),
            json!({"type": "dns-01", "url": url, "status": "pending", "token": "a b"}),
            json!({"type": "http-01", "url": url, "status": "pending"}),
        ] {
            assert!(read(json!([known])).is_err(), "{known}");
        }
    }
}
