//! A revision that is complete and waits for its gates, and then becomes active.

use super::checks;
use super::gates::{self, Judged};
use super::names::Wanted;
use super::rollback;
use super::state::State;
use super::world::{Action, Fresh, KeyPair, Purpose, Reach, Told};
use super::{Step, issue};
use crate::api::certificate::{Call, Revision, RevisionState};
use crate::api::reasons::{certificate as reason, finding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How soon a Job that looks whether anything is queued is looked at again, in seconds. Its object says nothing by itself.
const JOB_SECONDS: i64 = 10;

/// The step of the staged revision, if there is one. Without actions: it waits.
pub fn step(state: &mut State<'_>, wanted: &Wanted) -> Option<Step> {
    let staged = state.staged.first()?.clone();
    if state.world.learnt.activated.is_some() {
        // What is active was put right: one write of the Secret in a pass, and then this one's turn.
        return Some(Step { wake: Some(state.soon(1)), ..Step::default() });
    }
    match state.locate(&staged) {
        Located::Kept => {}
        Located::Ask(action) => return Some(Step::act(vec![action])),
        Located::Gone => {
            state.lost_before(&staged, "it was staged, and cannot become active");
            return None;
        }
    }
    if drop_outdated(state, wanted) {
        return None;
    }
    let judged = gates::judge(state, &staged);
    if !judged.ask && !judged.unmet.is_empty() {
        return Some(wait(state, judged));
    }
    let revision = staged.revision;
    let Some(stored) = state.world.read.get(&revision) else {
        let name = state.world.revisions.get(&revision).cloned().or(staged.secret_name)?;
        return Some(Step::act(vec![Action::ReadRevision { revision, name }]));
    };
    let (content, origin) = (stored.content.clone(), stored.origin.clone());
    let Some(pair) = content.filter(|p| is_of(&staged, p)) else {
        state.lost_before(&staged, "its Secret holds something else");
        return None;
    };
    if judged.ask {
        let reach = state.spec.options.activation.drained.as_ref().and_then(Reach::of_drained)?;
        let told = Told { revision: staged, chain: pair.chain, ca: pair.ca };
        let call = Action::Call { purpose: Purpose::Drained, reach: Box::new(reach), told: Box::new(told) };
        return Some(Step::act(vec![call]));
    }
    Some(issue::activation(state, &Fresh { revision, pair, origin }, Vec::new()))
}

fn is_of(revision: &Revision, pair: &KeyPair) -> bool {
    pair.chain.leaf().fingerprint.to_string() == revision.fingerprint_sha256
}

/// Whether there was a staged revision that nobody wants any more. It waits no longer.
pub fn drop_outdated(state: &mut State<'_>, wanted: &Wanted) -> bool {
    let is_outdated = state.staged.first().is_some_and(|staged| outdated(state, staged, wanted));
    if is_outdated {
        state.unstage();
    }
    is_outdated
}

fn outdated(state: &State<'_>, staged: &Revision, wanted: &Wanted) -> bool {
    if state.world.now >= staged.not_after.0 {
        return true;
    }
    // A way back leads to what once was wanted, and whether what is imported fits is judged at its source.
    let is_judged = rollback::is_way_back(staged) || state.spec.import.is_some();
    !is_judged && checks::against(state, staged, wanted).is_some()
}

/// It waits. Without an active revision that is all there is to say.
pub fn wait(state: &mut State<'_>, judged: Judged) -> Step {
    let situation = state.active.is_none().then(|| (reason::GATE_UNMET, waiting(&judged.unmet)));
    state.gates = judged.unmet;
    state.overdue = judged.overdue;
    state.attempt = None;
    // Nothing in the status changes while a Job runs, however long that is.
    let runs = state.world.learnt.called.get(&Purpose::Drained) == Some(&Ok(false));
    let job = runs.then(|| state.soon(JOB_SECONDS));
    Step { situation, wake: judged.wake.into_iter().chain(job).min(), ..Step::default() }
}

/// What gates wait for, in one line.
pub fn waiting(gates: &[crate::api::certificate::Gate]) -> String {
    let each: Vec<String> = gates.iter().map(|g| format!("{}: {}", g.type_, g.message)).collect();
    each.join("; ")
}

/// Where the Secret of a listed revision is.
pub enum Located {
    /// It exists.
    Kept,
    /// The watch does not show it: it may be too new for that.
    Ask(Action),
    /// Somebody deleted it, or there never was one.
    Gone,
}

impl State<'_> {
    /// Looks for the Secret of a listed revision.
    pub fn locate(&self, revision: &Revision) -> Located {
        let (world, number) = (self.world, revision.revision);
        if world.revisions.contains_key(&number) || world.read.contains_key(&number) {
            return Located::Kept;
        }
        match &revision.secret_name {
            Some(name) if !world.learnt.gone.contains(&number) => {
                Located::Ask(Action::ReadRevision { revision: number, name: name.clone() })
            }
            _ => Located::Gone,
        }
    }

    /// Says that the Secret of a revision is gone.
    pub fn lost(&mut self, revision: &Revision, consequence: &str) {
        let name = revision.secret_name.as_deref().unwrap_or("of its own");
        let number = revision.revision;
        let message = format!(
            "the Secret {name} of revision {number} was deleted or changed by somebody else: {consequence}. See who does \
             that (the API server's audit log names them)"
        );
        self.find(finding::REVISION_LOST, &format!("revision {number}"), Some(message));
    }

    /// A staged revision is gone before it became active.
    fn lost_before(&mut self, staged: &Revision, what: &str) {
        let next = match self.spec.import {
            Some(_) => "what the source holds is taken once more",
            None => "another one is made when one is due or asked for",
        };
        self.lost(staged, &format!("{what}; {next}"));
        self.lost_revision = self.lost_revision.max(Some(staged.revision));
        self.forget_staged();
    }

    /// Makes a complete revision wait.
    pub fn stage(&mut self, fresh: &Fresh, why: &str) {
        let mut revision = self.revision(fresh.revision, &fresh.pair, &fresh.origin, None);
        revision.state = Some(RevisionState::Staged);
        let why = if why == reason::NOT_ISSUED { reason::FIRST_ISSUANCE } else { why };
        revision.reason = Some(why.to_owned());
        self.unstage();
        self.staged = vec![revision];
        self.attempt = None;
    }

    /// Makes a former revision wait, in place of what waits now: to become active again.
    pub fn stage_former(&mut self, former: Revision, why: &str, message: Option<String>) {
        self.unstage();
        self.previous.retain(|r| r.revision != former.revision);
        // That is how it is told from one that was never active.
        let key_since = former.key_since.clone().or(Some(former.not_before.clone()));
        let (state, reason) = (Some(RevisionState::Staged), Some(why.to_owned()));
        self.staged = vec![Revision { state, reason, message, key_since, ..former }];
        self.attempt = None;
    }

    /// Nobody wants the staged revision any more. One that was active before is a former one again.
    pub fn unstage(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        staged.into_iter().filter(Revision::was_active).for_each(|revision| self.put_back(revision));
        self.forget_staged();
    }

    fn put_back(&mut self, mut revision: Revision) {
        let failed = self.rollback.as_ref().filter(|r| r.from == revision.revision);
        let failed = failed.filter(|r| r.reason != reason::NOTHING_NEWER);
        revision.state = Some(if failed.is_some() { RevisionState::Failed } else { RevisionState::Previous });
        revision.message = failed.map(|r| r.message.clone());
        let older = self.previous.iter().position(|r| r.revision < revision.revision);
        self.previous.insert(older.unwrap_or(self.previous.len()), revision);
    }

    /// There is no staged revision any more.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
        self.gates.clear();
        self.drained = None;
    }

    /// Remembers the answer to the question whether anything is queued.
    pub fn take_in_drained(&mut self) {
        let Some(result) = self.world.learnt.called.get(&Purpose::Drained) else { return };
        let Some(drained) = &self.spec.options.activation.drained else { return };
        let mut call = self.drained.take().unwrap_or_default();
        let message = match result {
            Ok(true) => return,
            Ok(false) => {
                // The interval is between one Job and the next.
                let message = Some("the Job that looks is still running".to_owned());
                self.drained = Some(Call { message, retry_time: None, ..call });
                return;
            }
            Err(why) => why.clone(),
        };
        let pause = std::time::Duration::from(drained.interval).as_secs();
        let pause = i64::try_from(pause).unwrap_or(60).clamp(5, 86_400);
        call.failures = call.failures.saturating_add(1);
        call.message = Some(message);
        call.retry_time = Some(Time(self.soon(pause)));
        self.drained = Some(call);
    }
}
