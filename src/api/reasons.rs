//! Condition types and reasons. They are API: the README documents each, and a test says when one is missing there.

macro_rules! words {
    ($(#[$meta:meta])* $name:ident: $(#[doc = $doc:literal] $word:ident = $text:literal,)*) => {
        $(#[$meta])*
        pub mod $name {
            $(#[doc = $doc] pub const $word: &str = $text;)*
            /// Every word of this module.
            pub const ALL: &[&str] = &[$($text),*];
            /// Every word of this module with its meaning.
            pub const MEANINGS: &[(&str, &str)] = &[$(($text, $doc)),*];
        }
    };
}

words! {
    /// Condition types.
    condition:
    /// All is as the spec wants it.
    READY = "Ready",
    /// A new revision is under way.
    ISSUING = "Issuing",
    /// It takes a person to go on.
    STALLED = "Stalled",
    /// The certificate, or one that it needs, ends soon and has not been replaced.
    RENEWAL_OVERDUE = "RenewalOverdue",
    /// Something is under way (kstatus).
    RECONCILING = "Reconciling",
    /// The certificate covers every name of the MailDomain.
    NAMES_MATCH = "NamesMatch",
    /// Every workload runs with the active certificate.
    ROLLED_OUT = "RolledOut",
    /// Every endpoint serves the active certificate.
    SERVED = "Served",
    /// The Secret of a server that several MailDomains share has the tables for this one.
    SNI_READY = "SNIReady",
    /// The certificate is the namespace's system certificate.
    SYSTEM = "System",
    /// DNS has the records that the MailDomain wants.
    DNS_READY = "DNSReady",
    /// A new revision waits for its gates.
    STAGED = "Staged",
    /// The key is to be replaced soon.
    KEY_ROTATION_DUE = "KeyRotationDue",
}

words! {
    /// Gates that the operator itself looks at; any other condition type can be one, too.
    gate:
    /// A person has approved the revision.
    APPROVED = "Approved",
    /// A maintenance window is open.
    MAINTENANCE_WINDOW = "MaintenanceWindow",
    /// The TLSA record of its key has been seen everywhere for long enough.
    TLSA_PUBLISHED = "TLSAPublished",
    /// Nothing is queued for the old certificate.
    DRAINED = "Drained",
}

words! {
    /// Reasons on a MailIssuer.
    issuer:
    /// It can sign.
    READY = "Ready",
    /// The account is registered.
    REGISTERED = "Registered",
    /// `termsOfServiceAgreed` is not true.
    TERMS_NOT_ACCEPTED = "TermsNotAccepted",
    /// A Secret that the issuer names does not exist.
    SECRET_NOT_FOUND = "SecretNotFound",
    /// A Secret that the issuer names cannot be used.
    SECRET_INVALID = "SecretInvalid",
    /// The ACME server does not answer, or not as an ACME server.
    SERVER_UNAVAILABLE = "ServerUnavailable",
    /// The ACME server refuses the account.
    ACCOUNT_REFUSED = "AccountRefused",
    /// The account was deactivated, as asked for.
    ACCOUNT_DEACTIVATED = "AccountDeactivated",
    /// Something in the spec cannot be used.
    INVALID_SPEC = "InvalidSpec",
    /// The CA certificate, or one above it, expires soon.
    EXPIRES_SOON = "ExpiresSoon",
    /// The operator may not read or write what the issuer needs.
    FORBIDDEN = "Forbidden",
}

words! {
    /// Reasons on a MailCertificate.
    certificate:
    /// The active revision is valid and as the spec wants it.
    ACTIVE = "Active",
    /// A new revision has become active.
    ISSUED = "Issued",
    /// There was none before.
    FIRST_ISSUANCE = "FirstIssuance",
    /// A new revision waits for its gates.
    GATE_UNMET = "GateUnmet",
    /// A new revision still waits for its gates, and the active one ends soon.
    GATE_OVERDUE = "GateOverdue",
    /// The key has been in use for as long as it may.
    KEY_ROTATION_DUE = "KeyRotationDue",
    /// The annotation `mailcert.dev/rotate-key` asks for another key.
    KEY_ROTATION_REQUESTED = "KeyRotationRequested",
    /// The revision was not served in time.
    NOT_SERVED = "NotServed",
    /// The workloads' pods did not get ready with the revision.
    ROLLOUT_FAILED = "RolloutFailed",
    /// The annotation `mailcert.dev/rollback` asks for an earlier revision.
    ROLLBACK_REQUESTED = "RollbackRequested",
    /// The active revision has expired and there is no newer one: an earlier one is still valid.
    NOTHING_NEWER = "NothingNewer",
    /// An earlier revision is active again.
    ROLLED_BACK = "RolledBack",
    /// Nothing has been issued yet.
    NOT_ISSUED = "NotIssued",
    /// The active revision has expired.
    EXPIRED = "Expired",
    /// The active revision is not valid yet: a clock is wrong.
    NOT_YET_VALID = "NotYetValid",
    /// The active revision is due for renewal.
    RENEWAL_DUE = "RenewalDue",
    /// The annotation `mailcert.dev/renew` asks for it.
    RENEWAL_REQUESTED = "RenewalRequested",
    /// The names wanted are not those of the active revision.
    NAMES_CHANGED = "NamesChanged",
    /// The key wanted is not that of the active revision.
    KEY_CHANGED = "KeyChanged",
    /// The subject or the usages wanted are not those of the active revision.
    SUBJECT_CHANGED = "SubjectChanged",
    /// Another issuer is wanted.
    ISSUER_CHANGED = "IssuerChanged",
    /// The issuer's CA has another key pair.
    CA_CHANGED = "CAChanged",
    /// The Secret is gone.
    SECRET_MISSING = "SecretMissing",
    /// The Secret is not as it was written.
    SECRET_DAMAGED = "SecretDamaged",
    /// The Secret was put right again.
    SECRET_RESTORED = "SecretRestored",
    /// The Secret belongs to something else.
    SECRET_CONFLICT = "SecretConflict",
    /// Somebody keeps changing the Secret.
    SECRET_CONTESTED = "SecretContested",
    /// There is no such MailIssuer.
    ISSUER_NOT_FOUND = "IssuerNotFound",
    /// The MailIssuer does not allow this namespace.
    ISSUER_NOT_ALLOWED = "IssuerNotAllowed",
    /// The MailIssuer cannot sign now.
    ISSUER_NOT_READY = "IssuerNotReady",
    /// A name, or something else in the spec, cannot be used.
    INVALID_SPEC = "InvalidSpec",
    /// A new revision is being issued.
    ISSUING = "Issuing",
    /// An ACME order is under way.
    ORDER_PENDING = "OrderPending",
    /// The operator's own look at a challenge failed.
    SELF_CHECK_FAILED = "SelfCheckFailed",
    /// The CA could not validate a name.
    VALIDATION_FAILED = "ValidationFailed",
    /// The CA refuses the order.
    ORDER_REFUSED = "OrderRefused",
    /// The CA asks to wait.
    RATE_LIMITED = "RateLimited",
    /// The ACME server does not answer, or not as an ACME server.
    SERVER_UNAVAILABLE = "ServerUnavailable",
    /// An order more would come too close to a rate limit of the CA.
    BUDGET_SPENT = "BudgetSpent",
    /// What is certain to fail is not asked of the CA.
    PREFLIGHT_FAILED = "PreflightFailed",
    /// A DNS record for a challenge could not be published.
    PRESENT_FAILED = "PresentFailed",
    /// The annotation `mailcert.dev/revoke` asks for it.
    REVOCATION_REQUESTED = "RevocationRequested",
    /// The active revision was revoked.
    REVOKED = "Revoked",
    /// The Secret holds a self-signed certificate until one is issued.
    TEMPORARY = "Temporary",
    /// The CertificateRequest waits for cert-manager.
    REQUEST_PENDING = "RequestPending",
    /// cert-manager, or its approver, refuses the CertificateRequest.
    REQUEST_REFUSED = "RequestRefused",
    /// The source of the import holds another certificate.
    SOURCE_CHANGED = "SourceChanged",
    /// A certificate that is not renewed here expires soon.
    EXPIRES_SOON = "ExpiresSoon",
    /// Half of the time between the renewal that was due and the end is gone.
    RENEWAL_OVERDUE = "RenewalOverdue",
    /// What the source of an import holds cannot be used.
    IMPORT_INVALID = "ImportInvalid",
    /// What was issued is not what was asked for.
    ISSUED_INVALID = "IssuedInvalid",
    /// Signing failed.
    SIGNING_FAILED = "SigningFailed",
    /// The operator may not read or write what the certificate needs.
    FORBIDDEN = "Forbidden",
    /// It serves every MailDomain of the namespace whose own certificate is disabled.
    SYSTEM_CERTIFICATE = "SystemCertificate",
    /// Another MailCertificate is the namespace's system certificate.
    SYSTEM_TAKEN = "SystemTaken",
    /// Its deletion waits for the MailDomains that depend on it.
    DELETION_HELD = "DeletionHeld",
}

words! {
    /// Reasons of a MailCertificate's findings.
    finding:
    /// The name has no A or AAAA record.
    NO_ADDRESS = "NoAddress",
    /// A CAA record forbids the CA to issue.
    CAA_FORBIDS = "CAAForbids",
    /// CAA records could not be read, or not be judged.
    CAA_UNCLEAR = "CAAUnclear",
    /// DNS does not answer about the name.
    DNS_FAILED = "DNSFailed",
    /// The CA's renewal information makes no sense, or cannot be had.
    RENEWAL_INFO_IGNORED = "RenewalInfoIgnored",
    /// The chain leads to no known trust anchor.
    CHAIN_NOT_ANCHORED = "ChainNotAnchored",
    /// The CA does not offer the preferred chain.
    CHAIN_NOT_OFFERED = "ChainNotOffered",
    /// The CA does not know which certificate this order replaces.
    NOT_REPLACED = "NotReplaced",
    /// The active revision was not revoked, although the annotation `mailcert.dev/revoke` asks for it.
    NOT_REVOKED = "NotRevoked",
    /// The Secret to import from does not exist.
    SOURCE_NOT_FOUND = "SourceNotFound",
    /// The Secret to import from lacks what is to be read.
    SOURCE_KEY_MISSING = "SourceKeyMissing",
    /// The password of what is imported does not exist.
    PASSWORD_NOT_FOUND = "PasswordNotFound",
    /// A missing issuer could not be fetched.
    FETCH_FAILED = "FetchFailed",
    /// The annotation `mailcert.dev/renew` is on a certificate that is not renewed here.
    NOT_RENEWABLE = "NotRenewable",
    /// An output that the spec asks for cannot be written.
    OUTPUT_SKIPPED = "OutputSkipped",
    /// A DNS record of a challenge could not be removed.
    CLEAN_UP_FAILED = "CleanUpFailed",
    /// The Secret of a kept revision was deleted or changed.
    REVISION_LOST = "RevisionLost",
    /// The Secret of the key that was made ahead was deleted or changed.
    NEXT_KEY_LOST = "NextKeyLost",
    /// A revision became active although not all of its gates were met.
    GATE_OVERRIDDEN = "GateOverridden",
    /// The active revision does not work, and there is no valid earlier one.
    NO_WAY_BACK = "NoWayBack",
    /// The annotation `mailcert.dev/rollback` asks for what cannot be done.
    ROLLBACK_REFUSED = "RollbackRefused",
    /// Somebody could not be told of the active revision, or has not taken it up.
    PUBLISH_FAILED = "PublishFailed",
}

words! {
    /// Codes of what is found in an imported certificate, and by `mailcert inspect`.
    import:
    /// A file or a value cannot be read at all.
    UNREADABLE = "Unreadable",
    /// Something is larger than what is read.
    TOO_LARGE = "TooLarge",
    /// A key derivation would take more rounds than allowed.
    TOO_MANY_ITERATIONS = "TooManyIterations",
    /// A kind of encryption, of integrity check or of content that cannot be read here.
    UNSUPPORTED = "Unsupported",
    /// There is no certificate.
    NO_CERTIFICATE = "NoCertificate",
    /// There is no private key.
    NO_KEY = "NoKey",
    /// There are several private keys.
    SEVERAL_KEYS = "SeveralKeys",
    /// The private key is damaged, or of a kind that TLS here does not use.
    KEY_UNUSABLE = "KeyUnusable",
    /// The private key belongs to another certificate.
    KEY_MISMATCH = "KeyMismatch",
    /// Something is encrypted and there is no password.
    PASSWORD_MISSING = "PasswordMissing",
    /// The password is wrong.
    PASSWORD_WRONG = "PasswordWrong",
    /// Nothing in the PKCS#12 file tells a right password from a wrong one.
    NOT_PROTECTED = "NotProtected",
    /// The leaf is a CA certificate.
    LEAF_IS_CA = "LeafIsCA",
    /// The issuer of a certificate is missing.
    CHAIN_INCOMPLETE = "ChainIncomplete",
    /// Two certificates of the chain do not belong together.
    CHAIN_BROKEN = "ChainBroken",
    /// A missing issuer was added.
    CHAIN_COMPLETED = "ChainCompleted",
    /// The chain was in another order than servers send it.
    CHAIN_REORDERED = "ChainReordered",
    /// Certificates that do not belong to the chain were left out.
    CERTIFICATES_LEFT_OUT = "CertificatesLeftOut",
    /// The root for `ca.crt` was added from the Mozilla roots.
    ROOT_ADDED = "RootAdded",
    /// The root for `ca.crt` is missing.
    ROOT_MISSING = "RootMissing",
    /// A certificate has expired.
    EXPIRED = "Expired",
    /// A certificate is not valid yet.
    NOT_YET_VALID = "NotYetValid",
    /// A certificate expires soon.
    EXPIRES_SOON = "ExpiresSoon",
    /// A key that clients refuse.
    WEAK_KEY = "WeakKey",
    /// A signature that clients refuse.
    WEAK_SIGNATURE = "WeakSignature",
    /// A CA must not vouch for the certificate's names.
    NAME_CONSTRAINTS = "NameConstraints",
    /// The external URL's host is not covered.
    EXTERNAL_URL_NOT_COVERED = "ExternalURLNotCovered",
    /// A name is not covered.
    NAME_NOT_COVERED = "NameNotCovered",
    /// A legacy name is not covered.
    LEGACY_NAME_NOT_COVERED = "LegacyNameNotCovered",
    /// The common name is not among the alternative names.
    COMMON_NAME_NOT_IN_SANS = "CommonNameNotInSANs",
    /// A purpose, such as serverAuth, is not allowed.
    USAGE_MISSING = "UsageMissing",
    /// A critical extension that clients do not know.
    UNKNOWN_CRITICAL_EXTENSION = "UnknownCriticalExtension",
    /// The chain leads to no trust anchor.
    NOT_TRUSTED = "NotTrusted",
}

/// The codes of findings that can be allowed (`spec.import.allow`, `mailcert import --allow`): those about what a certificate
/// is, and whom it leads to. What cannot be read, and a key that is missing or another one's, stops an import whatever is allowed;
/// a warning stops none anyway.
pub const ALLOWABLE: &[&str] = &[
    import::LEAF_IS_CA,
    import::CHAIN_INCOMPLETE,
    import::CHAIN_BROKEN,
    import::EXPIRED,
    import::NOT_YET_VALID,
    import::WEAK_KEY,
    import::WEAK_SIGNATURE,
    import::NAME_CONSTRAINTS,
    import::EXTERNAL_URL_NOT_COVERED,
    import::NAME_NOT_COVERED,
    import::COMMON_NAME_NOT_IN_SANS,
    import::USAGE_MISSING,
    import::UNKNOWN_CRITICAL_EXTENSION,
    import::NOT_TRUSTED,
];

words! {
    /// Reasons on a MailDomain.
    domain:
    /// All is as the spec wants it.
    READY = "Ready",
    /// Every name is covered.
    COVERED = "Covered",
    /// A name is not covered.
    NAME_MISSING = "NameMissing",
    /// A legacy name could not be validated and was left out.
    LEGACY_NAME_OMITTED = "LegacyNameOmitted",
    /// There is no such MailCertificate.
    CERTIFICATE_NOT_FOUND = "CertificateNotFound",
    /// A MailCertificate of that name exists and is not this MailDomain's.
    CERTIFICATE_CONFLICT = "CertificateConflict",
    /// The MailCertificate has no valid revision.
    CERTIFICATE_NOT_READY = "CertificateNotReady",
    /// A name, or something else in the spec, cannot be used.
    INVALID_SPEC = "InvalidSpec",
    /// Every workload runs with the active certificate.
    ROLLED_OUT = "RolledOut",
    /// Pods are being replaced.
    ROLLING_OUT = "RollingOut",
    /// A workload is held back by its order, a window, or a PodDisruptionBudget.
    ROLLOUT_WAITING = "RolloutWaiting",
    /// A workload does not exist.
    WORKLOAD_NOT_FOUND = "WorkloadNotFound",
    /// A workload's pods do not become available, or do not load the certificate.
    ROLLOUT_FAILED = "RolloutFailed",
    /// No workload is named.
    NO_WORKLOADS = "NoWorkloads",
    /// Every endpoint serves the active certificate.
    SERVED = "Served",
    /// An endpoint does not.
    ENDPOINT_PROBLEM = "EndpointProblem",
    /// Endpoints have not been looked at yet.
    NOT_PROBED = "NotProbed",
    /// No endpoint is named.
    NO_ENDPOINTS = "NoEndpoints",
    /// The shared server's tables have this MailDomain's names.
    SNI_WRITTEN = "SNIWritten",
    /// The shared server's tables are about to be written.
    SNI_PENDING = "SNIPending",
    /// The shared server's tables lack something that this MailDomain asks for.
    SNI_INCOMPLETE = "SNIIncomplete",
    /// The shared server's tables cannot be written.
    SNI_CONFLICT = "SNIConflict",
    /// The operator may not read or write what the MailDomain needs.
    FORBIDDEN = "Forbidden",
    /// The certificate is disabled, and the namespace has no system certificate to fall back to.
    SYSTEM_CERTIFICATE_NOT_FOUND = "SystemCertificateNotFound",
    /// The Secret for the copy of the system certificate belongs to something else.
    SECRET_CONFLICT = "SecretConflict",
    /// The Secret that pods mount is about to get a copy of the system certificate.
    COPY_PENDING = "CopyPending",
}

words! {
    /// Reasons of a MailDomain's condition `DNSReady`.
    dns:
    /// Every TLSA record is at every authoritative server, for two TTLs, with a valid signature.
    TLSA_PUBLISHED = "TLSAPublished",
    /// Every TLSA record is in DNS, and a key waits until it has been there for two TTLs.
    TLSA_WAITING = "TLSAWaiting",
    /// A TLSA record is not at every authoritative server yet.
    TLSA_PENDING = "TLSAPending",
    /// A TLSA record is to be published by you.
    TLSA_MISSING = "TLSAMissing",
    /// TLSA records are not published before the endpoint is seen to serve the current key.
    TLSA_HELD = "TLSAHeld",
    /// TLSA records are being withdrawn, or may still be cached.
    TLSA_WITHDRAWING = "TLSAWithdrawing",
    /// The MailDomain is deleted, and its TLSA records could not be withdrawn: somebody has to remove them.
    TLSA_LEFT_BEHIND = "TLSALeftBehind",
    /// No TLSA record is published or cached any more.
    TLSA_WITHDRAWN = "TLSAWithdrawn",
    /// The host is an alias, and below its target are TLSA records of other keys.
    TLSA_OVERRULED = "TLSAOverruled",
    /// The zone is not signed: TLSA records in it have no effect.
    ZONE_NOT_SIGNED = "ZoneNotSigned",
    /// What an authoritative server says is not validly signed.
    DNSSEC_BOGUS = "DNSSECBogus",
    /// DNS does not answer.
    DNS_FAILED = "DNSFailed",
    /// The records cannot be published or withdrawn.
    PUBLISH_FAILED = "PublishFailed",
}

words! {
    /// Reasons of a MailDomain's findings.
    domain_finding:
    /// MailDomains that share a workload want it reloaded in different ways.
    RELOAD_CONFLICT = "ReloadConflict",
    /// MailDomains that share a workload want different rollouts.
    ROLLOUT_CONFLICT = "RolloutConflict",
    /// A workload is restarted, since it reads the Secret in a way that never follows it.
    RESTARTED_INSTEAD = "RestartedInstead",
    /// A reload ended the server that was to load its certificate.
    RELOAD_ENDED_SERVER = "ReloadEndedServer",
    /// The order names what is no workload.
    ORDER_UNKNOWN = "OrderUnknown",
    /// More looks are asked for than are made.
    PROBES_LIMITED = "ProbesLimited",
    /// The operator may not list pods.
    PODS_FORBIDDEN = "PodsForbidden",
    /// No pod declares the endpoint's port.
    NO_POD = "NoPod",
}

words! {
    /// Verdict reasons per endpoint: the words of RFC 8460, section 4.3, where one fits.
    endpoint:
    /// It serves the active certificate.
    SERVED = "served",
    /// STARTTLS is not offered.
    STARTTLS_NOT_SUPPORTED = "starttls-not-supported",
    /// The certificate does not cover the name.
    HOST_MISMATCH = "certificate-host-mismatch",
    /// The certificate has expired.
    EXPIRED = "certificate-expired",
    /// The chain leads to no trust anchor.
    NOT_TRUSTED = "certificate-not-trusted",
    /// A valid certificate, but not the active one.
    STALE = "certificate-stale",
    /// STARTTLS is offered and then refused.
    STARTTLS_REFUSED = "starttls-refused",
    /// Plaintext came after the answer to STARTTLS.
    PLAINTEXT_AFTER_STARTTLS = "plaintext-after-starttls",
    /// The TLS handshake failed.
    HANDSHAKE_FAILED = "handshake-failed",
    /// The name does not resolve.
    RESOLUTION_FAILED = "resolution-failed",
    /// The connection was refused, or lost.
    CONNECTION_FAILED = "connection-failed",
    /// No answer in time.
    TIMEOUT = "timeout",
    /// Another failure of the protocol.
    VALIDATION_FAILURE = "validation-failure",
}

words! {
    /// Reasons on a MailTrustBundle, and of its findings.
    trust_bundle:
    /// Every target has the bundle.
    READY = "Ready",
    /// A source cannot be read: what it gave last stays in the bundle.
    SOURCE_UNREADABLE = "SourceUnreadable",
    /// There is no anchor to write.
    NO_ANCHORS = "NoAnchors",
    /// The bundle is larger than a ConfigMap holds, or has more own anchors than it may.
    TOO_LARGE = "TooLarge",
    /// The password of the trust store cannot be read.
    PASSWORD_UNREADABLE = "PasswordUnreadable",
    /// A ConfigMap of that name belongs to something else, or cannot be written.
    TARGET_CONFLICT = "TargetConflict",
    /// A target's namespace does not exist, or is not served.
    TARGET_NOT_FOUND = "TargetNotFound",
    /// The MailTrustBundle may not write into other namespaces.
    NOT_ALLOWED = "NotAllowed",
    /// The operator may not read or write what the MailTrustBundle needs.
    FORBIDDEN = "Forbidden",
    /// A certificate of a source is not that of a CA and is left out.
    NOT_A_CA = "NotACA",
    /// An anchor has expired and is left out.
    ANCHOR_EXPIRED = "AnchorExpired",
    /// An own anchor expires soon: told 30, 14, 7, 3 and 1 days before.
    ANCHOR_EXPIRES_SOON = "AnchorExpiresSoon",
    /// An own anchor is a root that Mozilla has removed.
    REMOVED_BY_MOZILLA = "RemovedByMozilla",
    /// A source has dropped an own anchor, which stays for the overlap.
    ANCHOR_RETAINED = "AnchorRetained",
}

/// The documented word of that text, for labels of bounded number.
pub fn known_endpoint(text: &str) -> &'static str {
    endpoint::ALL.iter().find(|w| **w == text).copied().unwrap_or(endpoint::VALIDATION_FAILURE)
}
