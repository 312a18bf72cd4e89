//! Answers challenges out of a table, on any replica.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{is_host, is_key_authorization, is_token};
use crate::solvers::table::{Challenge, Table};

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

/// The challenges that are answered now.
pub type ChallengeTable = Table<Entry>;

impl Challenge for Entry {
    type Question = (String, String);
    type Answer = String;

    fn is_sound(&self) -> bool {
        is_host(&self.host) && is_token(&self.token) && is_key_authorization(&self.key_authorization)
    }
    fn question(&self) -> (String, String) {
        (self.host.clone(), self.token.clone())
    }
    fn answer(&self) -> String {
        self.key_authorization.clone()
    }
}

impl Table<Entry> {
    /// The answer to a challenge.
    pub fn answer(&self, host: &str, token: &str) -> Option<String> {
        self.look_up(&(host.to_ascii_lowercase(), token.to_owned()))
    }
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
        Some(host) => table.settled(&(host.to_ascii_lowercase(), token)).await,
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
    use crate::solvers::table::MAX_PER_OBJECT;

    fn entry(host: &str, token: &str) -> Entry {
        Entry { host: host.into(), token: token.into(), key_authorization: format!("{token}.thumb") }
    }

    async fn settled(table: &ChallengeTable, token: &str) -> Option<String> {
        table.settled(&("a.example".to_owned(), token.to_owned())).await
    }

    #[tokio::test]
    async fn a_challenge_that_comes_while_the_table_is_filled_is_waited_for() {
        let table = ChallengeTable::filling();
        let (asked, filled) = tokio::join!(settled(&table, "t1"), async {
            table.replace_for("ns/a".into(), vec![entry("a.example", "t1")]);
            table.filled();
        });
        assert_eq!((asked.as_deref(), filled), (Some("t1.thumb"), ()));
        assert_eq!(settled(&table, "t2").await, None);
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
