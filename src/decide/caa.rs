//! Whether CAA records let the CA issue (RFC 8659), this account and this challenge type included (RFC 8657).

#[cfg(test)]
mod tests;

/// The longest part of a record that is quoted, in characters.
const QUOTED: usize = 120;
/// Property tags that any CA for the web knows; a critical record with another one forbids (RFC 8659, section 4.5).
const KNOWN: &[&str] = &["issue", "issuewild", "issuemail", "iodef"];
/// Registered ones that some CAs know and others do not.
const KNOWN_TO_SOME: &[&str] = &["issuevmc", "contactemail", "contactphone"];

/// A CAA record (RFC 8659, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// The issuer critical flag.
    pub critical: bool,
    /// The property's tag.
    pub tag: String,
    /// The property's value.
    pub value: String,
}

/// What the records of a name mean for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The CA may issue.
    Allows,
    /// It is certain to refuse: why, and what to add.
    Refuses(String),
    /// It may refuse: why.
    Unsure(String),
}

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
struct Asker<'a> {
    /// The CA's identities: `caaIdentities` of its directory (RFC 8555, section 7.1.1).
    identities: &'a [String],
    account_uri: Option<&'a str>,
    /// The challenge type, as the CA calls it.
    method: &'a str,
}

/// What one `issue` or `issuewild` record says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Allows,
    /// It names an account, and ours is not known.
    AccountUnknown,
    OtherMethods(String),
    OtherAccount(String),
    OtherCa,
    /// It cannot be read, and so names nobody (RFC 8659, section 4.2).
    Malformed,
    Nobody,
}

/// What the CAA records `records`, found at the name `at` (where the tree walk of RFC 8659, section 3, has ended), mean for
/// an order by the CA with these identities. `method`: the challenge type, such as `http-01`; `wildcard`: of the name.
pub fn verdict(
    records: &[CaaRecord],
    at: &str,
    identities: &[String],
    account_uri: Option<&str>,
    method: &str,
    wildcard: bool,
) -> Verdict {
    let of = |tag: &str| records.iter().filter(|r| r.tag.eq_ignore_ascii_case(tag)).collect::<Vec<_>>();
    if let Some(verdict) = unknown_critical(records, at) {
        return if identities.is_empty() { Verdict::Unsure(verdict.words()) } else { verdict };
    }
    let wild = if wildcard { of("issuewild") } else { Vec::new() };
    let (tag, relevant) = if wild.is_empty() { ("issue", of("issue")) } else { ("issuewild", wild) };
    if relevant.is_empty() {
        return Verdict::Allows;
    }
    let shown = quote(&relevant);
    let Some(identity) = identities.first() else {
        return Verdict::Unsure(format!(
            "CAA records at {at} say which CAs may issue ({shown}), and this CA does not say by which name it goes there \
             (caaIdentities of its directory is empty)"
        ));
    };
    let identity = printable(identity);
    let asker = Asker { identities, account_uri, method };
    let best = relevant.iter().map(|r| says(&r.value, asker)).min().unwrap_or(Says::Nobody);
    let account = account_uri.unwrap_or_default();
    let add = |parameters: &str| format!("{}. CAA 0 {tag} \"{identity}{parameters}\"", at.trim_end_matches('.'));
    Verdict::Refuses(match best {
        Says::Allows => return Verdict::Allows,
        Says::AccountUnknown => {
            return Verdict::Unsure(format!(
                "a CAA record at {at} names the account that may ask ({shown}), and there is no account yet"
            ));
        }
        Says::OtherAccount(uri) => format!(
            "the CAA record at {at} lets only the ACME account {uri} ask, and this one is {account}: add the record {}",
            add(&format!("; accounturi={account}"))
        ),
        Says::OtherMethods(methods) => format!(
            "the CAA record at {at} allows only the challenge types {methods}, and {method} was to be used: add {method} to \
             its validationmethods, or use a solver for one of these"
        ),
        Says::OtherCa => format!(
            "the CAA records at {at} let only other CAs issue ({shown}), so {identity} would refuse: add the record {}",
            add("")
        ),
        Says::Malformed => format!(
            "the CAA record at {at} cannot be read ({shown}), so CAs take it as a ban: correct it, for instance to {}",
            add("")
        ),
        Says::Nobody => {
            format!("the CAA record at {at} forbids every CA to issue ({shown}): add the record {}", add(""))
        }
    })
}

impl Verdict {
    fn words(self) -> String {
        match self {
            Self::Allows => String::new(),
            Self::Refuses(words) | Self::Unsure(words) => words,
        }
    }
}

fn unknown_critical(records: &[CaaRecord], at: &str) -> Option<Verdict> {
    let listed = |list: &[&str], tag: &str| list.iter().any(|k| k.eq_ignore_ascii_case(tag));
    let mut critical: Vec<&CaaRecord> = records.iter().filter(|r| r.critical && !listed(KNOWN, &r.tag)).collect();
    // What every CA refuses first.
    critical.sort_by_key(|r| listed(KNOWN_TO_SOME, &r.tag));
    let record = critical.first()?;
    let shown = quote(&[record]);
    Some(if listed(KNOWN_TO_SOME, &record.tag) {
        Verdict::Unsure(format!(
            "the CAA record at {at} is marked critical ({shown}), and a CA that does not know this tag refuses: set its flags to 0"
        ))
    } else {
        Verdict::Refuses(format!(
            "the CAA record at {at} is marked critical and has a tag that CAs do not know ({shown}), so they refuse: set its \
             flags to 0, or remove it"
        ))
    })
}

fn says(value: &str, asker: Asker<'_>) -> Says {
    let Some((issuer, parameters)) = parse(value) else { return Says::Malformed };
    if issuer.is_empty() {
        return Says::Nobody;
    }
    if !asker.identities.iter().any(|i| i.trim_end_matches('.').eq_ignore_ascii_case(issuer)) {
        return Says::OtherCa;
    }
    let named = |tag: &str| -> Vec<&str> {
        parameters.iter().filter(|(t, _)| t.eq_ignore_ascii_case(tag)).map(|(_, v)| *v).collect()
    };
    // More than one of the same makes the property unsatisfiable (RFC 8657, sections 3 and 4).
    match (named("accounturi").as_slice(), asker.account_uri) {
        ([], _) => {}
        ([_], None) => return Says::AccountUnknown,
        ([uri], Some(own)) if *uri == own => {}
        (uris, _) => return Says::OtherAccount(printable(&uris.join(" and "))),
    }
    match named("validationmethods").as_slice() {
        [] => Says::Allows,
        [methods] if methods.split(',').any(|m| m == asker.method) => Says::Allows,
        methods => Says::OtherMethods(match methods.join(" and ") {
            none if none.is_empty() => "(none)".to_owned(),
            some => printable(&some),
        }),
    }
}

/// Issuer and parameters of an `issue` or `issuewild` value (RFC 8659, section 4.2); none where it is malformed.
fn parse(value: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let space = |c: char| c == ' ' || c == '\t';
    let (issuer, rest) = match value.split_once(';') {
        Some((issuer, rest)) => (issuer.trim_matches(space), rest.trim_matches(space)),
        None => (value.trim_matches(space), ""),
    };
    if !issuer.is_empty() && !issuer.split('.').all(is_label) {
        return None;
    }
    let mut parameters = Vec::new();
    for parameter in rest.split(';').filter(|_| !rest.is_empty()) {
        let (tag, value) = parameter.split_once('=')?;
        let (tag, value) = (tag.trim_matches(space), value.trim_matches(space));
        if !is_label(tag) || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        parameters.push((tag, value));
    }
    Some((issuer, parameters))
}

/// Letters, digits and inner hyphens.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn quote(records: &[&CaaRecord]) -> String {
    let one = |r: &&CaaRecord| format!("{} {} \"{}\"", if r.critical { 128 } else { 0 }, r.tag, r.value);
    printable(&records.iter().take(5).map(one).collect::<Vec<_>>().join(", "))
}

/// DNS answers can hold anything: bounded, and without control characters.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut shown: String = text.chars().take(QUOTED).map(clean).collect();
    if text.chars().count() > QUOTED {
        shown.push_str("...");
    }
    shown
}
