//! The cert-manager actions of a MailCertificate.
