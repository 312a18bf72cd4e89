//! The cert-manager actions of a MailCertificate.

use super::context::Context;
use super::pass::PassError;
use crate::api::MailCertificate;
use crate::decide::certificate::Fact;
use crate::decide::certificate::world::IssuerView;
use crate::pki::Usage;

pub async fn create(
    _: &Context,
    _: &MailCertificate,
    _: &IssuerView,
    _: &str,
    _: &[u8],
    _: &[Usage],
) -> Result<Fact, PassError> {
    Ok(Fact::Overtaken)
}
pub async fn look(_: &Context, _: &MailCertificate, _: &str) -> Result<Fact, PassError> {
    Ok(Fact::Overtaken)
}
pub async fn delete(_: &Context, _: &MailCertificate, _: &str) -> Result<Fact, PassError> {
    Ok(Fact::Overtaken)
}
