//! `[password]`: hashing and resetting.

use serde::Deserialize;

use super::Mode;
use super::check::{Wrong, is_page};

/// `[password]`: argon2id. The default is OWASP's minimum; a change rehashes at the next login.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Password {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
    /// Hashes at a time; 0: as many as there are cores.
    pub concurrency: usize,
    /// Hashes that may wait; one more is answered `unavailable`.
    pub queue: usize,
    /// Life of a link that sets a new password (ASVS 6.5.5: at most 600).
    pub reset_seconds: u64,
    /// The page of your application that the link leads to, which is given `?token=`; unset:
    /// `/reset-password` below the public URL, for a proxy to answer.
    pub reset_url: Option<String>,
}

impl Default for Password {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
            concurrency: 0,
            queue: 256,
            reset_seconds: 600,
            reset_url: None,
        }
    }
}

/// Hashes at a time: each keeps its memory, and more than cores make none of them faster.
const MAX_CONCURRENCY: usize = 256;

impl Password {
    pub(super) fn check(&self, mode: Mode, wrong: &mut Wrong) {
        wrong.expect(
            argon2::Params::new(self.memory_kib, self.iterations, self.parallelism, None).is_ok()
                && self.memory_kib <= 1_048_576,
            "password",
            "expected argon2 parameters: memory_kib from 8 times parallelism to 1048576, \
             iterations and parallelism at least 1",
        );
        wrong.expect(
            mode == Mode::Development
                || (self.memory_kib >= 7_168
                    && u64::from(self.memory_kib) * u64::from(self.iterations) >= 35_000),
            "password",
            "expected at least one of OWASP's minima in production, for instance \
             memory_kib = 19456 and iterations = 2",
        );
        wrong.expect(
            self.concurrency <= MAX_CONCURRENCY,
            "password.concurrency",
            "expected 1 to 256, or 0 for as many as there are cores",
        );
        wrong.expect(self.queue >= 1, "password.queue", "expected at least 1");
        wrong.expect(
            (1..=600).contains(&self.reset_seconds),
            "password.reset_seconds",
            "expected 1 to 600",
        );
        wrong.expect(
            self.reset_url.as_deref().is_none_or(is_page),
            "password.reset_url",
            "expected an absolute http or https URL without query and fragment",
        );
    }
}
