//! Answers and problem documents (RFC 7807, RFC 8555 section 6.7).

use serde_json::{Value, json};

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json; charset=utf-8", body.to_string())
    }

    pub fn typed(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::empty(status).with("content-type", media_type).body(body)
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn retry_after(self, seconds: Option<u32>) -> Self {
        match seconds {
            Some(seconds) => self.with("retry-after", seconds.to_string()),
            None => self,
        }
    }
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What stands behind `urn:ietf:params:acme:error:`.
    pub kind: String,
    /// In words.
    pub detail: String,
    /// Seconds, when the header is sent.
    pub retry_after: Option<u32>,
    /// Problem and DNS name of each part.
    pub parts: Vec<(String, Problem)>,
    pub(super) location: Option<String>,
}

impl Problem {
    /// A problem of one of RFC 8555's types.
    pub fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        let (kind, detail) = (kind.to_owned(), detail.into());
        Self { status, kind, detail, retry_after: None, parts: Vec::new(), location: None }
    }

    /// With a `Retry-After` of so many seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With what is wrong with a DNS name.
    pub fn part(mut self, name: &str, problem: Self) -> Self {
        self.parts.push((name.to_owned(), problem));
        self
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(403, "unauthorized", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "malformed", detail)
    }

    pub(super) fn internal(detail: impl std::fmt::Display) -> Self {
        Self::new(500, "serverInternal", detail.to_string())
    }

    /// As it stands in an order or challenge.
    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "type": format!("urn:ietf:params:acme:error:{}", self.kind), "detail": self.detail, "status": self.status,
        });
        if !self.parts.is_empty() {
            let part = |(name, problem): &(String, Self)| {
                let mut json = problem.json();
                json["identifier"] = json!({"type": "dns", "value": name});
                json
            };
            json["subproblems"] = self.parts.iter().map(part).collect();
        }
        json
    }

    pub(super) fn answer(&self) -> Answer {
        let answer = Answer::typed(self.status, "application/problem+json", self.json().to_string());
        let answer = answer.retry_after(self.retry_after);
        match &self.location {
            Some(url) => answer.with("location", url.clone()),
            None => answer,
        }
    }
}
