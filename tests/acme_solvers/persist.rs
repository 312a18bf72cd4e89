//! DNS-PERSIST-01: the status says which record to set, and once it is set, the CA is asked.

use mailcert::api::certificate::TxtRecord;
use serde_json::json;

use crate::scene::{account, acme, attempt, certificate, made, run_shared, says, status};

const NAME: &str = "mail.persist.test";

#[test]
fn the_wanted_record_is_shown_and_then_enough_for_ever() {
    run_shared(async |world, bind| {
        let issuer = world.issuer("persist", acme(world, json!([{"dnsPersist01": {}}]))).await;
        let value = format!("pebble.letsencrypt.org; accounturi={}; policy=wildcard", account(&issuer));
        let record = TxtRecord { name: format!("_validation-persist.{NAME}"), value, zone: None };
        certificate(world, "persist", "persist", &[&format!("*.{NAME}")]).await;
        let failing = world.issuing("persist", "PreflightFailed").await;
        let told = says(&failing);
        let exact = format!("set once: {}. IN TXT \"{}\"", record.name, record.value);
        assert!(told.contains("there is no TXT record for pebble.letsencrypt.org at"), "{told}");
        assert!(told.contains(&exact), "{told}");
        assert_eq!(attempt(&failing).unwrap().wanted_records, std::slice::from_ref(&record));
        assert_eq!(made(world, &format!("*.{NAME}")), 0, "the CA was asked all the same");

        bind.add_record(&format!("{}. 1 TXT \"{}\"", record.name, record.value)).unwrap();
        let issued = status(&world.issued("persist").await);
        assert_eq!(issued.active.unwrap().dns_names, [format!("*.{NAME}")]);
        assert!(issued.published_records.is_empty(), "it is not the operator's");

        // The record stays, so the base name needs nothing more.
        certificate(world, "persist-base", "persist", &[NAME]).await;
        let issued = status(&world.issued("persist-base").await);
        assert_eq!(issued.active.unwrap().dns_names, [NAME]);
        assert_eq!(bind.txt(&record.name).unwrap(), [record.value]);
    });
}
