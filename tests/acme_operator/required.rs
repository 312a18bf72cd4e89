//! The operator's own look at a challenge, with the system's resolver and port 80 as they are in a cluster.
//!
//! Loopback has neither names nor a free port 80, so the operator gets a mount namespace with a hosts file of its own,
//! and a loopback address that nobody else has. That needs root.

use std::net::Ipv4Addr;
use std::path::Path;

use mailcert_testenv::PebbleOptions;
use serde_json::json;

use crate::world::{World, condition};

const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 80, 1, 7);

fn skipped() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_root {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI=true, and this test needs root");
        eprintln!("skipped, since it needs root (a mount namespace and port 80)");
    }
    !is_root
}

fn hosts(path: &Path, names: &[&str]) {
    let lines: String = names.iter().map(|name| format!("{OPERATOR} {name}\n")).collect();
    // Written in place: the operator's mount shows this very file.
    std::fs::write(path, format!("127.0.0.1 localhost\n{lines}")).unwrap();
}

#[tokio::test]
async fn the_ca_is_asked_only_when_the_operator_itself_gets_the_answer() {
    if skipped() {
        return;
    }
    let listen = format!("--challenge-listen={OPERATOR}:80");
    let options = PebbleOptions { http_port: Some(80), ..PebbleOptions::default() };
    let mut world = World::prepare("required", &[&listen], options).await;
    let file = world.cluster().dir().join("required-hosts");
    hosts(&file, &[]);
    world.with_hosts(file.clone());
    world.start_operator();
    for name in ["mail.required.test", "old.required.test"] {
        world.pebble.set_a(name, OPERATOR).unwrap();
    }
    world.issuer("ca", world.issuer_spec_with(json!({"service": {}}))).await;
    world.certificate("mail", &["mail.required.test"]).await;
    let failing = world.issuing("mail", "SelfCheckFailed").await;
    let message = condition(&failing, "Issuing").unwrap().message;
    assert!(message.contains("mail.required.test does not resolve: it needs an A or AAAA record"), "{message}");
    assert_eq!(world.proxy.count("/chalZ/", None), 0, "the CA was asked all the same");

    hosts(&file, &["mail.required.test"]);
    world.issued("mail").await;
    assert_eq!((world.proxy.orders(), world.proxy.count("/chalZ/", Some(200))), (1, 1));

    // A legacy name that the operator cannot reach is given up after a few looks, without asking the CA about it.
    let mut spec = crate::world::certificate_spec("legacy", "ca", &["mail.required.test"]);
    spec["legacyDNSNames"] = json!([{"name": "old.required.test"}]);
    world.create::<mailcert::api::MailCertificate>("legacy", spec).await;
    let status = world.issued("legacy").await.status.unwrap();
    assert_eq!(status.omitted_names[0].name, "old.required.test");
    assert!(status.omitted_names[0].problem.contains("does not resolve"), "{}", status.omitted_names[0].problem);
    assert_eq!(status.active.unwrap().dns_names, ["mail.required.test"]);
}
