//! Faults that Pebble cannot make: each gives the right class and words, never the body, in bounded time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mailcert::issuers::acme::account::{AcmeAccount, new_account_key, open, register};
use mailcert::issuers::acme::challenge::ChallengeKind;
use mailcert::issuers::acme::directory::directory;
use mailcert::issuers::acme::failure::{AcmeFailure, Class};
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::order::{OrderRequest, OrderStatus};

use crate::server::{Reply, Server, reply, start};

pub const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(2),
    step: Duration::from_secs(10),
    body: 1 << 20,
};
const SECRET: &str = "s3cret-of-another-service";
pub const JSON: &str = "Content-Type: application/json";
pub const PROBLEM: &str = "Content-Type: application/problem+json";
const HTML: &str = "Content-Type: text/html; charset=utf-8";

pub fn client(server: &Server, limits: Limits) -> BoundedHttp {
    let trust = Trust::Bundle { pem: server.ca_pem.clone(), and_mozilla: false };
    BoundedHttp::new(&trust, limits).expect("a client")
}

pub fn directory_body(host: &str) -> String {
    format!(
        r#"{{"newNonce":"https://{host}/nonce","newAccount":"https://{host}/account","newOrder":"https://{host}/new-order",
            "renewalInfo":"https://{host}/ari","meta":{{"termsOfService":"https://{host}/terms","externalAccountRequired":true,
            "profiles":{{"classic":"the usual"}}}}}}"#
    )
}

/// A server with a working directory and nonces; every other path is `fault`'s.
pub async fn acme_with(fault: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Server {
    start(true, move |_, path, host| match path {
        "/dir" => reply("200 OK", &[JSON], &directory_body(host)),
        "/nonce" => reply("200 OK", &[], ""),
        _ => fault(path, host),
    })
    .await
}

pub async fn account(server: &Server, limits: Limits) -> AcmeAccount {
    let key = new_account_key().expect("a key");
    let uri = format!("https://{}/account/1", server.address);
    open(&format!("https://{}/dir", server.address), &client(server, limits), &uri, &key).await.expect("a handle")
}

/// What `look` makes of an order that answers so.
async fn looked(fault: impl Fn() -> Reply + Send + Sync + 'static) -> AcmeFailure {
    let server = acme_with(move |_, _| fault()).await;
    let url = format!("https://{}/order/1", server.address);
    account(&server, LIMITS).await.look(&url).await.expect_err("a failure")
}

async fn directory_failure(body: &'static str) -> AcmeFailure {
    let server = start(true, move |_, _, _| reply("200 OK", &[JSON], body)).await;
    directory(&client(&server, LIMITS), &format!("https://{}/dir", server.address)).await.expect_err("a failure")
}

pub fn transient(seconds: Option<u64>) -> Class {
    Class::Transient { retry_after: seconds.map(Duration::from_secs) }
}

fn limited(seconds: Option<u64>) -> Class {
    Class::RateLimited { retry_after: seconds.map(Duration::from_secs) }
}

#[tokio::test]
async fn answers_that_are_not_acme_become_a_class_and_our_own_words() {
    let body: &'static str = Box::leak(format!("<html>{SECRET}</html>").into_boxed_str());
    let json: &'static str = Box::leak(format!(r#"{{"detail":"{SECRET}","status":"{SECRET}"}}"#).into_boxed_str());
    let not_json = "the ACME server answered 200 text/html instead of JSON";
    let redirect = "the ACME server answered 302 (a redirect), which ACME does not use; check the server's URL";
    let busy = "the ACME server answered 503 text/html instead of JSON";
    let foreign = "the ACME server answered 500 application/json instead of an ACME problem document";
    let misshapen = "the ACME server's answer is JSON, but not what ACME (RFC 8555) says it is";
    type Case = (&'static str, &'static [&'static str], &'static str, Class, &'static str);
    let cases: [Case; 8] = [
        ("502 Bad Gateway", &[HTML], body, transient(None), "the ACME server answered 502 text/html instead of JSON"),
        ("503 Busy", &[HTML, "Retry-After: 120"], body, transient(Some(120)), busy),
        (
            "429 Slow",
            &[HTML, "Retry-After: 7"],
            body,
            limited(Some(7)),
            "the ACME server answered 429 text/html instead of JSON",
        ),
        ("302 Found", &[HTML, "Location: https://127.0.0.1:1/"], body, transient(None), redirect),
        ("200 OK", &[HTML], body, transient(None), not_json),
        ("404 Not Found", &[HTML], body, transient(None), "the ACME server answered 404 text/html instead of JSON"),
        ("500 Error", &[JSON], json, transient(None), foreign),
        ("200 OK", &[JSON], json, transient(None), misshapen),
    ];
    for (status, headers, body, class, words) in cases {
        let failure = looked(move || reply(status, headers, body)).await;
        assert_eq!((failure.class, failure.words.as_str()), (class, words), "{status}");
    }
}

#[tokio::test]
async fn an_unknown_media_type_is_not_copied_either() {
    let failure = looked(|| reply("502 Bad", &["Content-Type: text/<script>s3cret"], "x")).await;
    assert_eq!(failure.words, "the ACME server answered 502 (no media type) instead of JSON");
}

#[tokio::test]
async fn problems_keep_the_cas_words_and_retry_after() {
    let limit = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates"}"#;
    let words = "too many certificates (urn:ietf:params:acme:error:rateLimited)";
    let with = looked(|| reply("429 Slow", &[PROBLEM, "Retry-After: 3600"], limit)).await;
    assert_eq!((with.class, with.words.as_str()), (limited(Some(3600)), words));
    let without = looked(|| reply("429 Slow", &[PROBLEM], limit)).await;
    assert_eq!((without.class, without.words.as_str()), (limited(None), words));
    let past = looked(|| reply("429 Slow", &[PROBLEM, "Retry-After: Thu, 01 Jan 2015 00:00:00 GMT"], limit)).await;
    assert_eq!(past.class, limited(Some(0)));
    let busy = r#"{"type":"urn:ietf:params:acme:error:serverInternal","detail":"busy"}"#;
    let busy = looked(|| reply("503 Busy", &[PROBLEM, "Retry-After: 5"], busy)).await;
    assert_eq!(busy.class, transient(Some(5)));
    let gone = looked(|| reply("404 Not Found", &[], "")).await;
    assert_eq!(gone.class, Class::OrderLost);
}

#[tokio::test]
async fn a_huge_answer_is_given_up_at_the_limit() {
    let server = acme_with(|_, _| {
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\nConnection: close\r\n\r\n");
        Reply::Flood(head.into_bytes(), 50_000_000)
    })
    .await;
    let url = format!("https://{}/order/1", server.address);
    let failure = account(&server, LIMITS).await.look(&url).await.expect_err("a failure");
    assert_eq!(failure.class, transient(None));
    assert_eq!(failure.words, format!("the ACME server {} answered with more than 1048576 bytes", server.address));
    // What is beyond the limit is in socket buffers, not read.
    assert!(server.flooded.load(Ordering::Relaxed) < 25_000_000);
}

#[tokio::test]
async fn slow_and_silent_servers_end_at_the_time_limit() {
    let quick = Limits { request: Duration::from_secs(1), ..LIMITS };
    for silent in [false, true] {
        let server = acme_with(move |_, _| match silent {
            true => Reply::Silence,
            false => Reply::Drip(
                format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(10_000)).into_bytes(),
                Duration::from_millis(50),
            ),
        })
        .await;
        let slow = account(&server, quick).await;
        let begin = Instant::now();
        let failure = slow.look(&format!("https://{}/order/1", server.address)).await.expect_err("a failure");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert_eq!(failure.class, transient(None));
        assert!(failure.words.ends_with("did not answer within 1 s"), "{failure}");
    }
}

#[tokio::test]
async fn a_step_as_a_whole_is_bounded() {
    let order = |host: &str| {
        let authorizations: Vec<String> = (0..40).map(|n| format!("\"https://{host}/authz/{n}\"")).collect();
        let list = authorizations.join(",");
        format!(r#"{{"status":"pending","authorizations":[{list}],"finalize":"https://{host}/f"}}"#)
    };
    let server = acme_with(move |path, host| match path {
        "/order/1" => reply("200 OK", &[JSON], &order(host)),
        _ => Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Duration::from_millis(60)),
    })
    .await;
    let limits = Limits { step: Duration::from_millis(800), ..LIMITS };
    let begin = Instant::now();
    let url = format!("https://{}/order/1", server.address);
    let failure = account(&server, limits).await.look(&url).await.expect_err("a failure");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert_eq!(failure.class, transient(None));
}

#[tokio::test]
async fn an_unreachable_or_untrusted_server_is_said_to_be_so() {
    let server = acme_with(|_, _| Reply::Silence).await;
    let closed = mailcert_testenv::claim_port().expect("a port").number;
    let refused = directory(&client(&server, LIMITS), &format!("https://127.0.0.1:{closed}/dir")).await;
    let refused = refused.expect_err("a failure");
    assert_eq!(refused.class, transient(None));
    assert_eq!(refused.words, format!("the ACME server 127.0.0.1:{closed} cannot be reached: connection refused"));

    let mozilla = BoundedHttp::new(&Trust::Mozilla, LIMITS).expect("a client");
    let url = format!("https://{}/dir", server.address);
    let untrusted = directory(&mozilla, &url).await.expect_err("a failure");
    assert!(untrusted.words.contains("caBundle"), "{untrusted}");

    let plain = directory(&mozilla, "http://127.0.0.1/dir").await.expect_err("a failure");
    assert_eq!(plain.class, Class::NeedsUser);
}

#[tokio::test]
async fn a_directory_is_read_and_a_wrong_one_is_the_users_to_mend() {
    let server = acme_with(|_, _| Reply::Silence).await;
    let url = format!("https://{}/dir", server.address);
    let view = directory(&client(&server, LIMITS), &url).await.expect("a directory");
    assert_eq!(view.terms_of_service, Some(format!("https://{}/terms", server.address)));
    assert!(view.external_account_required && view.renewal_info && view.profiles.contains_key("classic"));

    let missing = directory_failure(r#"{"newNonce":"https://a/","newAccount":"https://a/"}"#).await;
    assert_eq!(missing.class, Class::NeedsUser);
    assert_eq!(missing.words, "the answer is not an ACME directory: it lacks newOrder; check the issuer's server URL");
    for body in [r#"{"newNonce":":: no URL"}"#, r#"{"newNonce":"http://plain.example/nonce"}"#] {
        assert_eq!(directory_failure(body).await.class, Class::NeedsUser, "{body}");
    }
    // The library itself would panic on this one.
    let odd = r#"{"newNonce":":: no URL","newAccount":"https://a/","newOrder":"https://a/"}"#;
    let server = start(true, move |_, _, _| reply("200 OK", &[JSON], odd)).await;
    let (http, key) = (client(&server, LIMITS), new_account_key().expect("a key"));
    let url = format!("https://{}/dir", server.address);
    let failure = register(&url, &http, &key, &[], true, None).await.expect_err("a failure");
    assert_eq!(failure.words, "the ACME server's directory names no valid https URL for newNonce");
    for url in ["no url", ":: no URL", ""] {
        assert_eq!(register(url, &http, &key, &[], true, None).await.expect_err("a failure").class, Class::NeedsUser);
        assert!(open(url, &http, "https://a/", &key).await.is_err());
    }
}

fn authorization(token: &str) -> String {
    format!(
        r#"{{"status":"pending","identifier":{{"type":"dns","value":"A.example"}},"challenges":[
            {{"type":"new-99","status":"pending","url":"https://a.example/1"}},
            {{"type":"http-01","status":"pending","url":"https://a.example/2","token":"{token}"}}]}}"#
    )
}

#[tokio::test]
async fn unknown_challenges_are_skipped_and_odd_tokens_refused() {
    for (token, good) in [("to-ken_1", true), ("../../etc", false), ("a/b", false), ("", false)] {
        let server = acme_with(move |path, host| match path {
            "/order/1" => {
                let order = format!(
                    r#"{{"status":"pending","authorizations":["https://{host}/authz/1"],"finalize":"https://{host}/f"}}"#
                );
                reply("200 OK", &[JSON, "Retry-After: 4"], &order)
            }
            _ => reply("200 OK", &[JSON], &authorization(token)),
        })
        .await;
        let url = format!("https://{}/order/1", server.address);
        let seen = account(&server, LIMITS).await.look(&url).await;
        if good {
            let view = seen.expect("a view");
            assert_eq!(view.retry_after, Some(Duration::from_secs(4)));
            assert_eq!(view.authorizations[0].name, "a.example");
            let kinds: Vec<_> = view.authorizations[0].challenges.iter().map(|c| c.kind.as_str()).collect();
            assert_eq!(kinds, ["new-99", "http-01"]);
            let http01 = view.authorizations[0].challenge(&ChallengeKind::Http01).expect("http-01");
            assert!(http01.key_authorization.as_deref().is_some_and(|text| text.starts_with("to-ken_1.")));
        } else {
            assert!(seen.expect_err("a failure").words.contains("token"), "{token}");
        }
    }
}

#[tokio::test]
async fn a_replacement_that_was_made_already_is_ordered_without_that_word() {
    let asked = AtomicUsize::new(0);
    let server = acme_with(move |path, host| match (path, asked.fetch_add(1, Ordering::Relaxed)) {
        ("/new-order", 0) => {
            let body = r#"{"type":"urn:ietf:params:acme:error:alreadyReplaced","detail":"twice"}"#;
            reply("409 Conflict", &[PROBLEM], body)
        }
        ("/new-order", _) => {
            let location = format!("Location: https://{host}/order/7");
            let body = format!(r#"{{"status":"ready","authorizations":[],"finalize":"https://{host}/f"}}"#);
            reply("201 Created", &[JSON, &location], &body)
        }
        _ => reply("404 Not Found", &[], ""),
    })
    .await;
    let request = OrderRequest { names: vec!["a.example".into()], profile: None, replaces: Some("aki.serial".into()) };
    let view = account(&server, LIMITS).await.new_order(&request).await.expect("an order");
    assert_eq!((view.status, view.url), (OrderStatus::Ready, format!("https://{}/order/7", server.address)));
}

#[tokio::test]
async fn a_placed_orders_url_is_never_lost() {
    let server = acme_with(|path, host| match path {
        "/new-order" => {
            let location = format!("Location: https://{host}/order/7");
            let body = format!(
                r#"{{"status":"pending","authorizations":["https://{host}/authz/1"],"finalize":"https://{host}/f"}}"#
            );
            reply("201 Created", &[JSON, &location], &body)
        }
        _ => reply("500 Broken", &[HTML], "x"),
    })
    .await;
    let request = OrderRequest { names: vec!["a.example".into()], ..OrderRequest::default() };
    let view = account(&server, LIMITS).await.new_order(&request).await.expect("an order");
    assert_eq!(view.url, format!("https://{}/order/7", server.address));
    assert!(view.authorizations.is_empty());
}
