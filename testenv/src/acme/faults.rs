//! What goes wrong, when, and with which requests.

use std::time::Duration;

use super::answer::Problem;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "named as in RFC 8555 and RFC 9773")]
pub enum Kind {
    Directory,
    NewNonce,
    NewAccount,
    Account,
    KeyChange,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    Revoke,
    RenewalInfo,
    Unknown,
}

impl Kind {
    /// Every kind that an ACME server has a place for.
    pub const ALL: [Self; 13] = [
        Self::Directory,
        Self::NewNonce,
        Self::NewAccount,
        Self::Account,
        Self::KeyChange,
        Self::NewOrder,
        Self::Order,
        Self::Authorization,
        Self::Challenge,
        Self::Finalize,
        Self::Certificate,
        Self::Revoke,
        Self::RenewalInfo,
    ];

    pub(super) fn of(path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match first {
            "dir" => Self::Directory,
            "new-nonce" => Self::NewNonce,
            "new-account" => Self::NewAccount,
            "account" => Self::Account,
            "key-change" => Self::KeyChange,
            "new-order" => Self::NewOrder,
            "order" => Self::Order,
            "authz" => Self::Authorization,
            "challenge" => Self::Challenge,
            "finalize" => Self::Finalize,
            "cert" => Self::Certificate,
            "revoke-cert" => Self::Revoke,
            "renewal-info" => Self::RenewalInfo,
            _ => Self::Unknown,
        }
    }

    /// Whether it is signed, and so has a nonce.
    pub fn is_signed(self) -> bool {
        !matches!(self, Self::Directory | Self::NewNonce | Self::RenewalInfo | Self::Unknown)
    }
}

/// Whether the server did what was asked before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did nothing.
    Without,
    /// It did, and only the answer is wrong or lost.
    With,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The nonce is refused.
    BadNonce,
    /// This problem document.
    Problem(Problem, Effect),
    /// An answer that is none of ACME's: status, headers, body.
    Page(u16, Vec<(&'static str, String)>, String, Effect),
    /// A good head, and so many bytes.
    Flood(usize),
    /// A good head, and then a byte each time that this has passed, for ever.
    Drip(Duration),
    /// The connection is closed without an answer.
    Close(Effect),
    /// No answer until the rules change or the client goes away. What goes away without effect never happens.
    Hold(Effect),
    /// The order becomes invalid. For new orders, challenges and finalizations.
    InvalidOrder(Problem),
    /// Validation does not end. For challenges.
    NeverValidates,
    /// Validation fails. For challenges.
    FailsValidation(Problem),
    /// The order is `processing` for so many seconds of the server's clock. For finalizations.
    Processing(i64),
    /// The certificate is for another key. For finalizations.
    ForeignKey,
    /// The certificate lacks the order's last name. For finalizations.
    MissingName,
    /// So many certificates above the leaf. For certificates.
    LongChain(usize),
    /// The chain ends in the middle of a line. For certificates.
    CutChain,
}

impl Fault {
    /// Whether it makes sense for such a request.
    pub fn suits(&self, kind: Kind) -> bool {
        match self {
            Self::BadNonce => kind.is_signed(),
            Self::InvalidOrder(_) => matches!(kind, Kind::NewOrder | Kind::Challenge | Kind::Finalize),
            Self::NeverValidates | Self::FailsValidation(_) => kind == Kind::Challenge,
            Self::Processing(_) | Self::ForeignKey | Self::MissingName => kind == Kind::Finalize,
            Self::LongChain(_) | Self::CutChain => kind == Kind::Certificate,
            _ => true,
        }
    }

    /// A name for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BadNonce => "bad nonce",
            Self::Problem(_, Effect::Without) => "problem document",
            Self::Problem(_, Effect::With) => "problem document after the effect",
            Self::Page(_, _, _, Effect::Without) => "page that is not ACME",
            Self::Page(_, _, _, Effect::With) => "page that is not ACME after the effect",
            Self::Flood(_) => "endless body",
            Self::Drip(_) => "slow-drip body",
            Self::Close(Effect::Without) => "connection closed",
            Self::Close(Effect::With) => "answer lost",
            Self::Hold(_) => "no answer",
            Self::InvalidOrder(_) => "order invalid",
            Self::NeverValidates => "authorization stays pending",
            Self::FailsValidation(_) => "validation fails",
            Self::Processing(_) => "processing for long",
            Self::ForeignKey => "certificate for another key",
            Self::MissingName => "certificate lacks a name",
            Self::LongChain(_) => "long chain",
            Self::CutChain => "cut chain",
        }
    }

    /// Whether the request is carried out all the same.
    pub(super) fn lets_through(&self) -> bool {
        match self {
            Self::BadNonce | Self::Flood(_) | Self::Drip(_) => false,
            Self::Problem(_, effect) | Self::Page(_, _, _, effect) | Self::Close(effect) | Self::Hold(effect) => {
                *effect == Effect::With
            }
            _ => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    From(u64, u64),
    Chance(f64),
}

/// When which faults happen to which requests. Made with [`Rule::on`] or [`Rule::any`].
#[derive(Clone, Debug)]
pub struct Rule {
    kinds: Vec<Kind>,
    when: When,
    faults: Vec<Fault>,
    seen: u64,
}

impl Rule {
    /// Every request of this kind.
    pub fn on(kind: Kind, fault: Fault) -> Self {
        Self { kinds: vec![kind], when: When::Always, faults: vec![fault], seen: 0 }
    }

    /// Every request, with one of those faults that suit it.
    pub fn any(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { kinds: Kind::ALL.to_vec(), when: When::Always, faults: faults.into_iter().collect(), seen: 0 }
    }

    /// Only the `n`-th of them, from 1 on, counted from when the rule was set.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::From(n, n);
        self
    }

    /// Only the first `n`.
    pub fn first(mut self, n: u64) -> Self {
        self.when = When::From(1, n);
        self
    }

    /// So many of them, from 0 to 1, by the script's seed.
    pub fn chance(mut self, share: f64) -> Self {
        self.when = When::Chance(share);
        self
    }

    fn fires(&mut self, kind: Kind, dice: &mut Dice) -> Option<Fault> {
        if !self.kinds.contains(&kind) {
            return None;
        }
        self.seen += 1;
        let now = match self.when {
            When::Always => true,
            When::From(first, last) => (first..=last).contains(&self.seen),
            When::Chance(share) => dice.share() < share,
        };
        let fitting: Vec<&Fault> = self.faults.iter().filter(|f| f.suits(kind)).collect();
        let at = dice.below(fitting.len().max(1));
        fitting.get(at).filter(|_| now).map(|f| (*f).clone())
    }
}

/// The fault of this request: of the first rule that has one.
pub(super) fn pick(rules: &mut [Rule], kind: Kind, dice: &mut Dice) -> Option<Fault> {
    rules.iter_mut().filter_map(|rule| rule.fires(kind, dice)).next()
}

/// A reproducible source of chance (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 (included) to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_fire_when_they_say() {
        let mut dice = Dice(7);
        let mut rules = [
            Rule::on(Kind::NewOrder, Fault::BadNonce).nth(2),
            Rule::any([Fault::MissingName, Fault::Close(Effect::With)]).chance(0.25),
        ];
        let faults: Vec<_> = (0..3).map(|_| pick(&mut rules[..1], Kind::NewOrder, &mut dice).is_some()).collect();
        assert_eq!(faults, [false, true, false]);
        assert!(pick(&mut rules[..1], Kind::Order, &mut dice).is_none());
        let mut hit = 0;
        for _ in 0..4000 {
            match pick(&mut rules[1..], Kind::Order, &mut dice) {
                Some(Fault::Close(Effect::With)) => hit += 1,
                None => {}
                other => panic!("{other:?} does not suit an order"),
            }
        }
        assert!((900..1100).contains(&hit), "{hit}");
    }
}
