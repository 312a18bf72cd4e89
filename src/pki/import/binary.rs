//! Inputs that are no PEM: certificates, keys and PKCS#12 in DER, and what looks similar and is not read.

use x509_parser::asn1_rs::{Any, FromBer, Tag};

use super::{Finding, Input, Request, material::Material, mistakes, password, pkcs8, pkcs12};
use crate::api::reasons::import as code;
use crate::pki::key::PrivateKey;

/// What the first bytes say.
enum Kind {
    Pkcs12,
    Certificate,
    EncryptedKey,
    Key,
    /// Something that is known and not read.
    Other(&'static str),
    Unknown,
}

/// Takes in what the input's structure says that it is.
pub(super) fn take(material: &mut Material, input: &Input<'_>, request: &Request<'_>) {
    let input = &Input { name: input.name, bytes: without_line_end(input.bytes) };
    match kind(input.bytes) {
        Kind::Pkcs12 => pkcs12::take(material, input, request),
        Kind::Certificate => material.certificate(input, 1, input.bytes, input.bytes.len(), (&request.limits, false)),
        Kind::EncryptedKey | Kind::Key if input.bytes.len() > request.limits.key => {
            let message =
                format!("it has {} bytes; of a private key at most {} are read", input.bytes.len(), request.limits.key);
            material.refuse(Finding::error(code::TOO_LARGE, input.name, message));
        }
        Kind::EncryptedKey => encrypted_key(material, input, request),
        Kind::Key => match PrivateKey::from_any_der(input.bytes) {
            Ok(key) => material.key(key, input.name.to_owned()),
            Err(error) => {
                let unknown = || Finding::error(code::KEY_UNUSABLE, input.name, error.to_string());
                material.refuse(pkcs8::unusable(input.bytes, input.name).unwrap_or_else(unknown));
            }
        },
        Kind::Unknown => {
            let unknown =
                "it is neither PEM nor a DER certificate, key or PKCS#12 file; check that it is the right file";
            let message = mistakes::hint(input.bytes).unwrap_or(unknown);
            material.refuse(Finding::error(code::UNREADABLE, input.name, message));
        }
        Kind::Other(message) => material.refuse(Finding::error(code::UNSUPPORTED, input.name, message)),
    }
}

/// Without white space behind the outermost element, as editors and shells add a line break.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    match Any::from_ber(bytes) {
        Ok((rest, _)) if rest.trim_ascii().is_empty() => &bytes[..bytes.len() - rest.len()],
        _ => bytes,
    }
}

pub(super) fn encrypted_key(material: &mut Material, input: &Input<'_>, request: &Request<'_>) {
    let opened = match pkcs8::encrypted(input.bytes) {
        Some(info) => pkcs8::open(&info, request.password, &mut material.budget),
        None => {
            let message = "its encrypted private key is damaged; export it again";
            return material.refuse(Finding::error(code::UNREADABLE, input.name, message));
        }
    };
    match opened {
        Ok(key) => material.key(key, input.name.to_owned()),
        Err(refusal) => material.refuse(refusal.finding(input.name, password::hint(request.password))),
    }
}

/// By the first elements of the outermost SEQUENCE. The contents are not looked at.
fn kind(bytes: &[u8]) -> Kind {
    const PKCS7: &str =
        "it is a PKCS#7 file (.p7b), which holds no key; take the certificates out of it (openssl pkcs7 -print_certs)";
    const JKS: &str = "it is a Java keystore of the old kind (JKS); convert it (keytool -importkeystore -srckeystore old.jks \
                       -destkeystore new.p12 -deststoretype pkcs12)";
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) || bytes.starts_with(&[0xce, 0xce, 0xce, 0xce]) {
        return Kind::Other(JKS);
    }
    let Some(elements) = elements(bytes) else { return Kind::Unknown };
    match &elements[..] {
        [(Tag::Integer, 3), (Tag::Sequence, _), ..] => Kind::Pkcs12,
        [(Tag::Integer, _), (Tag::Sequence | Tag::Integer | Tag::OctetString, _), ..] => Kind::Key,
        [(Tag::Sequence, _), (Tag::OctetString, _)] => Kind::EncryptedKey,
        [(Tag::Sequence, _), (Tag::Sequence, _), (Tag::BitString, _)] => Kind::Certificate,
        [(Tag::Oid, _), ..] => Kind::Other(PKCS7),
        _ => Kind::Unknown,
    }
}

/// The first three elements' tags, and their first byte.
fn elements(bytes: &[u8]) -> Option<Vec<(Tag, u8)>> {
    let (_, outer) = Any::from_ber(bytes).ok()?;
    if outer.tag() != Tag::Sequence {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = outer.data;
    while !rest.is_empty() && found.len() < 3 {
        let (behind, element) = Any::from_ber(rest).ok()?;
        found.push((element.tag(), element.data.first().copied().unwrap_or_default()));
        rest = behind;
    }
    Some(found)
}
