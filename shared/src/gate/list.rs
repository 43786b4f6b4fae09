//! The revocation list that a gate holds.

use super::refresh::{Attempt, Attempts, Millis};
use crate::revocation::{HashKey, NotApplied, RevocationDelta, RevocationList};

/// A list that was checked with a source this recently is used as it is.
pub const FRESH: Millis = 2_000;

/// A list that was checked this recently is used, and checked again in the background. While
/// requests come, a check behind them sees to it that it is hardly older than [`FRESH`]; this is
/// for a check that takes its time. Older, a request waits: what was revoked since would pass.
pub const USABLE: Millis = 5_000;

/// How long the list is kept checked after the last request that used it, without waiting for the
/// next: somebody who clicks every few seconds neither waits nor is judged by the list of the click
/// before.
pub const KEPT: Millis = 10_000;

/// How long a request waits for a check, where it has to.
pub const DEADLINE: Millis = 1_000;

/// Pause after a check that failed: while no source answers, requests are judged by the list's
/// own age at once instead of each waiting for the deadline.
pub const FAILED_COOLDOWN: Millis = 2_000;

/// Seconds by which a list may have been signed in the future of this clock.
pub const CLOCK_TOLERANCE: i64 = 60;

/// What is to be done before the list is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    Fresh,
    /// Use it, and have it checked behind the answer.
    Behind,
    /// Have it checked first.
    First,
}

/// Why an offered list was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Its sequence is lower than the held one's: old, or replayed.
    Older,
    /// It says that it was signed in the future.
    Future,
}

/// The newest list seen, and when a source last confirmed that it is the newest.
#[derive(Debug, Default)]
pub struct HeldList {
    list: Option<RevocationList>,
    attempts: Attempts,
}

impl HeldList {
    /// The list, of whatever age.
    pub const fn list(&self) -> Option<&RevocationList> {
        self.list.as_ref()
    }

    /// What is to be done before the list is used.
    pub fn check(&self, now: Millis) -> Check {
        match self.attempts.since_success(now) {
            Some(since) if since <= FRESH => Check::Fresh,
            Some(since) if since <= USABLE => Check::Behind,
            _ => Check::First,
        }
    }

    /// Whether waiting for a check may help.
    pub fn may_ask(&self, now: Millis) -> bool {
        self.attempts.is_under_way(now) || !self.attempts.is_cooling(now, self.cooldown())
    }

    fn cooldown(&self) -> Millis {
        if self.attempts.has_failed() {
            FAILED_COOLDOWN
        } else {
            0
        }
    }

    /// Takes `list` if it is not older than the held one.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; the held one stays.
    pub fn offer(&mut self, list: RevocationList, now: Millis) -> Result<(), NotTaken> {
        if list.issued_at().0 > now / 1_000 + CLOCK_TOLERANCE {
            return Err(NotTaken::Future);
        }
        if !list.replaces(self.list.as_ref()) {
            return Err(NotTaken::Older);
        }
        self.list = Some(list);
        Ok(())
    }

    /// What a delta has to continue: the held list's sequence number and the key of its series.
    pub fn held(&self) -> Option<(u64, HashKey)> {
        let list = self.list.as_ref()?;
        Some((list.sequence(), *list.key()))
    }

    /// Brings the held list up to date by `delta`, if that continues exactly it.
    ///
    /// # Errors
    ///
    /// [`NotApplied`]; the held list is as it was. `Gap` where none is held.
    pub fn apply(&mut self, delta: &RevocationDelta<'_>, now: Millis) -> Result<(), NotApplied> {
        if delta.issued_at().0 > now / 1_000 + CLOCK_TOLERANCE {
            return Err(NotApplied::Future);
        }
        self.list.as_mut().ok_or(NotApplied::Gap)?.apply(delta)
    }

    /// Brings the held list up to date by `delta`, or learns from it that it is.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), but for a delta that leads to the very list that is held.
    pub fn follow(&mut self, delta: &RevocationDelta<'_>, now: Millis) -> Result<(), NotApplied> {
        match self.apply(delta, now) {
            Err(NotApplied::Older) if self.is_numbered(delta.sequence()) => Ok(()),
            applied => applied,
        }
    }

    fn is_numbered(&self, sequence: u64) -> bool {
        self.list
            .as_ref()
            .is_some_and(|list| list.sequence() == sequence)
    }

    /// The record of asking the source.
    pub const fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Begins a check; see [`Attempts::begin`].
    pub fn begin(&mut self, now: Millis, deadline: Millis) -> Option<Attempt> {
        self.attempts.begin(now, deadline, self.cooldown())
    }

    /// Ends a check.
    pub fn finish(&mut self, attempt: Attempt, now: Millis, succeeded: bool) {
        self.attempts.finish(attempt, now, succeeded);
    }
}
