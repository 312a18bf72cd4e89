//! Former revisions: which ones are kept, and for how long.

use super::announce;
use super::issue::{self, Replaced};
use super::staged::Located;
use super::state::State;
use super::world::{Action, SecretView};
use super::{Step, next_key, outputs};
use crate::api::certificate::Revision;

/// What is done when nothing is to be issued or activated. Without actions: nothing.
pub fn step(state: &mut State<'_>) -> Step {
    if let Some(step) = announce::step(state).or_else(|| next_key::step(state)).or_else(|| missing(state)) {
        return step;
    }
    prune(state)
}

/// Revision Secrets that somebody else deleted.
fn missing(state: &mut State<'_>) -> Option<Step> {
    // What was deleted in this pass is gone because nobody needs it any more.
    let pruned = &state.world.learnt.pruned;
    state.previous.retain(|r| !pruned.contains(&r.revision));
    // So is what a pass deleted that was killed before it said so.
    let covered = state.covered();
    for revision in state.previous.clone() {
        match state.locate(&revision) {
            Located::Kept => {}
            Located::Ask(action) => return Some(Step::act(vec![action])),
            Located::Gone => {
                if covered.iter().any(|r| r.revision == revision.revision) {
                    state.lost(
                        &revision,
                        "its key is lost, so there is no way back to it, and what was encrypted to it cannot be read",
                    );
                }
                state.previous.retain(|r| r.revision != revision.revision);
            }
        }
    }
    let active = state.active.clone().filter(|a| a.secret_name.is_some())?;
    match state.locate(&active) {
        Located::Kept => {
            if state.world.learnt.gone.contains(&active.revision) {
                state.lost(&active, "it was made again from the active Secret");
            }
            None
        }
        Located::Ask(action) => Some(Step::act(vec![action])),
        // What is active is kept once more.
        Located::Gone => match issue::keep_active(state) {
            Replaced::Unread => Some(Step::act(vec![Action::ReadSecret])),
            Replaced::Store(action) => Some(Step::act(vec![*action])),
            Replaced::Kept => {
                if matches!(state.world.secret, SecretView::Ours(_))
                    && let Some(active) = &mut state.active
                {
                    active.secret_name = None;
                }
                None
            }
        },
    }
}

/// Deletes what history no longer covers.
fn prune(state: &mut State<'_>) -> Step {
    let before = state.previous.clone();
    state.cut();
    let Some(active) = &state.active else { return Step::default() };
    let kept = state.kept();
    let name = |n: i64| state.world.revisions.get(&n).cloned();
    let cut = before.iter().filter(|r| !state.is_listed(r.revision)).map(|r| r.revision);
    // Where the status was lost, history is not listed, and its keys are kept all the same.
    let unlisted = kept.saturating_sub(state.previous.len());
    let was_listed = |n: i64| before.iter().any(|r| r.revision == n);
    let old = state.world.revisions.keys().rev().copied();
    let old = old.filter(|n| *n < active.revision && !state.is_listed(*n) && !was_listed(*n)).skip(unlisted);
    let old: Vec<i64> = cut.chain(old).collect();
    let prune = |n: i64| Some(Action::Prune { revision: n, name: name(n)? });
    Step::act(old.into_iter().filter_map(prune).collect())
}

impl State<'_> {
    /// How many former revisions are kept.
    fn kept(&self) -> usize {
        usize::try_from(self.spec.options.history.revisions).unwrap_or(0)
    }

    fn is_listed(&self, number: i64) -> bool {
        let same = |r: &Revision| r.revision == number;
        self.active.iter().any(same) || self.staged.iter().any(same) || self.previous.iter().any(same)
    }

    /// Cuts the list of former revisions to its length, except for those that are still needed.
    pub fn cut(&mut self) {
        self.previous = self.covered();
    }

    /// The former revisions that are not to be deleted.
    fn covered(&self) -> Vec<Revision> {
        // Mail that was encrypted to a former key can be read only with it.
        let keeps_all = outputs::keeps_all(&self.world.object);
        let kept = if keeps_all { usize::MAX } else { self.kept() };
        let all = self.previous.iter().enumerate();
        all.filter(|(i, r)| *i < kept || self.is_needed(r, *i == 0)).map(|(_, r)| r.clone()).collect()
    }

    /// Whether a former revision may not be deleted, however short history is: it is still served somewhere, DNS still
    /// names its key, what came after it has not been seen to work, somebody has not taken up its successor, or it was taken back.
    pub fn is_needed(&self, revision: &Revision, is_last: bool) -> bool {
        let active = self.active.as_ref().map(|a| a.spki_sha256.as_str());
        let has_record = |d: &super::world::Dependent| {
            active != Some(&revision.spki_sha256) && d.tlsa_published.contains(&revision.spki_sha256)
        };
        let is_used = |d: &super::world::Dependent| d.served.contains(&revision.fingerprint_sha256) || has_record(d);
        let judged = self.activation.as_ref().filter(|a| !a.judges.is_empty());
        let is_way_back = judged.is_some_and(|a| is_last || a.proven == Some(revision.revision));
        let was_taken_back = self.rollback.as_ref().is_some_and(|r| r.from == revision.revision);
        self.world.dependents.iter().any(is_used)
            || is_way_back
            || was_taken_back
            || (is_last && announce::pending(self))
    }
}
