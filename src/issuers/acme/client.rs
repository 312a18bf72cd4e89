//! Signed requests (RFC 8555 section 6): one for each step, with a nonce out of an earlier answer where there is one.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::Answer;
use super::directory::{Urls, server_url, urls};
use super::failure::{About, AcmeFailure, Class, Error};
use super::http::BoundedHttp;
use super::jws::Signer;

/// How often a request is signed anew because the server refused its nonce.
const NONCE_ROUNDS: usize = 18;

/// How many unused nonces are kept.
const MAX_NONCES: usize = 16;

/// What an ACME server offers where, and the nonces it gave. Clones share them and the connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: BoundedHttp,
    urls: Arc<Urls>,
    nonces: Arc<Mutex<Vec<String>>>,
    /// Told when the server does not know the account.
    alarm: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Client {
    /// Reads the directory of `server`.
    pub(crate) async fn open(http: &BoundedHttp, server: &str) -> Result<Self, AcmeFailure> {
        let urls = urls(http, server_url(server)).await?;
        Ok(Self { http: http.clone(), urls: Arc::new(urls), nonces: Arc::default(), alarm: None })
    }

    pub(crate) fn with_alarm(self, alarm: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { alarm: Some(alarm), ..self }
    }

    pub(crate) fn urls(&self) -> &Urls {
        &self.urls
    }

    pub(crate) fn http(&self) -> &BoundedHttp {
        &self.http
    }

    /// Sends `payload`, signed by `signer`, to `url`. A refused nonce is replaced at once: nothing was done yet.
    pub(crate) async fn post(&self, signer: &Signer<'_>, url: &str, payload: &str) -> Result<Answer, Error> {
        let mut round = 1;
        loop {
            let nonce = self.nonce().await?;
            let jws = signer.sign(Some(&nonce), url, payload)?;
            match self.http.post(url, jws).await {
                Ok(mut answer) => {
                    self.keep(answer.nonce.take());
                    return Ok(answer);
                }
                Err(error) => {
                    let refused = error.is("badNonce");
                    if refused {
                        // The others are of the same age, or of a server that was restarted.
                        self.nonces().clear();
                    }
                    if let Error::Problem(answered) = &error {
                        self.keep(answered.nonce.clone());
                    }
                    if !refused || round >= NONCE_ROUNDS {
                        return Err(error);
                    }
                }
            }
            round += 1;
        }
    }

    /// Reads what is at `url` (POST-as-GET, RFC 8555 section 6.3).
    pub(crate) async fn read(&self, signer: &Signer<'_>, url: &str) -> Result<Answer, Error> {
        self.post(signer, url, "").await
    }

    /// One step as a whole, bounded in time.
    pub(crate) async fn step<T>(
        &self,
        about: About,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, AcmeFailure> {
        let limit = self.http.limits().step;
        let Ok(outcome) = tokio::time::timeout(limit, step).await else {
            let words = format!("the ACME server took more than {} s for one step", limit.as_secs_f32());
            return Err(AcmeFailure::transient(None, words).unanswered(true));
        };
        outcome.map_err(|error| error.about(about)).inspect_err(|failure| {
            if let (Class::AccountGone, Some(alarm)) = (&failure.class, &self.alarm) {
                alarm();
            }
        })
    }

    async fn nonce(&self) -> Result<String, Error> {
        let kept = self.nonces().pop();
        if let Some(nonce) = kept {
            return Ok(nonce);
        }
        let fresh = self.http.head(&self.urls.new_nonce).await?.nonce;
        fresh.ok_or_else(|| AcmeFailure::transient(None, "the ACME server gave no nonce (Replay-Nonce)").into())
    }

    fn keep(&self, nonce: Option<String>) {
        let mut kept = self.nonces();
        // A nonce stands for one request; a server that repeats itself is none of ours to mend.
        if let Some(nonce) = nonce.filter(|nonce| kept.len() < MAX_NONCES && !kept.contains(nonce)) {
            kept.push(nonce);
        }
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
