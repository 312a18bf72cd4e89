//! Ingresses and HTTPRoutes stand in the operator's namespace for as long as a challenge is open, and no longer.

use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use mailcert::api::MailCertificate;
use mailcert::solvers::http01::exposure::http_route_resource;
use serde_json::{Value, json};

use crate::proxy::Fate;
use crate::world::World;

/// The API of the kind, without its schema.
const HTTP_ROUTES: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "unapproved, for tests"}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {kind: HTTPRoute, listKind: HTTPRouteList, plural: httproutes, singular: httproute}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

fn ingresses(world: &World) -> Api<Ingress> {
    Api::namespaced(world.client.clone(), &world.home)
}

fn routes(world: &World) -> Api<DynamicObject> {
    Api::namespaced_with(world.client.clone(), &world.home, &http_route_resource())
}

/// The Ingress for a host, as soon as there is one.
async fn ingress(world: &World, host: &str) -> Value {
    let all = ingresses(world);
    let find = async || {
        let list = all.list(&Default::default()).await.unwrap().items;
        let mut values = list.into_iter().map(|i| serde_json::to_value(i).unwrap());
        values.find(|i| i["spec"]["rules"][0]["host"] == host)
    };
    world.until("Ingress", find).await
}

async fn no_ingress(world: &World) {
    let all = ingresses(world);
    let empty = async || all.list(&Default::default()).await.unwrap().items.is_empty().then_some(());
    world.until("end of the Ingresses", empty).await;
}

fn path(ingress: &Value) -> String {
    ingress["spec"]["rules"][0]["http"]["paths"][0]["path"].as_str().unwrap().to_owned()
}

/// The path of the challenge that the status speaks of.
fn wanted_path(certificate: &MailCertificate) -> String {
    let order = certificate.status.clone().unwrap().attempt.unwrap().order.unwrap();
    format!("/.well-known/acme-challenge/{}", order.challenges[0].token)
}

/// The CA's answer to "look at the challenge" does not come.
fn hold_challenges(world: &World) {
    world.proxy.rule(|asked| if asked.path.starts_with("/chalZ/") { Fate::Hold } else { Fate::Pass });
}

#[tokio::test]
async fn an_ingress_stands_while_its_challenge_is_open() {
    let mut world = World::start("ingress", &["--challenge-service", "answers"]).await;
    world.resolve(&["mail.ingress.test", "more.ingress.test", "gone.ingress.test"]);
    let solver = json!({"selfCheck": "Skip", "ingress": {"className": "edge", "annotations": {"edge/redirect": "no"}}});
    world.issuer("ca", world.issuer_spec_with(solver)).await;
    hold_challenges(&world);
    world.certificate("mail", &["mail.ingress.test"]).await;
    let seen = ingress(&world, "mail.ingress.test").await;
    let ordered = world.wait("mail", "ordered", |c| c.status.as_ref().is_some_and(|s| s.attempt.is_some())).await;
    assert_eq!(path(&seen), wanted_path(&ordered));
    assert_eq!(seen["spec"]["ingressClassName"], "edge");
    assert_eq!(seen["metadata"]["annotations"]["edge/redirect"], "no");
    let backend = &seen["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(*backend, json!({"name": "answers", "port": {"number": 80}}));

    // A restart removes what nobody needs, and only that.
    world.kill_operator();
    let mut left: Ingress = serde_json::from_value(seen.clone()).unwrap();
    left.metadata.name = Some("left-over".into());
    left.metadata.resource_version = None;
    left.metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert("mailcert.dev/certificate".into(), format!("{}/gone", world.namespace));
    ingresses(&world).create(&PostParams::default(), &left).await.unwrap();
    world.start_operator();
    let all = ingresses(&world);
    world.until("sweep", async || all.get_opt("left-over").await.unwrap().is_none().then_some(())).await;
    assert_eq!(ingress(&world, "mail.ingress.test").await["metadata"]["uid"], seen["metadata"]["uid"]);
    world.proxy.pass();
    world.issued("mail").await;
    no_ingress(&world).await;
    assert_eq!(world.proxy.orders(), 1);

    // Whoever deletes the certificate meanwhile leaves nothing behind either.
    hold_challenges(&world);
    world.certificate("gone", &["gone.ingress.test"]).await;
    ingress(&world, "gone.ingress.test").await;
    world.api::<MailCertificate>().delete("gone", &DeleteParams::default()).await.unwrap();
    no_ingress(&world).await;
}

#[tokio::test]
async fn an_ingress_of_a_lost_order_is_not_taken_for_the_next_ones() {
    let world = World::start("stale", &[]).await;
    world.resolve(&["mail.stale.test"]);
    world.issuer("ca", world.issuer_spec_with(json!({"selfCheck": "Skip", "ingress": {}}))).await;
    hold_challenges(&world);
    world.certificate("mail", &["mail.stale.test"]).await;
    let first = ingress(&world, "mail.stale.test").await;
    // The CA forgets the order while the Ingress stands.
    let lost = "{\"type\":\"urn:ietf:params:acme:error:malformed\",\"detail\":\"no such order\"}";
    world.proxy.rule(move |asked| match &asked.path {
        path if path.starts_with("/my-order/") => {
            Fate::Answer("404 Not Found", vec!["Content-Type: application/problem+json".into()], lost.into())
        }
        path if path.starts_with("/chalZ/") => {
            Fate::Answer("500 Busy", vec!["Content-Type: application/problem+json".into()], lost.into())
        }
        _ => Fate::Pass,
    });
    world
        .wait("mail", "without its order", |c| {
            c.status.as_ref().and_then(|s| s.attempt.as_ref()).is_some_and(|a| a.order.is_none())
        })
        .await;
    no_ingress(&world).await;
    world.proxy.rule(|asked| if asked.path.starts_with("/chalZ/") { Fate::Hold } else { Fate::Pass });
    let second = ingress(&world, "mail.stale.test").await;
    assert_ne!(path(&first), path(&second));
    world.proxy.pass();
    world.issued("mail").await;
    no_ingress(&world).await;
}

#[tokio::test]
async fn a_route_attaches_to_the_gateway_while_its_challenge_is_open() {
    let world = World::start("route", &[]).await;
    world.cluster().apply(HTTP_ROUTES).unwrap();
    let crd = "crd/httproutes.gateway.networking.k8s.io";
    world.cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]).unwrap();
    world.resolve(&["mail.route.test", "imap.route.test"]);
    let solver = json!({"selfCheck": "Skip", "gatewayHTTPRoute": {"parentRefs": [
        {"name": "edge", "namespace": "infra", "sectionName": "http"},
    ]}});
    world.issuer("ca", world.issuer_spec_with(solver)).await;
    hold_challenges(&world);
    world.certificate("mail", &["mail.route.test", "imap.route.test"]).await;
    let all = routes(&world);
    let both = async || {
        let list = all.list(&Default::default()).await.unwrap().items;
        (list.len() == 2).then(|| list.into_iter().map(|r| r.data).collect::<Vec<_>>())
    };
    for route in world.until("route for each name", both).await {
        assert_eq!(route["spec"]["parentRefs"], json!([{"name": "edge", "namespace": "infra", "sectionName": "http"}]));
        let rule = &route["spec"]["rules"][0];
        assert_eq!(rule["backendRefs"], json!([{"name": "mailcert-challenges", "port": 80}]));
        assert!(rule["matches"][0]["path"]["value"].as_str().unwrap().starts_with("/.well-known/acme-challenge/"));
    }
    world.proxy.pass();
    world.issued("mail").await;
    let empty = async || all.list(&Default::default()).await.unwrap().items.is_empty().then_some(());
    world.until("end of the routes", empty).await;
}
