//! A new key for an account (RFC 8555 section 7.3.5).

use serde_json::json;

use super::account::{account_key, find_account};
use super::client::Client;
use super::failure::{About, AcmeFailure, Error};
use super::http::BoundedHttp;
use super::jws::{Signer, jwk};

/// Makes `new_pkcs8` the key of the account `account_uri`, whose key is `old_pkcs8`.
///
/// The server is asked for the account of the new key at the end: only its answer counts. Store both keys first: when this fails, or its answer is lost, [`super::account::registered`] says which of them the
/// server knows.
///
/// # Errors
/// [`super::failure::Class::NeedsUser`] also when the new key is an account's already.
pub async fn roll_over(
    server: &str,
    http: &BoundedHttp,
    account_uri: &str,
    old_pkcs8: &[u8],
    new_pkcs8: &[u8],
) -> Result<(), AcmeFailure> {
    let (old, new) = (account_key(old_pkcs8)?, account_key(new_pkcs8)?);
    let client = Client::open(http, server).await?;
    let url = client.urls().key_change.as_deref().ok_or_else(|| {
        AcmeFailure::needs_user("the ACME server's directory names no keyChange: its accounts keep their keys")
    })?;
    let change = json!({"account": account_uri, "oldKey": jwk(&old)?}).to_string();
    let inner = Signer::Key(&new).sign(None, url, &change)?;
    let step = async {
        match client.post(&Signer::Account(&old, account_uri), url, &inner).await {
            Err(Error::Bare(status, _)) if status == http::StatusCode::CONFLICT => return Err(in_use().into()),
            Err(Error::Problem(answered)) if answered.status == http::StatusCode::CONFLICT => {
                return Err(in_use().into());
            }
            answer => answer?,
        };
        // Whoever loses an account's key loses the account, so a mere "200" is not taken for it.
        match find_account(&client, &new).await? {
            Some(account) if account.uri == account_uri => Ok(()),
            Some(_) => Err(in_use().into()),
            None => Err(AcmeFailure::transient(None, "the ACME server did not take the account's new key over").into()),
        }
    };
    client.step(About::Account, step).await
}

fn in_use() -> AcmeFailure {
    AcmeFailure::needs_user("the new key is the key of an ACME account already; a rollover needs a fresh one")
}
