//! DNS-01 through external-dns: a stand-in for it copies DNSEndpoints into BIND, as external-dns would.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use mailcert::solvers::dns01::dns_endpoint::resource;
use mailcert_testenv::Bind;
use mailcert_testenv::published::DNS_ENDPOINT_CRD;
use serde_json::json;

use crate::scene::{acme, certificate, run_shared, says, status};
use crate::world::World;

#[test]
fn external_dns_publishes_and_removes_the_records() {
    run_shared(async |world, bind| {
        world.cluster().apply(&DNS_ENDPOINT_CRD.read().unwrap()).unwrap();
        let crd = "crd/dnsendpoints.externaldns.k8s.io";
        world.cluster().kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]).unwrap();
        let solver = json!({"dns01": {"dnsEndpoint": {"labels": {"external-dns": "public"}, "ttl": 1}}});
        world.issuer("endpoint", acme(world, json!([solver]))).await;
        let names = ["mail.endpoint.test", "*.mail.endpoint.test"];
        certificate(world, "endpoint", "endpoint", &names).await;
        let waiting = world.wait("endpoint", "waiting", |c| says(c).contains("does not have the TXT record yet")).await;
        assert_eq!(status(&waiting).published_records.len(), 2);

        let copying = tokio::spawn(external_dns(world, bind));
        let issued = status(&world.issued("endpoint").await);
        assert_eq!(issued.active.unwrap().dns_names.len(), 2);
        assert!(issued.published_records.is_empty(), "{:?}", issued.published_records);
        assert_eq!(endpoints(world).list(&ListParams::default()).await.unwrap().items.len(), 0, "nothing is left");
        let name = "_acme-challenge.mail.endpoint.test";
        world.until("end of the records", async || bind.txt(name).unwrap().is_empty().then_some(())).await;
        copying.abort();
    });
}

fn endpoints(world: &World) -> Api<DynamicObject> {
    Api::namespaced_with(world.client.clone(), &world.namespace, &resource())
}

/// What external-dns does: every second or so, what DNSEndpoints say is made so.
async fn external_dns(world: &'static World, bind: &'static Bind) {
    let selector = ListParams::default().labels("external-dns=public");
    let mut standing = BTreeSet::new();
    loop {
        let mut wanted = BTreeSet::new();
        for object in endpoints(world).list(&selector).await.unwrap() {
            for endpoint in object.data["spec"]["endpoints"].as_array().unwrap() {
                for target in endpoint["targets"].as_array().unwrap() {
                    let name = endpoint["dnsName"].as_str().unwrap();
                    wanted.insert(format!("{name}. 1 TXT {}", target.as_str().unwrap()));
                }
            }
        }
        wanted.difference(&standing).for_each(|record| bind.add_record(record).unwrap());
        standing.difference(&wanted).for_each(|record| bind.update(&format!("delete {record}")).unwrap());
        standing = wanted;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
