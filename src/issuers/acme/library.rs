//! The way of the ACME library (`instant_acme`) to the server: what it asks for is signed anew here, and sent by
//! [`Client`].
//!
//! The library knows the protocol's objects and the order of requests. It signs with P-256 keys only, while accounts
//! that come from cert-manager have RSA keys, and it gives up at the third nonce that is refused. So it signs with a
//! key that is made for one step and stands for nothing, and only the URL and the payload of its requests are used.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::LOCATION;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{Account, BodyWrapper, BytesResponse, HttpClient, Key};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::account::AcmeAccount;
use super::failure::{AcmeFailure, Error};
use super::problem::problem_words;

/// The library for one step of an account.
pub(crate) struct Library {
    /// What the steps are done with.
    pub(crate) account: Account,
    seen: Arc<Mutex<Seen>>,
}

/// What the library drops of the answers to one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The longest `Retry-After` of all answers.
    pub(crate) longest_wait: Option<Duration>,
    /// Links to alternate chains in the last answer.
    pub(crate) alternates: Vec<String>,
}

impl Library {
    /// Sends nothing: the directory has been read.
    pub(crate) async fn of(account: &AcmeAccount) -> Result<Self, Error> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let way = Way { account: account.clone(), seen: seen.clone() };
        let (_, stand_in) = Key::generate_pkcs8()?;
        // Any URL will do: what is answered is the directory that was read.
        let directory = account.client().urls().new_nonce.clone();
        let builder = Account::builder_with_http(Box::new(way));
        Ok(Self { account: builder.from_parts(account.uri().to_owned(), stand_in, directory).await?, seen })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the library takes for its HTTP client.
#[derive(Clone)]
struct Way {
    account: AcmeAccount,
    seen: Arc<Mutex<Seen>>,
}

impl HttpClient for Way {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let way = self.clone();
        Box::pin(async move { way.answer(request).await.map_err(|error| instant_acme::Error::Other(Box::new(error))) })
    }
}

impl Way {
    async fn answer(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let client = self.account.client();
        let response = match *request.method() {
            Method::GET => Response::builder().body(Full::<Bytes>::from(client.urls().to_json())),
            // A nonce is taken where the request is signed.
            Method::HEAD => Response::builder().header("replay-nonce", "none").body(Full::default()),
            _ => {
                let url = request.uri().to_string();
                let payload = payload(request.into_body()).await?;
                let answer = client.post(&self.account.signer(), &url, &payload).await?;
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let longest_wait = seen.longest_wait.max(answer.retry_after);
                let response = Response::builder().header(LOCATION, answer.location.as_deref().unwrap_or_default());
                *seen = Seen { longest_wait, alternates: answer.alternates };
                response.body(Full::from(echoing(&payload, answer.body)))
            }
        };
        Ok(response.map_err(|_| senseless())?.into())
    }
}

/// What the library wants to send, without its signature.
async fn payload(request: BodyWrapper<Bytes>) -> Result<String, AcmeFailure> {
    #[derive(Deserialize)]
    struct Signed {
        payload: String,
    }
    let Ok(body) = request.collect().await;
    let signed: Signed = serde_json::from_slice(&body.to_bytes()).map_err(|_| senseless())?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(signed.payload).map_err(|_| senseless())?;
    String::from_utf8(payload).map_err(|_| senseless())
}

/// The library gives up an order that does not repeat what it replaces (RFC 9773 section 5), though it is placed.
fn echoing(payload: &str, body: Bytes) -> Bytes {
    let asked: Value = serde_json::from_str(payload).unwrap_or_default();
    let Some(replaces) = asked.get("replaces") else { return body };
    match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(mut order) => {
            order.insert("replaces".to_owned(), replaces.clone());
            Value::Object(order).to_string().into()
        }
        Err(_) => body,
    }
}

fn senseless() -> AcmeFailure {
    AcmeFailure::transient(None, "the ACME server's answer is not what ACME (RFC 8555) says it is")
}

impl From<instant_acme::Error> for Error {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error as Raw;
        match error {
            Raw::Other(other) => match other.downcast::<Self>() {
                Ok(error) => *error,
                Err(_) => senseless().into(),
            },
            Raw::Json(error) => AcmeFailure::misshapen(&error).into(),
            // Of an object in an answer: what the server refuses comes as `Raw::Other`.
            Raw::Api(problem) => AcmeFailure::transient(None, problem_words(&problem)).into(),
            Raw::Http(_) | Raw::InvalidUri(_) => {
                AcmeFailure::needs_user("the ACME server's URL is not a valid https URL").into()
            }
            _ => senseless().into(),
        }
    }
}
