//! PEM inputs: certificates and keys in any order, with any text around them.

use super::{Finding, Input, Request, binary, material::Material, mistakes, pkcs8};
use crate::api::reasons::import as code;
use crate::pki::{
    key::{KeyError, PrivateKey},
    pem_blocks::{self, Block},
};

/// Takes in every block.
pub(super) fn take(material: &mut Material, input: &Input<'_>, request: &Request<'_>) {
    let limit = request.limits.bundle;
    if input.bytes.len() > limit {
        let message = format!("it has {} bytes; of a PEM file at most {limit} are read", input.bytes.len());
        return material.refuse(Finding::error(code::TOO_LARGE, input.name, message));
    }
    let blocks = match pem_blocks::blocks(input.bytes) {
        Ok(blocks) => blocks,
        Err(error) => return material.refuse(Finding::error(code::UNREADABLE, input.name, error.to_string())),
    };
    if blocks.is_empty() {
        let unknown = "there is no PEM block in it; a certificate starts with -----BEGIN CERTIFICATE-----";
        let message = mistakes::hint(input.bytes).unwrap_or(unknown);
        return material.refuse(Finding::error(code::UNREADABLE, input.name, message));
    }
    let mut number = 0;
    for block in &blocks {
        match block.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                number += 1;
                certificate(material, input, number, block, request);
            }
            label if label.ends_with("PRIVATE KEY") && !material.has_enough_keys() => {
                key(material, input, block, request);
            }
            "PKCS7" => {
                let message = "it is PKCS#7; take the certificates out of it (openssl pkcs7 -print_certs)";
                material.refuse(Finding::error(code::UNSUPPORTED, input.name, message));
            }
            // Parameters, requests, revocation lists: nothing that a server needs.
            _ => {}
        }
    }
}

fn certificate(material: &mut Material, input: &Input<'_>, number: usize, block: &Block<'_>, request: &Request<'_>) {
    match block.decode() {
        Ok(der) => material.certificate(input, number, &der, block.len(), (&request.limits, true)),
        Err(error) => material.refuse(Finding::error(code::UNREADABLE, input.name, error.to_string())),
    }
}

fn key(material: &mut Material, input: &Input<'_>, block: &Block<'_>, request: &Request<'_>) {
    let limit = request.limits.key;
    if block.len() > limit {
        let message = format!("its private key has {} bytes; at most {limit} are read", block.len());
        return material.refuse(Finding::error(code::TOO_LARGE, input.name, message));
    }
    if block.has_encryption_header() {
        return traditional(material, input);
    }
    if block.label == "ENCRYPTED PRIVATE KEY" {
        return match block.decode() {
            Ok(der) => binary::encrypted_key(material, &Input { name: input.name, bytes: &der }, request),
            Err(error) => material.refuse(Finding::error(code::UNREADABLE, input.name, error.to_string())),
        };
    }
    match PrivateKey::from_block(block) {
        Ok(key) => material.key(key, input.name.to_owned()),
        Err(KeyError::Pem(error)) => material.refuse(Finding::error(code::UNREADABLE, input.name, error.to_string())),
        Err(error) => {
            let finding = block.decode().ok().and_then(|der| pkcs8::unusable(&der, input.name));
            let unknown = || Finding::error(code::KEY_UNUSABLE, input.name, error.to_string());
            material.refuse(finding.unwrap_or_else(unknown));
        }
    }
}

/// OpenSSL's own encryption (RFC 1421 headers) derives the key with one round of MD5.
fn traditional(material: &mut Material, input: &Input<'_>) {
    let message = "its private key is encrypted in OpenSSL's old format (Proc-Type: 4,ENCRYPTED), which is too weak to be supported; \
                   convert it (openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out new.pem)";
    material.refuse(Finding::error(code::UNSUPPORTED, input.name, message));
}
