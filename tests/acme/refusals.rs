//! What a CA refuses, and answers that a careful client does not take as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailcert::issuers::acme::directory::directory;
use mailcert::issuers::acme::failure::{AcmeFailure, Class};
use mailcert::issuers::acme::order::OrderRequest;

use crate::faults::{JSON, LIMITS, PROBLEM, account, acme_with, client, directory_body, transient};
use crate::server::{self, Reply, reply, start};

/// The failure of placing an order that is answered so.
async fn order_failure(fault: impl Fn() -> Reply + Send + Sync + 'static) -> AcmeFailure {
    let server = acme_with(move |_, _| fault()).await;
    let request = OrderRequest { names: vec!["a.example".into()], ..OrderRequest::default() };
    account(&server, LIMITS).await.new_order(&request).await.expect_err("a failure")
}

#[tokio::test]
async fn what_a_person_must_do_is_said_with_the_cas_page_for_it() {
    let told = |instance: &str| {
        let body = format!(
            r#"{{"type":"urn:ietf:params:acme:error:userActionRequired","detail":"new terms","instance":"{instance}"}}"#
        );
        move || reply("403 Forbidden", &[PROBLEM], &body)
    };
    let failure = order_failure(told("https://ca.example/agree")).await;
    assert_eq!(failure.class, Class::NeedsUser);
    assert!(failure.words.ends_with("do what the CA asks for at https://ca.example/agree"), "{failure}");
    for odd in ["javascript:alert(1)", "http://ca.example/", ""] {
        let failure = order_failure(told(odd)).await;
        assert!(failure.words.ends_with("agree to changed terms of service"), "{failure}");
        assert!(odd.is_empty() || !failure.words.contains(odd), "{failure}");
    }
    let gone = r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist","detail":"who?"}"#;
    let gone = order_failure(move || reply("400 Bad", &[PROBLEM], gone)).await;
    assert_eq!(gone.class, Class::AccountGone);
    assert!(gone.words.contains("does not know the issuer's ACME account"), "{gone}");
}

#[tokio::test]
async fn an_answer_without_an_order_url_is_no_order() {
    let body = r#"{"status":"pending","authorizations":[],"finalize":"https://a.example/f"}"#;
    for location in ["X: y", "Location: http://a.example/order/1", "Location: /order/1"] {
        let failure = order_failure(move || reply("201 Created", &[JSON, location], body)).await;
        assert_eq!(failure.words, "the ACME server named no valid https URL for the order (Location)");
    }
}

#[tokio::test]
async fn a_ca_that_does_not_echo_what_is_replaced_keeps_its_order() {
    let server = acme_with(|path, host| match path {
        "/new-order" => {
            let location = format!("Location: https://{host}/order/7");
            reply(
                "201 Created",
                &[JSON, &location],
                &format!(r#"{{"status":"ready","authorizations":[],"finalize":"https://{host}/f"}}"#),
            )
        }
        _ => reply("404 Not Found", &[], ""),
    })
    .await;
    let request = OrderRequest { names: vec!["a.example".into()], profile: None, replaces: Some("aki.serial".into()) };
    let view = account(&server, LIMITS).await.new_order(&request).await.expect("an order");
    assert_eq!((view.url, view.replaces_dropped), (format!("https://{}/order/7", server.address), None));
}

/// Ways in which CAs say that they do not take `replaces`, and errors that have nothing to do with it.
#[tokio::test]
async fn only_what_may_be_about_the_replacement_is_asked_again() {
    for (status, kind, again) in [
        ("404 Not Found", "malformed", true),
        ("400 Bad", "malformed", true),
        ("403 Forbidden", "unauthorized", true),
        ("409 Conflict", "conflict", true),
        ("500 Broken", "serverInternal", true),
        ("429 Slow", "rateLimited", false),
        ("503 Busy", "serverInternal", false),
        ("400 Bad", "rejectedIdentifier", false),
        ("400 Bad", "invalidProfile", false),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = acme_with(move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"no"}}"#);
            reply(status, &[PROBLEM], &body)
        })
        .await;
        let replaces = Some("aki.serial".to_owned());
        let request = OrderRequest { names: vec!["a.example".into()], profile: None, replaces };
        account(&server, LIMITS).await.new_order(&request).await.expect_err("a no");
        assert_eq!(asked.load(Ordering::Relaxed), if again { 2 } else { 1 }, "{status} {kind}");
    }
}

#[tokio::test]
async fn a_chain_of_twenty_is_refused_and_links_are_bounded() {
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (count, good) in [(1, true), (10, true), (20, false)] {
        let server = acme_with(move |path, host| match path {
            "/order/1" => {
                let body = format!(
                    r#"{{"status":"valid","authorizations":[],"finalize":"https://{host}/f","certificate":"https://{host}/c"}}"#
                );
                reply("200 OK", &[JSON], &body)
            }
            _ => {
                let links: Vec<String> =
                    (0..20).map(|n| format!("Link: <https://{host}/c/{n}>;rel=\"alternate\"")).collect();
                let headers: Vec<&str> = links.iter().map(String::as_str).collect();
                reply("200 OK", &headers, &certificate.repeat(count))
            }
        })
        .await;
        let url = format!("https://{}/order/1", server.address);
        let account = account(&server, LIMITS).await;
        let (default, alternate) = (
            account.download_with_alternates(&url).await,
            account.download_alternate(&url.replace("order/1", "c/0")).await,
        );
        if good {
            assert_eq!(default.expect("a chain").1.len(), 8);
            assert!(alternate.is_ok());
        } else {
            for failure in [default.map(|_| ()).expect_err("too long"), alternate.map(|_| ()).expect_err("too long")] {
                assert_eq!(failure.class, Class::Unusable);
                assert_eq!(failure.words, "the CA's certificate chain has 20 certificates; at most 10 are taken");
            }
        }
    }
}

#[tokio::test]
async fn a_deactivation_counts_only_when_the_server_confirms_it() {
    let deactivate = async |status: &'static str, body: &'static str| {
        let server =
            acme_with(move |_, _| reply(status, &[if status == "200 OK" { JSON } else { PROBLEM }], body)).await;
        account(&server, LIMITS).await.deactivate().await
    };
    assert_eq!(deactivate("200 OK", r#"{"status":"deactivated"}"#).await, Ok(()));
    for (status, body) in [
        ("200 OK", r#"{"status":"valid"}"#),
        ("200 OK", "{}"),
        ("500 Broken", r#"{"type":"urn:ietf:params:acme:error:serverInternal"}"#),
    ] {
        assert!(deactivate(status, body).await.is_err(), "{status} {body}");
    }
}

/// A server whose certificate is not valid now: either it has expired, or this clock is wrong.
#[tokio::test]
async fn a_certificate_out_of_its_time_points_at_the_clock() {
    for (from, until, words) in [(1990, 1999, "the clock of this node is ahead"), (2090, 2099, "is probably behind")] {
        let server = server::start_valid(from, until, |_, _, _| reply("200 OK", &[], "")).await;
        let url = format!("https://{}/dir", server.address);
        let failure = directory(&client(&server, LIMITS), &url).await.expect_err("a failure");
        assert_eq!(failure.class, transient(None));
        assert!(failure.words.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn nonces_are_used_again_instead_of_fetched() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let (counter, posts) = (fetched.clone(), Arc::new(AtomicUsize::new(0)));
    let server = start(true, move |method, path, host| match (method, path) {
        (_, "/dir") => reply("200 OK", &[JSON], &directory_body(host)),
        (_, "/nonce") => {
            counter.fetch_add(1, Ordering::Relaxed);
            reply("200 OK", &[], "")
        }
        // The third answer refuses the nonce once.
        _ if posts.fetch_add(1, Ordering::Relaxed) == 2 => {
            reply("400 Bad", &[PROBLEM], r#"{"type":"urn:ietf:params:acme:error:badNonce"}"#)
        }
        _ => reply("200 OK", &[JSON], r#"{"status":"ready","authorizations":[],"finalize":"https://a.example/f"}"#),
    })
    .await;
    let url = format!("https://{}/order/1", server.address);
    let account = account(&server, LIMITS).await;
    for _ in 0..5 {
        account.look(&url).await.expect("a view");
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}
