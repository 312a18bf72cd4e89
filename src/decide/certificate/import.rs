//! A certificate that comes from a Secret in place of an issuer.
//!
//! ```text
//! source as the status knows it? ─▶ read ─▶ judge ─▶ another than the one taken last? ─▶ take ─▶ store ─▶ activate
//!        │ yes: rest                            │ an error: not used; what is active stays
//! ```
//! Its key is taken as it is, is never made here, and never signs or serves anything but this certificate.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::checks::{self, Trigger};
use super::judgement::{self, Found};
use super::names::Wanted;
use super::state::State;
use super::world::{Action, Fresh, ImportView, KeyPair, Lacking, Origin, SourceRead};
use super::{Step, beside, is_lost, issue, repair, rest, rollback};
use crate::api::certificate::{Finding, Import, ImportStatus};
use crate::api::keys;
use crate::api::reasons::{self, certificate as reason, finding, import as words};
use crate::decide::backoff;
use crate::pki::{Certificate, Chain, Fingerprint, PrivateKey};

/// At most as many missing issuers are asked for, one above the other.
const LONGEST_CLIMB: usize = 4;
/// When an address of a missing issuer that gave nothing is asked again.
const FETCH_AGAIN: SignedDuration = SignedDuration::from_hours(6);

/// The next step of an import.
pub(super) fn step(state: &mut State<'_>, wanted: &Wanted, view: &ImportView) -> Step {
    let Some(import) = &state.spec.import else { return Step::default() };
    refuse_annotations(state, import);
    if let Some(problem) = misuse(state, import) {
        return Step::blocked(reason::INVALID_SPEC, problem);
    }
    let waits = state.attempt.as_ref().and_then(|a| a.retry_time.as_ref()).map(|t| t.0);
    if backoff::waits(waits, state.world.now) && !state.spec_is_new() {
        return Step::failing(state);
    }
    let trigger = checks::first(state, wanted);
    let lost = trigger.as_ref().is_some_and(|t| is_lost(t.reason));
    let contested = if lost { repair::contested(state) } else { None };
    if let Some(step) = contested {
        return step;
    }
    let expectation = judgement::digest(state, import, wanted, view);
    if let Some(lacking) = absent(import, view) {
        let status = ImportStatus { problem: Some(lacking.message.clone()), ..kept(state) };
        state.import = Some(status);
        return refuse(state, vec![Found::from(lacking)]);
    }
    let Some(read) = &state.world.learnt.source.read else {
        let known = state.import.as_ref().filter(|known| is_known(known, view, &expectation, state.world.now));
        return match known.map(|known| (known.problem.clone(), known.retry_time.clone())) {
            Some((Some(problem), retry)) => {
                Step { wake: retry.map(|t| t.0), ..Step::blocked(reason::IMPORT_INVALID, problem) }
            }
            Some((None, retry)) if !lost && state.active.is_some() => match taken_back(state, wanted) {
                Some(Again::Step(step)) => *step,
                Some(Again::Take) => Step::act(vec![Action::ReadSource { issuers: Vec::new() }]),
                None => {
                    let step = rest(state);
                    Step { wake: retry.map(|t| t.0).or(step.wake), ..step }
                }
            },
            _ => Step::act(vec![Action::ReadSource { issuers: Vec::new() }]),
        };
    };
    judge(state, wanted, view, read, trigger.as_ref(), expectation)
}

/// Judges what was read, and takes it.
fn judge(
    state: &mut State<'_>,
    wanted: &Wanted,
    view: &ImportView,
    read: &SourceRead,
    trigger: Option<&Trigger>,
    expectation: String,
) -> Step {
    let status = ImportStatus {
        resource_version: read.version.clone(),
        password_resource_version: read.password.clone(),
        expectation_sha256: Some(expectation),
        ..kept(state)
    };
    let (imported, read_findings) = match &read.content {
        Ok((imported, findings)) => (imported, findings),
        Err(lacking) => {
            state.import = Some(ImportStatus { problem: Some(lacking.message.clone()), ..status });
            return refuse(state, vec![Found::from(lacking.clone())]);
        }
    };
    let mut found = judgement::judge(state, wanted, &view.demands, imported, read_findings);
    let mut retry = None;
    match climb(state, view, read, &mut found) {
        Climb::Ask(action) => return Step::act(vec![*action]),
        Climb::Over(again) => retry = again.or(retry),
    }
    let pair = match (&imported.key, &imported.chain) {
        (Some(key), Some(chain)) if !found.iter().any(Found::is_error) => KeyPair {
            key: key.clone(),
            chain: Arc::new(chain.clone()),
            ca: Arc::new(imported.ca.clone()),
            canonical: true,
        },
        (_, chain) => {
            retry =
                [retry, chain.as_ref().and_then(|chain| begins(chain, state.world.now))].into_iter().flatten().min();
            let problem = Some(judgement::problem(&found));
            // What was good enough to wait is not any more.
            if let (Some(key), Some(chain)) = (&imported.key, chain)
                && is_staged(state, &digest(key, chain, &imported.ca))
                && !state.staged.iter().any(rollback::is_way_back)
            {
                state.unstage();
            }
            state.import = Some(ImportStatus { problem, retry_time: retry.map(Time), ..status });
            return Step { wake: retry, ..refuse(state, found) };
        }
    };
    let content = content_digest(&pair);
    // One that waits for its gates is taken already.
    let staged = is_staged(state, &content);
    let taken = staged
        || status.content_sha256.as_ref() == Some(&content)
        || state.active.as_ref().is_some_and(|active| active.request_sha256.as_ref() == Some(&content));
    // What is lost is had again from the staged one, where that has it.
    let lost = trigger.is_some_and(|t| is_lost(t.reason)) && !staged;
    let known =
        ImportStatus { content_sha256: Some(content.clone()), problem: None, retry_time: retry.map(Time), ..status };
    let again = if !taken || lost || (state.active.is_none() && !staged) {
        Some(Again::Take)
    } else {
        if !staged && state.staged.iter().any(|revision| !rollback::is_way_back(revision)) {
            // The source went back to what is active before that one came to its turn.
            state.unstage();
        }
        state.import = Some(known.clone());
        taken_back(state, wanted)
    };
    let step = match again {
        Some(Again::Step(step)) => *step,
        Some(Again::Take) => {
            let step = take(state, pair, content.clone());
            if !is_staged(state, &content) {
                return step;
            }
            step
        }
        None => {
            let step = rest(state);
            Step { wake: retry.or(step.wake), ..step }
        }
    };
    state.import = Some(known);
    put_down(state, found);
    step
}

/// Whether a revision with this content waits to become active.
fn is_staged(state: &State<'_>, content: &String) -> bool {
    state.staged.iter().any(|revision| revision.request_sha256.as_ref() == Some(content))
}

/// How what was taken back is tried again.
enum Again {
    /// As the revision that it was, or later.
    Step(Box<Step>),
    /// That one is lost: it is taken from the source once more.
    Take,
}

/// Tries what was taken back again after a pause, for as long as the source holds it. What a person took back stays back
/// until somebody approves it. What was lost, or put aside, before it became active is taken once more.
fn taken_back(state: &mut State<'_>, wanted: &Wanted) -> Option<Again> {
    let content = state.import.as_ref()?.content_sha256.clone()?;
    let is_active = state.active.as_ref().is_none_or(|active| active.request_sha256.as_ref() == Some(&content));
    if is_active || !state.staged.is_empty() {
        return None;
    }
    let was_active = state.previous.iter().any(|former| former.request_sha256.as_ref() == Some(&content));
    // What has expired is not tried again.
    let rollback = state.rollback.clone().filter(|r| r.to.is_some() && r.reason != reason::NOTHING_NEWER);
    let Some(rollback) = rollback else { return (!was_active).then_some(Again::Take) };
    if was_active && rollback::is_final(state, &rollback) {
        return None;
    }
    // Where nothing else is valid, there is no use in waiting.
    let expired = checks::first(state, wanted).filter(|trigger| trigger.reason == reason::EXPIRED);
    let trigger = expired.unwrap_or_else(|| Trigger {
        reason: reason::SOURCE_CHANGED,
        message: "the source holds another certificate than the active one".to_owned(),
        still_good: true,
    });
    if let Some(held) = rollback::held(state, &trigger) {
        return Some(Again::Step(Box::new(beside(state, held))));
    }
    if state.world.learnt.activated.is_some() {
        return None;
    }
    let again = if was_active { rollback::again(state, &trigger, wanted) } else { None };
    Some(again.map_or(Again::Take, |step| Again::Step(Box::new(step))))
}

/// Makes a revision of what was read; or writes the active one again, where it was lost.
fn take(state: &mut State<'_>, pair: KeyPair, content: String) -> Step {
    let origin = Origin { issuer: None, authority_spki: None, request: Some(content.clone()) };
    let world = state.world;
    if world.learnt.activated.is_some() {
        // One write of the Secret in a pass: the status first.
        return Step::working(reason::ISSUING, "the source holds another certificate".to_owned(), state.soon(1));
    }
    if let Some(active) = state.active.as_ref().filter(|active| active.request_sha256.as_ref() == Some(&content)) {
        let over = state.secret_version();
        return Step::act(vec![Action::WriteActive { revision: active.revision, pair, origin, over }]);
    }
    let why = if state.active.is_some() { reason::SOURCE_CHANGED } else { reason::NOT_ISSUED };
    state.begin(why);
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    if let Some(fresh) = world.learnt.fresh.as_ref().filter(|f| f.revision == revision) {
        return issue::store(state, fresh, why);
    }
    match (world.revisions.get(&revision), world.read.get(&revision)) {
        (None, _) => {}
        (Some(name), None) => return Step::act(vec![Action::ReadRevision { revision, name: name.clone() }]),
        // A pass that was interrupted has stored it.
        (Some(_), Some(stored)) if stored.origin == origin => {
            if let Some(pair) = stored.content.clone().filter(|pair| content_digest(pair) == content) {
                return issue::store(state, &Fresh { revision, pair, origin }, why);
            }
            state.skip_revision();
        }
        (Some(_), Some(_)) => state.skip_revision(),
    }
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    if let Some(fresh) = world.learnt.fresh.as_ref().filter(|f| f.revision == revision) {
        return issue::store(state, fresh, why);
    }
    Step::act(vec![Action::Import { revision, pair, origin }])
}

/// What the status remembers whatever becomes of the source.
fn kept(state: &State<'_>) -> ImportStatus {
    let content_sha256 = state.import.as_ref().and_then(|known| known.content_sha256.clone());
    ImportStatus { content_sha256, ..ImportStatus::default() }
}

/// Whether the status speaks of the source as it is, and of what is expected of it now.
fn is_known(known: &ImportStatus, view: &ImportView, expectation: &str, now: Timestamp) -> bool {
    known.resource_version == view.source
        && known.password_resource_version == view.password
        && known.expectation_sha256.as_deref() == Some(expectation)
        && known.retry_time.as_ref().is_none_or(|at| at.0 > now)
}

/// What is wrong with the spec beyond what CEL can see.
fn misuse(state: &State<'_>, import: &Import) -> Option<String> {
    if import.secret_ref.name == state.spec.secret_name {
        return Some(format!(
            "spec.import.secretRef names the Secret {}, which is the one that spec.secretName names: the operator writes that one, \
             and never the source. Let one of them name another Secret",
            state.spec.secret_name
        ));
    }
    let useless: Vec<&str> =
        import.allow.iter().map(String::as_str).filter(|word| !reasons::ALLOWABLE.contains(word)).collect();
    if !useless.is_empty() {
        return Some(format!(
            "spec.import.allow: {} is no finding that can be allowed; it can be any of {}",
            useless.join(", "),
            reasons::ALLOWABLE.join(", ")
        ));
    }
    judgement::own_anchors(import).err().map(|e| format!("spec.import.trustAnchors: {e}"))
}

/// A Secret that does not exist, as the watch shows.
fn absent(import: &Import, view: &ImportView) -> Option<Lacking> {
    if view.source.is_none() {
        let name = &import.secret_ref.name;
        let message = format!(
            "there is no Secret {name} in this namespace to import from: create it with certificate and key, or correct \
             spec.import.secretRef"
        );
        return Some(Lacking { reason: finding::SOURCE_NOT_FOUND, about: name.clone(), message });
    }
    let password = import.password_secret_ref.as_ref().filter(|_| view.password.is_none())?;
    let message = format!(
        "there is no Secret {} in this namespace with the password: create it with the password in its key {}, or correct \
         spec.import.passwordSecretRef",
        password.name, password.key
    );
    Some(Lacking { reason: finding::PASSWORD_NOT_FOUND, about: password.name.clone(), message })
}

/// Says what the annotations for issued certificates do not do here.
fn refuse_annotations(state: &mut State<'_>, import: &Import) {
    let source = &import.secret_ref.name;
    let renewal = state.asked_to_renew().then(|| {
        format!(
            "an imported certificate cannot be renewed here, so the annotation {} does nothing: put a new certificate into \
             Secret {source}, and it becomes a new revision",
            keys::RENEW
        )
    });
    state.find(finding::NOT_RENEWABLE, keys::RENEW, renewal);
    let revocation = state.revocation_asked().map(|_| {
        format!(
            "an imported certificate cannot be revoked here, so the annotation {} does nothing: ask the CA that issued it, and \
             put another certificate into Secret {source}",
            keys::REVOKE
        )
    });
    state.find(finding::NOT_REVOKED, keys::REVOKE, revocation);
}

/// Leaves what is active in place, and says everything that is wrong.
fn refuse(state: &mut State<'_>, found: Vec<Found>) -> Step {
    let problem = judgement::problem(&found);
    put_down(state, found);
    state.attempt = None;
    Step::blocked(reason::IMPORT_INVALID, problem)
}

/// Puts the findings into the status, in place of those about an earlier source.
fn put_down(state: &mut State<'_>, found: Vec<Found>) {
    let own =
        [finding::SOURCE_NOT_FOUND, finding::PASSWORD_NOT_FOUND, finding::SOURCE_KEY_MISSING, finding::FETCH_FAILED];
    state.findings.retain(|f| !words::ALL.contains(&f.reason.as_str()) && !own.contains(&f.reason.as_str()));
    state.findings.extend(found.into_iter().map(|f| Finding {
        reason: f.word.to_owned(),
        about: f.about,
        message: f.message,
    }));
    state.findings.sort();
    state.findings.dedup();
}

/// When the latest of its certificates that are not valid yet begins to be.
fn begins(chain: &Chain, now: Timestamp) -> Option<Timestamp> {
    chain.iter().map(|c| c.not_before).filter(|at| *at > now).max()
}

/// Digest of what is taken: key, chain and CA certificates.
pub(super) fn content_digest(pair: &KeyPair) -> String {
    digest(&pair.key, &pair.chain, &pair.ca)
}

fn digest(key: &PrivateKey, chain: &Chain, ca: &[Certificate]) -> String {
    let key = std::iter::once(key.spki_sha256().to_string());
    let chain = chain.iter().map(|c| c.fingerprint.to_string());
    // In `ca.crt`, the order means nothing.
    let ca: BTreeSet<String> = ca.iter().map(|c| format!("ca:{}", c.fingerprint)).collect();
    Fingerprint::of(key.chain(chain).chain(ca).collect::<Vec<_>>().join("\n").as_bytes()).to_string()
}

enum Climb {
    /// An issuer is to be fetched, or what was fetched is to be tried.
    Ask(Box<Action>),
    /// There is nothing to fetch, or nothing more; when to try again.
    Over(Option<Timestamp>),
}

/// Fetches missing issuers, where the spec asks for that and the operator may.
fn climb(state: &State<'_>, view: &ImportView, read: &SourceRead, found: &mut Vec<Found>) -> Climb {
    let wanted = state.spec.import.as_ref().is_some_and(|i| i.fetch_missing_issuers);
    let missing = found.iter().find(|f| !f.issuer_urls.is_empty()).cloned();
    let Some(missing) = missing.filter(|_| wanted) else { return Climb::Over(None) };
    if !view.may_fetch {
        let message = "spec.import.fetchMissingIssuers is set, but this operator fetches none: have the chart's value \
                       import.fetchIssuers.enabled set to true, or add the issuer's certificate to the source"
            .to_owned();
        found.push(Found::warning(finding::FETCH_FAILED, &missing.about, message));
        return Climb::Over(None);
    }
    let source = &state.world.learnt.source;
    let issuers = source.issuers();
    if issuers.len() > read.issuers {
        return Climb::Ask(Box::new(Action::ReadSource { issuers }));
    }
    let asked = source.fetched.iter().find(|(urls, _)| *urls == missing.issuer_urls);
    if asked.is_none() && source.fetched.len() < LONGEST_CLIMB {
        return Climb::Ask(Box::new(Action::FetchIssuer { urls: missing.issuer_urls }));
    }
    let why = match asked {
        Some((_, Err(why))) => why.clone(),
        _ => "what was fetched does not fit".to_owned(),
    };
    let message = format!("the missing issuer could not be fetched ({why}): add its certificate to the source");
    found.push(Found::warning(finding::FETCH_FAILED, &missing.about, message));
    Climb::Over(state.world.now.checked_add(FETCH_AGAIN).ok())
}
