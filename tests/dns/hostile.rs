//! Servers that fail, lie, dawdle, or answer out of order: each is a clear failure within the time that was set.

use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, TsigError, make_tsig_record};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{RData, RecordType};
use mailcert::dns::{Dns, DnsFailure, Settings, missing};
use mailcert::solvers::dns01::rfc2136::{Algorithm, Rfc2136, Secret, Transport};

use crate::ground::VALUE;
use crate::server::{Server, Via, name, record, reply, with_answers, with_code};

/// Well above what the settings of these tests allow, for machines that do much else.
const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "_acme-challenge.mail.example.test";

/// Asks every question, and hands back each failure after checking what must hold of all.
async fn failures(dns: &Dns) -> Vec<DnsFailure> {
    let start = Instant::now();
    let all = [
        dns.follow(NAME).await.map(drop),
        dns.zone(NAME).await.map(drop),
        dns.txt(NAME).await.map(drop),
        dns.addresses("mail.example.test").await.map(drop),
        dns.caa("mail.example.test").await.map(drop),
    ];
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
    let failures: Vec<DnsFailure> = all.into_iter().filter_map(Result::err).collect();
    for failure in &failures {
        assert!(failure.words.chars().count() <= 1000 && !failure.words.chars().any(char::is_control), "{failure}");
    }
    failures
}

#[tokio::test]
async fn servers_that_cannot_or_will_not_answer() {
    for (code, words, transient) in
        [(ResponseCode::ServFail, "SERVFAIL", true), (ResponseCode::Refused, "REFUSED", false)]
    {
        let server = Server::answering(move |query| with_code(query, code)).await;
        let dns = server.dns();
        let failures = failures(&dns).await;
        assert_eq!(failures.len(), 5, "{failures:?}");
        for failure in &failures {
            assert!(failure.words.ends_with(&format!("{}: {words}", server.address)), "{failure}");
            assert_eq!(failure.transient, transient);
        }
        assert_eq!(
            failures[2].words,
            format!("the TXT records of {NAME} cannot be looked up: {}: {words}", server.address)
        );
        let answers = dns.txt_everywhere(NAME).await.unwrap();
        assert_eq!(missing(&answers, VALUE).unwrap(), format!("{}: {words}", server.address));
    }
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_fails() {
    let broken = Server::answering(|query| with_code(query, ResponseCode::ServFail)).await;
    let silent = Server::start(|_, _| Vec::new()).await;
    let good = Server::answering(|query| with_answers(query, vec![record(NAME, txt(VALUE))])).await;
    let resolvers = vec![broken.address, silent.address, good.address];
    let dns = Dns::new(&Settings { resolvers, ..good.settings() }).unwrap();
    assert_eq!(dns.txt(NAME).await.unwrap(), [VALUE]);
    assert_eq!(broken.queries(), 1);

    let resolvers = vec![broken.address, silent.address];
    let dns = Dns::new(&Settings { resolvers, ..good.settings() }).unwrap();
    let failure = dns.txt(NAME).await.unwrap_err();
    let (broken, silent) = (broken.address, silent.address);
    assert_eq!(
        failure.words,
        format!("the TXT records of {NAME} cannot be looked up: {broken}: SERVFAIL; {silent}: no answer within 600 ms")
    );
}

#[tokio::test]
async fn a_failure_on_the_way_up_is_a_failure_of_caa() {
    let server = Server::answering(|query| match query.queries[0].name().num_labels() {
        3.. => reply(query),
        _ => with_code(query, ResponseCode::ServFail),
    })
    .await;
    let failure = server.dns().caa("mail.example.test").await.unwrap_err();
    assert_eq!(
        failure.words,
        format!("the CAA records of example.test cannot be looked up: {}: SERVFAIL", server.address)
    );
}

#[tokio::test]
async fn servers_that_know_no_extensions_are_asked_without() {
    let server = Server::answering(|query| match query.edns {
        Some(_) => with_code(query, ResponseCode::FormErr),
        None => with_answers(query, vec![record(NAME, txt(VALUE))]),
    })
    .await;
    assert_eq!(server.dns().txt(NAME).await.unwrap(), [VALUE]);
    assert_eq!(server.queries(), 2);
    let hopeless = Server::answering(|query| with_code(query, ResponseCode::FormErr)).await;
    let failure = hopeless.dns().txt(NAME).await.unwrap_err();
    assert!(failure.words.contains("(response code 1)") && hopeless.queries() == 2, "{failure}");
}

#[tokio::test]
async fn silence_and_endless_nonsense_end_in_time() {
    let silent = Server::start(|_, _| Vec::new()).await;
    for failure in failures(&silent.dns()).await {
        assert!(failure.words.ends_with("no answer within 600 ms"), "{failure}");
        assert!(failure.transient);
    }
    // Each question on its own would be in time; all of them together are not.
    let many = Dns::new(&Settings { resolvers: vec![silent.address; 100], ..silent.settings() }).unwrap();
    let start = Instant::now();
    let failure = many.txt(NAME).await.unwrap_err();
    assert_eq!(failure.words, format!("DNS gave no answer about {NAME} within 4 s"));
    assert!(failure.transient && start.elapsed() < PATIENCE);

    let chatter = Server::start(|query, _| {
        let mut late = reply(query);
        late.metadata.id = query.metadata.id.wrapping_add(1);
        vec![late.to_vec().unwrap(); 200]
    })
    .await;
    assert_eq!(failures(&chatter.dns()).await.len(), 5);
}

#[tokio::test]
async fn answers_to_older_queries_are_passed_over() {
    for via in [Via::Udp, Via::Tcp] {
        let server = Server::start(move |query, came| {
            if via == Via::Tcp && came == Via::Udp {
                return vec![truncated(query)];
            }
            let mut older = with_answers(query, vec![record(NAME, txt("older"))]);
            older.metadata.id = query.metadata.id.wrapping_add(1);
            let good = with_answers(query, vec![record(NAME, txt(VALUE))]);
            vec![older.to_vec().unwrap(), good.to_vec().unwrap(), older.to_vec().unwrap()]
        })
        .await;
        assert_eq!(server.dns().txt(NAME).await.unwrap(), [VALUE], "{via:?}");
    }
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    let other = |query: &Message| {
        let mut message = with_answers(query, vec![record("other.example.test", txt(VALUE))]);
        message.queries = vec![Query::query(name("other.example.test"), RecordType::TXT)];
        message.to_vec().unwrap()
    };
    let over_udp = Server::start(move |query, _| vec![other(query)]).await;
    assert!(over_udp.dns().txt(NAME).await.unwrap_err().words.ends_with("no answer within 600 ms"));
    let over_tcp =
        Server::start(move |query, via| vec![if via == Via::Udp { truncated(query) } else { other(query) }]).await;
    let failure = over_tcp.dns().txt(NAME).await.unwrap_err();
    assert!(failure.words.ends_with("a malformed answer (it is about another question)"), "{failure}");
}

#[tokio::test]
async fn a_lie_about_the_zone_is_told() {
    let soa =
        |owner: &str| record(owner, RData::SOA(SOA::new(name("ns1.evil.test"), name("h.evil.test"), 1, 1, 1, 1, 1)));
    let in_answer = Server::answering(move |query| with_answers(query, vec![soa("evil.test")])).await;
    let in_authority = Server::answering(move |query| {
        let mut message = with_code(query, ResponseCode::NXDomain);
        message.insert_authorities(vec![soa("evil.test")]);
        message
    })
    .await;
    let zone = async |server: &Server| server.dns().zone(NAME).await.unwrap_err();
    let failure = zone(&in_answer).await;
    assert_eq!(
        failure.words,
        format!("DNS lies about the zone of {NAME}: the answer holds the SOA record of evil.test")
    );
    assert!(!failure.transient);
    assert_eq!(
        zone(&in_authority).await.words,
        format!("DNS lies about the zone of {NAME}: the answer says that it belongs to evil.test")
    );

    let elsewhere = Server::answering(|query| {
        let address = RData::A(A::new(192, 0, 2, 66));
        with_answers(query, vec![record("evil.test", txt(VALUE)), record("evil.test", address)])
    })
    .await;
    assert_eq!(
        elsewhere.dns().txt(NAME).await.unwrap_err().words,
        format!("DNS lies about the zone of {NAME}: the answer is about another name")
    );
    elsewhere.dns().addresses("mail.example.test").await.unwrap_err();
    // A record of another name beside the true one is not taken for it.
    let beside = Server::answering(|query| {
        with_answers(query, vec![record("evil.test", txt("evil")), record(NAME, txt(VALUE))])
    })
    .await;
    assert_eq!(beside.dns().txt(NAME).await.unwrap(), [VALUE]);
}

#[tokio::test]
async fn a_zone_of_a_thousand_servers_is_cut_down() {
    let server = Server::start(|query, via| {
        let asked = query.queries[0].clone();
        let here = asked.name().to_ascii();
        let here = here.trim_end_matches('.');
        let answers = match asked.query_type() {
            RecordType::SOA if here == "example.test" => {
                vec![record(here, RData::SOA(SOA::new(name(here), name(here), 1, 1, 1, 1, 1)))]
            }
            RecordType::NS if via == Via::Udp => return vec![truncated(query)],
            RecordType::NS => {
                (0..1000).map(|i| record(here, RData::NS(NS(name(&format!("n{i}.example.test")))))).collect()
            }
            RecordType::A => (0..30).map(|i| record(here, RData::A(A::new(192, 0, 2, i)))).collect(),
            _ => Vec::new(),
        };
        vec![with_answers(query, answers).to_vec().unwrap()]
    })
    .await;
    let zone = server.dns().zone(NAME).await.unwrap();
    assert_eq!((zone.apex.as_str(), zone.servers.len()), ("example.test", 16));
    assert!(zone.servers.iter().all(|server| (1..=4).contains(&server.addresses.len())));
    assert!(server.queries() < 50, "{} queries", server.queries());
}

#[tokio::test]
async fn aliases_without_an_end_are_not_followed_for_ever() {
    // Whatever is asked is an alias of something new, alone or with the whole circle in one answer.
    let endless = Server::answering(|query| {
        let here = query.queries[0].name().to_ascii();
        let here = here.trim_end_matches('.');
        let next = here.rsplit_once("-x").map_or(format!("{here}-x1"), |(start, n)| format!("{start}-x{n}1"));
        with_answers(query, vec![record(here, RData::CNAME(CNAME(name(&next))))])
    })
    .await;
    let endless_of = |failure: &DnsFailure| {
        failure.words.starts_with("more than 10 aliases (CNAME records) follow one another from ")
    };
    let failures = failures(&endless.dns()).await;
    // The zone of an alias is looked for above it, and there is none.
    assert_eq!(failures.iter().filter(|failure| endless_of(failure)).count(), 4, "{failures:?}");
    assert!(failures[1].words.starts_with("no zone in DNS holds "), "{failures:?}");
    assert!(endless.dns().follow("mail.example.test").await.is_err());
    assert!(endless.queries() < 100, "{} queries", endless.queries());

    let circle = Server::answering(|query| {
        let here = query.queries[0].name().to_ascii();
        let here = here.trim_end_matches('.');
        let alias = |from: &str, to: &str| record(from, RData::CNAME(CNAME(name(to))));
        with_answers(query, vec![alias(here, "b.test"), alias("b.test", here)])
    })
    .await;
    for failure in [circle.dns().txt(NAME).await.unwrap_err(), circle.dns().follow(NAME).await.unwrap_err()] {
        assert!(failure.words.contains("lead in a circle"), "{failure}");
    }
    let itself =
        Server::answering(|query| with_answers(query, vec![record(NAME, RData::CNAME(CNAME(name(NAME))))])).await;
    assert!(itself.dns().follow(NAME).await.unwrap_err().words.contains("lead in a circle"));
}

#[tokio::test]
async fn large_answers_come_over_tcp_and_endless_truncation_is_told() {
    let server = Server::start(|query, via| {
        if via == Via::Udp {
            return vec![truncated(query)];
        }
        let value = |i: usize| record(NAME, RData::TXT(TXT::new(vec![format!("{i:03}"), "\u{1b}[31m".repeat(40)])));
        vec![with_answers(query, (0..180).map(value).collect()).to_vec().unwrap()]
    })
    .await;
    let values = server.dns().txt(NAME).await.unwrap();
    assert_eq!(values.len(), 180);
    assert!(values[179].starts_with("179\u{1b}[31m"));
    let sentence = missing(&server.dns().txt_everywhere(NAME).await.unwrap(), VALUE).unwrap();
    assert_eq!(sentence, format!("{} has other values of the TXT record, but not this one yet", server.address));

    let huge = Server::start(|query, via| {
        let value = TXT::from_bytes(vec![&[0xff; 255]; 200]);
        vec![if via == Via::Udp {
            truncated(query)
        } else {
            with_answers(query, vec![record(NAME, RData::TXT(value))]).to_vec().unwrap()
        }]
    })
    .await;
    let values = huge.dns().txt(NAME).await.unwrap();
    assert_eq!((values.len(), values[0].chars().count()), (1, 1024));

    let never = Server::start(|query, _| vec![truncated(query)]).await;
    for failure in failures(&never.dns()).await {
        assert!(failure.words.ends_with("a malformed answer (it is cut off, over TCP too)"), "{failure}");
    }
}

#[tokio::test]
async fn broken_packets_break_nothing() {
    let packet = |query: &Message, tail: &[u8]| [&query.metadata.id.to_be_bytes(), tail].concat();
    let tails: [&[u8]; 5] = [
        // Nothing but an id, counts of records that are not there, a name that points to itself, …
        &[],
        &[0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 16, 0, 1],
        &[0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 63, b'a'],
        // … and the query itself.
        &[0x01, 0x00, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for tail in tails {
        for cut in [false, true] {
            let server = Server::start(move |query, via| {
                vec![if cut && via == Via::Udp { truncated(query) } else { packet(query, tail) }]
            })
            .await;
            let failures = failures(&server.dns()).await;
            assert_eq!(failures.len(), 5, "{tail:?}");
            assert!(failures.iter().all(|failure| failure.transient), "{failures:?}");
        }
    }
}

#[tokio::test]
async fn an_update_counts_only_when_the_answer_is_signed() {
    let solver = |server: &Server, transport| Rfc2136 {
        server: server.address.to_string(),
        transport,
        key_name: "key".into(),
        algorithm: Algorithm::HmacSha256,
        secret: Secret::from_base64(b"c2VjcmV0").unwrap(),
        timeout: Duration::from_millis(800),
    };
    let yes = Server::answering(reply).await;
    let silent = Server::start(|_, _| Vec::new()).await;
    let wrong_clock = Server::answering(|query| {
        let mut message = with_code(query, ResponseCode::NotAuth);
        let theirs = query.signature().unwrap().data.time + 7200;
        let other = theirs.to_be_bytes()[2..].to_vec();
        let error = Some(TsigError::BadTime);
        let tsig = TSIG::new(TsigAlgorithm::HmacSha256, theirs, 300, vec![0; 32], query.metadata.id, error, other);
        message.set_signature(Box::new(make_tsig_record(name("key"), tsig)));
        message
    })
    .await;
    for transport in [Transport::Tcp, Transport::Udp] {
        let words = async |server: &Server| {
            let failure = solver(server, transport).present("example.test", NAME, VALUE, 60).await.unwrap_err();
            assert!(failure.transient);
            failure.words
        };
        assert_eq!(
            words(&yes).await,
            format!(
                "the answer of the DNS server {} is not signed with the TSIG key key, so nothing is known",
                yes.address
            )
        );
        assert_eq!(
            words(&wrong_clock).await,
            format!(
                "the clock of the DNS server {} is 7200 s ahead of the one here; 300 s are allowed (BADTIME); set the \
                 clocks right",
                wrong_clock.address
            )
        );
        let start = Instant::now();
        assert!(words(&silent).await.contains("did not answer"));
        assert!(start.elapsed() < PATIENCE);
        solver(&silent, transport).zone_of(NAME).await.unwrap_err();
    }
}

fn txt(value: &str) -> RData {
    RData::TXT(TXT::new(vec![value.to_owned()]))
}

fn truncated(query: &Message) -> Vec<u8> {
    let mut message = reply(query);
    message.metadata.truncation = true;
    message.to_vec().unwrap()
}
