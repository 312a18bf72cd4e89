//! PKCS#12 (RFC 7292) as it is met in practice: PBES2, 3DES and RC2, with every MAC or none, with no password, in BER
//! or DER, with several keys and certificates.

mod bags;
mod ber;
mod mac;

use ::pkcs12::Pfx;
use der::{Decode, Encode, asn1::OctetString};

use super::{
    Finding, Input, Request,
    budget::Budget,
    material::Material,
    mistakes,
    password::{self, Password},
    pkcs8,
    refusal::Refusal,
};
use crate::api::reasons::import as code;
use bags::Contents;

/// `id-data`.
const DATA: &str = "1.2.840.113549.1.7.1";
/// `id-signedData`: integrity by signature, which nobody uses.
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";

/// Reads the outermost structure, in DER or in BER.
fn parse(bytes: &[u8]) -> Option<Pfx> {
    Pfx::from_der(&ber::to_der(bytes)?).ok()
}

/// Takes in what a file holds.
pub(super) fn take(material: &mut Material, input: &Input<'_>, request: &Request<'_>) {
    let limit = request.limits.pkcs12;
    if input.bytes.len() > limit {
        let message = format!("it has {} bytes; of a PKCS#12 file at most {limit} are read", input.bytes.len());
        return material.refuse(Finding::error(code::TOO_LARGE, input.name, message));
    }
    let Some(pfx) = parse(input.bytes) else {
        let unknown = "it is not a PKCS#12 file, or it is damaged; check that it is the right file";
        let message = mistakes::hint(input.bytes).unwrap_or(unknown);
        return material.refuse(Finding::error(code::UNREADABLE, input.name, message));
    };
    let contents = match open(&pfx, request, &mut material.budget) {
        Ok(contents) => contents,
        Err(refusal) => return material.refuse(refusal.finding(input.name, password::hint(request.password))),
    };
    if pfx.mac_data.is_none() && !contents.was_encrypted {
        let message = "it is neither encrypted nor does it have an integrity check, so that any password opens it; keep it as safe as \
                       an unencrypted key";
        material.findings.push(Finding::info(code::NOT_PROTECTED, input.name, message));
    }
    for problem in &contents.problems {
        material.refuse(problem.finding(input.name, ""));
    }
    for (number, der) in (1..).zip(&contents.certificates) {
        material.certificate(input, number, der, der.len(), (&request.limits, false));
    }
    for (der, name) in &contents.keys {
        let origin = match name {
            Some(name) => format!("{} (\"{name}\")", input.name),
            None => input.name.to_owned(),
        };
        if der.len() > request.limits.key {
            let message = format!("its private key has {} bytes; at most {} are read", der.len(), request.limits.key);
            material.refuse(Finding::error(code::TOO_LARGE, input.name, message));
            continue;
        }
        match pkcs8::key(der) {
            Ok(key) => material.key(key, origin),
            Err(refusal @ Refusal::KeyUnusable { .. }) => material.refuse(refusal.finding(&origin, "")),
            Err(_) => {
                let message = "a private key in it is damaged; export it again";
                material.refuse(Finding::error(code::KEY_UNUSABLE, input.name, message));
            }
        }
    }
}

fn open(pfx: &Pfx, request: &Request<'_>, budget: &mut Budget) -> Result<Contents, Refusal> {
    let damaged = |_| Refusal::Damaged("its outermost structure cannot be read");
    match pfx.auth_safe.content_type.to_string().as_str() {
        DATA => {}
        SIGNED_DATA => {
            return Err(Refusal::Unsupported {
                what: "its integrity is protected by a signature instead of a password".to_owned(),
                instead: "export it again with a password",
            });
        }
        _ => return Err(Refusal::Damaged("its content is of an unknown type")),
    }
    let content = pfx.auth_safe.content.to_der().map_err(damaged)?;
    let content = OctetString::from_der(&content).map_err(damaged)?;
    // No password and an empty one are not the same to PKCS#12, and which one a program takes for none differs.
    let candidates = match request.password {
        None => vec![Password::Null, Password::Given(&[])],
        Some([]) => vec![Password::Given(&[]), Password::Null],
        Some(given) => vec![Password::Given(given)],
    };
    let mut last = Refusal::PasswordMissing;
    for candidate in candidates {
        match open_with(pfx, content.as_bytes(), candidate, budget) {
            Err(Refusal::PasswordWrong) => last = Refusal::PasswordWrong,
            other => return other,
        }
    }
    Err(if request.password.is_none() { Refusal::PasswordMissing } else { last })
}

fn open_with(pfx: &Pfx, content: &[u8], password: Password<'_>, budget: &mut Budget) -> Result<Contents, Refusal> {
    if let Some(mac) = &pfx.mac_data {
        mac::verify(mac, content, password, budget)?;
    }
    let mut contents = Contents::new(pfx.mac_data.is_some());
    contents.safes(content, password, budget)?;
    Ok(contents)
}
