//! Certificates through cert-manager: one step of a CertificateRequest in each pass.

use super::Step;
use super::names::Wanted;
use super::state::State;
use super::world::{CertManagerView, Origin};
use crate::api::reasons::certificate as reason;

/// The next step towards a certificate for `wanted`.
pub fn step(_: &mut State<'_>, _: &Wanted, view: &CertManagerView, _: Origin) -> Step {
    Step::blocked(reason::ISSUER_NOT_READY, format!("{} {} cannot be asked yet", view.kind, view.name))
}
