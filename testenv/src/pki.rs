//! Throw-away certificates for the test servers themselves. Product code is never tested against itself: nothing here
//! comes from mailcert.

use crate::error::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::{fs, path::Path};
use time::{Duration, OffsetDateTime};

/// A test CA. Its certificates are valid from an hour ago for a year.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// The CA certificate, PEM.
    pub cert_pem: String,
    /// The CA's private key, PKCS#8 PEM.
    pub key_pem: String,
}

/// A key pair and its certificate, both PEM.
pub struct Pair {
    /// The certificate alone, without the chain.
    pub cert_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
}

fn params(common_name: &str, names: &[&str], organization: Option<&str>) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context(|| "a certificate's names".to_owned())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = params.not_before + Duration::days(365);
    Ok(params)
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().context(|| "cannot make a key pair".to_owned())
}

impl Ca {
    /// A new self-signed CA named `common_name`, ECDSA P-256.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = params(common_name, &[], None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key()?;
        let cert = params.self_signed(&key).context(|| "cannot sign the test CA".to_owned())?;
        let (cert_pem, key_pem) = (cert.pem(), key.serialize_pem());
        Ok(Self { issuer: Issuer::new(params, key), cert_pem, key_pem })
    }

    /// A certificate for `names` (DNS names and IP addresses), for servers and clients.
    pub fn issue(&self, common_name: &str, names: &[&str], organization: Option<&str>) -> Result<Pair> {
        self.sign(common_name, params(common_name, names, organization)?)
    }

    /// As [`Ca::issue`], expired an hour ago.
    pub fn issue_expired(&self, common_name: &str, names: &[&str]) -> Result<Pair> {
        let mut params = params(common_name, names, None)?;
        params.not_after = params.not_before;
        params.not_before -= Duration::days(90);
        self.sign(common_name, params)
    }

    fn sign(&self, common_name: &str, mut params: CertificateParams) -> Result<Pair> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = key()?;
        let cert = params.signed_by(&key, &self.issuer).context(|| format!("cannot sign {common_name}"))?;
        Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// Writes a file, and names it when that fails.
pub(crate) fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).context(|| format!("cannot write {}", path.display()))
}

/// What a Kubernetes control plane needs below `folder`: `ca.crt`, `api.crt`, `api.key`, `sa.key`, `sa.pub`.
/// Returns the CA certificate, PEM.
pub(crate) fn control_plane(folder: &Path, names: &[&str]) -> Result<String> {
    fs::create_dir_all(folder).context(|| format!("cannot create {}", folder.display()))?;
    let ca = Ca::new("testenv-ca")?;
    // The API server shows this one to the kubelet too, which takes it for an administrator.
    let api = ca.issue("kube-apiserver", names, Some("system:masters"))?;
    let service_accounts = key()?;
    write(&folder.join("ca.crt"), &ca.cert_pem)?;
    write(&folder.join("api.crt"), &api.cert_pem)?;
    write(&folder.join("api.key"), &api.key_pem)?;
    write(&folder.join("sa.key"), &service_accounts.serialize_pem())?;
    write(&folder.join("sa.pub"), &service_accounts.public_key_pem())?;
    Ok(ca.cert_pem)
}
