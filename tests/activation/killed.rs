//! An operator that is killed before and after each of its writes, from the staging of a revision to the way back.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::gateway::{Effect, Gateway, Moment};
use crate::common::{
    Kube, Operator, PATIENCE, Path, Stage, cluster, condition, data, leaf, namespace, spki_of_key, wait_for_object,
    wait_ready,
};

/// Every moment is reached before the operator is killed, so all of them wait for an answer at the same time.
const PATIENT: [&str; 2] = ["--reconcile-timeout=240s", "--api-timeout=240s"];

/// The stage, and what its operator's requests go through.
struct Ground {
    stage: Stage,
    gateway: Gateway,
}

/// A MailCertificate that is led through its life.
struct Life {
    name: String,
    at: Path,
    /// What the Secret held at first.
    first: BTreeMap<String, String>,
}

impl Life {
    fn begin(ground: &Ground, name: String, moment: Option<Moment>) -> Self {
        let stage = &ground.stage;
        let (at, secret) = stage.issued(&name, "self", json!({}));
        stage.kube.patch(&at, &json!({"spec": {"activation": {"mode": "Manual"}}})).unwrap();
        wait_for_object(&stage.kube, &at, "to be at rest", |o| {
            o["status"]["observedGeneration"] == o["metadata"]["generation"]
        });
        ground.gateway.watch(&name, moment);
        Self { name, at, first: data(&secret) }
    }

    /// Waits until the status says so, or the operator is held up. Whether the status says so.
    fn until(&self, ground: &Ground, what: &str, is: impl Fn(&Value) -> bool) -> bool {
        let begin = Instant::now();
        loop {
            if ground.stage.kube.get(&self.at).is_some_and(|o| is(&o["status"])) {
                return true;
            }
            if ground.gateway.holds(&self.name) {
                return false;
            }
            assert!(begin.elapsed() < PATIENCE, "{}: waited in vain for {what}", self.name);
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Renewed, approved, taken back; as far as it gets.
    fn live(&self, ground: &Ground) {
        let annotate = |key: &str, value: &str| ground.stage.kube.annotate(&self.at, key, value);
        let was_active = |s: &Value| s["previous"].as_array().is_some_and(|p| p.iter().any(|r| r["revision"] == 2));
        annotate("mailcert.dev/renew", "1");
        let is_there = |s: &Value| s["staged"][0]["revision"] == 2 || s["active"]["revision"] == 2 || was_active(s);
        if !self.until(ground, "revision 2", is_there) {
            return;
        }
        annotate("mailcert.dev/approve", "2");
        let is_active = |s: &Value| (s["active"]["revision"] == 2 && s["staged"].is_null()) || was_active(s);
        if !self.until(ground, "revision 2 to be active", is_active) {
            return;
        }
        annotate("mailcert.dev/rollback", "1");
        self.until(ground, "revision 1 to be active again", |s| s["active"]["revision"] == 1 && was_active(s));
    }

    /// What pods mount at any time: one of the two, whole.
    fn is_whole(&self, stage: &Stage) {
        let files = data(&stage.secret(&format!("{}-tls", self.name)));
        assert_eq!(spki_of_key(&files["tls.key"]), leaf(&files["tls.crt"]).spki_der, "{}", self.name);
        assert!(files["tls-combined.pem"].starts_with(&files["tls.key"]), "{}", self.name);
    }

    /// How it ends, whatever came between: nothing was made twice, and no key is lost.
    fn ends_well(&self, stage: &Stage) {
        let object = wait_for_object(&stage.kube, &self.at, "to be at rest", |o| {
            let s = &o["status"];
            s["staged"].is_null() && s["attempt"].is_null() && s["active"]["revision"] == 1
        });
        let (name, status) = (&self.name, &object["status"]);
        assert_eq!(data(&stage.secret(&format!("{name}-tls"))), self.first, "{name}");
        assert_eq!(condition(&object, "Ready").unwrap().0, "True", "{name}: {status:#}");
        assert_eq!(status["findings"], Value::Null, "{name}");
        assert_eq!(status["repairs"], Value::Null, "{name}: it has not undone its own work");
        let previous = status["previous"].as_array().unwrap();
        assert_eq!(previous.len(), 1, "{name}: {status:#}");
        assert_eq!((&previous[0]["revision"], &previous[0]["state"]), (&json!(2), &json!("Failed")), "{name}");
        let kept = stage.revisions(name);
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [1, 2], "{name}");
        let second = data(&kept[&2]);
        assert_eq!(spki_of_key(&second["tls.key"]), leaf(&second["tls.crt"]).spki_der, "{name}");
        assert_eq!(data(&kept[&1])["tls.key"], self.first["tls.key"], "{name}");
    }
}

#[test]
fn an_operator_killed_at_any_write_of_an_activation_goes_on_where_it_was() {
    let kube = Kube::new(cluster());
    let (ns, gateway) = (namespace(&kube, "killed"), Gateway::start(&kube));
    let flag = gateway.flag();
    let operator = Operator::start(cluster(), &[&ns], &[&flag, PATIENT[0], PATIENT[1]]);
    let mut ground = Ground { stage: Stage { kube, ns, operator }, gateway };
    ground.stage.create("MailIssuer", "self", &json!({"selfSigned": {}}));
    wait_ready(&ground.stage.kube, &Path::issuer(&ground.stage.ns, "self"));
    let rehearsal = Life::begin(&ground, "rehearsal".to_owned(), None);
    rehearsal.live(&ground);
    rehearsal.ends_well(&ground.stage);
    let writes = ground.gateway.writes("rehearsal");
    assert!(writes.len() >= 6, "{writes:?}");

    let moments = (1..=writes.len()).flat_map(|n| [("before", n, Effect::Without), ("after", n, Effect::With)]);
    let lives: Vec<Life> = thread::scope(|scope| {
        let ground = &ground;
        let begin = |(word, number, effect): (&str, usize, Effect)| {
            let name = format!("{word}-{number}");
            scope.spawn(move || {
                let life = Life::begin(ground, name, Some((number, effect)));
                life.live(ground);
                life
            })
        };
        let begun: Vec<_> = moments.map(begin).collect();
        begun.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let missed: Vec<&str> = lives.iter().map(|l| l.name.as_str()).filter(|name| !ground.gateway.holds(name)).collect();
    // A run may need a status less than the rehearsal did.
    assert!(missed.len() <= 2, "never reached: {missed:?}");
    ground.stage.operator.kill();
    eprintln!("killed at {} moments of {writes:#?}", lives.len() - missed.len());
    lives.iter().for_each(|life| life.is_whole(&ground.stage));
    ground.gateway.open();
    ground.stage.operator.restart();
    for life in &lives {
        life.live(&ground);
        life.is_whole(&ground.stage);
        life.ends_well(&ground.stage);
    }
}
