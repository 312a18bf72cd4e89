//! The order and its challenges in the status, once everything learnt in this pass is taken in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::state::State;
use super::super::wanted;
use super::super::world::{How, OrderView, SolverView, World};
use super::solvers;
use crate::api::certificate::{Challenge, ChallengeType, Order};
use crate::api::reasons::finding;

impl State<'_> {
    /// The order whose challenges may be reachable through Ingresses or HTTPRoutes now. They may also be so when a
    /// pass was interrupted before it could say so.
    pub(super) fn standing_order(&self) -> Option<Order> {
        let learnt = &self.world.learnt;
        if learnt.unexposed {
            return None;
        }
        let routed = |s: &SolverView| s.how == How::Http01 { exposes: true };
        let exposes = self.world.issuer.acme().is_some_and(|a| a.solvers.iter().any(routed));
        let old = self.world.object.status.as_ref().and_then(|s| s.attempt.as_ref()).and_then(|a| a.order.clone());
        let order = self.attempt.as_ref().and_then(|a| a.order.clone()).or(old)?;
        (order.exposed || learnt.exposed || exposes).then_some(Order { exposed: true, ..order })
    }

    /// Takes in what the server, or a challenge's looks, showed of the order.
    pub(in super::super) fn take_in_order(&mut self) {
        let learnt = &self.world.learnt;
        let Some(attempt) = &mut self.attempt else { return };
        if learnt.unexposed
            && let Some(order) = &mut attempt.order
        {
            order.exposed = false;
        }
        let Some(view) = &learnt.order else { return };
        let not_replaced = view.not_replaced.as_ref().map(|words| {
            format!(
                "the order does not say which certificate it replaces, so it counts against the CA's limits: {words}"
            )
        });
        // Authorizations need not be one for each name (RFC 8555, section 7.1.3): what was asked for is remembered.
        let omitted = attempt.omitted_names.iter().map(|o| o.name.as_str());
        let asked = wanted(self.spec).unwrap_or_default().without(omitted);
        let mut order = attempt.order.take().filter(|o| o.url == view.url).unwrap_or_else(|| Order {
            url: view.url.clone(),
            dns_names: asked.into_iter().collect(),
            created_at: Time(self.world.now),
            challenges: Vec::new(),
            exposed: false,
            finalized: false,
        });
        let known = std::mem::take(&mut order.challenges);
        order.challenges = challenges(view, &known, self.world);
        order.exposed = (order.exposed || learnt.exposed) && !learnt.unexposed;
        order.finalized = order.finalized || learnt.finalized;
        attempt.order = Some(order);
        if learnt.created_order {
            self.find(finding::NOT_REPLACED, "order", not_replaced);
        }
    }
}

fn challenges(view: &OrderView, known: &[Challenge], world: &World) -> Vec<Challenge> {
    let Some(acme) = world.issuer.acme() else { return known.to_vec() };
    let open = view.authorizations.iter().filter(|a| !a.valid);
    open.filter_map(|authorization| {
        let (_, shown) = solvers::chosen(acme, authorization)?;
        let same = |c: &&Challenge| (&c.name, c.type_, &c.token) == (&authorization.name, shown.kind, &shown.token);
        let old = known.iter().find(same);
        let presented = world.learnt.presented.get(&authorization.name);
        let checked = world.learnt.self_checks.get(&authorization.name).cloned();
        // A record that could not be published cannot be found either.
        let checked = presented.and_then(|p| p.as_ref().err()).map(|words| Err(words.clone())).or(checked);
        let failed_now = matches!(checked, Some(Err(_)));
        let answered = old.is_some_and(|c| c.answered) || world.learnt.answered.contains(&authorization.name);
        let problem = match checked {
            Some(Err(problem)) => Some(problem),
            Some(Ok(())) => None,
            None => shown.error.clone().or_else(|| old.and_then(|c| c.problem.clone())),
        };
        let record = presented.and_then(|p| p.as_ref().ok()).or(old.and_then(|c| c.record.as_ref())).cloned();
        Some(Challenge {
            name: authorization.name.clone(),
            type_: shown.kind,
            token: shown.token.clone(),
            key_authorization: shown.key_authorization.clone(),
            record: record.filter(|_| shown.kind == ChallengeType::Dns01),
            answered: answered || !shown.pending,
            failures: old.map_or(0, |c| c.failures).saturating_add(i32::from(failed_now)),
            problem,
        })
    })
    .collect()
}
