//! Orders, authorizations and challenges (RFC 8555 sections 7.4 and 7.5).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use super::core::{Core, Job, Post, State, token};
use super::faults::Fault;
use super::log::OrderRecord;
use super::script::{ChallengeView, Validation};

/// How long orders and pending authorizations live, in seconds.
const LIFETIME: i64 = 7 * 86_400;

/// An order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub account: usize,
    pub names: Vec<String>,
    pub profile: Option<String>,
    pub replaces: Option<String>,
    /// Exempt from rate limits.
    pub exempt: bool,
    pub created: i64,
    pub authorizations: Vec<usize>,
    pub error: Option<Problem>,
    /// The certificate, and from when on it is there.
    pub issued: Option<(usize, i64)>,
}

/// An authorization.
#[derive(Clone, Debug)]
pub(super) struct Authorization {
    pub account: usize,
    pub name: String,
    pub wildcard: bool,
    pub expires: i64,
    pub status: &'static str,
    pub challenges: Vec<Challenge>,
}

/// A challenge.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    kind: String,
    token: String,
    status: &'static str,
    error: Option<Problem>,
    /// Not before then, and not before the outcome is known.
    due: i64,
    outcome: Option<Result<(), Problem>>,
}

impl State {
    /// Does what is due by the clock.
    pub fn settle(&mut self) {
        let now = self.now();
        let mut still_open = Vec::new();
        for (authorization, number) in std::mem::take(&mut self.open) {
            let at = &mut self.authorizations[authorization];
            let challenge = &mut at.challenges[number];
            let outcome = match &challenge.outcome {
                Some(outcome) if challenge.due <= now => outcome.clone(),
                _ => {
                    still_open.push((authorization, number));
                    continue;
                }
            };
            if at.status != "pending" {
                continue;
            }
            match outcome {
                Ok(()) => {
                    (challenge.status, at.status) = ("valid", "valid");
                    at.expires = now + self.script.authorization_reuse.max(LIFETIME);
                }
                Err(problem) => {
                    (challenge.status, challenge.error, at.status) = ("invalid", Some(problem), "invalid");
                    self.counts.failed(at.account, &at.name, now);
                }
            }
        }
        self.open = still_open;
    }

    /// RFC 8555 section 7.1.6.
    pub fn order_status(&self, order: &Order) -> &'static str {
        let now = self.now();
        if order.error.is_some() {
            return "invalid";
        }
        if let Some((_, from)) = order.issued {
            return if from <= now { "valid" } else { "processing" };
        }
        let all = |word: &str| order.authorizations.iter().all(|a| self.authorizations[*a].status == word);
        let lost = |a: &usize| !matches!(self.authorizations[*a].status, "pending" | "valid");
        match () {
            () if order.created + LIFETIME <= now || order.authorizations.iter().any(lost) => "invalid",
            () if all("valid") => "ready",
            () => "pending",
        }
    }

    /// What somebody found out about a challenge.
    pub fn validated(&mut self, authorization: usize, challenge: usize, outcome: Result<(), Problem>) {
        self.authorizations[authorization].challenges[challenge].outcome = Some(outcome);
    }

    /// Every challenge that is being looked at is met.
    pub fn validate_all(&mut self) {
        for (authorization, challenge) in self.open.clone() {
            self.validated(authorization, challenge, Ok(()));
        }
    }

    /// The order that is open already for the same.
    fn open_order(
        &self,
        account: usize,
        names: &[String],
        profile: &Option<String>,
        replaces: &Option<String>,
    ) -> Option<usize> {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let same = |order: &Order| {
            let asked = (order.account, &order.profile, &order.replaces) == (account, profile, replaces);
            let open = matches!(self.order_status(order), "pending" | "ready");
            asked && open && set(&order.names) == set(names)
        };
        if self.script.order_reuse { self.orders.iter().rposition(same) } else { None }
    }

    fn reusable(&self, account: usize, name: &str, now: i64) -> Option<usize> {
        let good = |a: &Authorization| {
            let same = a.account == account && full_name(a) == name;
            same && a.status == "valid" && a.expires > now
        };
        if self.script.authorization_reuse <= 0 { None } else { self.authorizations.iter().rposition(good) }
    }
}

fn full_name(authorization: &Authorization) -> String {
    let star = if authorization.wildcard { "*." } else { "" };
    format!("{star}{}", authorization.name)
}

/// The names of a new order, in lower case.
fn names(payload: &Value, blocked: &[String]) -> Result<Vec<String>, Problem> {
    let list = payload["identifiers"].as_array().filter(|list| !list.is_empty() && list.len() <= 100);
    let list = list.ok_or_else(|| Problem::malformed("an order needs 1 to 100 identifiers"))?;
    let mut names = Vec::new();
    for identifier in list {
        let name = identifier["value"].as_str().unwrap_or_default().to_ascii_lowercase();
        if identifier["type"] != "dns" {
            return Err(Problem::new(400, "unsupportedIdentifier", "only DNS names are certified"));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let host = name.strip_prefix("*.").unwrap_or(&name);
        if blocked.contains(&name) || !host.contains('.') || !host.chars().all(letter) {
            let refused = Problem::new(400, "rejectedIdentifier", format!("the CA does not certify {name:?}"));
            return Err(refused.clone().part(&name, refused));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Core {
    fn order_json(&self, state: &State, number: usize) -> Value {
        let order = &state.orders[number];
        let urls: Vec<_> = order.authorizations.iter().map(|a| self.url(&format!("/authz/{a}"))).collect();
        let identifiers: Vec<_> = order.names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
        let mut json = json!({
            "status": state.order_status(order), "expires": rfc3339(order.created + LIFETIME), "identifiers": identifiers,
            "authorizations": urls, "finalize": self.url(&format!("/finalize/{number}")),
        });
        if let Some(problem) = &order.error {
            json["error"] = problem.json();
        }
        if let (Some((certificate, _)), "valid") = (order.issued, state.order_status(order)) {
            json["certificate"] = self.url(&format!("/cert/{certificate}")).into();
        }
        for (key, value) in [("profile", &order.profile), ("replaces", &order.replaces)] {
            if let Some(value) = value {
                json[key] = value.as_str().into();
            }
        }
        json
    }

    pub fn order_answer(&self, status: u16, state: &State, number: usize) -> Answer {
        let json = self.order_json(state, number);
        let wait = state.script.retry_after.filter(|_| json["status"] == "pending" || json["status"] == "processing");
        let url = self.url(&format!("/order/{number}"));
        Answer::json(status, &json).with("location", url).retry_after(wait)
    }

    pub fn new_order(&self, state: &mut State, post: &Post<'_>, fault: Option<&Fault>) -> Result<Answer, Problem> {
        let (account, payload, now) = (post.account()?, post.payload()?, state.now());
        let names = names(payload, &state.script.blocked)?;
        let profile = payload["profile"].as_str().map(str::to_owned);
        if let Some(profile) = profile.as_ref().filter(|p| !state.script.profiles.iter().any(|known| known.name == **p))
        {
            return Err(Problem::new(400, "invalidProfile", format!("there is no profile {profile:?}")));
        }
        let replaces = payload["replaces"].as_str().map(str::to_owned);
        if let Some(known) = state.open_order(account, &names, &profile, &replaces) {
            return Ok(self.order_answer(201, state, known));
        }
        let exempt = replaces.as_deref().map(|id| state.may_replace(id, account, &names)).transpose()?.is_some();
        if !exempt {
            let limits = state.script.limits;
            if let Some((limit, problem)) = state.counts.exceeded(&limits, account, &names, now) {
                *state.limited.entry(limit).or_default() += 1;
                return Err(problem);
            }
            state.counts.ordered(account, now);
        }
        let authorizations = names.iter().map(|name| self.authorize(state, account, name, now)).collect();
        let error = if let Some(Fault::InvalidOrder(problem)) = fault { Some(problem.clone()) } else { None };
        let order =
            Order { account, names, profile, replaces, exempt, created: now, authorizations, error, issued: None };
        state.orders.push(order);
        Ok(self.order_answer(201, state, state.orders.len() - 1))
    }

    fn authorize(&self, state: &mut State, account: usize, name: &str, now: i64) -> usize {
        if let Some(known) = state.reusable(account, name, now) {
            return known;
        }
        let (wildcard, name) = (name.starts_with("*."), name.trim_start_matches("*.").to_owned());
        let challenge = |kind: &String| Challenge {
            kind: kind.clone(),
            token: if kind == "dns-persist-01" { String::new() } else { token() },
            status: "pending",
            error: None,
            due: 0,
            outcome: None,
        };
        let offered = state.script.challenges.iter().filter(|kind| !wildcard || kind.starts_with("dns-"));
        let challenges = offered.map(challenge).collect();
        let expires = now + LIFETIME;
        state.authorizations.push(Authorization { account, name, wildcard, expires, status: "pending", challenges });
        state.authorizations.len() - 1
    }

    /// The number of the order at this path.
    pub fn own_order(&self, state: &State, post: &Post<'_>) -> Result<usize, Problem> {
        let (number, account) = (post.number(0)?, post.account()?);
        match state.orders.get(number) {
            Some(order) if order.account == account => Ok(number),
            _ => Err(Problem::not_found("there is no such order of this account")),
        }
    }

    pub fn order(&self, state: &State, post: &Post<'_>) -> Result<Answer, Problem> {
        Ok(self.order_answer(200, state, self.own_order(state, post)?))
    }

    fn challenge_json(&self, state: &State, authorization: usize, number: usize) -> Value {
        let at = &state.authorizations[authorization];
        let challenge = &at.challenges[number];
        let url = self.url(&format!("/challenge/{authorization}/{number}"));
        let mut json = json!({"type": challenge.kind, "url": url, "status": challenge.status});
        match challenge.token.as_str() {
            "" => {
                json["accounturi"] = self.account_url(at.account).into();
                json["issuer-domain-names"] = json!(state.script.caa_identities);
            }
            token => json["token"] = token.into(),
        }
        if let Some(problem) = &challenge.error {
            json["error"] = problem.json();
        }
        json
    }

    pub fn authorization(&self, state: &mut State, post: &Post<'_>) -> Result<Answer, Problem> {
        let (number, account) = (post.number(0)?, post.account()?);
        let known = state.authorizations.get_mut(number).filter(|a| a.account == account);
        let at = known.ok_or_else(|| Problem::not_found("there is no such authorization of this account"))?;
        if let Some(payload) = &post.payload {
            match payload["status"].as_str() {
                Some("deactivated") if matches!(at.status, "pending" | "valid") => at.status = "deactivated",
                _ => return Err(Problem::malformed("an authorization can only be deactivated")),
            }
        }
        let at = &state.authorizations[number];
        let challenges: Vec<_> = (0..at.challenges.len()).map(|n| self.challenge_json(state, number, n)).collect();
        let mut json = json!({
            "status": at.status, "expires": rfc3339(at.expires), "identifier": {"type": "dns", "value": at.name},
            "challenges": challenges,
        });
        if at.wildcard {
            json["wildcard"] = true.into();
        }
        let wait = state.script.retry_after.filter(|_| at.status == "pending");
        Ok(Answer::json(200, &json).retry_after(wait))
    }

    pub fn challenge(
        &self,
        state: &mut State,
        post: &Post<'_>,
        fault: Option<&Fault>,
        job: &mut Option<Job>,
    ) -> Result<Answer, Problem> {
        let (authorization, number, account) = (post.number(0)?, post.number(1)?, post.account()?);
        let known = state.authorizations.get(authorization).filter(|a| a.account == account);
        let known = known.filter(|a| a.challenges.len() > number);
        let at = known.ok_or_else(|| Problem::not_found("there is no such challenge of this account"))?;
        if post.payload.is_some() && at.challenges[number].status == "pending" {
            if at.status != "pending" {
                return Err(Problem::malformed(format!("the authorization is {}, not pending", at.status)));
            }
            *job = self.begin(state, authorization, number, fault);
        }
        let url = self.url(&format!("/authz/{authorization}"));
        let answer = Answer::json(200, &self.challenge_json(state, authorization, number));
        Ok(answer.with("link", format!("<{url}>;rel=\"up\"")).retry_after(state.script.retry_after))
    }

    /// The client says that a challenge can be looked at.
    fn begin(&self, state: &mut State, authorization: usize, number: usize, fault: Option<&Fault>) -> Option<Job> {
        let due = state.now() + state.script.validation_delay;
        let (http, always) = match &state.script.validation {
            Validation::Always => (false, true),
            Validation::Http(_) => (true, false),
            Validation::By(_) => (false, false),
        };
        let at = &mut state.authorizations[authorization];
        let thumbprint = state.accounts[at.account].key.thumbprint();
        let challenge = &mut at.challenges[number];
        (challenge.status, challenge.due) = ("processing", due);
        let key_authorization = match challenge.token.as_str() {
            "" => String::new(),
            token => format!("{token}.{thumbprint}"),
        };
        let view = ChallengeView {
            name: at.name.clone(),
            wildcard: at.wildcard,
            kind: challenge.kind.clone(),
            token: challenge.token.clone(),
            key_authorization,
            account: self.account_url(at.account),
        };
        state.open.push((authorization, number));
        match fault {
            Some(Fault::NeverValidates) => None,
            Some(Fault::FailsValidation(problem) | Fault::InvalidOrder(problem)) => {
                challenge.outcome = Some(Err(problem.clone()));
                None
            }
            _ if always || (http && challenge.kind != "http-01") => {
                challenge.outcome = Some(Ok(()));
                None
            }
            _ => Some((authorization, number, view)),
        }
    }

    pub fn order_records(&self, state: &State) -> Vec<OrderRecord> {
        let record = |(number, order): (usize, &Order)| OrderRecord {
            url: self.url(&format!("/order/{number}")),
            at: order.created,
            account: self.account_url(order.account),
            names: order.names.clone(),
            profile: order.profile.clone(),
            replaces: order.replaces.clone(),
            status: state.order_status(order),
            finalized: order.issued.is_some(),
        };
        state.orders.iter().enumerate().map(record).collect()
    }
}

/// A time as JSON has it (RFC 3339).
pub(super) fn rfc3339(seconds: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}
