//! Labels, annotations, field managers and Secret keys that mailcert reads and writes.

/// The API group of every kind.
pub const GROUP: &str = "mailcert.dev";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
/// Field manager of everything the operator writes, except pod templates.
pub const FIELD_MANAGER: &str = "mailcert";
/// Field manager of the pod template annotation, apart so that GitOps tools can see who owns it.
pub const ROLLOUT_FIELD_MANAGER: &str = "mailcert-rollout";

/// Label on every Secret and exposure object that mailcert wrote.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGER: &str = "mailcert";
/// Label on a Secret: the MailCertificate of the same namespace that owns it.
pub const OWNER: &str = "mailcert.dev/certificate-name";
/// Label on a revision Secret: the number of the revision whose key it keeps.
pub const REVISION: &str = "mailcert.dev/revision";
/// Annotation on the active Secret: the revision in it.
pub const ACTIVE_REVISION: &str = "mailcert.dev/active-revision";
/// Annotation on the Secrets of a revision: the MailIssuer that signed it, as `namespace/name`.
pub const ISSUER: &str = "mailcert.dev/issuer";
/// Annotation on the Secrets of a revision: SHA-256 over the SPKI of the signing CA, in lower-case hex.
pub const AUTHORITY: &str = "mailcert.dev/authority-spki-sha256";
/// Annotation on the Secrets of a revision: SHA-256 over subject and usages as they were asked for.
pub const REQUEST: &str = "mailcert.dev/request-sha256";
/// Label on an exposure object: the namespace of the MailCertificate it was made for.
pub const OWNER_NAMESPACE: &str = "mailcert.dev/certificate-namespace";

/// Annotation on a pod template: the SHA-256 fingerprint of the leaf that the pods shall serve.
pub const POD_TEMPLATE_FINGERPRINT: &str = "mailcert.dev/certificate";
/// Annotation on a MailCertificate: any new value asks for a renewal now.
pub const RENEW: &str = "mailcert.dev/renew";
/// Annotation on a MailCertificate: revoke the active certificate, for this reason, and issue another with a new key.
pub const REVOKE: &str = "mailcert.dev/revoke";
/// Annotation on a MailCertificate: the number of the staged revision that may become active.
pub const APPROVE: &str = "mailcert.dev/approve";
/// Annotation on a MailCertificate: who approved, as the command line found out. It informs, and proves nothing.
pub const APPROVED_BY: &str = "mailcert.dev/approved-by";
/// Annotation on a MailCertificate: make an earlier revision active again: its number, or `previous`, each with
/// anything after a `/` to ask once more.
pub const ROLLBACK: &str = "mailcert.dev/rollback";
/// Annotation on a MailCertificate: any new value asks for a new revision with another key.
pub const ROTATE_KEY: &str = "mailcert.dev/rotate-key";
/// Label on the Secret that keeps a key that was made ahead: `true`.
pub const NEXT_KEY_LABEL: &str = "mailcert.dev/next-key";
/// Annotation on a MailIssuer: any new value asks for a new account key.
pub const ROLLOVER: &str = "mailcert.dev/rollover";
/// Annotation on a MailIssuer: `true` deactivates its ACME account.
pub const DEACTIVATE_ACCOUNT: &str = "mailcert.dev/deactivate-account";
/// Annotation on the active Secret: it holds a self-signed certificate until one is issued.
pub const TEMPORARY: &str = "mailcert.dev/temporary";

/// Finalizer on a system certificate that MailDomains depend on.
pub const SYSTEM_FINALIZER: &str = "mailcert.dev/system-certificate";
/// Label on a Secret: the MailDomain of the same namespace for which it holds a copy of the system certificate.
pub const DOMAIN: &str = "mailcert.dev/domain-name";
/// Annotation on such a Secret: the MailCertificate that it is a copy of.
pub const COPY_OF: &str = "mailcert.dev/copy-of";
/// Label on a ConfigMap: the name of the MailTrustBundle that wrote it.
pub const TRUST_BUNDLE: &str = "mailcert.dev/trust-bundle-name";
/// Label on a ConfigMap: the namespace of the MailTrustBundle that wrote it.
pub const TRUST_BUNDLE_NAMESPACE: &str = "mailcert.dev/trust-bundle-namespace";
/// Annotation on such a ConfigMap: the version of the bundle in it.
pub const BUNDLE_VERSION: &str = "mailcert.dev/bundle-version";
/// Annotation on such a ConfigMap: SHA-256 over the certificates in it, in lower-case hex.
pub const BUNDLE_SHA256: &str = "mailcert.dev/bundle-sha256";
/// Annotation on such a ConfigMap: what its trust store was made from. PKCS#12 is salted: its bytes cannot be compared.
pub const TRUSTSTORE_SHA256: &str = "mailcert.dev/truststore-sha256";
/// Finalizer on a MailDomain whose TLSA records are at a DNS server that takes updates: they are withdrawn first.
pub const TLSA_FINALIZER: &str = "mailcert.dev/tlsa-records";
/// Finalizer on a MailTrustBundle whose ConfigMaps go with it.
pub const TRUST_BUNDLE_FINALIZER: &str = "mailcert.dev/trust-bundle";

/// Secret key: leaf first, then the chain, PEM.
pub const TLS_CRT: &str = "tls.crt";
/// Secret key: private key, PKCS#8 PEM.
pub const TLS_KEY: &str = "tls.key";
/// Key of an account key Secret: the key that the account is being rolled over to.
pub const NEXT_KEY: &str = "next.key";
/// Key of an account key Secret: the key that the account had before.
pub const PREVIOUS_KEY: &str = "previous.key";
/// Secret key: the certificate that readers may take as trust anchor, PEM.
pub const CA_CRT: &str = "ca.crt";
/// Secret key: private key, leaf and chain in one file, as Postfix wants it (`smtpd_tls_chain_files`).
pub const TLS_COMBINED: &str = "tls-combined.pem";
/// Secret key: the leaf, DER.
pub const TLS_DER: &str = "tls.der";
/// Secret key: private key, PKCS#8 DER.
pub const KEY_DER: &str = "key.der";
/// Secret key: leaf, private key, chain and CA in one file, as BlueMind wants it.
pub const BLUEMIND: &str = "bluemind.pem";
/// Secret key: private key and chain, PKCS#12.
pub const KEYSTORE: &str = "keystore.p12";
/// Secret key: the certificates of [`CA_CRT`], PKCS#12.
pub const TRUSTSTORE: &str = "truststore.p12";
/// Annotation on the active Secret: the further keys in it that mailcert wrote, separated by commas. Only these are ever
/// removed.
pub const OUTPUTS: &str = "mailcert.dev/outputs";
/// Annotation on the active Secret: digest of the PKCS#12 stores and of all that they were made from.
pub const OUTPUTS_DIGEST: &str = "mailcert.dev/outputs-sha256";
/// Label on a Secret with the tables of a server that serves several mail domains.
pub const SNI: &str = "mailcert.dev/sni";
/// Annotation on such a Secret: SHA-256 over what it was made from.
pub const SNI_DIGEST: &str = "mailcert.dev/sni-sha256";
/// Annotation on such a Secret: SHA-256 over its content.
pub const SNI_CONTENT: &str = "mailcert.dev/sni-content-sha256";
