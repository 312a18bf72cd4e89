//! The ledgers over an API server in this process, which fails as it is told to.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Waking, Poll};

use http::{Method, Request as HttpRequest, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;

/// Secrets, and how to answer about them.
#[derive(Clone, Default)]
struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    secrets: HashMap<String, Value>,
    version: u64,
    reads: usize,
    writes: usize,
    /// What the next writes are answered with; `true`: after they were done all the same.
    faults: Vec<(u16, bool)>,
    /// Writes wait for it.
    gate: Option<Arc<Semaphore>>,
}

impl tower::Service<HttpRequest<Body>> for FakeApi {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Waking<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let state = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let gate = state.lock().unwrap().gate.clone().filter(|_| parts.method != Method::GET);
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            let (code, answer) = state.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
            Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&answer).unwrap())).unwrap())
        })
    }
}

fn refused(code: u16) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason});
    (code, status)
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        if *method == Method::GET {
            self.reads += 1;
            return self.secrets.get(path).map_or_else(|| refused(404), |s| (200, s.clone()));
        }
        self.writes += 1;
        let fault = (!self.faults.is_empty()).then(|| self.faults.remove(0));
        if let Some((code, false)) = fault {
            return refused(code);
        }
        let answer = self.write(method, path, serde_json::from_slice(body).unwrap());
        fault.map_or(answer, |(code, _)| refused(code))
    }

    fn write(&mut self, method: &Method, path: &str, sent: Value) -> (u16, Value) {
        let path = match *method {
            Method::POST => format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let secret = match (method, self.secrets.get(&path)) {
            (&Method::POST, Some(_)) => return refused(409),
            (&Method::POST, None) => sent,
            (_, None) => return refused(404),
            (_, Some(present)) => {
                if sent["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"] {
                    return refused(409);
                }
                let mut merged = present.clone();
                for (key, value) in sent["data"].as_object().unwrap() {
                    match value {
                        Value::Null => drop(merged["data"].as_object_mut().unwrap().remove(key)),
                        value => merged["data"][key] = value.clone(),
                    }
                }
                merged
            }
        };
        (200, self.put(path, secret))
    }

    fn put(&mut self, path: String, mut secret: Value) -> Value {
        self.version += 1;
        secret["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.secrets.insert(path, secret.clone());
        secret
    }
}

const PATH: &str = "/api/v1/namespaces/mail/secrets/le-order-ledger";
const ACCOUNT: &str = "https://acme.example/acct/1";

struct World {
    api: FakeApi,
    client: Client,
    leader: Leader,
    ledgers: Ledgers,
}

impl World {
    fn new() -> Self {
        Self::on(FakeApi::default())
    }

    /// Another operator on the same API server.
    fn on(api: FakeApi) -> Self {
        let client = Client::new(api.clone(), "default");
        Self { api, client, leader: Leader::without_election(), ledgers: Ledgers::default() }
    }

    fn place(&self) -> Place<'_> {
        Place { client: &self.client, leader: &self.leader }
    }

    async fn ask_of(
        &self,
        issuers: &[&str],
        account: &str,
        name: &str,
        at: i64,
    ) -> Result<Result<Reserved, Blocked>, PassError> {
        let keys: BTreeSet<Key> = issuers.iter().map(|i| ("mail".to_owned(), (*i).to_owned())).collect();
        let own = ("mail".to_owned(), issuers[0].to_owned());
        let request = Request { names: vec![name.to_owned()], exempt: false };
        self.ledgers.reserve(self.place(), (&own, &keys), account, &Limits::default(), &request, time(at)).await
    }

    async fn ask(&self, name: &str, at: i64) -> Result<Result<Reserved, Blocked>, PassError> {
        self.ask_of(&["le"], ACCOUNT, name, at).await
    }

    /// How many orders for a name would go through now.
    async fn left(&self, name: &str, at: i64) -> usize {
        let mut left = 0;
        while self.ask(name, at).await.unwrap().is_ok() {
            left += 1;
        }
        left
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.api.0.lock().unwrap())
    }

    /// The text of an account's ledger in the Secret.
    fn stored(&self, account: &str) -> String {
        let data = self.state(|s| s.secrets[PATH]["data"][super::account(account)].clone());
        let bytes: k8s_openapi::ByteString = serde_json::from_value(data).unwrap();
        String::from_utf8(bytes.0).unwrap()
    }
}

fn time(at: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + at).unwrap()
}

fn orders(text: &str) -> usize {
    text.lines().filter(|l| l.starts_with("o ")).count()
}

#[tokio::test]
async fn an_order_is_written_down_before_it_is_asked_for() {
    let world = World::new();
    world.ask("mail.example.com", 0).await.unwrap().unwrap();
    let secret = world.state(|s| s.secrets[PATH].clone());
    assert_eq!(secret["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "mailcert"}));
    assert_eq!((&secret["type"], &secret["metadata"]["ownerReferences"]), (&json!("Opaque"), &Value::Null));
    assert_eq!(world.stored(ACCOUNT), "mailcert-order-ledger/1\no 1800000000 406200cfd46da401 example.com\n");
}

#[tokio::test]
async fn counts_survive_a_restart() {
    let world = World::new();
    for at in 0..3 {
        world.ask("mail.example.com", at).await.unwrap().unwrap();
    }
    let next = World::on(world.api.clone());
    next.ask("mail.example.com", 4).await.unwrap().unwrap();
    let blocked = next.ask("mail.example.com", 5).await.unwrap().unwrap_err();
    assert_eq!((blocked.limit, blocked.until), (LimitKind::NameSet, time(7 * 86_400)));
    assert_eq!(next.state(|s| s.reads), 2, "each reads it once");
}

#[tokio::test]
async fn two_leaders_at_once_lose_nothing() {
    let (old, api) = {
        let w = World::new();
        let a = w.api.clone();
        (w, a)
    };
    old.ask("mail.example.com", 0).await.unwrap().unwrap();
    let new = World::on(api);
    new.ask("mail.example.com", 1).await.unwrap().unwrap();
    // The old one does not know of that, until its write is refused.
    old.ask("mail.example.com", 2).await.unwrap().unwrap();
    assert_eq!(orders(&old.stored(ACCOUNT)), 3);
    assert_eq!(new.left("mail.example.com", 3).await, 1);
}

#[tokio::test]
async fn who_leads_no_more_writes_nothing() {
    let world = World::new();
    world.ask("mail.example.com", 0).await.unwrap().unwrap();
    world.leader.release().await;
    let writes = world.state(|s| s.writes);
    assert!(matches!(world.ask("mail.example.com", 1).await, Err(PassError::NotLeading(_))));
    assert_eq!(world.state(|s| s.writes), writes);
}

#[tokio::test]
async fn passes_at_the_same_time_share_a_write() {
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    world.state(|s| s.gate = Some(gate.clone()));
    let names: Vec<String> = (0..100).map(|i| format!("mail.example{i}.com")).collect();
    let all = futures::future::join_all(names.iter().map(|n| world.ask(n, 0)));
    let opened = async {
        while world.state(|s| s.reads) == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1000);
    };
    let (results, ()) = tokio::join!(all, opened);
    assert!(results.into_iter().all(|r| r.unwrap().is_ok()));
    assert_eq!(orders(&world.stored(ACCOUNT)), 100);
    assert!(world.state(|s| s.writes) <= 3, "{}", world.state(|s| s.writes));
}

#[tokio::test]
async fn no_limit_is_passed_by_asking_at_once() {
    let world = World::new();
    let all = futures::future::join_all((0..20).map(|_| world.ask("mail.example.com", 0))).await;
    assert_eq!(all.into_iter().filter(|r| r.as_ref().unwrap().is_ok()).count(), 4);
}

#[tokio::test]
async fn a_failed_write_counts_nothing_and_fails_all_that_wait() {
    let world = World::new();
    world.ask("other.org", 0).await.unwrap().unwrap();
    world.state(|s| s.faults = vec![(500, false); 4]);
    let all = futures::future::join_all((0..4).map(|i| world.ask("mail.example.com", i))).await;
    assert!(all.iter().all(|r| matches!(r, Err(PassError::Api { .. }))), "{all:?}");
    world.state(|s| s.faults.clear());
    assert_eq!(world.left("mail.example.com", 9).await, 4);
}

#[tokio::test]
async fn a_write_with_an_unknown_end_counts() {
    let world = World::new();
    world.ask("mail.example.com", 0).await.unwrap().unwrap();
    world.state(|s| s.faults = vec![(504, true)]);
    assert!(world.ask("mail.example.com", 1).await.is_err());
    assert_eq!(world.left("mail.example.com", 9).await, 2);
}

#[tokio::test]
async fn who_stops_waiting_is_not_counted() {
    let world = World::new();
    world.ask("other.org", 0).await.unwrap().unwrap();
    world.state(|s| s.gate = Some(Arc::new(Semaphore::new(0))));
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), world.ask("mail.example.com", 1));
    assert!(waiting.await.is_err());
    world.state(|s| s.gate = None);
    assert_eq!(world.left("mail.example.com", 9).await, 4);
}

#[tokio::test]
async fn an_order_that_never_reached_the_ca_is_taken_back() {
    let world = World::new();
    for at in 0..10 {
        let reserved = world.ask("mail.example.com", at).await.unwrap().unwrap();
        world.ledgers.release(&reserved);
    }
    assert_eq!(world.left("mail.example.com", 20).await, 4);
    // Before anything was ever read, there is nothing to take back from.
    let next = World::on(world.api.clone());
    let reserved = world.ask("other.org", 30).await.unwrap().unwrap();
    next.ledgers.release(&reserved);
    assert_eq!(next.left("mail.example.com", 40).await, 0);
}

#[tokio::test]
async fn a_secret_deleted_by_hand_is_made_again() {
    let world = World::new();
    world.ask("mail.example.com", 0).await.unwrap().unwrap();
    world.state(|s| s.secrets.clear());
    assert_eq!(world.left("mail.example.com", 1).await, 3);
    assert_eq!(orders(&world.stored(ACCOUNT)), 4);
}

#[tokio::test]
async fn accounts_are_counted_apart_and_issuers_of_one_together() {
    let world = World::new();
    for at in 0..4 {
        world.ask("mail.example.com", at).await.unwrap().unwrap();
    }
    let other = "https://acme.example/acct/2";
    world.ask_of(&["le"], other, "mail.example.com", 5).await.unwrap().unwrap();
    assert_eq!((orders(&world.stored(ACCOUNT)), orders(&world.stored(other))), (4, 1));
    // After a restart, another issuer of the account is the first to ask.
    let next = World::on(world.api.clone());
    let both = next.ask_of(&["second", "le"], ACCOUNT, "mail.example.com", 6).await.unwrap();
    assert!(both.is_err());
    // A week later, the Secret is rid of what is over.
    next.ask_of(&["le"], other, "mail.example.com", 9 * 86_400).await.unwrap().unwrap();
    let keys = next.state(|s| s.secrets[PATH]["data"].as_object().unwrap().len());
    assert_eq!((keys, orders(&next.stored(other))), (1, 1));
}

#[tokio::test]
async fn failed_authorizations_are_counted() {
    let world = World::new();
    let issuer = ("mail".to_owned(), "le".to_owned());
    for at in 0..4 {
        let names = ["mail.example.com".to_owned()];
        world.ledgers.failed_authorizations(world.place(), &issuer, ACCOUNT, &names, time(at)).await.unwrap();
    }
    let next = World::on(world.api.clone());
    let blocked = next.ask("mail.example.com", 10).await.unwrap().unwrap_err();
    assert_eq!((blocked.limit, blocked.until), (LimitKind::FailedAuthorizations, time(3600)));
}

#[tokio::test]
async fn what_the_ca_asked_for_costs_no_write() {
    let world = World::new();
    let (issuer, request) =
        (("mail".to_owned(), "le".to_owned()), Request { names: vec!["a.de".to_owned()], exempt: true });
    let keys = BTreeSet::from([issuer.clone()]);
    let asked =
        world.ledgers.reserve(world.place(), (&issuer, &keys), ACCOUNT, &Limits::default(), &request, time(0)).await;
    world.ledgers.release(&asked.unwrap().unwrap());
    assert_eq!(world.state(|s| s.writes), 0);
}

#[tokio::test]
async fn what_takes_a_person_blocks_orders_and_says_so() {
    let secret = |labels: Value, text: &str| {
        let data = k8s_openapi::ByteString(text.as_bytes().to_vec());
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "le-order-ledger", "labels": labels}, "data": {"account-0": data}})
    };
    let ours = json!({"app.kubernetes.io/managed-by": "mailcert"});
    for (made, words) in [
        (
            secret(json!({}), "x"),
            "the Secret le-order-ledger, where orders are to be counted, exists and was not made by mailcert: delete it, or \
             hand it over with: kubectl --namespace mail label secret le-order-ledger --overwrite \
             app.kubernetes.io/managed-by=mailcert",
        ),
        (
            secret(ours.clone(), "mailcert-order-ledger/9\n"),
            "the Secret le-order-ledger with the counts of orders cannot be read, at its key account-0: its first line is \
             \"mailcert-order-ledger/9\", and only mailcert-order-ledger/1 is known here: a newer mailcert may have written \
             it. Run the mailcert that wrote it, or delete the key: orders of the last 7 days are not counted then",
        ),
    ] {
        let world = World::new();
        world.state(|s| s.put(PATH.to_owned(), made));
        let blocked = world.ask("a.de", 0).await.unwrap().unwrap_err();
        assert_eq!((blocked.limit, blocked.until, blocked.words.as_str()), (LimitKind::Ledger, time(300), words));
        world.state(|s| s.put(PATH.to_owned(), secret(ours.clone(), "mailcert-order-ledger/1\ndamage\n")));
        world.ask("a.de", 1).await.unwrap().unwrap();
    }
    let world = World::new();
    world.state(|s| s.faults = vec![(403, false)]);
    let blocked = world.ask("a.de", 0).await.unwrap().unwrap_err();
    assert!(
        blocked.words.starts_with("the operator may not write Secret le-order-ledger in namespace mail, "),
        "{blocked:?}"
    );
}

#[tokio::test]
async fn a_large_ledger_is_written_less_often() {
    let world = World::new();
    let names = |i: i64| vec![format!("mail.{}{i}.com", "long".repeat(14))];
    let mut ledger = crate::decide::guard::Ledger::default();
    (0..8000).for_each(|i| ledger.record_order(&Request { names: names(i), exempt: false }, time(i)));
    let text = k8s_openapi::ByteString(ledger.to_bytes(time(0)));
    let (size, data) = (text.0.len(), json!({(account(ACCOUNT)): text}));
    let labels = json!({"app.kubernetes.io/managed-by": "mailcert"});
    world.state(|s| {
        s.put(PATH.to_owned(), json!({"metadata": {"name": "le-order-ledger", "labels": labels}, "data": data}))
    });
    let begun = tokio::time::Instant::now();
    let later = 8000 + 4 * 3600;
    for i in 0..3 {
        world.ask(&format!("mail.example{i}.com"), later).await.unwrap().unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(size > 700_000 && (1.3..3.0).contains(&seconds), "{size} bytes, {seconds} s");
}
