//! A self-signed certificate until the first one is issued, and never after.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use mailcert::api::MailCertificate;
use serde_json::json;
use x509_parser::prelude::FromDer;

use crate::scene::{asking, http01, resolvers, run, status};
use crate::world::{World, certificate_spec, condition, is, revision};
use mailcert_testenv::{Bind, BindOptions, BindZone};

const HOST: &str = "mail.temporary.test";

/// The leaf in a Secret: whether it is self-signed, and its names.
fn leaf(secret: &Secret) -> (bool, Vec<String>) {
    let pem = &secret.data.as_ref().unwrap()["tls.crt"].0;
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).unwrap();
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&pem.contents).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter().map(|n| match n {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other:?}"),
    });
    (leaf.verify_signature(None).is_ok(), names.collect())
}

#[test]
fn a_temporary_certificate_stands_in_for_the_first_one_only() {
    let Some(bind) =
        Bind::start_or_skip(&BindOptions { zones: vec![BindZone::new("temporary.test")], ..Default::default() })
    else {
        return;
    };
    run(async {
        let mut world = World::prepare("temporary", &[&resolvers(bind.address())], asking(bind.address())).await;
        world.start_operator();
        let mut spec = crate::scene::acme(&world, json!([http01()]));
        // A name without an address fails once before it has one.
        spec["acme"]["limits"] = json!({"failedAuthorizations": 50});
        world.issuer("ca", spec).await;
        let mut spec = certificate_spec("mail", "ca", &[HOST]);
        spec["issueTemporary"] = json!(true);
        world.create::<MailCertificate>("mail", spec).await;
        let standing = world.wait("mail", "temporary", |c| is(&condition(c, "Ready"), "False", "Temporary")).await;
        let temporary = status(&standing).temporary.unwrap();
        let secret = world.secret("mail-tls").await;
        assert_eq!(leaf(&secret), (true, vec![HOST.to_owned()]));
        let words = condition(&standing, "Ready").unwrap().message;
        assert!(words.contains(&temporary.not_after.0.to_string()), "{words}");
        assert_eq!(revision(&standing), 0);
        world.wait("mail", "refused", |c| crate::scene::says(c).contains(HOST)).await;

        bind.add_record(&format!("{HOST}. 1 A 127.0.0.1")).unwrap();
        world.renew("mail", "it has an address now").await;
        let issued = world.issued("mail").await;
        assert_eq!((revision(&issued), status(&issued).temporary), (1, None));
        let real = world.secret("mail-tls").await;
        assert_eq!(real.metadata.uid, secret.metadata.uid, "the same Secret");
        assert!(!leaf(&real).0);

        // Without a status and without a CA, what there is stays.
        world.kill_operator();
        world.proxy.down().await;
        let api = world.api::<MailCertificate>();
        api.patch_status("mail", &PatchParams::default(), &Patch::Merge(json!({"status": null}))).await.unwrap();
        world.start_operator();
        let again = world.wait("mail", "known again", |c| revision(c) > 0).await;
        assert_eq!(status(&again).temporary, None);
        assert_eq!(world.secret("mail-tls").await.data, real.data);
    });
}
