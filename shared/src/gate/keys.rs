//! The JWK Set that a gate holds.

use super::refresh::{Attempt, Attempts, Millis};
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

/// A JWK Set is empty, older than what is held, too old, or from the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken;

/// What an answer says of its own age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// For how many milliseconds it has lain in a cache on the way: its `Age` (RFC 9111 §5.1).
    pub age: Millis,
    /// For how many milliseconds more it is good: `max-age` of its `Cache-Control`, less its age (RFC
    /// 9111 §4.2); `None` where it does not say.
    pub good_for: Option<Millis>,
}

impl Freshness {
    /// Reads `Cache-Control` and `Age`. What is no number says nothing; one that is too large for us is
    /// large.
    pub fn of(control: &str, age: Option<&str>) -> Self {
        let is_number =
            |age: &&str| !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit());
        let age = age.map(str::trim).filter(is_number);
        let age = age.map_or(0, |age| age.parse().unwrap_or(u32::MAX));
        let max_age = control
            .split(',')
            .find_map(|directive| directive.trim().strip_prefix("max-age="))
            .and_then(|max_age| max_age.parse::<u32>().ok());
        let milliseconds = |seconds: u32| Millis::from(seconds) * 1_000;
        Self {
            age: milliseconds(age),
            good_for: max_age.map(|max_age| milliseconds(max_age.saturating_sub(age))),
        }
    }

    /// Whether a cache has kept it for longer than it is good: there may be something newer elsewhere.
    pub fn is_over(&self) -> bool {
        self.age > 0 && self.good_for == Some(0)
    }
}

/// The last good set, and what is known about its source.
#[derive(Debug, Default)]
pub struct HeldKeys {
    set: Option<JwkSet>,
    /// When the set was known to be current.
    current_at: Millis,
    /// From when on it is good without asking, and for how long.
    good_from: Millis,
    good_for: Option<Millis>,
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

    /// Takes a set that is current at `now`. An empty one never replaces another: it verifies nothing,
    /// and is what a broken issuer publishes.
    ///
    /// Returns whether the keys have changed, in which case no earlier verdict stands.
    pub fn offer(&mut self, set: JwkSet, now: Millis, good_for: Option<Millis>) -> bool {
        if set.is_empty() {
            return false;
        }
        self.current_at = now;
        self.good_from = now;
        self.good_for = good_for.map(|good_for| good_for.min(LONGEST_MAX_AGE));
        let changed = self.set.as_ref() != Some(&set);
        self.set = Some(set);
        changed
    }

    /// Takes the set of an answer that came at `now` and was current when it left its source, unless
    /// that is longer ago than what is held; see [`offer`](Self::offer) for what is returned.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; what was held stays.
    pub fn offer_answer(
        &mut self,
        set: JwkSet,
        freshness: Freshness,
        now: Millis,
    ) -> Result<bool, NotTaken> {
        let current_at = now.saturating_sub(freshness.age);
        let changed = self.offer_copy(set, current_at, now)?;
        self.good_from = now;
        self.good_for = freshness
            .good_for
            .map(|good_for| good_for.min(LONGEST_MAX_AGE));
        Ok(changed)
    }

    /// Takes a copy of the set that was signed at `issued_at`, unless it is older than what is held
    /// or from the future; see [`offer`](Self::offer) for what is returned.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; what was held stays.
    pub fn offer_copy(
        &mut self,
        set: JwkSet,
        issued_at: Millis,
        now: Millis,
    ) -> Result<bool, NotTaken> {
        let held_at = self.usable(now).map(|_| self.current_at.min(now));
        if set.is_empty()
            || issued_at > now.saturating_add(CLOCK_TOLERANCE)
            || now.saturating_sub(issued_at) >= HARD_AGE
            || held_at.is_some_and(|held_at| issued_at < held_at)
        {
            return Err(NotTaken);
        }
        Ok(self.offer(set, issued_at.min(now), None))
    }

    /// Whether it is time to ask the source again, in the background.
    pub fn is_due(&self, now: Millis) -> bool {
        let age = now.saturating_sub(self.good_from);
        let good_for = self.good_for.unwrap_or(DEFAULT_MAX_AGE);
        !(-CLOCK_TOLERANCE..good_for).contains(&age)
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
    pub fn begin(&mut self, now: Millis, deadline: Millis) -> Option<Attempt> {
        let cooldown = self.cooldown(now);
        self.attempts.begin(now, deadline, cooldown)
    }

    /// Ends an attempt.
    pub fn finish(&mut self, attempt: Attempt, now: Millis, succeeded: bool) {
        self.attempts.finish(attempt, now, succeeded);
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
        self.good_for
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
            let freshness = Freshness::of(control, None);
            assert_eq!(
                (freshness.age, freshness.good_for),
                (0, expected),
                "{control}"
            );
        }
    }

    #[test]
    fn what_has_lain_in_a_cache_is_good_for_less_long() {
        for (said, age, good_for) in [
            ("0", 0, 300_000),
            ("299", 299_000, 1_000),
            (" 299 ", 299_000, 1_000),
            ("300", 300_000, 0),
            ("301", 301_000, 0),
            ("4294967295", 4_294_967_295_000, 0),
            ("4294967296", 4_294_967_295_000, 0),
            ("-1", 0, 300_000),
            ("+1", 0, 300_000),
            ("1.5", 0, 300_000),
            ("", 0, 300_000),
        ] {
            let freshness = Freshness::of("max-age=300", Some(said));
            assert_eq!(freshness.age, age, "{said}");
            assert_eq!(freshness.good_for, Some(good_for), "{said}");
            assert_eq!(freshness.is_over(), good_for == 0, "{said}");
        }
        let freshness = Freshness::of("no-cache", Some("1"));
        assert_eq!((freshness.good_for, freshness.is_over()), (None, false));
        assert!(!Freshness::of("max-age=0", None).is_over());
    }
}
