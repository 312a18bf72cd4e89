//! DNS names as certificates carry them: A-labels, lower case, wildcards by RFC 9525.

use std::net::IpAddr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Why a text is not a DNS name that a certificate can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty; give a full DNS name such as mail.example.com")]
    Empty,
    /// More than 253 characters in A-label form, or more than 1024 bytes as given (RFC 1035, section 2.3.4).
    #[error("the name is longer than 253 characters, the limit of DNS")]
    TooLong,
    /// One label has more than 63 characters in A-label form.
    #[error("\"{0}\" has a label that is longer than 63 characters, the limit of DNS")]
    LabelTooLong(String),
    /// Two dots in a row or a leading dot.
    #[error("\"{0}\" has an empty label; remove the extra dot")]
    EmptyLabel(String),
    /// A name without a dot.
    #[error("\"{0}\" has only one label; give the full DNS name, such as {0}.example.com")]
    SingleLabel(String),
    /// An IP address.
    #[error("\"{0}\" is an IP address; mail clients compare DNS names, give the host's name")]
    IpAddress(String),
    /// A `*` that is not the whole left-most label (RFC 9525, section 6.3).
    #[error("\"{0}\" has a wildcard that is not the whole left-most label; write *.example.com")]
    Wildcard(String),
    /// A wildcard with fewer than two labels behind it.
    #[error("\"{0}\" is a wildcard over a top-level domain; at least two labels must follow the *")]
    WildcardTooWide(String),
    /// Characters that a host name cannot have.
    #[error("\"{0}\" has characters that a host name cannot have")]
    Characters(String),
    /// Not of the form `local@domain`.
    #[error("\"{0}\" is not an e-mail address of the form local@domain")]
    Email(String),
    /// A local part outside ASCII (RFC 9598 addresses are not supported).
    #[error("\"{0}\" has a local part outside ASCII, which a certificate's e-mail address cannot carry")]
    EmailNotAscii(String),
}

/// The form of `name` that certificates and DNS carry: A-labels, lower case, no trailing dot, an optional leading `*.`.
///
/// # Errors
/// Says precisely why the name cannot stand in a certificate; IP addresses and single labels are refused.
pub fn to_ascii(name: &str) -> Result<String, NameError> {
    if name.len() > 1024 {
        return Err(NameError::TooLong);
    }
    let shown = || printable(name);
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        return Err(NameError::Empty);
    }
    let literal = bare.trim_start_matches('[').trim_end_matches(']');
    if literal.parse::<IpAddr>().is_ok() {
        return Err(NameError::IpAddress(shown()));
    }
    let (wildcard, host) = match bare.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, bare),
    };
    if host.contains('*') {
        return Err(NameError::Wildcard(shown()));
    }
    if host.split('.').any(str::is_empty) {
        return Err(NameError::EmptyLabel(shown()));
    }
    let host = Uts46::new()
        .to_ascii(host.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Ignore)
        .map_err(|_| NameError::Characters(shown()))?
        .into_owned();
    check_labels(&host, wildcard, name)?;
    Ok(if wildcard { format!("*.{host}") } else { host })
}

fn check_labels(host: &str, wildcard: bool, given: &str) -> Result<(), NameError> {
    let labels: Vec<&str> = host.split('.').collect();
    // UTS 46 maps some characters to a dot or to nothing, so empty labels are looked for once more.
    if labels.iter().any(|l| l.is_empty()) {
        return Err(NameError::EmptyLabel(printable(given)));
    }
    if labels.iter().any(|l| l.len() > 63) {
        return Err(NameError::LabelTooLong(printable(given)));
    }
    if host.len() + if wildcard { 2 } else { 0 } > 253 {
        return Err(NameError::TooLong);
    }
    if labels.len() < 2 {
        let given = printable(given);
        return Err(if wildcard { NameError::WildcardTooWide(given) } else { NameError::SingleLabel(given) });
    }
    // No top-level domain is numeric, and "192.0.2.300" or "0x7f.1" is an address to some resolvers.
    if labels.last().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()) || l.starts_with("0x")) {
        return Err(NameError::IpAddress(printable(given)));
    }
    Ok(())
}

/// An e-mail address as an rfc822Name carries it: the local part as given, the domain in A-labels and lower case.
///
/// # Errors
/// When the address has no local part or domain, or its local part is outside printable ASCII (RFC 5280, section 4.2.1.6).
pub fn to_ascii_email(address: &str) -> Result<String, NameError> {
    if address.len() > 1024 {
        return Err(NameError::TooLong);
    }
    let Some((local, domain)) = address.rsplit_once('@') else { return Err(NameError::Email(printable(address))) };
    if !local.is_ascii() {
        return Err(NameError::EmailNotAscii(printable(address)));
    }
    if local.is_empty() || local.len() > 64 || local.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'@') {
        return Err(NameError::Email(printable(address)));
    }
    let domain = to_ascii(domain)?;
    if domain.starts_with("*.") {
        return Err(NameError::Wildcard(printable(address)));
    }
    Ok(format!("{local}@{domain}"))
}

/// Whether the `presented` name of a certificate covers the `reference` name that a client asks for (RFC 9525, section 6.3).
///
/// Case-insensitive; a wildcard must be the whole left-most label, stands for exactly one label, and needs two labels
/// behind it. Two wildcards match when they are equal. Both names are in A-label form; a trailing dot on `reference` is ignored.
pub fn covers(presented: &str, reference: &str) -> bool {
    let reference = reference.strip_suffix('.').unwrap_or(reference);
    if presented.is_empty() || reference.is_empty() {
        return false;
    }
    let Some(parent) = presented.strip_prefix("*.") else {
        return !presented.contains('*') && presented.eq_ignore_ascii_case(reference);
    };
    if parent.contains('*') || !parent.contains('.') {
        return false;
    }
    match reference.split_once('.') {
        Some((label, rest)) => {
            !label.is_empty() && (label == "*" || !label.contains('*')) && rest.eq_ignore_ascii_case(parent)
        }
        None => false,
    }
}

/// Why an external URL names no host that a certificate can cover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The scheme is missing or is not https.
    #[error("the URL does not start with https://; write it as https://mail.example.com")]
    NotHttps,
    /// There is no host between https:// and the path.
    #[error("the URL names no host; write it as https://mail.example.com")]
    NoHost,
    /// The URL holds a user name or password.
    #[error("the URL holds a user name or password before an @; remove it")]
    UserInfo,
    /// The part behind the colon is no port.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// The host is no name that a certificate can carry.
    #[error("the URL's host cannot stand in a certificate: {0}")]
    Host(#[from] NameError),
}

/// The host of an `https` URL, in the form of [`to_ascii`]. International names are understood.
///
/// # Errors
/// When the scheme is not https, there is no host, it is an IP address or a wildcard, or the URL holds credentials.
pub fn host_of_url(url: &str) -> Result<String, UrlError> {
    // `http::Uri` refuses international host names, which people do write into a URL, so the authority is cut out here.
    let scheme = url.get(..8).ok_or(UrlError::NotHttps)?;
    if !scheme.eq_ignore_ascii_case("https://") {
        return Err(UrlError::NotHttps);
    }
    let rest = &url[8..];
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if authority.starts_with('[') {
        return Err(UrlError::Host(NameError::IpAddress(printable(authority))));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if port.is_some_and(|p| !p.is_empty() && (p.starts_with('+') || !p.parse::<u16>().is_ok_and(|n| n > 0))) {
        return Err(UrlError::Port);
    }
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    if host.starts_with("*.") {
        return Err(UrlError::Host(NameError::Wildcard(printable(host))));
    }
    Ok(to_ascii(host)?)
}

/// The text without control characters and at most 256 characters long, fit for a message.
pub(crate) fn printable(text: &str) -> String {
    const LIMIT: usize = 256;
    let mut out: String = text.chars().take(LIMIT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.pop();
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_a_labels() {
        for (given, wanted) in [
            ("mail.example.com", "mail.example.com"),
            ("Mail.EXAMPLE.com.", "mail.example.com"),
            ("*.Example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("mx。例え.テスト", "mx.xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(to_ascii(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn refusals_are_precise() {
        let long = format!("{}.example", "a".repeat(64));
        for (given, wanted) in [
            ("", "the name is empty; give a full DNS name such as mail.example.com".to_owned()),
            (".", "the name is empty; give a full DNS name such as mail.example.com".to_owned()),
            ("mail", "\"mail\" has only one label; give the full DNS name, such as mail.example.com".to_owned()),
            ("*.com", "\"*.com\" is a wildcard over a top-level domain; at least two labels must follow the *".into()),
            ("a..b", "\"a..b\" has an empty label; remove the extra dot".to_owned()),
            (".a.b", "\".a.b\" has an empty label; remove the extra dot".to_owned()),
            ("m*.a.b", "\"m*.a.b\" has a wildcard that is not the whole left-most label; write *.example.com".into()),
            ("*.*.a.b", "\"*.*.a.b\" has a wildcard that is not the whole left-most label; write *.example.com".into()),
            ("192.0.2.1", ip("192.0.2.1")),
            ("[2001:db8::1]", ip("[2001:db8::1]")),
            ("192.0.2.999", ip("192.0.2.999")),
            ("a b.example", "\"a b.example\" has characters that a host name cannot have".to_owned()),
            ("-a.example", "\"-a.example\" has characters that a host name cannot have".to_owned()),
            ("a_b.example", "\"a_b.example\" has characters that a host name cannot have".to_owned()),
            (&long, format!("\"{long}\" has a label that is longer than 63 characters, the limit of DNS")),
            (&"ab.".repeat(90), "the name is longer than 253 characters, the limit of DNS".to_owned()),
        ] {
            assert_eq!(to_ascii(given).unwrap_err().to_string(), wanted, "{given}");
        }
    }

    fn ip(name: &str) -> String {
        format!("\"{name}\" is an IP address; mail clients compare DNS names, give the host's name")
    }

    #[test]
    fn wildcards_cover_one_label() {
        for (presented, reference, wanted) in [
            ("mail.example.com", "MAIL.example.com", true),
            ("mail.example.com", "mail.example.com.", true),
            ("mail.example.com", "smtp.example.com", false),
            ("*.example.com", "mail.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "a.mail.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("m*.example.com", "mail.example.com", false),
            ("m*.example.com", "m*.example.com", false),
            ("mail.*.com", "mail.example.com", false),
            ("*", "example", false),
            ("mail.example.com", "*.example.com", false),
            ("", "", false),
        ] {
            assert_eq!(covers(presented, reference), wanted, "{presented} for {reference}");
        }
    }

    #[test]
    fn hosts_of_urls() {
        for (url, wanted) in [
            ("https://mail.example.com", Ok("mail.example.com")),
            ("HTTPS://Mail.Example.com:8443/webmail?x#y", Ok("mail.example.com")),
            ("https://bücher.example/", Ok("xn--bcher-kva.example")),
            ("http://mail.example.com", Err(UrlError::NotHttps)),
            ("mail.example.com", Err(UrlError::NotHttps)),
            ("", Err(UrlError::NotHttps)),
            ("https://", Err(UrlError::NoHost)),
            ("https:///path", Err(UrlError::NoHost)),
            ("https://:443", Err(UrlError::NoHost)),
            ("https://u:p@mail.example.com", Err(UrlError::UserInfo)),
            ("https://mail.example.com:99999", Err(UrlError::Port)),
            ("https://192.0.2.1/", Err(UrlError::Host(NameError::IpAddress("192.0.2.1".into())))),
            ("https://[::1]:443/", Err(UrlError::Host(NameError::IpAddress("[::1]:443".into())))),
            ("https://*.example.com", Err(UrlError::Host(NameError::Wildcard("*.example.com".into())))),
        ] {
            assert_eq!(host_of_url(url), wanted.map(str::to_owned), "{url}");
        }
    }

    #[test]
    fn email_addresses() {
        assert_eq!(to_ascii_email("User@Bücher.example").as_deref(), Ok("User@xn--bcher-kva.example"));
        assert_eq!(to_ascii_email("user"), Err(NameError::Email("user".into())));
        assert_eq!(to_ascii_email("@example.com"), Err(NameError::Email("@example.com".into())));
        assert_eq!(to_ascii_email("ü@example.com"), Err(NameError::EmailNotAscii("ü@example.com".into())));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC*|[a-z*.é\\-]{0,80}", other in "[a-z*.]{0,20}") {
            if let Ok(name) = to_ascii(&text) {
                prop_assert_eq!(to_ascii(&name), Ok(name.clone()), "idempotent");
                prop_assert!(covers(&name, &name));
            }
            let _ = (host_of_url(&text), host_of_url(&format!("https://{text}")), to_ascii_email(&text));
            let _ = covers(&text, &other);
        }
    }
}
