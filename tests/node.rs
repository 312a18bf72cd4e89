//! The whole on a real node: the operator in its pod, installed by its chart under its own ServiceAccount, certificates
//! from an ACME server over HTTP-01, and Postfix and Dovecot in pods that serve them.
//!
//! One cluster and one story: each part goes on where the one before it ended.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "node/drained.rs"]
mod drained;
#[path = "node/ground.rs"]
mod ground;
#[path = "node/permissions.rs"]
mod permissions;
#[path = "node/reloads.rs"]
mod reloads;
#[path = "node/scenes.rs"]
mod scenes;
#[path = "node/trust.rs"]
mod trust;

use ground::Ground;

#[test]
fn a_mail_server_gets_serves_and_renews_its_certificate() {
    let Some(ground) = Ground::ready() else { return };
    scenes::issued_and_served(&ground);
    scenes::renewed_and_served(&ground);
    let mut calls = permissions::calls(&ground);
    permissions::nothing_was_refused(&ground);
    scenes::a_restarted_operator_changes_nothing(&ground);
    scenes::a_wrong_endpoint_is_named_and_recovers(&ground);
    scenes::the_pod_is_restricted(&ground);
    reloads::postfix_and_dovecot_load_a_certificate_without_a_restart(&ground);
    reloads::what_goes_wrong_is_said_and_tried_again(&ground);
    reloads::a_pod_that_goes_half_way_is_followed_by_its_successor(&ground);
    drained::a_queue_is_asked_by_a_command_and_by_a_job_and_a_job_tells_others(&ground);
    trust::a_relay_verifies_its_smarthost_through_the_bundle(&ground);
    trust::a_disabled_certificate_goes_and_comes_back_in_the_mount(&ground);
    permissions::nothing_was_refused(&ground);
    calls.extend(permissions::calls(&ground));
    permissions::what_is_granted_is_called(&ground, &calls);
}
