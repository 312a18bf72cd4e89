//! What came of the year.

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;
use mailcert_testenv::acme::{Kind, Limit, Log};

use crate::cluster::Cluster;
use crate::{LIFETIME, Year};

/// Orders may be so many times the least that is possible.
const MOST_ORDERS: f64 = 1.05;

/// Seconds from an issuance to the end of the window in which the CA wants the certificate renewed: a third of the
/// lifetime is left, give or take a hundredth of it, and it began an hour before it was issued.
const LONGEST_USE: i64 = LIFETIME * 2 / 3 + LIFETIME / 100 - 3600;

/// Prints the table. Fails when the year was not as it has to be.
pub fn report(year: &Year, log: &Log, cluster: &Cluster, took: Duration) -> ExitCode {
    let certificates = cluster.cells.len();
    let (orders, needed) = (log.orders.len(), needed(year, cluster));
    let used: usize = cluster.cells.iter().map(|c| c.history.activations).sum();
    let limited: usize = log.limited.values().sum();
    let never = cluster.cells.iter().filter(|c| c.history.first.is_none()).count();
    let longest = cluster.cells.iter().map(|c| gap(year, c)).max().unwrap_or_default();
    let expired = cluster.cells.iter().filter(|c| gap(year, c) > SignedDuration::ZERO).count();
    let least = cluster.cells.iter().filter_map(|c| c.history.least_left).min().unwrap_or_default();
    let each = |n: usize| format!("{:.1}", n as f64 / log.certificates.len().max(1) as f64);
    let exempt = log.orders.iter().filter(|o| o.replaces.is_some()).count();
    let renewal_info = log.count(Kind::RenewalInfo);
    let mut rows = vec![
        ("certificates that are kept".to_owned(), certificates.to_string()),
        ("days".to_owned(), (year.end.duration_since(year.start).as_hours() / 24).to_string()),
        ("orders".to_owned(), orders.to_string()),
        ("orders, least possible".to_owned(), needed.to_string()),
        ("orders, more than needed".to_owned(), format!("{:.1} %", (orders as f64 / needed as f64 - 1.0) * 100.0)),
        ("orders that say what they replace".to_owned(), exempt.to_string()),
        ("certificates issued".to_owned(), log.certificates.len().to_string()),
        ("certificates used".to_owned(), used.to_string()),
        ("requests per certificate".to_owned(), each(log.requests.len() - renewal_info)),
        ("requests for renewal information, per certificate".to_owned(), each(renewal_info)),
    ];
    for kind in [Kind::NewNonce, Kind::NewOrder, Kind::Order, Kind::Authorization, Kind::Challenge, Kind::Finalize] {
        rows.push((format!("  {kind:?} per certificate"), each(log.count(kind))));
    }
    for limit in Limit::ALL {
        let times = log.limited.get(&limit).copied().unwrap_or(0);
        rows.push((format!("orders refused for the limit {limit:?}"), times.to_string()));
    }
    rows.push(("certificates that expired".to_owned(), expired.to_string()));
    rows.push(("longest time without a valid certificate".to_owned(), days(longest)));
    rows.push(("least time left at a renewal".to_owned(), days(least)));
    rows.push(("never issued".to_owned(), never.to_string()));
    for (fault, times) in log.faults() {
        rows.push((format!("fault: {fault}"), times.to_string()));
    }
    rows.push(("seconds that the year took".to_owned(), format!("{:.0}", took.as_secs_f64())));
    for (what, value) in rows {
        println!("{what:<52} {value:>10}");
    }
    let checks = [
        (limited > 0, "a limit of the CA was exceeded"),
        (expired > 0 || never > 0, "a certificate expired, or was never issued"),
        (orders as f64 > needed as f64 * MOST_ORDERS, "more than 5 % more orders were made than needed"),
    ];
    let mut failed = false;
    for (_, words) in checks.iter().filter(|(wrong, _)| *wrong) {
        println!("FAILED: {words}");
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The longest time without a valid certificate after the first one.
fn gap(year: &Year, cell: &crate::cluster::Cell) -> SignedDuration {
    let open = cell.history.until.map(|until| year.end.duration_since(until)).unwrap_or_default();
    cell.history.gap.max(open).max(SignedDuration::ZERO)
}

/// The orders of an operator to which nothing happens, and which renews at the last moment that the CA suggests.
fn needed(year: &Year, cluster: &Cluster) -> usize {
    let of = |cell: &crate::cluster::Cell| {
        let first = cell.history.first?;
        let renewals = (year.end.duration_since(first).as_secs() - 1) / LONGEST_USE;
        usize::try_from(renewals + 1).ok()
    };
    cluster.cells.iter().filter_map(of).sum::<usize>().max(1)
}

fn days(time: SignedDuration) -> String {
    format!("{:.1} d", time.as_secs_f64() / 86_400.0)
}
