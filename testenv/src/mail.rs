//! The mail server for tests and the demo.

/// The quick start's Postfix and Dovecot: a Deployment and a Service of type LoadBalancer, both named `mail`, for the
/// image of [`crate::images::mail`]. Their certificate is the Secret `mail-tls`, mounted whole at `/etc/mail-tls`.
pub const MAIL_MANIFEST: &str = include_str!("../../examples/quickstart/mail.yaml");
