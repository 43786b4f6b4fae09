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
    /// When the last attempt was begun.
    begun_at: Option<Millis>,
    /// Until when an attempt that was begun is given to finish.
    under_way_until: Option<Millis>,
    /// When the last attempt ended or was given up.
    ended_at: Option<Millis>,
    /// When the attempt was begun that succeeded last.
    succeeded_at: Option<Millis>,
    /// Whether the last attempt that ended did not succeed.
    failed: bool,
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
        // One that is past its deadline may still end, and is not this one then.
        let unfinished = self.begun_at.filter(|begun| {
            let age = now.saturating_sub(*begun);
            self.under_way_until.is_some() && (0..LONGEST_ATTEMPT).contains(&age)
        });
        self.begun_at = unfinished.or(Some(now));
        self.under_way_until = Some(deadline);
        true
    }

    /// Ends the attempt that was begun. What it has brought is as old as the question: the source may
    /// have changed its mind while the answer was under way.
    pub fn finish(&mut self, now: Millis, succeeded: bool) {
        self.under_way_until = None;
        self.ended_at = Some(now);
        self.ended = self.ended.wrapping_add(1);
        self.failed = !succeeded;
        let begun_at = self.begun_at.map_or(now, |begun| begun.min(now));
        if succeeded {
            self.succeeded_at = Some(begun_at);
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
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Milliseconds since the question that was answered last; `None` if there was none. A clock that
    /// was set back makes it a long time ago, not a moment ago.
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
        assert_eq!(attempts.since_success(1_520), Some(1_010));
    }

    #[test]
    fn what_an_attempt_brings_is_as_old_as_its_question() {
        let mut attempts = Attempts::default();
        assert!(attempts.begin(0, 2_200, 0));
        attempts.finish(900, true);
        assert_eq!(attempts.since_success(900), Some(900));
        // And does not cool down before it has ended.
        assert!(!attempts.begin(1_000, 3_200, 500));
        // One that ends after its deadline has not asked when the next one began.
        assert!(attempts.begin(2_000, 4_200, 500));
        assert!(attempts.begin(4_700, 6_900, 500));
        attempts.finish(4_800, true);
        assert_eq!(attempts.since_success(4_800), Some(2_800));
        attempts.finish(4_900, true);
        assert_eq!(attempts.since_success(4_900), Some(2_900));
        // One that was cut off long ago never ends.
        assert!(attempts.begin(10_000, 12_200, 500));
        assert!(attempts.begin(20_000, 22_200, 500));
        attempts.finish(20_100, true);
        assert_eq!(attempts.since_success(20_100), Some(100));
        // A clock that is set back meanwhile makes it no older than now.
        assert!(attempts.begin(30_000, 32_200, 500));
        attempts.finish(25_000, true);
        assert_eq!(attempts.since_success(25_000), Some(0));
    }

    #[test]
    fn a_source_that_dies_after_the_clock_was_set_back_has_failed() {
        let mut attempts = Attempts::default();
        attempts.finish(3_600_000, true);
        assert!(attempts.begin(0, 1_000, 0));
        attempts.finish(500, false);
        assert!(attempts.has_failed());
        attempts.finish(700, true);
        assert!(!attempts.has_failed());
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
