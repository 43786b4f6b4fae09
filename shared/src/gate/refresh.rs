//! When to ask a source again: one attempt at a time, none too soon after the last.
//!
//! A worker cannot await another request's promise, so what is shared between requests is this
//! record and not the attempt itself.

/// Milliseconds since 1970 by the worker's clock, which stands still while it computes.
pub type Millis = i64;

/// No attempt is given longer than this.
pub const LONGEST_ATTEMPT: Millis = 10_000;

/// One attempt, by the instant at which it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(pub Millis);

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
    /// less than `cooldown` ago. Whoever is given one must call [`finish`](Self::finish) with it.
    pub fn begin(&mut self, now: Millis, deadline: Millis, cooldown: Millis) -> Option<Attempt> {
        if self.is_under_way(now) || self.is_cooling(now, cooldown) {
            return None;
        }
        self.begun_at = Some(now);
        self.under_way_until = Some(deadline);
        Some(Attempt(now))
    }

    /// Ends `attempt`. What it has brought is as old as its question: the source may have changed its
    /// mind while the answer was under way.
    pub fn finish(&mut self, attempt: Attempt, now: Millis, succeeded: bool) {
        // One that is past its deadline may still end, while another is under way.
        if self.begun_at == Some(attempt.0) {
            self.under_way_until = None;
        } else if !succeeded {
            // Nobody waits for it any more, and it says nothing of the source as it is now.
            return;
        }
        self.ended_at = Some(now);
        self.ended = self.ended.wrapping_add(1);
        self.failed = !succeeded;
        if succeeded {
            // What the clock says to be ahead was before it was set back.
            let known = self.succeeded_at.filter(|at| *at <= now);
            self.succeeded_at = known.max(Some(attempt.0.min(now)));
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

    /// An attempt that was begun at once, and has ended.
    fn finish(attempts: &mut Attempts, now: Millis, succeeded: bool) {
        let attempt = attempts.begin(now, now + 1_000, 0).expect("nobody asks");
        attempts.finish(attempt, now, succeeded);
    }

    #[test]
    fn allows_one_attempt_at_a_time_and_cools_down() {
        let mut attempts = Attempts::default();
        let first = attempts.begin(0, 1_000, 500).expect("the first");
        assert_eq!(attempts.begin(1, 1_001, 500), None);
        assert!(attempts.is_under_way(999));
        attempts.finish(first, 10, false);
        assert_eq!(attempts.begin(509, 1_509, 500), None);
        let second = attempts.begin(510, 1_510, 500).expect("the second");
        attempts.finish(second, 520, true);
        assert_eq!(attempts.since_success(1_520), Some(1_010));
    }

    #[test]
    fn what_an_attempt_brings_is_as_old_as_its_question() {
        let mut attempts = Attempts::default();
        let attempt = attempts.begin(0, 2_200, 0).expect("the first");
        attempts.finish(attempt, 900, true);
        assert_eq!(attempts.since_success(900), Some(900));
        // And does not cool down before it has ended.
        assert_eq!(attempts.begin(1_000, 3_200, 500), None);
        // A clock that is set back meanwhile makes it no older than now.
        let attempt = attempts.begin(30_000, 32_200, 500).expect("a later one");
        attempts.finish(attempt, 25_000, true);
        assert_eq!(attempts.since_success(25_000), Some(0));
    }

    #[test]
    fn an_attempt_that_is_late_is_dated_by_its_own_question_and_ends_no_other() {
        let mut attempts = Attempts::default();
        let first = attempts.begin(0, 2_200, 0).expect("the first");
        let second = attempts.begin(2_200, 4_400, 0).expect("the second");
        attempts.finish(second, 2_300, true);
        let third = attempts.begin(2_310, 4_510, 0).expect("the third");
        attempts.finish(first, 2_500, true);
        assert_eq!(attempts.since_success(2_500), Some(300));
        assert!(attempts.is_under_way(2_500), "the third is");
        attempts.finish(third, 2_600, true);
        assert_eq!(attempts.since_success(2_600), Some(290));
        assert!(!attempts.is_under_way(2_600));
        // Where nothing has come since, it is worth what it is.
        let first = attempts.begin(5_000, 7_200, 0).expect("another");
        let second = attempts.begin(7_200, 9_400, 0).expect("and one more");
        attempts.finish(first, 7_300, true);
        assert_eq!(attempts.since_success(7_300), Some(2_300));
        // That one has failed is no news of the source.
        attempts.finish(second, 7_400, true);
        let ended = attempts.ended();
        attempts.finish(first, 7_500, false);
        assert_eq!((attempts.has_failed(), attempts.ended()), (false, ended));
    }

    #[test]
    fn a_source_that_dies_after_the_clock_was_set_back_has_failed() {
        let mut attempts = Attempts::default();
        finish(&mut attempts, 3_600_000, true);
        let attempt = attempts.begin(0, 1_000, 0).expect("one after that");
        attempts.finish(attempt, 500, false);
        assert!(attempts.has_failed());
        finish(&mut attempts, 700, true);
        assert!(!attempts.has_failed());
        assert_eq!(attempts.since_success(700), Some(0));
    }

    #[test]
    fn takes_an_attempt_past_its_deadline_for_ended() {
        let mut attempts = Attempts::default();
        assert!(attempts.begin(0, 1_000, 500).is_some());
        assert!(!attempts.is_under_way(1_000));
        assert!(attempts.begin(1_499, 2_499, 500).is_none());
        assert!(attempts.begin(1_500, 2_500, 500).is_some());
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut attempts = Attempts::default();
        finish(&mut attempts, 3_600_000, false);
        assert!(attempts.begin(0, 1_000, 500).is_some());
        let mut attempts = Attempts::default();
        assert!(attempts.begin(3_600_000, 3_601_000, 500).is_some());
        assert!(!attempts.is_under_way(0));
        assert!(attempts.begin(0, 1_000, 500).is_some());
    }

    #[test]
    fn takes_a_success_in_the_future_for_long_ago() {
        let mut attempts = Attempts::default();
        finish(&mut attempts, 5_000, true);
        assert_eq!(attempts.since_success(4_999), Some(Millis::MAX));
        assert_eq!(Attempts::default().since_success(0), None);
    }
}
