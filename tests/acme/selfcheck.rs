//! The self check and the responder, without a CA.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use mailcert::solvers::http01::responder::{ChallengeTable, Entry, router};
use mailcert::solvers::http01::selfcheck::{SelfCheck, SelfCheckProblem, self_check};

use crate::server::{Reply, reply, start};

const NAME: &str = "mx.example.com";

fn at(port: u16) -> SelfCheck {
    SelfCheck {
        lookup: Arc::new(|name| {
            Box::pin(async move {
                match name.as_str() {
                    NAME => Ok(vec![IpAddr::from(Ipv4Addr::LOCALHOST)]),
                    _ => Ok(Vec::new()),
                }
            })
        }),
        port,
        timeout: Duration::from_secs(5),
    }
}

async fn problem(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Result<(), SelfCheckProblem> {
    let server = start(false, move |_, path, host| answer(path, host)).await;
    self_check(NAME, "tok", "tok.thumb", &at(server.address.port())).await
}

#[tokio::test]
async fn the_responder_answers_its_table_by_host_and_token_only() {
    let table = ChallengeTable::default();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let app = router(table.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let check = at(port);
    let not_found = Err(SelfCheckProblem::Status { name: NAME.into(), port, status: 404 });
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &check).await, not_found);
    let entry = |host: &str| Entry { host: host.into(), token: "tok".into(), key_authorization: "tok.thumb".into() };
    table.replace_for("ns/other".into(), vec![entry("other.example.com")]);
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &check).await, not_found);
    table.replace_for("ns/mx".into(), vec![entry(NAME)]);
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &check).await, Ok(()));
    assert_eq!(self_check(NAME, "tok2", "tok2.thumb", &check).await, not_found);
    let other = Err(SelfCheckProblem::OtherContent { name: NAME.into(), port });
    assert_eq!(self_check(NAME, "tok", "tok.other-account", &check).await, other);
    table.remove("ns/mx");
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &check).await, not_found);
}

#[tokio::test]
async fn every_problem_is_named() {
    let closed = mailcert_testenv::claim_port().expect("a port").number;
    let nowhere = self_check("nowhere.example.com", "tok", "tok.thumb", &at(closed)).await.expect_err("no address");
    assert_eq!(nowhere.to_string(), "nowhere.example.com does not resolve: it needs an A or AAAA record");
    let refused = self_check(NAME, "tok", "tok.thumb", &at(closed)).await.expect_err("nothing there");
    assert_eq!(refused.to_string(), format!("connection refused: nothing listens on port {closed} of mx.example.com"));
    let page = problem(|_, _| reply("200 OK", &[], "<html>s3cret</html>")).await.expect_err("a page").to_string();
    assert!(page.starts_with("something else answers on port") && !page.contains("s3cret"), "{page}");
    let broken = problem(|_, _| reply("503 Busy", &[], "s3cret")).await.expect_err("an error").to_string();
    assert!(broken.starts_with("status 503 instead of 200") && !broken.contains("s3cret"), "{broken}");
    let garbage = problem(|_, _| Reply::Raw(b"220 mx.example.com ESMTP\r\n".to_vec())).await.expect_err("SMTP");
    assert!(garbage.to_string().ends_with("its answer is not http, or breaks off"), "{garbage}");
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let flood = problem(|_, _| Reply::Flood(head.to_vec(), 50_000_000)).await.expect_err("too much");
    assert!(matches!(flood, SelfCheckProblem::OtherContent { .. }), "{flood}");
    assert_eq!(
        problem(|_, _| reply("200 OK", &[], "tok.thumb \r\n")).await,
        Ok(()),
        "white space at the end is allowed"
    );
}

#[tokio::test]
async fn a_silent_or_slow_server_ends_at_the_time_limit() {
    for drip in [false, true] {
        let server = start(false, move |_, _, _| match drip {
            true => Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\ntok.thumb".to_vec(), Duration::from_millis(200)),
            false => Reply::Silence,
        })
        .await;
        let check = SelfCheck { timeout: Duration::from_secs(1), ..at(server.address.port()) };
        let begin = Instant::now();
        let late = self_check(NAME, "tok", "tok.thumb", &check).await;
        assert_eq!(late, Err(SelfCheckProblem::Timeout { name: NAME.into(), seconds: 1 }));
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn redirects_are_followed_as_a_ca_follows_them() {
    let port = Arc::new(AtomicU16::new(0));
    let own = port.clone();
    let server = start(false, move |_, path, _| match path {
        "/moved" => reply("200 OK", &[], "tok.thumb"),
        _ => {
            let location = format!("Location: http://{NAME}:{}/moved", own.load(Ordering::Relaxed));
            reply("301 Moved", &[&location], "")
        }
    })
    .await;
    port.store(server.address.port(), Ordering::Relaxed);
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &at(server.address.port())).await, Ok(()));
    let relative = problem(|path, _| match path {
        "/moved" => reply("200 OK", &[], "tok.thumb"),
        _ => reply("302 Found", &["Location: /moved"], ""),
    });
    assert_eq!(relative.await, Ok(()));
    let around = problem(|_, _| reply("302 Found", &["Location: /again"], "")).await.expect_err("a circle");
    assert_eq!(around.to_string(), "mx.example.com redirects the challenge more often than a CA follows");
    let port = problem(|_, _| reply("302 Found", &["Location: http://mx.example.com:8443/"], "")).await;
    assert!(port.expect_err("a port").to_string().contains("a port other than 80 and 443"));
}

#[tokio::test]
async fn an_https_target_is_not_asked_for_a_valid_certificate() {
    let secure = start(true, |_, _, _| reply("200 OK", &[], "tok.thumb")).await;
    // The first port is allowed in redirects too, so that this works without port 443.
    let port = secure.address.port();
    let entrance = std::net::Ipv4Addr::new(127, 0, 0, 2);
    let listener = tokio::net::TcpListener::bind((entrance, port)).await.expect("the same port on another address");
    let redirect = axum::Router::new().fallback(move || async move {
        (
            axum::http::StatusCode::FOUND,
            [(axum::http::header::LOCATION, format!("https://secure.example.com:{port}/x"))],
        )
    });
    tokio::spawn(async move { axum::serve(listener, redirect).await });
    let lookup = move |name: String| -> futures::future::BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let address = if name == NAME { entrance } else { Ipv4Addr::LOCALHOST };
        Box::pin(async move { Ok(vec![IpAddr::from(address)]) })
    };
    let check = SelfCheck { lookup: Arc::new(lookup), port, timeout: Duration::from_secs(5) };
    assert_eq!(self_check(NAME, "tok", "tok.thumb", &check).await, Ok(()));
}
