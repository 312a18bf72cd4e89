//! The certificate of a tls-alpn-01 challenge (RFC 8737, section 3): one name, and the acmeIdentifier extension.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::{asn1_rs::FromDer, asn1_rs::OctetString, prelude::X509Certificate};

use super::{
    cert::{CertError, Certificate},
    key::{KeyError, KeySpec, PrivateKey},
    names::{NameError, printable, to_ascii},
};

/// id-pe-acmeIdentifier.
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Why there is no certificate for a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlpnError {
    /// The name is not one that a certificate can hold.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate library failed.
    #[error("the certificate of the challenge cannot be made: {0}")]
    Library(String),
}

/// Why a certificate does not answer a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlpnDefect {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] CertError),
    /// It is an ordinary certificate, made by something that knows of no challenge.
    #[error("it is an ordinary certificate without the acmeIdentifier extension")]
    NoIdentifier,
    /// The extension is there and not as RFC 8737 has it.
    #[error("its acmeIdentifier extension is malformed, stands twice or is not critical")]
    Malformed,
    /// It does not hold exactly the one name.
    #[error("it is for {0} instead of the one name that is asked for")]
    OtherNames(String),
    /// It answers another challenge: of another account, or an older one.
    #[error("its acmeIdentifier extension belongs to another challenge or account")]
    OtherChallenge,
}

/// A self-signed certificate for `name` alone with the critical acmeIdentifier extension, and its key (ECDSA P-256).
/// `digest` is SHA-256 over the key authorization.
///
/// # Errors
/// When `name` cannot stand in a certificate or the operating system gives no randomness.
pub fn acme_identifier(
    name: &str,
    digest: &[u8; 32],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), AlpnError> {
    let library = |error: rcgen::Error| AlpnError::Library(printable(&error.to_string()));
    let key = PrivateKey::generate(&KeySpec::P256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // An issuer must not be empty (RFC 5280, section 4.1.2.4), and a name may be too long for a common name.
    params.distinguished_name.push(DnType::CommonName, "ACME challenge");
    params.subject_alt_names = vec![SanType::DnsName(to_ascii(name)?.try_into().map_err(library)?)];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(key.pair()).map_err(library)?;
    let key = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec());
    Ok((certificate.der().clone(), key.into()))
}

/// Whether a certificate answers the challenge for `name`, as a CA judges it (RFC 8737, section 3).
///
/// # Errors
/// The first thing that a CA would not accept.
pub fn check_acme_identifier(certificate: &[u8], name: &str, digest: &[u8; 32]) -> Result<(), AlpnDefect> {
    let read = Certificate::parse_der(certificate)?;
    let found = identifier(read.der())?;
    let others = read.other_names.len() + read.ip_addresses.len() + read.emails.len();
    let one = matches!(&read.dns_names[..], [only] if only.eq_ignore_ascii_case(name));
    if !one || others > 0 {
        let names: Vec<&str> = read.dns_names.iter().map(String::as_str).take(5).collect();
        let plain = if names.is_empty() { "no DNS name".to_owned() } else { printable(&names.join(", ")) };
        return Err(AlpnDefect::OtherNames(if others > 0 {
            format!("{plain} and names that are no DNS names")
        } else {
            plain
        }));
    }
    if found == *digest { Ok(()) } else { Err(AlpnDefect::OtherChallenge) }
}

/// The digest in the acmeIdentifier extension.
fn identifier(certificate: &CertificateDer<'_>) -> Result<[u8; 32], AlpnDefect> {
    let (_, x) = X509Certificate::from_der(certificate).map_err(|_| AlpnDefect::Malformed)?;
    let mut found = x.extensions().iter().filter(|e| e.oid.to_id_string() == ACME_IDENTIFIER);
    let extension = found.next().ok_or(AlpnDefect::NoIdentifier)?;
    let (rest, digest) = OctetString::from_der(extension.value).map_err(|_| AlpnDefect::Malformed)?;
    let digest = <[u8; 32]>::try_from(digest.as_ref()).map_err(|_| AlpnDefect::Malformed)?;
    let sound = extension.critical && rest.is_empty() && found.next().is_none();
    if sound { Ok(digest) } else { Err(AlpnDefect::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Fingerprint;
    use rcgen::KeyPair;

    const NAME: &str = "mx.example.com";

    fn digest() -> [u8; 32] {
        Fingerprint::of(b"token.thumbprint").0
    }

    fn signed(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(NAME.try_into().unwrap())];
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest())];
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_we_make_is_what_a_ca_expects() {
        let (certificate, key) = acme_identifier(NAME, &digest()).unwrap();
        assert_eq!(check_acme_identifier(&certificate, NAME, &digest()), Ok(()));
        assert_eq!(check_acme_identifier(&certificate, "MX.Example.com", &digest()), Ok(()));
        let read = Certificate::parse_der(&certificate).unwrap();
        assert!(read.is_self_signed());
        assert_eq!(read.dns_names, [NAME]);
        let own = PrivateKey::from_pkcs8_der(key.secret_der()).unwrap();
        assert_eq!(own.spki_der(), read.spki_der());
        // Section 3: the extension is critical and holds the digest in an OCTET STRING.
        let (_, x) = X509Certificate::from_der(&certificate).unwrap();
        let extension = x.extensions().iter().find(|e| e.oid.to_id_string() == ACME_IDENTIFIER).unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[0x04, 0x20][..], &digest()].concat());
        let international = acme_identifier("bücher.example", &digest()).unwrap().0;
        assert_eq!(Certificate::parse_der(&international).unwrap().dns_names, ["xn--bcher-kva.example"]);
        assert!(acme_identifier("not a name", &digest()).is_err());
    }

    #[test]
    fn every_defect_is_named() {
        let judge = |der: &[u8]| check_acme_identifier(der, NAME, &digest()).unwrap_err();
        assert!(matches!(judge(b"nothing"), AlpnDefect::Unreadable(_)));
        assert_eq!(judge(&signed(|p| p.custom_extensions.clear())), AlpnDefect::NoIdentifier);
        let other =
            |p: &mut CertificateParams| p.custom_extensions = vec![CustomExtension::new_acme_identifier(&[1; 32])];
        assert_eq!(judge(&signed(other)), AlpnDefect::OtherChallenge);
        assert_eq!(judge(&signed(|p| p.custom_extensions[0].set_criticality(false))), AlpnDefect::Malformed);
        let short = |p: &mut CertificateParams| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 31], vec![4, 1, 0]);
            extension.set_criticality(true);
            p.custom_extensions = vec![extension];
        };
        assert_eq!(judge(&signed(short)), AlpnDefect::Malformed);
        let more =
            |p: &mut CertificateParams| p.subject_alt_names.push(SanType::DnsName("b.example".try_into().unwrap()));
        assert_eq!(judge(&signed(more)), AlpnDefect::OtherNames(format!("{NAME}, b.example")));
        let address = |p: &mut CertificateParams| p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        assert!(judge(&signed(address)).to_string().contains("names that are no DNS names"));
        assert_eq!(judge(&signed(|p| p.subject_alt_names.clear())), AlpnDefect::OtherNames("no DNS name".into()));
    }
}
