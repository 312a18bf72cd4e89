//! A CA that issues something else than what was asked for.

use mailcert::api::MailCertificate;
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateSigningRequestDer;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::proxy::{Asked, Fate};
use crate::world::{World, condition, is, revision};

const HOST: &str = "mail.forged.test";

/// What is wrong with the certificate.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    OtherKey,
    OtherNames,
    Expired,
}

fn ca() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "Forger");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().unwrap())
}

fn forge(forgery: Forgery, csr: &[u8]) -> String {
    let der = CertificateSigningRequestDer::from(csr.to_vec());
    let CertificateSigningRequestParams { mut params, public_key } =
        CertificateSigningRequestParams::from_der(&der).unwrap();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(10);
    params.not_after = now + Duration::days(80);
    match forgery {
        Forgery::OtherKey => return params.signed_by(&KeyPair::generate().unwrap(), &ca()).unwrap().pem(),
        Forgery::OtherNames => {
            params.subject_alt_names = vec![SanType::DnsName("other.forged.test".try_into().unwrap())];
        }
        Forgery::Expired => params.not_after = now - Duration::days(1),
    }
    CertificateSigningRequestParams { params, public_key }.signed_by(&ca()).unwrap().pem()
}

#[tokio::test]
async fn a_certificate_that_was_not_asked_for_is_never_used() {
    let world = World::start("forged", &[]).await;
    world.resolve(&[HOST]);
    let mut spec = world.issuer_spec();
    // More orders for the same names than the guard lets pass by default.
    spec["acme"]["limits"] = json!({"perNameSet": 50});
    world.issuer("ca", spec).await;
    world.certificate("mail", &[HOST]).await;
    world.issued("mail").await;
    let cases = [(Forgery::OtherKey, "key"), (Forgery::OtherNames, "other.forged.test"), (Forgery::Expired, "expired")];
    for (number, (forgery, words)) in cases.into_iter().enumerate() {
        let before = world.secret("mail-tls").await;
        let certificate = move |csr: &[u8]| {
            let headers = vec!["Content-Type: application/pem-certificate-chain".to_owned()];
            Fate::Answer("200 OK", headers, forge(forgery, csr))
        };
        world.proxy.rule_with_csr(move |asked: &Asked, csr| match csr {
            Some(csr) if asked.path.starts_with("/certZ/") => certificate(csr),
            _ => Fate::Pass,
        });
        let orders = world.proxy.orders();
        world.renew("mail", &format!("{forgery:?}")).await;
        let failures = |c: &MailCertificate| c.status.as_ref()?.attempt.as_ref().map(|a| a.failures as usize);
        let failed = world.wait("mail", words, |c| failures(c) == Some(number + 1)).await;
        let issuing = condition(&failed, "Issuing").unwrap();
        assert_eq!(issuing.reason, "IssuedInvalid", "{}", issuing.message);
        assert!(issuing.message.contains(words), "{forgery:?}: {}", issuing.message);
        eprintln!("{forgery:?}: {}", issuing.message);
        assert!(is(&condition(&failed, "Ready"), "True", "Active"));
        assert_eq!(revision(&failed), 1);
        let after = world.secret("mail-tls").await;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        assert_eq!(world.proxy.orders() - orders, 1, "{forgery:?}");
    }
    world.proxy.pass();
    world.renew("mail", "an honest one").await;
    world.wait("mail", "renewed", |c| revision(c) > 1).await;
}
