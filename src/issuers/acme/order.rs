//! Orders (RFC 8555 section 7.4), one step at a time.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::account::AcmeAccount;
use super::challenge::{AuthorizationStatus, AuthorizationView, ChallengeKind, ChallengeStatus, authorization};
use super::failure::{About, AcmeFailure, Class, Error, from_json};
use super::http::https_url;
use super::problem::{Problem, problem_words};

/// The largest certificate chain that is taken, in bytes.
pub const MAX_CHAIN: usize = 95 * 1024;

/// The longest certificate chain that is taken, in certificates.
pub const MAX_CHAIN_CERTIFICATES: usize = 10;

/// The most names of one order, and so the most authorizations that are read.
pub const MAX_NAMES: usize = 256;

/// An order as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// Where the order lives; the key to every later step.
    pub url: String,
    /// How far it is.
    pub status: OrderStatus,
    /// The CA's words on why it failed, bounded.
    pub error: Option<String>,
    /// What is still to be shown. Read only while the order is pending, and once it is invalid (for the reasons).
    /// Empty after [`AcmeAccount::new_order`] when they could not be read: [`AcmeAccount::look`] has them.
    pub authorizations: Vec<AuthorizationView>,
    /// The longest wait the server asked for in this step.
    pub retry_after: Option<Duration>,
    /// After [`AcmeAccount::new_order`]: why the order does not name the certificate that it replaces, when it was
    /// asked to and the CA did not take that.
    pub replaces_dropped: Option<String>,
}

/// Status of an order (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// It can be finalized.
    Ready,
    /// The certificate is being made.
    Processing,
    /// The certificate is there.
    Valid,
    /// It failed for good.
    Invalid,
}

/// What to order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderRequest {
    /// DNS names; the caller has checked them.
    pub names: Vec<String>,
    /// The CA's profile to issue under.
    pub profile: Option<String>,
    /// The ARI identifier of the certificate that this one replaces (RFC 9773 section 4.1).
    pub replaces: Option<String>,
}

/// An order object (RFC 8555 section 7.1.3), as far as it matters.
#[derive(Debug, Deserialize)]
struct State {
    status: OrderStatus,
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<Problem>,
}

/// An order with its URL.
struct Order {
    url: String,
    state: State,
    retry_after: Option<Duration>,
}

impl Order {
    fn view(self, authorizations: Vec<AuthorizationView>) -> OrderView {
        OrderView {
            url: self.url,
            status: self.state.status,
            error: self.state.error.as_ref().map(problem_words),
            authorizations,
            retry_after: self.retry_after,
            replaces_dropped: None,
        }
    }
}

impl AcmeAccount {
    /// Places an order. Once the server has it, its URL is returned whatever happens afterwards.
    ///
    /// What the order replaces is a favour to the CA: when it does not take that, the order is placed without
    /// (RFC 9773 section 5), and the view says why.
    pub async fn new_order(&self, request: &OrderRequest) -> Result<OrderView, AcmeFailure> {
        if request.names.is_empty() || request.names.len() > MAX_NAMES {
            let words = format!("an order has 1 to {MAX_NAMES} names, this one {}", request.names.len());
            return Err(AcmeFailure::new(Class::Refused, words));
        }
        let offered = self.client().urls().renewal_info.is_some();
        let replaces = request.replaces.as_deref().filter(|_| offered);
        let mut dropped = match (&request.replaces, replaces) {
            (Some(_), None) => Some("the CA offers no renewal information (RFC 9773)".to_owned()),
            _ => None,
        };
        let step = async {
            match (self.place(request, replaces).await, replaces) {
                (Err(error), Some(_)) if may_be_about_replaces(&error) => {
                    dropped = Some(error.about(About::NewOrder).words);
                    self.place(request, None).await
                }
                (placed, _) => placed,
            }
        };
        let mut order = self.client().step(About::NewOrder, step).await?;
        // With a time limit of its own: an order whose URL is lost is an order too many.
        let limit = self.client().http().limits().step / 2;
        let read = tokio::time::timeout(limit, self.authorizations(&mut order)).await;
        let authorizations = read.ok().and_then(Result::ok).unwrap_or_default();
        Ok(OrderView { replaces_dropped: dropped, ..order.view(authorizations) })
    }

    async fn place(&self, request: &OrderRequest, replaces: Option<&str>) -> Result<Order, Error> {
        let identifiers: Vec<_> = request.names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
        let mut payload = json!({"identifiers": identifiers});
        if let Some(profile) = &request.profile {
            payload["profile"] = profile.as_str().into();
        }
        if let Some(replaces) = replaces {
            payload["replaces"] = replaces.into();
        }
        let url = &self.client().urls().new_order;
        let answer = self.client().post(&self.signer(), url, &payload.to_string()).await?;
        let location = answer.location.filter(|url| https_url(url).is_ok()).ok_or_else(|| {
            AcmeFailure::transient(None, "the ACME server named no valid https URL for the order (Location)")
        })?;
        Ok(Order { url: location, state: from_json(&answer.body)?, retry_after: answer.retry_after })
    }

    /// Looks at the order at `url`, and at its authorizations while they matter.
    pub async fn look(&self, url: &str) -> Result<OrderView, AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            let authorizations = self.authorizations(&mut order).await?;
            Ok(order.view(authorizations))
        };
        self.client().step(About::Order, step).await
    }

    /// Tells the CA that it can look at the chosen challenge of each of these names (`*.` in front for a wildcard).
    /// Those whose authorization or challenge is no longer pending are left alone, so a repeated step does no harm.
    pub async fn answer(&self, url: &str, chosen: &[(String, ChallengeKind)]) -> Result<(), AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            if order.state.status != OrderStatus::Pending {
                return Ok(());
            }
            for authorization in self.authorizations(&mut order).await? {
                let wanted = chosen.iter().find(|(name, _)| name.eq_ignore_ascii_case(&authorization.name));
                let challenge = wanted.and_then(|(_, kind)| authorization.challenge(kind));
                let pending = authorization.status == AuthorizationStatus::Pending;
                if let Some(challenge) = challenge.filter(|c| pending && c.status == ChallengeStatus::Pending) {
                    self.client().post(&self.signer(), &challenge.url, "{}").await?;
                }
            }
            Ok(())
        };
        // "It is not pending any more" comes as malformed: the next look shows what the challenge came to.
        self.client().step(About::Order, step).await.map_err(|failure| match failure.class {
            Class::Refused | Class::NeedsUser => AcmeFailure::transient(None, failure.words),
            _ => failure,
        })
    }

    /// Asks for the certificate of `csr_der` when the order is ready; otherwise only reports where it is.
    pub async fn finalize(&self, url: &str, csr_der: &[u8]) -> Result<OrderView, AcmeFailure> {
        let step = async {
            let order = self.fetch(url).await?;
            if order.state.status != OrderStatus::Ready {
                return Ok(order);
            }
            let payload = json!({"csr": BASE64_URL_SAFE_NO_PAD.encode(csr_der)}).to_string();
            let answer = self.client().post(&self.signer(), &order.state.finalize, &payload).await?;
            let retry_after = answer.retry_after.max(order.retry_after);
            Ok(Order { url: order.url, state: from_json(&answer.body)?, retry_after })
        };
        Ok(self.client().step(About::Order, step).await?.view(Vec::new()))
    }

    /// The chain of a valid order, in PEM, leaf first, at most [`MAX_CHAIN`] bytes and [`MAX_CHAIN_CERTIFICATES`]
    /// certificates. What is in it is not checked here.
    pub async fn download(&self, url: &str) -> Result<String, AcmeFailure> {
        Ok(self.download_with_alternates(url).await?.0)
    }

    /// As [`AcmeAccount::download`], and the URLs of the CA's alternate chains (RFC 8555 section 7.4.2), at most 8.
    pub async fn download_with_alternates(&self, url: &str) -> Result<(String, Vec<String>), AcmeFailure> {
        let step = async {
            let order = self.fetch(url).await?;
            let certificate = match (order.state.status, order.state.certificate) {
                (OrderStatus::Valid, Some(certificate)) => certificate,
                (OrderStatus::Invalid, _) => {
                    let reason = order.state.error.as_ref().map(problem_words).unwrap_or_default();
                    return Err(AcmeFailure::new(Class::OrderLost, format!("the order failed: {reason}")).into());
                }
                _ => return Err(AcmeFailure::transient(None, "the certificate is not ready yet").into()),
            };
            let answer = self.client().read(&self.signer(), &certificate).await?;
            Ok((bounded_chain(&answer.body)?, answer.alternates))
        };
        self.client().step(About::Order, step).await
    }

    /// The alternate chain at `url`, one of [`AcmeAccount::download_with_alternates`].
    pub async fn download_alternate(&self, url: &str) -> Result<String, AcmeFailure> {
        let step = async {
            let answer = self.client().read(&self.signer(), url).await?;
            Ok(bounded_chain(&answer.body)?)
        };
        self.client().step(About::Order, step).await
    }

    /// Gives up the pending authorizations of an order that is not needed any more, so that they do not count against
    /// the account. Returns how many; those the server refuses to give up are skipped.
    pub async fn deactivate_pending(&self, url: &str) -> Result<usize, AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            let mut given_up = 0;
            for authorization in self.authorizations(&mut order).await? {
                if authorization.status == AuthorizationStatus::Pending {
                    let payload = r#"{"status":"deactivated"}"#;
                    let answer = self.client().post(&self.signer(), &authorization.url, payload).await;
                    given_up += usize::from(answer.is_ok());
                }
            }
            Ok(given_up)
        };
        self.client().step(About::Order, step).await
    }

    async fn fetch(&self, url: &str) -> Result<Order, Error> {
        https_url(url).map_err(|_| AcmeFailure::new(Class::OrderLost, "the order's URL is not a valid https URL"))?;
        let answer = self.client().read(&self.signer(), url).await?;
        Ok(Order { url: url.to_owned(), state: from_json(&answer.body)?, retry_after: answer.retry_after })
    }

    /// Reads the order's authorizations while they matter.
    async fn authorizations(&self, order: &mut Order) -> Result<Vec<AuthorizationView>, Error> {
        if !matches!(order.state.status, OrderStatus::Pending | OrderStatus::Invalid) {
            return Ok(Vec::new());
        }
        let count = order.state.authorizations.len();
        if count > MAX_NAMES {
            let words = format!("the ACME server's order has {count} authorizations, more than {MAX_NAMES}");
            return Err(AcmeFailure::transient(None, words).into());
        }
        let mut views = Vec::with_capacity(count);
        for url in &order.state.authorizations {
            let answer = self.client().read(&self.signer(), url).await?;
            order.retry_after = order.retry_after.max(answer.retry_after);
            views.push(authorization(url, &answer.body, self.thumbprint())?);
        }
        Ok(views)
    }
}

/// CAs have a code for one of the reasons only: others say `malformed`, `unauthorized`, `serverInternal` or 404 where
/// they mean the certificate to be replaced. Asked again without it, they say what they mean.
fn may_be_about_replaces(error: &Error) -> bool {
    let clear = [
        "rateLimited",
        "badNonce",
        "accountDoesNotExist",
        "userActionRequired",
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "invalidProfile",
        "caa",
    ];
    match error {
        Error::Problem(answered) => {
            let unavailable = [http::StatusCode::TOO_MANY_REQUESTS, http::StatusCode::SERVICE_UNAVAILABLE];
            !unavailable.contains(&answered.status) && !clear.contains(&answered.problem.short_type())
        }
        Error::Bare(status, _) => {
            [http::StatusCode::NOT_FOUND, http::StatusCode::CONFLICT, http::StatusCode::BAD_REQUEST].contains(status)
        }
        Error::Garbled(_) | Error::Failed(_) => false,
    }
}

fn bounded_chain(body: &[u8]) -> Result<String, AcmeFailure> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    if body.len() > MAX_CHAIN {
        return Err(AcmeFailure::unusable(format!("the CA's certificate chain is larger than {MAX_CHAIN} bytes")));
    }
    let text = std::str::from_utf8(body).ok().filter(|text| text.starts_with(BEGIN));
    let Some(text) = text else {
        return Err(AcmeFailure::transient(None, "the CA answered without a certificate in PEM"));
    };
    match text.matches(BEGIN).count() {
        count if count > MAX_CHAIN_CERTIFICATES => Err(AcmeFailure::unusable(format!(
            "the CA's certificate chain has {count} certificates; at most {MAX_CHAIN_CERTIFICATES} are taken"
        ))),
        _ => Ok(text.to_owned()),
    }
}
