//! `[password]`: hashing, what is refused, and resetting.

use serde::Deserialize;

use super::Mode;
use super::check::{Wrong, is_secure_page};

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
    /// The page of your application that the link leads to, which is given `#token=`: https, or
    /// http on loopback. Unset: a page of the keep's own.
    pub reset_url: Option<String>,
    /// The least that a new password must reach in zxcvbn's estimate, 0 to 4. 1 refuses what falls
    /// within a thousand guesses; 3 is what zxcvbn recommends, and refuses much that people choose.
    pub min_score: u8,
    /// A service that knows passwords of breaches elsewhere.
    pub breached: Breached,
}

/// `[password.breached]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breached {
    /// Where `GET /range/<five digits of SHA-1>` answers as Pwned Passwords does: https, or http on
    /// loopback; unset: nothing is asked. It never learns the password.
    pub url: Option<String>,
    /// How long its answer may take.
    pub timeout_milliseconds: u64,
    /// What happens when it does not answer: `open` takes the password, `closed` answers
    /// `unavailable`.
    pub on_failure: OnFailure,
}

/// What becomes of a request when something that it needs cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It goes on.
    Open,
    /// It is refused for now.
    Closed,
}

impl Default for Breached {
    fn default() -> Self {
        Self {
            url: None,
            timeout_milliseconds: 1_000,
            on_failure: OnFailure::Open,
        }
    }
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
            min_score: 1,
            breached: Breached::default(),
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
            self.reset_url.as_deref().is_none_or(is_secure_page),
            "password.reset_url",
            "expected an https URL (or http on loopback) without query and fragment",
        );
        wrong.expect(self.min_score <= 4, "password.min_score", "expected 0 to 4");
        wrong.expect(
            self.breached.url.as_deref().is_none_or(is_secure_page),
            "password.breached.url",
            "expected an https URL (or http on loopback) without query and fragment",
        );
        wrong.expect(
            (1..=10_000).contains(&self.breached.timeout_milliseconds),
            "password.breached.timeout_milliseconds",
            "expected 1 to 10000",
        );
    }
}
