//! Stories about a MailCertificate, told on a bench: what happens is listed, what users read is asserted word by word.

mod acme;
mod announce;
mod bench;
mod cert_manager;
mod challenges;
mod changes;
mod crash;
mod expiry;
mod fake_ca;
mod fake_source;
mod guards;
mod import;
mod issue;
mod keys;
mod legacy;
mod model;
mod outputs;
mod property;
mod renewal_info;
mod revocation;
mod rollback;
mod secret;
mod staged;
mod stuck;
mod system;
mod temporary;
