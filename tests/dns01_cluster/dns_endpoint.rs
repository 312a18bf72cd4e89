//! DNSEndpoints, with the CRD as external-dns publishes it.

use futures::future::join_all;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use mailcert::solvers::dns01::dns_endpoint::{
    Endpoint, Presented, WANTED, clean_up, object_name, present, resource, sweep,
};
use mailcert_testenv::published::DNS_ENDPOINT_CRD;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::api::{apply, client, cluster};

const FQDN: &str = "_acme-challenge.example.com";
const ONE: &str = "1111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222";

fn endpoint(namespace: &str, value: &str, owner: &str) -> Endpoint {
    Endpoint {
        namespace: namespace.into(),
        fqdn: FQDN.into(),
        value: value.into(),
        ttl: 60,
        quoted: false,
        owner: owner.into(),
        labels: [("external-dns".to_owned(), "public".to_owned())].into(),
    }
}

/// A namespace of its own, with the CRD established, and what there was before it.
async fn stage(namespace: &str) -> (Client, Api<DynamicObject>) {
    static CRD: OnceCell<()> = OnceCell::const_new();
    let admin = client(None).await;
    CRD.get_or_init(async || {
        let wanted = endpoint("default", ONE, "mail/mx");
        let failure = present(&admin, &wanted).await.unwrap_err();
        assert!(failure.words.contains("install external-dns with its CRD and run it with --source=crd"), "{failure}");
        assert!(!failure.transient);
        assert_eq!(clean_up(&admin, &wanted).await, Ok(()));
        assert_eq!(sweep(&admin, "default", |_, _| false).await, Ok(0));
        cluster().apply(&DNS_ENDPOINT_CRD.read().unwrap()).unwrap();
        let crd = "crd/dnsendpoints.externaldns.k8s.io";
        cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]).unwrap();
    })
    .await;
    apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})]);
    (admin.clone(), Api::namespaced_with(admin, namespace, &resource()))
}

async fn standing(api: &Api<DynamicObject>) -> Option<Value> {
    api.get_opt(&object_name(FQDN)).await.unwrap().map(|object| serde_json::to_value(object).unwrap())
}

fn targets(object: &Value) -> Value {
    object["spec"]["endpoints"][0]["targets"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_object_holds_every_value_of_a_name() {
    let (client, api) = stage("values").await;
    let (one, two) = (endpoint("values", ONE, "mail/mx"), endpoint("values", TWO, "mail/mx"));
    assert_eq!(present(&client, &one).await, Ok(Presented { observed: false }));
    let object = standing(&api).await.unwrap();
    assert_eq!(
        object["spec"],
        json!({"endpoints": [{"dnsName": FQDN, "recordType": "TXT", "recordTTL": 60, "targets": [ONE]}]})
    );
    let labels = json!({"app.kubernetes.io/managed-by": "mailcert", "mailcert.dev/challenge": "dns-01",
        "external-dns": "public"});
    assert_eq!(object["metadata"]["labels"], labels);
    let wanted: Value = serde_json::from_str(object["metadata"]["annotations"][WANTED].as_str().unwrap()).unwrap();
    assert_eq!(wanted, json!({ONE: ["mail/mx"]}));

    // Asked for again nothing is written, and a dot at the end makes no other name.
    present(&client, &one).await.unwrap();
    present(&client, &Endpoint { fqdn: format!("{FQDN}."), ..one.clone() }).await.unwrap();
    assert_eq!(standing(&api).await.unwrap()["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);

    // The wildcard's value, and another certificate that wants the first one too.
    present(&client, &two).await.unwrap();
    let other = endpoint("values", ONE, "mail/other");
    present(&client, &other).await.unwrap();
    assert_eq!(targets(&standing(&api).await.unwrap()), json!([ONE, TWO]));
    assert_eq!(api.list(&Default::default()).await.unwrap().items.len(), 1);

    clean_up(&client, &one).await.unwrap();
    assert_eq!(targets(&standing(&api).await.unwrap()), json!([ONE, TWO]), "the other certificate wants it still");
    clean_up(&client, &other).await.unwrap();
    assert_eq!(targets(&standing(&api).await.unwrap()), json!([TWO]));
    clean_up(&client, &two).await.unwrap();
    assert_eq!(standing(&api).await, None);
    assert_eq!(clean_up(&client, &two).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_lose_nothing() {
    let (client, api) = stage("races").await;
    let value = |n: usize| format!("{n}").repeat(43);
    let endpoints: Vec<Endpoint> = (1..=5).map(|n| endpoint("races", &value(n), "mail/mx")).collect();
    for result in join_all(endpoints.iter().map(|endpoint| present(&client, endpoint))).await {
        result.unwrap();
    }
    let all: Vec<String> = (1..=5).map(value).collect();
    assert_eq!(targets(&standing(&api).await.unwrap()), json!(all));
    for result in join_all(endpoints.iter().map(|endpoint| clean_up(&client, endpoint))).await {
        result.unwrap();
    }
    assert_eq!(standing(&api).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotation_marks_and_time_to_live_stay_as_asked() {
    let (client, api) = stage("quoted").await;
    let quoted = |value: &str| Endpoint { quoted: true, ttl: 30, ..endpoint("quoted", value, "mail/mx") };
    present(&client, &quoted(ONE)).await.unwrap();
    present(&client, &quoted(TWO)).await.unwrap();
    clean_up(&client, &quoted(ONE)).await.unwrap();
    let record = &standing(&api).await.unwrap()["spec"]["endpoints"][0];
    assert_eq!(record["targets"], json!([format!("\"{TWO}\"")]));
    assert_eq!(record["recordTTL"], 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_external_dns_has_read_it_is_told() {
    let (client, api) = stage("observed").await;
    let one = endpoint("observed", ONE, "mail/mx");
    present(&client, &one).await.unwrap();
    let generation = standing(&api).await.unwrap()["metadata"]["generation"].clone();
    let status = json!({"status": {"observedGeneration": generation}});
    let name = object_name(FQDN);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(present(&client, &one).await, Ok(Presented { observed: true }));
    let two = endpoint("observed", TWO, "mail/mx");
    assert_eq!(present(&client, &two).await, Ok(Presented { observed: false }), "the new value is not read yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_left_alone() {
    let (client, api) = stage("foreign").await;
    let mut foreign = DynamicObject::new(&object_name(FQDN), &resource());
    foreign.data = json!({"spec": {"endpoints": [{"dnsName": FQDN, "recordType": "TXT", "targets": ["theirs"]}]}});
    let made = api.create(&PostParams::default(), &foreign).await.unwrap();
    let one = endpoint("foreign", ONE, "mail/mx");
    for failure in [present(&client, &one).await.unwrap_err(), clean_up(&client, &one).await.unwrap_err()] {
        assert!(failure.words.contains("is not mailcert's"), "{failure}");
    }
    assert_eq!(sweep(&client, "foreign", |_, _| false).await, Ok(0));
    assert_eq!(api.get(&made.name_any()).await.unwrap().resource_version(), made.resource_version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_removes_what_nobody_needs() {
    let (client, api) = stage("sweep").await;
    for (value, owner) in [(ONE, "mail/gone"), (TWO, "mail/mx"), (ONE, "mail/mx")] {
        present(&client, &endpoint("sweep", value, owner)).await.unwrap();
    }
    let other = Endpoint { fqdn: "_acme-challenge.b.example".into(), ..endpoint("sweep", ONE, "mail/gone") };
    present(&client, &other).await.unwrap();
    assert_eq!(sweep(&client, "sweep", |_, _| true).await, Ok(0));
    // The order of mail/mx is now another one: its first value is done with.
    let needed = |owner: &str, value: &str| owner == "mail/mx" && value == TWO;
    assert_eq!(sweep(&client, "sweep", needed).await, Ok(2));
    assert_eq!(api.list(&Default::default()).await.unwrap().items.len(), 1);
    assert_eq!(targets(&standing(&api).await.unwrap()), json!([TWO]));

    // One that somebody damaged says no more who wants it: it goes.
    let damage = json!({"metadata": {"annotations": {WANTED: "{"}}});
    api.patch(&object_name(FQDN), &PatchParams::default(), &Patch::Merge(&damage)).await.unwrap();
    assert_eq!(sweep(&client, "sweep", |_, _| true).await, Ok(1));
    assert_eq!(standing(&api).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_object_is_made_whole_again() {
    let (client, api) = stage("damaged").await;
    let (one, two) = (endpoint("damaged", ONE, "mail/mx"), endpoint("damaged", TWO, "mail/mx"));
    present(&client, &one).await.unwrap();
    let whole = standing(&api).await.unwrap()["spec"].clone();
    let patch =
        json!({"spec": {"endpoints": [{"dnsName": "www.example.com", "recordType": "A", "targets": ["192.0.2.1"]}]}});
    api.patch(&object_name(FQDN), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    present(&client, &one).await.unwrap();
    assert_eq!(standing(&api).await.unwrap()["spec"], whole);
    present(&client, &two).await.unwrap();
    assert_eq!(targets(&standing(&api).await.unwrap()), json!([ONE, TWO]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() {
    let (admin, _) = stage("missing").await;
    let somebody = client(Some("nobody-special")).await;
    let one = endpoint("missing", ONE, "mail/mx");
    for failure in [present(&somebody, &one).await.unwrap_err(), clean_up(&somebody, &one).await.unwrap_err()] {
        assert!(failure.words.contains("--set dns01.dnsEndpoint.enabled=true"), "{failure}");
        assert!(!failure.transient);
    }
    assert_eq!(sweep(&somebody, "missing", |_, _| false).await, Ok(0));
    let nowhere = present(&admin, &endpoint("no-such-namespace", ONE, "mail/mx")).await.unwrap_err();
    assert!(nowhere.words.starts_with("the namespace no-such-namespace for DNSEndpoints does not exist"), "{nowhere}");
    for odd in [
        Endpoint { fqdn: "*.example.com".into(), ..one.clone() },
        Endpoint { fqdn: "a b".into(), ..one.clone() },
        Endpoint { value: "\"quoted\"".into(), ..one.clone() },
        Endpoint { value: String::new(), ..one.clone() },
    ] {
        assert!(!present(&admin, &odd).await.unwrap_err().transient);
    }
}
