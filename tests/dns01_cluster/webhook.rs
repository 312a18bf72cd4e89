//! cert-manager's DNS-01 webhook contract, as a webhook sees it that is registered on a real API server.

use std::time::{Duration, Instant};

use http::Method;
use mailcert::solvers::dns01::Failure;
use mailcert::solvers::dns01::webhook::{Action, Challenge, WebhookSolver};
use serde_json::{Value, json};

use crate::api::{apply, client};
use crate::server::{Asked, Say, Webhook, api_service, done, say};

fn solver(group: &str) -> WebhookSolver {
    let config = json!({"endpoint": "eu", "tokenSecretRef": {"name": "dns", "key": "token"}});
    WebhookSolver { group_name: group.into(), solver_name: "fake".into(), config }
}

fn challenge() -> Challenge {
    Challenge {
        uid: "0f8fad5b-d9cb-469f-a165-70867728950e".into(),
        dns_name: "*.example.com".into(),
        key: "gfj9Xq5Zq0Yp0NLvJ1yZ7Q8Yy0a9D3dS2j4k5l6m7n8".into(),
        resource_namespace: "mail".into(),
        fqdn: "_acme-challenge.example.com".into(),
        zone: "example.com.".into(),
    }
}

/// What comes of an answer with status 201 and this body.
async fn answered(name: &str, body: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Result<(), Failure> {
    let webhook = Webhook::start(name, move |asked| Say::This(201, body(asked))).await;
    solver(&webhook.group).call(&client(None).await, Action::Present, &challenge()).await
}

fn with_response(asked: &Asked, response: Value) -> Vec<u8> {
    let mut payload = asked.body.clone();
    payload["response"] = response;
    payload.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_gets_the_payload_of_the_contract() {
    let webhook = Webhook::start("fields", done).await;
    let (client, solver) = (client(None).await, solver(&webhook.group));
    assert_eq!(solver.call(&client, Action::Present, &challenge()).await, Ok(()));
    assert_eq!(solver.call(&client, Action::CleanUp, &challenge()).await, Ok(()));
    let bare = WebhookSolver { config: Value::Null, ..solver.clone() };
    assert_eq!(bare.call(&client, Action::CleanUp, &challenge()).await, Ok(()));

    let asked = webhook.asked();
    let mut expected = json!({
        "apiVersion": "webhook.acme.cert-manager.io/v1alpha1",
        "kind": "ChallengePayload",
        "request": {
            "uid": "0f8fad5b-d9cb-469f-a165-70867728950e",
            "action": "Present",
            "type": "dns-01",
            "dnsName": "*.example.com",
            "key": "gfj9Xq5Zq0Yp0NLvJ1yZ7Q8Yy0a9D3dS2j4k5l6m7n8",
            "resourceNamespace": "mail",
            "resolvedFQDN": "_acme-challenge.example.com.",
            "resolvedZone": "example.com.",
            "allowAmbientCredentials": false,
            "config": {"endpoint": "eu", "tokenSecretRef": {"name": "dns", "key": "token"}},
        },
    });
    assert_eq!(asked[0].body, expected);
    expected["request"]["action"] = json!("CleanUp");
    assert_eq!(asked[1].body, expected);
    expected["request"].as_object_mut().unwrap().remove("config");
    assert_eq!(asked[2].body, expected);
    for asked in &asked {
        assert_eq!(asked.method, Method::POST);
        assert_eq!(asked.path, "/apis/fields.example.com/v1alpha1/fake");
        assert_eq!(asked.content_type, "application/json");
    }
    assert_eq!(asked.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_in_the_webhooks_words() {
    let failed = |status: Value| {
        move |asked: &Asked| {
            let uid = &asked.body["request"]["uid"];
            with_response(asked, json!({"uid": uid, "success": false, "status": status}))
        }
    };
    let words = "the zone example.com is not in this account\n\u{1b}[31m".to_owned() + &"x".repeat(5000);
    let failure = answered("failed", failed(json!({"status": "Failed", "message": words}))).await.unwrap_err();
    assert!(failure.transient);
    let start =
        "the webhook solver fake of failed.example.com failed: the zone example.com is not in this account [31mx";
    assert!(failure.words.starts_with(start), "{failure}");
    assert!(failure.words.chars().count() < 600 && !failure.words.contains(['\n', '\u{1b}']), "{failure}");

    let failure = answered("speechless", failed(Value::Null)).await.unwrap_err();
    assert!(failure.words.ends_with("failed and does not say why: see its log"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_is_not_taken_for_success() {
    let other = |asked: &Asked| with_response(asked, json!({"uid": "another", "success": true}));
    let failure = answered("uid", other).await.unwrap_err();
    assert!(failure.words.contains("another request than the one it was asked (uid)"), "{failure}");
    assert!(!failure.transient);
    let failure = answered("echo", |asked| asked.body.to_string().into_bytes()).await.unwrap_err();
    assert!(failure.words.contains("without a response"), "{failure}");
    let failure = answered("html", |_| b"<html>hello</html>".to_vec()).await.unwrap_err();
    assert!(failure.words.contains("something that is not JSON"), "{failure}");
    assert!(!failure.words.contains("hello"), "{failure}");
    let yes = |asked: &Asked| with_response(asked, json!({"uid": asked.body["request"]["uid"], "success": "true"}));
    assert!(answered("text", yes).await.is_err(), "success is a boolean");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_or_slow_answer_is_cut_short() {
    let huge = |asked: &Asked| {
        let uid = &asked.body["request"]["uid"];
        with_response(asked, json!({"uid": uid, "success": true, "padding": "x".repeat(50 << 20)}))
    };
    let failure = answered("huge", huge).await.unwrap_err();
    assert!(failure.words.ends_with("answered with more than 262144 bytes"), "{failure}");

    let webhook = Webhook::start("slow", |_| Say::Nothing).await;
    let (asked, limit) = (Instant::now(), Duration::from_secs(2));
    let client = client(None).await;
    let failure = solver(&webhook.group).call_within(&client, Action::Present, &challenge(), limit).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(failure.transient);
    assert_eq!(failure.words, "the webhook solver fake of slow.example.com did not answer within 2s");
    assert_eq!(webhook.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_and_works_once_granted() {
    let webhook = Webhook::start("forbidden", done).await;
    let (client, solver) = (client(Some("somebody")).await, solver(&webhook.group));
    let failure = solver.call(&client, Action::Present, &challenge()).await.unwrap_err();
    assert!(!failure.transient);
    let rule = "{apiGroups: [\"forbidden.example.com\"], resources: [\"fake\"], verbs: [\"create\"]}";
    assert!(failure.words.contains(rule), "{failure}");
    assert_eq!(webhook.asked().len(), 0);

    apply(&[
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "fake-solver"},
            "rules": [{"apiGroups": ["forbidden.example.com"], "resources": ["fake"], "verbs": ["create"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "fake-solver"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fake-solver"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}]}),
    ]);
    let granted = async || solver.call(&client, Action::Present, &challenge()).await.ok();
    crate::api::until("permission", granted).await;
    assert_eq!(webhook.asked()[0].user, "somebody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_apart() {
    let webhook = Webhook::start("known", |_| say(500, &json!({"kind": "Status", "message": "out of order"}))).await;
    let client = client(None).await;
    let present = async |solver: &WebhookSolver| solver.call(&client, Action::Present, &challenge()).await.unwrap_err();

    let failure = present(&solver("nobody.example.com")).await;
    assert!(failure.words.starts_with("this cluster serves no API v1alpha1.nobody.example.com: install"), "{failure}");
    assert!(!failure.transient);

    let misspelt = WebhookSolver { solver_name: "fakd".into(), ..solver(&webhook.group) };
    let failure = present(&misspelt).await;
    assert!(failure.words.starts_with("the webhook of known.example.com has no solver fakd"), "{failure}");
    assert!(!failure.transient);

    let failure = present(&solver(&webhook.group)).await;
    assert_eq!(failure.words, "the webhook solver fake of known.example.com answered with status 500: out of order");
    assert!(failure.transient);

    apply(&[api_service("away.example.com", "no-such-service", 443, "-")]);
    let away = solver("away.example.com");
    let failure = crate::api::until("unavailable API", async || {
        let failure = present(&away).await;
        // Until the API server has taken notice of the APIService, there is none.
        (!failure.words.contains("serves no API")).then_some(failure)
    })
    .await;
    assert!(failure.words.contains("kubectl get apiservice v1alpha1.away.example.com"), "{failure}");
    assert!(failure.transient);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_lead_elsewhere_are_never_sent() {
    let webhook = Webhook::start("paths", done).await;
    let client = client(None).await;
    for (group, name) in [
        ("..", "fake"),
        ("paths.example.com/v1alpha1/fake?x=", "fake"),
        ("Paths.example.com", "fake"),
        ("", "fake"),
        ("paths.example.com", ""),
        ("paths.example.com", ".."),
        ("paths.example.com", "../../../api/v1/namespaces"),
        ("paths.example.com", "fake?dryRun=All"),
        ("paths.example.com", "fake%2f"),
        ("paths.example.com", "fake "),
    ] {
        let solver = WebhookSolver { solver_name: name.into(), ..solver(group) };
        let failure = solver.call(&client, Action::Present, &challenge()).await.unwrap_err();
        assert!(!failure.transient, "{failure}");
        assert!(failure.words.starts_with("groupName") || failure.words.starts_with("solverName"), "{failure}");
    }
    let fat = WebhookSolver { config: json!("x".repeat(70_000)), ..solver(&webhook.group) };
    assert!(!fat.call(&client, Action::Present, &challenge()).await.unwrap_err().transient);
    assert_eq!(webhook.asked().len(), 0);
}
