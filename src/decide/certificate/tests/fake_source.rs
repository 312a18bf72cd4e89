//! The Secret that a MailCertificate imports from, in memory, and the CAs behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::world::*;
use super::bench::{Bench, at, days};
use super::fake_ca::ca;
use crate::api::certificate::{Import, PasswordRef};
use crate::pki::import::{Input, Limits, Request, read};
use crate::pki::{CaKeyPair, Certificate, KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage};

/// The source, its password, and what answers at addresses of issuers.
#[derive(Default)]
pub struct FakeSource {
    pub files: Option<BTreeMap<String, Vec<u8>>>,
    pub version: u64,
    pub password: Option<u64>,
    pub demands: Vec<Demand>,
    pub may_fetch: bool,
    pub addresses: BTreeMap<String, Certificate>,
}

impl FakeSource {
    pub fn view(&self) -> IssuerView {
        IssuerView::Import(Arc::new(ImportView {
            source: self.files.as_ref().map(|_| self.version.to_string()),
            password: self.password.map(|version| version.to_string()),
            demands: self.demands.clone(),
            may_fetch: self.may_fetch,
            limits: Limits::default(),
        }))
    }

    pub fn act(&self, action: Action) -> Fact {
        match action {
            Action::ReadSource { issuers } => {
                let files = self.files.as_ref().expect("only what exists is read");
                let inputs: Vec<Input<'_>> = files.iter().map(|(name, bytes)| Input { name, bytes }).collect();
                let (imported, findings) = read(&Request { extra_issuers: &issuers, ..Request::new(&inputs) });
                Fact::Source(SourceFact::Read(SourceRead {
                    version: Some(self.version.to_string()),
                    password: self.password.map(|version| version.to_string()),
                    content: Ok((Arc::new(imported), findings)),
                    issuers: issuers.len(),
                }))
            }
            Action::FetchIssuer { urls } => {
                let answer = urls.iter().find_map(|url| self.addresses.get(url));
                let answer = answer.map(|c| Box::new(c.clone())).ok_or("no answer".to_owned());
                Fact::Source(SourceFact::Issuer(urls, answer))
            }
            Action::Import { revision, pair, origin } => Fact::Issued(Fresh { revision, pair, origin }),
            other => panic!("{other}"),
        }
    }
}

/// Key and certificate as they lie in a Secret.
#[derive(Clone)]
pub struct Files {
    pub key: Vec<u8>,
    pub chain: Vec<u8>,
    pub leaf: Certificate,
}

/// A certificate of this CA for these names, for so long from the moment on.
pub fn issued(by: &CaKeyPair, names: &[&str], from: Timestamp, lifetime: SignedDuration) -> Files {
    let key = PrivateKey::generate(&KeySpec::P256).unwrap();
    let leaf = LeafSpec {
        subject: SubjectSpec { dns_names: names.iter().map(|n| (*n).to_owned()).collect(), ..SubjectSpec::default() },
        usages: vec![Usage::ServerAuth],
        not_before: from,
        not_after: from + lifetime,
        serial: None,
    };
    let chain = by.sign(key.spki_der(), &leaf).unwrap();
    let leaf = chain.leaf().clone();
    Files { key: key.to_pkcs8_pem().as_bytes().to_vec(), chain: chain.to_pem().into_bytes(), leaf }
}

/// A MailCertificate that was just created to import from a Secret which does not exist yet, and the CA that it trusts.
pub fn importing() -> (Bench, Arc<CaKeyPair>) {
    let authority = ca("Root", at("2040-01-01T00:00:00Z"));
    let mut bench = Bench::self_signed();
    bench.object.spec.issuer_ref = None;
    bench.object.spec.dns_names.clear();
    bench.object.spec.import = Some(Import {
        trust_anchors: Some(authority.certificate().to_pem()),
        ..serde_json::from_value(serde_json::json!({"secretRef": {"name": "from-the-ca"}})).unwrap()
    });
    (bench, authority)
}

impl Bench {
    /// Puts a certificate into the source.
    pub fn put(&mut self, files: &Files, authority: &CaKeyPair) {
        self.put_files(&[
            ("tls.crt", &files.chain),
            ("tls.key", &files.key),
            ("ca.crt", authority.certificate().to_pem().as_bytes()),
        ]);
    }

    pub fn put_files(&mut self, files: &[(&str, &[u8])]) {
        self.source.version += 1;
        self.source.files = Some(files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect());
    }

    pub fn import(&mut self, change: impl FnOnce(&mut Import)) {
        self.edit(|spec| change(spec.import.as_mut().unwrap()));
    }

    pub fn with_password(&mut self) {
        self.import(|i| {
            i.password_secret_ref = Some(PasswordRef { name: "pin".to_owned(), key: "password".to_owned() })
        });
    }

    /// The reason of every finding, and whether it stops what is in the source.
    pub fn found(&self) -> Vec<(String, bool)> {
        let problem = self.status().import.and_then(|i| i.problem).unwrap_or_default();
        self.status().findings.into_iter().map(|f| (f.reason, problem.contains(&f.message))).collect()
    }

    /// The finding of that reason, word by word.
    pub fn finding(&self, reason: &str) -> String {
        let found: Vec<_> = self.status().findings.into_iter().filter(|f| f.reason == reason).collect();
        assert_eq!(found.len(), 1, "{reason}: {:#?}", self.status().findings);
        found[0].message.clone()
    }
}

/// Of that CA, from three days before now, for a year.
pub fn usual(bench: &Bench, authority: &CaKeyPair) -> Files {
    issued(authority, &["mail.example.com"], bench.now - days(3), days(365))
}

/// A root, an intermediate CA below it, and a certificate below that, whose file lacks the intermediate and says where
/// it is to be had.
pub fn below_intermediate(now: Timestamp, url: &str) -> (Certificate, Certificate, Files) {
    use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let time = |t: Timestamp| time::OffsetDateTime::from_unix_timestamp(t.as_second()).unwrap();
    let params = |name: &str, is_ca: bool| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (time(now - days(10)), time(now + days(300)));
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        } else {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.use_authority_key_identifier_extension = true;
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], aia(url))];
        }
        params
    };
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let root = params("Far Root", true).self_signed(&keys[0]).unwrap();
    let middle =
        params("Between", true).signed_by(&keys[1], &Issuer::from_ca_cert_der(root.der(), &keys[0]).unwrap()).unwrap();
    let leaf = params("mail.example.com", false)
        .signed_by(&keys[2], &Issuer::from_ca_cert_der(middle.der(), &keys[1]).unwrap())
        .unwrap();
    let parsed = |der: &[u8]| Certificate::parse_der(der).unwrap();
    let files =
        Files { key: keys[2].serialize_pem().into_bytes(), chain: leaf.pem().into_bytes(), leaf: parsed(leaf.der()) };
    (parsed(root.der()), parsed(middle.der()), files)
}

/// AuthorityInfoAccess with one `caIssuers` (RFC 5280, section 4.2.2.1).
fn aia(url: &str) -> Vec<u8> {
    let tagged = |tag: u8, content: Vec<u8>| [vec![tag, u8::try_from(content.len()).unwrap()], content].concat();
    let method = vec![0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
    let location = tagged(0x86, url.as_bytes().to_vec());
    tagged(0x30, tagged(0x30, [method, location].concat()))
}
