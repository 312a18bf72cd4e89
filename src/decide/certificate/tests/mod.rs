//! Stories about a MailCertificate, told on a bench: what happens is listed, what users read is asserted word by word.

mod acme;
mod bench;
mod cert_manager;
mod challenges;
mod changes;
mod crash;
mod fake_ca;
mod guards;
mod issue;
mod legacy;
mod outputs;
mod property;
mod renewal_info;
mod revocation;
mod secret;
mod stuck;
mod system;
mod temporary;
