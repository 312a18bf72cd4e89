//! Jitter that is the same every time it is asked for: a hash, not a draw.

use std::hash::Hasher;

/// A number from 0 (inclusive) to 1 (exclusive), evenly spread over `parts`, the same for the same parts.
pub fn fraction(parts: &[&str]) -> f64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for part in parts {
        hash.write(part.as_bytes());
        hash.write_u8(0);
    }
    // The upper bits are the better mixed ones.
    let mut mixed = hash.finish();
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// FNV-1a: the standard library's hashers may change between releases, and then every renewal would move.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_between_releases() {
        assert_eq!(format!("{:.6}", fraction(&["uid", "serial"])), "0.801039");
    }

    #[test]
    fn spreads_evenly() {
        let mut buckets = [0u32; 10];
        for i in 0..10_000 {
            buckets[(fraction(&["uid", &i.to_string()]) * 10.0) as usize] += 1;
        }
        assert!(buckets.iter().all(|n| (900..1100).contains(n)), "{buckets:?}");
    }
}
