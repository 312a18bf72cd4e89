//! Others are told of a revision, and asked whether they have taken it up.

use super::super::world::Purpose;
use super::bench::*;
use crate::api::certificate::activation::{HttpCall, Publish};

fn call(url: &str) -> Publish {
    let http = HttpCall {
        url: url.to_owned(),
        method: None,
        expect_body: None,
        authorization_secret_ref: None,
        ca_bundle: None,
    };
    Publish { http: Some(http), job: None }
}

#[test]
fn a_revision_is_told_then_asked_for_and_the_one_before_is_kept_until_then() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| {
        s.options.history.revisions = 0;
        s.options.activation.publish = Some(call("https://directory.example.com/certificates"));
        s.options.activation.confirm = Some(call("https://directory.example.com/certificates/{fingerprint}"));
    });
    bench.settle();
    let record = bench.status().activation.unwrap();
    assert!(record.published.unwrap().done_at.is_some() && record.confirmed.unwrap().done_at.is_some());

    let refused = "the call to directory.example.com failed: status 503".to_owned();
    bench.calls.insert(Purpose::Publish, Err(refused.clone()));
    bench.ask_to_renew("a");
    bench.settle_within(secs(5));
    let told = bench.status().activation.unwrap().published.unwrap();
    assert_eq!((told.failures, told.message.as_deref(), told.done_at), (1, Some(refused.as_str()), None));
    assert_eq!(bench.wake, Some(bench.now + secs(10)));
    let message = format!("activation.publish of revision 2 does not succeed and is tried again: {refused}");
    assert!(bench.take_notes().contains(&(true, "PublishFailed".to_owned(), message)));
    assert!(bench.revisions.contains_key(&1), "nobody knows revision 2 yet");
    bench.assert_ready();

    bench.calls.clear();
    bench.calls.insert(Purpose::Confirm, Ok(false));
    bench.now += secs(10);
    bench.settle_within(secs(5));
    let record = bench.status().activation.unwrap();
    assert!(record.published.unwrap().done_at.is_some());
    assert_eq!(record.confirmed.unwrap().message.as_deref(), Some("the Job is running"));
    assert!(bench.revisions.contains_key(&1), "it was not taken up yet");
    // It is looked at ever less often.
    for _ in 0..40 {
        bench.now = bench.wake.unwrap();
        bench.pass();
    }
    assert_eq!(bench.wake, Some(bench.now + secs(600)));
    bench.calls.clear();
    bench.settle_after(secs(600));
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(bench.status().findings, []);
    assert_eq!(bench.take_log().iter().filter(|l| *l == "tell of revision 2").count(), 2);
}
