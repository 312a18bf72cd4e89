//! The safes and bags inside a PKCS#12 file (RFC 7292, section 4).
//!
//! The structures are read here without their attributes' sets: the library sorts those, which takes quadratic time on
//! hostile input.

use ::pkcs8::spki::AlgorithmIdentifierOwned;
use ::pkcs12::pbe_params::EncryptedPrivateKeyInfo;
use der::{
    AnyRef, Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged,
    asn1::{BmpString, ObjectIdentifier, OctetStringRef},
};
use zeroize::Zeroizing;

use super::super::{budget::Budget, password::Password, pbe, refusal::Refusal};
use super::ber;
use crate::pki::names::printable;

/// `id-encryptedData`.
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
/// `x509Certificate`, the one type of certificate that is met.
const X509: &str = "1.2.840.113549.1.9.22.1";
/// `friendlyName`.
const FRIENDLY_NAME: &str = "1.2.840.113549.1.9.20";
/// As many bags as are looked at. A keystore for a mail server has a handful.
const BAGS: usize = 2000;
/// How deep bags with bags in them may be nested. Nobody nests them.
const DEPTH: usize = 3;

/// A key in PKCS#8, and its friendly name.
pub(super) type NamedKey = (Zeroizing<Vec<u8>>, Option<String>);

/// What is in a file, in its order.
pub(super) struct Contents {
    /// In DER.
    pub certificates: Vec<Vec<u8>>,
    pub keys: Vec<NamedKey>,
    /// What could not be opened although the rest could.
    pub problems: Vec<Refusal>,
    pub was_encrypted: bool,
    /// The password is known to be right.
    verified: bool,
    /// Bags so far.
    seen: usize,
}

#[derive(Sequence)]
struct Content<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

#[derive(Sequence)]
struct Encrypted<'a> {
    version: u8,
    info: EncryptedInfo<'a>,
    unprotected: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct EncryptedInfo<'a> {
    content_type: ObjectIdentifier,
    algorithm: AlgorithmIdentifierOwned,
    content: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Bag<'a> {
    id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: AnyRef<'a>,
    attributes: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct CertificateBag<'a> {
    id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: AnyRef<'a>,
}

#[derive(Sequence)]
struct Attribute<'a> {
    id: ObjectIdentifier,
    values: AnyRef<'a>,
}

impl Contents {
    pub fn new(verified: bool) -> Self {
        Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            problems: Vec::new(),
            was_encrypted: false,
            verified,
            seen: 0,
        }
    }

    /// Takes in every safe of the authenticated safe.
    pub fn safes(&mut self, bytes: &[u8], password: Password<'_>, budget: &mut Budget) -> Result<(), Refusal> {
        let damaged = Refusal::Damaged("its list of contents cannot be read");
        let der = ber::to_der(bytes).ok_or_else(|| damaged.clone())?;
        let safes = Vec::<Content<'_>>::from_der(&der).map_err(|_| damaged)?;
        for safe in safes {
            match safe.content_type.to_string().as_str() {
                super::DATA => {
                    let bags = safe.content.decode_as::<&OctetStringRef>();
                    let bags = bags.map_err(|_| Refusal::Damaged("a part of its contents cannot be read"))?;
                    self.safe(bags.as_bytes(), password, budget)?;
                }
                ENCRYPTED_DATA => {
                    self.was_encrypted = true;
                    match decrypt(&safe.content, password, budget) {
                        Ok(bags) => match self.safe(&bags, password, budget) {
                            // Noise: the padding was right by chance.
                            Err(Refusal::Damaged(_)) if !self.verified => return Err(Refusal::PasswordWrong),
                            other => other?,
                        },
                        Err(refusal) => self.problem(refusal)?,
                    }
                }
                _ => self.problems.push(Refusal::Unsupported {
                    what: "a part of it is encrypted to a key instead of with a password".to_owned(),
                    instead: "export it again with a password",
                }),
            }
        }
        Ok(())
    }

    /// What makes the whole file unreadable is returned, the rest is kept for the findings.
    fn problem(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        match refusal {
            Refusal::PasswordWrong if !self.verified => Err(refusal),
            Refusal::PasswordWrong => {
                self.problems.push(Refusal::Unsupported {
                    what: "a part of it has another password than the file itself".to_owned(),
                    instead: "give both the same password (keytool -keypasswd, or export it again)",
                });
                Ok(())
            }
            Refusal::TooManyIterations { .. } | Refusal::TooMuchMemory { .. } => Err(refusal),
            other => {
                self.problems.push(other);
                Ok(())
            }
        }
    }

    fn safe(&mut self, bytes: &[u8], password: Password<'_>, budget: &mut Budget) -> Result<(), Refusal> {
        let der = ber::to_der(bytes).map(Zeroizing::new).ok_or(Refusal::Damaged("its bags cannot be read"))?;
        self.bags(&der, password, budget, DEPTH)
    }

    fn bags(&mut self, der: &[u8], password: Password<'_>, budget: &mut Budget, depth: usize) -> Result<(), Refusal> {
        let bags = Vec::<Bag<'_>>::from_der(der).map_err(|_| Refusal::Damaged("its bags cannot be read"))?;
        self.seen += bags.len();
        if self.seen > BAGS {
            return Err(Refusal::Damaged("it has more entries than any keystore for a server"));
        }
        for bag in bags {
            self.bag(&bag, password, budget, depth)?;
        }
        Ok(())
    }

    fn bag(&mut self, bag: &Bag<'_>, password: Password<'_>, budget: &mut Budget, depth: usize) -> Result<(), Refusal> {
        let id = bag.id.to_string();
        let Some(kind) = id.strip_prefix("1.2.840.113549.1.12.10.1.") else { return Ok(()) };
        let damaged = |_| Refusal::Damaged("a bag in it cannot be read");
        match kind {
            "1" => self.keys.push((Zeroizing::new(bag.value.to_der().map_err(damaged)?), friendly_name(bag))),
            "2" => {
                self.was_encrypted = true;
                let info: EncryptedPrivateKeyInfo = bag.value.decode_as().map_err(damaged)?;
                let data = info.encrypted_data.as_bytes();
                match pbe::decrypt(&info.encryption_algorithm, data, password, budget) {
                    Ok(key) if !self.verified && AnyRef::from_der(&key).is_err() => return Err(Refusal::PasswordWrong),
                    Ok(key) => self.keys.push((key, friendly_name(bag))),
                    Err(refusal) => self.problem(refusal)?,
                }
            }
            "3" => {
                let certificate: CertificateBag<'_> = bag.value.decode_as().map_err(damaged)?;
                if certificate.id.to_string() == X509 {
                    let der: &OctetStringRef = certificate.value.decode_as().map_err(damaged)?;
                    self.certificates.push(der.as_bytes().to_vec());
                }
            }
            "6" if depth > 0 => {
                let der = bag.value.to_der().map_err(damaged)?;
                self.bags(&der, password, budget, depth - 1)?;
            }
            // Revocation lists and secrets are nothing that a server needs.
            _ => {}
        }
        Ok(())
    }
}

/// The content of an EncryptedData (RFC 5652, section 8).
fn decrypt(content: &AnyRef<'_>, password: Password<'_>, budget: &mut Budget) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let damaged = |_| Refusal::Damaged("an encrypted part of it cannot be read");
    let encrypted: Encrypted<'_> = content.decode_as().map_err(damaged)?;
    let Some(content) = encrypted.info.content else { return Ok(Zeroizing::new(vec![0x30, 0])) };
    // [0] IMPLICIT OCTET STRING: in BER it may be in pieces.
    let data = match content.tag() {
        Tag::ContextSpecific { constructed: false, .. } => content.value().to_vec(),
        Tag::ContextSpecific { constructed: true, .. } => pieces(content.value()).map_err(damaged)?,
        _ => return Err(Refusal::Damaged("an encrypted part of it cannot be read")),
    };
    pbe::decrypt(&encrypted.info.algorithm, &data, password, budget)
}

fn pieces(bytes: &[u8]) -> der::Result<Vec<u8>> {
    let mut reader = SliceReader::new(bytes)?;
    let mut data = Vec::new();
    while !reader.is_finished() {
        data.extend(<&OctetStringRef>::decode(&mut reader)?.as_bytes());
    }
    Ok(data)
}

fn friendly_name(bag: &Bag<'_>) -> Option<String> {
    let mut reader = SliceReader::new(bag.attributes?.value()).ok()?;
    while !reader.is_finished() {
        let attribute = Attribute::decode(&mut reader).ok()?;
        if attribute.id.to_string() == FRIENDLY_NAME {
            let name = BmpString::from_der(attribute.values.value()).ok()?;
            return Some(printable(&name.to_string()));
        }
    }
    None
}
