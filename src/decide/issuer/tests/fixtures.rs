//! Issuers, and the world around them.

use std::sync::{Arc, LazyLock};

use k8s_openapi::ByteString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::issuer::{MailIssuer, MailIssuerStatus};
use crate::decide::Decision;
use crate::decide::backoff::Pace;
use crate::decide::issuer::world::{AccountFact, DirectoryFact, KeySecret, SecretData, SecretState, StepFailure};
use crate::decide::issuer::{Action, Fact, World, decide};

/// 2026-06-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::constant(1_780_272_000, 0);
pub const SERVER: &str = "https://acme.example/dir";
pub const TERMS: &str = "https://acme.example/terms";

/// A CA until 2027-01-01, its key, and the key of another.
pub static CA: LazyLock<(String, String, String)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Our CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let other = rcgen::KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem(), other.serialize_pem())
});

pub fn data(entries: &[(&str, &str)]) -> SecretData {
    SecretData(entries.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect())
}

pub fn issuer(spec: Value) -> MailIssuer {
    let mut issuer = MailIssuer::new("le", serde_json::from_value(spec).unwrap());
    issuer.metadata.namespace = Some("mail".to_owned());
    issuer.metadata.generation = Some(1);
    issuer
}

pub fn acme(change: Value) -> MailIssuer {
    let mut acme = json!({"server": SERVER, "termsOfServiceAgreed": true, "solvers": [{"http01": {"service": {}}}]});
    for (key, value) in change.as_object().unwrap() {
        acme[key] = value.clone();
    }
    issuer(json!({"acme": acme}))
}

pub fn world(issuer: MailIssuer) -> World {
    let mut world = World::new(Arc::new(issuer), NOW);
    world.ca_secret = SecretState::Absent;
    world.account_secret = SecretState::Absent;
    world
}

/// An ACME issuer whose account key exists, with the thumbprint `t1`, and whose directory was read.
pub fn keyed(change: Value) -> World {
    let mut world = world(acme(change));
    world.see(stored(&[("tls.key", "KEY")], "t1"));
    world.directory = Some(Server::good().directory);
    world
}

/// The same, some time after the account was registered.
pub fn registered(change: Value) -> World {
    let mut world = keyed(change);
    let status = Server::good().pass(&mut world).1.status;
    next_pass(&world, status, secs(60))
}

/// With an annotation.
pub fn annotated(mut world: World, name: &str, value: &str) -> World {
    let mut object = world.object.as_ref().clone();
    object.metadata.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
    world.object = Arc::new(object);
    world
}

/// The account key's Secret; the next key in it has the thumbprint `next`.
pub fn stored(entries: &[(&str, &str)], thumbprint: &str) -> KeySecret {
    let data = data(entries);
    let next_thumbprint = data.get("next.key").map(|_| Ok("next".to_owned()));
    KeySecret { data, thumbprint: Ok(thumbprint.to_owned()), next_thumbprint, note: None }
}

pub fn ready(status: &MailIssuerStatus) -> String {
    let c = &status.conditions[0];
    assert_eq!(c.type_, "Ready");
    format!("{} {}: {}", c.status, c.reason, c.message)
}

pub fn has(status: &MailIssuerStatus, type_: &str) -> bool {
    status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}

/// What the server answers.
#[derive(Clone, Debug)]
pub struct Server {
    pub failure: Option<StepFailure>,
    pub directory: DirectoryFact,
    pub thumbprint: Result<String, String>,
    /// Whether it knows the next key already.
    pub knows_next: bool,
}

/// The account at every server.
pub const ACCOUNT: &str = "https://acme.example/acct/1";

impl Server {
    pub fn good() -> Self {
        let directory = DirectoryFact { terms_of_service: Some(TERMS.to_owned()), ..DirectoryFact::default() };
        Self { failure: None, directory, thumbprint: Ok("t1".to_owned()), knows_next: false }
    }

    pub fn failing(pace: Pace, retry_after: Option<SignedDuration>) -> Self {
        let failure =
            StepFailure { pace, reason: "ServerUnavailable".to_owned(), message: "it is down".to_owned(), retry_after };
        Self { failure: Some(failure), ..Self::good() }
    }

    pub fn act(&self, world: &World, action: &Action) -> Fact {
        match (action, &self.failure) {
            (Action::CreateAccountKey { .. }, _) => {
                Fact::KeyStored(KeySecret { thumbprint: self.thumbprint.clone(), ..stored(&[("tls.key", "KEY")], "") })
            }
            (Action::StoreNextKey { note, .. }, _) => Fact::KeyStored(KeySecret {
                note: Some(note.clone()),
                ..stored(&[("tls.key", "KEY"), ("next.key", "NEXT")], "t1")
            }),
            (Action::PromoteNextKey { .. }, _) => {
                let note = world.rollover_done.clone();
                Fact::Promoted(KeySecret { note, ..stored(&[("tls.key", "NEXT"), ("previous.key", "KEY")], "next") })
            }
            (Action::DropNextKey { .. }, _) => Fact::KeyStored(stored(&[("tls.key", "KEY")], "t1")),
            (Action::FindAccount { of_next_key: true, .. }, _) => {
                Fact::NextAccount(self.knows_next.then(|| ACCOUNT.to_owned()))
            }
            (Action::FetchDirectory { is_needed: false, .. }, Some(_)) => Fact::NoDirectory,
            (Action::RollOver { .. }, Some(failure)) => Fact::RolloverFailed(failure.clone()),
            (_, Some(failure)) => Fact::Failed(failure.clone()),
            (Action::FindAccount { .. }, None) => Fact::OwnAccount(Some(ACCOUNT.to_owned())),
            (Action::RollOver { account_uri, .. }, None) => Fact::RolledOver(account_uri.clone()),
            (Action::Deactivate { .. }, None) => Fact::Deactivated,
            (Action::FetchDirectory { .. }, None) => Fact::Directory(self.directory.clone()),
            (Action::Register { .. }, None) => {
                let thumbprint = self.thumbprint.clone().unwrap_or_default();
                Fact::Registered(AccountFact { uri: ACCOUNT.to_owned(), thumbprint })
            }
        }
    }

    /// One pass, as the controller does it. Panics when it does not come to an end.
    pub fn pass(&self, world: &mut World) -> (Vec<Action>, Decision<Action, MailIssuerStatus>) {
        let mut all = Vec::new();
        for _ in 0..12 {
            let decision = decide(world);
            if decision.actions.is_empty() {
                return (all, decision);
            }
            for action in decision.actions {
                world.learn(self.act(world, &action));
                all.push(action);
            }
        }
        panic!("no end after {all:?}");
    }
}

/// The world of the next pass: what was reported is in the object, the pass is new, and the directory is remembered.
pub fn next_pass(world: &World, status: MailIssuerStatus, after: SignedDuration) -> World {
    let mut object = world.object.as_ref().clone();
    object.status = Some(status);
    World {
        object: Arc::new(object),
        now: world.now + after,
        no_directory: false,
        registered: None,
        doubted: world.doubted && world.own_account.is_none(),
        own_account: None,
        next_account: None,
        promoted: None,
        deactivated: false,
        failure: None,
        rollover_failed: false,
        ..world.clone()
    }
}

pub fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}
