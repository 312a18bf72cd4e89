//! cert-manager's CertificateRequest, through which every issuer that cert-manager knows can sign.
