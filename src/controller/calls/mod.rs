//! Calls that a MailCertificate's `activation` asks for: HTTP, a command in pods, or a Job. They are told the
//! certificate, and never the key.

mod exec;
mod http;
mod job;
mod subject;

use super::context::Context;
use super::pass::PassError;
use crate::api::MailCertificate;
use crate::decide::certificate::world::{Fact, Purpose, Reach, Told};

pub use self::http::Loopback;

/// The chart's value that lets the operator make Jobs.
pub const JOBS_CHART_VALUE: &str = "activation.jobs.enabled";

/// Makes a call. What goes wrong with it is for the object to say.
///
/// # Errors
/// The API server does not answer.
pub async fn call(
    context: &Context,
    object: &MailCertificate,
    purpose: Purpose,
    reach: &Reach,
    told: &Told,
) -> Result<Fact, PassError> {
    let result = match reach {
        Reach::Http(call) => http::call(context, object, purpose, call, told).await?.map(|()| true),
        Reach::Job(call) => job::call(context, object, purpose, call, told).await?,
        Reach::Exec(call) => exec::call(context, object, call).await?,
    };
    Ok(Fact::Called(purpose, result))
}

/// The word in names and messages.
fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Drained => "drained",
        Purpose::Publish => "publish",
        Purpose::Confirm => "confirm",
    }
}
