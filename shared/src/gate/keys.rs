//! The JWK Set that a gate holds.

use super::refresh::{Attempts, Millis};
use crate::jwk::JwkSet;

/// After this long without a successful refresh a set does not count, whatever it says: a key
/// that was withdrawn must not live on where nobody can hear of it.
pub const HARD_AGE: Millis = 24 * 60 * 60 * 1_000;

/// How long a set is used without asking, where its source does not say.
pub const DEFAULT_MAX_AGE: Millis = 300_000;

/// Pause between two attempts for a `kid` that is not in the set. A new key is published before
/// it signs, so an honest token never waits for this; random ones cost one fetch per pause.
pub const UNKNOWN_KEY_COOLDOWN: Millis = 5_000;

/// Pause between attempts while there is no set at all.
pub const EMPTY_COOLDOWN: Millis = 1_000;

/// The last good set, and what is known about its source.
#[derive(Debug, Default)]
pub struct HeldKeys {
    set: Option<JwkSet>,
    /// When the set was known to be current.
    current_at: Millis,
    max_age: Option<Millis>,
    attempts: Attempts,
}

impl HeldKeys {
    /// The set, unless it is past [`HARD_AGE`].
    pub fn usable(&self, now: Millis) -> Option<&JwkSet> {
        self.set.as_ref().filter(|_| {
            let age = now.saturating_sub(self.current_at);
            (0..HARD_AGE).contains(&age)
        })
    }

    /// Takes a set that was fetched or confirmed at `current_at`. An empty one never replaces
    /// another: it verifies nothing, and is what a broken issuer publishes.
    ///
    /// Returns whether the keys have changed, in which case no earlier verdict stands.
    pub fn offer(&mut self, set: JwkSet, current_at: Millis, max_age: Option<Millis>) -> bool {
        if set.is_empty() {
            return false;
        }
        self.current_at = current_at;
        self.max_age = max_age;
        let changed = self.set.as_ref() != Some(&set);
        self.set = Some(set);
        changed
    }

    /// Whether it is time to ask the source again, in the background.
    pub fn is_due(&self, now: Millis) -> bool {
        let age = now.saturating_sub(self.current_at);
        let max_age = self.max_age.unwrap_or(DEFAULT_MAX_AGE);
        !(0..max_age).contains(&age) && !self.attempts.is_under_way(now) && !self.is_cooling(now)
    }

    /// Whether asking may help somebody who has to wait for it.
    pub fn may_ask(&self, now: Millis) -> bool {
        self.attempts.is_under_way(now) || !self.is_cooling(now)
    }

    /// Whether somebody is asking the source.
    pub fn is_under_way(&self, now: Millis) -> bool {
        self.attempts.is_under_way(now)
    }

    /// Begins an attempt; see [`Attempts::begin`].
    pub fn begin(&mut self, now: Millis, deadline: Millis) -> bool {
        let cooldown = self.cooldown(now);
        self.attempts.begin(now, deadline, cooldown)
    }

    /// Ends an attempt.
    pub fn finish(&mut self, now: Millis, succeeded: bool) {
        self.attempts.finish(now, succeeded);
    }

    /// The instant of the set, to compare another copy with.
    pub const fn current_at(&self) -> Millis {
        self.current_at
    }

    fn is_cooling(&self, now: Millis) -> bool {
        self.attempts.is_cooling(now, self.cooldown(now))
    }

    fn cooldown(&self, now: Millis) -> Millis {
        if self.usable(now).is_none() {
            return EMPTY_COOLDOWN;
        }
        // A source that says 2 s is asked every 2 s.
        UNKNOWN_KEY_COOLDOWN.min(self.max_age.unwrap_or(DEFAULT_MAX_AGE))
    }
}
