//! Certificates through cert-manager: one step of a CertificateRequest in each pass.
