//! How much key derivation one input may cost.

use pkcs8::pkcs5::pbes2::Kdf;

use super::refusal::Refusal;

/// What scrypt may take, in bytes. OpenSSL neither reads nor makes files that take more.
const SCRYPT_MEMORY: u64 = 32 * 1024 * 1024;

/// The rounds that are left for an input. Whoever makes a file chooses the rounds, and may put many keys into it, so
/// that all of them together are counted, and before the derivation.
pub(super) struct Budget {
    limit: u64,
    spent: u64,
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self { limit, spent: 0 }
    }

    /// Takes the rounds for one derivation of `blocks` outputs of the hash.
    pub fn take(&mut self, rounds: u64, blocks: u64) -> Result<(), Refusal> {
        let wanted = self.spent.saturating_add(rounds.max(1).saturating_mul(blocks.max(1)));
        if wanted > self.limit {
            return Err(Refusal::TooManyIterations { wanted, limit: self.limit });
        }
        self.spent = wanted;
        Ok(())
    }

    /// Takes what a key derivation of PBES2 costs.
    pub fn take_kdf(&mut self, kdf: &Kdf) -> Result<(), Refusal> {
        match kdf {
            // AES-256 needs two outputs of SHA-1 and one of anything longer.
            Kdf::Pbkdf2(parameters) => self.take(u64::from(parameters.iteration_count), 2),
            Kdf::Scrypt(parameters) => {
                let (n, r) = (u64::from(parameters.cost_parameter), u64::from(parameters.block_size));
                let wanted = n.saturating_mul(r).saturating_mul(128);
                if wanted > SCRYPT_MEMORY {
                    return Err(Refusal::TooMuchMemory { wanted, limit: SCRYPT_MEMORY });
                }
                // Four rounds of Salsa20/8 cost about as much as one of PBKDF2.
                self.take(n.saturating_mul(r), u64::from(parameters.parallelization))
            }
            _ => Err(Refusal::algorithm(&kdf.oid())),
        }
    }
}
