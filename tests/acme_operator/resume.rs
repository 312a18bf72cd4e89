//! An operator that is killed at any point goes on where it was.

use std::time::Duration;

use mailcert::api::MailCertificate;
use rcgen::PublicKeyData;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};

use crate::issuing::verify;
use crate::proxy::{Asked, Fate};
use crate::world::{World, revision};

/// What is waited for before the operator is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after the certificate was made.
    After(Duration),
    /// A request to a path that begins so arrived.
    Asked(&'static str),
    /// It was answered.
    Answered(&'static str),
    /// The status has the order.
    OrderStored,
    /// The status says that the CSR was sent.
    FinalizedStored,
}

const WITH_THE_ORDER: [Moment; 6] = [
    Moment::Asked("/order-plz"),
    Moment::Answered("/order-plz"),
    Moment::OrderStored,
    Moment::Asked("/chalZ/"),
    Moment::Answered("/chalZ/"),
    Moment::After(Duration::from_millis(300)),
];

const WITH_THE_KEY: [Moment; 6] = [
    Moment::Asked("/finalize-order/"),
    Moment::Answered("/finalize-order/"),
    Moment::FinalizedStored,
    Moment::Asked("/certZ/"),
    Moment::Answered("/certZ/"),
    Moment::After(Duration::from_millis(1700)),
];

impl Moment {
    /// Whether the order may exist without the status saying so.
    fn may_lose_the_order(self) -> bool {
        // Pebble looks at the challenge at once, and finds nobody.
        let looked_at = matches!(self, Self::Answered("/chalZ/"));
        looked_at || matches!(self, Self::After(_) | Self::Asked("/order-plz") | Self::Answered("/order-plz"))
    }
}

async fn reached(world: &World, name: &str, moment: Moment) {
    let since = world.proxy.log().len();
    let seen = async |is: &dyn Fn(&Asked) -> bool| {
        world.until("request", async || world.proxy.log().iter().skip(since).any(is).then_some(())).await;
    };
    let order = |c: &MailCertificate| c.status.as_ref()?.attempt.as_ref()?.order.clone();
    match moment {
        Moment::After(pause) => tokio::time::sleep(pause).await,
        Moment::Asked(path) => seen(&|a| a.path.starts_with(path)).await,
        Moment::Answered(path) => seen(&|a| a.path.starts_with(path) && a.status.is_some_and(|s| s < 300)).await,
        Moment::OrderStored => drop(world.wait(name, "ordered", |c| order(c).is_some()).await),
        Moment::FinalizedStored => {
            let finalized = |c: &MailCertificate| order(c).is_none_or(|o| o.finalized);
            world.wait(name, "finalized", |c| finalized(c) && c.status.is_some()).await;
        }
    }
}

#[tokio::test]
async fn an_operator_killed_before_the_csr_goes_on_with_its_order() {
    killed("ordering", &WITH_THE_ORDER).await;
}

#[tokio::test]
async fn an_operator_killed_after_the_csr_goes_on_with_its_key() {
    killed("finalizing", &WITH_THE_KEY).await;
}

async fn killed(suite: &str, moments: &[Moment]) {
    let mut world = World::start(suite, &[]).await;
    world.issuer("ca", world.issuer_spec()).await;
    let mut abandoned = 0;
    for (number, moment) in moments.iter().copied().enumerate() {
        // What the operator only asks for and is killed before, the CA never hears of.
        world.proxy.rule(move |asked| match moment {
            Moment::Asked(path) if asked.path.starts_with(path) => Fate::Hold,
            _ => Fate::Pass,
        });
        let (name, host) = (format!("c{number}"), format!("c{number}.{suite}.test"));
        world.resolve(&[&host]);
        let (orders, finalized) = (world.proxy.orders(), world.proxy.finalized());
        world.certificate(&name, &[&host]).await;
        reached(&world, &name, moment).await;
        world.kill_operator();
        world.until("end of what is held", async || (world.proxy.held() == 0).then_some(())).await;
        world.proxy.pass();
        world.start_operator();
        let issued = world.issued(&name).await;
        let more = world.proxy.orders() - orders - 1;
        assert!(more <= usize::from(moment.may_lose_the_order()), "{moment:?}: {more} orders too many");
        abandoned += more;
        assert_eq!(world.proxy.finalized() - finalized, 1, "{moment:?}: more than one certificate");
        assert_eq!((revision(&issued), issued.status.unwrap().previous.len()), (1, 0), "{moment:?}");
        let secret = world.secret(&format!("{name}-tls")).await;
        verify(&secret, world.pebble.root_pem(), &[&host]);
        assert_eq!(spki_of_leaf(&secret.data.unwrap()["tls.crt"].0), spki_of_csr(world.proxy.last_csr()), "{moment:?}");
    }
    eprintln!("{abandoned} orders abandoned in {} kills", moments.len());
}

fn spki_of_leaf(pem: &[u8]) -> Vec<u8> {
    let leaf = CertificateDer::from_pem_slice(pem).unwrap();
    x509_parser::parse_x509_certificate(&leaf).unwrap().1.public_key().raw.to_vec()
}

fn spki_of_csr(der: Vec<u8>) -> Vec<u8> {
    let der = CertificateSigningRequestDer::from(der);
    rcgen::CertificateSigningRequestParams::from_der(&der).unwrap().public_key.subject_public_key_info()
}
