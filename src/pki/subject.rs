//! What a certificate request asks for: subject, names and usages.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};

use super::{
    key::{KeyAlgorithm, KeySpec},
    names::{NameError, printable, to_ascii, to_ascii_email},
};

/// The most dNSNames and e-mail addresses that one request may hold.
pub const MAX_NAMES: usize = 100;

/// A purpose of a certificate, from its extended key usage (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// `serverAuth`: a TLS server.
    ServerAuth,
    /// `clientAuth`: a TLS client.
    ClientAuth,
    /// `emailProtection`: S/MIME.
    EmailProtection,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerAuth => "serverAuth",
            Self::ClientAuth => "clientAuth",
            Self::EmailProtection => "emailProtection",
        })
    }
}

impl Usage {
    fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Self::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Self::EmailProtection => ExtendedKeyUsagePurpose::EmailProtection,
        }
    }
}

/// The subject's fields besides the common name, one value each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// `C`, two letters (ISO 3166-1).
    pub country: Option<String>,
    /// `ST`.
    pub province: Option<String>,
    /// `L`.
    pub locality: Option<String>,
    /// `O`.
    pub organization: Option<String>,
    /// `OU`.
    pub organizational_unit: Option<String>,
}

/// Everything that a request says about its holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectSpec {
    /// `CN`; usually absent, as new CA profiles have none. At most 64 characters.
    pub common_name: Option<String>,
    /// The other fields.
    pub subject: Subject,
    /// DNS names, in any form that [`to_ascii`] reads; duplicates are dropped.
    pub dns_names: Vec<String>,
    /// E-mail addresses; duplicates are dropped.
    pub emails: Vec<String>,
}

/// Why a request cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// A name that cannot stand in a certificate.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Neither a DNS name nor an e-mail address.
    #[error("there is no DNS name and no e-mail address to put into the certificate; name at least one")]
    NoNames,
    /// Too many names.
    #[error("there are {0} names; a certificate may hold at most {MAX_NAMES}")]
    TooMany(usize),
    /// A subject field beyond its upper bound (RFC 5280, appendix A.1).
    #[error("the subject's {field} has {length} characters; at most {limit} are allowed")]
    FieldLength {
        /// The field's name.
        field: &'static str,
        /// Its characters.
        length: usize,
        /// The limit, in characters.
        limit: usize,
    },
    /// A field that is set to an empty text or holds control characters.
    #[error("the subject's {0} is empty or has control characters; remove or correct it")]
    FieldText(&'static str),
    /// Not two letters.
    #[error("the subject's country \"{0}\" is not a code of two letters, such as DE")]
    Country(String),
    /// The library refused the request.
    #[error("the request could not be written: {0}")]
    Library(String),
}

impl SubjectSpec {
    /// The parameters that a CSR and a certificate share: subject, SANs, key usage by algorithm and EKUs.
    pub(super) fn params(&self, usages: &[Usage], key: &KeySpec) -> Result<CertificateParams, SubjectError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.alt_names()?;
        params.distinguished_name = self.distinguished_name()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Only RSA can encrypt a key to its holder; with the other algorithms the bit is wrong (RFC 8813, section 3).
        if key.algorithm == KeyAlgorithm::Rsa {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        for usage in usages {
            params.insert_extended_key_usage(usage.purpose());
        }
        Ok(params)
    }

    fn alt_names(&self) -> Result<Vec<SanType>, SubjectError> {
        let count = self.dns_names.len() + self.emails.len();
        if count == 0 {
            return Err(SubjectError::NoNames);
        }
        if count > MAX_NAMES {
            return Err(SubjectError::TooMany(count));
        }
        let mut names: Vec<SanType> = Vec::with_capacity(count);
        for name in &self.dns_names {
            let name = to_ascii(name)?.try_into().map_err(library)?;
            push_new(&mut names, SanType::DnsName(name));
        }
        for address in &self.emails {
            let address = to_ascii_email(address)?.try_into().map_err(library)?;
            push_new(&mut names, SanType::Rfc822Name(address));
        }
        Ok(names)
    }

    fn distinguished_name(&self) -> Result<DistinguishedName, SubjectError> {
        let mut dn = DistinguishedName::new();
        if let Some(country) = &self.subject.country {
            if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_alphabetic()) {
                return Err(SubjectError::Country(printable(country)));
            }
            let value = country.to_ascii_uppercase().try_into().map_err(library)?;
            dn.push(DnType::CountryName, DnValue::PrintableString(value));
        }
        let fields = [
            (DnType::StateOrProvinceName, "province", &self.subject.province, 128),
            (DnType::LocalityName, "locality", &self.subject.locality, 128),
            (DnType::OrganizationName, "organization", &self.subject.organization, 64),
            (DnType::OrganizationalUnitName, "organizational unit", &self.subject.organizational_unit, 64),
        ];
        for (kind, field, value, limit) in fields {
            if let Some(value) = value {
                dn.push(kind, checked(field, value, limit)?);
            }
        }
        if let Some(name) = &self.common_name {
            // A host name is written in the form it has among the SANs; any other text stays as it is.
            let name = to_ascii(name).unwrap_or_else(|_| name.clone());
            dn.push(DnType::CommonName, checked("common name", &name, 64)?);
        }
        Ok(dn)
    }
}

fn push_new(names: &mut Vec<SanType>, name: SanType) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn checked(field: &'static str, value: &str, limit: usize) -> Result<String, SubjectError> {
    let length = value.chars().count();
    if length > limit {
        return Err(SubjectError::FieldLength { field, length, limit });
    }
    if value.trim().is_empty() || value.chars().any(char::is_control) {
        return Err(SubjectError::FieldText(field));
    }
    Ok(value.to_owned())
}

pub(super) fn library(error: rcgen::Error) -> SubjectError {
    SubjectError::Library(printable(&error.to_string()))
}
