//! What a good server of each protocol says, in pieces that the contract's cases leave out or replace.

use crate::server::{Act, Identity, say};
use mailcert::api::endpoint::Protocol::{self, *};
use std::sync::Arc;

/// The plaintext part of a protocol with STARTTLS.
pub struct Family {
    pub protocol: Protocol,
    pub banner: &'static str,
    /// What the client says for the list of capabilities; the list is in the banner when there is no such command.
    pub capability_command: Option<&'static str>,
    pub capabilities: &'static str,
    pub capabilities_without: &'static str,
    pub starttls_command: &'static str,
    pub agreement: &'static str,
    pub refusal: &'static str,
    pub farewell: &'static str,
}

const SMTP_LIKE: Family = Family {
    protocol: SMTP,
    banner: "220 mail.example.com ESMTP\r\n",
    capability_command: Some("EHLO probe.example.com"),
    capabilities: "250-mail.example.com\r\n250-SIZE 100\r\n250-starttls\r\n250 HELP\r\n",
    capabilities_without: "250-mail.example.com\r\n250 SIZE 100\r\n",
    starttls_command: "STARTTLS",
    agreement: "220 2.0.0 Ready to start TLS\r\n",
    refusal: "454 4.7.0 TLS not available due to local problem\r\n",
    farewell: "QUIT",
};

pub const STARTTLS: [Family; 6] = [
    SMTP_LIKE,
    Family { protocol: Submission, ..SMTP_LIKE },
    Family { protocol: LMTP, capability_command: Some("LHLO probe.example.com"), ..SMTP_LIKE },
    Family {
        protocol: IMAP,
        banner: "* OK [CAPABILITY IMAP4rev1] ready\r\n",
        capability_command: Some("a1 CAPABILITY"),
        capabilities: "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na1 OK done\r\n",
        capabilities_without: "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK done\r\n",
        starttls_command: "a2 STARTTLS",
        agreement: "a2 OK begin TLS\r\n",
        refusal: "a2 NO no key loaded\r\n",
        farewell: "a3 LOGOUT",
    },
    Family {
        protocol: POP3,
        banner: "+OK ready <1.2@mail.example.com>\r\n",
        capability_command: Some("CAPA"),
        capabilities: "+OK list\r\nTOP\r\nSTLS\r\nUIDL\r\n.\r\n",
        capabilities_without: "+OK list\r\nTOP\r\n.\r\n",
        starttls_command: "STLS",
        agreement: "+OK begin TLS\r\n",
        refusal: "-ERR no key loaded\r\n",
        farewell: "QUIT",
    },
    Family {
        protocol: Sieve,
        banner: "\"IMPLEMENTATION\" \"test\"\r\n",
        capability_command: None,
        capabilities: "\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\n\"VERSION\" \"1.0\"\r\nOK \"ready\"\r\n",
        capabilities_without: "\"SIEVE\" \"fileinto STARTTLS\"\r\nOK (TAG {3}\r\nabc) \"ready\"\r\n",
        starttls_command: "STARTTLS",
        agreement: "OK \"begin TLS\"\r\n",
        refusal: "NO \"no key loaded\"\r\n",
        farewell: "LOGOUT",
    },
];

/// A protocol with TLS from the first byte: greeting inside TLS, farewell.
pub const IMPLICIT: [(Protocol, &str, &str); 6] = [
    (Submissions, "220-mail.example.com\r\n220 ready\r\n", "QUIT"),
    (IMAPS, "* OK ready\r\n", "a3 LOGOUT"),
    (POP3S, "+OK ready\r\n", "QUIT"),
    (Sieve, "\"IMPLEMENTATION\" {4}\r\ntest\r\nOK\r\n", "LOGOUT"),
    (LMTP, "220 ready\r\n", "QUIT"),
    (HTTPS, "", ""),
];

impl Family {
    /// The script up to the question for capabilities.
    pub fn until_capabilities(&self) -> Vec<Act> {
        let mut script = vec![say(self.banner)];
        script.extend(self.capability_command.map(|_| Act::Hear));
        script
    }

    /// The script up to the client's STARTTLS.
    pub fn until_starttls(&self) -> Vec<Act> {
        let mut script = self.until_capabilities();
        script.extend([say(self.capabilities), Act::Hear]);
        script
    }

    /// The whole script of a good server.
    pub fn good(&self, identity: &Arc<Identity>) -> Vec<Act> {
        let mut script = self.until_starttls();
        script.extend([say(self.agreement), Act::Tls { identity: identity.clone(), greeting: "" }]);
        script
    }

    /// What the client is to say in plaintext.
    pub fn commands(&self) -> Vec<&'static str> {
        self.capability_command.into_iter().chain([self.starttls_command]).collect()
    }
}
