//! When to ask a source again: one attempt at a time, none too soon after the last.
//!
//! A worker cannot await another request's promise, so what is shared between requests is this
//! record and not the attempt itself.

/// Milliseconds since 1970 by the worker's clock, which stands still while it computes.
pub type Millis = i64;

/// No attempt is given longer than this.
pub const LONGEST_ATTEMPT: Millis = 10_000;

/// The state of asking one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Until when an attempt that was begun is given to finish.
    under_way_until: Option<Millis>,
    /// When the last attempt ended or was given up.
    ended_at: Option<Millis>,
    /// When an attempt last succeeded.
    succeeded_at: Option<Millis>,
    /// How many attempts have ended.
    ended: u32,
}

impl Attempts {
    /// Begins an attempt that has until `deadline`, unless one is under way or the last one ended
    /// less than `cooldown` ago. Whoever is given `true` must call [`finish`](Self::finish).
    pub fn begin(&mut self, now: Millis, deadline: Millis, cooldown: Millis) -> bool {
        if self.is_under_way(now) || self.is_cooling(now, cooldown) {
            return false;
        }
        self.under_way_until = Some(deadline);
        true
    }

    /// Ends the attempt that was begun.
    pub fn finish(&mut self, now: Millis, succeeded: bool) {
        self.under_way_until = None;
        self.ended_at = Some(now);
        self.ended = self.ended.wrapping_add(1);
        if succeeded {
            self.succeeded_at = Some(now);
        }
    }

    /// Whether somebody is asking. An attempt past its deadline was cut off with its request.
    pub fn is_under_way(&self, now: Millis) -> bool {
        // A deadline far ahead was set by a clock that has been set back since.
        self.under_way_until
            .is_some_and(|deadline| now < deadline && deadline - now <= LONGEST_ATTEMPT)
    }

    /// Whether the last attempt ended less than `cooldown` ago.
    pub fn is_cooling(&self, now: Millis, cooldown: Millis) -> bool {
        // An attempt that was cut off ended at its deadline, as far as cooling is concerned.
        let cut_off = self.under_way_until.filter(|deadline| now >= *deadline);
        self.ended_at
            .max(cut_off)
            .is_some_and(|ended| (0..cooldown).contains(&now.saturating_sub(ended)))
    }

    /// How many attempts have ended: whoever waits for one sees this change.
    pub const fn ended(&self) -> u32 {
        self.ended
    }

    /// Whether the last attempt that ended did not succeed.
    pub fn has_failed(&self) -> bool {
        self.ended_at > self.succeeded_at
    }

    /// Milliseconds since the last success; `None` if there was none. A clock that was set back
    /// makes it a long time ago, not a moment ago.
    pub fn since_success(&self, now: Millis) -> Option<Millis> {
        let since = now.saturating_sub(self.succeeded_at?);
        Some(if since < 0 { Millis::MAX } else { since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_one_attempt_at_a_time_and_cools_down() {
        let mut attempts = Attempts::default();
        assert!(attempts.begin(0, 1_000, 500));
        assert!(!attempts.begin(1, 1_001, 500));
        assert!(attempts.is_under_way(999));
        attempts.finish(10, false);
        assert!(!attempts.begin(509, 1_509, 500));
        assert!(attempts.begin(510, 1_510, 500));
        attempts.finish(520, true);
        assert_eq!(attempts.since_success(1_520), Some(1_000));
    }

    #[test]
    fn takes_an_attempt_past_its_deadline_for_ended() {
        let mut attempts = Attempts::default();
        assert!(attempts.begin(0, 1_000, 500));
        assert!(!attempts.is_under_way(1_000));
        assert!(!attempts.begin(1_499, 2_499, 500));
        assert!(attempts.begin(1_500, 2_500, 500));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut attempts = Attempts::default();
        attempts.finish(3_600_000, false);
        assert!(attempts.begin(0, 1_000, 500));
        let mut attempts = Attempts::default();
        assert!(attempts.begin(3_600_000, 3_601_000, 500));
        assert!(!attempts.is_under_way(0));
        assert!(attempts.begin(0, 1_000, 500));
    }

    #[test]
    fn takes_a_success_in_the_future_for_long_ago() {
        let mut attempts = Attempts::default();
        attempts.finish(5_000, true);
        assert_eq!(attempts.since_success(4_999), Some(Millis::MAX));
        assert_eq!(Attempts::default().since_success(0), None);
    }
}
