//! The JWK Set that a gate holds.

use super::refresh::{Attempts, Millis};
use crate::jwk::JwkSet;

/// After this long without a successful refresh a set does not count, whatever it says: a key
/// that was withdrawn must not live on where nobody can hear of it.
pub const HARD_AGE: Millis = 24 * 60 * 60 * 1_000;

/// How long a set is used without asking, where its source does not say.
pub const DEFAULT_MAX_AGE: Millis = 300_000;

/// The longest that a source can have its set used without asking: a key that was withdrawn is
/// gone after this, whatever a cache on the way says.
pub const LONGEST_MAX_AGE: Millis = 3_600_000;

/// How far the clocks of gate and issuer may differ.
pub const CLOCK_TOLERANCE: Millis = 60_000;

/// Pause between two attempts for a `kid` that is not in the set. A new key is published before
/// it signs, so an honest token never waits for this; random ones cost one fetch per pause.
pub const UNKNOWN_KEY_COOLDOWN: Millis = 5_000;

/// Pause between attempts while there is no set at all.
pub const EMPTY_COOLDOWN: Millis = 1_000;

/// A copy of the JWK Set is empty, older than what is held, too old, or from the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyNotTaken;

/// For how many milliseconds more an answer is good: `max-age` of its `Cache-Control`, less its `Age`, the
/// seconds that it has lain in a cache on the way (RFC 9111 §4.2).
pub fn lifetime(control: &str, age: Option<&str>) -> Option<Millis> {
    let max_age = control
        .split(',')
        .find_map(|directive| directive.trim().strip_prefix("max-age="))?
        .parse::<u32>()
        .ok()?;
    // What is no number says nothing; one that is too large for us is large.
    let is_number = |age: &&str| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit());
    let age = age.map(str::trim).filter(is_number);
    let age = age.map_or(0, |age| age.parse().unwrap_or(u32::MAX));
    let seconds = max_age.saturating_sub(age);
    Some(Millis::from(seconds) * 1_000)
}

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
        let age = now.saturating_sub(self.current_at);
        self.set
            .as_ref()
            .filter(|_| (-CLOCK_TOLERANCE..HARD_AGE).contains(&age))
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
        self.max_age = max_age.map(|age| age.min(LONGEST_MAX_AGE));
        let changed = self.set.as_ref() != Some(&set);
        self.set = Some(set);
        changed
    }

    /// Takes a copy of the set that was signed at `issued_at`, unless it is older than what is held
    /// or from the future; see [`offer`](Self::offer) for what is returned.
    ///
    /// # Errors
    ///
    /// [`CopyNotTaken`]; what was held stays.
    pub fn offer_copy(
        &mut self,
        set: JwkSet,
        issued_at: Millis,
        now: Millis,
    ) -> Result<bool, CopyNotTaken> {
        let held_at = self.usable(now).map(|_| self.current_at.min(now));
        if set.is_empty()
            || issued_at > now.saturating_add(CLOCK_TOLERANCE)
            || now.saturating_sub(issued_at) >= HARD_AGE
            || held_at.is_some_and(|held_at| issued_at < held_at)
        {
            return Err(CopyNotTaken);
        }
        Ok(self.offer(set, issued_at.min(now), None))
    }

    /// Whether it is time to ask the source again, in the background.
    pub fn is_due(&self, now: Millis) -> bool {
        let age = now.saturating_sub(self.current_at);
        let max_age = self.max_age.unwrap_or(DEFAULT_MAX_AGE);
        !(-CLOCK_TOLERANCE..max_age).contains(&age)
            && !self.attempts.is_under_way(now)
            && !self.is_cooling(now)
    }

    /// Whether asking may help somebody who has to wait for it.
    pub fn may_ask(&self, now: Millis) -> bool {
        self.attempts.is_under_way(now) || !self.is_cooling(now)
    }

    /// The record of asking the source.
    pub const fn attempts(&self) -> &Attempts {
        &self.attempts
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
        // A source that says 2 s is asked every 2 s; one that says 0 is not asked without end.
        self.max_age
            .unwrap_or(DEFAULT_MAX_AGE)
            .clamp(EMPTY_COOLDOWN, UNKNOWN_KEY_COOLDOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_max_age_where_it_stands() {
        for (control, expected) in [
            ("max-age=2", Some(2_000)),
            ("public, max-age=300", Some(300_000)),
            ("public,max-age=300,immutable", Some(300_000)),
            ("max-age=4294967295", Some(4_294_967_295_000)),
            ("max-age=4294967296", None),
            ("max-age=-1", None),
            ("max-age=\"2\"", None),
            ("s-maxage=2", None),
            ("no-store", None),
            ("", None),
        ] {
            assert_eq!(lifetime(control, None), expected, "{control}");
        }
    }

    #[test]
    fn what_has_lain_in_a_cache_is_good_for_less_long() {
        for (age, expected) in [
            ("0", 300_000),
            ("299", 1_000),
            (" 299 ", 1_000),
            ("300", 0),
            ("301", 0),
            ("4294967295", 0),
            ("4294967296", 0),
            ("-1", 300_000),
            ("+1", 300_000),
            ("1.5", 300_000),
            ("", 300_000),
        ] {
            let lifetime = lifetime("max-age=300", Some(age));
            assert_eq!(lifetime, Some(expected), "{age}");
        }
        assert_eq!(lifetime("no-cache", Some("1")), None);
    }
}
