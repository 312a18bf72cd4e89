//! Answers challenges out of a table, on any replica.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

use super::{is_host, is_key_authorization, is_token};

/// The most entries of one object.
pub const MAX_PER_OBJECT: usize = 256;

/// The most entries of the whole table.
pub const MAX_ENTRIES: usize = 50_000;

/// One challenge to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name the CA asks, lower-cased.
    pub host: String,
    /// The challenge's token.
    pub token: String,
    /// What to answer.
    pub key_authorization: String,
}

/// How long a request waits for a table that is being filled, in which its challenge is still missing.
const FILLING: Duration = Duration::from_secs(5);

/// The challenges that are answered now, each owned by the object it was made for. Clones are one table.
#[derive(Clone, Debug, Default)]
pub struct ChallengeTable {
    inner: Arc<RwLock<Table>>,
    filling: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Table {
    owned: HashMap<String, Vec<Entry>>,
    // Two objects may hold the same challenge (a copied status); the answer then is the one or the other.
    answers: HashMap<(String, String), Vec<(String, String)>>,
    entries: usize,
}

impl ChallengeTable {
    /// A table that is still being filled, by a process that has just begun: a challenge that is missing in it may yet
    /// come, and a CA that asks for it waits a little, because a wrong answer would end its order.
    pub fn filling() -> Self {
        Self { inner: Arc::default(), filling: Arc::new(watch::Sender::new(true)) }
    }

    /// From now on a challenge that is missing does not exist.
    pub fn filled(&self) {
        self.filling.send_replace(false);
    }

    /// The answer to a challenge, once it is certain.
    async fn settled(&self, host: &str, token: &str) -> Option<String> {
        if let Some(answer) = self.answer(host, token) {
            return Some(answer);
        }
        let mut filling = self.filling.subscribe();
        if !*filling.borrow() {
            return None;
        }
        let _ = tokio::time::timeout(FILLING, filling.wait_for(|filling| !filling)).await;
        self.answer(host, token)
    }

    /// Makes `entries` the challenges of the object `object_key`, in place of those it had. Returns how many of them
    /// are answered: what is not a challenge, and what is beyond the bounds, is left out.
    pub fn replace_for(&self, object_key: String, entries: Vec<Entry>) -> usize {
        let mut table = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&object_key);
        let room = MAX_ENTRIES.saturating_sub(table.entries).min(MAX_PER_OBJECT);
        let entries: Vec<Entry> = entries.into_iter().filter(is_challenge).take(room).collect();
        let count = entries.len();
        if count > 0 {
            table.insert(object_key, entries);
        }
        count
    }

    /// Forgets the challenges of an object.
    pub fn remove(&self, object_key: &str) {
        self.inner.write().unwrap_or_else(PoisonError::into_inner).remove(object_key);
    }

    /// How many challenges are answered now.
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries
    }

    /// Whether no challenge is answered now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer to a challenge.
    pub fn answer(&self, host: &str, token: &str) -> Option<String> {
        let table = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let answers = table.answers.get(&(host.to_ascii_lowercase(), token.to_string()))?;
        answers.first().map(|(_, key_authorization)| key_authorization.clone())
    }
}

impl Table {
    fn remove(&mut self, object_key: &str) {
        for entry in self.owned.remove(object_key).into_iter().flatten() {
            self.entries -= 1;
            let key = (entry.host, entry.token);
            if let Some(answers) = self.answers.get_mut(&key) {
                answers.retain(|(owner, _)| owner != object_key);
                if answers.is_empty() {
                    self.answers.remove(&key);
                }
            }
        }
    }

    fn insert(&mut self, object_key: String, entries: Vec<Entry>) {
        self.entries += entries.len();
        for entry in &entries {
            let answers = self.answers.entry((entry.host.clone(), entry.token.clone())).or_default();
            answers.push((object_key.clone(), entry.key_authorization.clone()));
        }
        self.owned.insert(object_key, entries);
    }
}

fn is_challenge(entry: &Entry) -> bool {
    is_host(&entry.host) && is_token(&entry.token) && is_key_authorization(&entry.key_authorization)
}

/// The HTTP side of the table: `GET /.well-known/acme-challenge/{token}`; 404 for all else.
pub fn router(table: ChallengeTable) -> Router {
    Router::new().route("/.well-known/acme-challenge/{token}", get(respond)).with_state(table)
}

async fn respond(
    State(table): State<ChallengeTable>,
    uri: Uri,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Response {
    let from_header = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or(from_header).map(without_port);
    let known = match host.filter(|_| is_token(&token)) {
        Some(host) => table.settled(host, &token).await,
        None => None,
    };
    match known {
        Some(key_authorization) => {
            tracing::debug!(host, "answered an http-01 challenge");
            let headers = [
                (CONTENT_TYPE, "application/octet-stream"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (CACHE_CONTROL, "no-store"),
            ];
            (headers, key_authorization).into_response()
        }
        // What was asked is arbitrary input from the Internet: it is neither logged nor echoed.
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, token: &str) -> Entry {
        Entry { host: host.into(), token: token.into(), key_authorization: format!("{token}.thumb") }
    }

    #[tokio::test]
    async fn a_challenge_that_comes_while_the_table_is_filled_is_waited_for() {
        let table = ChallengeTable::filling();
        let (asked, filled) = tokio::join!(table.settled("a.example", "t1"), async {
            table.replace_for("ns/a".into(), vec![entry("a.example", "t1")]);
            table.filled();
        });
        assert_eq!((asked.as_deref(), filled), (Some("t1.thumb"), ()));
        assert_eq!(table.settled("a.example", "t2").await, None);
    }

    #[test]
    fn a_table_answers_exactly_what_its_objects_hold() {
        let table = ChallengeTable::default();
        assert_eq!(table.replace_for("ns/a".into(), vec![entry("a.example", "t1"), entry("b.example", "t2")]), 2);
        assert_eq!(table.answer("A.Example", "t1").as_deref(), Some("t1.thumb"));
        assert_eq!(table.answer("b.example", "t1"), None, "the host counts, not the token alone");
        assert_eq!(table.replace_for("ns/a".into(), vec![entry("b.example", "t3")]), 1);
        assert_eq!(table.answer("a.example", "t1"), None);
        table.replace_for("ns/b".into(), vec![entry("b.example", "t3")]);
        table.remove("ns/a");
        assert_eq!(table.answer("b.example", "t3").as_deref(), Some("t3.thumb"), "the other object still holds it");
        table.remove("ns/b");
        table.remove("ns/b");
        assert!(table.is_empty());
    }

    #[test]
    fn what_is_no_challenge_or_too_much_is_left_out() {
        let table = ChallengeTable::default();
        let odd = vec![entry("a.example", "../x"), entry("A.example", "t"), entry("a b", "t"), entry("", "t")];
        assert_eq!(table.replace_for("ns/a".into(), odd), 0);
        let many = (0..1000).map(|n| entry("a.example", &format!("t{n}"))).collect();
        assert_eq!(table.replace_for("ns/a".into(), many), MAX_PER_OBJECT);
        assert_eq!(table.len(), MAX_PER_OBJECT);
    }

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (given, host) in
            [("a.example:80", "a.example"), ("a.example", "a.example"), ("a.example.:5002", "a.example")]
        {
            assert_eq!(without_port(given), host);
        }
    }
}
