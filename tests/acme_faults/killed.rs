//! An operator that is killed before and after each of the requests of an issuance goes on where it was.

use std::time::{Duration, Instant};

use mailcert_testenv::acme::{Effect, Fault, Kind, Rule, Script};

use crate::common::{PATIENCE, Stage, data};
use crate::scene::{self, Place, Scene, ready, revision};

/// A moment: the request's number from 1 on, and what becomes of it.
type Moment = (usize, Effect);

/// Every moment is reached before the operator is killed, so all of them wait for an answer at the same time.
const PATIENT: [&str; 2] = ["--reconcile-timeout=240s", "--concurrency=256"];

/// What is asked in one issuance.
fn rehearsal(place: Place<'_>) -> Vec<Kind> {
    let scene = Scene::unissued(place, "rehearsal", Script::default());
    let known = scene.server.log().requests.len();
    scene.certificate();
    scene.wait("to be issued", |o| ready(o) && o["status"]["attempt"].is_null());
    let log = scene.server.log();
    // Renewal information is of no issuance.
    let asked: Vec<Kind> = log.requests[known..].iter().map(|r| r.kind).collect();
    let last = asked.iter().rposition(|kind| *kind == Kind::Certificate).unwrap();
    asked[..=last].to_vec()
}

fn prepare(place: Place<'_>, (number, effect): Moment) -> Scene<'_> {
    let when = if effect == Effect::With { "after" } else { "before" };
    let scene = Scene::unissued(place, &format!("{when}-{number}"), Script::default());
    scene.server.rules([Rule::any([Fault::Hold(effect)]).nth(number as u64)]);
    scene.certificate();
    scene
}

#[test]
fn an_operator_killed_at_any_request_issues_one_certificate() {
    let Stage { kube, ns, mut operator } = scene::stage("killed", &PATIENT);
    let place = Place { kube: &kube, ns: &ns };
    let asked = rehearsal(place);
    let moments: Vec<Moment> = (1..=asked.len()).flat_map(|n| [(n, Effect::Without), (n, Effect::With)]).collect();
    let scenes: Vec<(Moment, Scene<'_>)> = std::thread::scope(|scope| {
        let begin = |moment: &Moment| {
            let moment = *moment;
            scope.spawn(move || (moment, prepare(place, moment)))
        };
        let begun: Vec<_> = moments.iter().map(begin).collect();
        begun.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let begin = Instant::now();
    let mut missed = 0;
    for (moment, scene) in &scenes {
        // A run may need a look less than the rehearsal did.
        while scene.server.held() == 0 && !ready(&scene.object()) {
            assert!(begin.elapsed() < PATIENCE, "{moment:?} is never reached");
            std::thread::sleep(Duration::from_millis(20));
        }
        missed += usize::from(scene.server.held() == 0);
    }
    assert!(missed <= 4, "{missed} of {} moments were not reached", scenes.len());
    operator.kill();
    for (_, scene) in &scenes {
        while scene.server.held() > 0 {
            assert!(begin.elapsed() < PATIENCE, "somebody still waits for an answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.server.rules([]);
    }
    operator.restart();
    let mut abandoned = 0;
    for (moment, scene) in &scenes {
        abandoned += one_certificate(*moment, scene, asked[moment.0 - 1]);
    }
    eprintln!("killed at {} moments of {asked:?}: {abandoned} orders abandoned", scenes.len() - missed);
}

/// Waits until it is issued. Returns how many orders were abandoned.
fn one_certificate(moment: Moment, scene: &Scene<'_>, kind: Kind) -> usize {
    let issued = scene.wait("to be issued", |o| ready(o) && o["status"]["attempt"].is_null());
    let log = scene.server.log();
    let what = format!("{moment:?} ({kind:?})");
    assert_eq!(revision(&issued), 1, "{what}");
    assert_eq!(log.certificates.len(), 1, "{what}: {:#?}", log.orders);
    assert!(log.orders.len() <= 2, "{what}: {:#?}", log.orders);
    let key = rcgen::KeyPair::from_pem(&data(&scene.secret())["tls.key"]).unwrap();
    assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&key), log.certificates[0].spki, "{what}: another key");
    log.orders.len() - 1
}
