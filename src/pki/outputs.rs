//! Everything that the active Secret holds: from a key pair, what is asked for besides, and a password.
//!
//! Most of it is the same bytes each time and is compared as such. PKCS#12 stores are salted; whether those in the Secret
//! are as they should be, a digest in an annotation says: see [`Outputs::digest`].

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{hmac, pbkdf2};
use k8s_openapi::ByteString;
use zeroize::Zeroizing;

use super::bundle::SecretBundle;
use super::cert::Certificate;
use super::chain::Chain;
use super::fingerprint::Fingerprint;
use super::key::PrivateKey;
use super::keystore::{self, KeystoreError, Password, Profile, keystore, truststore};
use crate::api::keys::{BLUEMIND, KEY_DER, KEYSTORE, OUTPUTS, OUTPUTS_DIGEST, TLS_DER, TRUSTSTORE};

/// The form of private keys in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// PKCS#8.
    #[default]
    Pkcs8,
    /// PKCS#1 for RSA, SEC1 for ECDSA. Ed25519 has only PKCS#8.
    Traditional,
}

impl Encoding {
    /// The key in this form, or as PKCS#8 where it has none such.
    pub fn pem(self, key: &PrivateKey) -> Zeroizing<String> {
        match self {
            Self::Pkcs8 => key.to_pkcs8_pem(),
            Self::Traditional => key.to_traditional_pem().unwrap_or_else(|| key.to_pkcs8_pem()),
        }
    }
}

/// A key, its chain, and the CA certificates for `ca.crt`.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The key.
    pub key: &'a PrivateKey,
    /// The leaf first.
    pub chain: &'a Chain,
    /// May be empty.
    pub ca: &'a [Certificate],
}

/// What a Secret is to hold.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The form of private keys in PEM.
    pub encoding: Encoding,
    /// `tls.der` and `key.der`.
    pub der: bool,
    /// `bluemind.pem`.
    pub bluemind: bool,
    /// PKCS#12 stores.
    pub pkcs12: Option<Pkcs12>,
    /// Former key pairs that readers still need, as `previous-<number>.key`, `.crt` and, with stores, `.p12`.
    pub previous: Vec<Previous>,
}

/// PKCS#12 stores.
#[derive(Clone, Debug)]
pub struct Pkcs12 {
    /// How they are encrypted.
    pub profile: Profile,
    /// Whether there is to be a `truststore.p12`.
    pub truststore: bool,
    /// `None`: it is not to be had now. Stores that are there stay as they are, since what works is kept.
    pub password: Option<Password>,
}

/// A former key pair: mail that was encrypted to it stays readable.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The revision.
    pub number: i64,
    /// Its key.
    pub key: Arc<PrivateKey>,
    /// Its chain.
    pub chain: Arc<Chain>,
}

/// A change to a Secret.
#[derive(Default)]
pub struct Written {
    /// Keys of `data`; `None`: it goes.
    pub data: BTreeMap<String, Option<ByteString>>,
    /// Annotations; `None`: it goes.
    pub annotations: BTreeMap<String, Option<String>>,
}

type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl Outputs {
    /// Whether there is more than certificate, key and CA in PEM.
    pub fn has_more(&self) -> bool {
        self.der || self.bluemind || self.pkcs12.is_some() || !self.previous.is_empty()
    }

    /// What to write for a pair. `listed` are the further keys that mailcert wrote to the Secret before: those that are no
    /// longer wanted go, and nobody else's.
    ///
    /// # Errors
    /// When a PKCS#12 store cannot be written.
    pub fn write(&self, pair: &Pair<'_>, listed: &BTreeSet<String>) -> Result<Written, KeystoreError> {
        let mut written = Written::default();
        let wanted = self.names(pair, listed);
        written.data.extend(listed.difference(&wanted).map(|gone| (gone.clone(), None)));
        let mut stores = Files::new();
        let digest = match self.salted(pair)? {
            Some((made, password)) => {
                stores = made;
                Some(self.digest(pair, password, |name| stores.get(name).map(|v| v.as_slice())))
            }
            None => None,
        };
        for (name, bytes) in self.pem(pair).into_iter().chain(self.plain(pair)).chain(stores) {
            written.data.insert(name, Some(ByteString(bytes.to_vec())));
        }
        let list: Vec<&str> = wanted.iter().map(String::as_str).collect();
        written.annotations.insert(OUTPUTS.to_owned(), (!list.is_empty()).then(|| list.join(",")));
        // Stores that stay as they are keep their digest.
        let stays = self.pkcs12.as_ref().is_some_and(|p| p.password.is_none());
        if !stays {
            written.annotations.insert(OUTPUTS_DIGEST.to_owned(), digest);
        }
        Ok(written)
    }

    /// Whether a Secret holds what [`Outputs::write`] would write for this pair, and none of what would go.
    pub fn is_current(
        &self,
        pair: &Pair<'_>,
        data: &BTreeMap<String, ByteString>,
        annotations: &BTreeMap<String, String>,
    ) -> bool {
        let has = |(name, bytes): (String, Zeroizing<Vec<u8>>)| data.get(&name).is_some_and(|v| v.0 == *bytes);
        let listed = listed(annotations);
        if !self.pem(pair).into_iter().chain(self.plain(pair)).all(has) || self.names(pair, &listed) != listed {
            return false;
        }
        let Some(password) = self.pkcs12.as_ref().and_then(|p| p.password.as_ref()) else { return true };
        let present = |name: &str| data.get(name).map(|v| v.0.as_slice());
        self.store_names(pair).iter().all(|name| present(name).is_some())
            && annotations.get(OUTPUTS_DIGEST) == Some(&self.digest(pair, password, present))
    }

    /// Every further key that the Secret has once this is written.
    fn names(&self, pair: &Pair<'_>, listed: &BTreeSet<String>) -> BTreeSet<String> {
        let stays = self.pkcs12.as_ref().is_some_and(|p| p.password.is_none());
        let stores = self.store_names(pair).into_iter().filter(|name| !stays || listed.contains(name));
        self.plain(pair).into_keys().chain(stores).collect()
    }

    fn pem(&self, pair: &Pair<'_>) -> Files {
        let data = SecretBundle::encoded(pair.chain, pair.key, pair.ca, self.encoding).to_data();
        data.into_iter().map(|(name, bytes)| (name, Zeroizing::new(bytes.0))).collect()
    }

    /// What is the same bytes each time.
    fn plain(&self, pair: &Pair<'_>) -> Files {
        let mut files = Files::new();
        if self.der {
            files.insert(TLS_DER.to_owned(), Zeroizing::new(pair.chain.leaf().der().to_vec()));
            files.insert(KEY_DER.to_owned(), pair.key.to_pkcs8_der());
        }
        if self.bluemind {
            files.insert(BLUEMIND.to_owned(), self.bluemind(pair));
        }
        for old in &self.previous {
            let key = self.encoding.pem(&old.key);
            files.insert(format!("previous-{}.key", old.number), Zeroizing::new(key.as_bytes().to_vec()));
            files.insert(format!("previous-{}.crt", old.number), Zeroizing::new(old.chain.to_pem().into_bytes()));
        }
        files
    }

    /// Leaf, key, chain, and the CA certificates that are not in the chain.
    fn bluemind(&self, pair: &Pair<'_>) -> Zeroizing<Vec<u8>> {
        let in_chain = |ca: &&Certificate| pair.chain.iter().any(|c| c.fingerprint == ca.fingerprint);
        let others = pair.ca.iter().filter(|ca| !in_chain(ca));
        let issuers: Vec<String> = pair.chain.rest().iter().chain(others).map(Certificate::to_pem).collect();
        let (leaf, key) = (pair.chain.leaf().to_pem(), self.encoding.pem(pair.key));
        let size = leaf.len() + key.len() + issuers.iter().map(String::len).sum::<usize>();
        // Allocated at full size, so that no copy of the key is left behind in memory by growing.
        let mut file = Zeroizing::new(Vec::with_capacity(size));
        file.extend_from_slice(leaf.as_bytes());
        file.extend_from_slice(key.as_bytes());
        issuers.iter().for_each(|pem| file.extend_from_slice(pem.as_bytes()));
        file
    }

    fn store_names(&self, pair: &Pair<'_>) -> Vec<String> {
        let Some(pkcs12) = &self.pkcs12 else { return Vec::new() };
        let trust = (pkcs12.truststore && !pair.ca.is_empty()).then(|| TRUSTSTORE.to_owned());
        let previous = self.previous.iter().map(|old| format!("previous-{}.p12", old.number));
        [KEYSTORE.to_owned()].into_iter().chain(trust).chain(previous).collect()
    }

    fn salted(&self, pair: &Pair<'_>) -> Result<Option<(Files, &Password)>, KeystoreError> {
        let Some(Pkcs12 { profile, truststore: trust, password: Some(password) }) = &self.pkcs12 else {
            return Ok(None);
        };
        let mut files = Files::new();
        let own = keystore(pair.key, pair.chain, password, *profile)?;
        files.insert(KEYSTORE.to_owned(), Zeroizing::new(own));
        if *trust && !pair.ca.is_empty() {
            files.insert(TRUSTSTORE.to_owned(), Zeroizing::new(truststore(pair.ca, password, *profile)?));
        }
        for old in &self.previous {
            let store = keystore(&old.key, &old.chain, password, *profile)?;
            files.insert(format!("previous-{}.p12", old.number), Zeroizing::new(store));
        }
        Ok(Some((files, password)))
    }

    /// A digest over the stores and all that they are made from, in lower-case hex.
    ///
    /// Annotations are read by many who may not read Secrets' data, and a plain hash over a password lets anybody try
    /// passwords offline. So this is an HMAC whose key comes from the private key: without that key it says nothing. Who
    /// has the key has the whole Secret, and could try passwords on the stores; for them the password is stretched to
    /// twice the work of a store's own MAC, so that the digest is never the shorter way.
    fn digest<'d>(&self, pair: &Pair<'_>, password: &Password, stored: impl Fn(&str) -> Option<&'d [u8]>) -> String {
        const ROUNDS: NonZeroU32 = NonZeroU32::new(2 * keystore::ITERATIONS).unwrap();
        let secret = pair.key.to_pkcs8_der();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let salt = hmac::sign(&key, b"mailcert outputs: salt");
        let mut stretched = Zeroizing::new([0; 32]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, ROUNDS, salt.as_ref(), password.expose().as_bytes(), stretched.as_mut());
        let mut digest = hmac::Context::with_key(&key);
        let mut part = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(b"mailcert outputs: digest");
        part(format!("{:?}", self.pkcs12.as_ref().map(|p| p.profile)).as_bytes());
        part(stretched.as_ref());
        pair.chain.iter().for_each(|c| part(c.der()));
        part(b"ca");
        pair.ca.iter().for_each(|c| part(c.der()));
        for old in &self.previous {
            part(format!("previous {} {}", old.number, old.chain.leaf().fingerprint).as_bytes());
        }
        for name in self.store_names(pair) {
            part(name.as_bytes());
            part(stored(&name).unwrap_or_default());
        }
        Fingerprint::of(digest.sign().as_ref()).to_string()
    }
}

/// The further keys of a Secret that mailcert wrote, as its annotation lists them.
pub fn listed(annotations: &BTreeMap<String, String>) -> BTreeSet<String> {
    let list = annotations.get(OUTPUTS).map(String::as_str).unwrap_or_default();
    // Somebody could write any name there: never one of those that every Secret has.
    let own = |name: &&str| {
        let fixed = [TLS_DER, KEY_DER, BLUEMIND, KEYSTORE, TRUSTSTORE].contains(name);
        fixed || name.starts_with("previous-")
    };
    list.split(',').filter(own).map(str::to_owned).collect()
}

/// Every further key that mailcert writes, former pairs left out.
pub fn all_names() -> BTreeSet<String> {
    [TLS_DER, KEY_DER, BLUEMIND, KEYSTORE, TRUSTSTORE].map(str::to_owned).into()
}
