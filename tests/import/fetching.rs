//! A missing issuer, fetched from a server of our own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailcert::aia::{FetchError, Fetcher, Reach};
use mailcert::pki::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::ground::root;

fn certificate() -> Vec<u8> {
    std::fs::read(root().join("fuzz/corpus/certificate/ca")).unwrap()
}

/// Answers one request with these bytes.
async fn server(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(&answer).await;
        // Open until the client goes.
        let _ = stream.read(&mut asked).await;
    });
    address
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn fetcher(own: SocketAddr) -> Fetcher {
    Fetcher { reach: Reach::Only(own), timeout: Duration::from_secs(5), ..Fetcher::default() }
}

async fn fetched(answer: Vec<u8>) -> Result<Certificate, FetchError> {
    let own = server(answer).await;
    fetcher(own).fetch(&[format!("http://{own}/ca.cer")]).await
}

#[tokio::test]
async fn der_and_pem_are_taken() {
    let der = certificate();
    let wanted = Certificate::parse_der(&der).unwrap();
    assert_eq!(fetched(ok(&der)).await.as_ref(), Ok(&wanted));
    assert_eq!(fetched(ok(wanted.to_pem().as_bytes())).await, Ok(wanted));
}

#[tokio::test]
async fn anything_else_is_refused() {
    let host = || "127.0.0.1".to_owned();
    for (answer, wanted) in [
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_vec(),
            FetchError::Status(host(), 302),
        ),
        (ok(b"hello"), FetchError::NoCertificate(host())),
        (ok(&vec![0x30; 40_000]), FetchError::TooLarge(host(), 36 * 1024)),
        (b"220 mail.example.com ESMTP\r\n".to_vec(), FetchError::Http(host())),
    ] {
        assert_eq!(fetched(answer).await, Err(wanted));
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_little_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    let fetcher = Fetcher { timeout: Duration::from_millis(200), ..fetcher(own) };
    let error = fetcher.fetch(&[format!("http://{own}/")]).await.unwrap_err();
    assert_eq!(error, FetchError::Timeout("127.0.0.1".into(), 0));
}

#[tokio::test]
async fn nothing_inside_is_ever_asked() {
    let production = Fetcher::default();
    for url in [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[fd00:ec2::254]/",
    ] {
        let error = production.fetch(&[url.to_owned()]).await.unwrap_err();
        assert!(matches!(error, FetchError::Inside(_)), "{url}: {error}");
    }
    for url in [
        "https://ca.example.com/",
        "ldap://ca.example.com/",
        "http://93.184.215.14:8080/",
        "file:///etc/passwd",
        "no url",
    ] {
        assert_eq!(production.fetch(&[url.to_owned()]).await, Err(FetchError::Url), "{url}");
    }
    // A name that leads inside with one of its addresses is not asked at the others either.
    let lookup: mailcert::aia::Lookup =
        Arc::new(|_| Box::pin(async { Ok(vec!["93.184.215.14".parse().unwrap(), "127.0.0.1".parse().unwrap()]) }));
    let fetcher = Fetcher { lookup, ..Fetcher::default() };
    let error = fetcher.fetch(&["http://ca.example.com/ca.cer".to_owned()]).await;
    assert_eq!(error, Err(FetchError::Inside("ca.example.com".into())));
    assert_eq!(fetcher.fetch(&[]).await, Err(FetchError::NoUrl));
}
