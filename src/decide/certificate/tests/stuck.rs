//! Orders with which the CA does not get on.

use super::super::world::OrderStatus;
use super::bench::{Bench, days, secs};

/// Passes until the order is given up, at most so many; how many looks at it that took.
fn looks_until_given_up(bench: &mut Bench) -> usize {
    let mut looks = 0;
    for _ in 0..1000 {
        bench.pass();
        looks += bench.take_log().iter().filter(|l| l.starts_with("look at")).count();
        if bench.attempt().order.is_none() {
            return looks;
        }
        bench.now = bench.wake.expect("it looks again");
    }
    panic!("{looks} looks, and the order is not given up");
}

#[test]
fn an_order_that_stays_pending_is_looked_at_seldom_and_given_up() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.ca.retry_after = Some(secs(1));
    let begin = bench.now;
    let looks = looks_until_given_up(&mut bench);
    assert!(looks < 600, "{looks} looks in a day");
    let age = bench.now.duration_since(begin);
    assert!(age >= days(1) && age < days(1) + secs(900), "{age}");
    let retry = bench.attempt().retry_time.unwrap().0;
    bench.assert_condition(
        "Issuing",
        "True",
        "OrderRefused",
        &format!("the CA has not got on with the order https://ca.test/order/0 for 24 h, so it is given up (next try at {retry})"),
    );
    bench.ca.slow = false;
    bench.now = retry;
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.ca.orders.len(), 2);
}

#[test]
fn an_order_that_stays_in_processing_is_given_up() {
    let mut bench = Bench::acme();
    while bench.ca.orders.first().is_none_or(|o| o.status != OrderStatus::Processing) {
        bench.pass();
        bench.now = bench.wake.unwrap();
    }
    bench.ca.slow = true;
    assert!(looks_until_given_up(&mut bench) < 600);
}
