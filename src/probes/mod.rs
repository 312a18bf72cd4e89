//! The look at a mail endpoint on the wire: which certificate chain does it serve, and does it hold the key?
//!
//! IO lives here, judgement does not. [`look`] resolves, connects, speaks the plaintext preamble that the protocol
//! wants before TLS, shakes hands and leaves politely. The handshake signature is verified, so a [`Sighting`] proves
//! that the server holds the leaf's private key; whether the chain is the expected one, names the host, is trusted
//! and in date is for the caller to judge.
//!
//! A server that is looked at is not trusted: bytes, lines and time are bounded, and what it says reaches a message
//! only as a [`Printable`].

mod connect;
mod error;
mod imap;
mod line;
mod pop3;
pub(crate) mod possession;
mod preamble;
mod prober;
mod proxy;
mod sieve;
mod sighting;
mod smtp;
mod target;
mod tls;

pub use error::{ConnectFailure, LookError, Printable, Step};
pub use prober::{DEFAULT_CONCURRENCY, Prober};
pub use sighting::Sighting;
pub use target::{Limits, Target};

use crate::api::endpoint::TlsMode;
use line::{Deadline, Lines};
use std::net::SocketAddr;

/// Looks at an endpoint once and gives what it serves.
///
/// It takes at most `limits.total`, name resolution included, and `limits.farewell` to leave. Prefer
/// [`Prober::look`], which also spares the server.
///
/// # Errors
/// When no chain with proof of possession was seen; [`LookError`] says at which step and why.
pub async fn look(target: &Target, limits: &Limits) -> Result<Sighting, LookError> {
    target.validate()?;
    let deadline = Deadline::after(limits.total);
    let addresses = connect::resolve(target, &deadline).await?;
    look_at(target, &addresses, limits, &deadline).await
}

/// The part of [`look`] after name resolution.
async fn look_at(
    target: &Target,
    addresses: &[SocketAddr],
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Sighting, LookError> {
    let (mut stream, address) = connect::connect(addresses, deadline).await?;
    let mut preamble = preamble::preamble(target.protocol, &target.ehlo_name);
    if let Some(version) = target.proxy_protocol {
        proxy::send(&mut stream, version, deadline).await?;
    }
    if target.tls == TlsMode::StartTLS {
        let preamble = preamble.as_deref_mut().ok_or(LookError::StartTlsNotSupported)?;
        stream = preamble::run(preamble, Lines::new(stream, limits, deadline)).await?;
    }
    let stream = tls::handshake(stream, target, deadline).await?;
    let sighting = tls::sighting(&stream, address)?;
    preamble::leave(stream, preamble, target.tls, limits).await;
    Ok(sighting)
}
