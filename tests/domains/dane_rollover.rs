//! Keys that change under DANE, from the next key to the last record of the old one, while programs of others judge the
//! servers second by second: undisturbed, and with an operator that is killed at every step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mailcert_testenv::Bind;
use mailcert_testenv::dane::{Judgement, Judges, Watch};
use serde_json::Value;

use crate::common::{Operator, Path, wait_for, wait_for_object};
use crate::dane_ground::{APEX, Mail, all_ready, bind, operator, template, tlsa, zone};
use crate::scene::Scene;

/// Of a TTL of 2 s.
const TWO_TTLS: SignedDuration = SignedDuration::from_secs(4);

struct Story {
    scene: Arc<Scene>,
    bind: Bind,
    operator: Operator,
    mail: Mail,
    certificate: Path,
    watch: Watch,
    /// Whether the operator is killed.
    kills: bool,
}

impl Story {
    /// With a current and a next key, whose records are everywhere.
    fn begin(kills: bool) -> Option<Self> {
        let mut bind = bind(vec![zone(APEX).signed()], true)?;
        let resolver = bind.resolver().unwrap();
        let scene = Arc::new(Scene::new("dane-roll"));
        let tlsa = tlsa(&scene, &bind, &bind.key("hmac-sha256").1);
        let operator = operator(&scene, &bind);
        let mail = Mail::served(&scene, APEX, &template("Always"), &tlsa);
        wait_for("the records of both keys", || mail.keys(&bind).iter().all(|keys| keys.len() == 2).then_some(()));
        bind.transfer(APEX).unwrap();
        wait_for_object(&scene.kube, &mail.at, "to have its records everywhere", all_ready);
        let judges = Judges::new(resolver, &bind.anchor()).unwrap();
        mail.assert_judged(&judges, true);
        let watch = judges.watch(mail.asked(), Duration::from_secs(1));
        let certificate = scene.at_certificate("mail");
        Some(Self { scene, bind, operator, mail, certificate, watch, kills })
    }

    /// A moment at which the operator may be killed (SIGKILL).
    fn kill(&mut self) {
        if self.kills {
            self.operator.restart();
        }
    }

    fn certificate(&self) -> Value {
        self.scene.kube.get(&self.certificate).unwrap()
    }

    fn domain(&self) -> Value {
        self.scene.kube.get(&self.mail.at).unwrap()
    }

    /// The records of a key in the status, one for each port, and none once they are forgotten.
    fn records(&self, spki: &str) -> Vec<Value> {
        let domain = self.domain();
        let all = domain["status"]["dns"]["tlsa"]["records"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|record| record["spkiSHA256"] == spki).collect()
    }

    /// The revision that pods mount, by the Secret itself: the status may lag where the operator was killed.
    fn mounted(&self) -> String {
        let secret = self.scene.kube.get(&Path::secret(&self.scene.ns, "mail-tls")).unwrap();
        secret["metadata"]["annotations"]["mailcert.dev/active-revision"].as_str().unwrap().to_owned()
    }

    /// Whether both names have a record of the key at the primary.
    fn has(&self, spki: &str) -> bool {
        self.mail.keys(&self.bind).iter().all(|keys| keys.contains(spki))
    }

    /// The judgements since the beginning, all of which must be good.
    fn end_watch(watch: Watch) {
        let all = watch.end();
        let bad: Vec<&Judgement> = all.iter().filter(|judgement| !judgement.verdict.is_valid()).collect();
        assert!(bad.is_empty(), "{} of {} judgements: {bad:#?}", bad.len(), all.len());
        assert!(all.len() >= 24, "{} judgements prove nothing", all.len());
        let gaps = all.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at).unwrap_or_default());
        eprintln!("{} judgements, all valid; the longest gap was {:?}", all.len(), gaps.max().unwrap_or_default());
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// Now, as statuses have it.
fn whole_second() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn time(value: &Value) -> Timestamp {
    text(value).parse().unwrap()
}

#[test]
fn a_key_changes_without_a_moment_of_invalid_records() {
    rollover(false);
}

#[test]
fn an_operator_that_is_killed_at_every_step_breaks_no_record() {
    rollover(true);
}

fn rollover(kills: bool) {
    let Some(mut story) = Story::begin(kills) else { return };
    let before = story.certificate();
    let first = text(&before["status"]["active"]["spkiSHA256"]);
    let second = text(&before["status"]["nextKey"]["spkiSHA256"]);

    // The key that was made ahead has had its record for long: a renewal takes it at once. The IMAPS server does not.
    story.mail.hold_imaps();
    story.scene.renew("mail");
    story.kill();
    let renewed = wait_for_object(&story.scene.kube, &story.certificate, "to have another key ahead", |object| {
        object["status"]["nextKey"]["spkiSHA256"].as_str().is_some_and(|spki| spki != second)
    });
    assert_eq!(renewed["status"]["active"]["spkiSHA256"], second.as_str());
    let third = text(&renewed["status"]["nextKey"]["spkiSHA256"]);

    // The record of the next one is at the primary only. The gate names the other server, and time alone opens nothing.
    wait_for("the record of the next key", || story.has(&third).then_some(()));
    story.kill();
    story.scene.kube.annotate(&story.certificate, "mailcert.dev/renew", "again");
    let waits = wait_for_object(&story.scene.kube, &story.certificate, "to name its gate", |object| {
        let gate = &object["status"]["gates"][0];
        let words = gate["message"].as_str().unwrap_or_default();
        gate["type"] == "TLSAPublished" && words.contains("is not at ns2.dane.example yet, though at others")
    });
    assert_eq!(waits["status"]["staged"][0]["spkiSHA256"], third.as_str());
    story.kill();
    let looks = || story.operator.log().matches("look at the TLSA records").count();
    let (begun, since) = (looks(), Timestamp::now());
    wait_for("more looks", || {
        (looks() >= begun + 4 && since.duration_until(Timestamp::now()) > TWO_TTLS).then_some(())
    });
    let old = waits["status"]["active"]["revision"].to_string();
    assert_eq!(story.mounted(), old);
    assert!(story.records(&third).iter().all(|record| record["state"] == "Pending"));

    // Transferred: everywhere, and two TTLs later it is used.
    let transferred = whole_second();
    story.bind.transfer(APEX).unwrap();
    wait_for("the clock to run", || {
        let records = story.records(&third);
        (records.len() == 2 && records.iter().all(|record| record["firstSeen"].is_string())).then_some(())
    });
    story.kill();
    let activated = wait_for("the key to be used", || (story.mounted() != old).then(Timestamp::now));
    let records = story.records(&third);
    for record in &records {
        let (seen, safe) = (time(&record["firstSeen"]), time(&record["safeFrom"]));
        assert!(transferred <= seen && safe.duration_since(seen) >= TWO_TTLS && safe <= activated, "{record:#}");
    }
    story.kill();
    wait_for_object(&story.scene.kube, &story.certificate, "to say so", |object| {
        object["status"]["active"]["spkiSHA256"] == third.as_str()
    });

    // The IMAPS server still has the first key. Its record stays as long as that lasts.
    let stale = wait_for_object(&story.scene.kube, &story.mail.at, "to see what IMAPS serves", |object| {
        object["status"]["endpoints"].as_array().into_iter().flatten().any(|e| e["verdict"] == "Problem")
    });
    assert!(story.has(&first) && story.has(&third), "{:?}", story.mail.keys(&story.bind));
    assert!(story.records(&first).iter().all(|record| record["removeAfter"].is_null()), "{stale:#}");
    let released = whole_second();
    story.mail.release_imaps();
    let proven = wait_for_object(&story.scene.kube, &story.mail.at, "to prove the new key", |object| {
        let endpoints = object["status"]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.len() == 2 && endpoints.iter().all(|endpoint| endpoint["verdict"] == "Served")
    });
    let endpoints = proven["status"]["endpoints"].as_array().unwrap();
    let proof = endpoints.iter().map(|endpoint| time(&endpoint["checkedAt"])).max().unwrap();
    assert!(released <= proof, "{proven:#}");
    let due = wait_for("the date of the removal", || {
        let records = story.records(&first);
        let dates: Vec<Timestamp> = records.iter().filter_map(|r| r["removeAfter"].as_str()?.parse().ok()).collect();
        assert!(story.has(&first), "it is removed without a date");
        (dates.len() == 2).then(|| dates.into_iter().min().unwrap())
    });
    assert!(due.duration_since(proof) >= TWO_TTLS, "proven at {proof}, to be removed at {due}");
    story.kill();
    let gone = wait_for("the old record to go", || {
        let keys = story.mail.keys(&story.bind);
        keys.iter().any(|keys| !keys.contains(&first)).then(Timestamp::now)
    });
    assert!(due <= gone, "due at {due}, gone at {gone}");
    story.kill();

    // What is left are the records of the current and of the next key.
    let end = wait_for_object(&story.scene.kube, &story.certificate, "to have the next key ahead", |object| {
        object["status"]["nextKey"]["spkiSHA256"].as_str().is_some_and(|spki| spki != third)
    });
    let left: BTreeSet<String> = [third, text(&end["status"]["nextKey"]["spkiSHA256"])].into();
    wait_for("all old records to go", || (story.mail.keys(&story.bind) == [left.clone(), left.clone()]).then_some(()));
    story.bind.transfer(APEX).unwrap();
    wait_for_object(&story.scene.kube, &story.mail.at, "to be at rest", all_ready);
    let Story { scene, bind, mut operator, mail, watch, .. } = story;
    Story::end_watch(watch);

    // Deleted, the MailDomain takes them with it, from every server.
    scene.kube.delete(&mail.at);
    wait_for("the records to be withdrawn", || mail.keys(&bind).iter().all(BTreeSet::is_empty).then_some(()));
    if kills {
        operator.restart();
    }
    let waits = scene.kube.get(&mail.at).expect("the secondary has the records still");
    assert!(waits["metadata"]["deletionTimestamp"].is_string());
    bind.transfer(APEX).unwrap();
    wait_for("the MailDomain to go", || scene.kube.get(&mail.at).is_none().then_some(()));
}
