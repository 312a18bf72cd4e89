//! ACME accounts (RFC 8555 section 7.3).

use std::future::Future;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, Error, Key};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use super::directory::server_url;
use super::failure::{About, AcmeFailure, failure_of, is_type};
use super::http::{BoundedHttp, Seen, https_url, observed};

/// The largest account key file that is read, in bytes.
const MAX_KEY_PEM: usize = 13_000;

/// How often a request is signed anew after the library has tried three nonces in vain.
pub(crate) const NONCE_ROUNDS: usize = 6;

/// Repeats a request that the server refused for its nonce, at once and a few times only: nothing was done yet.
///
/// A macro, because the futures of an `AsyncFnMut` cannot be shown to be `Send`.
macro_rules! patient {
    ($request:expr) => {{
        let mut rounds = 1;
        loop {
            match $request.await {
                Err(error) if is_bad_nonce(&error) && rounds < NONCE_ROUNDS => rounds += 1,
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use patient;

/// A registered account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// The account's URL, which identifies it to the server.
    pub uri: String,
    /// The thumbprint of its key (RFC 7638), the second half of every key authorization.
    pub thumbprint: String,
}

/// A handle for the steps that need an account. Clones are cheap and share connections.
#[derive(Clone)]
pub struct AcmeAccount {
    pub(crate) account: Account,
    step: Duration,
}

/// A new EC P-256 key in PKCS#8 DER. Store it before [`register`] uses it: an account whose key is lost is lost.
pub fn new_account_key() -> Result<Zeroizing<Vec<u8>>, AcmeFailure> {
    let (_, der) =
        Key::generate_pkcs8().map_err(|_| AcmeFailure::transient(None, "no ACME account key could be made"))?;
    Ok(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
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
        "the ACME account key is not an EC P-256 key in PEM (PKCS#8, \"BEGIN PRIVATE KEY\"); \
         RSA keys and other curves cannot be used",
    )
}

/// Reads an account key in PEM: EC P-256 in PKCS#8. The words of a failure never quote the key.
pub fn key_from_pem(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, AcmeFailure> {
    if text.len() > MAX_KEY_PEM {
        return Err(wrong());
    }
    let block = pem::parse(text).map_err(|_| wrong())?;
    let is_pkcs8 = block.tag() == "PRIVATE KEY";
    let der = Zeroizing::new(block.into_contents());
    let usable = is_pkcs8 && Key::from_pkcs8_der(PrivatePkcs8KeyDer::from(der.as_slice())).is_ok();
    if usable { Ok(der) } else { Err(wrong()) }
}

/// The thumbprint (RFC 7638) of an account key in PKCS#8: says without the server whether it is the registered one.
///
/// # Errors
/// When it is no EC P-256 key.
pub fn thumbprint(pkcs8: &[u8]) -> Result<String, AcmeFailure> {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| wrong())?;
    // An uncompressed point (SEC 1, section 2.3.3): 0x04, then both coordinates of 32 bytes.
    let point = key.public_key().as_ref();
    let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else { return Err(wrong()) };
    let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok(BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes())))
}

/// Registers the account of this key at `server`, or finds it when it exists, and sets its contacts when they differ.
///
/// `contacts` are mail addresses, with or without `mailto:`. Without `terms_agreed` nothing is sent.
pub async fn register(
    server: &str,
    http: &BoundedHttp,
    key_pkcs8: &[u8],
    contacts: &[String],
    terms_agreed: bool,
) -> Result<AccountView, AcmeFailure> {
    if !terms_agreed {
        return Err(AcmeFailure::needs_user("the CA's terms of service are not agreed to"));
    }
    let url = server_url(server);
    https_url(url)?;
    let contacts: Vec<String> = contacts.iter().map(|contact| mailto(contact)).collect();
    let step = async {
        let (account, present) = patient!(create(url, http, key_pkcs8))?;
        if present != contacts {
            let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
            patient!(account.update_contacts(&contacts))?;
        }
        Ok(AccountView { uri: account.id().to_string(), thumbprint: account.key_thumbprint().to_string() })
    };
    Ok(run(http.limits().step, About::Account, step).await?.0)
}

/// The account of this key, made if there is none, and its present contacts.
async fn create(url: &str, http: &BoundedHttp, key_pkcs8: &[u8]) -> Result<(Account, Vec<String>), Error> {
    let der = PrivatePkcs8KeyDer::from(key_pkcs8);
    let key = (Key::from_pkcs8_der(der.clone_key())?, PrivateKeyDer::Pkcs8(der.clone_key()));
    let create = Account::builder_with_http(Box::new(http.clone())).create_from_key(key, url.into());
    let (created, seen) = observed(create).await;
    // The body is the account object; what it holds is compared only, never shown.
    created.map(|(account, _)| (account, present_contacts(&seen))).map_err(|error| keep(error, &seen))
}

/// A handle for the account `uri` with this key. Reads the server's directory, nothing else: a wrong `uri` shows at
/// the first step.
pub async fn open(server: &str, http: &BoundedHttp, uri: &str, key_pkcs8: &[u8]) -> Result<AcmeAccount, AcmeFailure> {
    let url = server_url(server);
    https_url(url)?;
    let builder = Account::builder_with_http(Box::new(http.clone()));
    let step = builder.from_parts(uri.into(), PrivatePkcs8KeyDer::from(key_pkcs8), url.into());
    let (account, _) = run(http.limits().step, About::Account, step).await?;
    Ok(AcmeAccount { account, step: http.limits().step })
}

impl AcmeAccount {
    /// The account's URL.
    pub fn uri(&self) -> &str {
        self.account.id()
    }

    /// The longest time of one step.
    pub(crate) fn limit(&self) -> Duration {
        self.step
    }

    pub(crate) async fn step<T>(
        &self,
        about: About,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, Seen), AcmeFailure> {
        run(self.step, about, step).await
    }
}

async fn run<T>(
    limit: Duration,
    about: About,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<(T, Seen), AcmeFailure> {
    let (outcome, seen) = observed(tokio::time::timeout(limit, step)).await;
    match outcome {
        Ok(Ok(value)) => Ok((value, seen)),
        Ok(Err(error)) => Err(failure_of(error, &seen, about)),
        Err(_) => {
            let words = format!("the ACME server took more than {} s for one step", limit.as_secs_f32());
            Err(AcmeFailure::transient(None, words))
        }
    }
}

pub(crate) fn is_bad_nonce(error: &Error) -> bool {
    is_type(error, "badNonce")
}

/// A note inside a note: the inner one knows the status and `Retry-After` of this error.
fn keep(error: Error, seen: &Seen) -> Error {
    if is_bad_nonce(&error) { error } else { failure_of(error, seen, About::Account).into_error() }
}

fn mailto(contact: &str) -> String {
    if contact.contains(':') { contact.to_string() } else { format!("mailto:{contact}") }
}

fn present_contacts(seen: &Seen) -> Vec<String> {
    let account: serde_json::Value =
        seen.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let contacts = account.get("contact").and_then(|contacts| contacts.as_array()).into_iter().flatten();
    contacts.filter_map(|contact| contact.as_str().map(String::from)).collect()
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
    fn other_keys_are_refused_without_being_quoted() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let sec1 = key_to_pem(&new_account_key().unwrap()).replace("PRIVATE", "EC PRIVATE");
        for text in [p384.as_str(), sec1.as_str(), "", "SECRET", &"x".repeat(20_000)] {
            let failure = key_from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(failure.class, super::super::failure::Class::NeedsUser);
            assert!(!failure.words.contains("SECRET"));
        }
    }
}
