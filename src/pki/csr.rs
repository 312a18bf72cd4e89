//! Certificate signing requests (PKCS#10, RFC 2986).

use super::{
    key::PrivateKey,
    subject::{SubjectError, SubjectSpec, Usage, library},
};

/// A DER request for `spec`, signed with `key`.
///
/// It asks for the SANs, the usages as extended key usages (none when empty), and the key usages digitalSignature and,
/// with RSA, keyEncipherment.
///
/// # Errors
/// When a name or a subject field cannot stand in a certificate.
pub fn csr(key: &PrivateKey, spec: &SubjectSpec, usages: &[Usage]) -> Result<Vec<u8>, SubjectError> {
    let params = spec.params(usages, &key.spec())?;
    let request = params.serialize_request(key.pair()).map_err(library)?;
    Ok(request.der().to_vec())
}

/// The request as PEM, which cert-manager's CertificateRequest wants.
pub fn csr_pem(der: &[u8]) -> String {
    super::pem_blocks::encode("CERTIFICATE REQUEST", der).to_string()
}
