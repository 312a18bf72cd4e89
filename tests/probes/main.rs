//! The contract of a look, over every protocol, against servers that play a script over real sockets and real TLS.

#![allow(clippy::unwrap_used, reason = "the servers and helpers here are tests too")]

mod apart;
mod family;
mod quirks;
mod server;

use family::{Family, IMPLICIT, STARTTLS};
use mailcert::api::endpoint::{Protocol, TlsMode};
use mailcert::probes::{Limits, LookError, Sighting, Step, Target, look};
use server::{Act, Heard, Identity, Server, say};
use std::sync::Arc;
use std::time::Duration;

/// Time in which a look that may take [`HURRIED`] has to be over, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time of a look that is to run into its limit.
const HURRIED: Duration = Duration::from_millis(1500);

fn limits(total: Duration) -> Limits {
    Limits { total, farewell: Duration::from_secs(5), ..Limits::default() }
}

fn target(protocol: Protocol, tls: TlsMode, server: &Server) -> Target {
    Target {
        tls,
        address: Some("127.0.0.1".into()),
        port: server.address.port(),
        ..Target::new(protocol, "mail.example.com", "probe.example.com")
    }
}

type Outcome = Result<Sighting, LookError>;

async fn look_in(total: Duration, target: &Target) -> Outcome {
    tokio::time::timeout(PATIENCE, look(target, &limits(total))).await.expect("a look ends in time")
}

/// Plays `script` to a look with STARTTLS.
async fn starttls(protocol: Protocol, script: Vec<Act>) -> (Outcome, Heard) {
    let server = Server::play(script).await;
    let outcome = look_in(PATIENCE, &target(protocol, TlsMode::StartTLS, &server)).await;
    (outcome, server.heard().await)
}

/// Plays what `script` makes of each family, and gives what came of it.
async fn each(script: impl Fn(&Family) -> Vec<Act>) -> Vec<(Protocol, LookError)> {
    let mut outcomes = Vec::new();
    for family in &STARTTLS {
        let (outcome, _) = starttls(family.protocol, script(family)).await;
        outcomes.push((family.protocol, outcome.expect_err("no sighting")));
    }
    outcomes
}

fn then(mut script: Vec<Act>, acts: impl IntoIterator<Item = Act>) -> Vec<Act> {
    script.extend(acts);
    script
}

#[test]
fn every_protocol_is_in_the_contract() {
    use Protocol::*;
    for protocol in [SMTP, Submission, Submissions, IMAP, IMAPS, POP3, POP3S, Sieve, HTTPS, LMTP] {
        let covered = match protocol.default_tls() {
            TlsMode::StartTLS => STARTTLS.iter().any(|family| family.protocol == protocol),
            TlsMode::Implicit => IMPLICIT.iter().any(|case| case.0 == protocol),
        };
        assert!(covered, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_good_server_gives_exactly_the_chain_served() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = Arc::new(Identity { version, ..Identity::with_chain(2) });
        for family in &STARTTLS {
            let server = Server::play(family.good(&identity)).await;
            let sighting = look_in(PATIENCE, &target(family.protocol, TlsMode::StartTLS, &server)).await.unwrap();
            assert_eq!((&sighting.chain, sighting.address), (&identity.chain, server.address), "{:?}", family.protocol);
            let expected = Heard {
                plain: family.commands().into_iter().map(str::to_owned).collect(),
                farewell: Some(family.farewell.into()),
                sni: Some("mail.example.com".into()),
                bytes: Vec::new(),
                interrupted: false,
                closed_cleanly: true,
            };
            assert_eq!(server.heard().await, expected, "{:?}", family.protocol);
            let tls13 = sighting.tls_version == "TLS 1.3";
            assert_eq!(tls13, version.version == rustls::ProtocolVersion::TLSv1_3, "{}", sighting.tls_version);
            assert_eq!(tls13, sighting.cipher_suite.starts_with("TLS13_"), "{}", sighting.cipher_suite);
        }
    }
}

#[tokio::test]
async fn implicit_tls_needs_no_preamble_and_waits_for_the_greeting_before_it_leaves() {
    let identity = Arc::new(Identity::with_chain(3));
    for (protocol, greeting, farewell) in IMPLICIT {
        let server = Server::play(vec![Act::Tls { identity: identity.clone(), greeting }]).await;
        let sighting = look_in(PATIENCE, &target(protocol, TlsMode::Implicit, &server)).await.unwrap();
        assert_eq!(sighting.chain, identity.chain, "{protocol:?}");
        let heard = server.heard().await;
        assert_eq!((heard.plain, heard.sni.as_deref()), (vec![], Some("mail.example.com")), "{protocol:?}");
        assert!(!heard.interrupted, "{protocol:?} talked before the end of the greeting");
        assert_eq!((heard.farewell.as_deref(), heard.closed_cleanly), (Some(farewell), true), "{protocol:?}");
    }
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_said() {
    let outcomes =
        each(|family| then(family.until_capabilities(), [say(family.capabilities_without), Act::Hang])).await;
    for (protocol, error) in outcomes {
        assert_eq!(
            (&error, error.word()),
            (&LookError::StartTlsNotSupported, "starttls-not-supported"),
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn starttls_that_is_refused_carries_the_servers_words() {
    for (protocol, error) in each(|family| then(family.until_starttls(), [say(family.refusal), Act::Hang])).await {
        let text = error.to_string();
        assert_eq!(error.word(), "starttls-refused", "{protocol:?}: {text}");
        assert!(text.contains("no key loaded") || text.contains("454 4.7.0 TLS not available"), "{protocol:?}: {text}");
    }
}

#[tokio::test]
async fn plaintext_after_the_answer_to_starttls_is_refused() {
    let script = |family: &Family| {
        let injected = [family.agreement, family.capabilities].concat();
        then(family.until_starttls(), [say(&injected), Act::Hang])
    };
    for (protocol, error) in each(script).await {
        assert_eq!(error, LookError::PlaintextAfterStartTls, "{protocol:?}");
        assert_eq!(error.word(), "plaintext-after-starttls");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_a_named_step() {
    let mut looks = Vec::new();
    for family in &STARTTLS {
        let cases = [
            (Step::Banner, vec![]),
            (Step::Capabilities, family.until_capabilities()),
            (Step::StartTls, family.until_starttls()),
            (Step::Handshake, then(family.until_starttls(), [say(family.agreement)])),
        ];
        for (step, script) in cases {
            looks.push((family.protocol, TlsMode::StartTLS, step, script));
        }
    }
    looks.extend(IMPLICIT.map(|case| (case.0, TlsMode::Implicit, Step::Handshake, vec![])));
    let looks = looks.into_iter().map(|(protocol, tls, step, script)| async move {
        let server = Server::play(then(script, [Act::Hang])).await;
        let error = look_in(HURRIED, &target(protocol, tls, &server)).await.unwrap_err();
        assert_eq!(error, LookError::Timeout { step, within: HURRIED }, "{protocol:?}");
        assert_eq!((error.to_string(), error.word()), (format!("no {step} within 1500 ms"), "timeout"));
    });
    assert_eq!(futures::future::join_all(looks).await.len(), 30);
}

#[tokio::test]
async fn a_line_that_does_not_end_is_cut_off() {
    for (protocol, error) in each(|_| vec![say(&"2".repeat(1 << 20)), Act::Hang]).await {
        let expected = LookError::TooMuchData { step: Step::Banner, limit: 8192, unit: "bytes in one line" };
        assert_eq!(error, expected, "{protocol:?}");
    }
}

#[tokio::test]
async fn lines_that_do_not_end_are_cut_off() {
    for family in &STARTTLS {
        let endless = family.capabilities.split_inclusive("\r\n").next().unwrap();
        let script = then(family.until_capabilities(), [Act::Repeat(endless.into())]);
        let (outcome, _) = starttls(family.protocol, script).await;
        let expected = LookError::TooMuchData { step: Step::Capabilities, limit: 100, unit: "lines" };
        assert_eq!(outcome, Err(expected), "{:?}", family.protocol);
    }
}

#[tokio::test]
async fn garbage_is_quoted_bounded_and_printable() {
    let garbage: Vec<u8> = (0u8..=255).filter(|byte| *byte != b'\n').chain([b'\n']).collect();
    for family in &STARTTLS {
        let places = [
            (Step::Banner, vec![]),
            (Step::Capabilities, family.until_capabilities()),
            (Step::StartTls, family.until_starttls()),
        ];
        for (step, script) in places {
            let script = then(script, [Act::Say(garbage.clone()), Act::Hang]);
            let (outcome, _) = starttls(family.protocol, script).await;
            let error = outcome.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, LookError::ProtocolError { step: at, .. } if at == step), "{error:?}");
            assert_eq!(error.word(), "validation-failure", "{:?}: {text}", family.protocol);
            assert!(text.len() < 300 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
            assert!(text.contains(r"\x00\x01\x02"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_hold_the_key_is_no_sighting() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = Arc::new(Identity { version, ..Identity::with_chain(2).with_foreign_key() });
        let mut errors = each(|family| family.good(&identity)).await;
        for (protocol, greeting, _) in IMPLICIT {
            let server = Server::play(vec![Act::Tls { identity: identity.clone(), greeting }]).await;
            let outcome = look_in(PATIENCE, &target(protocol, TlsMode::Implicit, &server)).await;
            errors.push((protocol, outcome.expect_err("no sighting")));
        }
        for (protocol, error) in errors {
            assert!(matches!(error, LookError::HandshakeFailed(_)), "{protocol:?}: {error:?}");
            assert!(error.to_string().contains("its signature does not fit the key"), "{protocol:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_tls_fails_the_handshake() {
    let script = |family: &Family| {
        // After the ClientHello's first bytes, so that it is not the plaintext of an injection.
        let garbage = say("HTTP/1.1 400 Bad Request\r\n\r\n");
        then(family.until_starttls(), [say(family.agreement), Act::HearBytes, garbage, Act::Hang])
    };
    for (protocol, error) in each(script).await {
        assert_eq!(error.word(), "handshake-failed", "{protocol:?}: {error}");
        assert!(error.to_string().contains("not TLS"), "{protocol:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_closes_early_is_said() {
    let step = |step, error: &LookError| matches!(error, LookError::ConnectionLost { step: at, .. } if *at == step);
    for (protocol, error) in each(|_| vec![]).await {
        assert!(step(Step::Banner, &error) && error.word() == "connection-failed", "{protocol:?}: {error:?}");
    }
    for (protocol, error) in each(Family::until_capabilities).await {
        assert!(step(Step::Capabilities, &error), "{protocol:?}: {error:?}");
    }
    for (protocol, error) in each(Family::until_starttls).await {
        assert!(step(Step::StartTls, &error), "{protocol:?}: {error:?}");
    }
    for (protocol, error) in each(|family| then(family.until_starttls(), [say(family.agreement)])).await {
        assert!(matches!(error, LookError::HandshakeFailed(_)), "{protocol:?}: {error:?}");
    }
}
