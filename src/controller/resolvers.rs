//! Who is asked about DNS: an issuer's own resolvers, else the operator's.

use crate::api::MailIssuer;
use crate::dns::{Dns, Settings, parse_resolver};

/// Asks DNS for an issuer.
///
/// # Errors
/// When a resolver is not an address, or the system has none.
pub fn dns(settings: &Settings, issuer: &MailIssuer) -> Result<Dns, String> {
    let own = issuer.spec.acme.as_ref().map(|acme| acme.resolvers.as_slice()).unwrap_or_default();
    let mut settings = settings.clone();
    if !own.is_empty() {
        settings.resolvers = own.iter().map(|text| parse_resolver(text)).collect::<Result<_, _>>()?;
    }
    Dns::new(&settings).map_err(|e| e.to_string())
}
