//! How much key derivation one import may cost.

use pkcs8::pkcs5::pbes2::{Kdf, Pbkdf2Prf};

use super::refusal::Refusal;

/// What scrypt may take, in bytes. OpenSSL neither reads nor makes files that take more.
const SCRYPT_MEMORY: u64 = 32 * 1024 * 1024;
/// How many derivations with as many rounds as are allowed one import may have: the MAC, the certificates, the key, and
/// one to spare for a try without a password.
const PARTS: u64 = 4;

/// The rounds that are left for an import. Whoever makes a file chooses the rounds, and may put many keys into it, so
/// that each derivation is bounded, and those of all inputs together, before they are made.
pub(super) struct Budget {
    limit: u64,
    spent: u64,
}

impl Budget {
    /// `limit` is for one derivation.
    pub fn new(limit: u64) -> Self {
        Self { limit, spent: 0 }
    }

    /// Takes the rounds for one derivation of `blocks` outputs of the hash.
    pub fn take(&mut self, rounds: u64, blocks: u64) -> Result<(), Refusal> {
        if rounds > self.limit {
            return Err(Refusal::TooManyIterations { wanted: rounds, limit: self.limit });
        }
        let (wanted, limit) =
            (self.spent.saturating_add(rounds.saturating_mul(blocks)), self.limit.saturating_mul(PARTS));
        if wanted > limit {
            return Err(Refusal::TooManyIterations { wanted, limit });
        }
        self.spent = wanted;
        Ok(())
    }

    /// Takes what it costs to derive a key of that many bytes.
    pub fn take_kdf(&mut self, kdf: &Kdf, bytes: usize) -> Result<(), Refusal> {
        match kdf {
            Kdf::Pbkdf2(parameters) => {
                let output: usize = match parameters.prf {
                    Pbkdf2Prf::HmacWithSha224 => 28,
                    Pbkdf2Prf::HmacWithSha256 => 32,
                    Pbkdf2Prf::HmacWithSha384 => 48,
                    Pbkdf2Prf::HmacWithSha512 => 64,
                    _ => 20,
                };
                self.take(u64::from(parameters.iteration_count), bytes.div_ceil(output) as u64)
            }
            Kdf::Scrypt(parameters) => {
                let (n, r) = (parameters.cost_parameter, u64::from(parameters.block_size));
                let p = u64::from(parameters.parallelization);
                // It is larger than 1 (RFC 7914, section 2); at 0 the library panics.
                if n < 2 {
                    return Err(Refusal::Damaged("the parameters of the encryption do not fit"));
                }
                let wanted = n.saturating_add(p).saturating_mul(r).saturating_mul(128);
                if wanted > SCRYPT_MEMORY {
                    return Err(Refusal::TooMuchMemory { wanted, limit: SCRYPT_MEMORY });
                }
                // Four rounds of Salsa20/8 cost about as much as one of PBKDF2.
                self.take(n.saturating_mul(r), p)
            }
            _ => Err(Refusal::algorithm(&kdf.oid())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_derivation_and_all_together_are_bounded() {
        let mut budget = Budget::new(1000);
        assert!(budget.take(1001, 1).is_err());
        for _ in 0..3 {
            assert_eq!(budget.take(1000, 1), Ok(()));
        }
        assert_eq!(budget.take(501, 2), Err(Refusal::TooManyIterations { wanted: 4002, limit: 4000 }));
        assert_eq!(budget.take(500, 2), Ok(()));
        assert!(budget.take(1, 1).is_err());
        assert!(Budget::new(u64::MAX).take(u64::MAX, u64::MAX).is_ok());
    }
}
