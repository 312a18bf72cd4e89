use proptest::prelude::*;

use super::*;

const ACCOUNT: &str = "https://acme.example/acct/1";

fn records(lines: &[&str]) -> Vec<CaaRecord> {
    lines
        .iter()
        .map(|line| {
            let fields: Vec<&str> = line.splitn(3, ' ').collect();
            CaaRecord { critical: fields[0] == "128", tag: fields[1].to_owned(), value: fields[2].to_owned() }
        })
        .collect()
}

fn ask(lines: &[&str], wildcard: bool) -> Verdict {
    let identities = ["letsencrypt.org".to_owned(), "le.example".to_owned()];
    verdict(&records(lines), "example.com", &identities, Some(ACCOUNT), "http-01", wildcard)
}

fn refusal(lines: &[&str], wildcard: bool) -> String {
    match ask(lines, wildcard) {
        Verdict::Refuses(words) => words,
        other => panic!("{lines:?}: {other:?}"),
    }
}

#[test]
fn these_allow() {
    for lines in [
        &[][..],
        &["0 issue letsencrypt.org"],
        &["0 ISSUE  LetsEncrypt.org\t"],
        &["0 issue le.example"],
        &["0 issue digicert.com", "0 issue letsencrypt.org"],
        &["0 issue ;", "0 issue letsencrypt.org"],
        &["0 issue %%%", "128 issue letsencrypt.org"],
        &["0 issue letsencrypt.org;"],
        &["0 issue letsencrypt.org ; policy = ev"],
        &["0 issue letsencrypt.org; accounturi=https://acme.example/acct/1"],
        &[
            "0 issue letsencrypt.org; accounturi=https://x/2",
            "0 issue letsencrypt.org; accounturi=https://acme.example/acct/1",
        ],
        &["0 issue letsencrypt.org;validationmethods=dns-01,http-01"],
        &["0 issue letsencrypt.org; AccountURI = https://acme.example/acct/1 ; validationmethods=http-01"],
        &["0 issuewild ;"],
        &["0 iodef mailto:a@example.com", "128 issuemail ;", "0 future x", "0 contactemail x"],
    ] {
        assert_eq!(ask(lines, false), Verdict::Allows, "{lines:?}");
    }
    for lines in [&["0 issuewild letsencrypt.org", "0 issue ;"][..], &["0 issue letsencrypt.org"], &["0 issuemail ;"]] {
        assert_eq!(ask(lines, true), Verdict::Allows, "{lines:?} for a wildcard");
    }
}

#[test]
fn refusals_say_which_record_and_what_to_add() {
    for (lines, wildcard, words) in [
        (
            &["0 issue digicert.com", "0 issue pki.goog; cansignhttpexchanges=yes"][..],
            false,
            "the CAA records at example.com let only other CAs issue (0 issue \"digicert.com\", 0 issue \"pki.goog; \
             cansignhttpexchanges=yes\"), so letsencrypt.org would refuse: add the record example.com. CAA 0 issue \
             \"letsencrypt.org\"",
        ),
        (
            &["0 issue ;"],
            false,
            "the CAA record at example.com forbids every CA to issue (0 issue \";\"): add the record example.com. CAA 0 issue \
             \"letsencrypt.org\"",
        ),
        (
            &["0 issue letsencrypt.org", "0 issuewild ;"],
            true,
            "the CAA record at example.com forbids every CA to issue (0 issuewild \";\"): add the record example.com. CAA 0 \
             issuewild \"letsencrypt.org\"",
        ),
        (
            &["0 issue letsencrypt.org; validationmethods=dns-01"],
            false,
            "the CAA record at example.com allows only the challenge types dns-01, and http-01 was to be used: add http-01 to \
             its validationmethods, or use a solver for one of these",
        ),
        (
            &["0 issue letsencrypt.org; accounturi=https://acme.example/acct/2"],
            false,
            "the CAA record at example.com lets only the ACME account https://acme.example/acct/2 ask, and this one is \
             https://acme.example/acct/1: add the record example.com. CAA 0 issue \"letsencrypt.org; \
             accounturi=https://acme.example/acct/1\"",
        ),
        (
            &["0 issue letsencrypt.org;;"],
            false,
            "the CAA record at example.com cannot be read (0 issue \"letsencrypt.org;;\"), so CAs take it as a ban: correct \
             it, for instance to example.com. CAA 0 issue \"letsencrypt.org\"",
        ),
        (
            &["128 tbs unknown", "0 issue letsencrypt.org"],
            false,
            "the CAA record at example.com is marked critical and has a tag that CAs do not know (128 tbs \"unknown\"), so \
             they refuse: set its flags to 0, or remove it",
        ),
    ] {
        assert_eq!(refusal(lines, wildcard), words);
    }
}

#[test]
fn malformed_values_name_nobody() {
    for value in [
        "lets encrypt.org",
        "letsencrypt.org policy=ev",
        "-letsencrypt.org",
        "letsencrypt..org",
        "letsencrypt.org; accounturi",
        "letsencrypt.org; =x",
        "letsencrypt.org; a=b;",
        "letsencrypt.org; a=b c",
        "letsencrypt.org; a=\u{e9}",
        "*.letsencrypt.org",
        "\u{0}",
    ] {
        let words = refusal(&[&format!("0 issue {value}")], false);
        assert!(words.contains("cannot be read"), "{value}: {words}");
    }
}

#[test]
fn doubled_and_empty_parameters_cannot_be_met() {
    for value in [
        "letsencrypt.org; accounturi=https://acme.example/acct/1; accounturi=https://acme.example/acct/1",
        "letsencrypt.org; accounturi=",
        "letsencrypt.org; validationmethods=http-01; validationmethods=http-01",
        "letsencrypt.org; validationmethods=",
        "letsencrypt.org; validationmethods=HTTP-01",
    ] {
        refusal(&[&format!("0 issue {value}")], false);
    }
}

#[test]
fn what_cannot_be_known_is_said() {
    let records = records(&["0 issue digicert.com"]);
    assert_eq!(
        verdict(&records, "example.com", &[], Some(ACCOUNT), "http-01", false),
        Verdict::Unsure(
            "CAA records at example.com say which CAs may issue (0 issue \"digicert.com\"), and this CA does not say by \
             which name it goes there (caaIdentities of its directory is empty)"
                .to_owned()
        )
    );
    let bound = super::tests::records(&["0 issue letsencrypt.org; accounturi=https://x/1"]);
    let identities = ["letsencrypt.org".to_owned()];
    assert!(matches!(verdict(&bound, "a.org", &identities, None, "dns-01", false), Verdict::Unsure(_)));
    assert!(matches!(ask(&["128 contactemail a@example.com"], false), Verdict::Unsure(_)));
    assert!(matches!(
        ask(&["128 contactemail a@example.com", "128 tbs x"], false),
        Verdict::Refuses(words) if words.contains("tbs")
    ));
    let critical = super::tests::records(&["128 tbs x"]);
    assert!(matches!(verdict(&critical, "a.org", &[], None, "dns-01", false), Verdict::Unsure(_)));
}

#[test]
fn quotes_are_bounded_and_printable() {
    let long = format!("0 issue {}\u{1b}[31m{}", "a".repeat(50), "b".repeat(5000));
    let words = refusal(&[&long], false);
    assert!(words.len() < 400 && !words.contains('\u{1b}'), "{words}");
}

proptest! {
    #[test]
    fn any_records_are_survived(
        all in prop::collection::vec((any::<bool>(), "[a-zA-Z]{0,9}|issue|issuewild", ".{0,40}|(letsencrypt.org)?;? ?[a-z=;]{0,20}"), 0..6),
        wildcard: bool,
        known: bool,
    ) {
        let records: Vec<CaaRecord> =
            all.into_iter().map(|(critical, tag, value)| CaaRecord { critical, tag, value }).collect();
        let identities = if known { vec!["letsencrypt.org".to_owned()] } else { Vec::new() };
        let got = verdict(&records, "example.com", &identities, None, "http-01", wildcard);
        let refuses = matches!(got, Verdict::Refuses(_));
        prop_assert!(known || !refuses);
        prop_assert!(got.words().chars().all(|c| !c.is_control()));
    }
}
