//! Why a certificate is revoked.

/// Why a certificate is revoked: the reasons of RFC 5280 section 5.3.1 that CAs take from subscribers (Baseline
/// Requirements section 4.9.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// Somebody else has or had the private key.
    KeyCompromise,
    /// The subject's name or other facts have changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are not the subscriber's any more, or the service has ended.
    CessationOfOperation,
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// The reason of this name, as RFC 5280 writes it (`keyCompromise`); case does not matter.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(name))
    }

    /// The name as RFC 5280 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// The CRLReason code (RFC 5280 section 5.3.1).
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_names_and_codes() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(RevocationReason::ALL.map(RevocationReason::code), [0, 1, 3, 4, 5]);
        assert_eq!(RevocationReason::named("cACompromise"), None);
    }
}
