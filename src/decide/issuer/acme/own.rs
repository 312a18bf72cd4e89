//! The account as the status and the Secret with its key know it.

use crate::api::issuer::AcmeStatus;
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::decide::issuer::world::{AccountKey, Action, SecretData, SecretState, World};
use crate::decide::issuer::{Outcome, Said, account_key_secret};

use super::retry::step;

/// The account key, and what is known of the account.
pub(super) struct Own<'a> {
    pub(super) server: &'a str,
    pub(super) secret: String,
    pub(super) data: &'a SecretData,
    pub(super) key: AccountKey,
    pub(super) thumbprint: &'a str,
    pub(super) known: AcmeStatus,
}

impl<'a> Own<'a> {
    /// Without a key in its Secret there is another thing to do, or to say, first.
    pub(super) fn read(world: &'a World, server: &'a str, known: AcmeStatus) -> Result<Self, Box<Outcome>> {
        let secret = account_key_secret(&world.object);
        let not_read = || {
            let message = format!("Secret {secret} has not been read yet");
            Box::new(Outcome::kept(world, Said::not_ready(reason::SECRET_NOT_FOUND, message)))
        };
        let data = match &world.account_secret {
            SecretState::Found(data) => data,
            SecretState::NotLooked => return Err(not_read()),
            SecretState::Absent => {
                let message = format!("an account key is to be made in Secret {secret}");
                let action = Action::CreateAccountKey { secret_name: secret };
                return Err(Box::new(step(world, known, action, message, false)));
            }
        };
        let problem = match (data.get(keys::TLS_KEY), &world.account_thumbprint) {
            (None, _) => format!("{} is missing", keys::TLS_KEY),
            (Some(_), Some(Err(problem))) => problem.clone(),
            (Some(_), None) => return Err(not_read()),
            (Some(key), Some(Ok(thumbprint))) => {
                return Ok(Self { server, secret, data, key: AccountKey(key.to_vec()), thumbprint, known });
            }
        };
        let message = format!(
            "Secret {secret}: {problem}; put the account key (ECDSA or RSA, PKCS#8 PEM) back, or delete the Secret to \
             have a new account"
        );
        let said = Said::person(reason::SECRET_INVALID, message);
        Err(Box::new(Outcome { acme: super::some(known), ..Outcome::said(said) }))
    }

    /// Whether the key in the Secret is that of the account.
    pub(super) fn is_registered(&self) -> bool {
        self.known.account_uri.is_some() && self.known.key_thumbprint.as_deref() == Some(self.thumbprint)
    }

    /// The account's URL, as long as the account can be used.
    pub(super) fn uri(&self) -> Option<&str> {
        self.known.account_uri.as_deref().filter(|_| self.is_registered())
    }

    /// It takes a person to go on.
    pub(super) fn person(&self, reason: &str, message: String) -> Outcome {
        Outcome { acme: super::some(self.known.clone()), ..Outcome::said(Said::person(reason, message)) }
    }
}
