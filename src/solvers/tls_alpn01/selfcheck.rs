//! Looks at a challenge the way a CA does, before the CA is asked to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{PROTOCOL, digest};
use crate::issuers::acme::failure::printable;
use crate::pki::{AlpnDefect, Certificate, check_acme_identifier};
use crate::probes::possession;
use crate::solvers::http01::selfcheck::{Lookup, addresses, system_lookup};

/// The longest text that is taken over from a certificate or a server, in characters.
const MAX_NAME: usize = 160;

/// How to look.
#[derive(Clone)]
pub struct SelfCheck {
    /// Finds the addresses of a name.
    pub lookup: Lookup,
    /// The port to ask. A CA asks 443, and so does the default.
    pub port: u16,
    /// Everything together: resolution and every handshake.
    pub timeout: Duration,
}

impl Default for SelfCheck {
    fn default() -> Self {
        Self { lookup: system_lookup(), port: 443, timeout: Duration::from_secs(10) }
    }
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name the CA asks.
    pub name: String,
    /// The address of it that was asked.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} of {} ({})", self.port, self.name, self.address)
    }
}

/// Why a CA would not find the answer. Its text says what is wrong, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The name has no address, as far as this resolver knows.
    NotResolved {
        /// The name.
        name: String,
    },
    /// Nothing accepts connections there.
    Refused(Place),
    /// The connection failed in another way.
    Unreachable {
        /// Where.
        at: Place,
        /// How it failed.
        reason: String,
    },
    /// No complete handshake in time.
    Timeout {
        /// The name.
        name: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// Something other than the operator's responder ends TLS there.
    ForeignTls {
        /// Where.
        at: Place,
        /// The certificate that is shown there, when one is: its subject and issuer, bounded and printable.
        certificate: Option<String>,
    },
    /// The protocol is spoken and the handshake refused: a responder that does not know the challenge.
    Unknown(Place),
    /// The handshake failed in another way.
    Handshake {
        /// Where.
        at: Place,
        /// How it failed.
        reason: String,
    },
    /// The protocol was agreed upon and the certificate is not the answer.
    OtherAnswer {
        /// Where.
        at: Place,
        /// What is wrong with it.
        defect: AlpnDefect,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotResolved { name } => write!(f, "{name} does not resolve: it needs an A or AAAA record"),
            Self::Refused(at) => write!(f, "connection refused: nothing listens on {at}"),
            Self::Unreachable { at, reason } => write!(f, "{at} cannot be reached: {reason}"),
            Self::Timeout { name, seconds } => {
                write!(
                    f,
                    "timeout: {name} finished no TLS handshake within {seconds} s (a firewall, or a wrong address?)"
                )
            }
            Self::ForeignTls { at, certificate } => {
                let shown = certificate.as_deref().unwrap_or("no certificate that could be looked at");
                write!(
                    f,
                    "something else ends TLS on {at} before the operator's challenge Service: it does not speak \
                     acme-tls/1 and shows {shown}; pass TLS through to the challenge Service there, or use another \
                     solver for this name"
                )
            }
            Self::Unknown(at) => write!(
                f,
                "the handshake for acme-tls/1 was refused on {at}: what answers there does not know this challenge; \
                 if that is not this operator's challenge Service, pass TLS through to it, or use another solver"
            ),
            Self::Handshake { at, reason } => write!(f, "the TLS handshake on {at} failed: {reason}"),
            Self::OtherAnswer { at, defect } => write!(
                f,
                "{at} speaks acme-tls/1, but the certificate it shows is not the answer: {defect}; another ACME \
                 client answers there, or an older challenge is still shown"
            ),
        }
    }
}

impl std::error::Error for Problem {}

/// Shakes hands with port 443 of every address of `name` as a CA would, and looks at the certificate.
///
/// A CA takes one of the addresses, and another when it cannot connect. So an address that nothing answers at is
/// passed over while another one answers right; an address with a wrong answer is a problem at once.
///
/// # Errors
/// What a CA would stumble over, the worst first.
pub async fn self_check(name: &str, key_authorization: &str, how: &SelfCheck) -> Result<(), Problem> {
    let late = Problem::Timeout { name: name.to_owned(), seconds: how.timeout.as_secs() };
    timeout(how.timeout, look(name, &digest(key_authorization), how)).await.unwrap_or(Err(late))
}

async fn look(name: &str, digest: &[u8; 32], how: &SelfCheck) -> Result<(), Problem> {
    let addresses = addresses(name, &how.lookup).await;
    let looks = addresses.into_iter().map(|address| async move {
        let at = Place { name: name.to_owned(), address, port: how.port };
        // A connection, a handshake, and one more of both where the first was refused.
        look_at(&at, digest, how.timeout / 4).await
    });
    let looks = join_all(looks).await;
    if looks.is_empty() {
        return Err(Problem::NotResolved { name: name.to_owned() });
    }
    let answered = looks.iter().any(Result::is_ok);
    let mut problems: Vec<Problem> = looks.into_iter().filter_map(Result::err).collect();
    problems.retain(|problem| !answered || !is_absence(problem));
    problems.sort_by_key(is_absence);
    problems.into_iter().next().map_or(Ok(()), Err)
}

/// Nothing was reached, so a CA goes on to the next address.
fn is_absence(problem: &Problem) -> bool {
    matches!(problem, Problem::Refused(_) | Problem::Unreachable { .. })
}

async fn look_at(at: &Place, digest: &[u8; 32], step: Duration) -> Result<(), Problem> {
    let handshake = |reason: String| Problem::Handshake { at: at.clone(), reason };
    let tcp = connect(at, step).await?;
    let late = Problem::Timeout { name: at.name.clone(), seconds: step.as_secs() };
    let stream = match timeout(step, shake_hands(at, tcp, Some(PROTOCOL))).await.map_err(|_| late)? {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match alert(&error) {
                Some(alert) => refused(at, alert, step).await,
                None => handshake(words(&error)),
            });
        }
    };
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(|| handshake("the server shows no certificate".to_owned()))?;
    if session.alpn_protocol() != Some(PROTOCOL) {
        return Err(Problem::ForeignTls { at: at.clone(), certificate: Some(describe(leaf)) });
    }
    check_acme_identifier(leaf, &at.name, digest).map_err(|defect| Problem::OtherAnswer { at: at.clone(), defect })
}

async fn connect(at: &Place, step: Duration) -> Result<TcpStream, Problem> {
    let unreachable = |reason: String| Problem::Unreachable { at: at.clone(), reason };
    match timeout(step, TcpStream::connect(SocketAddr::new(at.address, at.port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Problem::Refused(at.clone())),
        Ok(Err(error)) => Err(unreachable(error.kind().to_string())),
        Err(_) => Err(unreachable(format!("no connection within {step:.1?} (a firewall, or a wrong address?)"))),
    }
}

/// A handshake that proves that the server holds the key of its certificate, whatever certificate that is.
async fn shake_hands(at: &Place, tcp: TcpStream, protocol: Option<&[u8]>) -> io::Result<TlsStream<TcpStream>> {
    // The operator's responder speaks TLS 1.3. What does not is not it, and shows its certificate in the second look.
    let versions = if protocol.is_some() { &[&TLS13][..] } else { rustls::ALL_VERSIONS };
    let mut config = possession::client_config(versions).map_err(io::Error::other)?;
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    let name = ServerName::try_from(at.name.clone()).map_err(|_| io::Error::other("the name cannot stand in SNI"))?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// What refuses `acme-tls/1` may still show who it is to a client without protocols.
async fn refused(at: &Place, alert: AlertDescription, step: Duration) -> Problem {
    let shown = async {
        let stream = shake_hands(at, connect(at, step).await.ok()?, None).await.ok()?;
        stream.get_ref().1.peer_certificates()?.first().map(describe)
    };
    let certificate = timeout(step, shown).await.ok().flatten();
    match (certificate, alert) {
        (None, alert) if alert != AlertDescription::NoApplicationProtocol => Problem::Unknown(at.clone()),
        (certificate, _) => Problem::ForeignTls { at: at.clone(), certificate },
    }
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "what answers there does not speak TLS".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => {
            "the server does not hold the key of the certificate it shows".to_owned()
        }
        Some(other) => printable(&other.to_string(), MAX_NAME),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        None => printable(&error.to_string(), MAX_NAME),
    }
}

fn describe(leaf: &CertificateDer<'_>) -> String {
    match Certificate::parse_der(leaf) {
        Ok(read) => format!(
            "the certificate {:?} of issuer {:?}",
            printable(&read.label(), MAX_NAME),
            printable(&read.issuer, MAX_NAME)
        ),
        Err(_) => "a certificate that cannot be read".to_owned(),
    }
}
