//! What the responder answers, what it refuses, and how much it bears.

use std::time::{Duration, Instant};

use futures::future::join_all;
use mailcert::pki::check_acme_identifier;
use mailcert::solvers::tls_alpn01::digest;
use mailcert::solvers::tls_alpn01::responder::{AlpnTable, MAX_CONNECTIONS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Hello, entry, respond};

const NAME: &str = "mx.example.com";

fn table() -> AlpnTable {
    let table = AlpnTable::default();
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.thumb")]);
    table
}

#[tokio::test]
async fn a_ca_gets_the_certificate_of_its_challenge_and_the_connection_ends() {
    let table = table();
    let (address, _) = respond(&table, 0).await;
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let leaf = Hello { versions, ..Hello::ca(NAME) }.leaf(address).await.unwrap();
        assert_eq!(check_acme_identifier(&leaf, NAME, &digest("tok.thumb")), Ok(()));
    }
}

#[tokio::test]
async fn who_is_no_ca_is_refused_in_the_handshake() {
    let table = table();
    let (address, _) = respond(&table, 0).await;
    let refused = [
        ("without SNI", Hello { sni: false, ..Hello::ca(NAME) }),
        ("an address", Hello::ca("127.0.0.1")),
        ("another name", Hello::ca("imap.example.com")),
        ("a name below", Hello::ca("a.mx.example.com")),
        ("no protocol", Hello { protocols: &[], ..Hello::ca(NAME) }),
        ("another protocol", Hello { protocols: &[b"h2", b"http/1.1"], ..Hello::ca(NAME) }),
        ("another one first", Hello { protocols: &[b"h2", b"acme-tls/1"], ..Hello::ca(NAME) }),
        ("another one too", Hello { protocols: &[b"acme-tls/1", b"h2"], ..Hello::ca(NAME) }),
    ];
    for (what, hello) in refused {
        let error = hello.to(address).await.expect_err(what);
        let alert = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        assert!(matches!(alert, Some(rustls::Error::AlertReceived(_))), "{what}: {error:?}");
    }
    assert!(Hello::ca(NAME).leaf(address).await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_made_once_and_goes_with_its_challenge() {
    let table = table();
    let (address, _) = respond(&table, 0).await;
    let first = Hello::ca(NAME).leaf(address).await.unwrap();
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.thumb")]);
    assert_eq!(Hello::ca(NAME).leaf(address).await.unwrap(), first, "the status was written again, nothing changed");
    table.replace_for("ns/mx".into(), vec![entry(NAME, "tok2.thumb")]);
    let second = Hello::ca(NAME).leaf(address).await.unwrap();
    assert_eq!(check_acme_identifier(&second, NAME, &digest("tok2.thumb")), Ok(()));
    table.remove("ns/mx");
    assert!(Hello::ca(NAME).to(address).await.is_err());
    assert_eq!(table.replace_for("ns/odd".into(), vec![entry("*.example.com", "t.t"), entry(NAME, "no")]), 0);
}

#[tokio::test]
async fn two_orders_for_one_name_are_answered_alike_on_every_replica() {
    for order in [["ns/a", "ns/b"], ["ns/b", "ns/a"]] {
        let table = AlpnTable::default();
        for key in order {
            table.replace_for(key.into(), vec![entry(NAME, &format!("{}.thumb", &key[3..]))]);
        }
        let (address, _) = respond(&table, 0).await;
        let leaf = Hello::ca(NAME).leaf(address).await.unwrap();
        assert_eq!(check_acme_identifier(&leaf, NAME, &digest("a.thumb")), Ok(()));
        table.remove("ns/a");
        let leaf = Hello::ca(NAME).leaf(address).await.unwrap();
        assert_eq!(check_acme_identifier(&leaf, NAME, &digest("b.thumb")), Ok(()));
    }
}

#[tokio::test]
async fn a_ca_that_asks_a_fresh_process_waits_until_the_challenges_are_known() {
    let table = AlpnTable::filling();
    let (address, _) = respond(&table, 0).await;
    let (hello, other) = (Hello::ca(NAME), Hello::ca("b.example"));
    let (leaf, unknown, ()) = tokio::join!(hello.leaf(address), other.to(address), async {
        table.replace_for("ns/mx".into(), vec![entry(NAME, "tok.thumb")]);
        table.filled();
    });
    assert_eq!(check_acme_identifier(&leaf.unwrap(), NAME, &digest("tok.thumb")), Ok(()));
    assert!(unknown.is_err());
}

#[tokio::test]
async fn who_holds_connections_open_keeps_no_ca_out() {
    let table = table();
    let (address, _) = respond(&table, 0).await;
    let mut idle = Vec::new();
    for number in 0..2 * MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            // The head of a handshake that never comes.
            stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
        }
        idle.push(stream);
    }
    let asked = Instant::now();
    assert!(Hello::ca(NAME).leaf(address).await.is_ok());
    assert!(asked.elapsed() < Duration::from_secs(9), "the places were freed before the slow ones' time was over");
    // And each of them ends, by whatever means.
    let ends = idle.iter_mut().map(|stream| async { stream.read(&mut [0; 64]).await });
    tokio::time::timeout(Duration::from_secs(30), join_all(ends)).await.expect("no connection stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_are_all_answered() {
    let table = AlpnTable::default();
    let names: Vec<String> = (0..100).map(|n| format!("mx{n}.example.com")).collect();
    table.replace_for("ns/all".into(), names.iter().map(|name| entry(name, "tok.thumb")).collect());
    let (address, _) = respond(&table, 0).await;
    let asks = (0..3 * names.len()).map(|n| {
        let name = names[n % names.len()].clone();
        tokio::spawn(async move {
            let leaf = Hello::ca(&name).leaf(address).await.unwrap();
            assert_eq!(check_acme_identifier(&leaf, &name, &digest("tok.thumb")), Ok(()));
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_ends_the_port_and_every_connection() {
    let (address, stop) = respond(&table(), 0).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    assert!(Hello::ca(NAME).leaf(address).await.is_ok());
    stop.cancel();
    let end = tokio::time::timeout(Duration::from_secs(5), open.read(&mut [0; 16])).await.expect("an end");
    assert!(!matches!(end, Ok(1..)));
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
