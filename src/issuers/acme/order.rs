//! Orders and their authorizations (RFC 8555 sections 7.4 and 7.5), one step at a time.

use std::time::Duration;

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus as RawAuthorizationStatus, CertificateIdentifier,
    ChallengeStatus as RawChallengeStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus as RawStatus,
};

use super::account::{AcmeAccount, NONCE_ROUNDS, is_bad_nonce, patient};
use super::failure::{About, AcmeFailure, Class, is_type, printable, problem_words};
use super::http::{Seen, https_url};
use crate::solvers::http01::{is_host, is_token};

/// The largest certificate chain that is taken, in bytes.
pub const MAX_CHAIN: usize = 95 * 1024;

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
}

/// Status of an order (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One name's authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationView {
    /// The name, lower-cased; with `*.` in front for a wildcard.
    pub name: String,
    /// How far it is.
    pub status: AuthorizationStatus,
    /// The http-01 challenge, when the CA offers it.
    pub http01: Option<Http01>,
    /// The other challenge types the CA offers or reports on.
    pub other_challenge_types: Vec<String>,
    /// The CA's words on why a challenge of any type failed, bounded.
    pub error: Option<String>,
}

/// Status of an authorization (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AuthorizationStatus {
    Pending,
    Valid,
    Invalid,
    Revoked,
    Expired,
    Deactivated,
}

/// An http-01 challenge (RFC 8555 section 8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http01 {
    /// Goes into the path; base64url characters only.
    pub token: String,
    /// What has to be answered there.
    pub key_authorization: String,
    /// How far it is.
    pub status: ChallengeStatus,
    /// The CA's words on why it failed, bounded.
    pub error: Option<String>,
}

/// Status of a challenge (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ChallengeStatus {
    Pending,
    Processing,
    Valid,
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

impl AcmeAccount {
    /// Places an order. Once the server has it, its URL is returned whatever happens afterwards.
    pub async fn new_order(&self, request: &OrderRequest) -> Result<OrderView, AcmeFailure> {
        if request.names.is_empty() || request.names.len() > MAX_NAMES {
            let words = format!("an order has 1 to {MAX_NAMES} names, this one {}", request.names.len());
            return Err(AcmeFailure::new(Class::Refused, words));
        }
        let step = async {
            let placed = match patient!(self.place(request, request.replaces.as_deref())) {
                // Another order has replaced it already: the certificate is needed all the same (RFC 9773 section 5).
                Err(error) if is_type(&error, "alreadyReplaced") => {
                    patient!(self.place(request, None))
                }
                placed => placed,
            };
            let order = placed?;
            https_url(order.url()).map_err(AcmeFailure::into_error)?;
            Ok(order)
        };
        let (mut order, seen) = self.step(About::NewOrder, step).await?;
        // With a time limit of its own: an order whose URL is lost is an order too many.
        let read = tokio::time::timeout(self.limit() / 2, authorizations(&mut order)).await;
        let authorizations = read.ok().and_then(Result::ok).unwrap_or_default();
        Ok(order_view(order, authorizations, &seen))
    }

    async fn place(&self, request: &OrderRequest, replaces: Option<&str>) -> Result<Order, Error> {
        let identifiers: Vec<Identifier> = request.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = NewOrder::new(&identifiers);
        if let Some(profile) = &request.profile {
            order = order.profile(profile);
        }
        if let Some((aki, serial)) = replaces.and_then(|id| id.split_once('.')) {
            let replaced = CertificateIdentifier { authority_key_identifier: aki.into(), serial: serial.into() };
            order = order.replaces(replaced);
        }
        self.account.new_order(&order).await
    }

    /// Looks at the order at `url`, and at its authorizations while they matter.
    pub async fn look(&self, url: &str) -> Result<OrderView, AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            let authorizations = authorizations(&mut order).await?;
            Ok((order, authorizations))
        };
        let ((order, authorizations), seen) = self.step(About::Order, step).await?;
        Ok(order_view(order, authorizations, &seen))
    }

    /// Tells the CA that the http-01 challenges of `names` can be looked at. Those whose authorization or challenge
    /// is no longer pending are left alone, so a repeated step does no harm.
    pub async fn answer(&self, url: &str, names: &[String]) -> Result<(), AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            if order.state().status != RawStatus::Pending {
                return Ok(());
            }
            fetch_authorizations(&mut order).await?;
            let mut handles = order.authorizations();
            while let Some(handle) = handles.next().await {
                let handle = handle?;
                let name = handle.identifier().to_string();
                let wanted = names.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name));
                if wanted && handle.status == RawAuthorizationStatus::Pending {
                    set_ready(handle).await?;
                }
            }
            Ok(())
        };
        let answered = self.step(About::Order, step).await.map(|_| ());
        // "It is not pending any more" comes as malformed: the next look shows what the challenge came to.
        answered.map_err(|failure| match failure.class {
            Class::Refused | Class::NeedsUser => AcmeFailure::transient(None, failure.words),
            _ => failure,
        })
    }

    /// Asks for the certificate of `csr_der` when the order is ready; otherwise only reports where it is.
    pub async fn finalize(&self, url: &str, csr_der: &[u8]) -> Result<OrderView, AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            if order.state().status == RawStatus::Ready {
                patient!(order.finalize_csr(csr_der))?;
            }
            Ok(order)
        };
        let (order, seen) = self.step(About::Order, step).await?;
        Ok(order_view(order, Vec::new(), &seen))
    }

    /// The chain of a valid order, in PEM, leaf first, at most [`MAX_CHAIN`] bytes. What is in it is not checked here.
    pub async fn download(&self, url: &str) -> Result<String, AcmeFailure> {
        Ok(self.download_with_alternates(url).await?.0)
    }

    /// As [`AcmeAccount::download`], and the URLs of the CA's alternate chains (RFC 8555 section 7.4.2).
    pub async fn download_with_alternates(&self, url: &str) -> Result<(String, Vec<String>), AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            let state = order.state();
            let reason = state.error.as_ref().map(problem_words).unwrap_or_default();
            match state.status {
                RawStatus::Valid => {}
                RawStatus::Invalid => {
                    let words = format!("the order failed: {reason}");
                    return Err(AcmeFailure::new(Class::OrderLost, words).into_error());
                }
                _ => return Err(AcmeFailure::transient(None, "the certificate is not ready yet").into_error()),
            }
            patient!(order.certificate())
        };
        let (chain, seen) = self.step(About::Order, step).await?;
        Ok((bounded_chain(chain.unwrap_or_default())?, seen.alternates))
    }

    /// The alternate chain at `url`, one of [`AcmeAccount::download_with_alternates`].
    pub async fn download_alternate(&self, url: &str) -> Result<String, AcmeFailure> {
        https_url(url)?;
        let step = async {
            // The library signs a POST-as-GET for orders only. Its failure to read a chain as an order is expected;
            // the chain itself is in the note of the HTTP layer.
            match patient!(self.account.order(url.into())) {
                Err(Error::Json(_)) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        };
        let (_, seen) = self.step(About::Order, step).await?;
        let body = seen.body.map(|body| body.to_vec()).unwrap_or_default();
        bounded_chain(String::from_utf8(body).unwrap_or_default())
    }

    /// Gives up the pending authorizations of an order that is not needed any more, so that they do not count against
    /// the account. Returns how many; those the server refuses to give up are skipped.
    pub async fn deactivate_pending(&self, url: &str) -> Result<usize, AcmeFailure> {
        let step = async {
            let mut order = self.fetch(url).await?;
            fetch_authorizations(&mut order).await?;
            let mut handles = order.authorizations();
            let mut given_up = 0;
            while let Some(handle) = handles.next().await {
                let mut handle = handle?;
                if handle.status == RawAuthorizationStatus::Pending {
                    given_up += usize::from(patient!(handle.deactivate()).is_ok());
                }
            }
            Ok(given_up)
        };
        Ok(self.step(About::Order, step).await?.0)
    }

    async fn fetch(&self, url: &str) -> Result<Order, Error> {
        let lost = |_| AcmeFailure::new(Class::OrderLost, "the order's URL is not a valid https URL").into_error();
        https_url(url).map_err(lost)?;
        patient!(self.account.order(url.into()))
    }
}

async fn set_ready(mut handle: AuthorizationHandle<'_>) -> Result<(), Error> {
    match handle.challenge(ChallengeType::Http01) {
        Some(mut challenge) if challenge.status == RawChallengeStatus::Pending => {
            patient!(challenge.set_ready())
        }
        _ => Ok(()),
    }
}

/// Reads every authorization of the order into it. One that was read stays read, so bad nonces cost one request each.
async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let count = order.state().authorizations.len();
    if count > MAX_NAMES {
        let words = format!("the ACME server's order has {count} authorizations, more than {MAX_NAMES}");
        return Err(AcmeFailure::transient(None, words).into_error());
    }
    let mut rounds = count + 4;
    'round: loop {
        let mut handles = order.authorizations();
        while let Some(handle) = handles.next().await {
            match handle.map(|_| ()) {
                Err(error) if is_bad_nonce(&error) && rounds > 0 => {
                    rounds -= 1;
                    continue 'round;
                }
                read => read?,
            }
        }
        return Ok(());
    }
}

async fn authorizations(order: &mut Order) -> Result<Vec<AuthorizationView>, Error> {
    if !matches!(order.state().status, RawStatus::Pending | RawStatus::Invalid) {
        return Ok(Vec::new());
    }
    fetch_authorizations(order).await?;
    let mut views = Vec::new();
    let mut handles = order.authorizations();
    while let Some(handle) = handles.next().await {
        views.push(authorization_view(handle?)?);
    }
    Ok(views)
}

fn authorization_view(handle: AuthorizationHandle<'_>) -> Result<AuthorizationView, Error> {
    // A binding of its own: `challenge` borrows the handle for as long as its type says.
    let mut handle = handle;
    let name = handle.identifier().to_string().to_ascii_lowercase();
    if !is_host(name.strip_prefix("*.").unwrap_or(&name)) {
        let words = "the ACME server asks for the authorization of something that is no DNS name";
        return Err(AcmeFailure::transient(None, words).into_error());
    }
    let mut others = Vec::new();
    let mut error = None;
    for challenge in &handle.challenges {
        error = error.or_else(|| challenge.error.as_ref().map(problem_words));
        if challenge.r#type != ChallengeType::Http01 && others.len() < 16 {
            others.push(type_name(&challenge.r#type));
        }
    }
    let status = authorization_status(handle.status);
    let http01 = handle.challenge(ChallengeType::Http01).map(|challenge| {
        if !is_token(&challenge.token) {
            let words = "the ACME server sent a challenge token with characters that no token has";
            return Err(AcmeFailure::transient(None, words).into_error());
        }
        Ok(Http01 {
            token: challenge.token.clone(),
            key_authorization: challenge.key_authorization().as_str().to_string(),
            status: challenge_status(challenge.status),
            error: challenge.error.as_ref().map(problem_words),
        })
    });
    Ok(AuthorizationView { name, status, http01: http01.transpose()?, other_challenge_types: others, error })
}

fn order_view(mut order: Order, authorizations: Vec<AuthorizationView>, seen: &Seen) -> OrderView {
    let state = order.state();
    let status = match state.status {
        RawStatus::Pending => OrderStatus::Pending,
        RawStatus::Ready => OrderStatus::Ready,
        RawStatus::Processing => OrderStatus::Processing,
        RawStatus::Valid => OrderStatus::Valid,
        RawStatus::Invalid => OrderStatus::Invalid,
    };
    let error = state.error.as_ref().map(problem_words);
    OrderView { url: order.url().to_string(), status, error, authorizations, retry_after: seen.longest_wait }
}

fn bounded_chain(chain: String) -> Result<String, AcmeFailure> {
    let words = match chain.as_str() {
        long if long.len() > MAX_CHAIN => format!("the CA's certificate chain is larger than {MAX_CHAIN} bytes"),
        pem if pem.starts_with("-----BEGIN CERTIFICATE-----") => return Ok(chain),
        _ => "the CA answered without a certificate in PEM".into(),
    };
    Err(AcmeFailure::transient(None, words))
}

fn type_name(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "http-01".into(),
        ChallengeType::Dns01 => "dns-01".into(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".into(),
        ChallengeType::DeviceAttest01 => "device-attest-01".into(),
        ChallengeType::Unknown(name) => printable(name, 64),
        _ => "unknown".into(),
    }
}

fn authorization_status(status: RawAuthorizationStatus) -> AuthorizationStatus {
    match status {
        RawAuthorizationStatus::Pending => AuthorizationStatus::Pending,
        RawAuthorizationStatus::Valid => AuthorizationStatus::Valid,
        RawAuthorizationStatus::Invalid => AuthorizationStatus::Invalid,
        RawAuthorizationStatus::Revoked => AuthorizationStatus::Revoked,
        RawAuthorizationStatus::Expired => AuthorizationStatus::Expired,
        RawAuthorizationStatus::Deactivated => AuthorizationStatus::Deactivated,
    }
}

fn challenge_status(status: RawChallengeStatus) -> ChallengeStatus {
    match status {
        RawChallengeStatus::Pending => ChallengeStatus::Pending,
        RawChallengeStatus::Processing => ChallengeStatus::Processing,
        RawChallengeStatus::Valid => ChallengeStatus::Valid,
        RawChallengeStatus::Invalid => ChallengeStatus::Invalid,
    }
}
