//! Randomness, drawn in one place and passed on as an argument.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Where random bytes come from.
#[derive(Clone)]
pub enum Random {
    /// The operating system's generator.
    Os,
    /// A reproducible stream for tests: SHA-256 over a seed and a counter. Never for production.
    Seeded(Arc<Mutex<(u64, u64)>>),
}

impl Random {
    /// A reproducible stream that begins at `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new((seed, 0))))
    }

    /// Fills `bytes`.
    ///
    /// A machine without randomness cannot issue a single code or key safely, so the process
    /// ends rather than go on with predictable bytes.
    pub fn fill(&self, bytes: &mut [u8]) {
        match self {
            Self::Os =>
            {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the one place where the system's generator is read"
                )]
                if let Err(error) = getrandom::fill(bytes) {
                    tracing::error!(%error, "the system's random generator failed; stopping");
                    std::process::abort();
                }
            }
            Self::Seeded(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(32) {
                    let block = Sha256::new()
                        .chain_update(stream.0.to_be_bytes())
                        .chain_update(stream.1.to_be_bytes())
                        .finalize();
                    stream.1 += 1;
                    chunk.copy_from_slice(&block[..chunk.len()]);
                }
            }
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A code of six decimal digits, each of the million equally likely.
    pub fn six_digits(&self) -> String {
        const CODES: u32 = 1_000_000;
        // The largest multiple of a million that fits: what lies above would favour low codes.
        const LIMIT: u32 = u32::MAX - u32::MAX % CODES;
        loop {
            let draw = u32::from_be_bytes(self.bytes());
            if draw < LIMIT {
                return format!("{:06}", draw % CODES);
            }
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Os => "Random::Os",
            Self::Seeded(_) => "Random::Seeded",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_and_another_seed_another() {
        assert_eq!(
            Random::seeded(7).bytes::<40>(),
            Random::seeded(7).bytes::<40>()
        );
        assert_ne!(
            Random::seeded(7).bytes::<40>(),
            Random::seeded(8).bytes::<40>()
        );
    }

    #[test]
    fn codes_are_six_digits_and_every_leading_digit_occurs() {
        let random = Random::seeded(1);
        let mut leading = [0_u32; 10];
        for _ in 0..10_000 {
            let code = random.six_digits();
            assert_eq!(code.len(), 6);
            assert!(code.bytes().all(|byte| byte.is_ascii_digit()));
            leading[usize::from(code.as_bytes()[0] - b'0')] += 1;
        }
        // 1,000 expected each; seven standard deviations either way.
        assert!(
            leading.iter().all(|&count| (790..1_210).contains(&count)),
            "{leading:?}"
        );
    }
}
