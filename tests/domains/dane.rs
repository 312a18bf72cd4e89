//! DANE, on a real signed zone of BIND with a secondary server, judged by programs of others with a validating resolver:
//! `ldns-dane`, `danetool`, and Postfix' `posttls-finger`.

use std::sync::Arc;

use mailcert_testenv::dane::Judges;
use serde_json::{Value, json};

use crate::common::{condition, events, wait_condition, wait_for, wait_for_object, wait_ready};
use crate::dane_ground::{APEX, Mail, bind, operator, template, tlsa, zone};
use crate::scene::{Scene, fingerprint, message};

#[test]
fn records_are_published_verified_by_others_kept_over_renewals_and_withdrawn() {
    let Some(mut bind) = bind(vec![zone(APEX).signed()], true) else { return };
    let resolver = bind.resolver().unwrap();
    let scene = Arc::new(Scene::new("dane"));
    let secret = bind.key("hmac-sha256").1;
    let tlsa = tlsa(&scene, &bind, &secret);
    let mut operator = operator(&scene, &bind);
    let mail = Mail::served(&scene, APEX, &template("Never"), &tlsa);
    let at = &mail.at;

    // The secondary lags: nothing is ready, and it is named.
    let lags = wait_for_object(&scene.kube, at, "to name the secondary", |object| {
        let said = condition(object, "DNSReady");
        said.is_some_and(|(_, reason, text)| reason == "TLSAPending" && text.contains("is not at ns2.dane.example yet"))
    });
    assert!(lags["status"]["dns"]["tlsa"]["published"][0].is_string(), "{lags:#}");
    bind.transfer(APEX).unwrap();
    let ready = wait_condition(&scene.kube, at, "DNSReady", "True", "TLSAPublished");
    let spki = ready["status"]["dns"]["tlsa"]["ready"][0].as_str().unwrap().to_owned();
    for record in ready["status"]["dns"]["tlsa"]["records"].as_array().unwrap() {
        assert!(record["firstSeen"].is_string() && record["safeFrom"].is_string(), "{record:#}");
    }

    // Others agree.
    let judges = Judges::new(resolver, &bind.anchor()).unwrap();
    mail.assert_judged(&judges, true);

    // A renewal that keeps the key changes nothing in DNS.
    let before = mail.keys(&bind);
    assert!(before[0].contains(&spki), "{before:?}");
    let soa = || bind.ask(APEX, "SOA").unwrap();
    let serial = soa();
    scene.renew("mail");
    wait_ready(&scene.kube, at);
    assert_eq!((mail.keys(&bind), soa()), (before, serial));
    mail.assert_judged(&judges, true);

    // Nothing is written while nothing changes, not even by an operator that has just started.
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let settled = wait_condition(&scene.kube, at, "DNSReady", "True", "TLSAPublished");
    operator.restart();
    wait_for("the new operator to have looked", || operator.log().contains("look at the TLSA records").then_some(()));
    assert_eq!(version(&wait_condition(&scene.kube, at, "DNSReady", "True", "TLSAPublished")), version(&settled));

    // Off: withdrawn by the server that the status remembers, cached for two TTLs, forgotten; and nobody is held up for it.
    let holds = |object: &Value| object["metadata"]["finalizers"] == json!(["mailcert.dev/tlsa-records"]);
    assert!(holds(&settled), "{settled:#}");
    scene.kube.patch(at, &json!({"spec": {"dns": null}})).unwrap();
    wait_for("the records to be withdrawn", || mail.keys(&bind)[0].is_empty().then_some(()));
    bind.transfer(APEX).unwrap();
    let off = wait_for_object(&scene.kube, at, "to forget the records", |o| {
        o["status"]["dns"]["tlsa"].is_null() && !holds(o)
    });
    assert!(condition(&off, "DNSReady").is_none(), "{off:#}");
    assert!(mail.keys(&bind)[1].is_empty());
    wait_ready(&scene.kube, at);
    mail.assert_judged(&judges, false);
}

#[test]
fn a_refused_key_and_zones_that_do_not_validate_are_said() {
    let zones = vec![zone(APEX).signed(), zone("plain.test"), zone("bogus.test").broken()];
    let Some(bind) = bind(zones, false) else { return };
    for (apex, key, reason, words) in [
        (APEX, "hmac-sha512", "PublishFailed", "has another secret for the TSIG key mailcert-sha256 (BADSIG)"),
        ("plain.test", "hmac-sha256", "ZoneNotSigned", "the zone plain.test is not signed (DNSSEC)"),
        ("bogus.test", "hmac-sha256", "DNSSECBogus", "does not validate (DNSSEC): its signature does not lead to"),
    ] {
        let scene = Arc::new(Scene::new("dane-bad"));
        let tlsa = tlsa(&scene, &bind, &bind.key(key).1);
        let _operator = operator(&scene, &bind);
        let at = Mail::served(&scene, apex, &template("Never"), &tlsa).at;
        let found = wait_condition(&scene.kube, &at, "DNSReady", "False", reason);
        assert!(message(&found, "DNSReady").contains(words), "{}", message(&found, "DNSReady"));
        let ready = wait_condition(&scene.kube, &at, "Ready", "False", reason);
        assert!(message(&ready, "Served").contains("serve revision 1"), "mail flows all the same: {ready:#}");
        let certificate = scene.kube.get(&scene.at_certificate("mail")).unwrap();
        assert!(!fingerprint(&certificate).is_empty());
        if reason == "PublishFailed" {
            // A deletion waits for a server that may come to its senses, and not for a key that is gone.
            scene.kube.delete(&at);
            let words = "the deletion waits: TLSA records cannot be changed: ";
            wait_for_object(&scene.kube, &at, "to say what its deletion waits for", |o| {
                condition(o, "DNSReady").is_some_and(|(_, _, text)| text.starts_with(words))
            });
            scene.kube.delete(&crate::common::Path::secret(&scene.ns, "tsig"));
            wait_for("the deletion to go on", || scene.kube.get(&at).is_none().then_some(()));
            wait_for("its Event", || {
                let all = events(&scene.kube, &scene.ns, "mail");
                let told = all.into_iter().find(|(_, reason, _)| reason == "TLSALeftBehind")?;
                assert!(
                    told.0 == "Warning" && told.2.contains("the Secret tsig with the TSIG key does not exist"),
                    "{told:?}"
                );
                Some(())
            });
        }
    }
}
