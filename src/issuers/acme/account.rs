//! ACME accounts (RFC 8555 section 7.3).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use super::client::Client;
use super::external::ExternalAccount;
use super::failure::{About, AcmeFailure, Error, from_json};
use super::http::{BoundedHttp, https_url};
use super::jws::{Signer, binding};
use crate::pki::{KeyAlgorithm, KeySpec, PrivateKey};

/// The largest account key file that is read, in bytes.
const MAX_KEY_PEM: usize = 13_000;

/// A registered account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// The account's URL, which identifies it to the server.
    pub uri: String,
    /// The thumbprint of its key (RFC 7638), the second half of every key authorization.
    pub thumbprint: String,
    /// The contacts that the server shows; empty when it shows none, as some do.
    pub contacts: Vec<String>,
}

/// A handle for the steps that need an account. Clones are cheap and share connections and nonces.
#[derive(Clone)]
pub struct AcmeAccount {
    client: Client,
    key: Arc<PrivateKey>,
    uri: Arc<str>,
    thumbprint: Arc<str>,
}

/// A new EC P-256 key in PKCS#8 DER. Store it before [`register`] uses it: an account whose key is lost is lost.
pub fn new_account_key() -> Result<Zeroizing<Vec<u8>>, AcmeFailure> {
    let key = PrivateKey::generate(&KeySpec::P256);
    Ok(key.map_err(|_| AcmeFailure::transient(None, "no ACME account key could be made"))?.to_pkcs8_der())
}

/// The PEM form (`PRIVATE KEY`) in which an account key is stored.
pub fn key_to_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    let block = pem::Pem::new("PRIVATE KEY", pkcs8);
    let text = Zeroizing::new(pem::encode(&block));
    block.into_contents().zeroize();
    text
}

fn wrong() -> AcmeFailure {
    AcmeFailure::needs_user(
        "the ACME account key is not an ECDSA key (P-256, P-384, P-521) or RSA key of 2048 to 4096 bits in PEM (PKCS#8, \
         \"BEGIN PRIVATE KEY\")",
    )
}

/// Reads an account key in PEM (PKCS#8): ECDSA, or RSA as cert-manager makes them. The words of a failure never quote
/// the key.
pub fn key_from_pem(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, AcmeFailure> {
    if text.len() > MAX_KEY_PEM {
        return Err(wrong());
    }
    let block = pem::parse(text).map_err(|_| wrong())?;
    let known = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].contains(&block.tag());
    block.into_contents().zeroize();
    if !known {
        return Err(wrong());
    }
    let key = PrivateKey::from_pem(text).map_err(|_| wrong())?;
    usable(&key)?;
    Ok(key.to_pkcs8_der())
}

/// A stored account key.
pub(crate) fn account_key(pkcs8: &[u8]) -> Result<PrivateKey, AcmeFailure> {
    let key = PrivateKey::from_pkcs8_der(pkcs8).map_err(|_| wrong())?;
    usable(&key)?;
    Ok(key)
}

/// What ACME servers take: Let's Encrypt has no RSA beyond 4096 bits, and nobody has Ed25519.
fn usable(key: &PrivateKey) -> Result<(), AcmeFailure> {
    let spec = key.spec();
    let good = match spec.algorithm {
        KeyAlgorithm::Ecdsa => true,
        KeyAlgorithm::Rsa => (2048..=4096).contains(&spec.size),
        KeyAlgorithm::Ed25519 => false,
    };
    if good { Ok(()) } else { Err(wrong()) }
}

/// The thumbprint (RFC 7638) of an account key in PKCS#8: says without the server whether it is the registered one.
///
/// # Errors
/// When it is no key that ACME accounts have.
pub fn thumbprint(pkcs8: &[u8]) -> Result<String, AcmeFailure> {
    account_key(pkcs8)?.jwk_thumbprint().map_err(|_| wrong())
}

/// Registers the account of this key at `server`, or finds it when it exists, and sets its contacts when they differ.
///
/// `contacts` are mail addresses, with or without `mailto:`. Without `terms_agreed` nothing is sent. `external` binds a
/// new account to one elsewhere; an account that exists already keeps its binding.
pub async fn register(
    server: &str,
    http: &BoundedHttp,
    key_pkcs8: &[u8],
    contacts: &[String],
    terms_agreed: bool,
    external: Option<&ExternalAccount>,
) -> Result<AccountView, AcmeFailure> {
    if !terms_agreed {
        return Err(AcmeFailure::needs_user("the CA's terms of service are not agreed to"));
    }
    let key = account_key(key_pkcs8)?;
    let client = Client::open(http, server).await?;
    let contacts: Vec<String> = contacts.iter().map(|contact| mailto(contact)).collect();
    let mut payload = json!({"termsOfServiceAgreed": true, "contact": contacts});
    if let Some(external) = external {
        payload["externalAccountBinding"] = binding(external, &key, &client.urls().new_account)?;
    }
    let step = async {
        let found = new_account(&client, &key, &payload.to_string()).await?;
        if found.contacts == contacts {
            return Ok(found);
        }
        let update = json!({"contact": contacts}).to_string();
        let answer = client.post(&Signer::Account(&key, &found.uri), &found.uri, &update).await?;
        Ok(AccountView { contacts: contacts_of(&answer.body), ..found })
    };
    client.step(About::Account, step).await
}

/// The account that `server` knows for this key; `None` when it knows none. Nothing is registered.
///
/// # Errors
/// Also when the account is deactivated: servers then refuse to show it.
pub async fn registered(
    server: &str,
    http: &BoundedHttp,
    key_pkcs8: &[u8],
) -> Result<Option<AccountView>, AcmeFailure> {
    let key = account_key(key_pkcs8)?;
    let client = Client::open(http, server).await?;
    client.step(About::Account, find_account(&client, &key)).await
}

/// The account of this key, if there is one (RFC 8555 section 7.3.1).
pub(crate) async fn find_account(client: &Client, key: &PrivateKey) -> Result<Option<AccountView>, Error> {
    match new_account(client, key, r#"{"onlyReturnExisting":true}"#).await {
        Err(error) if error.is("accountDoesNotExist") => Ok(None),
        found => found.map(Some),
    }
}

/// Asks `newAccount` (RFC 8555 sections 7.3 and 7.3.1).
async fn new_account(client: &Client, key: &PrivateKey, payload: &str) -> Result<AccountView, Error> {
    let answer = client.post(&Signer::Key(key), &client.urls().new_account, payload).await?;
    let uri = answer.location.filter(|uri| https_url(uri).is_ok()).ok_or_else(|| {
        AcmeFailure::transient(None, "the ACME server named no valid https URL for the account (Location)")
    })?;
    let account: Account = from_json(&answer.body)?;
    if let Some(status @ ("deactivated" | "revoked")) = account.status.as_deref() {
        return Err(AcmeFailure::needs_user(closed_words(status)).into());
    }
    let thumbprint = key.jwk_thumbprint().map_err(|_| wrong())?;
    Ok(AccountView { uri, thumbprint, contacts: contacts_of(&answer.body) })
}

fn closed_words(status: &str) -> String {
    format!("the ACME account of this key is {status}; a new account needs a new key")
}

/// The account object (RFC 8555 section 7.1.2), as far as it matters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    status: Option<String>,
    contact: Vec<String>,
}

/// A handle for the account `uri` with this key. Reads the server's directory, nothing else: a wrong `uri` shows at
/// the first step.
pub async fn open(server: &str, http: &BoundedHttp, uri: &str, key_pkcs8: &[u8]) -> Result<AcmeAccount, AcmeFailure> {
    let key = account_key(key_pkcs8)?;
    let thumbprint = key.jwk_thumbprint().map_err(|_| wrong())?.into();
    let client = Client::open(http, server).await?;
    Ok(AcmeAccount { client, key: Arc::new(key), uri: uri.into(), thumbprint })
}

impl AcmeAccount {
    /// The account's URL.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The thumbprint of its key (RFC 7638).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Calls `alarm` each time when the server says that it does not know the account
    /// ([`super::failure::Class::AccountGone`]).
    pub fn on_account_gone(self, alarm: impl Fn() + Send + Sync + 'static) -> Self {
        Self { client: self.client.with_alarm(Arc::new(alarm)), ..self }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer::Account(&self.key, &self.uri)
    }

    /// Gives the account up for good (RFC 8555 section 7.3.6): the server refuses everything it asks for afterwards.
    /// Certificates stay valid.
    ///
    /// # Errors
    /// Unless the server confirms it. One that is deactivated already counts as success; servers have no code of their
    /// own for that, but say it.
    pub async fn deactivate(&self) -> Result<(), AcmeFailure> {
        let step = async {
            let answer = match self.client.post(&self.signer(), &self.uri, r#"{"status":"deactivated"}"#).await {
                Err(Error::Problem(answered)) if answered.problem.says_deactivated() => return Ok(()),
                answer => answer?,
            };
            let account: Account = from_json(&answer.body)?;
            match account.status.as_deref() {
                Some("deactivated") => Ok(()),
                _ => Err(AcmeFailure::transient(None, "the ACME server did not deactivate the account").into()),
            }
        };
        self.client.step(About::Account, step).await
    }
}

fn mailto(contact: &str) -> String {
    if contact.contains(':') { contact.to_string() } else { format!("mailto:{contact}") }
}

fn contacts_of(body: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Account>(body).unwrap_or_default().contact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_key_survives_its_pem_form() {
        let key = new_account_key().unwrap();
        let text = key_to_pem(&key);
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(*key_from_pem(text.as_bytes()).unwrap(), *key);
    }

    #[test]
    fn keys_of_other_clients_are_taken_over() {
        for spec in [KeySpec::ecdsa(384), KeySpec::ecdsa(521), KeySpec::rsa(2048)] {
            let key = PrivateKey::generate(&spec).unwrap();
            let read = key_from_pem(key.to_pkcs8_pem().as_bytes()).unwrap();
            assert_eq!(thumbprint(&read).unwrap(), key.jwk_thumbprint().unwrap());
        }
    }

    #[test]
    fn other_keys_are_refused_without_being_quoted() {
        let ed25519 = PrivateKey::generate(&KeySpec::ED25519).unwrap().to_pkcs8_pem();
        let odd = key_to_pem(&new_account_key().unwrap()).replace("PRIVATE", "OPENSSH PRIVATE");
        for text in [ed25519.as_str(), odd.as_str(), "", "SECRET", &"x".repeat(20_000)] {
            let failure = key_from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(failure.class, super::super::failure::Class::NeedsUser);
            assert!(!failure.words.contains("SECRET"));
        }
    }
}
