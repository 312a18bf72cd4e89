//! Accounts (RFC 8555 section 7.3).

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use super::core::{Core, Post, State};
use super::jws::{Jwk, Jws, Signer};

/// An account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub key: Jwk,
    pub contact: Vec<String>,
    pub deactivated: bool,
    /// As if it had never been.
    pub forgotten: bool,
    /// The external account that it is bound to.
    pub bound: Option<String>,
}

fn contacts(payload: &Value) -> Result<Option<Vec<String>>, Problem> {
    let Some(list) = payload.get("contact").filter(|list| !list.is_null()) else { return Ok(None) };
    let bad = || Problem::new(400, "invalidContact", "contact is not a list of URLs");
    let list = list.as_array().ok_or_else(bad)?;
    let list = list.iter().map(|c| c.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
    match list.iter().find(|contact| !contact.starts_with("mailto:") || !contact.contains('@')) {
        Some(bad) => Err(Problem::new(400, "unsupportedContact", format!("{bad:?} is no mailto URL"))),
        None => Ok(Some(list)),
    }
}

impl Core {
    pub fn account_url(&self, number: usize) -> String {
        self.url(&format!("/account/{number}"))
    }

    fn account_answer(&self, status: u16, state: &State, number: usize) -> Answer {
        let account = &state.accounts[number];
        let status_word = if account.deactivated { "deactivated" } else { "valid" };
        let mut json = json!({
            "status": status_word, "contact": account.contact, "orders": format!("{}/orders", self.account_url(number)),
        });
        if let Some(kid) = &account.bound {
            json["externalAccountBinding"] = json!({"kid": kid});
        }
        Answer::json(status, &json).with("location", self.account_url(number))
    }

    pub fn new_account(&self, state: &mut State, post: &Post<'_>) -> Result<Answer, Problem> {
        let payload = post.payload()?;
        if let Some(known) = state.accounts.iter().position(|account| account.key == post.key && !account.forgotten) {
            return match state.accounts[known].deactivated {
                true => Err(Problem::unauthorized("an account with this key is deactivated")),
                false => Ok(self.account_answer(200, state, known)),
            };
        }
        if payload["onlyReturnExisting"] == true {
            return Err(Problem::new(400, "accountDoesNotExist", "there is no account with this key"));
        }
        if payload["termsOfServiceAgreed"] != true {
            let words = format!("the terms of service ({}) must be agreed to", self.url("/terms"));
            return Err(Problem::new(403, "userActionRequired", words));
        }
        let bound = match &payload["externalAccountBinding"] {
            Value::Null if state.script.external_accounts.is_empty() => None,
            Value::Null => {
                let words = "an account of this CA needs an external account binding";
                return Err(Problem::new(403, "externalAccountRequired", words));
            }
            binding => {
                let url = self.url("/new-account");
                Some(Jws::parse(binding)?.verify_binding(&state.script.external_accounts, &post.key, &url)?)
            }
        };
        let contact = contacts(payload)?.unwrap_or_default();
        state.accounts.push(Account { key: post.key.clone(), contact, deactivated: false, forgotten: false, bound });
        Ok(self.account_answer(201, state, state.accounts.len() - 1))
    }

    pub fn account(&self, state: &mut State, post: &Post<'_>) -> Result<Answer, Problem> {
        let number = post.account()?;
        if post.number(0)? != number {
            return Err(Problem::unauthorized("this is another account"));
        }
        if let Some(payload) = &post.payload {
            if let Some(contact) = contacts(payload)? {
                state.accounts[number].contact = contact;
            }
            match payload["status"].as_str() {
                None => {}
                Some("deactivated") => state.accounts[number].deactivated = true,
                Some(_) => return Err(Problem::malformed("an account can only be deactivated")),
            }
        }
        Ok(self.account_answer(200, state, number))
    }

    /// RFC 8555 section 7.3.5.
    pub fn key_change(&self, state: &mut State, post: &Post<'_>) -> Result<Answer, Problem> {
        let number = post.account()?;
        let inner = Jws::parse(post.payload()?)?;
        let Signer::Key(new) = inner.signer()? else {
            return Err(Problem::malformed("the inner JWS needs the new key as jwk"));
        };
        inner.verify(&new)?;
        if inner.nonce().is_some() || inner.url() != post.jws.url() {
            return Err(Problem::malformed("the inner JWS has a nonce, or another url than the outer one"));
        }
        let change = inner.json()?.unwrap_or_default();
        if change["account"] != self.account_url(number).as_str() {
            return Err(Problem::malformed("the inner JWS is about another account"));
        }
        if Jwk::parse(&change["oldKey"]).ok().as_ref() != Some(&post.key) {
            return Err(Problem::malformed("oldKey is not the account's key"));
        }
        if let Some(holder) = state.accounts.iter().position(|account| account.key == new) {
            let mut problem = Problem::new(409, "conflict", "another account has this key");
            problem.location = Some(self.account_url(holder));
            return Err(problem);
        }
        state.accounts[number].key = new;
        Ok(self.account_answer(200, state, number))
    }
}
