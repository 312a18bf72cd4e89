//! An ACME server's directory (RFC 8555 section 7.1.1), read for what people need to know about the server.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::failure::{About, AcmeFailure, printable};
use super::http::{BoundedHttp, https_url};

/// What every directory must name.
const REQUIRED: [&str; 3] = ["newNonce", "newAccount", "newOrder"];

/// The most profiles that are kept of a directory.
const MAX_PROFILES: usize = 32;

/// What an ACME server says about itself; every text is bounded and printable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryView {
    /// The URL of the terms that registering an account agrees to.
    pub terms_of_service: Option<String>,
    /// The CA's web site.
    pub website: Option<String>,
    /// Whether an account needs a binding to an account elsewhere (RFC 8555 section 7.3.4).
    pub external_account_required: bool,
    /// Name and description of the profiles an order may ask for (draft-ietf-acme-profiles).
    pub profiles: BTreeMap<String, String>,
    /// The domains that a CAA record names to allow this CA.
    pub caa_identities: Vec<String>,
    /// Whether the server offers renewal information (RFC 9773).
    pub renewal_info: bool,
}

/// The directory URL of `server`: Let's Encrypt's for `LetsEncrypt` and `LetsEncryptStaging`, else `server` itself.
pub fn server_url(server: &str) -> &str {
    match server {
        "LetsEncrypt" => "https://acme-v02.api.letsencrypt.org/directory",
        "LetsEncryptStaging" => "https://acme-staging-v02.api.letsencrypt.org/directory",
        url => url,
    }
}

/// Where the server takes which request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Urls {
    pub(crate) new_nonce: String,
    pub(crate) new_account: String,
    pub(crate) new_order: String,
    pub(crate) revoke_cert: Option<String>,
    pub(crate) key_change: Option<String>,
    pub(crate) renewal_info: Option<String>,
}

impl Urls {
    /// As a directory object (RFC 8555 section 7.1.1).
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts can be written as JSON")
    }
}

/// Reads the directory of `server` (a URL, or one of [`server_url`]'s names).
pub async fn directory(http: &BoundedHttp, server: &str) -> Result<DirectoryView, AcmeFailure> {
    Ok(view(&read(http, server).await?))
}

/// The URLs in the directory of `server`.
pub(crate) async fn urls(http: &BoundedHttp, server: &str) -> Result<Urls, AcmeFailure> {
    let directory = read(http, server).await?;
    let url = |field: &str| directory.get(field).and_then(Value::as_str).map(String::from);
    let required = |field: &str| url(field).unwrap_or_default();
    Ok(Urls {
        new_nonce: required("newNonce"),
        new_account: required("newAccount"),
        new_order: required("newOrder"),
        revoke_cert: url("revokeCert"),
        key_change: url("keyChange"),
        renewal_info: url("renewalInfo"),
    })
}

async fn read(http: &BoundedHttp, server: &str) -> Result<Value, AcmeFailure> {
    let answer = http.get(server_url(server)).await.map_err(|error| error.about(About::Account))?;
    let directory: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for field in REQUIRED {
        let Some(url) = directory.get(field).and_then(Value::as_str) else {
            let words = format!("the answer is not an ACME directory: it lacks {field}; check the issuer's server URL");
            return Err(AcmeFailure::needs_user(words));
        };
        if https_url(url).is_err() {
            let words = format!("the ACME server's directory names no valid https URL for {field}");
            return Err(AcmeFailure::needs_user(words));
        }
    }
    Ok(directory)
}

fn view(directory: &Value) -> DirectoryView {
    let meta = directory.get("meta").cloned().unwrap_or_default();
    let text = |field: &str| meta.get(field).and_then(Value::as_str).map(|text| printable(text, 500));
    let profiles = meta.get("profiles").and_then(Value::as_object).into_iter().flatten();
    let caa = meta.get("caaIdentities").and_then(Value::as_array).into_iter().flatten();
    DirectoryView {
        terms_of_service: text("termsOfService"),
        website: text("website"),
        external_account_required: meta.get("externalAccountRequired").and_then(Value::as_bool).unwrap_or(false),
        profiles: profiles
            .take(MAX_PROFILES)
            .map(|(name, about)| (printable(name, 64), printable(about.as_str().unwrap_or_default(), 200)))
            .collect(),
        caa_identities: caa.filter_map(Value::as_str).take(16).map(|domain| printable(domain, 253)).collect(),
        renewal_info: directory.get("renewalInfo").is_some_and(Value::is_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_lets_encrypt() {
        assert_eq!(server_url("LetsEncrypt"), "https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(server_url("LetsEncryptStaging"), "https://acme-staging-v02.api.letsencrypt.org/directory");
        assert_eq!(server_url("https://ca.example/dir"), "https://ca.example/dir");
    }

    #[test]
    fn a_view_takes_odd_values_as_absent() {
        let odd =
            serde_json::json!({"meta": {"termsOfService": 7, "profiles": ["x"], "caaIdentities": [1, "ca.example"]}});
        let expected = DirectoryView { caa_identities: vec!["ca.example".into()], ..DirectoryView::default() };
        assert_eq!(view(&odd), expected);
        assert_eq!(view(&Value::Null), DirectoryView::default());
    }
}
