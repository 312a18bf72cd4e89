//! The server without its network: state, and what a request does to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use serde_json::{Value, json};

use super::accounts::Account;
use super::answer::{Answer, Problem};
use super::certificates::Issued;
use super::faults::{Dice, Fault, Kind, Rule};
use super::issue::Authority;
use super::jws::{Jwk, Jws, Signer, encode};
use super::limits::{Counts, Limit};
use super::log::Entry;
use super::orders::{Authorization, Order};
use super::script::{ChallengeView, Script};

/// An HTTP request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub media_type: String,
    pub body: Vec<u8>,
}

/// A challenge that somebody else has to look at: authorization, challenge, and what to look at.
pub(super) type Job = (usize, usize, ChallengeView);

/// Everything the server knows.
pub(super) struct State {
    pub clock: Option<i64>,
    pub skew: i64,
    pub script: Script,
    pub rules: Vec<Rule>,
    pub dice: Dice,
    pub nonces: BTreeSet<String>,
    pub accounts: Vec<Account>,
    pub orders: Vec<Order>,
    pub authorizations: Vec<Authorization>,
    /// Challenges that were answered and not settled: authorization and challenge.
    pub open: Vec<(usize, usize)>,
    pub certificates: Vec<Issued>,
    pub by_ari_id: HashMap<String, usize>,
    pub windows: HashMap<String, Value>,
    pub counts: Counts,
    pub limited: BTreeMap<Limit, usize>,
    pub requests: Vec<Entry>,
}

impl State {
    pub fn now(&self) -> i64 {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.clock.unwrap_or_else(|| i64::try_from(machine).unwrap_or(0)) + self.skew
    }

    /// A new nonce, which is good once.
    pub fn nonce(&mut self) -> String {
        let nonce = token();
        self.nonces.insert(nonce.clone());
        nonce
    }
}

/// The server without its network.
pub(super) struct Core {
    /// `https://127.0.0.1:PORT`.
    pub base: String,
    pub authority: Authority,
    state: Mutex<State>,
}

/// A verified POST.
pub(super) struct Post<'a> {
    pub path: &'a str,
    /// By number, and by the key that signed; only requests for new accounts and revocations come without one.
    pub account: Option<usize>,
    pub key: Jwk,
    /// None for a POST-as-GET.
    pub payload: Option<Value>,
    pub jws: Jws,
}

impl Post<'_> {
    /// The account's number.
    pub fn account(&self) -> Result<usize, Problem> {
        self.account.ok_or_else(|| Problem::malformed("this needs an account (kid)"))
    }

    /// The payload of what is no POST-as-GET.
    pub fn payload(&self) -> Result<&Value, Problem> {
        self.payload.as_ref().ok_or_else(|| Problem::malformed("this needs a payload"))
    }

    /// The `n`-th number in the path behind the kind, from 0 on.
    pub fn number(&self, n: usize) -> Result<usize, Problem> {
        let number = self.path.split('/').nth(n + 2).and_then(|text| text.parse().ok());
        number.ok_or_else(|| Problem::not_found("there is nothing at this URL"))
    }
}

/// 128 random bits, base64url.
pub(super) fn token() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("the system's source of randomness works");
    encode(bytes)
}

impl Core {
    pub fn new(base: String, script: Script) -> crate::error::Result<Self> {
        let state = State {
            clock: script.clock,
            skew: 0,
            rules: Vec::new(),
            dice: Dice(script.seed),
            nonces: BTreeSet::new(),
            accounts: Vec::new(),
            orders: Vec::new(),
            authorizations: Vec::new(),
            open: Vec::new(),
            certificates: Vec::new(),
            by_ari_id: HashMap::new(),
            windows: HashMap::new(),
            counts: Counts::default(),
            limited: BTreeMap::new(),
            requests: Vec::new(),
            script,
        };
        let authority = Authority::new(state.script.alternates)?;
        Ok(Self { base, authority, state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Notes a request, and says what goes wrong with it. The number is for [`Core::answered`].
    pub fn arrived(&self, request: &Request) -> (usize, Kind, Option<Fault>) {
        let kind = Kind::of(&request.path);
        let jws = serde_json::from_slice(&request.body).ok().and_then(|body: Value| Jws::parse(&body).ok());
        let payload = jws.and_then(|jws| jws.json().ok().flatten()).unwrap_or_default();
        let mut state = self.state();
        let State { rules, dice, .. } = &mut *state;
        let fault = super::faults::pick(rules, kind, dice);
        let entry = Entry {
            at: state.now(),
            kind,
            path: request.path.clone(),
            payload,
            status: None,
            problem: None,
            fault: fault.as_ref().map(Fault::name),
        };
        state.requests.push(entry);
        (state.requests.len() - 1, kind, fault)
    }

    /// Notes what it was answered.
    pub fn answered(&self, number: usize, status: u16) {
        if let Some(entry) = self.state().requests.get_mut(number) {
            entry.status = Some(status);
        }
    }

    /// Does what is asked. `fault` may be one of those that concern what is done.
    pub fn handle(&self, number: usize, request: &Request, fault: Option<&Fault>) -> (Answer, Option<Job>) {
        let mut state = self.state();
        state.settle();
        let kind = Kind::of(&request.path);
        let mut job = None;
        let outcome = match kind {
            Kind::Directory => Ok(self.directory(&state)),
            Kind::NewNonce => Ok(Answer::empty(if request.method == "HEAD" { 200 } else { 204 })),
            Kind::RenewalInfo => state.renewal_info(&request.path),
            Kind::Unknown => Err(Problem::not_found("there is nothing at this URL")),
            _ => self.post(&mut state, kind, request, fault, &mut job),
        };
        let answer = outcome.unwrap_or_else(|problem| {
            if let Some(entry) = state.requests.get_mut(number) {
                entry.problem = Some(problem.kind.clone());
            }
            problem.answer()
        });
        (self.finish(&mut state, answer), job)
    }

    /// Adds what every answer has.
    pub fn finish(&self, state: &mut State, answer: Answer) -> Answer {
        let answer = answer.with("replay-nonce", state.nonce()).with("cache-control", "no-store");
        answer.with("link", format!("<{}>;rel=\"index\"", self.url("/dir")))
    }

    fn directory(&self, state: &State) -> Answer {
        let script = &state.script;
        let profiles: BTreeMap<_, _> = script.profiles.iter().map(|p| (&p.name, &p.description)).collect();
        let mut directory = json!({
            "newNonce": self.url("/new-nonce"), "newAccount": self.url("/new-account"), "newOrder": self.url("/new-order"),
            "revokeCert": self.url("/revoke-cert"), "keyChange": self.url("/key-change"),
            "meta": {
                "termsOfService": self.url("/terms"), "website": self.url("/"), "caaIdentities": script.caa_identities,
                "externalAccountRequired": !script.external_accounts.is_empty(), "profiles": profiles,
            },
        });
        if script.renewal_info {
            directory["renewalInfo"] = self.url("/renewal-info").into();
        }
        Answer::json(200, &directory)
    }

    fn post(
        &self,
        state: &mut State,
        kind: Kind,
        request: &Request,
        fault: Option<&Fault>,
        job: &mut Option<Job>,
    ) -> Result<Answer, Problem> {
        let post = self.verify(state, kind, request)?;
        match kind {
            Kind::NewAccount => self.new_account(state, &post),
            Kind::Account => self.account(state, &post),
            Kind::KeyChange => self.key_change(state, &post),
            Kind::NewOrder => self.new_order(state, &post, fault),
            Kind::Order => self.order(state, &post),
            Kind::Authorization => self.authorization(state, &post),
            Kind::Challenge => self.challenge(state, &post, fault, job),
            Kind::Finalize => self.finalize(state, &post, fault),
            Kind::Certificate => self.certificate(state, &post, fault),
            _ => self.revoke(state, &post),
        }
    }

    /// RFC 8555 section 6.
    fn verify<'a>(&self, state: &mut State, kind: Kind, request: &'a Request) -> Result<Post<'a>, Problem> {
        if request.method != "POST" {
            return Err(Problem::new(405, "malformed", "this needs a POST"));
        }
        if request.media_type != "application/jose+json" {
            return Err(Problem::new(415, "malformed", "the Content-Type must be application/jose+json"));
        }
        let body = serde_json::from_slice(&request.body).map_err(|_| Problem::malformed("the body is not JSON"))?;
        let jws = Jws::parse(&body)?;
        if !jws.nonce().is_some_and(|nonce| state.nonces.remove(nonce)) {
            return Err(Problem::new(400, "badNonce", "this nonce is not one that is good now"));
        }
        if jws.url() != Some(self.url(&request.path).as_str()) {
            return Err(Problem::unauthorized("the url in the JWS header is not the one that was asked"));
        }
        let (account, key) = match jws.signer()? {
            Signer::Key(key) if matches!(kind, Kind::NewAccount | Kind::Revoke) => (None, key),
            Signer::Key(_) => return Err(Problem::malformed("this needs a kid, not a jwk")),
            Signer::Account(_) if kind == Kind::NewAccount => {
                return Err(Problem::malformed("this needs a jwk, not a kid"));
            }
            Signer::Account(url) => {
                let known = url.strip_prefix(&self.url("/account/")).and_then(|n| n.parse::<usize>().ok());
                let account = known.and_then(|n| Some((n, state.accounts.get(n)?)));
                let account = account.filter(|(_, account)| !account.forgotten);
                let gone = || Problem::new(400, "accountDoesNotExist", format!("there is no account {url}"));
                let (number, account) = account.ok_or_else(gone)?;
                if account.deactivated {
                    return Err(Problem::unauthorized("this account is deactivated"));
                }
                (Some(number), account.key.clone())
            }
        };
        jws.verify(&key)?;
        let payload = jws.json()?;
        Ok(Post { path: &request.path, account, key, payload, jws })
    }
}
