//! What the tests share: one operator with its Pebble and its DNS server, each test with names and issuers of its own.

use std::net::SocketAddr;
use std::sync::{LazyLock, OnceLock};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams};
use mailcert::api::certificate::{Attempt, MailCertificateStatus};
use mailcert::api::{MailCertificate, MailIssuer};
use mailcert_testenv::{Bind, BindOptions, BindZone, PebbleOptions};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::world::{World, condition};

/// Clients and servers that outlive a test need a runtime that does.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Ends a test by saying what the shared operator logged, where the test failed.
struct Told(&'static World);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the shared operator's log ends so:\n{}", self.0.log());
        }
    }
}

/// Runs a test with a world of its own.
pub fn run(story: impl Future<Output = ()>) {
    RUNTIME.block_on(story);
}

/// Runs a test with the world that is shared. Without BIND there is none.
pub fn run_shared(story: impl AsyncFnOnce(&'static World, &'static Bind)) {
    let Some(bind) = bind() else { return };
    RUNTIME.block_on(async {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        let world = WORLD
            .get_or_init(async || {
                let options = PebbleOptions { alternate_roots: 1, ..asking(bind.address()) };
                let mut world = World::prepare("solvers", &[&resolvers(bind.address())], options).await;
                world.start_operator();
                world
            })
            .await;
        let _told = Told(world);
        story(world, bind).await;
    });
}

/// A Pebble that asks this server.
pub fn asking(dns: SocketAddr) -> PebbleOptions {
    PebbleOptions { dns_server: Some(dns), ..PebbleOptions::default() }
}

/// The operator's flag.
pub fn resolvers(dns: SocketAddr) -> String {
    format!("--dns-resolvers={dns}")
}

/// The zones of the shared server. Names below `host` lead to the operator.
fn bind() -> Option<&'static Bind> {
    static BIND: OnceLock<Option<Bind>> = OnceLock::new();
    let zone = |apex: &str| BindZone::new(apex).records("host A 127.0.0.1\n*.host A 127.0.0.1");
    let zones = [
        "keys.test",
        "persist.test",
        "select.test",
        "alpn.test",
        "caa.test",
        "chains.test",
        "endpoint.test",
        "more.test",
    ];
    let options = || BindOptions { zones: zones.map(zone).to_vec(), ..BindOptions::default() };
    BIND.get_or_init(|| Bind::start_or_skip(&options())).as_ref()
}

/// An issuer of the world's Pebble with these solvers.
pub fn acme(world: &World, solvers: Value) -> Value {
    let mut spec = world.issuer_spec();
    spec["acme"]["solvers"] = solvers;
    spec
}

/// Challenges over HTTP, without a look of the operator's own.
pub fn http01() -> Value {
    json!({"http01": {"service": {}, "selfCheck": "Skip"}})
}

/// Dynamic updates with the key that BIND has, whose secret is in this Secret.
pub fn rfc2136(bind: &Bind, secret: &str) -> Value {
    json!({"dns01": {"rfc2136": {
        "server": bind.address().to_string(), "tsigKeyName": bind.key("hmac-sha256").0, "ttl": 1,
        "tsigSecretRef": {"name": secret, "key": "secret"},
    }}})
}

/// Creates or replaces a Secret with a TSIG key.
pub async fn tsig(world: &World, name: &str, key: &str) {
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"secret": key}});
    let patch = PatchParams::apply("tests").force();
    world.api::<Secret>().patch(name, &patch, &Patch::Apply(object)).await.unwrap();
}

/// Makes a MailCertificate whose Secret has its name and `-tls`.
pub async fn certificate(world: &World, name: &str, issuer: &str, names: &[&str]) -> MailCertificate {
    world.create(name, crate::world::certificate_spec(name, issuer, names)).await
}

/// Changes a spec or annotations.
pub async fn change<K>(world: &World, name: &str, patch: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    world.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

pub fn status(object: &MailCertificate) -> MailCertificateStatus {
    object.status.clone().unwrap_or_default()
}

pub fn attempt(object: &MailCertificate) -> Option<Attempt> {
    object.status.as_ref()?.attempt.clone()
}

/// What `Issuing` says; empty when nothing is under way.
pub fn says(object: &MailCertificate) -> String {
    condition(object, "Issuing").map(|c| c.message).unwrap_or_default()
}

/// The finding with this reason: what it is about, and its words.
pub fn finding(object: &MailCertificate, reason: &str) -> Option<(String, String)> {
    status(object).findings.into_iter().find(|f| f.reason == reason).map(|f| (f.about, f.message))
}

/// The account's URL of an issuer that is ready.
pub fn account(issuer: &MailIssuer) -> String {
    issuer.status.as_ref().unwrap().acme.as_ref().unwrap().account_uri.clone().unwrap()
}

/// Requests for an order with this name among its names: the payload, and the answer's status.
pub fn orders(world: &World, name: &str) -> Vec<(Value, Option<u16>)> {
    let log = world.proxy.log().into_iter().filter(|a| a.path.starts_with("/order-plz"));
    let named =
        |payload: &Value| payload["identifiers"].as_array().is_some_and(|all| all.iter().any(|i| i["value"] == name));
    log.filter(|a| named(&a.payload)).map(|a| (a.payload, a.status)).collect()
}

/// Orders with this name that were made.
pub fn made(world: &World, name: &str) -> usize {
    orders(world, name).into_iter().filter(|(_, status)| *status == Some(201)).count()
}

/// What Events about an object with this reason say.
pub async fn noted(world: &World, name: &str, reason: &str) -> Vec<String> {
    let events = world.api::<Event>().list(&Default::default()).await.unwrap().items.into_iter();
    let about = events.filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name));
    about.filter(|e| e.reason.as_deref() == Some(reason)).filter_map(|e| e.note).collect()
}
