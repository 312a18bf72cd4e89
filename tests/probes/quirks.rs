//! What single protocols and servers do, and what belongs to no protocol: names, addresses, chains, the prober.

use crate::family::STARTTLS;
use crate::server::{Act, Identity, Server, say};
use crate::{PATIENCE, limits, look_in, starttls, target};
use mailcert::api::domain::ProxyProtocol;
use mailcert::api::endpoint::{Protocol, TlsMode};
use mailcert::probes::{ConnectFailure, Limits, LookError, Prober, Step, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tls() -> (Arc<Identity>, Act) {
    let identity = Arc::new(Identity::with_chain(2));
    (identity.clone(), Act::Tls { identity, greeting: "" })
}

#[tokio::test]
async fn a_greet_delay_is_waited_for() {
    // As postscreen does: part of the banner, a pause, the rest; who talks in between is taken for a zombie.
    let (identity, tls) = tls();
    let mut script = vec![Act::Silence, say("220-mail.example.com\r\n"), Act::Silence];
    script.extend(STARTTLS[0].good(&identity));
    script.pop();
    script.push(tls);
    let (outcome, heard) = starttls(Protocol::SMTP, script).await;
    assert_eq!(outcome.unwrap().chain, identity.chain);
    assert_eq!((heard.interrupted, heard.plain), (false, vec!["EHLO probe.example.com".into(), "STARTTLS".into()]));
}

#[tokio::test]
async fn smtp_servers_that_turn_the_client_away() {
    let hello = say("220 mail.example.com\r\n");
    let cases = [
        (vec![say("554 5.7.1 blocked\r\n")], Step::Banner, "554 5.7.1 blocked"),
        (vec![hello.clone(), Act::Hear, say("550-go\r\n550 bad name\r\n")], Step::Capabilities, "550 bad name"),
    ];
    for (mut script, step, line) in cases {
        script.push(Act::Hang);
        let (outcome, _) = starttls(Protocol::SMTP, script).await;
        assert_eq!(outcome, Err(LookError::ProtocolError { step, line: line.into() }));
    }
    let (outcome, _) = starttls(Protocol::SMTP, vec![hello, Act::Hear, say("502 what?\r\n"), Act::Hang]).await;
    assert_eq!(outcome, Err(LookError::StartTlsNotSupported));
}

#[tokio::test]
async fn imap_untagged_noise_is_passed_over() {
    let (identity, tls) = tls();
    let script = vec![
        say("* OK ready\r\n"),
        Act::Hear,
        say("* OK still here\r\n* 3 EXISTS\r\n* capability IMAP4rev2 starttls\r\n* NO disk\r\nA1 BAD\r\n"),
        Act::Hang,
    ];
    let (outcome, _) = starttls(Protocol::IMAP, script).await;
    assert!(matches!(outcome, Err(LookError::ProtocolError { step: Step::Capabilities, .. })), "{outcome:?}");
    let script = vec![
        say("* OK ready\r\n"),
        Act::Hear,
        say("* OK still here\r\n* 3 EXISTS\r\n* capability IMAP4rev2 starttls\r\na1 ok\r\n"),
        Act::Hear,
        say("* NO disk\r\n* CAPABILITY IMAP4rev2\r\na2 OK\r\n"),
        tls,
    ];
    let (outcome, _) = starttls(Protocol::IMAP, script).await;
    assert_eq!(outcome.unwrap().chain, identity.chain);
}

#[tokio::test]
async fn imap_sessions_that_cannot_start_tls() {
    for banner in ["* PREAUTH welcome\r\n", "* BYE overloaded\r\n", "a1 OK\r\n"] {
        let (outcome, _) = starttls(Protocol::IMAP, vec![say(banner), Act::Hang]).await;
        let expected = LookError::ProtocolError { step: Step::Banner, line: banner.into() };
        assert_eq!(outcome, Err(expected));
    }
    let script = vec![say("* OK\r\n"), Act::Hear, say("* BYE idle\r\n"), Act::Hang];
    let (outcome, _) = starttls(Protocol::IMAP, script).await;
    assert_eq!(outcome, Err(LookError::ProtocolError { step: Step::Capabilities, line: "* BYE idle".into() }));
}

#[tokio::test]
async fn pop3_without_capa_is_asked_for_tls_directly() {
    let (identity, tls) = tls();
    let start = vec![say("+OK ready\r\n"), Act::Hear, say("-ERR unknown command\r\n"), Act::Hear];
    let mut script = start.clone();
    script.extend([say("+OK begin\r\n"), tls]);
    let (outcome, heard) = starttls(Protocol::POP3, script).await;
    assert_eq!(outcome.unwrap().chain, identity.chain);
    assert_eq!(heard.plain, ["CAPA", "STLS"]);
    let mut script = start;
    script.extend([say("-ERR unknown command\r\n"), Act::Hang]);
    assert_eq!(starttls(Protocol::POP3, script).await.0, Err(LookError::StartTlsNotSupported));
}

#[tokio::test]
async fn sieve_literals_are_data() {
    let (identity, tls) = tls();
    // A name as a literal counts; a value that looks like a capability or like the list's end does not.
    let decoy = "\"NOTE\" {21+}\r\nOK\r\n\"STARTTLS\"\r\nOK\r\n\r\n\"SIEVE\" \"\"\r\n";
    let script = vec![say(decoy), say("{8}\r\nstarttls\r\nOK {5}\r\nready\r\n"), Act::Hear, say("ok\r\n"), tls];
    let (outcome, _) = starttls(Protocol::Sieve, script).await;
    assert_eq!(outcome.unwrap().chain, identity.chain);
    let (outcome, _) = starttls(Protocol::Sieve, vec![say(decoy), say("OK\r\n"), Act::Hang]).await;
    assert_eq!(outcome, Err(LookError::StartTlsNotSupported));
    let (outcome, _) = starttls(Protocol::Sieve, vec![say("\"X\" {999999999}\r\n"), Act::Hang]).await;
    assert!(matches!(outcome, Err(LookError::TooMuchData { unit: "bytes in one literal", .. })), "{outcome:?}");
}

#[tokio::test]
async fn https_has_no_starttls() {
    let server = Server::play(vec![Act::Hang]).await;
    let outcome = look_in(PATIENCE, &target(Protocol::HTTPS, TlsMode::StartTLS, &server)).await;
    assert_eq!(outcome, Err(LookError::StartTlsNotSupported));
}

#[tokio::test]
async fn no_sni_on_request_and_none_for_an_address() {
    for (host, sni) in [("mail.example.com", false), ("127.0.0.1", true)] {
        let (identity, tls) = tls();
        let server = Server::play(vec![tls]).await;
        let target = Target { sni, host: host.into(), ..target(Protocol::HTTPS, TlsMode::Implicit, &server) };
        assert_eq!(look_in(PATIENCE, &target).await.unwrap().chain, identity.chain);
        assert_eq!(server.heard().await.sni, None, "{host}");
    }
}

#[tokio::test]
async fn a_proxy_header_comes_first() {
    let identity = Arc::new(Identity::with_chain(1));
    let mut script = vec![Act::Hear];
    script.extend(STARTTLS[3].good(&identity));
    let server = Server::play(script).await;
    let target =
        Target { proxy_protocol: Some(ProxyProtocol::V1), ..target(Protocol::IMAP, TlsMode::StartTLS, &server) };
    assert_eq!(look_in(PATIENCE, &target).await.unwrap().chain, identity.chain);
    let port = server.address.port().to_string();
    let heard = server.heard().await.plain;
    let words: Vec<_> = heard[0].split(' ').collect();
    assert_eq!((&words[..4], words[5]), (&["PROXY", "TCP4", "127.0.0.1", "127.0.0.1"][..], port.as_str()));
    assert_eq!(heard[1..], ["a1 CAPABILITY", "a2 STARTTLS"]);
}

#[tokio::test]
async fn a_binary_proxy_header_comes_first() {
    let identity = Arc::new(Identity::with_chain(1));
    let mut script = vec![Act::HearBytes];
    script.extend(STARTTLS[3].good(&identity));
    let server = Server::play(script).await;
    let target =
        Target { proxy_protocol: Some(ProxyProtocol::V2), ..target(Protocol::IMAP, TlsMode::StartTLS, &server) };
    assert_eq!(look_in(PATIENCE, &target).await.unwrap().chain, identity.chain);
    let port = server.address.port().to_be_bytes();
    let bytes = server.heard().await.bytes;
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01";
    assert_eq!((&bytes[..24], &bytes[26..]), (&start[..], &port[..]));
}

#[tokio::test]
async fn a_long_chain_is_cut_after_ten() {
    let identity = Arc::new(Identity::with_chain(20));
    let (outcome, _) = starttls(Protocol::SMTP, STARTTLS[0].good(&identity)).await;
    assert_eq!(outcome.unwrap().chain, identity.chain[..10]);
    // TLS bounds the certificates together; more of them than that fail the handshake.
    let identity = Arc::new(Identity::with_chain(400));
    let (outcome, _) = starttls(Protocol::SMTP, STARTTLS[0].good(&identity)).await;
    assert!(matches!(outcome, Err(LookError::HandshakeFailed(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_farewell_costs_only_its_limit() {
    let (identity, tls) = tls();
    // On implicit TLS without a greeting the client would wait for one.
    let server = Server::play(vec![tls]).await;
    let limits = Limits { farewell: Duration::from_millis(200), ..limits(PATIENCE) };
    let target = target(Protocol::IMAPS, TlsMode::Implicit, &server);
    let look = tokio::time::timeout(PATIENCE, mailcert::probes::look(&target, &limits)).await;
    assert_eq!(look.expect("the farewell is bounded").unwrap().chain, identity.chain);
}

#[tokio::test]
async fn nobody_there() {
    // Bound and not listening: refuses, and nobody else can take the port meanwhile.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    for case in &STARTTLS {
        let target = Target {
            address: Some(address.ip().to_string()),
            port: address.port(),
            ..Target::new(case.protocol, "mail.example.com", "probe.example.com")
        };
        let error = look_in(PATIENCE, &target).await.unwrap_err();
        assert_eq!(error, LookError::ConnectFailed { attempts: vec![(address, ConnectFailure::Refused)] });
        assert_eq!(error.word(), "connection-failed");
        assert_eq!(error.to_string(), format!("cannot connect to {address}: connection refused"));
    }
}

#[tokio::test]
async fn a_name_without_address_is_said() {
    // RFC 6761 keeps `.invalid` free of addresses; a resolver that does not answer at all fails the same way.
    let target = Target::new(Protocol::SMTP, "mail.invalid", "probe.example.com");
    let error = look_in(Duration::from_secs(5), &target).await.unwrap_err();
    assert_eq!(error.word(), "resolution-failed", "{error:?}");
    assert!(error.to_string().starts_with("cannot resolve mail.invalid: "), "{error}");
}

/// How many looks are connected now, and at most so far.
#[derive(Default)]
struct Count {
    open: AtomicUsize,
    most: AtomicUsize,
}

/// Turns every client away, but not before `expected` were connected at once, here or where else `count` goes.
async fn counting_server(ip: &str, count: &Arc<Count>, expected: usize) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                count.most.fetch_max(count.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // One more pause when the number is reached: a look too many gets its chance to come.
                let pause = || tokio::time::sleep(Duration::from_millis(20));
                pause().await;
                while count.most.load(Ordering::SeqCst) < expected {
                    pause().await;
                }
                count.open.fetch_sub(1, Ordering::SeqCst);
                let _ = stream.write_all(b"554 no\r\n").await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

async fn all_turned_away(prober: &Prober, targets: &[(&str, u16)]) {
    let looks = targets.iter().map(|(host, port)| async move {
        let target = Target { port: *port, ..Target::new(Protocol::SMTP, *host, "probe.example.com") };
        prober.look(&target).await
    });
    for outcome in futures::future::join_all(looks).await {
        assert_eq!(outcome, Err(LookError::ProtocolError { step: Step::Banner, line: "554 no".into() }));
    }
}

#[tokio::test]
async fn the_prober_bounds_looks_overall() {
    let count: Arc<Count> = Arc::default();
    let mut targets = Vec::new();
    for ip in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let port = counting_server(ip, &count, 2).await.port();
        targets.extend([(ip, port); 4]);
    }
    all_turned_away(&Prober::with_concurrency(limits(PATIENCE), 2), &targets).await;
    assert_eq!(count.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_prober_looks_at_an_address_once_at_a_time() {
    let count: Arc<Count> = Arc::default();
    let port = counting_server("127.0.0.1", &count, 1).await.port();
    // A name and the address behind it are one server.
    let targets = [("127.0.0.1", port), ("localhost", port)].repeat(4);
    all_turned_away(&Prober::new(limits(PATIENCE)), &targets).await;
    assert_eq!(count.most.load(Ordering::SeqCst), 1);
}
