//! The CA behind the server: roots, an intermediate, and leaves with whatever is wrong with them.

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    date_time_ymd,
};
use rustls_pki_types::CertificateSigningRequestDer;
use std::collections::BTreeSet;
use time::OffsetDateTime;

use super::answer::Problem;
use super::faults::Fault;
use super::jws::encode;
use crate::error::{Context, Result};

/// The subject of root number `n`; the default chain leads to number 0.
fn root_name(n: usize) -> String {
    format!("Scripted Root X{}", n + 1)
}

/// Roots, and an intermediate that each of them has signed.
pub(super) struct Authority {
    intermediate: Issuer<'static, KeyPair>,
    key_id: Vec<u8>,
    /// By root: root and cross-signed intermediate, PEM.
    chains: Vec<(String, String)>,
}

/// What is to be certified.
pub(super) struct Request {
    csr: CertificateSigningRequestParams,
    /// The DNS names of the CSR, in lower case.
    pub names: BTreeSet<String>,
    /// The key, as in the SPKI's BIT STRING.
    pub key: Vec<u8>,
    /// The DER of the SPKI.
    pub spki: Vec<u8>,
}

/// A certificate as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub pem: String,
    pub serial: Vec<u8>,
    pub ari_id: String,
    pub not_before: i64,
    pub not_after: i64,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Whatever the server's clock will say.
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2200, 1, 1));
    params.use_authority_key_identifier_extension = true;
    params
}

impl Authority {
    /// With so many roots besides the first.
    pub fn new(alternates: usize) -> Result<Self> {
        let what = || "the scripted CA".to_owned();
        let key = KeyPair::generate().context(what)?;
        let params = ca("Scripted Intermediate E1");
        let key_id = params.key_identifier(&key);
        let chain = |n| {
            let (root, root_key) = (ca(&root_name(n)), KeyPair::generate().context(what)?);
            let root_pem = root.self_signed(&root_key).context(what)?.pem();
            let crossed = params.signed_by(&key, &Issuer::new(root, root_key)).context(what)?;
            Ok((root_pem, crossed.pem()))
        };
        let chains = (0..=alternates).map(chain).collect::<Result<_>>()?;
        Ok(Self { intermediate: Issuer::new(params, key), key_id, chains })
    }

    /// Root number `n`, PEM.
    pub fn root_pem(&self, n: usize) -> Option<&str> {
        self.chains.get(n).map(|(root, _)| root.as_str())
    }

    /// How many chains there are.
    pub fn chains(&self) -> usize {
        self.chains.len()
    }

    /// Leaf and intermediate, to root number `n`.
    pub fn chain(&self, leaf: &str, n: usize, fault: Option<&Fault>) -> Option<String> {
        let (_, intermediate) = self.chains.get(n)?;
        let repeat = if let Some(Fault::LongChain(length)) = fault { *length } else { 1 };
        let mut chain = [leaf, &intermediate.repeat(repeat)].concat();
        if let Some(Fault::CutChain) = fault {
            chain.truncate(chain.len() / 2);
        }
        Some(chain)
    }

    /// Signs, for the names of an order. `fault` may be one of those that concern certificates.
    pub fn sign(
        &self,
        request: Request,
        names: &[String],
        not_before: i64,
        lifetime: i64,
        fault: Option<&Fault>,
    ) -> std::result::Result<Leaf, Problem> {
        let kept = names.len() - usize::from(matches!(fault, Some(Fault::MissingName)));
        let san = |name: &String| name.as_str().try_into().map(SanType::DnsName);
        // Without a common name, as new profiles are.
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names =
            names[..kept].iter().map(san).collect::<std::result::Result<_, _>>().map_err(Problem::internal)?;
        if params.subject_alt_names.is_empty() {
            params.subject_alt_names = vec![san(&"nobody.invalid".to_owned()).map_err(Problem::internal)?];
        }
        // The last second is inclusive (RFC 5280, section 4.1.2.5).
        let not_after = not_before + lifetime - 1;
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(Problem::internal);
        (params.not_before, params.not_after) = (at(not_before)?, at(not_after)?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let serial = serial().map_err(Problem::internal)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let mut csr = request.csr;
        csr.params = params;
        let certificate = match fault {
            Some(Fault::ForeignKey) => {
                let foreign = KeyPair::generate().map_err(Problem::internal)?;
                csr.params.signed_by(&foreign, &self.intermediate)
            }
            _ => csr.signed_by(&self.intermediate),
        };
        let pem = certificate.map_err(Problem::internal)?.pem();
        Ok(Leaf { pem, ari_id: self.ari_id(&serial), serial: serial.to_vec(), not_before, not_after })
    }

    /// RFC 9773, section 4.1.
    fn ari_id(&self, serial: &[u8]) -> String {
        // As DER writes an INTEGER, with a zero in front where the first bit would make it negative.
        let zero: &[u8] = if serial[0] >= 0x80 { &[0] } else { &[] };
        format!("{}.{}", encode(&self.key_id), encode([zero, serial].concat()))
    }
}

fn serial() -> std::result::Result<[u8; 16], aws_lc_rs::error::Unspecified> {
    let mut serial = [0; 16];
    rand::fill(&mut serial)?;
    // Never a zero in front, so that these are the bytes that DER writes.
    serial[0] |= 1;
    Ok(serial)
}

impl Request {
    /// Reads a CSR, and checks its signature.
    pub fn parse(der: &[u8]) -> std::result::Result<Self, Problem> {
        let bad = |why: String| Problem::new(400, "badCSR", why);
        let csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|e| bad(format!("the CSR cannot be read: {e}")))?;
        let mut names = BTreeSet::new();
        for name in &csr.params.subject_alt_names {
            match name {
                SanType::DnsName(name) => names.insert(name.as_str().to_ascii_lowercase()),
                other => return Err(bad(format!("the CSR asks for {other:?}"))),
            };
        }
        if let Some(name) = csr.params.distinguished_name.get(&DnType::CommonName) {
            let text = match name {
                rcgen::DnValue::Utf8String(text) => text.clone(),
                rcgen::DnValue::PrintableString(text) => text.as_str().to_owned(),
                other => return Err(bad(format!("the CSR's common name is {other:?}"))),
            };
            names.insert(text.to_ascii_lowercase());
        }
        let (key, spki) = (csr.public_key.der_bytes().to_vec(), csr.public_key.subject_public_key_info());
        Ok(Self { csr, names, key, spki })
    }
}
