//! Orders (RFC 8555 section 7.4), one step at a time.

use std::time::Duration;

/// Status of an order (RFC 8555 section 7.1.6).
pub use instant_acme::OrderStatus;
use instant_acme::{AuthorizationHandle, CertificateIdentifier, Identifier, NewOrder, Order};

use super::account::AcmeAccount;
use super::challenge::{AuthorizationStatus, AuthorizationView, ChallengeKind, ChallengeStatus, authorization};
use super::failure::{About, AcmeFailure, Class, Error};
use super::http::https_url;
use super::library::{Library, Seen};
use super::problem::problem_words;

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

fn view(mut order: Order, authorizations: Vec<AuthorizationView>, seen: &Seen) -> OrderView {
    let state = order.state();
    OrderView {
        status: state.status,
        error: state.error.as_ref().map(problem_words),
        url: order.url().to_owned(),
        authorizations,
        retry_after: seen.longest_wait,
        replaces_dropped: None,
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
            let library = Library::of(self).await?;
            let order = match (place(&library, request, replaces).await, replaces) {
                (Err(error), Some(_)) if may_be_about_replaces(&error) => {
                    dropped = Some(error.about(About::NewOrder).words);
                    place(&library, request, None).await?
                }
                (placed, _) => placed?,
            };
            Ok((order, library))
        };
        let (mut order, library) = self.client().step(About::NewOrder, step).await?;
        // With a time limit of its own: an order whose URL is lost is an order too many.
        let limit = self.client().http().limits().step / 2;
        let read = tokio::time::timeout(limit, self.authorizations(&mut order)).await;
        let authorizations = read.ok().and_then(Result::ok).unwrap_or_default();
        Ok(OrderView { replaces_dropped: dropped, ..view(order, authorizations, &library.seen()) })
    }

    /// Looks at the order at `url`, and at its authorizations while they matter.
    pub async fn look(&self, url: &str) -> Result<OrderView, AcmeFailure> {
        let step = async {
            let (library, mut order) = self.fetch(url).await?;
            let authorizations = self.authorizations(&mut order).await?;
            Ok(view(order, authorizations, &library.seen()))
        };
        self.client().step(About::Order, step).await
    }

    /// Tells the CA that it can look at the chosen challenge of each of these names (`*.` in front for a wildcard).
    /// Those whose authorization or challenge is no longer pending are left alone, so a repeated step does no harm.
    pub async fn answer(&self, url: &str, chosen: &[(String, ChallengeKind)]) -> Result<(), AcmeFailure> {
        let step = async {
            let (_, mut order) = self.fetch(url).await?;
            if order.state().status != OrderStatus::Pending {
                return Ok(());
            }
            // All of them are read before the first is answered: what makes no sense is answered by nothing.
            self.authorizations(&mut order).await?;
            let mut handles = order.authorizations();
            while let Some(handle) = handles.next().await {
                set_ready(handle?, chosen).await?;
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
            let (library, mut order) = self.fetch(url).await?;
            if order.state().status == OrderStatus::Ready {
                order.finalize_csr(csr_der).await?;
            }
            Ok(view(order, Vec::new(), &library.seen()))
        };
        self.client().step(About::Order, step).await
    }

    /// The chain of a valid order, in PEM, leaf first, at most [`MAX_CHAIN`] bytes and [`MAX_CHAIN_CERTIFICATES`]
    /// certificates. What is in it is not checked here.
    pub async fn download(&self, url: &str) -> Result<String, AcmeFailure> {
        Ok(self.download_with_alternates(url).await?.0)
    }

    /// As [`AcmeAccount::download`], and the URLs of the CA's alternate chains (RFC 8555 section 7.4.2), at most 8.
    pub async fn download_with_alternates(&self, url: &str) -> Result<(String, Vec<String>), AcmeFailure> {
        let step = async {
            let (library, mut order) = self.fetch(url).await?;
            let state = order.state();
            match (state.status, &state.certificate) {
                (OrderStatus::Valid, Some(_)) => {}
                (OrderStatus::Invalid, _) => {
                    let reason = state.error.as_ref().map(problem_words).unwrap_or_default();
                    return Err(AcmeFailure::new(Class::OrderLost, format!("the order failed: {reason}")).into());
                }
                _ => return Err(AcmeFailure::transient(None, "the certificate is not ready yet").into()),
            }
            let chain = order.certificate().await?.unwrap_or_default();
            Ok((bounded_chain(chain.as_bytes())?, library.seen().alternates))
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
            let (_, mut order) = self.fetch(url).await?;
            if self.authorizations(&mut order).await?.is_empty() {
                return Ok(0);
            }
            let (mut given_up, mut handles) = (0, order.authorizations());
            while let Some(handle) = handles.next().await {
                let mut handle = handle?;
                if handle.status == AuthorizationStatus::Pending {
                    given_up += usize::from(handle.deactivate().await.is_ok());
                }
            }
            Ok(given_up)
        };
        self.client().step(About::Order, step).await
    }

    async fn fetch(&self, url: &str) -> Result<(Library, Order), Error> {
        https_url(url).map_err(|_| AcmeFailure::new(Class::OrderLost, "the order's URL is not a valid https URL"))?;
        let library = Library::of(self).await?;
        let order = library.account.order(url.to_owned()).await?;
        Ok((library, order))
    }

    /// Reads the order's authorizations while they matter.
    async fn authorizations(&self, order: &mut Order) -> Result<Vec<AuthorizationView>, Error> {
        let state = order.state();
        if !matches!(state.status, OrderStatus::Pending | OrderStatus::Invalid) {
            return Ok(Vec::new());
        }
        let count = state.authorizations.len();
        if count > MAX_NAMES {
            let words = format!("the ACME server's order has {count} authorizations, more than {MAX_NAMES}");
            return Err(AcmeFailure::transient(None, words).into());
        }
        let mut views = Vec::with_capacity(count);
        let mut handles = order.authorizations();
        while let Some(handle) = handles.next().await {
            let handle = handle?;
            views.push(authorization(handle.url(), &handle, self.thumbprint())?);
        }
        Ok(views)
    }
}

async fn place(library: &Library, request: &OrderRequest, replaces: Option<&str>) -> Result<Order, Error> {
    let identifiers: Vec<Identifier> = request.names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = NewOrder::new(&identifiers);
    if let Some(profile) = &request.profile {
        order = order.profile(profile);
    }
    if let Some((authority, serial)) = replaces.and_then(|id| id.split_once('.')) {
        let replaced = CertificateIdentifier { authority_key_identifier: authority.into(), serial: serial.into() };
        order = order.replaces(replaced);
    }
    let order = library.account.new_order(&order).await?;
    https_url(order.url()).map_err(|_| {
        AcmeFailure::transient(None, "the ACME server named no valid https URL for the order (Location)")
    })?;
    Ok(order)
}

/// Answers the challenge of this authorization that is among the `chosen` ones, when both are pending.
async fn set_ready(mut handle: AuthorizationHandle<'_>, chosen: &[(String, ChallengeKind)]) -> Result<(), Error> {
    let name = handle.identifier().to_string();
    let wanted = chosen.iter().find(|(wanted, _)| wanted.eq_ignore_ascii_case(&name));
    let Some((_, kind)) = wanted.filter(|_| handle.status == AuthorizationStatus::Pending) else { return Ok(()) };
    match handle.challenge(kind.to_library()) {
        Some(mut challenge) if challenge.status == ChallengeStatus::Pending => match challenge.set_ready().await {
            // What the challenge has come to is for the next look to say.
            Ok(()) | Err(instant_acme::Error::Api(_) | instant_acme::Error::Json(_)) => Ok(()),
            Err(error) => Err(error.into()),
        },
        _ => Ok(()),
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
            !unavailable.contains(&answered.status) && !clear.contains(&answered.refusal.short_type())
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
