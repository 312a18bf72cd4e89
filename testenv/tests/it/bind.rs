//! BIND comes up beside others of its kind, serves what it is told, and leaves nothing behind.

use crate::common::wait_for;
use mailcert_testenv::{Bind, BindOptions, BindZone};
use std::process::Command;

fn loopback() -> String {
    let output = Command::new("ip").args(["-o", "address", "show", "dev", "lo"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn servers_have_addresses_of_their_own_and_take_them_along() {
    let options = BindOptions { zones: vec![BindZone::new("example.test")], secondary: true, notify: true };
    let Some(first) = Bind::start_or_skip(&options) else { return };
    let second = Bind::start(&options).unwrap();
    let mut addresses = vec![first.address(), first.secondary(), second.address(), second.secondary()];
    let shown = loopback();
    assert!(addresses.iter().all(|address| shown.contains(&format!(" {}/32 ", address.ip()))), "{shown}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4);
    first.add_record("mail.example.test. 60 A 192.0.2.1").unwrap();
    first.update("add mail.example.test. 60 A nowhere").expect_err("nsupdate says what is wrong");
    drop((first, second));
    wait_for("the addresses to go", || addresses.iter().all(|address| !loopback().contains(&address.ip().to_string())));
}
